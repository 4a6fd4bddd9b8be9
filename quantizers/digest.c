/* Digests: SHA-256 per tensor, and one for a model that does not depend on the
 * order of tensors, on shards, on headers or on the container. */
#include "quantizers/run.h"
#include "quantizers/strided.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct model *m;             /* tensors of a model, or */
    struct sink *s;              /* slots of a sink */
    uint8_t (*digest)[32];
    size_t n, next;
    const bool *known;           /* those that are there already, or NULL */
    pthread_mutex_t lock;
    int failed;
    size_t failed_at;
    struct err err;
};

/* Is t the one type of elements for which a checkpoint has none: two rows in a byte there? */
static bool is_paired(const struct tensor *t) { return t->dtype == DT_I4 && t->rank == 2 && t->dim[0] % 2 == 0; }

void digest_rows(struct sha256 *h, const struct tensor *t, const uint8_t *row, size_t rows)
{
    const uint64_t cols = tensor_matrix(t).cols;
    const size_t width = row_bytes(t->dtype, cols);
    uint8_t pair[2048];
    if (!is_paired(t)) {
        sha256_put(h, row, rows * width);
        return;
    }
    for (size_t r = 0; r + 1 < rows; r += 2, row += 2 * width)
        for (uint64_t c = 0; c < cols;) {
            size_t n = 0;
            for (; n < sizeof pair && c < cols; c++) {
                const unsigned at = 4 * (c % 2);
                pair[n++] = (uint8_t)((row[c / 2] >> at & 15) | (row[width + c / 2] >> at & 15) << 4);
            }
            sha256_put(h, pair, n);
        }
}

/* Pieces of a few MiB: contiguous for plain tensors, gathered for strided and packed ones. */
static int tensor_digest(struct model *m, size_t i, uint8_t out[32], struct scratch s[2], struct err *e)
{
    const struct tensor *t = &m->t[i];
    struct matrix x = tensor_matrix(t);
    struct source src = {m, i, NULL, NULL};
    struct sha256 h;
    sha256_init(&h);
    uint64_t piece = 1 << 20;
    if (tensor_is_flat(t) && !is_paired(t)) {
        uint8_t *p = scratch_get(&s[0], piece, e);
        for (uint64_t done = 0; done < t->size; done += piece) {
            size_t n = (size_t)min_u64(piece, t->size - done);
            if (!p || model_read(m, i, done, p, n, e))
                return -1;
            sha256_put(&h, p, n);
        }
    } else if (t->stride) {
        size_t item = row_bytes(t->dtype, 1);
        uint64_t elems = tensor_elems(t), step = 8 * piece / item;
        uint8_t *p = scratch_get(&s[0], step * item, e);
        for (uint64_t done = 0; done < elems; done += step) {
            uint64_t n = min_u64(step, elems - done);
            if (!p || strided_range(&src, done, n, p, &s[1], e))
                return -1;
            sha256_put(&h, p, n * item);
        }
    } else {
        size_t width = row_bytes(t->dtype, x.cols);
        uint64_t tile = t->stored ? lcm_u64(t->stored->layout.tile[0], 2) : 2;
        uint64_t rows = max_u64(4 * piece / max_u64(width, 1) / tile * tile, tile);
        for (uint64_t b = 0; b < x.batch; b++)
            for (uint64_t r = 0; r < x.rows; r += rows) {
                struct box box = {b, r, min_u64(rows, x.rows - r), 0, x.cols};
                uint8_t *p = scratch_get(&s[0], box.rows * width, e);
                if (!p || box_read(&src, &box, p, width, &s[1], e))
                    return -1;
                digest_rows(&h, t, p, box.rows);
            }
    }
    sha256_end(&h, out);
    return 0;
}

static void *digest_worker(void *arg)
{
    struct job *j = arg;
    struct scratch s[2] = {{0}};
    struct err e;
    for (;;) {
        pthread_mutex_lock(&j->lock);
        size_t i = j->failed ? j->n : j->next++;
        pthread_mutex_unlock(&j->lock);
        if (i >= j->n)
            break;
        if (j->known && j->known[i])
            continue;
        if (j->m ? tensor_digest(j->m, i, j->digest[i], s, &e) : sink_digest(j->s, i, j->digest[i], &e)) {
            pthread_mutex_lock(&j->lock);
            if (!j->failed || i < j->failed_at) {
                j->err = e;
                j->failed_at = i;
            }
            j->failed = 1;
            pthread_mutex_unlock(&j->lock);
        }
    }
    scratch_free(&s[0]);
    scratch_free(&s[1]);
    return NULL;
}

static int run_job(struct job *j, unsigned threads, struct err *e)
{
    pthread_t *t = mem_alloc(threads, sizeof *t, e);
    unsigned started = 0;
    if (!t)
        return -1;
    pthread_mutex_init(&j->lock, NULL);
    while (started + 1 < threads && !pthread_create(&t[started], NULL, digest_worker, j))
        started++;
    digest_worker(j);
    for (unsigned i = 0; i < started; i++)
        pthread_join(t[i], NULL);
    pthread_mutex_destroy(&j->lock);
    free(t);
    if (j->failed)
        *e = j->err;
    return j->failed ? -1 : 0;
}

/* A stream: one pass, one thread. */
static int stream_digest(struct model *m, uint8_t (*digest)[32], struct err *e)
{
    struct scratch s[2] = {{0}};
    int r = 0;
    for (size_t i = 0; !r && i < m->n; i++) {
        uint8_t *p;
        if (!m->t[i].stored) {
            r = tensor_digest(m, i, digest[i], s, e);
            continue;
        }
        /* A packed tensor is held, since its rows are scattered. */
        struct scratch held = {0};
        struct matrix x = tensor_matrix(&m->t[i]);
        size_t width = row_bytes(m->t[i].dtype, x.cols);
        p = scratch_get(&held, m->t[i].size, e);
        r = p ? model_read(m, i, 0, p, m->t[i].size, e) : -1;
        struct source src = {m, i, p, NULL};
        struct sha256 h;
        sha256_init(&h);
        for (uint64_t b = 0; !r && b < x.batch; b++) {
            struct box box = {b, 0, x.rows, 0, x.cols};
            uint8_t *q = scratch_get(&s[0], x.rows * width, e);
            r = q ? box_read(&src, &box, q, width, &s[1], e) : -1;
            if (!r)
                digest_rows(&h, &m->t[i], q, x.rows);
        }
        sha256_end(&h, digest[i]);
        scratch_free(&held);
    }
    scratch_free(&s[0]);
    scratch_free(&s[1]);
    return r ? r : model_finish(m, e);
}

int run_digest(struct model *m, unsigned threads, uint8_t (*digest)[32], struct err *e)
{
    if (!m->random)
        return stream_digest(m, digest, e);
    struct job j = {.m = m, .digest = digest, .n = m->n};
    return run_job(&j, threads, e);
}

int run_sink_digest(struct sink *s, unsigned threads, const bool *known, uint8_t (*digest)[32], struct err *e)
{
    struct job j = {.s = s, .digest = digest, .n = s->nslots, .known = known};
    return run_job(&j, threads, e);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int model_digest(const struct model *m, const uint8_t (*digest)[32], const bool *used, uint8_t out[32],
                 struct err *e)
{
    struct arena mem = {0};
    char **line = arena_array(&mem, m->n, sizeof *line, e);
    int r = line ? 0 : -1;
    size_t n = 0;
    for (size_t i = 0; !r && i < m->n; i++) {
        if (used && !used[i])
            continue;
        char hex[65], shape[256];
        struct tensor t = m->t[i];
        if (is_paired(&t)) {
            t.dtype = DT_I8;
            t.dim[0] /= 2;
        }
        sha256_hex(digest[i], hex);
        line[n] = arena_printf(&mem, e, "%s  %s %s %s\n", hex, t.name, dtype_name(t.dtype), tensor_shape(&t, shape));
        r = line[n++] ? 0 : -1;
    }
    if (!r) {
        struct sha256 h;
        qsort(line, n, sizeof *line, by_text);
        sha256_init(&h);
        for (size_t i = 0; i < n; i++)
            sha256_put(&h, line[i], strlen(line[i]));
        sha256_end(&h, out);
    }
    arena_free(&mem);
    return r;
}

int run_model_digest(struct model *m, unsigned threads, uint8_t (**digest)[32], uint8_t whole[32], struct err *e)
{
    *digest = mem_alloc(m->n + 1, sizeof **digest, e);
    if (*digest && !run_digest(m, threads, *digest, e) && !model_digest(m, (const uint8_t (*)[32])*digest, NULL, whole, e))
        return 0;
    free(*digest);
    *digest = NULL;
    return -1;
}
