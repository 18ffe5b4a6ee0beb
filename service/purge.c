#include "service/purge.h"

#include <string.h>

#include <jansson.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/path.h"
#include "daemon/config_file.h"
#include "daemon/folder.h"
#include "export/export.h"
#include "journal/document.h"

#define DOCUMENTS_MAX     100000
#define DOCUMENT_SIZE_MAX (4u << 20)
#define DOCUMENT_VERSION  1000 /* whatever its version: only the id is looked at */
#define NAMED_MAX         5u

struct purge {
    struct config *config;
    char *data; /* %ProgramData%\hcsd */
};

struct error *purge_open(const char *config_file, struct purge **ret_purge)
{
    struct purge *purge = mem_new(struct purge);
    char *program_data = NULL, *file = NULL;
    struct error *error = folder_program_data(&program_data);
    if (error == NULL && config_file == NULL)
        error = config_file_path(&file);
    if (error == NULL) {
        purge->data = path_join(program_data, "hcsd");
        /* A file that cannot be read must not make an uninstall impossible. */
        struct error *unreadable =
            config_file_read(config_file == NULL ? file : config_file, true, NULL, &purge->config);
        if (unreadable != NULL)
            purge->config = config_defaults(program_data);
        error_free(unreadable);
        *ret_purge = purge;
    } else {
        purge_free(purge);
    }
    free(file);
    free(program_data);
    return error;
}

void purge_free(struct purge *purge)
{
    if (purge == NULL)
        return;
    config_free(purge->config);
    free(purge->data);
    free(purge);
}

/* The container of a document, or NULL when it is none that anybody can still ask for. The caller frees it. */
static char *container_of(const char *folder, const char *name)
{
    char *path = path_join(folder, name), *id = NULL;
    struct buffer text = {0};
    struct journal_document document = {0};
    struct error *error = file_read(path, DOCUMENT_SIZE_MAX, &text);
    if (error == NULL)
        error = journal_decode((const char *)text.data, text.size, "task", DOCUMENT_VERSION, name, &document);
    if (error != NULL)
        id = str_copy(name); /* damaged: it was one */
    else if (!json_is_true(json_object_get(document.body, "hidden")))
        id = str_copy(document.id);
    if (error == NULL)
        journal_document_free(&document);
    error_free(error);
    buffer_free(&text);
    free(path);
    return id;
}

struct error *purge_check(const struct purge *purge)
{
    char *folder = path_join(purge->config->state_dir, "tasks");
    struct file_list list = {0};
    struct buffer names = {0};
    unsigned count = 0;
    struct error *error = file_list(folder, DOCUMENTS_MAX, &list);
    if (error != NULL && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error);
        error = NULL;
    }
    buffer_add_text(&names, "");
    for (size_t i = 0; i < list.count; i++) {
        size_t size = strlen(list.entries[i].name);
        if (list.entries[i].directory || size < 5 || strcmp(list.entries[i].name + size - 5, ".json") != 0)
            continue;
        char *id = container_of(folder, list.entries[i].name);
        if (id == NULL)
            continue;
        if (count++ < NAMED_MAX)
            buffer_add_format(&names, "%s%s", count == 1 ? "" : ", ", id);
        free(id);
    }
    if (error == NULL && count != 0)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "remove the state", purge->config->state_dir,
                           "%u containers are recorded (%s%s); end them with hcsctl task delete --force ID, or keep "
                           "state and configuration (without --purge; with the installer: KEEPDATA=1)",
                           count, (char *)names.data, count > NAMED_MAX ? ", …" : "");
    buffer_free(&names);
    file_list_free(&list);
    free(folder);
    return error;
}

/* Only a folder that is hcsd's alone: what others could have put there is not removed with SYSTEM's rights. */
static struct error *remove_folder(const char *path, enum folder_access access)
{
    struct file_info info;
    struct remover_report report = {0};
    struct export_control control = {0};
    struct error *error = file_info(path, &info);
    if (error != NULL && error->kind == ERROR_KIND_NOT_FOUND) {
        error_free(error);
        return NULL;
    }
    if (error == NULL)
        error = folder_secure(path, access);
    if (error != NULL)
        return error;
    export_control_init(&control);
    atomic_store(&control.go_around, true);
    error = remover_run(path, &control, &report);
    if (error == NULL && report.left_total != 0)
        error = error_make(ERROR_KIND_FAILED_PRECONDITION, "remove the folder", path,
                           "%llu entries are still there, the first %s: %s", (unsigned long long)report.left_total,
                           report.left_count == 0 ? "" : report.left[0].path,
                           report.left_count == 0 ? "" : report.left[0].detail);
    remover_report_free(&report);
    export_control_free(&control);
    return error;
}

struct error *purge_run(const struct purge *purge)
{
    struct error *first = remove_folder(purge->config->staging_dir, FOLDER_PRIVATE);
    error_keep_first(&first, remove_folder(purge->config->state_dir, FOLDER_PRIVATE));
    error_keep_first(&first, remove_folder(purge->data, FOLDER_OTHERS_READ));
    return first;
}
