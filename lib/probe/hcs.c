/* The Host Compute Service's library: what it exports, and what two harmless calls give. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/win.h"
#include "hcs/library.h"
#include "probe/checks.h"

static struct hcs_library *open_library(struct probe *probe)
{
    struct hcs_library *library = NULL;
    struct error *error = hcs_library_new(probe->options->hcs_library, &library);
    if (error == NULL)
        error = hcs_library_require(library, HCS_EXPORT_HcsEnumerateComputeSystems);
    if (error == NULL)
        return library;
    char *text = error_text(error);
    probe_found(probe, "%s", text);
    free(text);
    error_free(error);
    hcs_library_free(library);
    return NULL;
}

static enum probe_verdict look_library(struct probe *probe, const char *argument)
{
    (void)argument;
    static const char name[] = "\\system32\\vmcompute.dll";
    wchar_t path[1024] = L"";
    struct hcs_library *library = open_library(probe);
    if (library == NULL)
        return PROBE_NOT_ASKED;
    GetModuleFileNameW(library->module, path, ARRAYSIZE(path) - 1);
    hcs_library_free(library);
    char *found = win_text(path);
    size_t size = strlen(found), tail = sizeof name - 1;
    bool own = size > tail && text_equal_ascii_nocase(found + size - tail, name);
    probe_found(probe, "%s", found);
    free(found);
    return probe_judge(own);
}

static enum probe_verdict look_exports(struct probe *probe, const char *argument)
{
    (void)argument;
    struct hcs_library *library = open_library(probe);
    if (library == NULL)
        return PROBE_NOT_ASKED;
    struct buffer lacking = {0};
    unsigned count = 0;
    buffer_add_text(&lacking, "");
    for (unsigned i = 0; i < HCS_EXPORT_COUNT; i++) {
        if (hcs_library_has(library, i))
            count++;
        else
            buffer_add_format(&lacking, "%s %s", lacking.size == 0 ? "; lacking:" : ",", hcs_export_name(i));
    }
    probe_found(probe, "%u of %u%s", count, (unsigned)HCS_EXPORT_COUNT, (char *)lacking.data);
    buffer_free(&lacking);
    hcs_library_free(library);
    return probe_judge(count == HCS_EXPORT_COUNT);
}

/* The one vector that is known of how HCS names layers (facts: layers.md 1). */
static enum probe_verdict look_name_to_guid(struct probe *probe, const char *argument)
{
    (void)argument;
    static const GUID expected = {0x18955d65, 0xd45a, 0x557b, {0xbf, 0x1c, 0x49, 0xd6, 0xdf, 0xef, 0xc5, 0x26}};
    GUID found = {0};
    struct hcs_library *library = open_library(probe);
    if (library == NULL)
        return PROBE_NOT_ASKED;
    HRESULT result =
        !hcs_library_has(library, HCS_EXPORT_NameToGuid)
            ? E_NOTIMPL
            : library->NameToGuid(L"65bf96e5760a09edf1790cb229e2dfb2dbd0fcdc0bf7451bae099106bfbfea0c", &found);
    hcs_library_free(library);
    if (FAILED(result))
        return probe_status(probe, "NameToGuid", result);
    wchar_t text[40] = L"";
    StringFromGUID2(&found, text, ARRAYSIZE(text));
    probe_found(probe, "%ls", text);
    return probe_judge(memcmp(&found, &expected, sizeof found) == 0);
}

static enum probe_verdict look_enumerate(struct probe *probe, const char *argument)
{
    (void)argument;
    wchar_t *query = NULL;
    PWSTR systems = NULL, result = NULL;
    struct hcs_library *library = open_library(probe);
    if (library == NULL)
        return PROBE_NOT_ASKED;
    char *text = str_format("{\"Owners\":[\"%s\"]}", probe->options->owner);
    error_free(win_wide(text, &query));
    free(text);
    HRESULT status = library->HcsEnumerateComputeSystems(query, &systems, &result);
    char *found = systems == NULL ? NULL : win_text(systems);
    library->free_text(systems);
    library->free_text(result);
    free(query);
    hcs_library_free(library);
    if (FAILED(status)) {
        free(found);
        return probe_status(probe, "HcsEnumerateComputeSystems", status);
    }
    bool is_list = found != NULL && found[0] == '[';
    probe_found(probe, "%s", found == NULL ? "no text" : found);
    free(found);
    return probe_judge(is_list);
}

static const struct probe_check hcs_checks[] = {
    {"hcs", "library", "vmcompute.dll of System32", look_library, NULL},
    {"hcs", "exports", "all that hcsd knows", look_exports, NULL},
    {"hcs", "NameToGuid", "{18955D65-D45A-557B-BF1C-49D6DFEFC526}", look_name_to_guid, NULL},
    {"hcs", "enumerate by owner", "a list", look_enumerate, NULL},
};
const struct probe_table probe_hcs = {hcs_checks, sizeof hcs_checks / sizeof hcs_checks[0]};
