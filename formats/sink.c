#include "formats/sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { KIND_FILE, KIND_PIPE, KIND_NULL };

struct sink_state {
    enum kind kind;
    int fd;             /* pipe: standard output, or out.fd of a FIFO or device */
    const char *name;   /* pipe: for messages */
    struct outfile out;
    bool open, done, skip, tail;
    uint64_t left;      /* slot bytes still to come */
    uint64_t pos;       /* pipe: bytes written */
    size_t next, end;   /* pipe: the slot being written; slots of this file are [first, end) */
};

/* Bytes of a slot that came before their turn on a pipe. */
struct sink_pending {
    uint8_t *p;
    uint64_t have;      /* bytes put, in p or written */
    struct sha256 sha;
};

static int write_zeros(struct sink *s, size_t file, uint64_t n, struct err *e)
{
    static const uint8_t zero[4096];
    struct sink_state *f = &s->state[file];
    while (n) {
        size_t take = n < sizeof zero ? (size_t)n : sizeof zero;
        if (io_write(f->fd, f->name, zero, take, e))
            return -1;
        f->pos += take;
        n -= take;
    }
    return 0;
}

/* Gaps of a file written in place must be zero like those of a fresh one. */
static int zero_gaps(struct sink *s, size_t file, struct err *e)
{
    static const uint8_t zero[4096];
    uint64_t pos = s->file[file].head_size;
    for (size_t i = 0; i <= s->nslots; i++) {
        uint64_t to = i < s->nslots ? s->slot[i].off : s->file[file].size - s->file[file].tail_size;
        if (i < s->nslots && s->slot[i].file != file)
            continue;
        for (; pos < to; pos += min_u64(to - pos, sizeof zero))
            if (io_pwrite(s->state[file].out.fd, s->file[file].path, pos, zero,
                          (size_t)min_u64(to - pos, sizeof zero), e))
                return -1;
        if (i < s->nslots)
            pos = to + s->slot[i].size;
    }
    return 0;
}

/* Standard output, a FIFO or a device: bytes in turn. */
static int open_pipe(struct sink *s, size_t i, int fd, const char *name, struct err *e)
{
    struct sink_state *st = &s->state[i];
    st->kind = KIND_PIPE;
    st->fd = fd;
    st->name = name;
    s->ordered = true;
    if (io_write(fd, name, s->file[i].head, s->file[i].head_size, e))
        return -1;
    st->pos = s->file[i].head_size;
    return 0;
}

static int open_file(struct sink *s, size_t i, struct err *e)
{
    const struct sink_file *f = &s->file[i];
    struct sink_state *st = &s->state[i];
    if (!strcmp(f->path, "null:")) {
        st->kind = KIND_NULL;
        return 0;
    }
    if (!strcmp(f->path, "-")) {
        if (isatty(STDOUT_FILENO))
            return err_set(e, ERR_USAGE, "standard output is a terminal; binary data is not written "
                                         "to it (use -o FILE or a pipe)");
        return open_pipe(s, i, STDOUT_FILENO, "standard output", e);
    }
    st->kind = KIND_FILE;
    if (outfile_open(&st->out, f->path, s->opt.force, s->opt.in_place, e))
        return -1;
    st->open = true;
    struct stat end;
    if (!fstat(st->out.fd, &end) && !S_ISREG(end.st_mode))
        return open_pipe(s, i, st->out.fd, f->path, e);
    if (outfile_reserve(&st->out, f->size, e)
        || io_pwrite(st->out.fd, f->path, 0, f->head, f->head_size, e))
        return -1;
    return s->opt.in_place ? zero_gaps(s, i, e) : 0;
}

int sink_open(struct sink *s, const struct sink_file *file, size_t nfiles, const struct sink_slot *slot,
              size_t nslots, const bool *skip, struct sink_options opt, struct err *e)
{
    *s = (struct sink){.file = file, .nfiles = nfiles, .slot = slot, .nslots = nslots, .opt = opt};
    if (pthread_mutex_init(&s->lock, NULL))
        return err_set(e, ERR_SYSTEM, "cannot create a lock");
    s->state = mem_alloc(nfiles, sizeof *s->state, e);
    s->pending = mem_alloc(nslots, sizeof *s->pending, e);
    if (!s->state || !s->pending)
        goto fail;
    for (size_t i = 0; i < nslots; i++) {
        struct sink_state *f = &s->state[slot[i].file];
        if (f->left == 0 && f->end == 0)
            f->next = i;
        f->left += slot[i].size;
        f->end = i + 1;
        sha256_init(&s->pending[i].sha);
    }
    for (size_t i = 0; i < nfiles; i++) {
        s->state[i].skip = skip && skip[i];
        if (!s->state[i].skip && open_file(s, i, e))
            goto fail;
    }
    return 0;
fail:
    sink_abort(s);
    return -1;
}

/* Bytes of the slot whose turn it is go out; a complete slot ends its turn, and
 * slots that are complete in memory follow it. */
static int pipe_bytes(struct sink *s, size_t slot, const void *p, size_t n, struct err *e)
{
    struct sink_state *f = &s->state[s->slot[slot].file];
    if (f->pos < s->slot[slot].off && write_zeros(s, s->slot[slot].file, s->slot[slot].off - f->pos, e))
        return -1;
    if (io_write(f->fd, f->name, p, n, e))
        return -1;
    if (s->opt.digest)
        sha256_put(&s->pending[slot].sha, p, n);
    f->pos += n;
    return 0;
}

static int pipe_put(struct sink *s, size_t slot, uint64_t off, const void *p, size_t n, struct err *e)
{
    const struct sink_slot *t = &s->slot[slot];
    struct sink_state *f = &s->state[t->file];
    struct sink_pending *d = &s->pending[slot];
    while (f->next < slot && s->slot[f->next].size == 0)
        f->next++;
    d->have += n;
    if (slot == f->next && !d->p && off == (f->pos > t->off ? f->pos - t->off : 0)) {
        if (pipe_bytes(s, slot, p, n, e))
            return -1;
    } else {
        if (!d->p) {
            d->p = mem_alloc(t->size, 1, e);
            if (!d->p)
                return -1;
            s->held += t->size;
            if (s->held > s->held_peak)
                s->held_peak = s->held;
        }
        memcpy(d->p + off, p, n);
    }
    while (f->next < f->end && s->pending[f->next].have == s->slot[f->next].size) {
        struct sink_pending *done = &s->pending[f->next];
        if (done->p) {
            uint64_t written = f->pos > s->slot[f->next].off ? f->pos - s->slot[f->next].off : 0;
            if (pipe_bytes(s, f->next, done->p + written, (size_t)(s->slot[f->next].size - written), e))
                return -1;
            free(done->p);
            done->p = NULL;
            s->held -= s->slot[f->next].size;
        }
        f->next++;
    }
    return 0;
}

static int account(struct sink *s, size_t file, uint64_t n, struct err *e)
{
    struct sink_state *f = &s->state[file];
    pthread_mutex_lock(&s->lock);
    bool over = n > f->left;
    f->left -= over ? 0 : n;
    bool complete = f->left == 0 && s->opt.publish && f->kind == KIND_FILE && !f->done;
    if (complete)
        f->done = true;
    pthread_mutex_unlock(&s->lock);
    if (over)
        return err_set(e, ERR_SYSTEM, "%s: more bytes were written than planned", s->file[file].path);
    if (!complete)
        return 0;
    if (outfile_commit(&f->out, s->opt.sync, e))
        return -1;
    f->open = false;
    return s->published ? s->published(s->published_ctx, file, e) : 0;
}

int sink_put(struct sink *s, size_t slot, uint64_t off, const void *p, size_t n, struct err *e)
{
    const struct sink_slot *t = &s->slot[slot];
    struct sink_state *f = &s->state[t->file];
    if (off > t->size || n > t->size - off)
        return err_set(e, ERR_SYSTEM, "%s: bytes %llu..%llu are outside a tensor of %llu bytes",
                       s->file[t->file].path, (unsigned long long)off, (unsigned long long)(off + n),
                       (unsigned long long)t->size);
    if (n == 0 || f->skip)
        return 0;
    if (f->kind == KIND_FILE && io_pwrite(f->out.fd, f->out.path, t->off + off, p, n, e))
        return -1;
    if (f->kind == KIND_PIPE && pipe_put(s, slot, off, p, n, e))
        return -1;
    return account(s, t->file, n, e);
}

int sink_copy(struct sink *s, size_t slot, uint64_t off, int fd, const char *path, uint64_t from,
              uint64_t n, struct err *e)
{
    const struct sink_slot *t = &s->slot[slot];
    struct sink_state *f = &s->state[t->file];
    if (f->kind == KIND_FILE && !f->skip) {
        off_t in = (off_t)from, out = (off_t)(t->off + off);
        uint64_t done = 0;
        while (done < n) {
            ssize_t k = copy_file_range(fd, &in, f->out.fd, &out, n - done, 0);
            if (k <= 0)
                break; /* other file systems, old kernels: the loop below; a short file is found there too */
            done += (uint64_t)k;
        }
        if (done && account(s, t->file, done, e))
            return -1;
        off += done;
        from += done;
        n -= done;
    }
    if (!n || f->skip)
        return 0;
    size_t piece = 1 << 20;
    void *p = mem_alloc(piece, 1, e);
    int r = p ? 0 : -1;
    for (uint64_t done = 0; !r && done < n; done += piece) {
        size_t k = n - done < piece ? (size_t)(n - done) : piece;
        r = io_pread(fd, path, from + done, p, k, e) || sink_put(s, slot, off + done, p, k, e) ? -1 : 0;
    }
    free(p);
    return r;
}

int sink_digest(struct sink *s, size_t slot, uint8_t digest[32], struct err *e)
{
    const struct sink_slot *t = &s->slot[slot];
    struct sink_state *f = &s->state[t->file];
    struct sha256 h;
    if (f->kind == KIND_PIPE) {
        h = s->pending[slot].sha;
    } else {
        sha256_init(&h);
        size_t piece = 1 << 20;
        void *p = mem_alloc(piece, 1, e);
        if (!p)
            return -1;
        for (uint64_t done = 0; f->kind == KIND_FILE && done < t->size; done += piece) {
            size_t k = t->size - done < piece ? (size_t)(t->size - done) : piece;
            if (io_pread(f->out.fd, f->out.path, t->off + done, p, k, e)) {
                free(p);
                return -1;
            }
            sha256_put(&h, p, k);
        }
        free(p);
    }
    sha256_end(&h, digest);
    return 0;
}

int sink_tail(struct sink *s, size_t file, const void *p, struct err *e)
{
    struct sink_state *f = &s->state[file];
    uint64_t off = s->file[file].size - s->file[file].tail_size;
    size_t n = s->file[file].tail_size;
    f->tail = true;
    if (f->kind == KIND_FILE)
        return io_pwrite(f->out.fd, f->out.path, off, p, n, e);
    if (f->kind == KIND_NULL)
        return 0;
    if (write_zeros(s, file, off - f->pos, e) || io_write(f->fd, f->name, p, n, e))
        return -1;
    f->pos += n;
    return 0;
}

static void release(struct sink *s)
{
    for (size_t i = 0; s->pending && i < s->nslots; i++)
        free(s->pending[i].p);
    free(s->pending);
    free(s->state);
    pthread_mutex_destroy(&s->lock);
    *s = (struct sink){0};
}

int sink_commit(struct sink *s, struct err *e)
{
    for (size_t i = 0; i < s->nfiles; i++)
        if (!s->state[i].skip && s->file[i].tail_size && !s->state[i].tail)
            return err_set(e, ERR_SYSTEM, "%s: the planned end was never written", s->file[i].path);
    for (size_t i = 0; i < s->nfiles; i++)
        if (!s->state[i].skip && s->state[i].left)
            return err_set(e, ERR_SYSTEM, "%s: %llu planned bytes were never written", s->file[i].path,
                           (unsigned long long)s->state[i].left);
    for (size_t i = 0; i < s->nfiles; i++) {
        struct sink_state *f = &s->state[i];
        if (f->kind == KIND_PIPE && write_zeros(s, i, s->file[i].size - f->pos, e))
            return -1;
        if (!f->open)
            continue;
        if (outfile_commit(&f->out, s->opt.sync, e))
            return -1;
        f->open = false;
    }
    release(s);
    return 0;
}

void sink_abort(struct sink *s)
{
    for (size_t i = 0; s->state && i < s->nfiles; i++)
        if (s->state[i].open)
            outfile_abort(&s->state[i].out);
    if (s->file)
        release(s);
}
