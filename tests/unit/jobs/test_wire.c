/* Frames through a pipe, however they are cut into pieces on the way. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "daemon/worker/wire.h"

#define PATIENCE_MS 30000

struct pipes {
    HANDLE raw; /* the peer's end: what is written is seen as it is */
    struct wire *wire;
};

static HANDLE end_of(const wchar_t *name, bool server)
{
    HANDLE end =
        server ? CreateNamedPipeW(name, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_BYTE | PIPE_WAIT, 1, 65536,
                                  65536, 0, NULL)
               : CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    if (end == INVALID_HANDLE_VALUE)
        fail_msg("no pipe: %lu", GetLastError());
    return end;
}

static struct pipes open_pipes(void)
{
    wchar_t name[80];
    swprintf(name, sizeof name / sizeof name[0], L"\\\\.\\pipe\\hcsd-test-wire-%lu", GetCurrentProcessId());
    HANDLE ours = end_of(name, true);
    return (struct pipes){end_of(name, false), wire_new(ours)};
}

static void close_pipes(struct pipes *pipes)
{
    wire_free(pipes->wire);
    if (pipes->raw != NULL)
        CloseHandle(pipes->raw);
}

/* All of it, in one direction. */
static void transfer(HANDLE pipe, bool out, void *data, size_t size)
{
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    uint8_t *bytes = data;
    DWORD count = 0;
    for (size_t done = 0; done < size; done += count) {
        BOOL now = out ? WriteFile(pipe, bytes + done, (DWORD)(size - done), NULL, &overlapped)
                       : ReadFile(pipe, bytes + done, (DWORD)(size - done), NULL, &overlapped);
        assert_true(now || GetLastError() == ERROR_IO_PENDING);
        assert_true(GetOverlappedResult(pipe, &overlapped, &count, TRUE));
    }
    CloseHandle(overlapped.hEvent);
}

static struct wire_frame read_frame(struct wire *wire)
{
    struct wire_frame frame = {0};
    bool whole = false;
    while (!whole) {
        assert_null(wire_read_begin(wire));
        assert_int_equal(WaitForSingleObject(wire_read_event(wire), PATIENCE_MS), WAIT_OBJECT_0);
        assert_null(wire_read_end(wire, &whole, &frame));
    }
    return frame;
}

static uint8_t byte_at(size_t frame, size_t at)
{
    return (uint8_t)(at * 31 + frame * 7);
}

static void put_frame(uint8_t *place, size_t number, uint32_t size)
{
    uint32_t header[2] = {size, WIRE_DATA};
    memcpy(place, header, sizeof header);
    for (size_t i = 0; i < size; i++)
        place[sizeof header + i] = byte_at(number, i);
}

static void expect_frame(struct wire *wire, size_t number, size_t size)
{
    struct wire_frame frame = read_frame(wire);
    assert_int_equal(frame.type, WIRE_DATA);
    assert_int_equal(frame.size, size);
    for (size_t i = 0; i < size; i++)
        if (frame.data[i] != byte_at(number, i))
            fail_msg("frame %zu: byte %zu is %u", number, i, frame.data[i]);
    assert_int_equal(frame.data[size], 0);
    free(frame.data);
}

struct writing {
    HANDLE pipe;
    uint8_t *text;
    size_t size, piece;
};

static DWORD WINAPI write_pieces(void *context)
{
    struct writing *writing = context;
    for (size_t done = 0; done < writing->size; done += writing->piece)
        transfer(writing->pipe, true, writing->text + done,
                 writing->piece < writing->size - done ? writing->piece : writing->size - done);
    return 0;
}

/* Sizes around what is read ahead, written as one text of bytes in pieces of every kind. */
static void test_pieces(void **state)
{
    static const uint32_t sizes[] = {0, 1, 5, 4087, 4088, 4089, 0, 3000, 3000, 9000, 7, 256u << 10, 2};
    static const size_t pieces[] = {1, 7, 8, 9, 4095, 4096, 4097, 20000, 1u << 20};
    (void)state;
    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        struct pipes pipes = open_pipes();
        size_t count = pieces[p] < 64 ? 6 : sizeof sizes / sizeof sizes[0]; /* byte by byte is slow */
        struct writing writing = {.pipe = pipes.raw, .piece = pieces[p]};
        for (size_t i = 0; i < count; i++) {
            writing.text = mem_resize_array(writing.text, writing.size + 8 + sizes[i], 1);
            put_frame(writing.text + writing.size, i, sizes[i]);
            writing.size += 8 + sizes[i];
        }
        HANDLE thread = CreateThread(NULL, 0, write_pieces, &writing, 0, NULL);
        for (size_t i = 0; i < count; i++)
            expect_frame(pipes.wire, i, sizes[i]);
        assert_int_equal(WaitForSingleObject(thread, PATIENCE_MS), WAIT_OBJECT_0);
        CloseHandle(thread);
        free(writing.text);
        close_pipes(&pipes);
    }
}

/* A frame goes out as its header and its payload, of any size; the peer's end is told as such, and so is nonsense. */
static void test_writing_and_ends(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 10, 4088, 4089, 20000};
    struct pipes pipes = open_pipes();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *sent = mem_zero(sizes[i] + 8), *came = mem_zero(sizes[i] + 8);
        put_frame(sent, i, (uint32_t)sizes[i]);
        assert_null(wire_write(pipes.wire, WIRE_DATA, sent + 8, sizes[i], PATIENCE_MS));
        transfer(pipes.raw, false, came, sizes[i] + 8);
        assert_memory_equal(sent, came, sizes[i] + 8);
        free(sent);
        free(came);
    }
    /* Nobody reads: it gives up. */
    uint8_t *much = mem_zero(WIRE_DATA_MAX);
    struct error *error = NULL;
    for (unsigned i = 0; i < 16 && error == NULL; i++)
        error = wire_write(pipes.wire, WIRE_DATA, much, WIRE_DATA_MAX, 50);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_DEADLINE_EXCEEDED);
    error_free(error);
    free(much);
    close_pipes(&pipes);

    pipes = open_pipes();
    uint32_t nonsense[2] = {12, 77};
    bool whole = false;
    struct wire_frame frame;
    transfer(pipes.raw, true, nonsense, sizeof nonsense);
    assert_null(wire_read_begin(pipes.wire));
    assert_int_equal(WaitForSingleObject(wire_read_event(pipes.wire), PATIENCE_MS), WAIT_OBJECT_0);
    error = wire_read_end(pipes.wire, &whole, &frame);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_DATA_LOSS);
    error_free(error);
    close_pipes(&pipes);

    pipes = open_pipes();
    assert_null(wire_read_begin(pipes.wire));
    CloseHandle(pipes.raw);
    pipes.raw = NULL;
    assert_int_equal(WaitForSingleObject(wire_read_event(pipes.wire), PATIENCE_MS), WAIT_OBJECT_0);
    error = wire_read_end(pipes.wire, &whole, &frame);
    assert_non_null(error);
    assert_int_equal(error->kind, ERROR_KIND_UNAVAILABLE);
    error_free(error);
    close_pipes(&pipes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_writing_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
