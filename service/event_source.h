/* hcsd as a source of the Application log: the registry key that tells viewers where the texts are. Windows only. */
#ifndef HCSD_SERVICE_EVENT_SOURCE_H
#define HCSD_SERVICE_EVENT_SOURCE_H

#include "base/error.h"

/* Registers the message DLL beside this program as the event source `name`, unless it is: services made with sc.exe get
 * their texts this way. */
struct error *event_source_ensure(const char *name) ERROR_MUST_CHECK;
/* A source that is not there is no error. */
struct error *event_source_remove(const char *name) ERROR_MUST_CHECK;

/* The full path of this program. The caller frees it. */
struct error *event_source_program(char **ret_path) ERROR_MUST_CHECK;

#endif
