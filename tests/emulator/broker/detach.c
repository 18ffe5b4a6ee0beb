#include "detach.h"

#include <windows.h>

#include <stdint.h>

#define LINUX_OPEN   2
#define LINUX_DUP2   33
#define LINUX_O_RDWR 2

/* Wine's processes are Linux processes, and no Win32 call reaches their descriptors. */
static int64_t linux_call(int64_t number, int64_t a, int64_t b, int64_t c)
{
    int64_t result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

void detach_streams(void)
{
    HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
    int64_t null;

    if (ntdll == NULL || GetProcAddress(ntdll, "wine_get_version") == NULL)
        return;
    null = linux_call(LINUX_OPEN, (int64_t)(intptr_t) "/dev/null", LINUX_O_RDWR, 0);
    if (null < 0)
        return;
    for (int64_t descriptor = 0; descriptor <= 2; descriptor++)
        linux_call(LINUX_DUP2, null, descriptor, 0);
}
