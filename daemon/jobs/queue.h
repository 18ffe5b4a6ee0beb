/* Jobs that wait, fair between those who asked: the queue takes turns between keys (connections), and within a key keeps the
 * order. Pure; one thread at a time (the caller's lock). */
#ifndef HCSD_DAEMON_JOBS_QUEUE_H
#define HCSD_DAEMON_JOBS_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;
struct queue *queue_new(void);
void queue_free(struct queue *queue); /* what is in it is not freed */

void queue_add(struct queue *queue, uint64_t key, void *item);
/* Before everybody else: what had its turn and is to be tried once more. */
void queue_add_first(struct queue *queue, void *item);
void *queue_take(struct queue *queue); /* NULL: empty */
bool queue_remove(struct queue *queue, const void *item);
size_t queue_count(const struct queue *queue);

#endif
