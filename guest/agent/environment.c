#include "environment.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULTS 4
#define DEFAULT_BYTES 512

static char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static char default_term[] = "TERM=xterm";

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

/* Puts `NAME=value` at `at`. Not by printf: a guest that has just been cloned would run more of its code than of all else here. */
static char *word(char *at, const char *name, const char *value) {
  size_t prefix = strlen(name), length = strnlen(value, DEFAULT_BYTES - 1 - prefix);
  memcpy(at, name, prefix);
  memcpy(at + prefix, value, length);
  at[prefix + length] = 0;
  return at;
}

char **environment_make(const struct spawn_request *request, const struct user *user) {
  size_t room = request->env_count + DEFAULTS + 1;
  char **env = malloc(room * sizeof *env + 2 * DEFAULT_BYTES);
  if (!env) return NULL;
  char *text = (char *)(env + room);
  size_t count = 0;
  count = put(env, count, default_path);
  count = put(env, count, word(text, "HOME=", user->home));
  count = put(env, count, word(text + DEFAULT_BYTES, "USER=", user->name));
  if (request->pty) count = put(env, count, default_term);
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
