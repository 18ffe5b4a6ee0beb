/* A utility VM through the ABI alone: what it takes, and what it refuses as HCS does. */
#include <windows.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#include <cmocka.h>
#include <objbase.h>

#include "tester/vmcompute.h"
#include "tester/watch.h"

#define VM L"machine@vm"
#define C0 L"df6d0690-79e5-55b6-a5ec-c1e2f77f580a"

static void make_file(const wchar_t *path)
{
    HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    assert_ptr_not_equal(file, INVALID_HANDLE_VALUE);
    CloseHandle(file);
}

static HRESULT create(const wchar_t *id, const wchar_t *disk, const wchar_t *memory, HANDLE *ret_machine)
{
    wchar_t document[2048];
    _snwprintf(document, 2048,
               L"{\"Owner\":\"test\",\"SchemaVersion\":{\"Major\":2,\"Minor\":1},\"VirtualMachine\":{\"Chipset\":{},"
               L"\"ComputeTopology\":{\"Memory\":{\"SizeInMB\":%s}},\"Devices\":{\"VirtualSmb\":{\"Shares\":[]},"
               L"\"Scsi\":{\"" C0 L"\":{\"Attachments\":{\"0\":{\"Path\":\"%s\",\"Type\":\"VirtualDisk\"}}}}},"
               L"\"GuestConnection\":{}}}",
               memory, disk);
    return vm.HcsCreateComputeSystem(id, document, NULL, ret_machine, NULL);
}

static HRESULT modify(HANDLE machine, const wchar_t *format, ...)
{
    wchar_t request[2048];
    va_list arguments;
    va_start(arguments, format);
    _vsnwprintf(request, 2048, format, arguments);
    va_end(arguments);
    return vm.HcsModifyComputeSystem(machine, request, NULL);
}

static HRESULT disk(HANDLE machine, const wchar_t *request, const wchar_t *lun, const wchar_t *path)
{
    return modify(
        machine,
        L"{\"ResourcePath\":\"VirtualMachine/Devices/"
        L"Scsi"
        L"/" C0 L"/Attachments/%s\",\"RequestType\":\"%s\",\"Settings\":{\"Path\":\"%s\",\"Type\":\"VirtualDisk\"}}",
        lun, request, path);
}

static HRESULT mount(HANDLE machine, const wchar_t *request, const wchar_t *lun, const wchar_t *guest)
{
    return modify(machine,
                  L"{\"GuestRequest\":{\"ResourceType\":\"MappedVirtualDisk\",\"RequestType\":\"%s\",\"Settings\":{"
                  L"\"ContainerPath\":\"%s\",\"Lun\":%s}}}",
                  request, guest, lun);
}

static HRESULT combine(HANDLE machine, const wchar_t *request, const wchar_t *guest, const wchar_t *share)
{
    return modify(machine,
                  L"{\"GuestRequest\":{\"ResourceType\":\"CombinedLayers\",\"RequestType\":\"%s\",\"Settings\":{"
                  L"\"ContainerRootPath\":\"%s\",\"Layers\":[{\"Id\":\"x\",\"Path\":\"\\\\\\\\?\\\\VMSMB\\\\VSMB-{"
                  L"dcc079ae-60ba-4d07-847c-3493609c0870}\\\\%s\"}]}}}",
                  request, guest, share);
}

static void what_cannot_be_is_refused(void **state)
{
    HANDLE machine = NULL;
    HANDLE registration = NULL;
    struct watch watch = {0};

    (void)state;
    CreateDirectoryW(L"C:\\machine", NULL);
    make_file(L"C:\\machine\\own.vhdx");
    make_file(L"C:\\machine\\a.vhdx");
    expect_hr(0x80070005, create(VM, L"C:\\\\machine\\\\own.vhdx", L"1024", &machine));
    expect_hr(S_OK, vm.GrantVmAccess(VM, L"C:\\machine\\own.vhdx"));
    expect_hr(0x80070002, vm.GrantVmAccess(VM, L"C:\\machine\\none.vhdx"));
    expect_hr(0xC037010D, create(VM, L"C:\\\\machine\\\\own.vhdx", L"1023", &machine));
    expect_hr(PENDING, create(VM, L"C:\\\\machine\\\\own.vhdx", L"1024", &machine));
    expect_hr(S_OK, vm.HcsRegisterComputeSystemCallback(machine, watch_callback, &watch, &registration));
    watch_wait(&watch, CREATED, 1);

    /* Disks: access, slots, and no guest before the start. */
    expect_hr(0x80070005, disk(machine, L"Add", L"1", L"C:\\\\machine\\\\a.vhdx"));
    expect_hr(S_OK, vm.GrantVmAccess(VM, L"C:\\machine\\a.vhdx"));
    expect_hr(0x800700B7, disk(machine, L"Add", L"0", L"C:\\\\machine\\\\a.vhdx"));
    expect_hr(0x80070057, disk(machine, L"Add", L"64", L"C:\\\\machine\\\\a.vhdx"));
    expect_hr(0x80070002, disk(machine, L"Add", L"1", L"C:\\\\machine\\\\none.vhdx"));
    expect_hr(S_OK, disk(machine, L"Add", L"1", L"C:\\\\machine\\\\a.vhdx"));
    expect_hr(0xC0370105, mount(machine, L"Add", L"1", L"c:\\\\m0"));
    expect_hr(PENDING, vm.HcsStartComputeSystem(machine, L"", NULL));
    watch_wait(&watch, STARTED, 1);

    /* Mounts, shares, roots: each needs what it stands on, and keeps it. */
    expect_hr(0x80070490, mount(machine, L"Add", L"2", L"c:\\\\m0"));
    expect_hr(S_OK, mount(machine, L"Add", L"1", L"c:\\\\m0"));
    expect_hr(0x80070490, combine(machine, L"Add", L"c:\\\\m0", L"s1"));
    expect_hr(S_OK,
              modify(machine, L"{\"ResourcePath\":\"VirtualMachine/Devices/VirtualSmb/Shares\",\"RequestType\":\"Add\","
                              L"\"Settings\":{\"Name\":\"s1\",\"Path\":\"C:\\\\machine\"}}"));
    expect_hr(0xC037010D,
              modify(machine, L"{\"ResourcePath\":\"VirtualMachine/Devices/VirtualSmb/Shares\",\"RequestType\":"
                              L"\"Update\",\"Settings\":{\"Name\":\"s1\",\"Path\":\"C:\\\\machine\"}}"));
    expect_hr(S_OK, combine(machine, L"Add", L"c:\\\\m0", L"s1"));
    expect_hr(0x800700B7, combine(machine, L"Add", L"c:\\\\m0", L"s1"));
    expect_hr(0x800700AA, mount(machine, L"Remove", L"1", L"c:\\\\m0"));
    expect_hr(0x800700AA, disk(machine, L"Remove", L"1", L""));
    expect_hr(0x800700AA,
              modify(machine, L"{\"ResourcePath\":\"VirtualMachine/Devices/VirtualSmb/Shares\",\"RequestType\":"
                              L"\"Remove\",\"Settings\":{\"Name\":\"s1\"}}"));
    expect_hr(S_OK, combine(machine, L"Remove", L"c:\\\\m0", L"s1"));
    expect_hr(0x80070490, combine(machine, L"Remove", L"c:\\\\m0", L"s1"));
    expect_hr(S_OK, mount(machine, L"Remove", L"1", L"c:\\\\m0"));
    expect_hr(S_OK, disk(machine, L"Remove", L"1", L""));
    expect_hr(0x80070490, disk(machine, L"Remove", L"1", L""));

    expect_hr(S_OK, vm.HcsUnregisterComputeSystemCallback(registration));
    container_end(machine);
}

int wmain(void);

int wmain(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_cannot_be_is_refused)};
    return cmocka_run_group_tests(tests, vmcompute_setup, vmcompute_teardown);
}
