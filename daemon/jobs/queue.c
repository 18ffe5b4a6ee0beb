#include "daemon/jobs/queue.h"

#include <stdlib.h>

#include "base/memory.h"

struct entry {
    struct entry *next;
    void *item;
};

/* One per key that has something waiting. */
struct line {
    struct line *next;
    uint64_t key;
    struct entry *first, **last;
};

struct queue {
    struct entry *urgent;
    struct line *lines, **last_line; /* the first has the next turn */
    size_t count;
};

struct queue *queue_new(void)
{
    struct queue *queue = mem_new(struct queue);
    queue->last_line = &queue->lines;
    return queue;
}

void queue_free(struct queue *queue)
{
    if (queue == NULL)
        return;
    while (queue_take(queue) != NULL)
        ;
    free(queue);
}

static struct entry *entry_new(void *item)
{
    struct entry *entry = mem_new(struct entry);
    entry->item = item;
    return entry;
}

static void line_append(struct queue *queue, struct line *line)
{
    line->next = NULL;
    *queue->last_line = line;
    queue->last_line = &line->next;
}

static void line_unlink(struct queue *queue, struct line **place)
{
    struct line *line = *place;
    *place = line->next;
    if (queue->last_line == &line->next)
        queue->last_line = place;
}

void queue_add(struct queue *queue, uint64_t key, void *item)
{
    struct line *line = queue->lines;
    while (line != NULL && line->key != key)
        line = line->next;
    if (line == NULL) {
        line = mem_new(struct line);
        line->key = key;
        line->last = &line->first;
        line_append(queue, line);
    }
    struct entry *entry = entry_new(item);
    *line->last = entry;
    line->last = &entry->next;
    queue->count++;
}

void queue_add_first(struct queue *queue, void *item)
{
    struct entry *entry = entry_new(item);
    entry->next = queue->urgent;
    queue->urgent = entry;
    queue->count++;
}

static void *entry_take(struct entry **place)
{
    struct entry *entry = *place;
    void *item = entry->item;
    *place = entry->next;
    free(entry);
    return item;
}

void *queue_take(struct queue *queue)
{
    if (queue->count == 0)
        return NULL;
    queue->count--;
    if (queue->urgent != NULL)
        return entry_take(&queue->urgent);
    struct line *line = queue->lines;
    void *item = entry_take(&line->first);
    /* Its turn is over: to the end with it, if it has anything left. */
    line_unlink(queue, &queue->lines);
    if (line->first != NULL)
        line_append(queue, line);
    else
        free(line);
    return item;
}

bool queue_remove(struct queue *queue, const void *item)
{
    for (struct entry **place = &queue->urgent; *place != NULL; place = &(*place)->next) {
        if ((*place)->item == item) {
            entry_take(place);
            queue->count--;
            return true;
        }
    }
    for (struct line **line_place = &queue->lines; *line_place != NULL; line_place = &(*line_place)->next) {
        struct line *line = *line_place;
        for (struct entry **place = &line->first; *place != NULL; place = &(*place)->next) {
            if ((*place)->item != item)
                continue;
            if (line->last == &(*place)->next)
                line->last = place;
            entry_take(place);
            queue->count--;
            if (line->first == NULL) {
                line_unlink(queue, line_place);
                free(line);
            }
            return true;
        }
    }
    return false;
}

size_t queue_count(const struct queue *queue)
{
    return queue->count;
}
