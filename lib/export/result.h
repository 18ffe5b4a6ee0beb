/* Lists of deviations, as results and reports have them. Pure; one thread at a time. */
#ifndef HCSD_EXPORT_RESULT_H
#define HCSD_EXPORT_RESULT_H

#include "export/export.h"

struct deviations {
    struct export_deviation *rows;
    size_t count;
    uint64_t total;
};

/* Counts a deviation and keeps it while there are fewer than EXPORT_DEVIATIONS_MAX. `path` is WTF-8 and made printable. */
void deviations_add(struct deviations *deviations, const char *kind, const char *path, const char *format, ...)
    ERROR_PRINTF(4, 5);
void deviations_free(struct deviations *deviations);

#endif
