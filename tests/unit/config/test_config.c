/* Runs in its own folder. HCSD_UPDATE_EXPECTED=1 writes what was found as what is expected: look at the difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/config.h"

#define PROGRAM_DATA "C:\\ProgramData"

static struct config *parse(const char *text, struct config_list *problems)
{
    return config_parse(text, strlen(text), PROGRAM_DATA, problems);
}

static struct buffer read_file(const char *path)
{
    struct buffer content = {0};
    char piece[4096];
    buffer_add_text(&content, "");
    FILE *file = fopen(path, "rb");
    for (size_t size; file != NULL && (size = fread(piece, 1, sizeof piece, file)) > 0;)
        buffer_add(&content, piece, size);
    if (file != NULL)
        fclose(file);
    return content;
}

static void assert_file_is(const char *path, const char *found)
{
    if (getenv("HCSD_UPDATE_EXPECTED") != NULL) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        fputs(found, file);
        fclose(file);
    }
    struct buffer expected = read_file(path);
    if (strcmp((char *)expected.data, found) != 0)
        fail_msg("%s: expected\n%s\nfound\n%s\n(HCSD_UPDATE_EXPECTED=1 takes it)", path, (char *)expected.data, found);
    buffer_free(&expected);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config_list problems = {0};
    struct config *config = parse("{}", &problems);
    assert_non_null(config);
    assert_string_equal(config->pipe, "\\\\.\\pipe\\hcsd");
    assert_int_equal(config->pipe_access.count, 0);
    assert_string_equal(config->state_dir, "C:\\ProgramData\\hcsd\\state");
    assert_string_equal(config->staging_dir, "C:\\ProgramData\\hcsd\\staging");
    assert_null(config->hcs_library);
    assert_int_equal(config->hcs_call_seconds, 240);
    assert_int_equal(config->hcs_max_lost_calls, 16);
    assert_int_equal(config->export_workers, 2);
    assert_int_equal(config->export_queue, 256);
    assert_int_equal(config->watchdog_stall_seconds, 30);
    assert_int_equal(config->watchdog_destroy_seconds, 120);
    assert_int_equal(config->kill_answer_seconds, 10);
    assert_int_equal(config->stdio_drain_seconds, 10);
    assert_false(config->restart_terminate_survivors);
    config_free(config);
}

/* The table's own texts say what the code does. */
static void test_default_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        char *number = str_format("%u", key->initial);
        if (key->type == CONFIG_NUMBER) {
            assert_string_equal(number, key->initial_text);
            assert_true(key->minimum <= key->initial && key->initial <= key->maximum);
        } else if (key->type == CONFIG_FLAG) {
            assert_string_equal(key->initial != 0 ? "true" : "false", key->initial_text);
        }
        free(number);
    }
}

static void test_every_key(void **state)
{
    (void)state;
    struct config_list problems = {0};
    struct config *config =
        parse("\xEF\xBB\xBF{\"pipe\":\"\\\\\\\\.\\\\PIPE\\\\ProtectedPrefix\\\\Administrators\\\\x\","
              "\"pipe_access\":[\"S-1-5-32-545\",\"LAB\\\\Gr\xC3\xBCn\"],"
              "\"state_dir\":\"D:/state/./here/\",\"staging_dir\":\"d:\\\\staging\","
              "\"hcs\":{\"library\":\"Z:\\\\emulator\\\\vmcompute.dll\",\"call_seconds\":1,\"max_lost_calls\":256},"
              "\"export\":{\"workers\":64,\"queue\":65536},"
              "\"watchdog\":{\"stall_seconds\":3600,\"destroy_seconds\":1},"
              "\"kill\":{\"answer_seconds\":300},\"stdio\":{\"drain_seconds\":600},"
              "\"restart\":{\"terminate_survivors\":true}}",
              &problems);
    for (size_t i = 0; i < problems.count; i++)
        print_error("%s\n", problems.items[i]);
    assert_non_null(config);
    assert_string_equal(config->pipe, "\\\\.\\PIPE\\ProtectedPrefix\\Administrators\\x");
    assert_int_equal(config->pipe_access.count, 2);
    assert_string_equal(config->pipe_access.items[1], "LAB\\Gr\xC3\xBCn");
    assert_string_equal(config->state_dir, "D:\\state\\here");
    assert_string_equal(config->staging_dir, "d:\\staging");
    assert_string_equal(config->hcs_library, "Z:\\emulator\\vmcompute.dll");
    assert_int_equal(config->hcs_call_seconds, 1);
    assert_int_equal(config->hcs_max_lost_calls, 256);
    assert_int_equal(config->export_workers, 64);
    assert_int_equal(config->export_queue, 65536);
    assert_int_equal(config->watchdog_stall_seconds, 3600);
    assert_int_equal(config->watchdog_destroy_seconds, 1);
    assert_int_equal(config->kill_answer_seconds, 300);
    assert_int_equal(config->stdio_drain_seconds, 600);
    assert_true(config->restart_terminate_survivors);
    config_free(config);
}

/* Each number at both ends of its range, and one beyond. */
static void test_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_key_count; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->type != CONFIG_NUMBER)
            continue;
        const char *dot = strchr(key->name, '.');
        long long values[] = {(long long)key->minimum - 1, key->minimum, key->maximum, (long long)key->maximum + 1};
        for (int n = 0; n < 4; n++) {
            struct config_list problems = {0};
            char *text = str_format("{\"%.*s\":{\"%s\":%lld}}", (int)(dot - key->name), key->name, dot + 1, values[n]);
            struct config *config = parse(text, &problems);
            bool good = n == 1 || n == 2;
            if ((config != NULL) != good)
                fail_msg("%s: expected %s", text, good ? "accepted" : "refused");
            if (good) {
                unsigned value;
                memcpy(&value, (char *)config + key->offset, sizeof value);
                assert_int_equal(value, values[n]);
            } else {
                char *allowed = str_format("%s: %lld is not allowed; expected a whole number from %u to %u", key->name,
                                           values[n], key->minimum, key->maximum);
                assert_int_equal(problems.count, 1);
                assert_string_equal(problems.items[0], allowed);
                free(allowed);
            }
            config_free(config);
            config_list_free(&problems);
            free(text);
        }
    }
}

/* Every file in bad/ is refused with exactly the lines that stand in the file of the same name and .txt. */
static void test_bad_files(void **state)
{
    (void)state;
    unsigned count = 0;
    DIR *folder = opendir("bad");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        size_t size = strlen(entry->d_name);
        if (size < 5 || strcmp(entry->d_name + size - 5, ".json") != 0)
            continue;
        char *path = str_format("bad/%s", entry->d_name),
             *expected = str_format("bad/%.*s.txt", (int)size - 5, entry->d_name);
        struct buffer text = read_file(path), found = {0};
        struct config_list problems = {0};
        struct config *config = config_parse((char *)text.data, text.size, PROGRAM_DATA, &problems);
        if (config != NULL)
            fail_msg("%s: expected to be refused", path);
        buffer_add_text(&found, "");
        for (size_t i = 0; i < problems.count; i++)
            buffer_add_format(&found, "%s\n", problems.items[i]);
        assert_file_is(expected, (char *)found.data);
        struct error *error = config_error("C:\\x.json", &problems);
        assert_int_equal(error->kind, ERROR_KIND_INVALID_ARGUMENT);
        assert_non_null(strstr(error->message, problems.items[problems.count - 1]));
        error_free(error);
        buffer_free(&found);
        buffer_free(&text);
        config_list_free(&problems);
        free(path);
        free(expected);
        count++;
    }
    closedir(folder);
    assert_true(count >= 8);
}

static void test_many_problems_are_bounded(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_add_text(&text, "{\"a\":0");
    for (int i = 0; i < 500; i++)
        buffer_add_format(&text, ",\"k%d\":1", i);
    buffer_add_text(&text, "}");
    struct config_list problems = {0};
    assert_null(config_parse((char *)text.data, text.size, PROGRAM_DATA, &problems));
    assert_int_equal(problems.count, CONFIG_PROBLEMS_MAX + 1);
    assert_string_equal(problems.items[CONFIG_PROBLEMS_MAX], "and 401 more");
    config_list_free(&problems);
    buffer_free(&text);
}

static void test_compare(void **state)
{
    (void)state;
    struct config_list problems = {0}, live = {0}, waiting = {0};
    struct config *before = parse("{}", &problems);
    struct config *after =
        parse("{\"hcs\":{\"call_seconds\":100,\"library\":\"C:\\\\v.dll\"},\"pipe_access\":[\"S-1-1-0\"],"
              "\"restart\":{\"terminate_survivors\":true}}",
              &problems);
    /* A live key that could not be taken waits with the others. */
    config_compare(before, after, "pipe_access", &live, &waiting);
    assert_int_equal(live.count, 1);
    assert_string_equal(live.items[0], "hcs.call_seconds: 240 -> 100");
    assert_int_equal(waiting.count, 3);
    assert_string_equal(waiting.items[0], "pipe_access: [] -> [\"S-1-1-0\"]");
    assert_string_equal(waiting.items[1], "hcs.library: System32's vmcompute.dll -> C:\\v.dll");
    assert_string_equal(waiting.items[2], "restart.terminate_survivors: false -> true");
    config_list_free(&live);
    config_list_free(&waiting);
    config_take_live(before, after, "pipe_access");
    assert_int_equal(before->hcs_call_seconds, 100);
    assert_int_equal(before->pipe_access.count, 0);
    assert_null(before->hcs_library);

    config_compare(before, after, NULL, &live, &waiting);
    assert_int_equal(live.count, 1);
    assert_string_equal(live.items[0], "pipe_access: [] -> [\"S-1-1-0\"]");
    assert_int_equal(waiting.count, 2);
    config_list_free(&live);
    config_list_free(&waiting);
    assert_false(config_names_equal(&before->pipe_access, &after->pipe_access));
    config_take_live(before, after, NULL);
    assert_true(config_names_equal(&before->pipe_access, &after->pipe_access));
    config_compare(before, after, NULL, &live, &waiting);
    assert_int_equal(live.count, 0);
    assert_int_equal(waiting.count, 2);
    config_list_free(&waiting);
    config_compare(before, before, NULL, &live, &waiting);
    assert_int_equal(live.count + waiting.count, 0);
    config_free(before);
    config_free(after);
}

static void test_document(void **state)
{
    (void)state;
    struct buffer markdown = {0};
    config_document(&markdown);
    assert_file_is("../../../docs/configuration.md", (char *)markdown.data);
    buffer_free(&markdown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_default_texts),
        cmocka_unit_test(test_every_key), cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_bad_files), cmocka_unit_test(test_many_problems_are_bounded),
        cmocka_unit_test(test_compare),   cmocka_unit_test(test_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
