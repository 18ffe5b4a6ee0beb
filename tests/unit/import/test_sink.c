#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../export/wine_tree.h"
#include "base/buffer.h"
#include "import/sink.h"

#define MODIFIED UINT64_C(132444736001234567)

/* BackupWrite does not exist under Wine: one that records what it is given stands in for it, as the documentation has it (the
 * context is made by the first call, freed by an aborting one; it may take less than it is given). */
static struct {
    struct buffer bytes;
    bool open, security;
    unsigned aborts;
    DWORD fails; /* this error instead */
} recorder;

static BOOL WINAPI record(HANDLE file, LPBYTE data, DWORD size, LPDWORD written, BOOL abort_it, BOOL security,
                          LPVOID *context)
{
    (void)file;
    if (abort_it) {
        assert_ptr_equal(*context, &recorder);
        recorder.open = false;
        recorder.aborts++;
        return TRUE;
    }
    if (recorder.fails) {
        SetLastError(recorder.fails);
        return FALSE;
    }
    if (!*context) {
        assert_false(recorder.open);
        recorder.open = true;
        *context = &recorder;
    }
    recorder.security = security;
    *written = size > 5 ? size - size / 2 : size;
    buffer_add(&recorder.bytes, data, *written);
    return TRUE;
}

static const char long_data[] = "0123456789abcdef";

/* A descriptor, attributes and sparse data: the same to every sink. */
static void give(struct stream_sink *sink)
{
    const struct stream_header headers[] = {
        {.id = STREAM_DATA, .attributes = STREAM_ATTRIBUTE_SPARSE},
        {.id = STREAM_SPARSE_BLOCK, .size = 16, .offset = 100},
        {.id = STREAM_SPARSE_BLOCK, .offset = 300},
    };
    assert_null(sink->begin(sink, &headers[0]));
    assert_null(sink->begin(sink, &headers[1]));
    assert_null(sink->write(sink, long_data, 6));
    assert_null(sink->write(sink, long_data + 6, 10));
    assert_null(sink->begin(sink, &headers[2]));
    assert_null(sink->finish(sink));
}

static void expected_streams(struct buffer *expected)
{
    const struct stream_header headers[] = {
        {.id = STREAM_DATA, .attributes = STREAM_ATTRIBUTE_SPARSE},
        {.id = STREAM_SPARSE_BLOCK, .size = 16, .offset = 100},
        {.id = STREAM_SPARSE_BLOCK, .offset = 300},
    };
    stream_add_header(expected, &headers[0]);
    stream_add_header(expected, &headers[1]);
    buffer_add(expected, long_data, 16);
    stream_add_header(expected, &headers[2]);
}

static struct sink_options options_for(struct folder_volume *volume, const wchar_t *root, const wchar_t *name)
{
    wchar_t path[TREE_PATH];
    tree_path(path, root, name);
    HANDLE file = CreateFileW(path, GENERIC_WRITE | FILE_READ_ATTRIBUTES, FILE_SHARE_READ, NULL, CREATE_NEW, 0, NULL);
    assert_true(file != INVALID_HANDLE_VALUE);
    return (struct sink_options){.volume = volume,
                                 .handle = file,
                                 .path = "file",
                                 .attributes = 0x21,
                                 .modified = MODIFIED,
                                 .created = MODIFIED};
}

static size_t read_file(const wchar_t *root, const wchar_t *name, uint8_t *data, size_t size, FILETIME *ret_modified)
{
    wchar_t path[TREE_PATH];
    DWORD got = 0;
    tree_path(path, root, name);
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    assert_true(file != INVALID_HANDLE_VALUE);
    assert_true(ReadFile(file, data, (DWORD)size, &got, NULL));
    assert_true(GetFileTime(file, NULL, NULL, ret_modified));
    CloseHandle(file);
    SetFileAttributesW(path, FILE_ATTRIBUTE_NORMAL);
    DeleteFileW(path);
    return got;
}

static uint64_t number(FILETIME time)
{
    return (uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime;
}

static void in_transport_format(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH];
    struct folder_volume volume = {0};
    struct buffer expected = {0};
    uint8_t found[1000];
    FILETIME modified;
    tree_make(root, L"sink");
    const struct sink_options options = options_for(&volume, root, L"file");
    struct stream_sink *sink = sink_staged(&options);
    give(sink);
    sink->free(sink);
    buffer_add(&expected, "\x21\0\0\0", 4);
    expected_streams(&expected);
    assert_int_equal(read_file(root, L"file", found, sizeof found, &modified), expected.size);
    assert_memory_equal(found, expected.data, expected.size);
    assert_int_equal(number(modified), MODIFIED);
    buffer_free(&expected);
    RemoveDirectoryW(root);
}

static void by_backup_write(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH], path[TREE_PATH];
    struct folder_volume volume = {0};
    struct buffer expected = {0};
    tree_make(root, L"sink");
    sink_calls = (struct sink_calls){record};
    struct sink_options options = options_for(&volume, root, L"file");
    options.security = true;
    struct stream_sink *sink = sink_plain(&options);
    assert_int_equal(recorder.aborts, 1); /* it was asked whether it exists, with an empty data stream */
    assert_int_equal(recorder.bytes.size, STREAM_HEADER_SIZE / 2);
    buffer_clear(&recorder.bytes);
    give(sink);
    assert_true(recorder.security);
    sink->free(sink);
    assert_int_equal(recorder.aborts, 2);
    assert_false(recorder.open);
    expected_streams(&expected);
    assert_int_equal(recorder.bytes.size, expected.size);
    assert_memory_equal(recorder.bytes.data, expected.data, expected.size);
    tree_path(path, root, L"file");
    assert_int_equal(GetFileAttributesW(path), 0x21);

    /* An error that is not "there is none" is an error, and the context is freed all the same. */
    recorder.fails = ERROR_DISK_FULL;
    options = options_for(&volume, root, L"full");
    sink = sink_plain(&options);
    const struct stream_header data = {.id = STREAM_DATA};
    assert_null(sink->begin(sink, &data));
    struct error *error = sink->finish(sink);
    assert_non_null(error);
    assert_int_equal(error->code, ERROR_DISK_FULL);
    error_free(error);
    sink->free(sink);
    assert_false(recorder.open);
    assert_false(volume.no_backup_write);

    recorder.fails = 0;
    buffer_free(&recorder.bytes);
    buffer_free(&expected);
    sink_calls = (struct sink_calls){BackupWrite};
    SetFileAttributesW(path, FILE_ATTRIBUTE_NORMAL);
    DeleteFileW(path);
    tree_path(path, root, L"full");
    DeleteFileW(path);
    RemoveDirectoryW(root);
}

static void without_it_the_same_file_is_made(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH];
    struct folder_volume volume = {.no_backup_write = true};
    uint8_t found[1000];
    FILETIME modified;
    tree_make(root, L"sink");
    const struct sink_options options = options_for(&volume, root, L"file");
    struct stream_sink *sink = sink_plain(&options);
    give(sink);
    sink->free(sink);
    assert_int_equal(read_file(root, L"file", found, sizeof found, &modified), 300);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(found[i], i >= 100 && i < 116 ? long_data[i - 100] : 0);
    assert_int_equal(number(modified), MODIFIED);
    RemoveDirectoryW(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_transport_format),
        cmocka_unit_test(by_backup_write),
        cmocka_unit_test(without_it_the_same_file_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
