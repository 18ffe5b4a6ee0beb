#include "pipes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PIECE 65536u

uint8_t pattern_byte(uint64_t position)
{
    return (uint8_t)(position * 2654435761u >> 13);
}

static HANDLE serve(const char *path)
{
    wchar_t wide[80];
    MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 80);
    HANDLE pipe =
        CreateNamedPipeW(wide, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED, PIPE_TYPE_BYTE, 1, PIECE, PIECE, 0, NULL);
    if (pipe == INVALID_HANDLE_VALUE)
        print_error("serve %s: %lu\n", path, GetLastError());
    assert_true(pipe != INVALID_HANDLE_VALUE);
    return pipe;
}

void served_open(struct served *served, const char *name)
{
    snprintf(served->path, sizeof served->path, "\\\\.\\pipe\\hcsd-test-%lu-%s", GetCurrentProcessId(), name);
    served->pipe = serve(served->path);
}

/* The end of what was begun: its code, and how many bytes. */
static DWORD end(HANDLE pipe, BOOL done, OVERLAPPED *overlapped, unsigned milliseconds, DWORD *ret_bytes)
{
    DWORD code = done ? NO_ERROR : GetLastError();
    *ret_bytes = 0;
    if (code == NO_ERROR || code == ERROR_IO_PENDING) {
        bool late = WaitForSingleObject(overlapped->hEvent, milliseconds) == WAIT_TIMEOUT;
        if (late)
            CancelIoEx(pipe, overlapped);
        code = GetOverlappedResult(pipe, overlapped, ret_bytes, TRUE) ? NO_ERROR : GetLastError();
        if (late && code == ERROR_OPERATION_ABORTED)
            code = WAIT_TIMEOUT;
    }
    CloseHandle(overlapped->hEvent);
    return code;
}

static OVERLAPPED begin(void)
{
    OVERLAPPED overlapped = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    assert_non_null(overlapped.hEvent);
    return overlapped;
}

static DWORD transfer(HANDLE pipe, bool write, void *data, DWORD size, unsigned milliseconds, DWORD *ret_bytes)
{
    OVERLAPPED overlapped = begin();
    BOOL done = write ? WriteFile(pipe, data, size, NULL, &overlapped) : ReadFile(pipe, data, size, NULL, &overlapped);
    return end(pipe, done, &overlapped, milliseconds, ret_bytes);
}

void served_await(struct served *served)
{
    DWORD bytes;
    OVERLAPPED overlapped = begin();
    BOOL done = ConnectNamedPipe(served->pipe, &overlapped);
    DWORD code = end(served->pipe, done, &overlapped, PIPES_BOUND_MS, &bytes);
    if (code != NO_ERROR && code != ERROR_PIPE_CONNECTED)
        print_error("nobody connects to %s: %lu\n", served->path, code);
    assert_true(code == NO_ERROR || code == ERROR_PIPE_CONNECTED);
}

uint64_t served_expect(struct served *served, uint64_t position, uint64_t size)
{
    static uint8_t data[PIECE];
    uint64_t got = 0;
    while (got < size) {
        DWORD bytes, code = transfer(served->pipe, false, data, (DWORD)(size - got < PIECE ? size - got : PIECE),
                                     PIPES_BOUND_MS, &bytes);
        if (code == WAIT_TIMEOUT)
            print_error("%s: %llu of %llu bytes, then nothing\n", served->path, got, size);
        assert_int_not_equal(code, WAIT_TIMEOUT);
        if (code != NO_ERROR || !bytes)
            break;
        for (DWORD i = 0; i < bytes; i++)
            if (data[i] != pattern_byte(position + got + i)) {
                print_error("%s: byte %llu is not the one that was written there\n", served->path, position + got + i);
                fail();
            }
        got += bytes;
    }
    return got;
}

void served_write(struct served *served, const char *text)
{
    DWORD bytes;
    assert_int_equal(transfer(served->pipe, true, (void *)text, (DWORD)strlen(text), PIPES_BOUND_MS, &bytes), NO_ERROR);
    assert_int_equal(bytes, strlen(text));
}

static bool at_end(HANDLE pipe)
{
    char byte;
    DWORD bytes, code = transfer(pipe, false, &byte, 1, PIPES_BOUND_MS, &bytes);
    if (code == NO_ERROR && bytes)
        print_error("a byte (%d) came where the end was expected\n", byte);
    return code == ERROR_BROKEN_PIPE || code == ERROR_PIPE_NOT_CONNECTED || (code == NO_ERROR && !bytes);
}

bool served_at_end(struct served *served)
{
    return at_end(served->pipe);
}

void served_close(struct served *served)
{
    CloseHandle(served->pipe);
    served->pipe = NULL;
}

void process_pipe(const char *name, HANDLE *ret_ours, HANDLE *ret_theirs)
{
    char path[80];
    wchar_t wide[80];
    snprintf(path, sizeof path, "\\\\.\\pipe\\hcsd-test-%lu-process-%s", GetCurrentProcessId(), name);
    *ret_ours = serve(path);
    MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 80);
    *ret_theirs = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    assert_true(*ret_theirs != INVALID_HANDLE_VALUE);
}

bool process_write(HANDLE theirs, uint64_t position, uint64_t size, unsigned milliseconds, uint64_t *ret_written)
{
    static uint8_t data[PIECE];
    uint64_t written = 0;
    DWORD code = NO_ERROR;
    while (written < size && code == NO_ERROR) {
        DWORD piece = (DWORD)(size - written < PIECE ? size - written : PIECE), bytes;
        for (DWORD i = 0; i < piece; i++)
            data[i] = pattern_byte(position + written + i);
        code = transfer(theirs, true, data, piece, milliseconds, &bytes);
        written += bytes;
    }
    if (ret_written)
        *ret_written = written;
    return written == size;
}

void process_expect(HANDLE theirs, const char *text)
{
    size_t size = strlen(text);
    for (size_t got = 0; got < size;) {
        char data[256];
        DWORD bytes;
        assert_int_equal(transfer(theirs, false, data, (DWORD)(size - got), PIPES_BOUND_MS, &bytes), NO_ERROR);
        assert_true(bytes > 0);
        assert_memory_equal(data, text + got, bytes);
        got += bytes;
    }
}

bool process_at_end(HANDLE theirs)
{
    return at_end(theirs);
}
