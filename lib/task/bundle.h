/* The bundle of a container: config.json and what is made of it. Windows only; blocks on the disk. */
#ifndef HCSD_TASK_BUNDLE_H
#define HCSD_TASK_BUNDLE_H

#include "base/error.h"
#include "task/container.h"

/* The command line and the rest of the init's process document, for a container that was taken up again before its start. */
struct error *bundle_process_document(struct tasks *tasks, const struct task_texts *texts, char **ret_document) ERROR_MUST_CHECK;

#endif
