/* The fault file, vmcompute-faults.json beside the DLL: an array of rows
 *   {"call":"ExportLayer","match":"text in the id or path","action":"fail|hang|pending|late|twice|crash|disconnect",
 *    "hresult":"0x…","after_ms":0,"count":1,"skip":0}
 * It is looked at on every call; a look costs one query of the file's attributes while the file stays as it is.
 * `call` is an export's name, "*" for any, or the name of a notification (ProcessExited, SystemExited). A row without
 * `match` matches everything, one without `count` (or 0) applies every time; the first `skip` times it does not.
 * What is counted starts anew with every change of the file.
 *
 * Thread-safe. */
#ifndef EMULATOR_SHARED_FAULTS_H
#define EMULATOR_SHARED_FAULTS_H

#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum fault_action {
    FAULT_NONE,
    FAULT_FAIL,       /* the call returns `hresult` */
    FAULT_HANG,       /* the call does not go on while the row is there */
    FAULT_PENDING,    /* the call returns pending and does not take effect while the row is there */
    FAULT_LATE,       /* its notification comes `after_ms` late */
    FAULT_TWICE,      /* its notification comes twice, from two threads at once */
    FAULT_CRASH,      /* the call raises 0xC0000420, or `hresult`, in its caller */
    FAULT_DISCONNECT, /* all clients lose the service and their handles; the call fails */
};

struct fault {
    enum fault_action action;
    HRESULT hresult;
    bool has_hresult;
    uint32_t after_ms;
    uint32_t count, skip;
    uint32_t index;      /* place in the file */
    uint64_t generation; /* of the file: its counts belong to it */
    char *row;           /* the row in canonical form; NULL when action is NONE. fault_free */
};

/* A fault file and what was last read of it. */
struct faults;

struct faults *faults_new(const wchar_t *path);

/* The first row for `call` on `object` (an id or path) from `index` on, whatever its count says. No row: action NONE.
 * 0x8007000D when the file is malformed; the message names the line. */
struct error *faults_find(struct faults *faults, const char *call, const char *object, uint32_t index,
                          struct fault *ret_fault) ERROR_MUST_CHECK;

/* Waits for a change beside the fault file, `ms` at most. */
void faults_wait(const struct faults *faults, uint32_t ms);

/* Is an equal row still in the file? A malformed file releases nothing. */
bool faults_has_row(struct faults *faults, const char *row);

/* Fills in `fault` from a row's text, as sent in a message; false when it is none. */
bool fault_parse(const char *row, struct fault *ret_fault);

void fault_free(struct fault *fault);
const char *fault_action_name(enum fault_action action);

#endif
