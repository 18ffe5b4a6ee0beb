/* Prints the source of the event log's message table for windmc, made from base/event.def. A build tool: runs on the machine
 * that builds, with nothing but the C library. */
#include <stdio.h>
#include <string.h>

enum severity { INFORMATION = 1, WARNING, ERROR };
enum category { SERVICE = 1, TASK, EXPORT, WATCHDOG, LAYER };

static const struct {
    unsigned number;
    enum severity severity;
    enum category category;
    const char *name, *message, *action;
} events[] = {
#define EVENT(number, name, severity, category, arguments, message, action)                                            \
    {number, severity, category, #name, message, action},
#include "base/event.def"
#undef EVENT
};

/* What windmc and FormatMessage read as their own: a percent sign that is no insertion. */
static void print_text(const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '%' && !(text[1] >= '1' && text[1] <= '9'))
            putchar('%');
        putchar(*text);
    }
}

int main(void)
{
    static const char *const severities[] = {"", "Informational", "Warning", "Error"};
    /* base/event.c has the same names; tests/unit/service compares them. */
    static const char *const categories[] = {"Service", "Containers", "Exports", "Watchdog", "Layers"};
    printf("MessageIdTypedef=DWORD\n"
           "SeverityNames=(Success=0x0 Informational=0x1 Warning=0x2 Error=0x3)\n"
           "FacilityNames=(Hcsd=0x0)\n"
           "LanguageNames=(English=0x409:MSG00409)\n\n");
    for (unsigned i = 0; i < sizeof categories / sizeof categories[0]; i++)
        printf("MessageId=%u\nSeverity=Success\nFacility=Hcsd\nSymbolicName=MESSAGE_CATEGORY_%u\nLanguage=English\n%"
               "s\n.\n\n",
               i + 1, i + 1, categories[i]);
    for (unsigned i = 0; i < sizeof events / sizeof events[0]; i++) {
        printf("MessageId=%u\nSeverity=%s\nFacility=Hcsd\nSymbolicName=MESSAGE_%s\nLanguage=English\n",
               events[i].number, severities[events[i].severity], events[i].name);
        print_text(events[i].message);
        if (*events[i].action != 0) {
            printf("\n\n");
            print_text(events[i].action);
        }
        printf("\n.\n\n");
    }
    return ferror(stdout) != 0;
}
