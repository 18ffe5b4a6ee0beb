/* What every exported call passes before it does anything: the fault file, and for storage calls the privileges. */
#ifndef EMULATOR_CLIENT_GATE_H
#define EMULATOR_CLIENT_GATE_H

#include "shared/faults.h"

/* Lets `call` on `object` (an id or path) pass, or not: fails it, hangs it, crashes or disconnects as the fault file
 * says. Faults that strike later (pending, late, twice) come back in *ret_fault for the call to deal with: fault_free.
 * A malformed file fails every call with 0x8007000D and says why on stderr. */
struct error *gate_pass(const char *call, const char *object, struct fault *ret_fault) ERROR_MUST_CHECK;

/* For calls that work through many files: looks at the file, but leaves a fault that is to strike only after `after_ms`
 * of the work in *ret_fault, for gate_strike_due. */
struct error *gate_pass_work(const char *call, const char *object, struct fault *ret_fault) ERROR_MUST_CHECK;

/* A fault that strikes within the work. */
struct work_fault {
    const char *call;
    const char *object;
    struct fault fault;
    ULONGLONG began;
    bool struck;
};

/* Called between files: strikes when its time has come. `finishing`: the work is done, so it strikes in any case. */
struct error *gate_strike_due(struct work_fault *fault, bool finishing) ERROR_MUST_CHECK;

/* 1314 unless the settings leave privileges unchecked or the process's token has them, enabled. */
enum gate_privilege { GATE_NONE, GATE_BACKUP, GATE_BACKUP_RESTORE };
struct error *gate_privileges(const char *call, const char *object, enum gate_privilege needed) ERROR_MUST_CHECK;

#endif
