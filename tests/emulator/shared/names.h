/* Names by which the DLL and its broker find each other and their files.
 *
 * All of them come from the folder that both lie in, so that two build trees do not share a broker. */
#ifndef EMULATOR_SHARED_NAMES_H
#define EMULATOR_SHARED_NAMES_H

#include <windows.h>

struct names {
    wchar_t folder[MAX_PATH];        /* without a backslash at the end */
    wchar_t pipe[64];                /* \\.\pipe\hcsemu-HASH */
    wchar_t mutex[64];               /* held by the broker for its life */
    wchar_t broker[MAX_PATH + 32];   /* hcsemu.exe */
    wchar_t faults[MAX_PATH + 32];   /* vmcompute-faults.json */
    wchar_t settings[MAX_PATH + 32]; /* vmcompute-settings.json */
};

/* Names for the folder of `module` (NULL: the program). False when the system does not tell the folder. */
BOOL names_init(struct names *names, HMODULE module);

#endif
