/* The scheme of the threads.
 *
 * Boxes have a number: ops in plan order, passes of an op one after the other,
 * boxes of a pass in order.  A worker claims the next number under the lock; on
 * a stream it also reads the box there, since a stream has one order.  It then
 * computes alone.  A file takes results in any order.  A pipe takes them in
 * turn: the worker waits until every lower number has written.  Nobody can wait
 * in a circle, because the lowest unfinished number is always being worked on.
 *
 * Sums that depend on order are kept per box and combined when an op ends, so
 * the output does not depend on the number of threads. */
#include "quantizers/run.h"
#include "quantizers/strided.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct state {                 /* of one op */
    struct active a;
    void *side[SIDE_COUNT];
    uint64_t done;             /* boxes of all passes that are finished */
    bool open, held_in;
};

struct run {
    struct plan *p;
    struct sink *sink;
    const size_t *slot;
    const struct run_options *opt;
    const struct kern *k;
    uint8_t (*digest)[32];
    struct sha256 sha;         /* of the tensor a stream is in */

    pthread_mutex_t lock;
    pthread_cond_t change;     /* a pass or a turn ended, or the run did */
    pthread_cond_t idle;       /* nobody writes */
    struct state *st;
    uint8_t **held;            /* per source tensor, on streams */
    bool *used;                /* per source tensor */
    size_t op;                 /* next claim */
    unsigned pass;
    uint64_t box, ticket;
    size_t stream_next;        /* tensors below were read or passed over */
    uint64_t turn;
    uint64_t bytes;
    unsigned working;
    bool writing;              /* somebody writes into a file: its lock lets in one at a time anyway */
    unsigned waiting;          /* workers that cannot go on until that ends */
    size_t copy_op;            /* next claim of what the kernel copies */
    uint64_t copy_box;
    bool stop;
    uint64_t err_ticket;
    struct err err;
};

struct claim {
    size_t op;
    unsigned pass;
    uint64_t box, ticket;
    struct box b;
    bool writes;               /* a copy by the kernel that set run.writing */
};

/* Of copies by the kernel: a box that fails in computing is told of first. */
#define LAST_TICKET (UINT64_MAX - 1)

/* Many threads would wait for the file whatever they did, and memory per thread is promised. */
enum { LATE_THREADS = 4 };

/* A finished box that waits for its turn to be written, with the memory it is in. */
struct late {
    bool full;
    struct claim c;
    struct work w;
};

/* ---- source bytes ---------------------------------------------------------- */

/* Reads tensors of a stream up to and including `last`, except its bytes when
 * they stream; what some op needs is held. Under the lock. */
static int advance(struct run *r, size_t last, bool streams, struct err *e)
{
    struct model *m = r->p->src;
    for (; r->stream_next <= last; r->stream_next++) {
        size_t i = r->stream_next;
        if ((i == last && streams) || (!r->used[i] && !r->digest))
            continue;
        uint8_t *p = mem_alloc(m->t[i].size, 1, e);
        if (!p)
            return -1;
        if (model_read(m, i, 0, p, m->t[i].size, e)) {
            free(p);
            return -1;
        }
        if (r->digest) {
            struct sha256 s;
            sha256_init(&s);
            sha256_put(&s, p, m->t[i].size);
            sha256_end(&s, r->digest[i]);
        }
        if (r->used[i])
            r->held[i] = p;
        else
            free(p);
    }
    return 0;
}

/* Input i of an op, whole: held, or read into memory that the op owns. */
static int open_side(struct run *r, size_t op_index, unsigned input, enum side to, struct scratch *tmp, struct err *e)
{
    const struct op *op = &r->p->op[op_index];
    struct state *st = &r->st[op_index];
    const size_t i = op->in[input];
    struct source s = {op->src, i, op->src == r->p->src ? r->held[i] : NULL, NULL};
    if (s.held && !s.model->t[i].stored)
        st->a.side[to] = s.held;
    else
        st->a.side[to] = st->side[to] = box_whole(&s, tmp, e);
    return st->a.side[to] ? 0 : -1;
}

static int open_op(struct run *r, size_t i, struct scratch *tmp, struct err *e)
{
    struct op *op = &r->p->op[i];
    struct state *st = &r->st[i];
    st->open = true;
    bool random = r->p->src->random;
    if (!random && op->nin && advance(r, op_last(op, r->p->src), op_streams(op), e))
        return -1;
    if (op->box_data && !(st->a.box_data = mem_alloc(op->boxes, op->box_data, e)))
        return -1;
    if (!op->x->streams && op->nin && open_side(r, i, 0, SIDE_SCALE, tmp, e))
        return -1;
    for (int s = 0; s < SIDE_COUNT; s++)
        if (op->side[s] && open_side(r, i, op->side[s], (enum side)s, tmp, e))
            return -1;
    return 0;
}

static void close_op(struct run *r, size_t i)
{
    struct state *st = &r->st[i];
    for (unsigned k = 0; k < r->p->op[i].nin && r->p->op[i].src == r->p->src; k++) {
        free(r->held[r->p->op[i].in[k]]);
        r->held[r->p->op[i].in[k]] = NULL;
    }
    for (int k = 0; k < SIDE_COUNT; k++) {
        free(st->side[k]);
        st->side[k] = NULL;
    }
    free(st->a.box_data);
    st->a.box_data = NULL;
}

/* Bytes of cols columns of a row of the first input. */
static size_t in_bytes(const struct op *op, uint64_t cols)
{
    return op->flat ? cols : view_row_bytes(&op->view, cols);
}

/* Bytes of a tensor in row-major order: whole elements where it is strided. */
static int read_flat(const struct source *s, uint64_t off, void *p, size_t n, struct scratch *tmp, struct err *e)
{
    const struct tensor *t = &s->model->t[s->index];
    size_t item = row_bytes(t->dtype, 1);
    if (t->stride)
        return strided_range(s, off / item, n / item, p, tmp, e);
    return model_read((struct model *)s->model, s->index, off, p, n, e);
}

static const uint8_t *fetch(struct run *r, const struct claim *c, struct work *w, size_t *stride, struct err *e)
{
    const struct op *op = &r->p->op[c->op];
    size_t i = op->in[0];
    struct model *m = (struct model *)op->src;
    struct source s = {m, i, m == r->p->src ? r->held[i] : NULL, &op->view};
    size_t width = in_bytes(op, c->b.cols);
    *stride = width;
    if (s.held && !s.model->t[i].stored && !op->view.inputs_first) { /* in place */
        size_t pitch = in_bytes(op, op->m.cols);
        *stride = pitch;
        return s.held + (c->b.batch * op->m.rows + c->b.row) * pitch + in_bytes(op, c->b.col);
    }
    uint8_t *p = scratch_get(&w->in, c->b.rows * width, e);
    if (!p)
        return NULL;
    if (op->flat ? read_flat(&s, c->b.col, p, c->b.cols, &w->tmp, e) : box_read(&s, &c->b, p, width, &w->tmp, e))
        return NULL;
    if (!m->random && r->digest && !s.held) {
        if (c->box == 0)
            sha256_init(&r->sha);
        sha256_put(&r->sha, p, c->b.rows * width);
        if (c->box + 1 == op->boxes)
            sha256_end(&r->sha, r->digest[i]);
    }
    return p;
}

/* The matrix of output k of an op: codes that it packs may lie in more dimensions than their weight has. */
static struct matrix out_matrix(const struct op *op, unsigned k, const struct output *o)
{
    if (k || op->coded.packing == PACK_PLAIN)
        return output_matrix(o);
    struct matrix m = view_matrix(&op->coded);
    m.cols = view_row_bytes(&op->coded, m.cols) / row_bytes(o->t.dtype, 1);
    if (op->coded.packing == PACK_ROWS)
        m.rows /= 2;
    return m;
}

/* ---- results --------------------------------------------------------------- */
static int put_results(struct run *r, const struct claim *c, struct work *w, struct err *e)
{
    const struct op *op = &r->p->op[c->op];
    for (unsigned k = 0; r->sink && k < op->nout + op->joins; k++) {
        const struct result *x = &w->result[k];
        const struct output *o = &r->p->out[op->out[k]];
        if (!x->box.rows)
            continue;
        struct drain d = {r->sink, r->slot[op->out[k]], o->t.dtype, o->written ? o->written : o->t.stored,
                          out_matrix(op, k, o)};
        if (op->flat) {
            if (sink_put(r->sink, d.slot, x->box.col, x->p, x->box.cols, e))
                return -1;
            continue;
        }
        if (box_write(&d, &x->box, x->p, x->stride, &w->tmp, e))
            return -1;
    }
    return 0;
}

/* A whole plain tensor from file to file never enters this process. */
static bool by_kernel(const struct run *r, const struct op *op)
{
    return r->sink && !r->sink->ordered && op->src->random && op->x == &xform_copy && op->flat
        && tensor_is_flat(&op->src->t[op->in[0]]) && !op->src->t[op->in[0]].derived;
}

static int copy_by_kernel(struct run *r, const struct claim *c, struct err *e)
{
    const struct op *op = &r->p->op[c->op];
    const struct tensor *t = &op->src->t[op->in[0]];
    const struct model_file *f = &op->src->f[t->file];
    return sink_copy(r->sink, r->slot[op->out[0]], c->b.col, f->fd, f->path, t->off + c->b.col, c->b.cols, e);
}

/* ---- workers ----------------------------------------------------------------- */

static void fail(struct run *r, const struct claim *c, const struct err *e)
{
    if (!r->stop || c->ticket < r->err_ticket) {
        r->err = *e;
        r->err_ticket = c->ticket;
    }
    r->stop = true;
    pthread_cond_broadcast(&r->change);
    pthread_cond_broadcast(&r->idle);
}

/* What the kernel copies is claimed apart: while one worker writes, another one
 * would only wait in the kernel, so a copy is begun when nobody writes or wants
 * to, or (last) when nothing else is left to do. */
static bool claim_copy(struct run *r, struct claim *c, bool last)
{
    struct plan *p = r->p;
    for (; r->copy_op < p->nops; r->copy_op++, r->copy_box = 0)
        if (by_kernel(r, &p->op[r->copy_op]) && r->copy_box < p->op[r->copy_op].boxes
            && !(r->opt->skip_op && r->opt->skip_op[r->copy_op]))
            break;
    if (r->copy_op == p->nops || (!last && (r->writing || r->waiting)))
        return false;
    *c = (struct claim){r->copy_op, 0, r->copy_box, LAST_TICKET, op_box(&p->op[r->copy_op], r->copy_box), !r->writing};
    r->writing = true;
    r->copy_box++;
    return true;
}

/* The next box, or false when there is none or the run stopped. Under the lock. */
static bool claim_next(struct run *r, struct claim *c, struct work *w, struct err *e, int *failed)
{
    *failed = 0;
    for (;;) {
        if (r->stop)
            return false;
        if (claim_copy(r, c, r->op == r->p->nops))
            return true;
        if (r->op == r->p->nops)
            return false;
        struct op *op = &r->p->op[r->op];
        bool skip = (r->opt->skip_op && r->opt->skip_op[r->op]) || by_kernel(r, op);
        if (skip || op->boxes == 0 || r->pass == op->passes) {
            r->op++;
            r->pass = 0;
            r->box = 0;
            continue;
        }
        if (r->pass && r->box == 0 && r->st[r->op].done < op->boxes * r->pass) {
            pthread_cond_wait(&r->change, &r->lock); /* all of the measuring pass is claimed already */
            continue;
        }
        *c = (struct claim){r->op, r->pass, r->box, r->ticket, op_box(op, r->box), false};
        if (!r->st[r->op].open && open_op(r, r->op, &w->tmp, e)) {
            *failed = -1;
            fail(r, c, e); /* at once: nobody may claim another box of this op */
        }
        r->ticket++;
        if (++r->box == op->boxes) {
            r->box = 0;
            r->pass++;
        }
        return true;
    }
}

static void account(struct run *r, const struct claim *c, const struct work *w)
{
    struct op *op = &r->p->op[c->op];
    struct state *st = &r->st[c->op];
    op->done.elems += w->n.elems;
    op->done.n.inexact += w->n.n.inexact;
    op->done.n.flushed += w->n.n.flushed;
    op->done.n.saturated += w->n.n.saturated;
    if (w->amax > st->a.amax)
        st->a.amax = w->amax;
    if (op->nin)
        r->bytes += c->pass ? 0 : c->b.rows * in_bytes(op, c->b.cols);
    st->done++;
}

static int compute(struct run *r, const struct claim *c, const uint8_t *in, size_t stride, struct work *w,
                   struct err *e)
{
    struct op *op = &r->p->op[c->op];
    if (by_kernel(r, op)) {
        w->n.elems = c->b.cols;
        return copy_by_kernel(r, c, e);
    }
    if (!in && op->x->streams && !(in = fetch(r, c, w, &stride, e)))
        return -1;
    return op->x->box(op, &r->st[c->op].a, c->pass, c->box, &c->b, in, stride, w, e);
}

/* Waits for the turn of a box on a pipe; false when an earlier box failed. */
static bool wait_turn(struct run *r, const struct claim *c)
{
    pthread_mutex_lock(&r->lock);
    while (r->turn != c->ticket && !(r->stop && r->err_ticket < c->ticket))
        pthread_cond_wait(&r->change, &r->lock);
    bool mine = r->turn == c->ticket;
    pthread_mutex_unlock(&r->lock);
    return mine;
}

/* A box is finished: it counts. Under the lock. */
static int box_done(struct run *r, const struct claim *c, const struct work *w, struct err *e)
{
    struct op *op = &r->p->op[c->op];
    account(r, c, w);
    if (r->st[c->op].done < op->boxes * op->passes)
        return 0;
    int failed = op->x->finish ? op->x->finish(op, &r->st[c->op].a, e) : 0;
    close_op(r, c->op);
    return failed;
}

/* Results that lie in memory of this worker's own and go out as they are. Boxes
 * of a measuring pass have none: they count at once, others wait for them. */
static bool can_wait(const struct run *r, const struct claim *c, const struct work *w)
{
    const struct op *op = &r->p->op[c->op];
    if (!r->sink || r->sink->ordered || r->opt->threads > LATE_THREADS || by_kernel(r, op)
        || !w->result[0].box.rows)
        return false;
    for (unsigned k = 0; k < op->nout + op->joins; k++)
        if ((w->result[k].box.rows && w->result[k].p != w->out[k].p) || r->p->out[op->out[k]].t.stored || r->p->out[op->out[k]].written)
            return false;
    return true;
}

/* Writes into one file take turns in the kernel, where waiting is wasted. So a
 * worker that would wait puts its box aside, once, and computes another one.
 * Entered and left with the lock held. */
static int write_box(struct run *r, struct claim *c, struct work *w, struct late *l, struct err *e)
{
    if (r->writing && !l->full) {
        struct scratch out[OP_OUT];
        memcpy(out, l->w.out, sizeof out);
        l->c = *c;
        l->w = *w;
        memcpy(w->out, out, sizeof out);
        l->full = true;
        return 0;
    }
    r->waiting++;
    while (r->writing && !r->stop)
        pthread_cond_wait(&r->idle, &r->lock);
    r->waiting--;
    if (r->stop)
        return 0;
    r->writing = true;
    pthread_mutex_unlock(&r->lock);
    int failed = 0;
    const struct claim *at = &l->c;
    if (l->full)
        failed = put_results(r, &l->c, &l->w, e);
    if (!failed && c) {
        at = c;
        failed = put_results(r, c, w, e);
    }
    pthread_mutex_lock(&r->lock);
    r->writing = false;
    pthread_cond_signal(&r->idle);
    if (!failed && l->full)
        failed = box_done(r, at = &l->c, &l->w, e);
    if (!failed && c)
        failed = box_done(r, at = c, w, e);
    l->full = false;
    if (failed)
        fail(r, at, e);
    if (r->p->op[at->op].passes > 1)
        pthread_cond_broadcast(&r->change);
    return failed;
}

/* Entered and left with the lock held. 0 to go on. */
static int one_box(struct run *r, struct claim *c, struct work *w, struct late *l, int failed, struct err *e)
{
    struct op *op = &r->p->op[c->op];
    bool ordered = r->sink && r->sink->ordered;
    const uint8_t *in = NULL;
    size_t stride = 0;
    memset(w->result, 0, sizeof w->result);
    memset(&w->n, 0, sizeof w->n);
    w->amax = 0;
    if (!failed && !r->p->src->random && op->x->streams && !(in = fetch(r, c, w, &stride, e))) {
        failed = -1; /* a stream has one order: read under the lock */
        fail(r, c, e);
    }
    pthread_mutex_unlock(&r->lock);
    if (!failed)
        failed = compute(r, c, in, stride, w, e);
    if (!failed && can_wait(r, c, w)) {
        pthread_mutex_lock(&r->lock);
        return write_box(r, c, w, l, e);
    }
    bool mine = !ordered || wait_turn(r, c);
    if (!failed && mine && !by_kernel(r, op))
        failed = put_results(r, c, w, e);
    pthread_mutex_lock(&r->lock);
    if (c->writes) {
        r->writing = false;
        pthread_cond_signal(&r->idle);
    }
    if (!mine)
        return -1;
    if (failed || box_done(r, c, w, e)) {
        fail(r, c, e);
        return -1;
    }
    r->turn += ordered;
    if (ordered || op->passes > 1)
        pthread_cond_broadcast(&r->change);
    return 0;
}

static void work_free(struct work *w)
{
    scratch_free(&w->in);
    scratch_free(&w->tmp);
    scratch_free(&w->row);
    for (int i = 0; i < OP_OUT; i++)
        scratch_free(&w->out[i]);
    for (int i = 0; i < 2; i++)
        scratch_free(&w->f32[i]), scratch_free(&w->whole[i]);
}

static void *worker(void *arg)
{
    struct run *r = arg;
    struct work w = {.k = r->k};
    struct late l = {0};
    struct claim c;
    struct err e = {0};
    int failed;
    pthread_mutex_lock(&r->lock);
    while (claim_next(r, &c, &w, &e, &failed))
        if (one_box(r, &c, &w, &l, failed, &e))
            break;
    while (l.full && !r->stop)
        if (write_box(r, NULL, &w, &l, &e))
            break;
    r->working--;
    pthread_cond_broadcast(&r->change);
    pthread_mutex_unlock(&r->lock);
    work_free(&w);
    for (int i = 0; i < OP_OUT; i++)
        scratch_free(&l.w.out[i]);
    return NULL;
}

static void report(struct run *r)
{
    struct progress p = {r->bytes, r->p->bytes_in, ""};
    size_t i = r->op < r->p->nops ? r->op : r->p->nops - 1;
    if (r->p->nops)
        p.name = r->p->src->t[r->p->op[i].place].name;
    pthread_mutex_unlock(&r->lock);
    r->opt->progress(r->opt->progress_ctx, &p);
    pthread_mutex_lock(&r->lock);
}

static void watch(struct run *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->working) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += 200000000;
        t.tv_sec += t.tv_nsec / 1000000000;
        t.tv_nsec %= 1000000000;
        struct timespec now = {0, 0};
        while (r->working && (now.tv_sec < t.tv_sec || (now.tv_sec == t.tv_sec && now.tv_nsec < t.tv_nsec))) {
            pthread_cond_timedwait(&r->change, &r->lock, &t);
            clock_gettime(CLOCK_REALTIME, &now);
        }
        if (r->opt->progress)
            report(r);
    }
    pthread_mutex_unlock(&r->lock);
}

static void start_workers(struct run *r)
{
    pthread_t *t = calloc(r->opt->threads, sizeof *t);
    unsigned started = 0;
    for (; t && started < r->opt->threads; started++)
        if (pthread_create(&t[started], NULL, worker, r))
            break;
    pthread_mutex_lock(&r->lock);
    r->working -= r->opt->threads - started;
    if (!started)
        fail(r, &(struct claim){0}, &(struct err){ERR_SYSTEM, "cannot start a thread"});
    pthread_mutex_unlock(&r->lock);
    watch(r);
    for (unsigned i = 0; i < started; i++)
        pthread_join(t[i], NULL);
    free(t);
}

int run_plan(struct plan *p, struct sink *sink, const size_t *slot, const struct run_options *opt,
             uint8_t (*digest)[32], struct err *e)
{
    struct run r = {.p = p, .sink = sink, .slot = slot, .opt = opt, .digest = p->src->random ? NULL : digest,
                    .working = opt->threads, .err_ticket = UINT64_MAX};
    r.k = kern_get(e);
    if (!r.k)
        return -1;
    r.st = mem_alloc(p->nops, sizeof *r.st, e);
    r.held = mem_alloc(p->src->n, sizeof *r.held, e);
    r.used = mem_alloc(p->src->n, sizeof *r.used, e);
    int result = r.st && r.held && r.used ? 0 : -1;
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.change, NULL);
    pthread_cond_init(&r.idle, NULL);
    for (size_t i = 0; !result && i < p->nops; i++)
        for (unsigned k = 0; k < p->op[i].nin && p->op[i].src == p->src; k++)
            r.used[p->op[i].in[k]] = true;
    if (!result)
        start_workers(&r);
    if (!result && r.stop) {
        *e = r.err;
        result = -1;
    }
    /* What a stream holds after the last tensor any op wanted. */
    if (!result && !p->src->random && p->src->n
        && (advance(&r, p->src->n - 1, false, e)
            || (!(r.digest && p->src->container == CONTAINER_PACKED) && model_finish(p->src, e))))
        result = -1;
    for (size_t i = 0; r.st && r.held && i < p->nops; i++)
        close_op(&r, i);
    for (size_t i = 0; r.held && i < p->src->n; i++)
        free(r.held[i]);
    free(r.used);
    free(r.held);
    free(r.st);
    pthread_cond_destroy(&r.change);
    pthread_cond_destroy(&r.idle);
    pthread_mutex_destroy(&r.lock);
    return result;
}
