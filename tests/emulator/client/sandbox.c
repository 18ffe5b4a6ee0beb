#include "sandbox.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "layer_path.h"
#include "shared/frame.h"

#define SIGNATURE  "vhdxfile"
#define SIZE_LIMIT (1u << 20)

static char *utf8(const wchar_t *text)
{
    return text_from_utf16z((const char16_t *)text);
}

static struct error *sandbox_write(const wchar_t *path, DWORD disposition, const json_t *content)
{
    HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ, NULL, disposition, FILE_ATTRIBUTE_NORMAL, NULL);
    char *name = utf8(path);
    char *text = json_dumps(content, JSON_COMPACT);
    struct error *error = NULL;
    DWORD done;

    if (file == INVALID_HANDLE_VALUE) {
        error = error_win32(GetLastError(), "write sandbox.vhdx", name, NULL);
    } else {
        if (!WriteFile(file, SIGNATURE, sizeof SIGNATURE - 1, &done, NULL) ||
            !WriteFile(file, text, (DWORD)strlen(text), &done, NULL))
            error = error_win32(GetLastError(), "write sandbox.vhdx", name, NULL);
        CloseHandle(file);
    }
    free(text);
    free(name);
    return error;
}

/* What the disk says; NULL content when it is not one of ours. */
static struct error *sandbox_read(const wchar_t *path, json_t **ret_content)
{
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, 0, NULL);
    char *text;
    DWORD size = 0;

    if (file == INVALID_HANDLE_VALUE)
        return error_win32(GetLastError(), "read sandbox.vhdx", NULL, NULL);
    text = mem_zero(SIZE_LIMIT);
    if (!ReadFile(file, text, SIZE_LIMIT, &size, NULL))
        size = 0;
    CloseHandle(file);
    *ret_content = NULL;
    if (size > sizeof SIGNATURE - 1 && memcmp(text, SIGNATURE, sizeof SIGNATURE - 1) == 0)
        *ret_content = json_loadb(text + sizeof SIGNATURE - 1, size - (sizeof SIGNATURE - 1), 0, NULL);
    free(text);
    return NULL;
}

struct error *sandbox_create(const wchar_t *layer, const wchar_t *const *parents, size_t count)
{
    wchar_t *path = layer_path_join(layer, L"sandbox.vhdx");
    json_t *list = json_array();
    json_t *content;
    struct error *error = NULL;

    for (size_t i = 0; i < count; i++) {
        char *parent = utf8(parents[i]);
        json_array_append_new(list, json_string(parent));
        free(parent);
    }
    content = json_pack("{s:I, s:o}", "size", (json_int_t)SANDBOX_SIZE, "parents", list);
    if (!CreateDirectoryW(layer, NULL) && GetLastError() != ERROR_ALREADY_EXISTS) {
        char *name = utf8(layer);
        error = error_win32(GetLastError(), "CreateSandboxLayer", name, NULL);
        free(name);
    }
    if (error == NULL)
        error = sandbox_write(path, CREATE_NEW, content);
    json_decref(content);
    free(path);
    return error;
}

struct error *sandbox_expand(const wchar_t *layer, uint64_t size)
{
    wchar_t *path = layer_path_join(layer, L"sandbox.vhdx");
    json_t *content = NULL;
    struct error *error = sandbox_read(path, &content);

    if (error == NULL && content == NULL)
        content = json_pack("{s:I}", "size", (json_int_t)SANDBOX_SIZE);
    if (error == NULL && size < (uint64_t)frame_number(content, "size"))
        error = error_win32(ERROR_INVALID_PARAMETER, "ExpandSandboxSize", NULL, "a disk only grows");
    if (error == NULL) {
        json_object_set_new(content, "size", json_integer((json_int_t)size));
        error = sandbox_write(path, TRUNCATE_EXISTING, content);
    }
    json_decref(content);
    free(path);
    return error;
}

struct error *sandbox_check_parents(const wchar_t *layer, const wchar_t *const *parents, size_t count)
{
    wchar_t *path = layer_path_join(layer, L"sandbox.vhdx");
    json_t *content = NULL;
    json_t *known;
    struct error *error = NULL;

    for (size_t i = 0; i < count && error == NULL; i++) {
        char *parent = utf8(parents[i]);
        if (!layer_path_is_folder(parents[i]))
            error = error_win32(ERROR_PATH_NOT_FOUND, "storage call", parent, "a parent layer is not there");
        free(parent);
    }
    if (error == NULL)
        error_free(sandbox_read(path, &content));
    known = json_object_get(content, "parents");
    if (error == NULL && json_is_array(known) && json_array_size(known) != count)
        error = error_win32(ERROR_PATH_NOT_FOUND, "storage call", NULL, "the layer has %u parents, not %u",
                            (unsigned)json_array_size(known), (unsigned)count);
    for (size_t i = 0; i < count && error == NULL && json_is_array(known); i++) {
        char *parent = utf8(parents[i]);
        if (!text_equal_ascii_nocase(parent, json_string_value(json_array_get(known, i))))
            error = error_win32(ERROR_PATH_NOT_FOUND, "storage call", parent, "parent layers are in the wrong order");
        free(parent);
    }
    json_decref(content);
    free(path);
    return error;
}
