#include "export/packer.h"

#include <string.h>

#include <libdeflate.h>
#include <zstd.h>

#include "base/memory.h"
#include "export/sha256.h"
#include "export/thread.h"

#define WAIT_MS     100 /* how late a cancel is seen at most while waiting */
#define CHUNKS_MAX  24
#define THREADS_MAX 16

/* Chunk sizes trade ratio against memory; the default levels were measured with bench_export (docs/export.md). */
static const struct method {
    const char *media_type;
    size_t chunk_size;
    int level_default;
    int level_max;
} methods[] = {
    [EXPORT_GZIP] = {"application/vnd.oci.image.layer.v1.tar+gzip", 1u << 20, 5, 12},
    [EXPORT_ZSTD] = {"application/vnd.oci.image.layer.v1.tar+zstd", 2u << 20, 2, 19},
    [EXPORT_NONE] = {"application/vnd.oci.image.layer.v1.tar", 256u << 10, 0, 0},
};

enum chunk_state { CHUNK_EMPTY, CHUNK_FILLED, CHUNK_COMPRESSING, CHUNK_DONE };

struct chunk {
    enum chunk_state state;
    uint8_t *data;
    size_t size;
    uint8_t *packed; /* NULL without compression */
    size_t packed_size;
};

struct packer {
    enum export_compression compression;
    const struct method *method;
    int level;
    bool default_level;
    size_t packed_capacity;
    const struct export_output *output;
    struct export_control *control;

    struct lock *lock;
    struct condition *changed;
    /* Under the lock. Chunk number n lies in chunks[n % chunk_count]. */
    uint64_t filled, taken, written;
    bool ending;
    struct error *error; /* the first one */

    struct chunk chunks[CHUNKS_MAX];
    size_t chunk_count;
    struct thread *compressors[THREADS_MAX];
    size_t compressor_count;
    struct thread *writer;

    /* The caller's. */
    struct chunk *current;
    /* The writer's, until it ended; without compression `plain` is the hashing thread's. */
    struct sha256 plain, packed;
    uint64_t plain_size, packed_size;
};

static void packer_fail(struct packer *packer, struct error *error)
{
    lock_take(packer->lock);
    error_keep_first(&packer->error, error);
    condition_wake_all(packer->changed);
    lock_drop(packer->lock);
}

/* One thread's state: libdeflate's and zstd's are not shared. Without compression there is one thread, which hashes, so
 * that this and writing take turns on two processors. */
struct compressor {
    struct libdeflate_compressor *deflate;
    ZSTD_CCtx *zstd;
};

static struct error *compress_chunk(struct packer *packer, const struct compressor *with, struct chunk *chunk)
{
    if (!chunk->packed) {
        sha256_add(&packer->plain, chunk->data, chunk->size);
        return NULL;
    }
    if (with->deflate) {
        chunk->packed_size =
            libdeflate_gzip_compress(with->deflate, chunk->data, chunk->size, chunk->packed, packer->packed_capacity);
        if (chunk->packed_size == 0)
            return error_make(ERROR_KIND_INTERNAL, "compress", NULL, "libdeflate did not keep to its own bound");
        return NULL;
    }
    size_t size = ZSTD_compress2(with->zstd, chunk->packed, packer->packed_capacity, chunk->data, chunk->size);
    if (ZSTD_isError(size))
        return error_make(ERROR_KIND_INTERNAL, "compress", NULL, "zstd: %s", ZSTD_getErrorName(size));
    chunk->packed_size = size;
    return NULL;
}

/* By default level 2 with a larger window and longer matches: on Windows binaries smaller than zlib's level 6, which plain
 * level 2 is not, and faster than either. */
static void set_zstd_level(ZSTD_CCtx *zstd, const struct packer *packer)
{
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, packer->level);
    if (!packer->default_level)
        return;
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, 21);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_hashLog, 16);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_minMatch, 5);
}

static void compressor_run(void *context)
{
    struct packer *packer = context;
    struct compressor with = {0};
    struct error *error = NULL;
    if (packer->compression == EXPORT_GZIP)
        with.deflate = libdeflate_alloc_compressor(packer->level);
    else if (packer->compression == EXPORT_ZSTD)
        with.zstd = ZSTD_createCCtx();
    if (!with.deflate && !with.zstd && packer->compression != EXPORT_NONE)
        error = error_make(ERROR_KIND_RESOURCE_EXHAUSTED, "compress", NULL, "there is no memory for a compressor");
    else if (with.zstd)
        set_zstd_level(with.zstd, packer);

    lock_take(packer->lock);
    for (;;) {
        error_keep_first(&packer->error, error);
        error = NULL;
        while (!packer->error && packer->taken == packer->filled && !packer->ending)
            condition_wait(packer->changed, packer->lock, WAIT_MS);
        if (packer->error || packer->taken == packer->filled)
            break;
        struct chunk *chunk = &packer->chunks[packer->taken++ % packer->chunk_count];
        chunk->state = CHUNK_COMPRESSING;
        lock_drop(packer->lock);
        error = compress_chunk(packer, &with, chunk);
        lock_take(packer->lock);
        chunk->state = CHUNK_DONE;
        condition_wake_all(packer->changed);
    }
    condition_wake_all(packer->changed);
    lock_drop(packer->lock);
    libdeflate_free_compressor(with.deflate);
    ZSTD_freeCCtx(with.zstd);
}

static struct error *write_chunk(struct packer *packer, const struct chunk *chunk)
{
    const uint8_t *out = chunk->packed ? chunk->packed : chunk->data;
    size_t out_size = chunk->packed ? chunk->packed_size : chunk->size;
    if (chunk->packed) {
        sha256_add(&packer->plain, chunk->data, chunk->size);
        sha256_add(&packer->packed, out, out_size);
    }
    packer->plain_size += chunk->size;
    struct error *error = packer->output->write(packer->output->context, out, out_size);
    if (error)
        return error;
    packer->packed_size += out_size;
    packer->control->bytes = packer->plain_size;
    packer->control->output_bytes = packer->packed_size;
    return NULL;
}

static void writer_run(void *context)
{
    struct packer *packer = context;
    struct error *error = NULL;
    lock_take(packer->lock);
    for (;;) {
        struct chunk *chunk = &packer->chunks[packer->written % packer->chunk_count];
        while (!packer->error && !(packer->written < packer->filled && chunk->state == CHUNK_DONE) &&
               !(packer->ending && packer->written == packer->filled))
            condition_wait(packer->changed, packer->lock, WAIT_MS);
        if (packer->error || packer->written == packer->filled)
            break;
        lock_drop(packer->lock);
        error = write_chunk(packer, chunk);
        if (!error && packer->control->cancelled)
            error = error_make(ERROR_KIND_CANCELLED, "write archive", NULL, "the export was cancelled");
        lock_take(packer->lock);
        error_keep_first(&packer->error, error);
        chunk->size = 0;
        chunk->state = CHUNK_EMPTY;
        packer->written++;
        condition_wake_all(packer->changed);
    }
    condition_wake_all(packer->changed);
    lock_drop(packer->lock);
}

static void packer_end(struct packer *packer)
{
    lock_take(packer->lock);
    packer->ending = true;
    condition_wake_all(packer->changed);
    lock_drop(packer->lock);
    for (size_t i = 0; i < packer->compressor_count; i++)
        thread_join(packer->compressors[i]);
    packer->compressor_count = 0;
    thread_join(packer->writer);
    packer->writer = NULL;
}

struct error *packer_open(enum export_compression compression, int level, const struct export_output *output,
                          struct export_control *control, struct packer **ret_pipe)
{
    if ((unsigned)compression >= sizeof methods / sizeof methods[0])
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "compress", NULL, "there is no compression number %d",
                          (int)compression);
    const struct method *method = &methods[compression];
    if (level < 0 || level > method->level_max)
        return error_make(ERROR_KIND_INVALID_ARGUMENT, "compress", NULL, "level %d is not one of 0 (default) to %d",
                          level, method->level_max);

    struct packer *packer = mem_new(struct packer);
    packer->compression = compression;
    packer->method = method;
    packer->level = level ? level : method->level_default;
    packer->default_level = level == 0;
    packer->output = output;
    packer->control = control;
    packer->lock = lock_new();
    packer->changed = condition_new();
    sha256_init(&packer->plain);
    sha256_init(&packer->packed);

    size_t threads = thread_processors();
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    if (compression == EXPORT_GZIP)
        packer->packed_capacity = libdeflate_gzip_compress_bound(NULL, method->chunk_size);
    else if (compression == EXPORT_ZSTD)
        packer->packed_capacity = ZSTD_compressBound(method->chunk_size);
    else
        threads = 1;
    packer->chunk_count = packer->packed_capacity ? threads + threads / 2 + 2 : 8;
    if (packer->chunk_count > CHUNKS_MAX)
        packer->chunk_count = CHUNKS_MAX;
    for (size_t i = 0; i < packer->chunk_count; i++) {
        packer->chunks[i].data = mem_resize_array(NULL, method->chunk_size, 1);
        if (packer->packed_capacity)
            packer->chunks[i].packed = mem_resize_array(NULL, packer->packed_capacity, 1);
    }

    struct error *error = thread_start(writer_run, packer, &packer->writer);
    for (size_t i = 0; i < threads && !error; i++) {
        error = thread_start(compressor_run, packer, &packer->compressors[i]);
        if (!error)
            packer->compressor_count++;
    }
    if (error) {
        packer_free(packer);
        return error;
    }
    *ret_pipe = packer;
    return NULL;
}

static void pass_on(struct packer *packer)
{
    lock_take(packer->lock);
    packer->current->state = CHUNK_FILLED;
    packer->filled++;
    condition_wake_all(packer->changed);
    lock_drop(packer->lock);
    packer->current = NULL;
}

struct error *packer_room(struct packer *packer, void **ret_room, size_t *ret_size)
{
    if (packer->current && packer->current->size == packer->method->chunk_size)
        pass_on(packer);
    struct error *error = NULL;
    if (packer->control->cancelled)
        error = error_make(ERROR_KIND_CANCELLED, "write archive", NULL, "the export was cancelled");
    if (!error && !packer->current) {
        lock_take(packer->lock);
        while (!packer->error && !packer->control->cancelled && packer->filled - packer->written == packer->chunk_count)
            condition_wait(packer->changed, packer->lock, WAIT_MS);
        if (packer->error)
            error = error_copy(packer->error);
        else if (packer->filled - packer->written < packer->chunk_count)
            packer->current = &packer->chunks[packer->filled % packer->chunk_count];
        else
            error = error_make(ERROR_KIND_CANCELLED, "write archive", NULL, "the export was cancelled");
        lock_drop(packer->lock);
    }
    if (error)
        return error;
    *ret_room = packer->current->data + packer->current->size;
    *ret_size = packer->method->chunk_size - packer->current->size;
    return NULL;
}

void packer_fill(struct packer *packer, size_t size)
{
    packer->current->size += size;
}

struct error *packer_write(struct packer *packer, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    while (size > 0) {
        void *room;
        size_t room_size;
        struct error *error = packer_room(packer, &room, &room_size);
        if (error)
            return error;
        size_t take = size < room_size ? size : room_size;
        memcpy(room, bytes, take);
        packer_fill(packer, take);
        bytes += take;
        size -= take;
    }
    return NULL;
}

struct error *packer_write_zeros(struct packer *packer, uint64_t size)
{
    while (size > 0) {
        void *room;
        size_t room_size;
        struct error *error = packer_room(packer, &room, &room_size);
        if (error)
            return error;
        size_t take = size < room_size ? (size_t)size : room_size;
        memset(room, 0, take);
        packer_fill(packer, take);
        size -= take;
    }
    return NULL;
}

struct error *packer_finish(struct packer *packer, struct export_result *result)
{
    if (packer->current && packer->current->size > 0)
        pass_on(packer);
    packer_end(packer);
    if (packer->error) {
        struct error *error = packer->error;
        packer->error = NULL;
        return error;
    }
    uint8_t digest[32];
    sha256_end(&packer->plain, digest);
    sha256_text(digest, result->diff_id);
    if (packer->method->level_max)
        sha256_end(&packer->packed, digest);
    sha256_text(digest, result->digest);
    result->size = packer->packed_size;
    result->media_type = packer->method->media_type;
    return NULL;
}

void packer_free(struct packer *packer)
{
    if (!packer)
        return;
    if (packer->writer) {
        /* Not finished: whatever is not written yet is dropped. */
        packer_fail(packer, error_make(ERROR_KIND_ABORTED, "write archive", NULL, "the archive was given up"));
        packer_end(packer);
    }
    for (size_t i = 0; i < packer->chunk_count; i++) {
        free(packer->chunks[i].data);
        free(packer->chunks[i].packed);
    }
    condition_free(packer->changed);
    lock_free(packer->lock);
    error_free(packer->error);
    free(packer);
}
