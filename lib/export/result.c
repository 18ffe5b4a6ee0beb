#include "export/result.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "export/thread.h"

#define DETAIL_MAX 512

void deviations_add(struct deviations *deviations, const char *kind, const char *path, const char *format, ...)
{
    deviations->total++;
    if (deviations->count == EXPORT_DEVIATIONS_MAX)
        return;
    char detail[DETAIL_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);

    if ((deviations->count & (deviations->count - 1)) == 0)
        deviations->rows =
            mem_resize_array(deviations->rows, deviations->count ? deviations->count * 2 : 1, sizeof *deviations->rows);
    deviations->rows[deviations->count++] = (struct export_deviation){
        .kind = str_copy(kind),
        .path = text_printable(path, strlen(path), 0),
        .detail = text_printable(detail, strlen(detail), 0),
    };
}

static void rows_free(struct export_deviation *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(rows[i].kind);
        free(rows[i].path);
        free(rows[i].detail);
    }
    free(rows);
}

void deviations_free(struct deviations *deviations)
{
    if (!deviations)
        return;
    rows_free(deviations->rows, deviations->count);
    *deviations = (struct deviations){0};
}

struct export_result *export_result_copy(const struct export_result *result)
{
    struct export_result *copy = mem_copy(result, sizeof *result);
    copy->deviations = mem_new_array(result->deviation_count, struct export_deviation);
    for (size_t i = 0; i < result->deviation_count; i++)
        copy->deviations[i] = (struct export_deviation){
            .kind = str_copy(result->deviations[i].kind),
            .path = str_copy(result->deviations[i].path),
            .detail = str_copy(result->deviations[i].detail),
        };
    return copy;
}

uint64_t export_result_content_deviations(const struct export_result *result)
{
    uint64_t count = result->deviation_total;
    for (size_t i = 0; i < result->deviation_count; i++)
        if (strcmp(result->deviations[i].kind, EXPORT_DEVIATION_FALLBACK) == 0)
            count--;
    return count;
}

void export_result_free(struct export_result *result)
{
    if (!result)
        return;
    rows_free(result->deviations, result->deviation_count);
    free(result);
}

void remover_report_free(struct remover_report *report)
{
    if (!report)
        return;
    rows_free(report->left, report->left_count);
    *report = (struct remover_report){0};
}

void export_control_init(struct export_control *control)
{
    control->path_lock = lock_new();
}

void export_control_free(struct export_control *control)
{
    if (!control)
        return;
    lock_free(control->path_lock);
    free(control->path);
    control->path_lock = NULL;
    control->path = NULL;
}

void export_control_set_path(struct export_control *control, const char *path)
{
    char *copy = str_copy(path);
    lock_take(control->path_lock);
    char *old = control->path;
    control->path = copy;
    lock_drop(control->path_lock);
    free(old);
}

char *export_control_path(struct export_control *control)
{
    lock_take(control->path_lock);
    char *copy = str_copy(control->path ? control->path : "");
    lock_drop(control->path_lock);
    char *printable = text_printable(copy, strlen(copy), 0);
    free(copy);
    return printable;
}
