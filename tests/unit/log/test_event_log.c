/* What the event log is given: types, categories, ids, strings; loss told as soon as one gets through again. The calls are
 * the test's own: Wine's are stubs that cannot be read back. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/win.h"
#include "daemon/log/event_log.h"

#define LONG_MS     30000
#define REPORTS_MAX 1200

struct reported {
    WORD type, category, count;
    DWORD id;
    char *strings[3];
};

static struct {
    struct reported reports[REPORTS_MAX];
    unsigned count, opened, closed;
    bool refuse_open, refuse_report;
    wchar_t source[32];
} fake;

static HANDLE WINAPI fake_open(const wchar_t *server, const wchar_t *source)
{
    assert_null(server);
    if (fake.refuse_open)
        return NULL;
    fake.opened++;
    memcpy(fake.source, source, (wcslen(source) + 1) * sizeof *source);
    return (HANDLE)(uintptr_t)4242;
}

static BOOL WINAPI fake_report(HANDLE log, WORD type, WORD category, DWORD id, PSID user, WORD count, DWORD size,
                               const wchar_t **strings, void *data)
{
    (void)user;
    (void)size;
    (void)data;
    assert_ptr_equal(log, (HANDLE)(uintptr_t)4242);
    if (fake.refuse_report)
        return FALSE;
    struct reported *report = &fake.reports[fake.count++];
    *report = (struct reported){.type = type, .category = category, .count = count, .id = id};
    for (WORD i = 0; i < count && i < 3; i++)
        report->strings[i] = win_text(strings[i]);
    return TRUE;
}

static BOOL WINAPI fake_close(HANDLE log)
{
    (void)log;
    fake.closed++;
    return TRUE;
}

static const struct event_log_calls calls = {fake_open, fake_report, fake_close};

static struct event_log *open_log(void)
{
    struct event_log *log = NULL;
    for (unsigned i = 0; i < fake.count; i++) {
        for (int n = 0; n < 3; n++)
            free(fake.reports[i].strings[n]);
    }
    memset(&fake, 0, sizeof fake);
    assert_null(event_log_open("hcsd-test", &calls, &log));
    return log;
}

static void put(struct event_log *log, enum event_id id, const char *a, const char *b, const char *c)
{
    event_log_put(log, event_find(id), (const char *const[]){a, b, c});
}

static void test_what_is_reported(void **state)
{
    (void)state;
    struct event_log *log = open_log();
    assert_int_equal(fake.opened, 0);
    put(log, EVENT_SERVICE_STARTED, "1.0", "\\\\.\\pipe\\hcsd", "C:\\state");
    put(log, EVENT_CLIENT_REFUSED, "100%%1", "gr\xC3\xBCn\xFF", NULL);
    put(log, EVENT_TASK_STUCK, "web", "why", NULL);
    event_log_close(log, LONG_MS);
    assert_int_equal(fake.count, 3);
    assert_int_equal(fake.opened, 1);
    assert_int_equal(fake.closed, 1);
    assert_int_equal(wcscmp(fake.source, L"hcsd-test"), 0);
    static const struct {
        WORD type, category, count;
        DWORD id;
        const char *strings[3];
    } rows[] = {
        {EVENTLOG_INFORMATION_TYPE, 1, 3, 0x40000001, {"1.0", "\\\\.\\pipe\\hcsd", "C:\\state"}},
        {EVENTLOG_WARNING_TYPE, 1, 2, 0x80000008, {"100% %1", "gr\xC3\xBCn\\xFF", NULL}},
        {EVENTLOG_ERROR_TYPE, 4, 3, 0xC0000136, {"web", "why", ""}},
    };
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(fake.reports[i].type, rows[i].type);
        assert_int_equal(fake.reports[i].category, rows[i].category);
        assert_int_equal(fake.reports[i].count, rows[i].count);
        assert_int_equal(fake.reports[i].id, rows[i].id);
        for (int n = 0; n < rows[i].count; n++)
            assert_string_equal(fake.reports[i].strings[n], rows[i].strings[n]);
    }
}

/* Refused three times, then taken: the fourth is preceded by the number of lost ones. */
static void test_loss_is_told(void **state)
{
    (void)state;
    for (int refuse_open = 0; refuse_open < 2; refuse_open++) {
        struct event_log *log = open_log();
        fake.refuse_open = refuse_open;
        fake.refuse_report = !refuse_open;
        for (int i = 0; i < 3; i++)
            put(log, EVENT_SERVICE_STOPPED, "1", "2", NULL);
        event_log_flush(log, LONG_MS);
        assert_int_equal(fake.count, 0);
        fake.refuse_open = fake.refuse_report = false;
        put(log, EVENT_SERVICE_STOPPED, "9", "2", NULL);
        put(log, EVENT_SERVICE_STOPPED, "10", "2", NULL);
        event_log_close(log, LONG_MS);
        assert_int_equal(fake.count, 3);
        assert_int_equal(fake.reports[0].id, 0x80000009);
        assert_string_equal(fake.reports[0].strings[0], "3");
        assert_string_equal(fake.reports[1].strings[0], "9");
        assert_string_equal(fake.reports[2].strings[0], "10");
    }
}

static void test_every_event(void **state)
{
    (void)state;
    struct event_log *log = open_log();
    const char *arguments[LOG_ARGUMENTS_MAX] = {"1", "2", "3", "4", "5", "6", "7", "8", "9"};
    for (size_t i = 0; i < event_catalogue_size; i++)
        event_log_put(log, &event_catalogue[i], arguments);
    event_log_close(log, LONG_MS);
    assert_int_equal(fake.count, event_catalogue_size);
    for (size_t i = 0; i < event_catalogue_size; i++) {
        assert_int_equal(fake.reports[i].id & 0x3FFFFFFF, event_catalogue[i].id);
        assert_int_equal(fake.reports[i].count, event_catalogue[i].arguments);
        assert_int_equal(fake.reports[i].category, event_catalogue[i].category);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_reported),
        cmocka_unit_test(test_loss_is_told),
        cmocka_unit_test(test_every_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
