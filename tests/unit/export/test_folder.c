#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "export/folder.h"
#include "wine_tree.h"

/* In order of their WTF-8 bytes. */
static void names_are_ordered_by_their_bytes(void **state)
{
    (void)state;
    static const struct {
        const WCHAR *name;
        size_t units;
    } names[] = {
        {L"", 0},
        {L"A", 1},
        {L"a", 1},
        {L"a b", 3},
        {L"a-", 2},
        {L"a.txt", 5},
        {L"aa", 2},
        {L"a\x00e9", 2},
        {L"a\xd7ff", 2},
        {L"a\xd800", 2},
        {L"a\xd800x", 3},
        {L"a\xd800\xd800", 3},
        {L"a\xdc00", 2},
        {L"a\xdfff", 2},
        {L"a\xe000", 2},
        {L"a\xffff", 2},
        {L"a\xd800\xdc00", 3},
        {L"a\xd800\xdc01", 3},
        {L"a\xdbff\xdfff", 3},
        {L"b", 1},
    };
    size_t count = sizeof names / sizeof names[0];
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            int found = folder_compare_names(names[i].name, names[i].units, names[j].name, names[j].units);
            char *a = text_from_utf16((const char16_t *)names[i].name, names[i].units);
            char *b = text_from_utf16((const char16_t *)names[j].name, names[j].units);
            int bytes = strcmp(a, b);
            assert_int_equal((found > 0) - (found < 0), (bytes > 0) - (bytes < 0));
            free(a);
            free(b);
        }
    }
}

static void entries_are_listed_opened_and_deleted(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH];
    struct folder_volume volume = {0};
    struct folder_list list = {0};
    HANDLE folder = NULL;
    tree_make(root, L"folder");
    tree_file(root, L"b", "12345");
    tree_file(root, L"a", "");
    tree_folder(root, L"c");
    char *path = win_text(root);
    assert_null(folder_open(path, FILE_LIST_DIRECTORY | FILE_TRAVERSE, &folder));
    struct folder_place place;
    folder_probe(&volume, folder);
    folder_find_place(&volume, folder, &place);
    assert_true(folder_list(folder, &list) >= 0);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.entries[0].name[0], 'a');
    assert_int_equal(list.entries[1].size, 5);
    assert_true(list.entries[2].attributes & FILE_ATTRIBUTE_DIRECTORY);
    for (size_t i = 0; i < list.count; i++) {
        HANDLE handle = NULL;
        struct folder_entry entry = list.entries[i];
        assert_false(entry.ambiguous);
        if (i == 1)
            entry.ambiguous = true; /* by id alone */
        assert_true(folder_open_entry(&volume, folder, &place, &entry, DELETE | FILE_READ_DATA, 0, &handle) >= 0);
        if (i == 1) {
            char data[8];
            size_t got = 0;
            uint8_t id[16];
            struct folder_info info;
            assert_true(folder_read(handle, 1, data, sizeof data, &got) >= 0);
            assert_int_equal(got, 4);
            assert_memory_equal(data, "2345", 4);
            assert_true(folder_info(handle, &info) >= 0);
            assert_int_equal(info.size, 5);
            assert_int_equal(info.links, 1);
            assert_true(folder_id(handle, id) >= 0);
            assert_memory_equal(id, &entry.id, 8); /* what hard links are known by */
        }
        assert_true(folder_delete(&volume, handle) >= 0);
        CloseHandle(handle);
    }
    folder_list_free(&list);
    assert_true(folder_list(folder, &list) >= 0);
    assert_int_equal(list.count, 0);
    folder_list_free(&list);
    CloseHandle(folder);
    assert_true(RemoveDirectoryW(root));
    free(place.path);
    free(path);
}

static void a_read_only_file_goes_unless_it_has_other_names(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH], file[TREE_PATH], other[TREE_PATH];
    struct folder_volume volume = {0};
    HANDLE folder = NULL, handle = NULL;
    tree_make(root, L"readonly");
    tree_file(root, L"one", "x");
    tree_file(root, L"two", "x");
    tree_path(file, root, L"two");
    tree_path(other, root, L"two again");
    assert_true(CreateHardLinkW(other, file, NULL));
    SetFileAttributesW(file, FILE_ATTRIBUTE_READONLY);
    tree_path(other, root, L"one");
    SetFileAttributesW(other, FILE_ATTRIBUTE_READONLY);
    char *path = win_text(root);
    assert_null(folder_open(path, FILE_LIST_DIRECTORY | FILE_TRAVERSE, &folder));
    assert_true(folder_open_name(&volume, folder, L"one", DELETE | FILE_WRITE_ATTRIBUTES, 0, &handle) >= 0);
    assert_true(folder_delete(&volume, handle) >= 0);
    CloseHandle(handle);
    assert_false(tree_has(root, L"one"));
    assert_true(folder_open_name(&volume, folder, L"two", DELETE | FILE_WRITE_ATTRIBUTES, 0, &handle) >= 0);
    NTSTATUS status = folder_delete(&volume, handle);
    CloseHandle(handle);
    if (volume.no_posix_delete) { /* nothing but the classic disposition: the attribute may be another layer's */
        assert_int_equal(status, NT_CANNOT_DELETE);
        assert_true(GetFileAttributesW(file) & FILE_ATTRIBUTE_READONLY);
    }
    CloseHandle(folder);
    SetFileAttributesW(file, FILE_ATTRIBUTE_NORMAL);
    DeleteFileW(file);
    tree_path(file, root, L"two again");
    DeleteFileW(file);
    RemoveDirectoryW(root);
    free(path);
}

static void what_is_no_folder_is_refused(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH], file[TREE_PATH];
    HANDLE folder = NULL;
    tree_make(root, L"nofolder");
    tree_file(root, L"file", "x");
    tree_path(file, root, L"file");
    char *path = win_text(file);
    struct error *error = folder_open(path, FILE_TRAVERSE, &folder);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_FAILED_PRECONDITION);
    error_free(error);
    DeleteFileW(file);
    error = folder_open(path, FILE_TRAVERSE, &folder);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_NOT_FOUND);
    error_free(error);
    free(path);
    RemoveDirectoryW(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_ordered_by_their_bytes),
        cmocka_unit_test(entries_are_listed_opened_and_deleted),
        cmocka_unit_test(a_read_only_file_goes_unless_it_has_other_names),
        cmocka_unit_test(what_is_no_folder_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
