/* The bounded queue: order, loss, flush and a writer that does not come back. The tests hold the writer's thread up with
 * an event, so that nothing depends on time. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/memory.h"
#include "daemon/log/writer.h"

#define LONG_MS 30000

struct place {
    HANDLE entered, proceed; /* auto-reset */
    bool hold;
    char lines[64][32];
    uint64_t lost[64];
    unsigned count;
};

static void write_record(void *context, const struct log_record *record, uint64_t lost)
{
    struct place *place = context;
    if (place->hold) {
        SetEvent(place->entered);
        WaitForSingleObject(place->proceed, INFINITE);
    }
    snprintf(place->lines[place->count], sizeof place->lines[0], "%s", record->arguments[0]);
    place->lost[place->count] = lost;
    place->count++;
}

static struct log_writer *open_writer(struct place *place, size_t limit)
{
    struct log_writer *writer = NULL;
    struct log_writer_options options = {.limit = limit, .write = write_record, .context = place};
    place->entered = CreateEventW(NULL, FALSE, FALSE, NULL);
    place->proceed = CreateEventW(NULL, FALSE, FALSE, NULL);
    assert_null(log_writer_open(&options, &writer));
    return writer;
}

static void close_place(struct place *place)
{
    CloseHandle(place->entered);
    CloseHandle(place->proceed);
}

static void put(struct log_writer *writer, unsigned number)
{
    char *text = str_format("%u", number);
    log_writer_put(writer, log_record_new(NULL, (const char *const[]){text}, 0));
    free(text);
}

static void test_order_and_close(void **state)
{
    (void)state;
    struct place place = {0};
    struct log_writer *writer = open_writer(&place, 64);
    for (unsigned i = 0; i < 50; i++)
        put(writer, i);
    assert_true(log_writer_close(writer, LONG_MS));
    assert_int_equal(place.count, 50);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(strtoul(place.lines[i], NULL, 10), i);
        assert_int_equal(place.lost[i], 0);
    }
    close_place(&place);
}

static void test_loss_is_counted(void **state)
{
    (void)state;
    struct place place = {.hold = true};
    struct log_writer *writer = open_writer(&place, 2);
    put(writer, 1);
    assert_int_equal(WaitForSingleObject(place.entered, LONG_MS), WAIT_OBJECT_0); /* 1 is in hand, the queue empty */
    for (unsigned i = 2; i <= 6; i++)
        put(writer, i); /* 2 and 3 fit; 4, 5 and 6 do not */
    SetEvent(place.proceed);
    assert_int_equal(WaitForSingleObject(place.entered, LONG_MS), WAIT_OBJECT_0); /* 2 in hand */
    put(writer, 7);
    place.hold = false;
    SetEvent(place.proceed);
    assert_true(log_writer_close(writer, LONG_MS));
    static const char *const lines[] = {"1", "2", "3", "7"};
    static const unsigned lost[] = {0, 0, 0, 3};
    assert_int_equal(place.count, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_string_equal(place.lines[i], lines[i]);
        assert_int_equal(place.lost[i], lost[i]);
    }
    close_place(&place);
}

static void test_flush_waits_for_what_was_put(void **state)
{
    (void)state;
    struct place place = {0};
    struct log_writer *writer = open_writer(&place, 64);
    for (unsigned i = 0; i < 20; i++)
        put(writer, i);
    log_writer_flush(writer, LONG_MS);
    assert_int_equal(place.count, 20);
    assert_true(log_writer_close(writer, LONG_MS));
    close_place(&place);
}

/* As the event log service at boot: neither putting nor closing waits for it. */
static void test_stuck_writer(void **state)
{
    (void)state;
    struct place place = {.hold = true};
    struct log_writer *writer = open_writer(&place, 2);
    put(writer, 1);
    assert_int_equal(WaitForSingleObject(place.entered, LONG_MS), WAIT_OBJECT_0);
    put(writer, 2);
    put(writer, 3);
    put(writer, 4);
    log_writer_flush(writer, 1);
    assert_false(log_writer_close(writer, 1));
    place.hold = false;
    SetEvent(place.proceed); /* now it ends; the writer is given up all the same */
    assert_true(log_writer_close(writer, LONG_MS));
    assert_int_equal(place.count, 3);
    close_place(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_close),
        cmocka_unit_test(test_loss_is_counted),
        cmocka_unit_test(test_flush_waits_for_what_was_put),
        cmocka_unit_test(test_stuck_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
