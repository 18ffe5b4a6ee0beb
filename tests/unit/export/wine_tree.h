/* Folders for the tests that run under Wine. */
#ifndef HCSD_TESTS_WINE_TREE_H
#define HCSD_TESTS_WINE_TREE_H

#include <windows.h>

#include <stdio.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/win.h"

#define TREE_PATH 600

/* A new empty folder, whose path (of TREE_PATH units) the other functions take. */
static void tree_make(wchar_t *root, const wchar_t *name)
{
    wchar_t temp[MAX_PATH];
    assert_true(GetTempPathW(MAX_PATH, temp) > 0);
    swprintf(root, TREE_PATH, L"\\\\?\\%lshcsd-%ls-%lu-%lu", temp, name, GetCurrentProcessId(), GetTickCount());
    assert_true(CreateDirectoryW(root, NULL));
}

static void tree_path(wchar_t *path, const wchar_t *root, const wchar_t *name)
{
    swprintf(path, TREE_PATH, L"%ls\\%ls", root, name);
}

static inline void tree_folder(const wchar_t *root, const wchar_t *name)
{
    wchar_t path[TREE_PATH];
    tree_path(path, root, name);
    assert_true(CreateDirectoryW(path, NULL));
}

static inline HANDLE tree_open(const wchar_t *root, const wchar_t *name, DWORD share)
{
    wchar_t path[TREE_PATH];
    tree_path(path, root, name);
    HANDLE file =
        CreateFileW(path, GENERIC_READ | GENERIC_WRITE, share, NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    assert_true(file != INVALID_HANDLE_VALUE);
    return file;
}

static inline void tree_file(const wchar_t *root, const wchar_t *name, const char *content)
{
    DWORD written;
    HANDLE file = tree_open(root, name, 0);
    assert_true(WriteFile(file, content, (DWORD)strlen(content), &written, NULL));
    CloseHandle(file);
}

static inline bool tree_has(const wchar_t *root, const wchar_t *name)
{
    wchar_t path[TREE_PATH];
    tree_path(path, root, name);
    return GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
}

#endif
