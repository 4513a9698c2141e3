#define _GNU_SOURCE
#include "process.h"

#include "agent.h"
#include "process_io.h"
#include "pty.h"
#include "session.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FROM(type, member, pointer) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

static struct process *processes;
static unsigned count;

static void destroy(struct process *p) {
  for (struct process **at = &processes; *at; at = &(*at)->next)
    if (*at == p) {
      *at = p->next;
      break;
    }
  count--;
  struct session *waiting = p->holds;
  process_close_pipes(p);
  loop_close(&p->report);
  deadline_clear(&p->timeout);
  tree_close(&p->tree);
  free(p->input.pending);
  free(p->program);
  free(p->cwd);
  free(p);
  if (waiting) session_wake(waiting);
}

/* Frees the process when its tree is gone and nobody waits for its EXIT. */
static void settle(struct process *p) {
  if (p->session) session_wake(p->session);
  else if (p->tree.gone) destroy(p);
}

static void take_word(struct process *p, const struct spawn_failure *f) {
  p->failure = *f;
  if (f->error) process_close_pipes(p);
  else p->started = true;
}

/* The child's pipe: what failed, or its end by execve. */
static void read_report(struct process *p) {
  struct spawn_failure f;
  ssize_t n = read(p->report.fd, &f, sizeof f);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  loop_close(&p->report);
  if (n != sizeof f) f.error = 0;
  take_word(p, &f);
}

static void tree_changed(struct tree *t) {
  struct process *p = FROM(struct process, tree, t);
  /* The child's last word may lie unread in its pipe. */
  if (t->first_ended && p->report.fd >= 0) read_report(p);
  if (t->gone) process_tree_gone(p);
  settle(p);
}

static void timeout_due(struct deadline *d) {
  struct process *p = FROM(struct process, timeout, d);
  if (p->tree.gone) return;
  p->timed_out = true;
  tree_kill(&p->tree);
}

static void report_ready(struct watch *w, uint32_t events) {
  struct process *p = FROM(struct process, report, w);
  (void)events;
  read_report(p);
  settle(p);
}

static int watch_all(struct process *p, const struct spawned *s) {
  int error = process_open_pipes(p, s);
  if (s->report < 0) {
    take_word(p, &s->failure);
    return error;
  }
  /* With a cgroup the child has had its word by now, unless all stand still there. */
  p->report.fd = s->report;
  read_report(p);
  if (p->report.fd < 0) return error;
  int failed = loop_watch(&p->report, s->report, EPOLLIN, report_ready);
  if (failed) close(s->report);
  return error ? error : failed;
}

int process_spawn(struct session *session, uint32_t stream, const uint8_t *payload, size_t length, char *message,
                  size_t size) {
  struct spawn_request request;
  struct spawned pipes;
  const char *why = spawn_request_parse(&request, payload, length);
  struct process *p = why ? NULL : calloc(1, sizeof *p);
  int error = why ? -EINVAL : !p ? -ENOMEM : count >= PROCESSES_MAX || agent.ending ? -EAGAIN : 0;
  if (error) snprintf(message, size, "%s", why ? why : agent.ending ? "the machine is going down" : "too many processes");
  else {
    p->program = strdup(request.argv[0]);
    p->cwd = request.cwd ? strdup(request.cwd) : NULL;
    error = spawn(&request, &p->tree, tree_changed, &pipes, message, size);
  }
  if (error) {
    if (p) {
      free(p->program);
      free(p->cwd);
    }
    free(p);
    spawn_request_free(&request);
    return error;
  }
  p->session = session;
  p->stream = stream;
  p->pty = request.pty;
  p->detached = request.detach;
  p->report.fd = p->input_watch.fd = p->input.fd = p->output[0].watch.fd = p->output[1].watch.fd = -1;
  p->input.credit = request.input ? INPUT_CREDIT : 0;
  p->output[0].credit = p->output[1].credit = request.credit;
  p->next = processes;
  processes = p;
  count++;
  if (request.timeout_ms) deadline_set(&p->timeout, (int64_t)request.timeout_ms, timeout_due);
  spawn_request_free(&request);
  error = watch_all(p, &pipes);
  if (error) {
    snprintf(message, size, "can't watch the process");
    p->session = NULL;
    process_close_pipes(p);
    tree_kill(&p->tree);
  }
  return error;
}

struct process *process_find(const struct session *session, uint32_t stream) {
  struct process *p = processes;
  while (p && (p->session != session || p->stream != stream)) p = p->next;
  return p;
}

unsigned process_count(void) {
  unsigned alive = 0;
  for (struct process *p = processes; p; p = p->next)
    if (p->started && !p->tree.gone) alive++;
  return alive;
}

unsigned process_streams(const struct session *session) {
  unsigned open = 0;
  for (struct process *p = processes; p; p = p->next)
    if (p->session == session) open++;
  return open;
}

int process_signal(struct process *p, int signal, bool tree) {
  if (tree) return tree_signal(&p->tree, signal, true);
  if (p->pty && p->output[0].watch.fd >= 0) {
    int group = pty_foreground(p->output[0].watch.fd);
    if (group > 0) return kill(-group, signal) < 0 ? -errno : 0;
  }
  return tree_signal(&p->tree, signal, false);
}

int process_resize(struct process *p, uint16_t rows, uint16_t cols) {
  if (!p->pty || p->output[0].watch.fd < 0) return -ENOTTY;
  return pty_resize(p->output[0].watch.fd, rows, cols);
}

void process_cancel(struct process *p) { tree_kill(&p->tree); }

static void put_exit(struct process *p, struct output *out) {
  struct field_writer w = {.length = 0};
  int status = p->tree.status;
  if (WIFSIGNALED(status)) fields_put_integer(&w, FIELD_SIGNAL, (uint64_t)WTERMSIG(status));
  else fields_put_integer(&w, FIELD_CODE, (uint64_t)WEXITSTATUS(status));
  if (p->timed_out) fields_put_integer(&w, FIELD_TIMED_OUT, 1);
  if (p->tree.out_of_memory) fields_put_integer(&w, FIELD_OOM, 1);
  output_fields(out, FRAME_EXIT, p->stream, &w);
}

/* STARTED and EXIT, when it is time and there is room. Returns whether one was put. */
static bool put_life(struct process *p, struct output *out) {
  if (output_free(out) < OUTPUT_ANSWER) return false;
  if (p->started && !p->told && p->tree.pid > 0) {
    struct field_writer w = {.length = 0};
    fields_put_integer(&w, FIELD_PID, (uint64_t)p->tree.pid);
    output_fields(out, FRAME_STARTED, p->stream, &w);
    p->told = true;
    return true;
  }
  if (p->failure.error) {
    char message[1024];
    spawn_explain(&p->failure, p->program, p->cwd, message, sizeof message);
    output_error(out, p->stream, p->failure.error, message);
    p->session = NULL;
    return true;
  }
  bool over = p->tree.first_ended && (p->detached || p->tree.gone) && !process_has_output(p);
  if (over && p->told) {
    put_exit(p, out);
  } else if (p->tree.gone && !p->told && p->report.fd < 0) {
    /* Its supervisor was killed before it could name the process. */
    output_error(out, p->stream, EAGAIN, "the process could not be started");
  } else {
    return false;
  }
  p->session = NULL;
  return true;
}

bool processes_pump(struct session *session, struct output *out) {
  bool put = false;
  struct process *next;
  for (struct process *p = processes; p; p = next) {
    next = p->next;
    if (p->session != session) continue;
    if (process_move_input(p, out)) put = true;
    if (p->told && process_move_output(p, out)) put = true;
    if (put_life(p, out)) {
      put = true;
      settle(p);
    }
  }
  return put;
}

void processes_abandon(struct session *session) {
  struct process *next;
  for (struct process *p = processes; p; p = next) {
    next = p->next;
    if (p->session != session) continue;
    p->session = NULL;
    process_close_pipes(p);
    if (!p->detached) {
      p->holds = session;
      tree_kill(&p->tree);
    }
    settle(p);
  }
}

bool processes_hold(const struct session *session) {
  for (struct process *p = processes; p; p = p->next)
    if (p->holds == session) return true;
  return false;
}

void processes_forget(struct session *session) {
  for (struct process *p = processes; p; p = p->next)
    if (p->holds == session) p->holds = NULL;
}

void processes_end_all(bool force) {
  for (struct process *p = processes; p; p = p->next) {
    if (force || !p->detached) tree_kill(&p->tree);
    else tree_signal(&p->tree, SIGTERM, true);
  }
}

bool processes_any(void) {
  for (struct process *p = processes; p; p = p->next)
    if (!p->tree.gone) return true;
  return false;
}
