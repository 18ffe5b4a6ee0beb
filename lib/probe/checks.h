/* The checks of the probe, one table for each kind of thing. Private to lib/probe. */
#ifndef HCSD_PROBE_CHECKS_H
#define HCSD_PROBE_CHECKS_H

#include <windows.h>

#include <stdint.h>

#include "probe/probe.h"

struct probe {
    const struct probe_options *options;
    bool wine;
    wchar_t *folder;    /* \\?\…\probe-PID below the state folder; NULL: it could not be made */
    struct buffer text; /* what the check found */
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

extern const struct probe_table probe_system, probe_token, probe_service, probe_files, probe_pipes, probe_processes,
    probe_hcs;

/* Puts the text of what was found; the last one counts. */
void probe_found(struct probe *probe, const char *format, ...) ERROR_PRINTF(2, 3);
/* The same for a call that failed: "CreateFile: access is denied (error 5)"; gives PROBE_DIFFERENT. */
enum probe_verdict probe_failed(struct probe *probe, const char *call, DWORD code);
enum probe_verdict probe_status(struct probe *probe, const char *call, int32_t status);
enum probe_verdict probe_judge(bool as_expected);

#endif
