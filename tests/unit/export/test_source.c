#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "export/source.h"
#include "wine_tree.h"

/* BackupRead does not exist under Wine: one that plays recorded bytes stands in for it, as the documentation has it (the
 * context is made by the first call, freed by an aborting one; seeking ends at the stream's end). */
static struct {
    struct buffer bytes;
    size_t at, stream_end;
    bool open;
    unsigned aborts, seeks;
} player;

static BOOL WINAPI play_read(HANDLE file, LPBYTE data, DWORD size, LPDWORD got, BOOL abort_it, BOOL security,
                             LPVOID *context)
{
    (void)file, (void)security;
    if (abort_it) {
        assert_ptr_equal(*context, &player);
        player.open = false;
        player.aborts++;
        return TRUE;
    }
    if (!*context) {
        assert_false(player.open);
        player.open = true;
        player.at = 0;
        *context = &player;
    }
    size_t left = player.bytes.size - player.at;
    *got = size < left ? size : (DWORD)left;
    if (*got > 3)
        *got -= *got / 2; /* it may give less than asked for */
    memcpy(data, player.bytes.data + player.at, *got);
    player.at += *got;
    return TRUE;
}

static BOOL WINAPI play_seek(HANDLE file, DWORD low, DWORD high, LPDWORD low_done, LPDWORD high_done, LPVOID *context)
{
    (void)file, (void)high;
    assert_ptr_equal(*context, &player);
    player.seeks++;
    DWORD part = low > 5 ? 5 : low; /* it may go less far: the rest is asked for again */
    player.at += part;
    *low_done = part;
    *high_done = 0;
    return part == low;
}

static void record(uint32_t id, const char *data)
{
    const struct stream_header header = {.id = id, .size = strlen(data)};
    stream_add_header(&player.bytes, &header);
    buffer_add_text(&player.bytes, data);
}

static void check_streams(struct stream_source *source, const char *expected)
{
    struct buffer found = {0};
    struct stream_reader reader;
    struct stream_header header;
    bool end = false;
    stream_reader_init(&reader, source, "f");
    for (;;) {
        assert_null(stream_next(&reader, &header, &end));
        if (end)
            break;
        buffer_add_format(&found, "%u:", header.id);
        struct buffer content = {0};
        if (header.id != STREAM_SECURITY) /* passed over by the next one */
            assert_null(stream_read_all(&reader, &content));
        buffer_add(&found, content.data, content.size);
        buffer_add_text(&found, ";");
        buffer_free(&content);
    }
    assert_string_equal((const char *)found.data, expected);
    buffer_free(&found);
}

static void backup_read_is_read_twice_and_aborted(void **state)
{
    (void)state;
    struct folder_volume volume = {0};
    struct stream_source *source = NULL;
    source_calls = (struct source_calls){play_read, play_seek};
    record(STREAM_SECURITY, "a descriptor");
    record(STREAM_DATA, "the data");
    record(STREAM_EA, "late");
    assert_null(source_backup(&volume, NULL, true, "f", &source));
    check_streams(source, "3:;1:the data;2:late;");
    assert_null(source->rewind(source));
    check_streams(source, "3:;1:the data;2:late;");
    assert_true(player.seeks > 0);
    stream_source_free(source);
    assert_false(player.open);
    assert_false(volume.no_backup_read);
    buffer_free(&player.bytes);
    source_calls = (struct source_calls){BackupRead, BackupSeek};
}

static void without_it_the_same_streams_are_made(void **state)
{
    (void)state;
    wchar_t root[TREE_PATH], path[TREE_PATH];
    struct folder_volume volume = {0};
    struct stream_source *source = NULL;
    tree_make(root, L"source");
    tree_file(root, L"file", "content");
    tree_path(path, root, L"file");
    HANDLE file = tree_open(root, L"file", FILE_SHARE_READ);
    volume.no_backup_read = true;
    assert_null(source_backup(&volume, file, true, "file", &source));
    check_streams(source, "3:;1:content;");
    stream_source_free(source);
    assert_null(source_backup(&volume, file, false, "file", &source));
    check_streams(source, "1:content;");
    assert_null(source->rewind(source));
    check_streams(source, "1:content;");
    stream_source_free(source);
    CloseHandle(file);
    DeleteFileW(path);
    RemoveDirectoryW(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backup_read_is_read_twice_and_aborted),
        cmocka_unit_test(without_it_the_same_streams_are_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
