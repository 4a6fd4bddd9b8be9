#include "calibrate/error.h"

#include "quantizers/values.h"

#include <math.h>
#include <stdlib.h>

double error_mse(const struct error_sums *s) { return s->n ? s->k.se / (double)s->n : 0; }

double error_rel(const struct error_sums *s)
{
    return s->k.se == 0 ? 0 : sqrt(s->k.se / s->k.sx);
}

double error_sqnr(const struct error_sums *s)
{
    return s->k.se == 0 ? INFINITY : 10 * log10(s->k.sx / s->k.se);
}

double error_cosine(const struct error_sums *s)
{
    return s->k.se == 0 ? 1 : s->k.sxy / sqrt(s->k.sx * s->k.sy);
}

static void add_kern(struct kern_error *to, const struct kern_error *k)
{
    to->se += k->se;
    to->sx += k->sx;
    to->sxy += k->sxy;
    to->sy += k->sy;
    to->equal += k->equal;
    if (k->max > to->max || isnan(k->max))
        to->max = k->max;
}

void error_add(struct error_sums *to, const struct error_sums *s)
{
    to->n += s->n;
    to->saturated += s->saturated;
    to->flushed += s->flushed;
    add_kern(&to->k, &s->k);
}

/* What one op compares, beside its own inputs. */
struct partner {
    struct model *a;
    size_t weight;
    const struct scheme *scheme;
    size_t scale;
    uint8_t *side;             /* the reference's scales, read once */
    pthread_mutex_t *lock;
    struct tensor_error *out;
};
struct box_error {
    struct error_sums sums;
    struct error_worst worst;
};

static int partner_side(struct partner *p, struct work *w, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(p->lock);
    if (p->scheme && !p->side) {
        const struct tensor *t = &p->a->t[p->scale];
        struct matrix m = tensor_matrix(t);
        size_t width = row_bytes(t->dtype, m.cols);
        struct source s = {p->a, p->scale, NULL};
        p->side = mem_alloc(m.batch * m.rows, width, e);
        for (uint64_t i = 0; p->side && !r && i < m.batch; i++)
            r = box_read(&s, &(struct box){i, 0, m.rows, 0, m.cols}, p->side + i * m.rows * width, width, &w->tmp, e);
        r = p->side ? r : -1;
    }
    pthread_mutex_unlock(p->lock);
    return r;
}

/* The largest code, and a reference beyond what rounds to it: as the encoders
 * count (kern.h). E4M3: more than 464/448 of the value, INT8: at least 127.5/127. */
static uint64_t count_saturated(const uint8_t *q, enum dtype t, const float *x, const float *y, size_t n)
{
    uint64_t count = 0;
    if (t == DT_I8)
        for (size_t i = 0; i < n; i++)
            count += (q[i] == 0x7f || q[i] == 0x80 || q[i] == 0x81)
                   & ((double)fabsf(x[i]) * 127 >= (double)fabsf(y[i]) * 127.5) & (y[i] != 0);
    else
        for (size_t i = 0; i < n; i++)
            count += ((q[i] & 0x7f) == 0x7e) & ((double)fabsf(x[i]) * 448 > (double)fabsf(y[i]) * 464);
    return count;
}

static uint64_t count_flushed(const float *x, const float *y, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (y[i] == 0) & (x[i] != 0);
    return count;
}

/* One side of the comparison: rows of raw bytes to rows of FP32. */
struct side {
    struct values v;
    const uint8_t *in;
    size_t stride;
    float *f, *scale;
};

static const uint8_t *side_row(const struct side *s, const struct box *b, uint64_t r, const struct kern *k)
{
    size_t block;
    const uint8_t *q = s->in + r * s->stride;
    values_scales(&s->v, b->batch, b->row + r, b->col, b->cols, s->scale, &block);
    values_row(&s->v, k, q, b->cols, s->scale, block, s->f);
    return q;
}

static void close_blocks(struct box_error *out, struct kern_error *block, size_t n, const struct box *b, uint64_t row)
{
    for (size_t i = 0; i < n; i++) {
        struct error_sums s = {.k = block[i]};
        double rel = error_rel(&s);
        if (rel > out->worst.rel || (isnan(rel) && !isnan(out->worst.rel)))
            out->worst = (struct error_worst){rel, b->batch, row, b->col + i * ERROR_BLOCK};
        add_kern(&out->sums.k, &block[i]);
        block[i] = (struct kern_error){0};
    }
}

static int compare_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                       const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass;
    struct partner *p = op->ctx;
    struct box_error *out = (struct box_error *)a->box_data + index;
    const struct tensor *ta = &p->a->t[p->weight], *tb = &op->src->t[op->in[0]];
    size_t width = row_bytes(ta->dtype, b->cols), blocks = ceil_div(b->cols, ERROR_BLOCK);
    uint8_t *raw = scratch_get(&w->out[0], b->rows * width, e);
    float *f = scratch_get(&w->f32[0], b->cols * 16 + 64, e);
    struct kern_error *block = scratch_get(&w->f32[1], blocks * sizeof *block, e);
    struct source sa = {p->a, p->weight, NULL};
    if (!raw || !f || !block || partner_side(p, w, e) || box_read(&sa, b, raw, width, &w->tmp, e))
        return -1;
    struct side x = {{ta, p->scheme, p->side, p->scheme ? p->a->t[p->scale].dtype : DT_F32}, raw, width, f,
                     f + b->cols};
    struct side y = {{tb, op->from, a->side, op->from ? op->src->t[op->in[1]].dtype : DT_F32}, in, stride,
                     f + 2 * b->cols, f + 3 * b->cols};
    memset(block, 0, blocks * sizeof *block);
    out->worst.rel = -1;
    for (size_t r = 0; r < b->rows; r++) {
        side_row(&x, b, r, w->k);
        const uint8_t *q = side_row(&y, b, r, w->k);
        for (size_t i = 0; i < blocks; i++) {
            size_t c = i * ERROR_BLOCK;
            w->k->error(x.f + c, y.f + c, min_u64(ERROR_BLOCK, b->cols - c), &block[i]);
        }
        out->sums.flushed += count_flushed(x.f, y.f, b->cols);
        if (op->from)
            out->sums.saturated += count_saturated(q, tb->dtype, x.f, y.f, b->cols);
        if ((r + 1) % ERROR_BLOCK == 0 || r + 1 == b->rows)
            close_blocks(out, block, blocks, b, b->row + r / ERROR_BLOCK * ERROR_BLOCK);
    }
    out->sums.n = b->rows * b->cols;
    return 0;
}

static int compare_bytes(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                         const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass;
    struct partner *p = op->ctx;
    struct box_error *out = (struct box_error *)a->box_data + index;
    size_t width = op->flat ? b->cols : row_bytes(p->a->t[p->weight].dtype, b->cols);
    uint8_t *raw = scratch_get(&w->out[0], b->rows * width, e);
    struct source sa = {p->a, p->weight, NULL};
    if (!raw || (op->flat ? model_read(p->a, p->weight, b->col, raw, width, e)
                          : box_read(&sa, b, raw, width, &w->tmp, e)))
        return -1;
    out->worst.rel = -1;
    out->sums.n = b->rows * width;
    for (size_t r = 0; r < b->rows; r++)
        for (size_t i = 0; i < width; i++)
            out->sums.k.equal += raw[r * width + i] == in[r * stride + i];
    return 0;
}

/* Boxes are combined in order, so the figures do not depend on threads. */
static int compare_finish(struct op *op, struct active *a, struct err *e)
{
    (void)e;
    struct partner *p = op->ctx;
    const struct box_error *box = a->box_data;
    for (uint64_t i = 0; i < op->boxes; i++) {
        error_add(&p->out->sums, &box[i].sums);
        double rel = box[i].worst.rel;
        if (rel > p->out->worst.rel || (isnan(rel) && !isnan(p->out->worst.rel)))
            p->out->worst = box[i].worst;
    }
    free(p->side);
    p->side = NULL;
    return 0;
}

static const struct xform xform_compare = {"compare", true, compare_box, compare_finish};
static const struct xform xform_bytes = {"compare bytes", true, compare_bytes, compare_finish};

static int add_pair(struct plan *p, struct error_report *r, const struct grouping *ga, struct model *a, size_t ia,
                    size_t ib, pthread_mutex_t *lock, struct err *e)
{
    const struct tensor *ta = &a->t[ia], *tb = &p->src->t[ib];
    const struct group *xa = ga->part[ia] == PART_WEIGHT ? &ga->g[ga->group[ia]] : NULL;
    const struct group *xb = p->group.part[ib] == PART_WEIGHT ? &p->group.g[p->group.group[ib]] : NULL;
    char sa[256], sb[256];
    if (ta->rank != tb->rank || memcmp(ta->dim, tb->dim, ta->rank * sizeof *ta->dim))
        return err_set(e, ERR_INPUT, "tensor '%s' has shape %s in %s and %s in %s", ta->name, tensor_shape(ta, sa),
                       a->path, tensor_shape(tb, sb), p->src->path);
    bool numbers = values_readable(ta->dtype, xa ? xa->scheme : NULL)
                && values_readable(tb->dtype, xb ? xb->scheme : NULL);
    if (!numbers && (ta->dtype != tb->dtype || xa || xb))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s in %s and %s in %s: these cannot be compared", ta->name,
                       dtype_name(ta->dtype), a->path, dtype_name(tb->dtype), p->src->path);
    struct op *op = plan_op(p, numbers ? &xform_compare : &xform_bytes, e);
    struct partner *x = arena_alloc(&p->mem, sizeof *x, e);
    if (!op || !x)
        return -1;
    struct tensor_error *t = &r->t[r->n++];
    *t = (struct tensor_error){ta->name, ta, tb, xb ? xb->scheme : NULL, !numbers, {0}, {-1, 0, 0, 0}};
    *x = (struct partner){a, ia, xa ? xa->scheme : NULL, xa ? xa->scale : 0, NULL, lock, t};
    op->ctx = x;
    op->in[0] = ib;
    op->nin = 1;
    if (xb) {
        op->in[1] = xb->scale;
        op->nin = 2;
        op->from = xb->scheme;
    }
    op->box_data = sizeof(struct box_error);
    op->m = tensor_matrix(tb);
    if (!numbers && tensor_is_flat(ta) && tensor_is_flat(tb)) {
        op->flat = true;
        op->m = (struct matrix){1, 1, tb->size};
        return op_cut(op, &(struct grain){1, 1, DT_U8, NULL, NULL, !p->src->random}, e);
    }
    /* Panels must hold whole blocks of both sides, and whole 128-column blocks of the report. */
    uint64_t cols = (xa && !xa->scheme->block_cols) || (xb && !xb->scheme->block_cols) ? 0 : ERROR_BLOCK;
    struct grain g = {ERROR_BLOCK, cols, row_bytes(ta->dtype, 256) > row_bytes(tb->dtype, 256) ? ta->dtype : tb->dtype,
                      grain_of(tb), grain_of(ta), op_streams(op) && !p->src->random};
    return op_cut(op, &g, e);
}

static int list(const char ***names, size_t *n, struct arena *mem, size_t max, const char *name, struct err *e)
{
    if (!*names && !(*names = arena_array(mem, max, sizeof **names, e)))
        return -1;
    (*names)[(*n)++] = name;
    return 0;
}

static int by_arrival(const void *a, const void *b)
{
    size_t i = op_last(a), j = op_last(b);
    return (i > j) - (i < j);
}

static int make_pairs(struct plan *p, struct error_report *r, struct grouping *ga, struct model *a,
                      const struct rules *rules, pthread_mutex_t *lock, struct err *e)
{
    struct model *b = p->src;
    if (grouping_read(a, true, ga, e) || grouping_read(b, true, &p->group, e))
        return -1;
    r->t = arena_array(&r->mem, b->n, sizeof *r->t, e);
    if (!r->t)
        return -1;
    for (size_t i = 0; i < b->n; i++) {
        size_t j;
        if (p->group.part[i] == PART_SCALE || p->group.part[i] == PART_ZERO
            || rules_match(rules, b->t[i].name) == ACTION_DROP)
            continue;
        if (!map_find(&a->by_name, b->t[i].name, &j) || ga->part[j] == PART_SCALE || ga->part[j] == PART_ZERO) {
            if (list(&r->only_b, &r->nonly_b, &r->mem, b->n, b->t[i].name, e))
                return -1;
        } else if (add_pair(p, r, ga, a, j, i, lock, e)) {
            return -1;
        }
    }
    for (size_t i = 0; i < a->n; i++) {
        size_t j;
        if (ga->part[i] != PART_SCALE && ga->part[i] != PART_ZERO && !map_find(&b->by_name, a->t[i].name, &j)
            && rules_match(rules, a->t[i].name) != ACTION_DROP
            && list(&r->only_a, &r->nonly_a, &r->mem, a->n, a->t[i].name, e))
            return -1;
    }
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = 0; k < p->op[i].nin; k++)
            p->bytes_in += b->t[p->op[i].in[k]].size;
    if (p->nops)
        qsort(p->op, p->nops, sizeof *p->op, by_arrival);
    return 0;
}

int error_measure(struct error_report *r, struct model *a, struct model *b, const struct rules *rules,
                  const struct run_options *opt, struct err *e)
{
    *r = (struct error_report){0};
    struct plan p = {.src = b};
    struct grouping ga;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (!a->random)
        return err_set(e, ERR_INPUT, "%s: the reference of a comparison must be a file or a directory, not a pipe or "
                       "compressed (--spool keeps a temporary copy)", a->path);
    int result = make_pairs(&p, r, &ga, a, rules, &lock, e) || run_plan(&p, NULL, NULL, opt, NULL, e) ? -1 : 0;
    for (size_t i = 0; i < p.nops; i++)
        if (p.op[i].ctx)
            free(((struct partner *)p.op[i].ctx)->side);
    plan_free(&p);
    if (result)
        error_free(r);
    return result;
}

void error_free(struct error_report *r)
{
    arena_free(&r->mem);
    *r = (struct error_report){0};
}
