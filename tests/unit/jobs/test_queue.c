/* The queue takes turns between keys, and within a key keeps the order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/jobs/queue.h"

/* A script: `a1` adds item 1 for key a, `!1` adds item 1 before everybody else, `-1` removes it, `?1` takes one and expects
 * item 1, `?.` expects none. */
static void run(const char *script)
{
    static char items[128];
    struct queue *queue = queue_new();
    size_t count = 0;
    for (const char *at = script; at[0] != '\0'; at += at[2] == '\0' ? 2 : 3) {
        char *item = &items[(unsigned char)at[1]];
        if (at[0] == '?') {
            void *expected = at[1] == '.' ? NULL : item, *found = queue_take(queue);
            if (found != expected)
                fail_msg("\"%s\" at \"%s\": expected %c, found %c", script, at, at[1],
                         found == NULL ? '.' : (char)((char *)found - items));
            count -= found != NULL;
        } else if (at[0] == '-') {
            count -= queue_remove(queue, item);
        } else if (at[0] == '!') {
            queue_add_first(queue, item);
            count++;
        } else {
            queue_add(queue, (uint64_t)at[0], item);
            count++;
        }
        assert_int_equal(queue_count(queue), count);
    }
    queue_free(queue);
}

static void test_scripts(void **state)
{
    (void)state;
    static const char *const scripts[] = {
        "?.",
        "a1 ?1 ?.",
        "a1 a2 a3 ?1 ?2 ?3 ?.",
        "a1 a2 a3 b4 b5 c6 ?1 ?4 ?6 ?2 ?5 ?3 ?.",
        "a1 a2 ?1 b3 ?2 ?3 ?.",
        "a1 a2 a3 ?1 b4 ?2 ?4 ?3 ?.",
        "a1 b2 !3 ?3 ?1 ?2 ?.",
        "a1 !2 !3 ?3 ?2 ?1 ?.",
        "a1 a2 a3 -2 ?1 ?3 ?.",
        "a1 a2 -1 ?2 ?.",
        "a1 a2 -2 a3 ?1 ?3 ?.",
        "a1 b2 -1 ?2 a3 ?3 ?.",
        "a1 b2 c3 -2 b4 ?1 ?3 ?4 ?.",
        "a1 b2 -2 b3 ?1 ?3 ?.",
        "!1 -1 ?.",
        "-1 a1 -1 -1 ?.",
        "a1 b2 c3",
    };
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
        run(scripts[i]);
}

/* One who asks for everything does not keep the others waiting for more than one turn. */
static void test_fair_to_the_modest(void **state)
{
    (void)state;
    static char greedy[100], modest[10];
    struct queue *queue = queue_new();
    for (size_t i = 0; i < sizeof greedy; i++)
        queue_add(queue, 1, &greedy[i]);
    for (size_t i = 0; i < sizeof modest; i++)
        queue_add(queue, 2 + i, &modest[i]);
    size_t taken = 0, of_modest = 0;
    while (of_modest < sizeof modest) {
        char *item = queue_take(queue);
        taken++;
        of_modest += item >= modest && item < modest + sizeof modest;
    }
    assert_int_equal(taken, sizeof modest + 1);
    queue_free(queue);
    queue_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scripts), cmocka_unit_test(test_fair_to_the_modest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
