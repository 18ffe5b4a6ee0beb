/* The journalled forms of a container and of an exec. Pure; thread-safe.
 *
 * Each exec has a document of its own, so that what a process costs does not grow with how many there are. It names the container
 * and its `instance`: one that a later container of the same id finds is not its own. */
#ifndef HCSD_TASK_RECORD_H
#define HCSD_TASK_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "task/phases.h"

#define RECORD_VERSION 1

struct record {
    const char *bundle, *stdin_path, *stdout_path, *stderr_path;
    const char *scratch;  /* the layer that was mounted for it, "": none */
    const char *instance; /* "": in older documents */
    const char *sandbox;  /* the pod that it belongs to, "": none */
    const char
        *session; /* what finds its stdio in the relay again (relay/relays.h); "": none, and in older documents */
    enum phase phase;
    bool terminal, ran;
    bool isolated, linux_container;
    bool asked;  /* somebody wanted its end */
    bool hidden; /* deleted by force */
    uint32_t pid, exit_status;
    int64_t exited_ns;
    /* Of one that is ending: what its init ended with, and when. Older documents do without. */
    bool code_known;
    uint32_t exit_code;
    int64_t noticed_ns;
};

json_t *record_encode(const struct record *record);
/* The texts live as long as `body`. DATA_LOSS naming the member that is missing or of the wrong type; members that are not
 * known are ignored. */
struct error *record_decode(const json_t *body, const char *id, struct record *ret_record) ERROR_MUST_CHECK;

#define EXEC_RECORD_VERSION 1

struct exec_record {
    const char *containerd_namespace, *id, *instance, *exec_id;
    const char *stdin_path, *stdout_path, *stderr_path;
    const char *session;
    json_t *document; /* what HcsCreateProcess is to be given, while it has not been started; NULL: it has. Borrowed */
    /* STARTING: it may run or not; with a pid it does. ENDING: it has ended with exit_code, and output is being passed on. */
    enum phase phase;
    bool terminal;
    uint32_t pid;                 /* 0: not started, as far as is known */
    int64_t begun_ns, started_ns; /* when HcsCreateProcess was called and had returned; 0: not known */
    bool code_known;
    uint32_t exit_code;
    int64_t exited_ns;
};

json_t *exec_record_encode(const struct exec_record *record);
/* As record_decode. */
struct error *exec_record_decode(const json_t *body, const char *name, struct exec_record *ret_record) ERROR_MUST_CHECK;

#endif
