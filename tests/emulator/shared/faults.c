#include "faults.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/memory.h"
#include "base/text.h"
#include "frame.h"
#include "result.h"

#define FAULTS_SIZE_LIMIT (1u << 20)

static const char *const action_names[] = {
    [FAULT_NONE] = "none", [FAULT_FAIL] = "fail",   [FAULT_HANG] = "hang",   [FAULT_PENDING] = "pending",
    [FAULT_LATE] = "late", [FAULT_TWICE] = "twice", [FAULT_CRASH] = "crash", [FAULT_DISCONNECT] = "disconnect",
};
#define ACTION_COUNT (sizeof action_names / sizeof action_names[0])

struct faults {
    SRWLOCK lock;
    wchar_t *path;
    uint64_t generation; /* 0: there is no file */
    json_t *rows;        /* NULL when the file is absent or malformed */
    char *problem;       /* why it is malformed */
};

struct faults *faults_new(const wchar_t *path)
{
    struct faults *faults = mem_new(struct faults);
    InitializeSRWLock(&faults->lock);
    faults->path = mem_copy(path, (wcslen(path) + 1) * sizeof *path);
    return faults;
}

const char *fault_action_name(enum fault_action action)
{
    return action_names[action];
}

void fault_free(struct fault *fault)
{
    free(fault->row);
    fault->row = NULL;
    fault->action = FAULT_NONE;
}

static bool row_parse(const json_t *row, struct fault *ret_fault, const char **ret_problem)
{
    static const char *const keys[] = {"call", "match", "action", "hresult", "after_ms", "count", "skip"};
    struct fault fault = {0};
    const char *action = frame_text(row, "action");
    const json_t *hresult = json_object_get(row, "hresult");
    const json_t *after = json_object_get(row, "after_ms");
    const json_t *count = json_object_get(row, "count"), *skip = json_object_get(row, "skip");
    const json_t *match = json_object_get(row, "match");
    const char *key;
    json_t *value;

    *ret_problem = NULL;
    if (!json_is_object(row))
        *ret_problem = "a row is no object";
    json_object_foreach((json_t *)row, key, value)
    {
        size_t known = 0;
        while (known < sizeof keys / sizeof keys[0] && strcmp(key, keys[known]) != 0)
            known++;
        if (known == sizeof keys / sizeof keys[0])
            *ret_problem = "a row has a member other than call, match, action, "
                           "hresult, after_ms, count, skip";
    }
    if (frame_text(row, "call")[0] == 0)
        *ret_problem = "a row has no call";
    if (match != NULL && !json_is_string(match))
        *ret_problem = "match is no text";
    for (size_t i = 1; i < ACTION_COUNT; i++)
        if (strcmp(action, action_names[i]) == 0)
            fault.action = (enum fault_action)i;
    if (fault.action == FAULT_NONE)
        *ret_problem = "action is none of fail, hang, pending, late, twice, crash, disconnect";
    if (json_is_string(hresult)) {
        char *end;
        fault.hresult = (HRESULT)strtoul(json_string_value(hresult), &end, 0);
        fault.has_hresult = true;
        if (*end != 0 || end == json_string_value(hresult))
            *ret_problem = "hresult is no number";
    } else if (hresult != NULL) {
        *ret_problem = "hresult is no text";
    }
    if ((after != NULL && (!json_is_integer(after) || json_integer_value(after) < 0)) ||
        (count != NULL && (!json_is_integer(count) || json_integer_value(count) < 0)) ||
        (skip != NULL && (!json_is_integer(skip) || json_integer_value(skip) < 0)))
        *ret_problem = "after_ms, count and skip are whole numbers from 0 on";
    if (*ret_problem != NULL)
        return false;
    fault.after_ms = (uint32_t)json_integer_value(after);
    fault.count = (uint32_t)json_integer_value(count);
    fault.skip = (uint32_t)json_integer_value(skip);
    fault.row = json_dumps(row, JSON_COMPACT | JSON_SORT_KEYS);
    *ret_fault = fault;
    return true;
}

bool fault_parse(const char *text, struct fault *ret_fault)
{
    json_t *row = json_loads(text, 0, NULL);
    const char *problem;
    bool good = row != NULL && row_parse(row, ret_fault, &problem);
    json_decref(row);
    return good;
}

/* The whole file, or NULL with the Win32 error. */
static char *file_read(const wchar_t *path, size_t *ret_size)
{
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, 0, NULL);
    LARGE_INTEGER size;
    DWORD got = 0;
    char *text = NULL;

    if (file == INVALID_HANDLE_VALUE)
        return NULL;
    if (GetFileSizeEx(file, &size) && size.QuadPart <= FAULTS_SIZE_LIMIT) {
        text = mem_zero((size_t)size.QuadPart + 1);
        if (!ReadFile(file, text, (DWORD)size.QuadPart, &got, NULL)) {
            free(text);
            text = NULL;
        }
    }
    CloseHandle(file);
    *ret_size = got;
    return text;
}

static void faults_load(struct faults *faults)
{
    json_error_t where;
    size_t size = 0;
    char *text = file_read(faults->path, &size);
    json_t *rows = text == NULL ? NULL : json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);

    free(faults->problem);
    faults->problem = NULL;
    if (text == NULL) {
        faults->problem = str_copy("the file cannot be read");
    } else if (rows == NULL) {
        faults->problem = str_format("line %d: %s", where.line, where.text);
    } else if (!json_is_array(rows)) {
        faults->problem = str_copy("the file is no array");
    } else {
        size_t index;
        json_t *row;
        json_array_foreach(rows, index, row)
        {
            struct fault fault;
            const char *problem;
            if (row_parse(row, &fault, &problem)) {
                fault_free(&fault);
            } else if (faults->problem == NULL) {
                faults->problem = str_format("row %u: %s", (unsigned)index, problem);
            }
        }
    }
    json_decref(faults->rows);
    faults->rows = NULL;
    if (faults->problem == NULL) {
        faults->rows = rows;
    } else {
        json_decref(rows);
    }
    free(text);
}

/* Called with the lock held; reads the file again when it is another one than before. */
static void faults_refresh(struct faults *faults)
{
    WIN32_FILE_ATTRIBUTE_DATA data;
    uint64_t generation = 0;

    if (GetFileAttributesExW(faults->path, GetFileExInfoStandard, &data)) {
        generation = ((uint64_t)data.ftLastWriteTime.dwHighDateTime << 32) | data.ftLastWriteTime.dwLowDateTime;
        /* A second write within one tick of the clock changes the size or is not seen: so the size counts too. */
        generation = generation * 1099511628211u + data.nFileSizeLow + 1;
    }
    if (generation == faults->generation)
        return;
    faults->generation = generation;
    if (generation == 0) {
        json_decref(faults->rows);
        free(faults->problem);
        faults->rows = NULL;
        faults->problem = NULL;
    } else {
        faults_load(faults);
    }
}

static bool row_matches(const json_t *row, const char *call, const char *object)
{
    const char *match = frame_text(row, "match");
    const char *wanted = frame_text(row, "call");
    bool is_export = strstr(call, "Exited") == NULL;
    if (strcmp(wanted, call) != 0 && (!is_export || strcmp(wanted, "*") != 0))
        return false;
    return match[0] == 0 || strstr(object, match) != NULL;
}

struct error *faults_find(struct faults *faults, const char *call, const char *object, uint32_t first,
                          struct fault *ret_fault)
{
    struct error *error = NULL;
    struct fault fault = {0};
    size_t index;
    json_t *row;

    AcquireSRWLockExclusive(&faults->lock);
    faults_refresh(faults);
    if (faults->problem != NULL)
        error =
            error_win32(ERROR_INVALID_DATA, call, object, "vmcompute-faults.json is malformed: %s", faults->problem);
    json_array_foreach(faults->rows, index, row)
    {
        const char *problem;
        if (index < first || !row_matches(row, call, object))
            continue;
        if (row_parse(row, &fault, &problem))
            break;
    }
    fault.index = (uint32_t)index;
    fault.generation = faults->generation;
    ReleaseSRWLockExclusive(&faults->lock);
    if (error == NULL)
        *ret_fault = fault;
    return error;
}

void faults_wait(const struct faults *faults, uint32_t ms)
{
    const wchar_t *name = wcsrchr(faults->path, L'\\');
    size_t length = (size_t)(name - faults->path);
    wchar_t *folder = mem_new_array(length + 1, wchar_t);
    HANDLE change;

    memcpy(folder, faults->path, length * sizeof *folder);
    change = FindFirstChangeNotificationW(folder, FALSE, FILE_NOTIFY_CHANGE_FILE_NAME | FILE_NOTIFY_CHANGE_LAST_WRITE);
    free(folder);
    /* Without notifications: a handle that is not signalled while this runs. */
    WaitForSingleObject(change != INVALID_HANDLE_VALUE ? change : GetCurrentProcess(), ms);
    if (change != INVALID_HANDLE_VALUE)
        FindCloseChangeNotification(change);
}

bool faults_has_row(struct faults *faults, const char *text)
{
    bool found = false;
    size_t index;
    json_t *row;

    AcquireSRWLockExclusive(&faults->lock);
    faults_refresh(faults);
    found = faults->problem != NULL;
    json_array_foreach(faults->rows, index, row)
    {
        char *here = json_dumps(row, JSON_COMPACT | JSON_SORT_KEYS);
        found = found || strcmp(here, text) == 0;
        free(here);
    }
    ReleaseSRWLockExclusive(&faults->lock);
    return found;
}
