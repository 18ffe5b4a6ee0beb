/* The JSON log file: one line after another, rotation, the bound, a cut last line, a reader that holds the file. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "base/event.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "daemon/log/log.h"
#include "daemon/log/log_file.h"

#define LONG_MS 30000

static char *make_folder(const char *name)
{
    char *folder = NULL, *relative = str_format("log-test-%lu-%s", (unsigned long)GetCurrentProcessId(), name);
    wchar_t temp[MAX_PATH];
    assert_true(GetTempPathW(MAX_PATH, temp) > 0);
    char *base = win_text(temp);
    folder = path_join(base, relative);
    free(base);
    free(relative);
    return folder;
}

static struct buffer content_of(const char *folder, const char *name)
{
    struct buffer content = {0};
    char *path = path_join(folder, name);
    struct error *error = file_read(path, 1 << 20, &content);
    if (error != NULL)
        fail_msg("%s: %s", path, error->message);
    free(path);
    return content;
}

static bool exists(const char *folder, const char *name)
{
    struct file_info info;
    char *path = path_join(folder, name);
    struct error *error = file_info(path, &info);
    free(path);
    bool there = error == NULL;
    error_free(error);
    return there;
}

static void remove_folder(char *folder)
{
    static const char *const names[] = {"hcsd.log", "hcsd.log.1", "hcsd.log.2", "hcsd.log.3", "hcsd.log.4"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = path_join(folder, names[i]);
        error_free(file_delete(path, NULL));
        free(path);
    }
    error_free(file_delete_folder(folder));
    free(folder);
}

static void test_rotation_and_bound(void **state)
{
    (void)state;
    char *folder = make_folder("rotate");
    struct log_file *file = NULL;
    assert_null(log_file_open(folder, 100, &file));
    /* 10 lines of 10 bytes fill one file: 57 lines make five files and a rest, of which four stay. */
    for (int i = 0; i < 57; i++) {
        char *line = str_format("line %04d\n", i);
        log_file_write(file, line, 10);
        free(line);
    }
    log_file_close(file);
    static const struct {
        const char *name, *first;
        size_t size;
    } rows[] = {{"hcsd.log", "line 0050\n", 70},
                {"hcsd.log.1", "line 0040\n", 100},
                {"hcsd.log.2", "line 0030\n", 100},
                {"hcsd.log.3", "line 0020\n", 100}};
    for (size_t i = 0; i < 4; i++) {
        struct buffer content = content_of(folder, rows[i].name);
        assert_int_equal(content.size, rows[i].size);
        assert_memory_equal(content.data, rows[i].first, 10);
        buffer_free(&content);
    }
    assert_false(exists(folder, "hcsd.log.4"));
    remove_folder(folder);
}

static void test_goes_on_and_mends_a_cut_line(void **state)
{
    (void)state;
    char *folder = make_folder("cut");
    struct log_file *file = NULL;
    assert_null(log_file_open(folder, 0, &file));
    log_file_write(file, "whole\ncu", 8);
    log_file_close(file);
    assert_null(log_file_open(folder, 0, &file));
    log_file_write(file, "next\n", 5);
    log_file_close(file);
    struct buffer content = content_of(folder, "hcsd.log");
    assert_string_equal((char *)content.data, "whole\ncu\nnext\n");
    buffer_free(&content);
    remove_folder(folder);
}

/* A viewer that shares no deletion keeps the file in its place, a crash has cut its last line, and it is full: the next line
 * is written all the same, and up to twice the size. */
static void test_held_by_a_viewer(void **state)
{
    (void)state;
    char *folder = make_folder("held"), *path = path_join(folder, "hcsd.log");
    struct log_file *file = NULL;
    assert_null(log_file_open(folder, 100, &file));
    for (int i = 0; i < 9; i++)
        log_file_write(file, "line 0123\n", 10);
    log_file_write(file, "line is cu", 10);
    log_file_close(file);
    wchar_t *wide = NULL;
    assert_null(win_path(path, &wide));
    HANDLE viewer = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    assert_true(viewer != INVALID_HANDLE_VALUE);
    assert_null(log_file_open(folder, 100, &file));
    log_file_write(file, "next\n", 5);
    CloseHandle(viewer);
    log_file_close(file);
    struct buffer content = content_of(folder, "hcsd.log");
    assert_int_equal(content.size, 106);
    assert_string_equal((char *)content.data + 90, "line is cu\nnext\n");
    assert_false(exists(folder, "hcsd.log.1"));
    buffer_free(&content);
    free(wide);
    free(path);
    remove_folder(folder);
}

/* The sink as a whole: events and debug lines, one JSON object a line. */
static void test_sink(void **state)
{
    (void)state;
    char *folder = make_folder("sink");
    struct log *log = NULL;
    assert_null(log_open(NULL, false, &log));
    log_debug("nobody listens yet");
    assert_null(log_add_file(log, folder));
    event_emit(EVENT_CLIENT_REFUSED, "why", "who");
    log_debug("a line");
    log_flush(log, LONG_MS);
    struct buffer content = content_of(folder, "hcsd.log");
    char *text = (char *)content.data;
    char *second = strchr(text, '\n') + 1;
    json_t *event = json_loadb(text, (size_t)(second - text), 0, NULL), *debug = json_loads(second, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(event, "event")), 8);
    assert_string_equal(json_string_value(json_array_get(json_object_get(event, "arguments"), 1)), "who");
    assert_string_equal(json_string_value(json_object_get(debug, "text")), "a line");
    json_decref(event);
    json_decref(debug);
    buffer_free(&content);
    log_close(log, LONG_MS);
    event_emit(EVENT_CLIENT_REFUSED, "dropped", "after the end");
    remove_folder(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rotation_and_bound),
        cmocka_unit_test(test_goes_on_and_mends_a_cut_line),
        cmocka_unit_test(test_held_by_a_viewer),
        cmocka_unit_test(test_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
