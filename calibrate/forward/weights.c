#include "calibrate/forward/weights.h"

#include "calibrate/each.h"
#include "formats/names.h"
#include "quantizers/box.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int weights_open(struct weights *w, struct model *m, unsigned threads, struct err *e)
{
    *w = (struct weights){.m = m, .threads = threads, .k = kern_get(e)};
    if (!w->k)
        return -1;
    if (!m->random)
        return err_set(e, ERR_INPUT, "%s: weights are read layer by layer, which a pipe does not allow (--spool)", m->path);
    m->names = NAMES_HF;
    if (grouping_expand(m, e) || grouping_named(m, true, &w->g, e))
        return -1;
    for (size_t i = 0; i < w->g.n; i++)
        if (map_add(&w->by_group, w->g.g[i].name, i, e) < 0) {
            weights_close(w);
            return -1;
        }
    return 0;
}

void weights_close(struct weights *w) { map_free(&w->by_group); }

bool weights_have(const struct weights *w, const char *name)
{
    size_t i;
    return map_find(&w->m->by_name, name, &i);
}

/* The tensor that holds weight `name`, and what it is. */
static bool find(const struct weights *w, const char *name, struct layer_matrix *x)
{
    *x = (struct layer_matrix){.of = w};
    if (map_find(&w->m->by_name, name, &x->index)) {
        if (grouping_has(&w->g, x->index) && w->g.part[x->index] == PART_WEIGHT)
            x->group = &w->g.g[w->g.group[x->index]];
    } else { /* a weight whose codes have another name: weight_packed, qweight */
        size_t i;
        if (!map_find(&w->by_group, name, &i))
            return false;
        x->group = &w->g.g[i];
        x->index = x->group->of[PART_WEIGHT];
    }
    x->name = x->group ? x->group->name : w->m->t[x->index].name;
    x->view = x->group ? x->group->view : view_of(&w->m->t[x->index]);
    const struct matrix m = view_matrix(&x->view);
    x->rows = m.batch * m.rows;
    x->cols = m.cols;
    return true;
}

const char *weights_name(const struct weights *w, size_t i)
{
    if (!grouping_has(&w->g, i) || w->g.part[i] == PART_PLAIN)
        return w->m->t[i].name;
    return w->g.part[i] == PART_WEIGHT ? w->g.g[w->g.group[i]].name : NULL;
}

bool weights_shape(const struct weights *w, const char *name, uint64_t *rows, uint64_t *cols)
{
    struct layer_matrix x;
    if (!find(w, name, &x))
        return false;
    *rows = x.rows;
    *cols = x.cols;
    return true;
}

static int find_fit(const struct weights *w, const char *name, uint64_t rows, uint64_t cols, struct layer_matrix *x, struct err *e)
{
    if (!find(w, name, x))
        return err_set(e, ERR_INPUT, "%s: there is no tensor '%s'", w->m->path, name);
    if (x->rows != rows || x->cols != cols || x->view.rank > 2)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is [%llu,%llu], and config.json asks for [%llu,%llu]", w->m->path, x->name,
                       (unsigned long long)x->rows, (unsigned long long)x->cols, (unsigned long long)rows, (unsigned long long)cols);
    return values_readable(x->view.elem, x->group)
             ? 0 : err_set(e, ERR_INPUT, "%s: tensor '%s' is %s, which holds no weights", w->m->path, x->name, dtype_name(x->view.elem));
}

int weight_check(const struct weights *w, const char *name, uint64_t rows, uint64_t cols, struct err *e)
{
    struct layer_matrix x;
    return find_fit(w, name, rows, cols, &x, e);
}

int weight_open(const struct weights *w, const char *name, uint64_t rows, uint64_t cols, struct layer_matrix *x, struct err *e)
{
    struct scratch tmp = {0};
    if (find_fit(w, name, rows, cols, x, e))
        return -1;
    const struct tensor *t = &w->m->t[x->index];
    int r = 0;
    for (int s = 0; x->group && s < SIDE_COUNT && !r; s++) {
        const size_t i = x->group->of[side_part((enum side)s)];
        if (i != NO_TENSOR && !(x->side[s] = box_whole(&(struct source){w->m, i, NULL, NULL}, &tmp, e)))
            r = -1;
    }
    if (!r && (t->stored || t->stride || x->view.inputs_first)) {
        const size_t width = view_row_bytes(&x->view, cols);
        const struct source s = {w->m, x->index, NULL, &x->view};
        x->whole = mem_alloc(rows, width, e);
        r = x->whole ? box_read(&s, &(struct box){0, 0, rows, 0, cols}, x->whole, width, &tmp, e) : -1;
    }
    scratch_free(&tmp);
    if (r)
        weight_close(x);
    return r;
}

void weight_close(struct layer_matrix *x)
{
    for (int s = 0; s < SIDE_COUNT; s++)
        free(x->side[s]);
    free(x->whole);
    memset(x->side, 0, sizeof x->side);
    x->whole = NULL;
}

/* Bands of rows that threads take one after the other. */
enum { BAND = 64 };
struct reading {
    const struct layer_matrix *x;
    uint64_t row, n;
    float *out;
    pthread_mutex_t lock;
    size_t failed;                   /* band whose error err is, or SIZE_MAX */
    struct err err;
};

static int read_band(const struct reading *r, uint64_t row, uint64_t n, float *out, struct err *e)
{
    const struct layer_matrix *x = r->x;
    const size_t width = view_row_bytes(&x->view, x->cols);
    uint8_t *raw = x->whole ? NULL : mem_alloc(n, width, e), *memory = mem_alloc(1, VALUES_ROW_BYTES(x->cols), e);
    struct scratch tmp = {0};
    int bad = (!raw && !x->whole) || !memory ? -1 : 0;
    const uint8_t *in = x->whole ? x->whole + row * width : raw;
    if (!bad && raw)
        bad = box_read(&(struct source){x->of->m, x->index, NULL, &x->view}, &(struct box){0, row, n, 0, x->cols}, raw, width, &tmp, e);
    struct values v;
    values_init(&v, x->of->m, &x->view, x->group, (const uint8_t *const *)x->side);
    for (uint64_t i = 0; !bad && i < n; i++) {
        const struct values_row w = values_row_memory(memory, x->cols);
        bool clean;
        bad = values_row(&v, x->of->k, 0, row + i, 0, x->cols, in + i * width, VALUES_NEAREST, true, &w, out + i * x->cols, &clean, e);
        for (uint64_t c = 0; !bad && c < x->cols; c++)
            if (!isfinite(out[i * x->cols + c]))
                bad = err_set(e, ERR_INPUT, "%s: tensor '%s': element [%llu,%llu] is %g", x->of->m->path, x->name,
                              (unsigned long long)(row + i), (unsigned long long)c, (double)out[i * x->cols + c]);
    }
    scratch_free(&tmp);
    free(memory);
    free(raw);
    return bad;
}

static void band(void *ctx, size_t i)
{
    struct reading *r = ctx;
    struct err e = {0};
    const uint64_t at = i * BAND;
    if (!read_band(r, r->row + at, min_u64(BAND, r->n - at), r->out + at * r->x->cols, &e))
        return;
    pthread_mutex_lock(&r->lock);
    if (i < r->failed) {
        r->failed = i;
        r->err = e;
    }
    pthread_mutex_unlock(&r->lock);
}

int weight_rows(const struct layer_matrix *x, uint64_t row, uint64_t n, float *out, struct err *e)
{
    struct reading r = {.x = x, .row = row, .n = n, .out = out, .failed = SIZE_MAX};
    pthread_mutex_init(&r.lock, NULL);
    each(x->of->threads, ceil_div(n, BAND), band, &r);
    pthread_mutex_destroy(&r.lock);
    if (r.failed != SIZE_MAX)
        *e = r.err;
    return r.failed != SIZE_MAX ? -1 : 0;
}

float *weight_whole(const struct weights *w, const char *name, uint64_t rows, uint64_t cols, struct err *e)
{
    struct layer_matrix x;
    if (weight_open(w, name, rows, cols, &x, e))
        return NULL;
    float *out = mem_alloc(rows, cols * sizeof *out, e);
    if (out && weight_rows(&x, 0, rows, out, e)) {
        free(out);
        out = NULL;
    }
    weight_close(&x);
    return out;
}
