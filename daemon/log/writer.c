#include "daemon/log/writer.h"

#include <windows.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"

struct node {
    struct node *next;
    struct log_record *record;
    uint64_t lost; /* dropped before this one */
};

struct log_writer {
    struct log_writer_options options;
    HANDLE thread;
    SRWLOCK lock;
    CONDITION_VARIABLE changed, written;
    /* Below `lock`. */
    struct node *first, **last;
    size_t count;
    uint64_t lost;
    uint64_t put_count, written_count;
    bool ending;
};

static DWORD WINAPI writer_thread(void *context)
{
    struct log_writer *writer = context;
    AcquireSRWLockExclusive(&writer->lock);
    for (;;) {
        while (writer->first == NULL && !writer->ending)
            SleepConditionVariableSRW(&writer->changed, &writer->lock, INFINITE, 0);
        struct node *node = writer->first;
        if (node == NULL)
            break;
        writer->first = node->next;
        if (writer->first == NULL)
            writer->last = &writer->first;
        writer->count--;
        ReleaseSRWLockExclusive(&writer->lock);
        writer->options.write(writer->options.context, node->record, node->lost);
        log_record_free(node->record);
        free(node);
        AcquireSRWLockExclusive(&writer->lock);
        writer->written_count++;
        WakeAllConditionVariable(&writer->written);
    }
    ReleaseSRWLockExclusive(&writer->lock);
    return 0;
}

struct error *log_writer_open(const struct log_writer_options *options, struct log_writer **ret_writer)
{
    struct log_writer *writer = mem_new(struct log_writer);
    writer->options = *options;
    writer->last = &writer->first;
    InitializeSRWLock(&writer->lock);
    InitializeConditionVariable(&writer->changed);
    InitializeConditionVariable(&writer->written);
    writer->thread = CreateThread(NULL, 256 * 1024, writer_thread, writer, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (writer->thread == NULL) {
        free(writer);
        return error_win32(GetLastError(), "CreateThread", "log writer", NULL);
    }
    *ret_writer = writer;
    return NULL;
}

void log_writer_put(struct log_writer *writer, struct log_record *record)
{
    struct node *node = mem_new(struct node);
    node->record = record;
    AcquireSRWLockExclusive(&writer->lock);
    bool full = writer->count >= writer->options.limit;
    if (full) {
        writer->lost++;
    } else {
        node->lost = writer->lost;
        writer->lost = 0;
        *writer->last = node;
        writer->last = &node->next;
        writer->count++;
        writer->put_count++;
    }
    ReleaseSRWLockExclusive(&writer->lock);
    if (full) {
        log_record_free(record);
        free(node);
    } else {
        WakeConditionVariable(&writer->changed);
    }
}

void log_writer_flush(struct log_writer *writer, unsigned milliseconds)
{
    uint64_t end = clock_ms() + milliseconds;
    AcquireSRWLockExclusive(&writer->lock);
    uint64_t wanted = writer->put_count;
    for (uint64_t now = clock_ms(); writer->written_count < wanted && now < end; now = clock_ms())
        SleepConditionVariableSRW(&writer->written, &writer->lock, (DWORD)(end - now), 0);
    ReleaseSRWLockExclusive(&writer->lock);
}

bool log_writer_close(struct log_writer *writer, unsigned milliseconds)
{
    if (writer == NULL)
        return true;
    AcquireSRWLockExclusive(&writer->lock);
    writer->ending = true;
    ReleaseSRWLockExclusive(&writer->lock);
    WakeConditionVariable(&writer->changed);
    if (WaitForSingleObject(writer->thread, milliseconds) != WAIT_OBJECT_0)
        return false;
    win_close(writer->thread);
    free(writer);
    return true;
}
