/* Memory for one message: taken in pieces, given back all at once. Not thread-safe. */
#ifndef HCSD_DAEMON_RPC_ARENA_H
#define HCSD_DAEMON_RPC_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

/* The first bytes are in the arena itself: most requests need no more. */
#define ARENA_INLINE 1024u
/* What one message may take, unpacked. */
#define ARENA_MAX    (64u << 20)

struct arena_block;
struct arena {
    ProtobufCAllocator allocator; /* hands out of this arena; freeing a piece does nothing */
    struct arena_block *blocks;
    size_t used, total;
    bool exhausted; /* ARENA_MAX was met: the allocator gave NULL */
    _Alignas(16) unsigned char room[ARENA_INLINE];
};

/* The arena must not be moved from here on. */
void arena_init(struct arena *arena);
/* Empties it; it can be used again. */
void arena_reset(struct arena *arena);

#endif
