/* service_control NAME NUMBER: sends a control to a service, as sc.exe control does (which Wine's cannot). */
#include <windows.h>

#include <stdio.h>
#include <stdlib.h>

int wmain(int argc, wchar_t **argv); /* mingw declares none */
int wmain(int argc, wchar_t **argv)
{
    SERVICE_STATUS status;
    if (argc != 3)
        return 2;
    DWORD control = wcstoul(argv[2], NULL, 10);
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = manager == NULL ? NULL : OpenServiceW(manager, argv[1], SERVICE_ALL_ACCESS);
    if (service == NULL || !ControlService(service, control, &status)) {
        fprintf(stderr, "service_control: error %lu\n", GetLastError());
        return 1;
    }
    CloseServiceHandle(service);
    CloseServiceHandle(manager);
    return 0;
}
