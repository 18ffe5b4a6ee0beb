#include "daemon/rpc/arena.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"

#define BLOCK_SIZE 16384u

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    _Alignas(16) unsigned char room[];
};

static void *take(void *context, size_t size)
{
    struct arena *arena = context;
    if (size > ARENA_MAX - arena->total) {
        arena->exhausted = true;
        return NULL;
    }
    size = (size + 15) & ~(size_t)15;
    arena->total += size;
    if (size <= ARENA_INLINE - arena->used) {
        arena->used += size;
        return arena->room + arena->used - size;
    }
    struct arena_block *block = arena->blocks;
    if (block == NULL || size > block->size - block->used) {
        size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        block = mem_zero(sizeof *block + room);
        block->size = room;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    block->used += size;
    return block->room + block->used - size;
}

static void give_back(void *context, void *piece)
{
    (void)context, (void)piece;
}

void arena_init(struct arena *arena)
{
    arena->allocator = (ProtobufCAllocator){take, give_back, arena};
    arena->blocks = NULL;
    arena->used = arena->total = 0;
    arena->exhausted = false;
}

void arena_reset(struct arena *arena)
{
    for (struct arena_block *block = arena->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    arena_init(arena);
}
