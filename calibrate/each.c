#include "calibrate/each.h"
#include <pthread.h>
#include <stdatomic.h>

enum { MOST = 256 };

struct loop {
    atomic_size_t next;
    size_t n;
    void (*fn)(void *, size_t);
    void *ctx;
};

static void *turns(void *arg)
{
    struct loop *l = arg;
    for (size_t i; (i = atomic_fetch_add(&l->next, 1)) < l->n;)
        l->fn(l->ctx, i);
    return NULL;
}

void each(unsigned threads, size_t n, void (*fn)(void *ctx, size_t i), void *ctx)
{
    struct loop l = {.n = n, .fn = fn, .ctx = ctx};
    pthread_t id[MOST];
    size_t started = 0, want = threads > MOST ? MOST : threads;
    want = want > n ? n : want;
    while (started + 1 < want && !pthread_create(&id[started], NULL, turns, &l))
        started++;
    turns(&l);
    while (started)
        pthread_join(id[--started], NULL);
}
