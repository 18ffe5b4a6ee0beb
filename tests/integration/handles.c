#include "tests/integration/handles.h"

#include <winternl.h>

#include "base/memory.h"

#define SIZE_MAX_BYTES (64u << 20)

/* SystemHandleInformation (16), which winternl.h does not have. */
struct handle_list {
    ULONG count;
    struct {
        USHORT pid, creator;
        UCHAR type, attributes;
        USHORT handle;
        void *object;
        ULONG access;
    } entries[];
};

long handles_of(DWORD pid, void (*each)(void *context, USHORT handle), void *context)
{
    ULONG size = 1u << 20, needed = 0;
    struct handle_list *list = mem_zero(size);
    long found = 0;
    while (NtQuerySystemInformation((SYSTEM_INFORMATION_CLASS)16, list, size, &needed) == (NTSTATUS)0xC0000004 &&
           size < SIZE_MAX_BYTES) {
        size *= 2;
        list = mem_resize_array(list, size, 1);
    }
    for (ULONG i = 0; i < list->count; i++) {
        if (list->entries[i].pid != pid)
            continue;
        found++;
        if (each != NULL)
            each(context, list->entries[i].handle);
    }
    free(list);
    return found;
}
