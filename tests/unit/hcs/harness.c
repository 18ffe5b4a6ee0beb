#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/event.h"
#include "fake.h"

/* ---- counted memory (linked with --wrap) ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *memory);

static volatile LONG outstanding;

void *__wrap_malloc(size_t size)
{
    InterlockedIncrement(&outstanding);
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    InterlockedIncrement(&outstanding);
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    if (old == NULL)
        InterlockedIncrement(&outstanding);
    return __real_realloc(old, size);
}

void __wrap_free(void *memory)
{
    if (memory != NULL)
        InterlockedDecrement(&outstanding);
    __real_free(memory);
}

LONG allocations(void)
{
    return outstanding;
}

void await_allocations(LONG expected)
{
    await_long(outstanding, expected);
}

/* ---- waiting ---- */

void await_condition(bool (*condition)(void *context), void *context, const char *what)
{
    /* Nothing signals what is waited for here (a thread's last free, for one), so it is looked at again and again. */
    HANDLE never = CreateEventW(NULL, TRUE, FALSE, NULL);
    uint64_t end = clock_ms() + 30000;
    while (!condition(context)) {
        if (clock_ms() > end)
            fail_msg("waited 30 s in vain for: %s\ncalls so far:\n%s", what, fake.log);
        WaitForSingleObject(never, 1);
    }
    CloseHandle(never);
}

struct long_wait {
    volatile LONG *variable;
    LONG expected;
};

static bool is_reached(void *context)
{
    struct long_wait *wait = context;
    return InterlockedCompareExchange(wait->variable, 0, 0) == wait->expected;
}

void await_long_(volatile LONG *variable, LONG expected, const char *what)
{
    struct long_wait wait = {variable, expected};
    await_condition(is_reached, &wait, what);
}

/* ---- events ---- */

static SRWLOCK events_lock = SRWLOCK_INIT;
static char events[16384];

void add_line(char *lines, size_t room, const char *line)
{
    size_t used = strlen(lines);
    snprintf(lines + used, room - used, "%s\n", line);
}

static void hear(void *context, const struct event_entry *entry, const char *const *arguments)
{
    (void)context;
    char line[1024];
    char *text = event_text(entry, arguments);
    snprintf(line, sizeof line, "%s|%s", entry->name, text);
    free(text);
    AcquireSRWLockExclusive(&events_lock);
    add_line(events, sizeof events, line);
    ReleaseSRWLockExclusive(&events_lock);
}

static void hear_debug(void *context, const char *line)
{
    (void)context;
    AcquireSRWLockExclusive(&events_lock);
    add_line(events, sizeof events, line);
    ReleaseSRWLockExclusive(&events_lock);
}

void events_reset(void)
{
    static const struct event_sink sink = {hear, hear_debug, NULL};
    event_set_sink(&sink);
    AcquireSRWLockExclusive(&events_lock);
    events[0] = 0;
    ReleaseSRWLockExclusive(&events_lock);
}

bool events_have(const char *part)
{
    AcquireSRWLockExclusive(&events_lock);
    bool found = strstr(events, part) != NULL;
    ReleaseSRWLockExclusive(&events_lock);
    return found;
}

static bool have_event(void *part)
{
    return events_have(part);
}

void await_event(const char *part)
{
    await_condition(have_event, (void *)(uintptr_t)part, part);
}

/* ---- tests ---- */

void warm_up(void **state)
{
    (void)state;
}

void expect_ok(struct error *error)
{
    if (error != NULL) {
        char *text = error_text(error);
        fail_msg("%s", text);
    }
}

void expect_error(struct error *error, enum error_kind kind, const char *part)
{
    if (error == NULL)
        fail_msg("it succeeded, expected %s", error_kind_name(kind));
    char *text = error_text(error);
    if (error->kind != kind || strstr(text, part) == NULL)
        fail_msg("found %s: %s\nexpected %s with \"%s\"", error_kind_name(error->kind), text, error_kind_name(kind),
                 part);
    free(text);
    error_free(error);
}
