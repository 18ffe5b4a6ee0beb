/* What the signal numbers of a Kill request mean for a Windows container. Pure.
 *
 * Source: hcsshim internal/signals (docs: facts of containerd's Task API, 3.5) and this project's decision that TERM to an
 * init shuts its container down. Numbers follow Windows' CTRL_* codes except 6, 9 and 15; containerd's clients send Unix
 * numbers, so an INT arrives as CtrlClose and a HUP as CtrlBreak. */
#ifndef HCSD_TASK_SIGNALS_H
#define HCSD_TASK_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

enum signal_action {
    SIGNAL_REFUSED,   /* FAILED_PRECONDITION */
    SIGNAL_TERMINATE, /* at once, climbing the kill ladder for an init */
    SIGNAL_SHUTDOWN,  /* the container is shut down; never escalates by itself */
    SIGNAL_CONSOLE,   /* a console event is sent to the process, in the background */
};

struct signal_plan {
    enum signal_action action;
    const char *console; /* static: "CtrlC", …; NULL unless SIGNAL_CONSOLE */
};

#define SIGNAL_CONSOLE_BUILD 17763u /* RS5: the first Windows build that delivers console events */

struct signal_plan signal_plan(uint32_t number, bool init, uint32_t os_build);

#endif
