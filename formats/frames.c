#include "formats/frames.h"

#include "formats/io.h"
#include "formats/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

static void fail(struct frames *f, const struct err *e)
{
    pthread_mutex_lock(&f->write);
    if (!f->failed)
        f->err = *e;
    f->failed = true;
    pthread_mutex_unlock(&f->write);
}

/* The next piece of the stream, full unless it is the last one, and its number; 0 at the end. */
static size_t take(struct frames *f, uint8_t *p, uint64_t *number)
{
    size_t n = 0;
    pthread_mutex_lock(&f->read);
    while (!f->ended && n < FRAME_CONTENT) {
        const ssize_t got = read(f->from, p + n, FRAME_CONTENT - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            f->ended = true;
        n += got > 0 ? (size_t)got : 0;
    }
    *number = f->next;
    f->next += n > 0;
    f->content += n;
    pthread_mutex_unlock(&f->read);
    return n;
}

/* Writes a frame when all before it are written. */
static void put(struct frames *f, uint64_t number, const uint8_t *p, size_t n)
{
    struct err e;
    pthread_mutex_lock(&f->write);
    while (f->written != number)
        pthread_cond_wait(&f->turn, &f->write);
    if (!f->failed && io_write(f->to, f->path, p, n, &e)) {
        f->err = e;
        f->failed = true;
    }
    f->size += n;
    f->written++;
    pthread_cond_broadcast(&f->turn);
    pthread_mutex_unlock(&f->write);
}

/* After a failure the stream is still read to its end, so that its writer does not wait for ever. */
static void *work(void *arg)
{
    struct frames *f = arg;
    const size_t most = ZSTD_compressBound(FRAME_CONTENT);
    struct err e;
    uint8_t *in = mem_alloc(FRAME_CONTENT, 1, &e), *out = in ? mem_alloc(most, 1, &e) : NULL;
    ZSTD_CCtx *z = ZSTD_createCCtx();
    uint64_t number;
    size_t n;
    static uint8_t nowhere[FRAME_CONTENT];
    if (!in || !out || !z || ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, f->level))
        || ZSTD_isError(ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1))) {
        (void)err_set(&e, ERR_SYSTEM, "out of memory for compression");
        fail(f, &e);
    }
    while ((n = take(f, in ? in : nowhere, &number)) > 0) {
        size_t size = in && out && z ? ZSTD_compress2(z, out, most, in, n) : 0;
        if (ZSTD_isError(size)) {
            (void)err_set(&e, ERR_SYSTEM, "%s: zstd: %s", f->path, ZSTD_getErrorName(size));
            fail(f, &e);
            size = 0;
        }
        put(f, number, out, size);
    }
    ZSTD_freeCCtx(z);
    free(in);
    free(out);
    return NULL;
}

int frames_start(struct frames *f, int to, const char *path, int level, unsigned threads, struct err *e)
{
    int end[2];
    *f = (struct frames){.to = to, .path = path, .level = level, .threads = threads > FRAME_THREADS_MAX ? FRAME_THREADS_MAX : threads};
    if (pipe2(end, O_CLOEXEC))
        return err_sys(e, "cannot make a pipe");
    f->from = end[0];
    f->in = end[1];
    pthread_mutex_init(&f->read, NULL);
    pthread_mutex_init(&f->write, NULL);
    pthread_cond_init(&f->turn, NULL);
    for (unsigned i = 0; i < f->threads; i++)
        if (pthread_create(&f->thread[i], NULL, work, f)) {
            f->threads = i;
            break;
        }
    if (f->threads)
        return 0;
    close(f->in);
    close(f->from);
    return err_set(e, ERR_SYSTEM, "cannot start a thread");
}

int frames_finish(struct frames *f, struct err *e)
{
    for (unsigned i = 0; i < f->threads; i++)
        pthread_join(f->thread[i], NULL);
    close(f->from);
    pthread_mutex_destroy(&f->read);
    pthread_mutex_destroy(&f->write);
    pthread_cond_destroy(&f->turn);
    if (f->failed)
        *e = f->err;
    return f->failed ? -1 : 0;
}
