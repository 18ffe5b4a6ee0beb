/* A vmcompute.dll inside the test: a filled function table whose calls answer, block and notify as a test tells them. */
#ifndef HCSD_TEST_HCS_FAKE_H
#define HCSD_TEST_HCS_FAKE_H

#include "hcs/library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"
#include "hcs/compute.h"
#include "hcs/storage.h"

struct fake_rule {
    HRESULT result; /* what the call returns */
    HANDLE hold;    /* the call waits for it when not NULL */
    HANDLE entered; /* set when the call is in */
    int notify;     /* a notification that the call sends from within, 0: none */
    INT32 notify_status;
    unsigned calls; /* how often it was called */
};

struct fake {
    struct hcs_library library;
    struct fake_rule rules[HCS_EXPORT_COUNT];
    const wchar_t *result_text; /* for failing compute calls */
    const wchar_t *document;    /* for properties and lists; NULL: none */
    const wchar_t *mount_path;
    GUID guid;
    HANDLE pipes[3]; /* handed out by HcsCreateProcess and HcsGetProcessInfo */
    UINT32 exists;
    /* what is out there now; interlocked */
    volatile LONG systems, processes, registrations, texts;
    SRWLOCK lock;
    char log[8192]; /* one line a call: "NAME arguments" */
    struct fake_registration {
        HCS_NOTIFICATION_CALLBACK callback;
        void *context;
        void *handle;
    } registered[64];
    size_t registered_count;
};

extern struct fake fake;

/* Everything at its start: calls succeed at once. */
void fake_reset(void);
struct fake_rule *fake_rule(enum hcs_export export);
/* Makes the call block until fake_release. */
void fake_hold(enum hcs_export export);
/* Waits until a held call is in. */
void fake_await_entered(enum hcs_export export);
void fake_release(enum hcs_export export);
/* Sends to all registrations that were not taken back, on this thread. */
void fake_notify(ULONG type, INT32 status);
/* Sends to the n-th registration ever made, also when it was taken back. */
void fake_notify_one(size_t number, ULONG type, INT32 status);
unsigned fake_calls(enum hcs_export export);

/* cmocka fixtures: reset everything; check that nothing is left. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

#endif
