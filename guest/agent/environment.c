#include "environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define DEFAULTS 4
#define DEFAULT_BYTES 512

static bool same_name(const char *a, const char *b) {
  size_t length = strcspn(a, "=");
  return strncmp(a, b, length) == 0 && (b[length] == '=' || b[length] == 0);
}

static size_t put(char **env, size_t count, char *word) {
  for (size_t i = 0; i < count; i++)
    if (same_name(env[i], word)) {
      env[i] = word;
      return count;
    }
  env[count] = word;
  return count + 1;
}

char **environment_make(const struct spawn_request *request, const struct user *user) {
  size_t room = request->env_count + DEFAULTS + 1;
  char **env = malloc(room * sizeof *env + DEFAULTS * DEFAULT_BYTES);
  if (!env) return NULL;
  char *text = (char *)(env + room);
  size_t count = 0;
  snprintf(text, DEFAULT_BYTES, DEFAULT_PATH);
  count = put(env, count, text);
  text += DEFAULT_BYTES;
  snprintf(text, DEFAULT_BYTES, "HOME=%s", user->home);
  count = put(env, count, text);
  text += DEFAULT_BYTES;
  snprintf(text, DEFAULT_BYTES, "USER=%s", user->name);
  count = put(env, count, text);
  text += DEFAULT_BYTES;
  if (request->pty) {
    snprintf(text, DEFAULT_BYTES, "TERM=xterm");
    count = put(env, count, text);
  }
  for (size_t i = 0; i < request->env_count; i++) count = put(env, count, request->env[i]);
  env[count] = NULL;
  return env;
}

const char *environment_get(char *const *env, const char *name) {
  size_t length = strlen(name);
  for (; *env; env++)
    if (strncmp(*env, name, length) == 0 && (*env)[length] == '=') return *env + length + 1;
  return "";
}
