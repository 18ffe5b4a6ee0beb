#include "daemon/rpc/pipe_pool.h"

#include <windows.h>

#include "base/memory.h"

struct pipe_pool {
    TP_POOL *pool;
    TP_CALLBACK_ENVIRON normal, last;
};

struct later {
    void (*run)(void *context);
    void *context;
};

struct error *pipe_pool_open(struct pipe_pool **ret_pool)
{
    struct pipe_pool *pool = mem_new(struct pipe_pool);
    pool->pool = CreateThreadpool(NULL);
    if (pool->pool == NULL) {
        struct error *error = error_win32(GetLastError(), "CreateThreadpool", "pipe", NULL);
        free(pool);
        return error;
    }
    SetThreadpoolThreadMaximum(pool->pool, PIPE_POOL_THREADS);
    InitializeThreadpoolEnvironment(&pool->normal);
    SetThreadpoolCallbackPool(&pool->normal, pool->pool);
    pool->last = pool->normal;
    SetThreadpoolCallbackPriority(&pool->last, TP_CALLBACK_PRIORITY_LOW);
    *ret_pool = pool;
    return NULL;
}

void pipe_pool_close(struct pipe_pool *pool)
{
    if (pool == NULL)
        return;
    CloseThreadpool(pool->pool);
    free(pool);
}

void *pipe_pool_environment(struct pipe_pool *pool)
{
    return &pool->normal;
}

static void CALLBACK run_later(TP_CALLBACK_INSTANCE *instance, void *context)
{
    (void)instance;
    struct later later = *(struct later *)context;
    free(context);
    later.run(later.context);
}

void pipe_pool_run_last(struct pipe_pool *pool, void (*run)(void *context), void *context)
{
    struct later *later = mem_new(struct later);
    *later = (struct later){run, context};
    if (!TrySubmitThreadpoolCallback(run_later, later, &pool->last))
        run_later(NULL, later);
}
