/* The storage half through the ABI: states, export compared file by file, import, destroy, privileges. */
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

static wchar_t base[512], top[512], out[512];

static void file_time_set(const wchar_t *path, uint64_t time)
{
    HANDLE file = CreateFileW(path, FILE_WRITE_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING,
                              FILE_FLAG_BACKUP_SEMANTICS, NULL);
    FILETIME value = {.dwLowDateTime = (DWORD)time, .dwHighDateTime = (DWORD)(time >> 32)};
    assert_true(file != INVALID_HANDLE_VALUE);
    assert_true(SetFileTime(file, NULL, NULL, &value));
    CloseHandle(file);
}

static uint64_t file_time(const wchar_t *path)
{
    WIN32_FILE_ATTRIBUTE_DATA data;
    if (!GetFileAttributesExW(path, GetFileExInfoStandard, &data))
        fail_msg("%ls is not there", path);
    return ((uint64_t)data.ftLastWriteTime.dwHighDateTime << 32) | data.ftLastWriteTime.dwLowDateTime;
}

#define TIME 133000000001234567u

static void both(const wchar_t *name, const char *text)
{
    for (int i = 0; i < 2; i++) {
        const wchar_t *path = test_path(L"%ls\\Files\\%ls", i == 0 ? L"base" : L"top", name);
        if (text == NULL) {
            folders_make(path);
        } else {
            text_write(path, text);
            file_time_set(path, TIME);
        }
    }
}

static int layers_make(void **state)
{
    (void)state;
    swprintf(base, 512, L"%ls", test_path(L"base"));
    swprintf(top, 512, L"%ls", test_path(L"top"));
    swprintf(out, 512, L"%ls", test_path(L"out"));
    folders_make(test_path(L"base\\Files"));
    folders_make(test_path(L"top\\Files"));
    both(L"kept", NULL);
    both(L"kept\\same", "same");
    both(L"kept\\changed", "old");
    both(L"kept\\touched", "touched");
    both(L"gone", NULL);
    both(L"gone\\below", "x");
    both(L"deep", NULL);
    both(L"deep\\er", NULL);
    both(L"deep\\er\\victim", "x");
    both(L"turned", NULL);
    DeleteFileW(test_path(L"top\\Files\\gone\\below"));
    RemoveDirectoryW(test_path(L"top\\Files\\gone"));
    DeleteFileW(test_path(L"top\\Files\\deep\\er\\victim"));
    RemoveDirectoryW(test_path(L"top\\Files\\turned"));
    text_write(test_path(L"top\\Files\\turned"), "now a file");
    text_write(test_path(L"top\\Files\\kept\\changed"), "changed");
    file_time_set(test_path(L"top\\Files\\kept\\changed"), TIME + 10);
    file_time_set(test_path(L"top\\Files\\kept\\touched"), TIME + 20);
    text_write(test_path(L"top\\Files\\first"), "linked");
    CreateHardLinkW(test_path(L"top\\Files\\kept\\second"), test_path(L"top\\Files\\first"), NULL);
    text_write(test_path(L"top\\Files\\empty"), "");
    for (int i = 0; i < 2; i++) { /* folders that did not change look it */
        file_time_set(test_path(L"%ls\\Files\\kept", i == 0 ? L"base" : L"top"), TIME);
        file_time_set(test_path(L"%ls\\Files\\deep", i == 0 ? L"base" : L"top"), TIME);
    }
    folders_make(out);
    return 0;
}

static void folder_clear(const wchar_t *path)
{
    vm.DeactivateLayer(&driver, path);
    vm.DestroyLayer(&driver, path);
    if (file_exists(path))
        fail_msg("%ls is still there", path);
}

static int layers_remove(void **state)
{
    static const wchar_t *const names[] = {L"base", L"top", L"out", L"imported", L"again", L"scratch"};
    (void)state;
    faults_set(NULL);
    DeleteFileW(test_path(L"vmcompute-settings.json"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        vm.DeactivateLayer(&driver, test_path(L"%ls", names[i]));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (file_exists(test_path(L"%ls", names[i])))
            folder_clear(test_path(L"%ls", names[i]));
    return 0;
}

static layer_descriptor parent(void)
{
    layer_descriptor descriptor = {.path = base};
    vm.NameToGuid(L"base", &descriptor.id);
    return descriptor;
}

static void names_and_guids(void **state)
{
    static const GUID known = {0x18955d65, 0xd45a, 0x557b, {0xbf, 0x1c, 0x49, 0xd6, 0xdf, 0xef, 0xc5, 0x26}};
    GUID guid, again;
    UINT32 exists = 7;
    PWSTR images = NULL;

    (void)state;
    expect_hr(S_OK, vm.NameToGuid(L"65bf96e5760a09edf1790cb229e2dfb2dbd0fcdc0bf7451bae099106bfbfea0c", &guid));
    assert_memory_equal(&guid, &known, sizeof guid);
    expect_hr(S_OK, vm.NameToGuid(L"a", &guid));
    expect_hr(S_OK, vm.NameToGuid(L"a", &again));
    assert_memory_equal(&guid, &again, sizeof guid);
    assert_int_equal(guid.Data3 >> 12, 5);
    expect_hr(S_OK, vm.NameToGuid(L"b", &again));
    assert_memory_not_equal(&guid, &again, sizeof guid);
    expect_hr(S_OK, vm.LayerExists(&driver, base, &exists));
    assert_int_equal(exists, 1);
    expect_hr(S_OK, vm.LayerExists(&driver, L"C:\\none", &exists));
    assert_int_equal(exists, 0);
    expect_hr(S_OK, vm.GetBaseImages(&images));
    CoTaskMemFree(images);
}

static void states_of_a_layer(void **state)
{
    layer_descriptor chain = parent();
    wchar_t path[128], other[128];
    SIZE_T length = 0;
    char *books;

    (void)state;
    expect_hr(0x80070003, vm.ActivateLayer(&driver, L"C:\\none"));
    expect_hr(0x80070015, vm.PrepareLayer(&driver, top, &chain, 1));
    expect_hr(0x80070015, vm.ExportLayer(&driver, top, out, &chain, 1));
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    expect_hr(S_OK, vm.PrepareLayer(&driver, top, &chain, 1));
    expect_hr(S_OK, vm.GetLayerMountPath(&driver, top, &length, NULL));
    assert_int_equal(length, 49);
    expect_hr(S_OK, vm.GetLayerMountPath(&driver, top, &length, path));
    assert_true(wcsncmp(path, L"\\\\?\\Volume{", 11) == 0 && path[47] == L'}');
    books = books_read();
    assert_non_null(strstr(books, "\"prepared\": true"));
    free(books);
    /* A container on it dies with its disk. */
    wchar_t document[1024];
    HANDLE container = NULL, process;
    swprintf(document, 1024,
             L"{\"SystemType\":\"Container\",\"Name\":\"disk\",\"VolumePath\":\"\\\\\\\\?\\\\%ls\",\"Layers\":null}",
             path + 4);
    expect_hr(PENDING, vm.HcsCreateComputeSystem(L"disk", document, NULL, &container, NULL));
    for (int tries = 0; vm.HcsStartComputeSystem(container, L"", NULL) != (HRESULT)PENDING; tries++)
        assert_true(tries < 10);
    process_information information;
    HRESULT code = S_OK;
    for (int tries = 0; tries < 300; tries++) {
        code = vm.HcsCreateProcess(container, L"{\"CommandLine\":\"emu:sleep 3600\"}", &information, &process, NULL);
        if (code != (HRESULT)0xC0370105)
            break;
        look_again();
    }
    expect_hr(S_OK, code);
    expect_hr(S_OK, vm.UnprepareLayer(&driver, top));
    for (int tries = 0; process_code(process) < 0 && tries < 300; tries++)
        look_again();
    assert_true(process_code(process) == 0xC0000006);
    vm.HcsCloseProcess(process);
    container_end(container);
    expect_hr(S_OK, vm.DeactivateLayer(&driver, top));
    expect_hr(0x80070015, vm.GetLayerMountPath(&driver, top, &length, other));
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    length = 49;
    expect_hr(S_OK, vm.GetLayerMountPath(&driver, top, &length, other));
    assert_true(wcscmp(path, other) == 0); /* the same volume again */
}

/* All below `path`, sorted as found: folders with a backslash at the end. */
static void tree_text(const wchar_t *path, const char *prefix, char *text, size_t size)
{
    wchar_t pattern[1024];
    WIN32_FIND_DATAW data;
    HANDLE find;

    swprintf(pattern, 1024, L"%ls\\*", path);
    find = FindFirstFileW(pattern, &data);
    do {
        wchar_t below[1024];
        char name[1024];
        bool folder = (data.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
        if (wcscmp(data.cFileName, L".") == 0 || wcscmp(data.cFileName, L"..") == 0)
            continue;
        snprintf(name, sizeof name, "%s%ls%s", prefix, data.cFileName, folder ? "\\" : "");
        snprintf(text + strlen(text), size - strlen(text), "%s\n", name);
        swprintf(below, 1024, L"%ls\\%ls", path, data.cFileName);
        if (folder)
            tree_text(below, name, text, size);
    } while (FindNextFileW(find, &data));
    FindClose(find);
}

static void has_line(const char *text, const char *line)
{
    char wanted[256];
    char *padded = calloc(1, strlen(text) + 2);
    snprintf(padded, strlen(text) + 2, "\n%s", text);
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    if (strstr(padded, wanted) == NULL)
        fail_msg("\"%s\" is not among:\n%s", line, text);
    free(padded);
}

static unsigned lines(const char *text)
{
    unsigned count = 0;
    for (; *text != 0; text++)
        count += *text == '\n';
    return count;
}

/* A staged file: prefix, security stream with a valid descriptor, data stream. */
static void staged_is(const wchar_t *path, uint32_t attributes, const char *content)
{
    size_t size = 0;
    uint8_t *data = file_read(path, &size);
    uint32_t value, id;
    uint64_t length;

    if (data == NULL)
        fail_msg("%ls is not there", path);
    memcpy(&value, data, 4);
    if ((value & attributes) != attributes)
        fail_msg("%ls: attributes 0x%x, expected 0x%x", path, value, attributes);
    memcpy(&id, data + 4, 4);
    memcpy(&length, data + 12, 8);
    assert_int_equal(id, 3);
    assert_true(IsValidSecurityDescriptor(data + 24));
    assert_int_equal(GetSecurityDescriptorLength(data + 24), length);
    size_t at = 24 + (size_t)length;
    if (content == NULL || *content == 0) {
        assert_int_equal(size, at);
    } else {
        memcpy(&id, data + at, 4);
        memcpy(&length, data + at + 8, 8);
        assert_int_equal(id, 1);
        assert_int_equal(length, strlen(content));
        assert_int_equal(size, at + 20 + strlen(content));
        assert_memory_equal(data + at + 20, content, strlen(content));
    }
    free(data);
}

static const char *const expected_tree[] = {
    "Files\\",
    "Files\\deep\\",
    "Files\\deep.$wcidirs$",
    "Files\\deep\\er\\",
    "Files\\deep\\er.$wcidirs$",
    "Files\\empty",
    "Files\\first",
    "Files\\kept\\",
    "Files\\kept.$wcidirs$",
    "Files\\kept\\changed",
    "Files\\kept\\second",
    "Files\\kept\\touched",
    "Files\\turned",
    "Hives\\",
    "Hives\\System_Delta",
    "tombstones.txt",
};

static void export_golden(void **state)
{
    layer_descriptor chain = parent();
    char *text = calloc(1, 65536);
    BY_HANDLE_FILE_INFORMATION info;
    HANDLE file;
    char *tombstones;

    (void)state;
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    expect_hr(0x80070003, vm.ExportLayer(&driver, top, L"C:\\none", &chain, 1));
    expect_hr(0x80070057, vm.ExportLayer(&driver, top, L"out", &chain, 1));
    expect_hr(0x80070091, vm.ExportLayer(&driver, top, base, &chain, 1));
    chain.path = L"C:\\none";
    expect_hr(0x80070003, vm.ExportLayer(&driver, top, out, &chain, 1));
    chain.path = base;
    expect_hr(S_OK, vm.ExportLayer(&driver, top, out, &chain, 1));
    tree_text(out, "", text, 65536);
    for (size_t i = 0; i < sizeof expected_tree / sizeof expected_tree[0]; i++)
        has_line(text, expected_tree[i]);
    assert_int_equal(lines(text), sizeof expected_tree / sizeof expected_tree[0]);
    tombstones = file_read(test_path(L"out\\tombstones.txt"), NULL);
    assert_string_equal(tombstones, "\xEF\xBB\xBFVersion 1.0\n\\deep\\er\\victim\n\\gone\n");
    staged_is(test_path(L"out\\Files\\kept\\changed"), 0, "changed");
    staged_is(test_path(L"out\\Files\\kept\\touched"), 0, "touched");
    staged_is(test_path(L"out\\Files\\turned"), 0, "now a file");
    staged_is(test_path(L"out\\Files\\empty"), 0, "");
    staged_is(test_path(L"out\\Files\\kept.$wcidirs$"), FILE_ATTRIBUTE_DIRECTORY, NULL);
    assert_true(file_time(test_path(L"out\\Files\\kept\\changed")) ==
                file_time(test_path(L"top\\Files\\kept\\changed")));
    assert_true(file_time(test_path(L"out\\Files\\kept.$wcidirs$")) == TIME);
    assert_true(file_time(test_path(L"out\\Files\\kept")) == TIME);
    file = CreateFileW(test_path(L"out\\Files\\first"), GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    assert_true(GetFileInformationByHandle(file, &info));
    assert_int_equal(info.nNumberOfLinks, 2);
    CloseHandle(file);
    free(tombstones);
    free(text);
}

/* Nothing differs: nothing is staged. */
static void export_without_changes(void **state)
{
    layer_descriptor chain = {.path = top};
    char *text = calloc(1, 65536);

    (void)state;
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    expect_hr(S_OK, vm.ExportLayer(&driver, top, out, &chain, 1));
    tree_text(out, "", text, 65536);
    assert_int_equal(lines(text), 4);
    free(text);
}

static void transport_folder(void **state)
{
    layer_descriptor chain = parent();
    char *data;

    (void)state;
    folders_make(test_path(L"top\\transport\\Files\\kept"));
    text_write(test_path(L"top\\transport\\Files\\kept.$wcidirs$"), "side");
    text_write(test_path(L"top\\transport\\Files\\kept\\changed"), "as it is");
    text_write(test_path(L"top\\transport\\Files\\kept\\first"), "one");
    CreateHardLinkW(test_path(L"top\\transport\\Files\\kept\\other"), test_path(L"top\\transport\\Files\\kept\\first"),
                    NULL);
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    expect_hr(S_OK, vm.ExportLayer(&driver, top, out, &chain, 1));
    data = file_read(test_path(L"out\\Files\\kept\\changed"), NULL);
    assert_string_equal(data, "as it is");
    free(data);
    staged_is(test_path(L"out\\Files\\kept\\touched"), 0, "touched"); /* the difference beside it */
    HANDLE file =
        CreateFileW(test_path(L"out\\Files\\kept\\other"), GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    BY_HANDLE_FILE_INFORMATION info;
    assert_true(GetFileInformationByHandle(file, &info));
    assert_int_equal(info.nNumberOfLinks, 2);
    CloseHandle(file);
}

static void scratch_and_order(void **state)
{
    layer_descriptor chain[2] = {parent(), {.path = out}};
    layer_descriptor turned[2] = {chain[1], chain[0]};
    wchar_t scratch[512];
    char *disk;

    (void)state;
    swprintf(scratch, 512, L"%ls", test_path(L"scratch"));
    expect_hr(S_OK, vm.CreateSandboxLayer(&driver, scratch, 0, chain, 2));
    expect_hr(S_OK, vm.ExpandSandboxSize(&driver, scratch, (UINT64)50 << 30));
    expect_hr(0x80070057, vm.ExpandSandboxSize(&driver, scratch, (UINT64)30 << 30));
    disk = file_read(test_path(L"scratch\\sandbox.vhdx"), NULL);
    assert_true(strncmp(disk, "vhdxfile", 8) == 0);
    assert_non_null(strstr(disk, "53687091200"));
    free(disk);
    expect_hr(S_OK, vm.ActivateLayer(&driver, scratch));
    expect_hr(0x80070003, vm.PrepareLayer(&driver, scratch, turned, 2));
    expect_hr(0x80070003, vm.PrepareLayer(&driver, scratch, chain, 1));
    expect_hr(S_OK, vm.PrepareLayer(&driver, scratch, chain, 2));
    expect_hr(0x80070020, vm.DestroyLayer(&driver, scratch)); /* attached */
    expect_hr(S_OK, vm.UnprepareLayer(&driver, scratch));
    expect_hr(S_OK, vm.DeactivateLayer(&driver, scratch));
    expect_hr(S_OK, vm.DestroyLayer(&driver, scratch));
    assert_false(file_exists(scratch));
}

static void import_round_trip(void **state)
{
    layer_descriptor chain = parent();
    char *data, *text = calloc(1, 65536), *again = calloc(1, 65536);

    (void)state;
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    expect_hr(S_OK, vm.ExportLayer(&driver, top, out, &chain, 1));
    expect_hr(0x80070003, vm.ImportLayer(&driver, test_path(L"imported"), out, &chain, 1));
    expect_hr(S_OK, vm.CreateLayer(&driver, test_path(L"imported"), L""));
    expect_hr(S_OK, vm.ImportLayer(&driver, test_path(L"imported"), out, &chain, 1));
    tree_text(test_path(L"top\\Files"), "", text, 65536);
    tree_text(test_path(L"imported\\Files"), "", again, 65536);
    assert_string_equal(again, text);
    data = file_read(test_path(L"imported\\Files\\kept\\changed"), NULL);
    assert_string_equal(data, "changed");
    free(data);
    assert_true(file_time(test_path(L"imported\\Files\\kept\\changed")) ==
                file_time(test_path(L"top\\Files\\kept\\changed")));
    /* What was imported differs from the parent as the layer did. */
    expect_hr(S_OK, vm.ActivateLayer(&driver, test_path(L"imported")));
    folders_make(test_path(L"again"));
    expect_hr(S_OK, vm.ExportLayer(&driver, test_path(L"imported"), test_path(L"again"), &chain, 1));
    memset(text, 0, 65536);
    memset(again, 0, 65536);
    tree_text(out, "", text, 65536);
    tree_text(test_path(L"again"), "", again, 65536);
    assert_string_equal(again, text);
    free(text);
    free(again);
}

/* The nearest parent is a merged view that lacks what a farther one has: no tombstones for that. */
static void imported_parent_hides(void **state)
{
    layer_descriptor chain[2] = {parent(), {.path = base}};
    char *tombstones;

    (void)state;
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    expect_hr(S_OK, vm.ExportLayer(&driver, top, out, chain, 1));
    expect_hr(S_OK, vm.CreateLayer(&driver, test_path(L"imported"), L""));
    expect_hr(S_OK, vm.ImportLayer(&driver, test_path(L"imported"), out, chain, 1));
    chain[0].path = test_path(L"imported");
    folders_make(test_path(L"again"));
    expect_hr(S_OK, vm.ExportLayer(&driver, top, test_path(L"again"), chain, 2));
    tombstones = file_read(test_path(L"again\\tombstones.txt"), NULL);
    assert_string_equal(tombstones, "\xEF\xBB\xBFVersion 1.0\n");
    free(tombstones);
}

static void destroy_rules(void **state)
{
    HANDLE file;

    (void)state;
    expect_hr(S_OK, vm.DestroyLayer(&driver, L"top")); /* relative: nothing happens */
    assert_true(file_exists(top));
    expect_hr(0x8007007B, vm.DestroyLayer(&driver, test_path(L"top\\")));
    file = CreateFileW(test_path(L"top\\Files\\kept\\same"), GENERIC_READ,
                       FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    expect_hr(0x80070020, vm.DestroyLayer(&driver, top));
    assert_true(file_exists(test_path(L"top\\Files\\empty")));
    CloseHandle(file);
    SetFileAttributesW(test_path(L"top\\Files\\kept\\same"), FILE_ATTRIBUTE_READONLY);
    expect_hr(S_OK, vm.DestroyLayer(&driver, top));
    assert_false(file_exists(top));
    expect_hr(0x80070003, vm.DestroyLayer(&driver, top));
}

static LONG WINAPI end_with_code(EXCEPTION_POINTERS *exception)
{
    TerminateProcess(GetCurrentProcess(), exception->ExceptionRecord->ExceptionCode);
    return EXCEPTION_EXECUTE_HANDLER;
}

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

static void enable(const wchar_t *name)
{
    TOKEN_PRIVILEGES privileges = {.PrivilegeCount = 1, .Privileges[0].Attributes = SE_PRIVILEGE_ENABLED};
    HANDLE token;
    assert_true(OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token));
    assert_true(LookupPrivilegeValueW(NULL, name, &privileges.Privileges[0].Luid));
    assert_true(AdjustTokenPrivileges(token, FALSE, &privileges, 0, NULL, NULL));
    assert_int_equal(GetLastError(), ERROR_SUCCESS);
    CloseHandle(token);
}

static int child(const wchar_t *folder, const wchar_t *what)
{
    SetUnhandledExceptionFilter(end_with_code);
    vmcompute_load(folder);
    if (wcscmp(what, L"destroy-base") == 0)
        return (int)vm.DestroyLayer(&driver, test_path(L"base"));
    if (wcscmp(what, L"with") == 0)
        enable(L"SeBackupPrivilege");
    return (int)vm.ActivateLayer(&driver, test_path(L"top"));
}

static void destroy_of_a_parent_in_use(void **state)
{
    layer_descriptor chain = parent();

    (void)state;
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    expect_hr(S_OK, vm.PrepareLayer(&driver, top, &chain, 1));
    assert_true(run_child(L"destroy-base") == 0xC0000420);
    expect_hr(S_OK, vm.UnprepareLayer(&driver, top));
}

static void privileges(void **state)
{
    (void)state;
    text_write(test_path(L"vmcompute-settings.json"), "{\"check_privileges\":true}");
    assert_true(run_child(L"without") == 0x80070522);
    assert_true(run_child(L"with") == 0);
    DeleteFileW(test_path(L"vmcompute-settings.json"));
    assert_true(run_child(L"without") == 0);
}

static DWORD WINAPI export_run(void *context)
{
    layer_descriptor chain = parent();
    (void)context;
    return (DWORD)vm.ExportLayer(&driver, top, out, &chain, 1);
}

static void export_hangs_within(void **state)
{
    HANDLE thread;
    DWORD code;

    (void)state;
    expect_hr(S_OK, vm.ActivateLayer(&driver, top));
    faults_set("[{\"call\":\"ExportLayer\",\"match\":\"top\",\"action\":\"hang\",\"after_ms\":1}]");
    thread = CreateThread(NULL, 0, export_run, NULL, 0, NULL);
    assert_int_equal(WaitForSingleObject(thread, 500), WAIT_TIMEOUT);
    assert_true(file_exists(test_path(L"out\\Files"))); /* it had begun */
    faults_set(NULL);
    assert_int_equal(WaitForSingleObject(thread, WAIT_MS), WAIT_OBJECT_0);
    GetExitCodeThread(thread, &code);
    assert_int_equal(code, S_OK);
    CloseHandle(thread);
    assert_true(file_exists(test_path(L"out\\tombstones.txt")));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, layers_make, layers_remove)

int wmain(int argc, wchar_t **argv);

int wmain(int argc, wchar_t **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(names_and_guids),  TEST(states_of_a_layer),          TEST(export_golden),     TEST(export_without_changes),
        TEST(transport_folder), TEST(scratch_and_order),          TEST(import_round_trip), TEST(imported_parent_hides),
        TEST(destroy_rules),    TEST(destroy_of_a_parent_in_use), TEST(privileges),        TEST(export_hangs_within),
    };

    if (argc == 4 && wcscmp(argv[1], L"--child") == 0)
        return child(argv[2], argv[3]);
    return cmocka_run_group_tests(tests, vmcompute_setup, vmcompute_teardown);
}
