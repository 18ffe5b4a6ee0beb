/* A layer's folder while it is being made: told to hcsd before there is anything of it and once it is there, so that another worker
 * can take it away, and nothing else, when its maker is lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/win.h"
#include "daemon/worker/message.h"
#include "daemon/worker/work.h"

#define CLOCK_SLACK_NS INT64_C(2000000000) /* file systems keep times in steps of at most so much */

struct identity {
    char text[32]; /* which folder of which volume: the name may be another's by now */
    int64_t created_ns;
};

static struct error *look(const char *folder, struct identity *ret_identity)
{
    wchar_t *wide = NULL;
    BY_HANDLE_FILE_INFORMATION info;
    struct error *error = win_path(folder, &wide);
    if (error != NULL)
        return error;
    HANDLE handle = CreateFileW(wide, FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (handle == INVALID_HANDLE_VALUE || !GetFileInformationByHandle(handle, &info)) {
        error = error_win32(GetLastError(), "look at folder", folder, NULL);
    } else {
        const FILETIME *created = &info.ftCreationTime;
        snprintf(ret_identity->text, sizeof ret_identity->text, "%08lx-%08lx%08lx", info.dwVolumeSerialNumber,
                 info.nFileIndexHigh, info.nFileIndexLow);
        ret_identity->created_ns =
            clock_from_filetime((uint64_t)created->dwHighDateTime << 32 | created->dwLowDateTime);
    }
    if (handle != INVALID_HANDLE_VALUE)
        CloseHandle(handle);
    free(wide);
    return error;
}

struct error *work_make(struct work *work)
{
    return work_request(work, "make");
}

void work_made(struct work *work, const char *layer)
{
    struct identity identity;
    struct error *error = look(layer, &identity);
    if (error == NULL)
        work_send(work, json_pack("{s:s, s:s}", "type", "made", "id", identity.text));
    error_free(error); /* hcsd goes by the time then */
}

struct error *work_unmake(struct work *work, const char **how)
{
    const char *layer = message_text(work->order, "made"), *id = message_text(work->order, "made_id");
    int64_t since = (int64_t)message_number(work->order, "made_since_ns"),
            until = (int64_t)message_number(work->order, "made_until_ns");
    struct identity identity;
    if (layer[0] == '\0' || !work_is_there(layer))
        return NULL;
    struct error *error = look(layer, &identity);
    if (error != NULL)
        return error;
    bool same = id[0] != '\0' ? strcmp(id, identity.text) == 0
                              : identity.created_ns >= since - CLOCK_SLACK_NS && identity.created_ns <= until;
    if (!same) {
        *how = "another folder has its name now, and is left alone";
        return NULL;
    }
    json_t *left = json_array();
    uint64_t left_total = 0;
    if (json_is_true(json_object_get(work->order, "by_entry"))) {
        work_phase(work, "cleanup");
        *how = "it was removed entry by entry";
        error = work_remove(work, layer, left, &left_total);
    } else {
        error = work_destroy_folder(work, layer, left, &left_total, how);
    }
    if (error == NULL && work_is_there(layer))
        error = error_make(ERROR_KIND_INTERNAL, "DestroyLayer", layer, "%llu entries resist, such as %s",
                           (unsigned long long)left_total, message_text(json_array_get(left, 0), "path"));
    json_decref(left);
    return error;
}
