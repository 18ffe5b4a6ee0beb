#include <windows.h>

#include <realtimeapiset.h>

#include "base/clock.h"

uint64_t clock_ms(void)
{
    ULONGLONG ticks = 0;
    QueryUnbiasedInterruptTime(&ticks); /* 100 ns; stops in sleep */
    return ticks / 10000;
}

int64_t clock_wall_ns(void)
{
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    return clock_from_filetime((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime);
}

void clock_sleep(uint32_t ms)
{
    Sleep(ms); /* banned-ok: this is where the pause between retries is made */
}
