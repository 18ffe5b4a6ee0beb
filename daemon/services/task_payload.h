/* The payloads of task messages that travel as google.protobuf.Any: what they are called and how they are filled. Pure.
 *
 * Names are bare ("containerd.events.TaskExit", no host in front): containerd's clients compare the whole text. */
#ifndef HCSD_DAEMON_SERVICES_TASK_PAYLOAD_H
#define HCSD_DAEMON_SERVICES_TASK_PAYLOAD_H

#include <google/protobuf/any.pb-c.h>

#include "task/tasks.h"

/* Packs the message; free with any_free. */
void any_pack(const ProtobufCMessage *message, Google__Protobuf__Any *ret_any);
void any_free(Google__Protobuf__Any *any); /* what is in it */

/* containerd.runhcs.stats.v1.Statistics: Windows' figures, or for a Linux container cgroup metrics with what HCS tells of it. */
void payload_statistics(const struct task_statistics *statistics, Google__Protobuf__Any *ret_any);

/* containerd.runhcs.v1.ProcessDetails. */
void payload_process(const struct task_process_view *process, Google__Protobuf__Any *ret_any);

/* The event of a topic ("/tasks/exit", …), from the state of its process. False: no payload has this topic. */
bool payload_event(const char *topic, const struct task_view *view, Google__Protobuf__Any *ret_any);

#endif
