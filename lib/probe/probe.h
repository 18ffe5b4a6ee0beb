/* The host probe: what this project believes of Windows, asked of the Windows it runs on. hcsd was written by documents and has
 * run under Wine; someone with a real server runs `hcsctl diag host` and sends the report back.
 *
 * Each check is a row of a table: what is asked, what the documents say (facts: windows.md), and a function that looks. Nothing
 * is changed outside a folder of its own in the state folder, which is removed again (the layers are only read). Windows only; runs in a process of its own
 * (hcsd.exe --probe-host), because what it asks may hang: who starts it bounds its time. */
#ifndef HCSD_PROBE_PROBE_H
#define HCSD_PROBE_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

enum probe_verdict {
    PROBE_AS_EXPECTED,
    PROBE_DIFFERENT,
    PROBE_NOT_ASKED, /* it could not be: `found` says why */
};

struct probe_row {
    const char *group, *name, *expected; /* static */
    char *found;                         /* UTF-8, one line */
    enum probe_verdict verdict;
};

struct probe_options {
    const char *service;     /* its name; "hcsd" */
    const char *pipe;        /* \\.\pipe\hcsd */
    const char *state_dir;   /* exists; the checks of files work in a folder below */
    const char *staging_dir; /* exists */
    const char *hcs_library; /* NULL: System32's */
    const char *owner;       /* of containers: "hcsd" */
    const char *const
        *layers; /* a layer and its parents, nearest first, over which a scratch is made and exported; or none */
    size_t layer_count;
};

struct probe_report {
    bool wine;
    struct probe_row *rows;
    size_t count;
};

/* Runs every check, in order. */
void probe_run(const struct probe_options *options, struct probe_report *ret_report);
void probe_report_free(struct probe_report *report); /* its contents, not the struct */

/* {"wine":bool,"rows":[{"group","name","expected","found","verdict"}],"different":n}. */
void probe_json(const struct probe_report *report, struct buffer *json);

const char *probe_verdict_name(enum probe_verdict verdict); /* "as expected" */

#endif
