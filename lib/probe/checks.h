/* The checks of the probe, one table for each kind of thing. Private to lib/probe. */
#ifndef HCSD_PROBE_CHECKS_H
#define HCSD_PROBE_CHECKS_H

#include <windows.h>

#include <stdint.h>

#include "probe/probe.h"

struct probe {
    const struct probe_options *options;
    bool wine;
    wchar_t *folder;           /* \\?\…\probe-PID below the state folder; NULL: it could not be made */
    struct buffer text;        /* what the check found */
    struct probe_layer *layer; /* of layer.c, between its first check and its last */
};

/* A check says what it found with probe_found, and returns whether that is what was expected. */
struct probe_check {
    const char *group, *name, *expected;
    enum probe_verdict (*look)(struct probe *probe, const char *argument);
    const char *argument; /* what several checks with one function differ in */
};

struct probe_table {
    const struct probe_check *checks;
    size_t count;
};

extern const struct probe_table probe_system, probe_token, probe_service, probe_files, probe_backup, probe_pipes,
    probe_processes, probe_hcs, probe_layers;

/* Puts the text of what was found; the last one counts. */
void probe_found(struct probe *probe, const char *format, ...) ERROR_PRINTF(2, 3);
/* The same for a call that failed: "CreateFile: access is denied (error 5)"; gives PROBE_DIFFERENT. */
enum probe_verdict probe_failed(struct probe *probe, const char *call, DWORD code);
enum probe_verdict probe_status(struct probe *probe, const char *call, int32_t status);
enum probe_verdict probe_judge(bool as_expected);

#define PROBE_SCRATCH "scratch" /* in the probe's folder */

bool probe_is_folder(const char *path);
/* For the folder of each probe that has been killed. */
void probe_each_left(struct probe *probe, void (*use)(struct probe *probe, const char *folder));
/* The probe's folder as a plain path, whether it is there or not. The caller frees it. */
char *probe_folder(const struct probe *probe);
/* A path in the probe's folder. The caller frees it. */
wchar_t *probe_place(const struct probe *probe, const wchar_t *name);
/* A new file there with the bytes "probe", open with `access`. NULL: told already, *ret_verdict is the check's. */
HANDLE probe_make(struct probe *probe, const wchar_t *name, DWORD access, DWORD attributes,
                  enum probe_verdict *ret_verdict);

#endif
