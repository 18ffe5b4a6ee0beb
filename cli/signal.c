#include "cli/signal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const struct {
    const char *name;
    uint32_t number;
} names[] = {
    {"KILL", 9},  {"TERM", 15},     {"HUP", 1},       {"INT", 2},        {"QUIT", 3},         {"ABRT", 6},
    {"CtrlC", 0}, {"CtrlBreak", 1}, {"CtrlClose", 2}, {"CtrlLogOff", 5}, {"CtrlShutdown", 6},
};

struct error *signal_parse(const char *text, uint32_t *ret_number)
{
    char *end = NULL;
    unsigned long number = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == 0 && number <= 255) {
        *ret_number = (uint32_t)number;
        return NULL;
    }
    const char *bare =
        strlen(text) > 3 && (text[0] | 32) == 's' && (text[1] | 32) == 'i' && (text[2] | 32) == 'g' ? text + 3 : text;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (text_equal_ascii_nocase(names[i].name, bare)) {
            *ret_number = names[i].number;
            return NULL;
        }
    return error_make(ERROR_KIND_INVALID_ARGUMENT, "read the command line", text,
                      "--signal takes a number from 0 to 255 or a name: KILL, TERM, HUP, INT, QUIT, ABRT, CtrlC, "
                      "CtrlBreak, CtrlClose, CtrlLogOff, CtrlShutdown");
}
