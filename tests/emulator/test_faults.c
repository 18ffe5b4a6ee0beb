/* The fault file: each action, counts over processes, release by taking the row away, malformed files. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <cmocka.h>
#include <objbase.h>

#include "tester/vmcompute.h"
#include "tester/watch.h"

static HANDLE container;
static HANDLE registration;
static struct watch watch;

static int begin(void **state)
{
    (void)state;
    faults_set(NULL);
    watch = (struct watch){0};
    container = container_run(L"faulty");
    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(container, watch_callback, &watch, &registration));
    watch_wait(&watch, STARTED, 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    faults_set(NULL);
    if (registration != NULL)
        vm.HcsUnregisterComputeSystemCallback(registration);
    container_end(container);
    return 0;
}

static void fail_with_count(void **state)
{
    PWSTR result = NULL;

    (void)state;
    faults_set("[{\"call\":\"HcsPauseComputeSystem\",\"match\":\"faul\",\"action\":\"fail\",\"hresult\":\"0x80070005\","
               "\"count\":2},{\"call\":\"HcsPauseComputeSystem\",\"match\":\"other\",\"action\":\"fail\"}]");
    expect_hr(0x80070005, vm.HcsPauseComputeSystem(container, L"", &result));
    assert_non_null(wcsstr(result, L"vmcompute-faults.json"));
    CoTaskMemFree(result);
    expect_hr(0x80070005, vm.HcsPauseComputeSystem(container, L"", NULL));
    expect_hr(PENDING, vm.HcsPauseComputeSystem(container, L"", NULL));
    watch_wait(&watch, PAUSED, 1);
    faults_set(NULL);
}

static void fail_without_count(void **state)
{
    (void)state;
    faults_set("[{\"call\":\"HcsPauseComputeSystem\",\"action\":\"fail\"}]");
    for (int i = 0; i < 3; i++)
        expect_hr(E_FAIL, vm.HcsPauseComputeSystem(container, L"", NULL));
}

static DWORD WINAPI pause_run(void *context)
{
    (void)context;
    return (DWORD)vm.HcsPauseComputeSystem(container, L"", NULL);
}

static void hang_until_row_goes(void **state)
{
    HANDLE thread;
    DWORD code = 0;

    (void)state;
    faults_set("[{\"call\":\"HcsPauseComputeSystem\",\"action\":\"hang\"}]");
    thread = CreateThread(NULL, 0, pause_run, NULL, 0, NULL);
    assert_int_equal(WaitForSingleObject(thread, 300), WAIT_TIMEOUT);
    faults_set("[{\"call\":\"HcsResumeComputeSystem\",\"action\":\"fail\"}]"); /* another row: the file stays */
    assert_int_equal(WaitForSingleObject(thread, WAIT_MS), WAIT_OBJECT_0);
    GetExitCodeThread(thread, &code);
    assert_true(code == PENDING);
    watch_wait(&watch, PAUSED, 1);
    CloseHandle(thread);
}

static void pending_until_row_goes(void **state)
{
    HANDLE process = process_run(container, L"emu:sleep 3600", 0, NULL);
    struct watch process_watch = {0};
    HANDLE process_registration;

    (void)state;
    faults_set("[{\"call\":\"HcsPauseComputeSystem\",\"action\":\"pending\"},"
               "{\"call\":\"HcsTerminateProcess\",\"match\":\"emu:sleep\",\"action\":\"pending\"}]");
    expect_hr(S_OK, vm.HcsRegisterProcessCallback(process, watch_callback, &process_watch, &process_registration));
    expect_hr(PENDING, vm.HcsPauseComputeSystem(container, L"", NULL));
    expect_hr(PENDING, vm.HcsTerminateProcess(process, NULL));
    Sleep(300); /* banned-ok: nothing is to happen */
    assert_int_equal(watch_count(&watch, PAUSED), 0);
    assert_int_equal(watch_count(&process_watch, PROCESS_EXITED), 0);
    faults_set(NULL);
    watch_wait(&watch, PAUSED, 1);
    watch_wait(&process_watch, PROCESS_EXITED, 1);
    expect_hr(S_OK, vm.HcsUnregisterProcessCallback(process_registration));
    expect_hr(S_OK, vm.HcsCloseProcess(process));
    faults_set("[{\"call\":\"HcsResumeComputeSystem\",\"action\":\"pending\",\"after_ms\":100}]");
    expect_hr(PENDING, vm.HcsResumeComputeSystem(container, L"", NULL));
    watch_wait(&watch, RESUMED, 1);
}

static void late_and_twice(void **state)
{
    ULONGLONG began = GetTickCount64();

    (void)state;
    faults_set("[{\"call\":\"HcsPauseComputeSystem\",\"action\":\"late\",\"after_ms\":400},"
               "{\"call\":\"HcsResumeComputeSystem\",\"action\":\"twice\"}]");
    expect_hr(PENDING, vm.HcsPauseComputeSystem(container, L"", NULL));
    watch_wait(&watch, PAUSED, 1);
    assert_true(GetTickCount64() - began >= 390);
    expect_hr(PENDING, vm.HcsResumeComputeSystem(container, L"", NULL));
    watch_wait(&watch, RESUMED, 2);
    unsigned first = 0;
    while (watch.types[first] != RESUMED)
        first++;
    assert_int_not_equal(watch.threads[first], watch.threads[first + 1]);
}

/* A late notification is delivered while Unregister waits, and never after it. */
static void late_and_unregister(void **state)
{
    (void)state;
    faults_set("[{\"call\":\"HcsPauseComputeSystem\",\"action\":\"late\",\"after_ms\":60000}]");
    expect_hr(PENDING, vm.HcsPauseComputeSystem(container, L"", NULL));
    for (int tries = 0; tries < 300; tries++) { /* until the pause has taken effect */
        PWSTR text = NULL;
        expect_hr(S_OK, vm.HcsGetComputeSystemProperties(container, L"{}", &text, NULL));
        bool paused = wcsstr(text, L"\"State\":\"Paused\"") != NULL;
        CoTaskMemFree(text);
        if (paused)
            break;
        look_again();
    }
    Sleep(50); /* banned-ok: nothing is to happen */
    assert_int_equal(watch_count(&watch, PAUSED), 0);
    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    assert_int_equal(watch_count(&watch, PAUSED), 1);
    registration = NULL;
}

static void exit_notifications(void **state)
{
    struct watch process_watch = {0};
    HANDLE process_registration;
    HANDLE process = process_run(container, L"emu:sleep 3600", 0, NULL);

    (void)state;
    faults_set("[{\"call\":\"ProcessExited\",\"match\":\"faulty/\",\"action\":\"pending\"}]");
    expect_hr(S_OK, vm.HcsRegisterProcessCallback(process, watch_callback, &process_watch, &process_registration));
    expect_hr(S_OK, vm.HcsTerminateProcess(process, NULL));
    for (int tries = 0; process_code(process) < 0; tries++) {
        if (tries > 300)
            fail_msg("the process has not ended");
        look_again();
    }
    assert_int_equal(watch_count(&process_watch, PROCESS_EXITED), 0); /* it has ended, but nobody says so */
    faults_set(NULL);
    watch_wait(&process_watch, PROCESS_EXITED, 1);
    expect_hr(S_OK, vm.HcsUnregisterProcessCallback(process_registration));
    expect_hr(S_OK, vm.HcsCloseProcess(process));
}

static void disconnect(void **state)
{
    PWSTR text = NULL;
    HANDLE process = process_run(container, L"emu:sleep 3600", 0, NULL);
    struct watch process_watch = {0};
    HANDLE process_registration;

    (void)state;
    expect_hr(S_OK, vm.HcsRegisterProcessCallback(process, watch_callback, &process_watch, &process_registration));
    faults_set("[{\"call\":\"HcsEnumerateComputeSystems\",\"action\":\"disconnect\",\"count\":1}]");
    expect_hr(0x800706BE, vm.HcsEnumerateComputeSystems(L"{}", &text, NULL));
    watch_wait(&watch, DISCONNECTED, 1);
    watch_wait(&process_watch, DISCONNECTED, 1);
    expect_hr(0x80070006, vm.HcsPauseComputeSystem(container, L"", NULL));
    expect_hr(S_OK, vm.HcsUnregisterProcessCallback(process_registration));
    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    registration = NULL;
    expect_hr(0x80070006, vm.HcsCloseProcess(process));
    expect_hr(0x80070006, vm.HcsCloseComputeSystem(container));
    expect_hr(S_OK, vm.HcsEnumerateComputeSystems(L"{}", &text, NULL)); /* it went on */
    assert_non_null(wcsstr(text, L"\"faulty\""));
    CoTaskMemFree(text);
    expect_hr(S_OK, vm.HcsOpenComputeSystem(L"faulty", &container, NULL));
}

static void malformed_file(void **state)
{
    static const char *const files[] = {
        "[{\"call\":",
        "{}",
        "[{\"call\":\"x\"}]",
        "[{\"call\":\"x\",\"action\":\"explode\"}]",
        "[{\"call\":\"x\",\"action\":\"fail\",\"cuont\":1}]",
        "[{\"call\":\"x\",\"action\":\"fail\",\"hresult\":5}]",
    };
    PWSTR text = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        faults_set(files[i]);
        expect_hr(0x8007000D, vm.HcsEnumerateComputeSystems(L"{}", &text, NULL));
    }
    faults_set("[]");
    expect_hr(S_OK, vm.HcsEnumerateComputeSystems(L"{}", &text, NULL));
    CoTaskMemFree(text);
}

/* A process of its own for what ends it: gives its exit code. `code` of the crash becomes the exit code here because
 * the child sets a filter that ends it with the exception's code. */
static DWORD run_child(const wchar_t *what)
{
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION information;
    wchar_t program[MAX_PATH], command[1024];
    DWORD code = 0;

    GetModuleFileNameW(NULL, program, MAX_PATH);
    swprintf(command, 1024, L"\"%ls\" --child \"%ls\" %ls", program, test_folder(), what);
    assert_true(CreateProcessW(program, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &information));
    assert_int_equal(WaitForSingleObject(information.hProcess, WAIT_MS), WAIT_OBJECT_0);
    GetExitCodeProcess(information.hProcess, &code);
    CloseHandle(information.hProcess);
    CloseHandle(information.hThread);
    return code;
}

static LONG WINAPI end_with_code(EXCEPTION_POINTERS *exception)
{
    TerminateProcess(GetCurrentProcess(), exception->ExceptionRecord->ExceptionCode);
    return EXCEPTION_EXECUTE_HANDLER;
}

static int child(const wchar_t *folder, const wchar_t *what)
{
    PWSTR text = NULL;

    SetUnhandledExceptionFilter(end_with_code);
    vmcompute_load(folder);
    if (wcscmp(what, L"destroy") == 0)
        return (int)vm.DestroyLayer(&driver, test_path(L"layer"));
    return (int)vm.HcsEnumerateComputeSystems(L"{}", &text, NULL);
}

static void crash(void **state)
{
    (void)state;
    faults_set(
        "[{\"call\":\"DestroyLayer\",\"match\":\"layer\",\"action\":\"crash\",\"count\":1},"
        "{\"call\":\"HcsEnumerateComputeSystems\",\"action\":\"crash\",\"hresult\":\"0xC0000005\",\"count\":1}]");
    assert_true(run_child(L"destroy") == 0xC0000420);
    assert_true(run_child(L"enumerate") == 0xC0000005);
    assert_true(run_child(L"enumerate") == 0); /* counted over processes */
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(fail_with_count),     TEST(fail_without_count),
        TEST(hang_until_row_goes), TEST(pending_until_row_goes),
        TEST(late_and_twice),      TEST(late_and_unregister),
        TEST(exit_notifications),  TEST(disconnect),
        TEST(malformed_file),      TEST(crash),
    };

    if (argc == 4 && wcscmp(argv[1], L"--child") == 0)
        return child(argv[2], argv[3]);
    return cmocka_run_group_tests(tests, vmcompute_setup, vmcompute_teardown);
}
