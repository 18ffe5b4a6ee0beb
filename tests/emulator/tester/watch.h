/* A registration's callback that keeps what it was told. */
#ifndef EMULATOR_TESTER_WATCH_H
#define EMULATOR_TESTER_WATCH_H

#include <windows.h>

#include <stdbool.h>

#define WATCH_LIMIT 64
#define WAIT_MS     30000 /* bound of every wait in these tests */

struct watch {
    SRWLOCK lock;
    CONDITION_VARIABLE changed;
    unsigned count;
    UINT32 types[WATCH_LIMIT];
    HRESULT statuses[WATCH_LIMIT];
    DWORD threads[WATCH_LIMIT];
    HANDLE entered; /* set when a callback begins; may be NULL */
    HANDLE leave;   /* a callback waits for it; may be NULL */
    bool inside;
};

#define EXITED         0x1u
#define CREATED        0x2u
#define STARTED        0x3u
#define PAUSED         0x4u
#define RESUMED        0x5u
#define SAVED          0x8u
#define PROCESS_EXITED 0x10000u
#define DISCONNECTED   0x1000000u

void CALLBACK watch_callback(UINT32 type, void *context, HRESULT status, PCWSTR data);
/* Waits until `type` has come `times` times; fails the test otherwise. Gives the last one's status. */
HRESULT watch_wait(struct watch *watch, UINT32 type, unsigned times);
unsigned watch_count(struct watch *watch, UINT32 type);

/* A call's result, or the test fails. */
#define expect_hr(expected, call)                                                                                      \
    do {                                                                                                               \
        HRESULT hr_found = (call);                                                                                     \
        if (hr_found != (HRESULT)(expected))                                                                           \
            fail_msg("%s: expected 0x%08lx, found 0x%08lx", #call, (unsigned long)(HRESULT)(expected),                 \
                     (unsigned long)hr_found);                                                                         \
    } while (0)
#define PENDING 0xC0370103u

/* A container with nothing but an id, started. */
HANDLE container_run(const wchar_t *id);
/* A process in it; `pipes` is a set of 1 in, 2 out, 4 err. */
HANDLE process_run(HANDLE container, const wchar_t *command, unsigned pipes, void *information);
/* Ends and closes it. */
void container_end(HANDLE container);
/* A process's exit code by its properties; -1 while it runs. */
long long process_code(HANDLE process);

/* Between two looks at something that nobody notifies of. */
void look_again(void);

/* Overlapped pipes, whole: reads until the end or `size`, writes all. Reading gives the number of bytes. */
size_t pipe_read(HANDLE pipe, void *data, size_t size);
bool pipe_write(HANDLE pipe, const void *data, size_t size);

#endif
