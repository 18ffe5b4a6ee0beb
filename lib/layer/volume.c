#include "layer/volume.h"

#include <winioctl.h>

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/win.h"

#define CLUSTER             4096u
#define SECTORS_PER_CLUSTER 8

struct volume_calls volume_calls = {SetVolumeMountPointW, DeleteVolumeMountPointW};

/* Both arguments of SetVolumeMountPoint want a backslash at their end. */
static struct error *slashed(const char *path, wchar_t **ret_wide)
{
    size_t size = strlen(path);
    char *text = str_format("%s%s", path, size > 0 && path[size - 1] == '\\' ? "" : "\\");
    struct error *error = win_wide(text, ret_wide);
    free(text);
    return error;
}

static struct error *check_empty(const char *folder)
{
    struct file_list list = {0};
    struct file_info info;
    struct error *error = file_info(folder, &info);
    if (error == NULL && info.reparse_point)
        error = error_make(ERROR_KIND_ALREADY_EXISTS, "mount volume", folder, "something is mounted there already");
    if (error == NULL)
        error = file_list(folder, 1, &list);
    if (error == NULL && list.count > 0)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "mount volume", folder, "the folder is not empty");
    else if (error != NULL && error->kind == ERROR_KIND_RESOURCE_EXHAUSTED)
        error = error_wrap(error_set_kind(error, ERROR_KIND_FAILED_PRECONDITION), "the folder is not empty");
    file_list_free(&list);
    return error;
}

struct error *volume_mount(const char *volume, const char *folder)
{
    wchar_t *wide_folder = NULL, *wide_volume = NULL;
    struct error *error = file_ensure_folder(folder);
    if (error == NULL)
        error = check_empty(folder);
    if (error != NULL)
        return error_wrap(error, "mount volume");
    error = slashed(folder, &wide_folder);
    if (error == NULL)
        error = slashed(volume, &wide_volume);
    if (error == NULL && !volume_calls.set_mount_point(wide_folder, wide_volume))
        error = error_win32(GetLastError(), "SetVolumeMountPoint", folder, "volume %s", volume);
    if (error != NULL)
        error_free(file_delete_folder(folder));
    free(wide_folder);
    free(wide_volume);
    return error;
}

struct error *volume_unmount(const char *folder)
{
    wchar_t *wide = NULL;
    struct error *error = slashed(folder, &wide);
    if (error != NULL)
        return error;
    if (!volume_calls.delete_mount_point(wide)) {
        DWORD code = GetLastError();
        bool gone = code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND || code == ERROR_NOT_A_REPARSE_POINT ||
                    code == ERROR_INVALID_PARAMETER;
        if (!gone)
            error = error_win32(code, "DeleteVolumeMountPoint", folder, NULL);
    }
    free(wide);
    /* An empty folder, or nothing: a volume that is still mounted there keeps it from being removed. */
    return error != NULL ? error : file_delete_folder(folder);
}

/* ---- size -------------------------------------------------------------------------------------------------------------- */

struct disk_type {
    ULONG device;
    GUID vendor;
};
struct open_parameters {
    ULONG version;
    BOOL get_info_only, read_only;
    GUID resiliency;
};
struct attach_parameters {
    ULONG version, reserved;
};
#define ATTACH_BYPASS_DEFAULT_ENCRYPTION_POLICY 0x20

typedef DWORD(WINAPI *open_disk_function)(struct disk_type *type, PCWSTR path, ULONG access, ULONG flags,
                                          struct open_parameters *parameters, HANDLE *handle);
typedef DWORD(WINAPI *attach_disk_function)(HANDLE disk, void *security, ULONG flags, ULONG provider,
                                            struct attach_parameters *parameters, OVERLAPPED *overlapped);

/* Attached for as long as the handle is open. */
static struct error *attach_disk(const char *path, HANDLE *ret_disk)
{
    HMODULE library = LoadLibraryExW(L"virtdisk.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    open_disk_function open_disk =
        library == NULL ? NULL : (open_disk_function)(void *)GetProcAddress(library, "OpenVirtualDisk");
    attach_disk_function attach =
        library == NULL ? NULL : (attach_disk_function)(void *)GetProcAddress(library, "AttachVirtualDisk");
    if (open_disk == NULL || attach == NULL)
        return error_make(ERROR_KIND_UNIMPLEMENTED, "extend volume", path, "this system has no virtual disks");
    struct disk_type type = {0};
    struct open_parameters parameters = {.version = 2};
    struct attach_parameters attachment = {.version = 2};
    HANDLE disk = NULL;
    wchar_t *wide = NULL;
    struct error *error = win_path(path, &wide);
    if (error != NULL)
        return error;
    DWORD code = open_disk(&type, wide, 0, 0, &parameters, &disk);
    /* These parameters are right for every Windows that has virtual disks: whoever refuses them (Wine) has none. */
    if (code == ERROR_CALL_NOT_IMPLEMENTED || code == ERROR_INVALID_PARAMETER)
        error = error_make(ERROR_KIND_UNIMPLEMENTED, "extend volume", path, "this system has no virtual disks");
    else if (code != ERROR_SUCCESS)
        error = error_win32(code, "OpenVirtualDisk", path, NULL);
    if (error == NULL) {
        code = attach(disk, NULL, ATTACH_BYPASS_DEFAULT_ENCRYPTION_POLICY, 0, &attachment, NULL);
        if (code != ERROR_SUCCESS)
            error = error_win32(code, "AttachVirtualDisk", path, NULL);
    }
    free(wide);
    if (error != NULL)
        win_close(disk);
    else
        *ret_disk = disk;
    return error;
}

/* NTFS keeps a cluster for itself, and extending by nothing fails: hence the one. */
static struct error *extend(const char *volume, bool *ret_extended)
{
    wchar_t *wide = NULL, *root = NULL;
    struct error *error = win_wide(volume, &wide);
    if (error == NULL)
        error = slashed(volume, &root);
    HANDLE handle = error != NULL ? INVALID_HANDLE_VALUE
                                  : CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                                NULL, OPEN_EXISTING, 0, NULL);
    GET_LENGTH_INFORMATION length = {0};
    ULARGE_INTEGER total = {0};
    DWORD done = 0;
    if (error == NULL && handle == INVALID_HANDLE_VALUE)
        error = error_win32(GetLastError(), "open volume", volume, NULL);
    if (error == NULL &&
        !DeviceIoControl(handle, IOCTL_DISK_GET_LENGTH_INFO, NULL, 0, &length, sizeof length, &done, NULL))
        error = error_win32(GetLastError(), "IOCTL_DISK_GET_LENGTH_INFO", volume, NULL);
    if (error == NULL && !GetDiskFreeSpaceExW(root, NULL, &total, NULL))
        error = error_win32(GetLastError(), "GetDiskFreeSpaceEx", volume, NULL);
    LONGLONG clusters = length.Length.QuadPart / CLUSTER, now = (LONGLONG)(total.QuadPart / CLUSTER);
    if (error == NULL && now + 1 < clusters) {
        LONGLONG sectors = clusters * SECTORS_PER_CLUSTER;
        if (DeviceIoControl(handle, FSCTL_EXTEND_VOLUME, &sectors, sizeof sectors, NULL, 0, &done, NULL))
            *ret_extended = true;
        else
            error = error_win32(GetLastError(), "FSCTL_EXTEND_VOLUME", volume, NULL);
    }
    win_close(handle);
    free(wide);
    free(root);
    return error;
}

struct error *volume_extend(struct storage *storage, const char *layer, bool *ret_extended)
{
    char *path = path_join(layer, "sandbox.vhdx"), *volume = NULL;
    HANDLE disk = NULL;
    struct error *error = attach_disk(path, &disk);
    if (error == NULL)
        error = storage_mount_path(storage, layer, &volume);
    if (error == NULL)
        error = extend(volume, ret_extended);
    win_close(disk);
    free(volume);
    free(path);
    return error;
}
