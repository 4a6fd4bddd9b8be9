/* Where output goes.  Every offset is planned before a tensor byte is read,
 * so the same tool code fills files (any order) and pipes (in turn).
 *
 * A plan is a list of files, each a head, then slots (tensor payloads) in
 * ascending order with zero bytes between them, then a tail of known size. */
#ifndef OCTAVO_SINK_H
#define OCTAVO_SINK_H

#include "formats/err.h"
#include "formats/io.h"
#include "formats/sha256.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct sink_file {
    const char *path;    /* "-" is standard output, "null:" nowhere (borrowed) */
    const void *head;    /* borrowed until commit */
    size_t head_size;
    uint64_t size;       /* head, slots, gaps and tail */
    size_t tail_size;    /* the last bytes, given by sink_tail() before the commit */
};
struct sink_slot {
    uint32_t file;
    uint64_t off, size;  /* bytes in that file, ascending within a file */
};
struct sink_options {
    bool force;          /* overwrite what is there */
    bool in_place;       /* into the file that is there: not atomic, reuses its pages */
    bool sync;           /* fsync before renaming */
    bool digest;         /* keep a SHA-256 of every slot */
    bool publish;        /* rename each file as soon as it is complete, and keep it on abort (--resume) */
};

struct sink_state;       /* of one file */
struct sink {
    const struct sink_file *file;
    size_t nfiles;
    const struct sink_slot *slot;
    size_t nslots;
    struct sink_options opt;
    struct sink_state *state;
    struct sink_pending *pending;  /* per slot: bytes that arrived before their turn (pipe) */
    bool ordered;        /* a pipe: callers must put in order, or bytes are held in memory */
    uint64_t held, held_peak;
    pthread_mutex_t lock;
    /* Called under no lock when a published file is complete. */
    int (*published)(void *ctx, size_t file, struct err *e);
    void *published_ctx;
};

/* Opens every file (skip[i] true: that file is finished already and nothing
 * will be put into it; skip may be NULL), writes the heads.  Refuses binary
 * output to a terminal.  The plan is borrowed until commit or abort. */
int sink_open(struct sink *s, const struct sink_file *file, size_t nfiles, const struct sink_slot *slot,
              size_t nslots, const bool *skip, struct sink_options opt, struct err *e) MUST_USE;
/* Bytes [off, off+n) of a slot; every byte exactly once.  Thread-safe for files. */
int sink_put(struct sink *s, size_t slot, uint64_t off, const void *p, size_t n, struct err *e) MUST_USE;
/* The same from a file, copied inside the kernel where that works. */
int sink_copy(struct sink *s, size_t slot, uint64_t off, int fd, const char *path, uint64_t from,
              uint64_t n, struct err *e) MUST_USE;
/* SHA-256 of a complete slot (opt.digest): as it was written to a pipe, or read back from the file. */
int sink_digest(struct sink *s, size_t slot, uint8_t digest[32], struct err *e) MUST_USE;
int sink_tail(struct sink *s, size_t file, const void *p, struct err *e) MUST_USE;
/* All slots complete: fsync, rename. A missing byte is an error naming the file. */
int sink_commit(struct sink *s, struct err *e) MUST_USE;
/* After a failure: nothing half-written stays. */
void sink_abort(struct sink *s);

#endif
