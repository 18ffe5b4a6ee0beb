/* The compute half through the ABI: layouts, states, processes, pipes, notifications, what outlives whom. */
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

static void layouts(void **state)
{
    (void)state;
    assert_int_equal(sizeof(driver_info), 16);
    assert_int_equal(offsetof(layer_descriptor, flags), 16);
    assert_int_equal(offsetof(layer_descriptor, path), 24);
    assert_int_equal(sizeof(layer_descriptor), 32);
    assert_int_equal(offsetof(process_information, in), 8);
    assert_int_equal(sizeof(process_information), 32);
}

static void states_are_checked(void **state)
{
    HANDLE container = NULL;
    HANDLE other = NULL;
    PWSTR result = NULL;
    PWSTR text = NULL;

    (void)state;
    expect_hr(0xC037010E, vm.HcsOpenComputeSystem(L"nobody", &container, &result));
    assert_non_null(wcsstr(result, L"\"Error\":"));
    assert_non_null(wcsstr(result, L"\"ErrorEvents\":["));
    CoTaskMemFree(result);
    result = NULL;
    expect_hr(0xC037010D, vm.HcsCreateComputeSystem(L"x", L"{\"SystemType\":", NULL, &container, &result));
    CoTaskMemFree(result);
    result = NULL;
    expect_hr(0xC037010D, vm.HcsCreateComputeSystem(L"x", L"{\"SystemType\":\"Container\",\"Name\":\"x\",\"Nmae\":1}",
                                                    NULL, &container, &result));
    assert_non_null(wcsstr(result, L"Nmae"));
    CoTaskMemFree(result);
    result = NULL;
    expect_hr(0x80070003, vm.HcsCreateComputeSystem(
                              L"x",
                              L"{\"SystemType\":\"Container\",\"Name\":\"x\",\"Layers\":[{\"ID\":\"18955d65-d45a-557b-"
                              L"bf1c-49d6dfefc526\",\"Path\":\"C:\\\\no\\\\layer\"}]}",
                              NULL, &container, &result));
    assert_non_null(wcsstr(result, L"Layers[0].Path"));
    CoTaskMemFree(result);
    result = NULL;
    container = container_run(L"states");
    expect_hr(0xC037010F, vm.HcsCreateComputeSystem(L"states", L"{\"SystemType\":\"Container\",\"Name\":\"states\"}",
                                                    NULL, &other, NULL));
    expect_hr(0xC0370105, vm.HcsStartComputeSystem(container, L"", NULL));
    expect_hr(0xC0370105, vm.HcsResumeComputeSystem(container, L"", NULL));
    expect_hr(0xC037010D, vm.HcsModifyComputeSystem(container, L"{}", NULL));
    expect_hr(0x80070006, vm.HcsStartComputeSystem((HANDLE)(UINT_PTR)0x12340, L"", NULL));
    expect_hr(S_OK, vm.HcsGetComputeSystemProperties(container, L"{\"PropertyTypes\":[\"Statistics\",\"ProcessList\"]}",
                                                     &text, NULL));
    assert_non_null(wcsstr(text, L"\"State\":\"Running\""));
    assert_non_null(wcsstr(text, L"\"ContainerStartTime\""));
    assert_non_null(wcsstr(text, L"\"ProcessList\":[]"));
    CoTaskMemFree(text);
    expect_hr(S_OK, vm.HcsEnumerateComputeSystems(L"{\"Owners\":[\"test\"]}", &text, NULL));
    assert_non_null(wcsstr(text, L"\"states\""));
    CoTaskMemFree(text);
    expect_hr(S_OK, vm.HcsEnumerateComputeSystems(L"{\"Owners\":[\"other\"]}", &text, NULL));
    assert_true(wcscmp(text, L"[]") == 0);
    CoTaskMemFree(text);
    expect_hr(S_OK, vm.HcsOpenComputeSystem(L"states", &other, NULL));
    container_end(container);
    expect_hr(0xC0370110, vm.HcsTerminateComputeSystem(other, L"", NULL));
    expect_hr(0xC0370110, vm.HcsShutdownComputeSystem(other, L"", NULL));
    expect_hr(S_OK, vm.HcsGetComputeSystemProperties(other, L"{}", &text, NULL));
    assert_non_null(wcsstr(text, L"\"State\":\"Stopped\""));
    CoTaskMemFree(text);
    expect_hr(S_OK, vm.HcsCloseComputeSystem(other));
    expect_hr(0x80070006, vm.HcsCloseComputeSystem(other));
}

static void pause_resume_and_save(void **state)
{
    HANDLE container = container_run(L"pausing");
    HANDLE registration = NULL;
    struct watch watch = {0};

    (void)state;
    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(container, watch_callback, &watch, &registration));
    for (unsigned i = 1; i <= 2; i++) {
        expect_hr(PENDING, vm.HcsPauseComputeSystem(container, L"", NULL));
        watch_wait(&watch, PAUSED, i);
        expect_hr(PENDING, vm.HcsResumeComputeSystem(container, L"", NULL));
        watch_wait(&watch, RESUMED, i);
    }
    expect_hr(PENDING, vm.HcsPauseComputeSystem(container, L"", NULL));
    watch_wait(&watch, PAUSED, 3);
    expect_hr(PENDING, vm.HcsSaveComputeSystem(container, L"{}", NULL));
    watch_wait(&watch, SAVED, 1);
    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    container_end(container);
}

static void real_process(void **state)
{
    HANDLE container = container_run(L"real");
    process_information information;
    struct watch watch = {0};
    HANDLE registration = NULL;
    HANDLE process = process_run(container, L"cmd /c echo to-out& echo to-err 1>&2& exit 5", 6, &information);
    char text[64] = "";
    PWSTR properties = NULL;

    (void)state;
    assert_null(information.in);
    expect_hr(S_OK, vm.HcsRegisterProcessCallback(process, watch_callback, &watch, &registration));
    text[pipe_read(information.out, text, sizeof text - 1)] = 0;
    assert_string_equal(text, "to-out\r\n");
    text[pipe_read(information.err, text, sizeof text - 1)] = 0;
    assert_string_equal(text, "to-err \r\n");
    watch_wait(&watch, PROCESS_EXITED, 1);
    assert_int_equal(process_code(process), 5);
    CloseHandle(information.out);
    CloseHandle(information.err);
    expect_hr(S_OK, vm.HcsUnregisterProcessCallback(registration));
    expect_hr(S_OK, vm.HcsCloseProcess(process));

    process = process_run(container, L"cmd /c ping -n 600 127.0.0.1", 1, &information);
    expect_hr(S_OK,
              vm.HcsGetComputeSystemProperties(container, L"{\"PropertyTypes\":[\"ProcessList\"]}", &properties, NULL));
    assert_non_null(wcsstr(properties, L"cmd.exe"));
    CoTaskMemFree(properties);
    CloseHandle(information.in);
    container_end(container);
    assert_int_equal(process_code(process), 1067);
    expect_hr(S_OK, vm.HcsCloseProcess(process));
}

static void kill_through_second_handle(void **state)
{
    HANDLE container = container_run(L"killed");
    HANDLE second = NULL, opened = NULL;
    process_information information;
    HANDLE process = process_run(container, L"emu:sleep 3600", 0, &information);
    struct watch first_watch = {0}, second_watch = {0}, late_watch = {0};
    HANDLE registrations[3];

    (void)state;
    expect_hr(S_OK, vm.HcsRegisterProcessCallback(process, watch_callback, &first_watch, &registrations[0]));
    expect_hr(S_OK, vm.HcsOpenComputeSystem(L"killed", &second, NULL));
    expect_hr(S_OK, vm.HcsOpenProcess(second, information.pid, &opened, NULL));
    expect_hr(S_OK, vm.HcsRegisterProcessCallback(opened, watch_callback, &second_watch, &registrations[1]));
    expect_hr(S_OK, vm.HcsTerminateProcess(opened, NULL));
    watch_wait(&first_watch, PROCESS_EXITED, 1);
    watch_wait(&second_watch, PROCESS_EXITED, 1);
    expect_hr(S_OK, vm.HcsRegisterProcessCallback(opened, watch_callback, &late_watch, &registrations[2]));
    watch_wait(&late_watch, PROCESS_EXITED, 1);
    expect_hr(0x8037011F, vm.HcsTerminateProcess(process, NULL));
    assert_int_equal(process_code(process), 1067);
    for (int i = 0; i < 3; i++)
        expect_hr(S_OK, vm.HcsUnregisterProcessCallback(registrations[i]));
    expect_hr(0x80070006, vm.HcsUnregisterProcessCallback(registrations[0]));
    assert_int_equal(watch_count(&first_watch, PROCESS_EXITED), 1);
    expect_hr(S_OK, vm.HcsCloseProcess(opened));
    expect_hr(S_OK, vm.HcsCloseProcess(process));
    expect_hr(0x80070490, vm.HcsOpenProcess(second, information.pid, &opened, NULL));
    expect_hr(S_OK, vm.HcsCloseComputeSystem(second));
    container_end(container);
}

static void exit_code_is_lost(void **state)
{
    HANDLE container = container_run(L"lost");
    process_information information;
    HANDLE process = process_run(container, L"emu:echo", 3, &information);
    char byte;

    (void)state;
    expect_hr(S_OK, vm.HcsCloseProcess(process));
    CloseHandle(information.in);
    assert_int_equal(pipe_read(information.out, &byte, 1), 0); /* its end is closed: it is ending */
    CloseHandle(information.out);
    for (int tries = 0; tries < 300; tries++) {
        HRESULT code = vm.HcsOpenProcess(container, information.pid, &process, NULL);
        if (code == (HRESULT)0x80070490)
            break;
        if (code == S_OK)
            vm.HcsCloseProcess(process);
        if (tries == 299)
            fail_msg("the process can still be opened: 0x%08lx", (unsigned long)code);
        look_again();
    }
    container_end(container);
}

static void echo_and_pattern(void **state)
{
    static const char line[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-\n";
    HANDLE container = container_run(L"pipes");
    process_information information, again;
    HANDLE process = process_run(container, L"emu:echo", 3, &information);
    char *data = calloc(1, 300000);
    char text[16] = "";

    (void)state;
    assert_true(pipe_write(information.in, "hello", 5));
    assert_int_equal(pipe_read(information.out, text, 5), 5);
    assert_string_equal(text, "hello");
    expect_hr(S_OK, vm.HcsGetProcessInfo(process, &again, NULL)); /* handed out once */
    assert_int_equal(again.pid, information.pid);
    assert_null(again.out);
    expect_hr(S_OK, vm.HcsModifyProcess(
                        process, L"{\"Operation\":\"CloseHandle\",\"CloseHandle\":{\"Handle\":\"StdIn\"}}", NULL));
    CloseHandle(information.in);
    assert_int_equal(pipe_read(information.out, text, 5), 0);
    CloseHandle(information.out);
    expect_hr(S_OK, vm.HcsCloseProcess(process));

    process = process_run(container, L"emu:write 300001", 2, &information);
    assert_int_equal(pipe_read(information.out, data, 300000), 300000);
    for (unsigned i = 0; i < 300000; i++)
        if (data[i] != line[i % 64])
            fail_msg("byte %u: expected %d, found %d", i, line[i % 64], data[i]);
    CloseHandle(information.out);
    expect_hr(S_OK, vm.HcsCloseProcess(process));

    /* The reader goes away: the writer's next write fails. */
    process = process_run(container, L"emu:write 100000000", 2, &information);
    assert_int_equal(pipe_read(information.out, data, 1000), 1000);
    struct watch watch = {0};
    HANDLE registration;
    expect_hr(S_OK, vm.HcsRegisterProcessCallback(process, watch_callback, &watch, &registration));
    CloseHandle(information.out);
    watch_wait(&watch, PROCESS_EXITED, 1);
    assert_int_equal(process_code(process), 109);
    expect_hr(S_OK, vm.HcsUnregisterProcessCallback(registration));
    expect_hr(S_OK, vm.HcsCloseProcess(process));
    free(data);
    container_end(container);
}

static void shutdown_ends_processes(void **state)
{
    HANDLE container = container_run(L"shut");
    HANDLE process = process_run(container, L"emu:sleep 3600", 0, NULL);
    HANDLE registration;
    struct watch watch = {0};

    (void)state;
    expect_hr(PENDING, vm.HcsShutdownComputeSystem(container, L"", NULL));
    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(container, watch_callback, &watch, &registration));
    expect_hr(S_OK, watch_wait(&watch, EXITED, 1));
    assert_true(process_code(process) == 0xC000013A);
    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    expect_hr(0xC0370110, vm.HcsCreateProcess(container, L"{\"CommandLine\":\"emu:exit 0\"}", NULL, &process, NULL));
    expect_hr(S_OK, vm.HcsCloseProcess(process));
    expect_hr(S_OK, vm.HcsCloseComputeSystem(container));
}

static DWORD WINAPI unregister_run(void *registration)
{
    return (DWORD)vm.HcsUnregisterComputeSystemCallback(registration);
}

static void unregister_waits(void **state)
{
    HANDLE container = container_run(L"unregister");
    struct watch watch = {.entered = CreateEventW(NULL, TRUE, FALSE, NULL),
                          .leave = CreateEventW(NULL, TRUE, FALSE, NULL)};
    HANDLE registration, thread;

    (void)state;
    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(container, watch_callback, &watch, &registration));
    assert_int_equal(WaitForSingleObject(watch.entered, WAIT_MS), WAIT_OBJECT_0);
    thread = CreateThread(NULL, 0, unregister_run, registration, 0, NULL);
    assert_int_equal(WaitForSingleObject(thread, 100), WAIT_TIMEOUT);
    SetEvent(watch.leave);
    assert_int_equal(WaitForSingleObject(thread, WAIT_MS), WAIT_OBJECT_0);
    assert_false(watch.inside);
    unsigned count = watch.count;
    CloseHandle(thread);
    watch.leave = NULL;
    container_end(container);
    assert_int_equal(watch.count, count);
    CloseHandle(watch.entered);
}

/* Starts this program as another client, waits until it is ready, and kills it. */
static void other_client(const wchar_t *what)
{
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION information;
    wchar_t program[MAX_PATH], command[1024];
    HANDLE ready = CreateEventW(NULL, TRUE, FALSE, L"hcsemu-test-ready");
    HANDLE job = CreateJobObjectW(NULL, NULL);
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {.BasicLimitInformation.LimitFlags =
                                                       JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE};

    ResetEvent(ready);
    SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
    GetModuleFileNameW(NULL, program, MAX_PATH);
    swprintf(command, 1024, L"\"%ls\" --child \"%ls\" %ls", program, test_folder(), what);
    assert_true(
        CreateProcessW(program, command, NULL, NULL, FALSE, CREATE_SUSPENDED, NULL, NULL, &startup, &information));
    AssignProcessToJobObject(job, information.hProcess);
    ResumeThread(information.hThread);
    assert_int_equal(WaitForSingleObject(ready, WAIT_MS), WAIT_OBJECT_0);
    CloseHandle(job); /* the client and all that is in its job with it */
    assert_int_equal(WaitForSingleObject(information.hProcess, WAIT_MS), WAIT_OBJECT_0);
    CloseHandle(information.hProcess);
    CloseHandle(information.hThread);
    CloseHandle(ready);
}

static int child(const wchar_t *folder, const wchar_t *what)
{
    HANDLE ready = OpenEventW(EVENT_MODIFY_STATE, FALSE, L"hcsemu-test-ready");
    HANDLE container = NULL;

    vmcompute_load(folder);
    if (wcscmp(what, L"survivor") == 0) {
        container = container_run(L"survivor");
        process_run(container, L"emu:sleep 3600", 3, NULL);
        process_run(container, L"emu:write 100000000", 2, NULL);
    } else if (wcsncmp(what, L"client-", 7) == 0) {
        container_run(what);
        return 0;
    } else {
        expect_hr(PENDING, vm.HcsCreateComputeSystem(L"mortal",
                                                     L"{\"SystemType\":\"Container\",\"Name\":\"mortal\","
                                                     L"\"TerminateOnLastHandleClosed\":true}",
                                                     NULL, &container, NULL));
    }
    SetEvent(ready);
    WaitForSingleObject(GetCurrentProcess(), INFINITE); /* until it is killed */
    return 0;
}

static void containers_survive_their_creator(void **state)
{
    HANDLE container = NULL;
    HANDLE process = NULL;
    char *books;

    (void)state;
    program_run(L"hcsemu.exe --stop", NULL, 0); /* the child is to be the one that starts the broker */
    other_client(L"survivor");
    expect_hr(S_OK, vm.HcsOpenComputeSystem(L"survivor", &container, NULL));
    books = books_read();
    const char *sleeper = strstr(books, "\"command\": \"emu:sleep 3600\"");
    assert_non_null(sleeper);
    assert_non_null(strstr(sleeper, "\"exited\": false"));
    unsigned pid = (unsigned)strtoul(strstr(sleeper, "\"pid\": ") + 7, NULL, 10);
    free(books);
    expect_hr(S_OK, vm.HcsOpenProcess(container, pid, &process, NULL));
    assert_int_equal(process_code(process), -1);
    expect_hr(S_OK, vm.HcsCloseProcess(process));
    /* The writer lost its reader, and its code with the last handle. */
    for (int tries = 0; tries < 300; tries++) {
        books = books_read();
        const char *writer = strstr(books, "emu:write");
        free(books);
        if (writer == NULL)
            break;
        if (tries == 299)
            fail_msg("the writer goes on without a reader");
    }
    container_end(container);
}

#define CLIENTS 6

/* Clients that all find no broker start one among them. */
static void clients_share_one_broker(void **state)
{
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION information[CLIENTS];
    HANDLE container;
    wchar_t program[MAX_PATH], command[1024], id[32];

    (void)state;
    program_run(L"hcsemu.exe --stop", NULL, 0);
    GetModuleFileNameW(NULL, program, MAX_PATH);
    for (int i = 0; i < CLIENTS; i++) {
        swprintf(command, 1024, L"\"%ls\" --child \"%ls\" client-%d", program, test_folder(), i);
        assert_true(CreateProcessW(program, command, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &information[i]));
    }
    for (int i = 0; i < CLIENTS; i++) {
        DWORD code = 1;
        assert_int_equal(WaitForSingleObject(information[i].hProcess, WAIT_MS), WAIT_OBJECT_0);
        GetExitCodeProcess(information[i].hProcess, &code);
        assert_int_equal(code, 0);
        CloseHandle(information[i].hProcess);
        CloseHandle(information[i].hThread);
    }
    for (int i = 0; i < CLIENTS; i++) { /* the one broker has them all */
        swprintf(id, 32, L"client-%d", i);
        expect_hr(S_OK, vm.HcsOpenComputeSystem(id, &container, NULL));
        container_end(container);
    }
}

static void last_handle_ends_container(void **state)
{
    HANDLE container = NULL;

    (void)state;
    other_client(L"mortal");
    for (int tries = 0;; tries++) {
        HRESULT code = vm.HcsOpenComputeSystem(L"mortal", &container, NULL);
        if (code == (HRESULT)0xC037010E)
            break;
        if (code == S_OK)
            vm.HcsCloseComputeSystem(container);
        if (tries == 300)
            fail_msg("expected 0xC037010E, found 0x%08lx", (unsigned long)code);
        look_again();
    }
}

static void broker_ends(void **state)
{
    HANDLE container = container_run(L"orphan");
    HANDLE registration;
    struct watch watch = {0};

    (void)state;
    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(container, watch_callback, &watch, &registration));
    assert_int_equal(program_run(L"hcsemu.exe --stop", NULL, 0), 0);
    watch_wait(&watch, DISCONNECTED, 1);
    expect_hr(0x80070006, vm.HcsStartComputeSystem(container, L"", NULL));
    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    expect_hr(0x80070006, vm.HcsCloseComputeSystem(container));
    container = container_run(L"orphan"); /* a new broker */
    container_end(container);
}

static void breaks_by_itself(void **state)
{
    HANDLE container = container_run(L"broken");
    HANDLE registration;
    struct watch watch = {0};

    (void)state;
    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(container, watch_callback, &watch, &registration));
    assert_int_equal(program_run(L"hcsemu.exe --break broken", NULL, 0), 0);
    expect_hr(0xC0370106, watch_wait(&watch, EXITED, 1));
    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    expect_hr(S_OK, vm.HcsCloseComputeSystem(container));
}

#define MANY 200

static void many_containers(void **state)
{
    static HANDLE containers[MANY], processes[MANY];
    static process_information information[MANY];
    wchar_t id[32];
    char text[8];

    (void)state;
    for (int i = 0; i < MANY; i++) {
        swprintf(id, 32, L"many-%d", i);
        containers[i] = container_run(id);
        processes[i] = process_run(containers[i], L"emu:echo", 3, &information[i]);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(information[k].pid, information[i].pid);
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(pipe_write(information[i].in, "ping", 4));
        assert_int_equal(pipe_read(information[i].out, text, 4), 4);
    }
    for (int i = 0; i < MANY; i++) {
        CloseHandle(information[i].in);
        CloseHandle(information[i].out);
        container_end(containers[i]);
        expect_hr(S_OK, vm.HcsCloseProcess(processes[i]));
    }
    char *books = books_read();
    assert_null(strstr(books, "many-"));
    free(books);
}

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),
        cmocka_unit_test(states_are_checked),
        cmocka_unit_test(pause_resume_and_save),
        cmocka_unit_test(real_process),
        cmocka_unit_test(kill_through_second_handle),
        cmocka_unit_test(exit_code_is_lost),
        cmocka_unit_test(echo_and_pattern),
        cmocka_unit_test(shutdown_ends_processes),
        cmocka_unit_test(unregister_waits),
        cmocka_unit_test(containers_survive_their_creator),
        cmocka_unit_test(clients_share_one_broker),
        cmocka_unit_test(last_handle_ends_container),
        cmocka_unit_test(broker_ends),
        cmocka_unit_test(breaks_by_itself),
        cmocka_unit_test(many_containers),
    };

    if (argc == 4 && wcscmp(argv[1], L"--child") == 0)
        return child(argv[2], argv[3]);
    return cmocka_run_group_tests(tests, vmcompute_setup, vmcompute_teardown);
}
