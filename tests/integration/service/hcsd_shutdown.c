/* hcsd.exe --console that is told of the machine's shutdown when its stdin ends, as Windows tells a process and Wine never does:
 * run.c is built with set_handler in SetConsoleCtrlHandler's place. */
#include <windows.h>

int hcsd_wmain(int argc, wchar_t **argv);
int wmain(int argc, wchar_t **argv);
/* Windows declares it as a function of a DLL: what is called is what its pointer points to. */
static BOOL WINAPI set_handler(PHANDLER_ROUTINE handler, BOOL add);
BOOL(WINAPI *__imp_set_handler)(PHANDLER_ROUTINE, BOOL) = set_handler;

static DWORD WINAPI tell(void *handler)
{
    char byte;
    DWORD size;
    while (ReadFile(GetStdHandle(STD_INPUT_HANDLE), &byte, 1, &size, NULL) && size != 0)
        ;
    ((PHANDLER_ROUTINE)handler)(CTRL_SHUTDOWN_EVENT);
    return 0;
}

static BOOL WINAPI set_handler(PHANDLER_ROUTINE handler, BOOL add)
{
    HANDLE thread = add ? CreateThread(NULL, 0, tell, (void *)handler, 0, NULL) : NULL;
    if (thread != NULL)
        CloseHandle(thread);
    return thread != NULL;
}

int wmain(int argc, wchar_t **argv)
{
    return hcsd_wmain(argc, argv);
}
