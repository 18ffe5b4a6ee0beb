/* containerd's filter language, for Subscribe. Pure; a filter may be used by many threads at a time.
 *
 * Source: containerd pkg/filters (docs: facts of containerd's API, 2.3). A filter is selectors joined by "," that must all hold:
 * a field path, alone (the field is there and not empty) or with ==, != or ~= (regular expression) and a value, which is a Go
 * string in double quotes or a run without blanks and commas. The value of ~= may also stand between two / or two |. */
#ifndef HCSD_DAEMON_EVENTS_FILTER_H
#define HCSD_DAEMON_EVENTS_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define FILTER_COUNT_MAX 64u
#define FILTER_SIZE_MAX  4096u /* bytes of one */

struct filters;

/* Filters of which one must hold; none of them, or one that is empty, lets everything through. INVALID_ARGUMENT naming the filter
 * and the place; RESOURCE_EXHAUSTED beyond the limits. */
struct error *filters_parse(char *const *texts, size_t count, struct filters **ret_filters) ERROR_MUST_CHECK;
void filters_free(struct filters *filters);

/* `field` gives the value of a path (its parts), NULL: there is none. */
bool filters_match(const struct filters *filters,
                   const char *(*field)(void *context, const char *const *path, size_t depth), void *context);

#endif
