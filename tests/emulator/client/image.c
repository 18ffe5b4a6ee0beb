#include "image.h"

#include <stdlib.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/text.h"
#include "layer_path.h"
#include "staging.h"

/* A file that stands for one that HCS makes. One that is there stays: it may be a second try. */
static struct error *make_marker(const wchar_t *folder, const wchar_t *name, const char *content, size_t size)
{
    wchar_t *path = layer_path_join(folder, name);
    HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    struct error *error = NULL;
    DWORD done;

    if (file != INVALID_HANDLE_VALUE) {
        if (!WriteFile(file, content, (DWORD)size, &done, NULL))
            error = error_win32(GetLastError(), "write", NULL, NULL);
        CloseHandle(file);
    } else if (GetLastError() != ERROR_FILE_EXISTS) {
        error = error_win32(GetLastError(), "make file", NULL, NULL);
    }
    free(path);
    return error;
}

static struct error *check_files(const char *call, const wchar_t *path)
{
    wchar_t *files = layer_path_join(path, L"Files");
    bool there = layer_path_is_folder(files);
    free(files);
    return there ? NULL : error_win32(ERROR_PATH_NOT_FOUND, call, NULL, "the image has no folder Files");
}

struct error *image_process_base(const wchar_t *path)
{
    static const wchar_t *const hives[] = {L"DefaultUser_Base", L"Sam_Base", L"Security_Base", L"Software_Base",
                                           L"System_Base"};
    static const char disk[] = "vhdxfile{\"emulated\":true}";
    wchar_t *folder = layer_path_join(path, L"Hives");
    struct error *error = check_files("ProcessBaseImage", path);

    if (error == NULL)
        CreateDirectoryW(folder, NULL);
    for (size_t i = 0; i < sizeof hives / sizeof hives[0] && error == NULL; i++)
        error = make_marker(folder, hives[i], "regf", 4);
    if (error == NULL)
        error = make_marker(path, L"blank-base.vhdx", disk, sizeof disk - 1);
    if (error == NULL)
        error = make_marker(path, L"blank.vhdx", disk, sizeof disk - 1);
    if (error == NULL)
        error = make_marker(path, L"layout", "vhd-with-hives\n", 15);
    free(folder);
    return error;
}

struct error *image_process_utility(const wchar_t *path)
{
    static const char disk[] = "vhdxfile{\"emulated\":true}";
    struct error *error = check_files("ProcessUtilityImage", path);
    if (error == NULL)
        error = make_marker(path, L"SystemTemplateBase.vhdx", disk, sizeof disk - 1);
    if (error == NULL)
        error = make_marker(path, L"SystemTemplate.vhdx", disk, sizeof disk - 1);
    return error;
}

struct error *image_copy(const wchar_t *source, const wchar_t *target, struct work_fault *fault)
{
    ULONG share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    HANDLE from = NULL;
    struct target to = {0};
    struct error *error;

    if (!CreateDirectoryW(target, NULL))
        return error_win32(GetLastError(), "CopyLayer", NULL, "the target");
    error = tree_open(NULL, source, 0, TREE_FOLDER, TREE_LIST, share, &from);
    if (error == NULL)
        error = target_open(target, &to);
    if (error == NULL)
        error = staging_copy_plain(from, &to, fault);
    if (from != NULL)
        CloseHandle(from);
    target_close(&to);
    return error;
}
