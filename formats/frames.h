/* Compressing a stream as zstd frames of a fixed size of content, each by
 * itself, so that threads share the work and the bytes do not depend on how
 * many there are.  Any zstd undoes it, and so does model_open(). */
#ifndef OCTAVO_FRAMES_H
#define OCTAVO_FRAMES_H

#include "formats/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { FRAME_CONTENT = 4 << 20, FRAME_LEVEL = 3, FRAME_LEVEL_MAX = 19, FRAME_THREADS_MAX = 64 };

struct frames {
    int in;                  /* what is written here is compressed; the caller closes it */
    int from, to;            /* the other end of it; where frames go */
    const char *path;        /* of `to`, for messages */
    int level;
    unsigned threads;
    pthread_t thread[FRAME_THREADS_MAX];
    pthread_mutex_t read, write;
    pthread_cond_t turn;
    uint64_t next, written;  /* frames taken, frames written */
    uint64_t content, size;  /* bytes in and out */
    bool ended, failed;
    struct err err;
};
/* Starts the threads; path and to are borrowed. */
int frames_start(struct frames *f, int to, const char *path, int level, unsigned threads, struct err *e) MUST_USE;
/* After f->in was closed: waits for the last frame. */
int frames_finish(struct frames *f, struct err *e) MUST_USE;

#endif
