#include "base/harden.h"

#include "base/win.h"

const struct harden_policy harden_policies[] = {
    /* ProcessImageLoadPolicy: none from the network, none of low integrity, System32 first */
    {"images", 10, 1 | 2 | 4},
    /* ProcessExtensionPointDisablePolicy */
    {"extension points", 6, 1},
    /* ProcessRedirectionTrustPolicy: junctions that ordinary users have made are not followed; since Server 2022 */
    {"redirections", 16, 1},
};
const size_t harden_policy_count = sizeof harden_policies / sizeof harden_policies[0];

void harden_process(UINT error_mode)
{
    typedef BOOL(WINAPI * set_policy)(int, PVOID, SIZE_T);
    SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32);
    SetDllDirectoryW(L"");
    SetErrorMode(error_mode);
    HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0);
    set_policy set = (set_policy)(void *)win_function(L"kernel32.dll", "SetProcessMitigationPolicy");
    for (size_t i = 0; set != NULL && i < harden_policy_count; i++) {
        uint32_t flags = harden_policies[i].flags;
        set(harden_policies[i].policy, &flags, sizeof flags);
    }
}
