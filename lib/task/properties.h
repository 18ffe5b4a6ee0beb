/* What HCS tells of a container, as the property queries Statistics and ProcessList give it. Pure; thread-safe.
 *
 * Source: hcsshim's schema1 types (facts: lifecycle, section 5). Members that are absent or of another type count as 0, as Go's
 * decoder has it: a figure that one Windows does not know must not cost the client the others. */
#ifndef HCSD_TASK_PROPERTIES_H
#define HCSD_TASK_PROPERTIES_H

#include "task/tasks.h"

#define PROPERTIES_STATISTICS "{\"PropertyTypes\":[\"Statistics\"]}"
#define PROPERTIES_PROCESSES  "{\"PropertyTypes\":[\"ProcessList\"]}"

/* INTERNAL when the text is no properties document or has no statistics. */
struct error *properties_statistics(const char *text, const char *id,
                                    struct task_statistics *ret_statistics) ERROR_MUST_CHECK;

/* At least `spare` elements are behind the last. exec_id is "" everywhere. Free with task_processes_free. */
struct error *properties_processes(const char *text, const char *id, size_t spare,
                                   struct task_process_view **ret_processes, size_t *ret_count) ERROR_MUST_CHECK;

/* Whether HCS says that the container is paused; an answer to the query "{}". */
bool properties_paused(const char *text);

#endif
