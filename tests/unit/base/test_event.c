#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/event.h"
#include "base/text.h"

static void the_catalogue_is_sound(void **state)
{
    (void)state;
    static const unsigned first_of_category[] = {0, 1, 100, 200, 300, 400};
    for (size_t i = 0; i < event_catalogue_size; i++) {
        const struct event_entry *entry = &event_catalogue[i];
        if (i > 0 && event_catalogue[i - 1].id >= entry->id)
            fail_msg("event %d does not ascend", entry->id);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(event_catalogue[j].name, entry->name);
        unsigned highest = 0;
        for (const char *at = entry->message; *at != 0; at++)
            if (at[0] == '%') {
                if (at[1] < '1' || at[1] > '9')
                    fail_msg("%s: a percent sign without a digit", entry->name);
                unsigned number = (unsigned)(at[1] - '0');
                highest = number > highest ? number : highest;
            }
        if (highest != entry->arguments)
            fail_msg("%s: %u arguments, but %%%u is the highest", entry->name, entry->arguments, highest);
        for (char digit = '1'; digit <= (char)('0' + highest); digit++) {
            char mark[] = {'%', digit, 0};
            if (strstr(entry->message, mark) == NULL)
                fail_msg("%s: %s is not used", entry->name, mark);
        }
        /* A sentence, or one that ends in a cause or list that is inserted. */
        size_t size = strlen(entry->message);
        assert_true(size > 2);
        if (entry->message[size - 1] != '.' && entry->message[size - 2] != '%')
            fail_msg("%s: the message ends neither in a stop nor in an argument", entry->name);
        assert_true(text_is_utf8(entry->message, size));
        if (entry->severity != EVENT_INFORMATION && entry->action[0] == 0)
            fail_msg("%s: it does not say what to do", entry->name);
        assert_int_equal((unsigned)entry->id / 100, first_of_category[entry->category] / 100);
        assert_true((unsigned)entry->id >= first_of_category[entry->category]);
        assert_ptr_equal(event_find(entry->id), entry);
        assert_true(event_category_name(entry->category)[0] != 0);
    }
    assert_null(event_find(0));
    assert_null(event_find(99));
    assert_null(event_find(100000));
}

static struct buffer heard;

static void hear(void *context, const struct event_entry *entry, const char *const *arguments)
{
    assert_ptr_equal(context, &heard);
    char *text = event_text(entry, arguments);
    buffer_add_format(&heard, "%s|%s\n", entry->name, text);
    free(text);
}

static void hear_debug(void *context, const char *line)
{
    (void)context;
    buffer_add_format(&heard, "debug|%s\n", line);
}

static void events_reach_the_sink(void **state)
{
    (void)state;
    event_emit(EVENT_SERVICE_STARTED, "1", "2", "3"); /* no sink: dropped */
    log_debug("nobody hears");
    const struct event_sink sink = {hear, hear_debug, &heard};
    event_set_sink(&sink);
    event_emit(EVENT_TASK_CREATE_FAILED, "web", "100%1 full");
    event_emit(EVENT_WORKER_GONE, NULL);
    log_debug("seen %d", 7);
    event_emit_array(EVENT_TASK_CREATE_FAILED, (const char *const[]){"a"}, 1);
    event_set_sink(NULL);
    event_emit(EVENT_WORKER_GONE, "x");
    assert_string_equal((char *)heard.data, "TASK_CREATE_FAILED|Container web could not be created: 100%1 full\n"
                                            "WORKER_GONE|Worker process , which would not end, is gone at last.\n"
                                            "debug|seen 7\n"
                                            "TASK_CREATE_FAILED|Container a could not be created: \n"
                                            "debug|event TASK_CREATE_FAILED was given 1 arguments instead of 2\n");
    buffer_free(&heard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_catalogue_is_sound),
        cmocka_unit_test(events_reach_the_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
