#include "task/signals.h"

#include <stddef.h>

struct row {
    uint32_t number;
    enum signal_action init, exec;
    enum signal_action old_init, old_exec; /* before SIGNAL_CONSOLE_BUILD */
    const char *console;
};

static const struct row rows[] = {
    {0, SIGNAL_CONSOLE, SIGNAL_CONSOLE, SIGNAL_REFUSED, SIGNAL_REFUSED, "CtrlC"},
    {1, SIGNAL_CONSOLE, SIGNAL_CONSOLE, SIGNAL_REFUSED, SIGNAL_REFUSED, "CtrlBreak"},
    {2, SIGNAL_CONSOLE, SIGNAL_CONSOLE, SIGNAL_REFUSED, SIGNAL_REFUSED, "CtrlClose"},
    {5, SIGNAL_CONSOLE, SIGNAL_CONSOLE, SIGNAL_REFUSED, SIGNAL_REFUSED, "CtrlLogOff"},
    {6, SIGNAL_SHUTDOWN, SIGNAL_CONSOLE, SIGNAL_SHUTDOWN, SIGNAL_TERMINATE, "CtrlShutdown"},
    {9, SIGNAL_TERMINATE, SIGNAL_TERMINATE, SIGNAL_TERMINATE, SIGNAL_TERMINATE, NULL},
    {15, SIGNAL_SHUTDOWN, SIGNAL_CONSOLE, SIGNAL_SHUTDOWN, SIGNAL_TERMINATE, "CtrlShutdown"},
};

struct signal_plan signal_plan(uint32_t number, bool init, uint32_t os_build)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (row->number != number)
            continue;
        enum signal_action action =
            os_build >= SIGNAL_CONSOLE_BUILD ? (init ? row->init : row->exec) : (init ? row->old_init : row->old_exec);
        return (struct signal_plan){action, action == SIGNAL_CONSOLE ? row->console : NULL};
    }
    return (struct signal_plan){SIGNAL_REFUSED, NULL};
}
