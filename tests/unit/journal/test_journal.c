/* The journal on a disk: saved, loaded, listed, removed; refused documents are told and left untouched; a full disk. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/event.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"
#include "journal/journal.h"

static unsigned told;

static void count_event(void *context, const struct event_entry *entry, const char *const *arguments)
{
    (void)context;
    (void)arguments;
    told += entry->id == EVENT_STATE_REFUSED;
}

static char *new_folder(void)
{
    static unsigned number;
    return str_format("C:\\journal-%lu-%u\\deep", GetCurrentProcessId(), ++number);
}

static void check(struct error *error)
{
    if (error != NULL) {
        char *text = error_text(error);
        fail_msg("%s", text);
    }
}

static void save(struct journal *journal, const char *space, const char *id, int value)
{
    struct journal_key key = {space, id};
    json_t *body = json_pack("{s:i}", "value", value);
    check(journal_save(journal, &key, body));
    json_decref(body);
}

static int load(struct journal *journal, const char *space, const char *id)
{
    struct journal_key key = {space, id};
    struct journal_document document = {0};
    check(journal_load(journal, &key, &document));
    int value = (int)json_integer_value(json_object_get(document.body, "value"));
    journal_document_free(&document);
    return value;
}

static void test_life(void **state)
{
    (void)state;
    char *folder = new_folder();
    struct journal *journal = NULL;
    check(journal_open(folder, "task", 2, &journal));
    save(journal, "default", "web", 1);
    save(journal, "default", "Web", 2);
    save(journal, "other", "web", 3);
    save(journal, NULL, "web", 4);
    save(journal, "default", "web", 5);
    assert_int_equal(load(journal, "default", "web"), 5);
    assert_int_equal(load(journal, "default", "Web"), 2);
    assert_int_equal(load(journal, "other", "web"), 3);
    struct journal_key key = {"default", "Web"}, absent = {"default", "nobody"};
    check(journal_remove(journal, &key));
    check(journal_remove(journal, &key));
    struct journal_document document = {0};
    struct error *error = journal_load(journal, &absent, &document);
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    error_free(error);
    journal_free(journal);

    /* A crash left a temporary file, somebody a file of his own: another opening. */
    char *temporary = path_join(folder, "x.json.tmp-1-1"), *foreign = path_join(folder, "notes.txt");
    check(file_replace(foreign, "x", 1, NULL));
    check(file_replace(temporary, "x", 1, NULL));
    check(journal_open(folder, "task", 2, &journal));
    struct journal_list list = {0};
    check(journal_list(journal, &list));
    assert_int_equal(list.count, 3);
    assert_int_equal(list.refused_count, 0);
    journal_list_free(&list);
    struct file_info info;
    check(file_info(foreign, &info));
    if (file_is_temporary("x.json.tmp-1-1")) {
        error = file_info(temporary, &info);
        assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
        error_free(error);
    }
    journal_free(journal);
    journal_free(NULL);
    free(temporary);
    free(foreign);
    free(folder);
}

static void test_refused_documents_stay(void **state)
{
    (void)state;
    static const char newer[] = "{\"kind\":\"task\",\"version\":9,\"surprise\":true}";
    char *folder = new_folder(), *path = path_join(folder, "web.json"), *damaged = path_join(folder, "damaged.json");
    struct journal *journal = NULL;
    check(journal_open(folder, "task", 2, &journal));
    save(journal, NULL, "good", 7);
    check(file_replace(path, newer, sizeof newer - 1, NULL));
    check(file_replace(damaged, "\0\0\0", 3, NULL));
    told = 0;
    for (int i = 0; i < 2; i++) {
        struct journal_list list = {0};
        check(journal_list(journal, &list));
        assert_int_equal(list.count, 1);
        assert_int_equal(list.refused_count, 2);
        assert_string_equal(list.documents[0].id, "good");
        journal_list_free(&list);
    }
    assert_int_equal(told, 2); /* once each */
    assert_true(journal_refuses_id(journal, "web"));
    assert_true(journal_refuses_id(journal, "damaged"));
    assert_false(journal_refuses_id(journal, "good"));
    assert_false(journal_refuses_id(journal, "Web"));
    struct journal_key key = {NULL, "web"};
    json_t *body = json_object();
    struct error *error = journal_save(journal, &key, body);
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    error_free(error);
    error = journal_remove(journal, &key);
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    error_free(error);
    struct buffer content = {0};
    check(file_read(path, 1000, &content));
    assert_int_equal(content.size, sizeof newer - 1);
    assert_memory_equal(content.data, newer, content.size);
    buffer_free(&content);
    /* A document under another's name is none either. */
    char *good = path_join(folder, "good.json"), *wrong = path_join(folder, "wrong.json");
    check(file_read(good, 10000, &content));
    check(file_replace(wrong, content.data, content.size, NULL));
    buffer_free(&content);
    struct journal_key wrong_key = {NULL, "wrong"};
    struct journal_document document = {0};
    error = journal_load(journal, &wrong_key, &document);
    assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
    error_free(error);
    json_decref(body);
    journal_free(journal);
    free(good);
    free(wrong);
    free(path);
    free(damaged);
    free(folder);
}

/* What cannot be read now may be a container that runs: told, and not written over, as what is damaged. */
static void test_unreadable_documents_stay(void **state)
{
    (void)state;
    char *folder = new_folder(), *path = path_join(folder, "web.json"), *large = path_join(folder, "large.json");
    struct journal *journal = NULL;
    check(journal_open(folder, "task", 2, &journal));
    save(journal, NULL, "web", 7);
    char *much = mem_zero((4 << 20) + 1);
    check(file_replace(large, much, (4 << 20) + 1, NULL));
    free(much);
    wchar_t *wide = NULL;
    check(win_path(path, &wide));
    HANDLE held = CreateFileW(wide, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    assert_true(held != INVALID_HANDLE_VALUE);
    told = 0;
    struct journal_list list = {0};
    check(journal_list(journal, &list));
    CloseHandle(held);
    assert_int_equal(list.count, 0);
    assert_int_equal(list.refused_count, 2);
    assert_int_equal(told, 2);
    journal_list_free(&list);
    static const char *const ids[] = {"web", "large"};
    for (size_t i = 0; i < 2; i++) {
        struct journal_key key = {NULL, ids[i]};
        json_t *body = json_object();
        struct error *error = journal_save(journal, &key, body);
        assert_non_null(error);
        assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
        error_free(error);
        json_decref(body);
    }
    journal_free(journal);
    check(journal_open(folder, "task", 2, &journal));
    assert_int_equal(load(journal, NULL, "web"), 7);
    journal_free(journal);
    free(wide);
    free(large);
    free(path);
    free(folder);
}

static void test_reserve(void **state)
{
    (void)state;
    char *folder = new_folder(), *path = path_join(folder, "reserve.bin");
    struct journal *journal = NULL;
    struct file_info info;
    check(journal_open(folder, "task", 2, &journal));
    check(journal_reserve(journal));
    check(file_info(path, &info));
    assert_int_equal(info.size, 1 << 20);
    check(file_replace(path, "small", 5, NULL));
    check(journal_reserve(journal));
    check(file_info(path, &info));
    assert_int_equal(info.size, 1 << 20);
    struct journal_list list = {0};
    check(journal_list(journal, &list));
    assert_int_equal(list.count + list.refused_count, 0);
    journal_list_free(&list);
    journal_free(journal);
    free(path);
    free(folder);
}

int main(void)
{
    static const struct event_sink sink = {count_event, NULL, NULL};
    event_set_sink(&sink);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_refused_documents_stay),
                                       cmocka_unit_test(test_unreadable_documents_stay),
                                       cmocka_unit_test(test_reserve)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
