/* What our programs do first, before anything is loaded. Windows only. */
#ifndef HCSD_BASE_HARDEN_H
#define HCSD_BASE_HARDEN_H

#include <windows.h>

#include <stddef.h>
#include <stdint.h>

/* DLLs from System32 only, whatever the current directory or PATH is; a damaged heap ends the process; the policies below.
 * `error_mode`: SEM_… for SetErrorMode. What an older Windows does not know is passed by. */
void harden_process(UINT error_mode);

/* The mitigations (SetProcessMitigationPolicy) that cost nothing and shut a door. Not among them: strict handle checks (they
 * raise inside vmcompute.dll), Microsoft-signed images only, no child processes (the workers), no dynamic code (facts:
 * windows.md 15). */
struct harden_policy {
    const char *name;
    int policy; /* PROCESS_MITIGATION_POLICY; newer ones are not in every header */
    uint32_t flags;
};
extern const struct harden_policy harden_policies[];
extern const size_t harden_policy_count;

#endif
