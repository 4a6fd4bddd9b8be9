#include "calibrate/error.h"

#include "quantizers/encode.h"
#include "quantizers/plan_parts.h"

#include "formats/names.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A NaN has no sign: which one it would have depends on the instructions that made it. */
static double unsigned_nan(double x) { return isnan(x) ? (double)NAN : x; }

double error_mse(const struct error_sums *s) { return s->n ? unsigned_nan(s->k.se / (double)s->n) : 0; }

double error_rel(const struct error_sums *s)
{
    return s->k.se == 0 ? 0 : unsigned_nan(sqrt(s->k.se / s->k.sx));
}

double error_sqnr(const struct error_sums *s)
{
    return s->k.se == 0 ? INFINITY : unsigned_nan(10 * log10(s->k.sx / s->k.se));
}

/* The sum of x * y. */
static double products(const struct kern_error *k) { return (k->sx + k->sy - k->se) / 2; }

double error_gain(const struct error_sums *s) { return s->k.sy > 0 ? products(&s->k) / s->k.sy : 1; }

double error_cosine(const struct error_sums *s)
{
    return s->k.se == 0 ? 1 : unsigned_nan(products(&s->k) / sqrt(s->k.sx * s->k.sy));
}

int error_worst_first(const void *a, const void *b)
{
    const struct tensor_error *x = *(const struct tensor_error *const *)a, *y = *(const struct tensor_error *const *)b;
    const double p = error_rel(&x->sums), q = error_rel(&y->sums);
    if (isnan(p) != isnan(q))
        return isnan(p) ? -1 : 1;
    return p > q ? -1 : p < q ? 1 : strcmp(x->name, y->name);
}

static void add_kern(struct kern_error *to, const struct kern_error *k)
{
    to->se += k->se;
    to->sx += k->sx;
    to->sy += k->sy;
}

void error_add(struct error_sums *to, const struct error_sums *s)
{
    to->n += s->n;
    to->m.saturated += s->m.saturated;
    to->subnormal += s->subnormal;
    to->m.equal += s->m.equal;
    to->m.flushed += s->m.flushed;
    if (s->m.max > to->m.max)
        to->m.max = s->m.max;
    add_kern(&to->k, &s->k);
    add_kern(&to->native, &s->native);
}

/* What one op compares, beside its own inputs. */
struct partner {
    struct model *a;
    size_t weight;
    const struct group *group;
    struct view view;
    uint8_t *side[SIDE_COUNT]; /* what belongs to the reference's codes, read once */
    bool ready;
    pthread_mutex_t *lock;
    struct tensor_error *out;
    bool bf16;                 /* values of the other model are rounded to BF16 */
    bool flush;                /* subnormal codes of the other model are 0 */
    struct inspector *look;    /* of the other model's codes; not opened before the first box */
    bool looks;
};
struct box_error {
    struct error_sums sums;
    struct error_worst worst;
};

static uint8_t *read_whole(struct model *m, size_t i, struct work *w, struct err *e)
{
    const struct tensor *t = &m->t[i];
    struct matrix x = tensor_matrix(t);
    size_t width = row_bytes(t->dtype, x.cols);
    struct source s = {m, i, NULL, NULL};
    uint8_t *p = mem_alloc(x.batch * x.rows, width, e);
    for (uint64_t k = 0; p && k < x.batch; k++)
        if (box_read(&s, &(struct box){k, 0, x.rows, 0, x.cols}, p + k * x.rows * width, width, &w->tmp, e)) {
            free(p);
            return NULL;
        }
    return p;
}

static int partner_sides(struct partner *p, struct work *w, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(p->lock);
    for (int s = 0; p->group && !p->ready && !r && s < SIDE_COUNT; s++) {
        const size_t i = p->group->of[side_part((enum side)s)];
        if (i != NO_TENSOR && !(p->side[s] = read_whole(p->a, i, w, e)))
            r = -1;
    }
    p->ready |= !r;
    pthread_mutex_unlock(p->lock);
    return r;
}

/* Opened with the first box: memory for the blocks of a tensor is held only while it is read. */
static int partner_looks(struct partner *p, const struct values *v, struct err *e)
{
    int r = 0;
    if (!p->looks)
        return 0;
    pthread_mutex_lock(p->lock);
    if (!p->look && (!(p->look = mem_alloc(1, sizeof *p->look, e)) || inspect_open(p->look, p->out->look, v, true, e)))
        r = -1;
    pthread_mutex_unlock(p->lock);
    return r;
}

static void partner_free(struct partner *p)
{
    if (p->look)
        inspect_free(p->look);
    free(p->look);
    p->look = NULL;
    for (int s = 0; s < SIDE_COUNT; s++) {
        free(p->side[s]);
        p->side[s] = NULL;
    }
}

/* Codes of the largest magnitude, and what lies beyond it. */
struct tops {
    uint8_t code[256];
    unsigned n;
    double max, limit;
    bool itself;
};

static struct tops tops_of(const struct values *v)
{
    const struct num *num = num_find(v->view->elem);
    struct tops t = {.n = 0};
    if (!num)
        return t;
    t.max = (double)num->max;
    t.limit = (double)encode_limit(num, &t.itself);
    for (unsigned c = 0; c < (num->bits < 8 ? 1u << num->bits : 256u); c++)
        if ((double)fabsf(v->code[c]) >= t.max)
            t.code[t.n++] = (uint8_t)c;
    return t;
}

/* Values of the largest code, and a reference beyond what rounds to it: as the encoders count. Formats differ in what
 * lies half way between the largest and the next one: encode_limit knows. */
static uint64_t count_saturated(const struct tops *t, const uint8_t *code, const float *x, const float *y, size_t n)
{
    uint64_t count = 0;
    for (unsigned k = 0; k < t->n; k++)
        for (const uint8_t *p = code; (p = memchr(p, t->code[k], n - (size_t)(p - code))); p++) {
            const size_t i = (size_t)(p - code);
            const double a = (double)fabsf(x[i]) * t->max, b = (double)fabsf(y[i]) * t->limit;
            count += (t->itself ? a >= b : a > b) & (y[i] != 0);
        }
    return count;
}

/* One side of the comparison: rows of raw bytes to rows of FP32. */
struct side_rows {
    struct values v;
    const uint8_t *in;
    size_t stride;
    float *f;
    struct values_row row;
};

static int side_row(struct side_rows *s, const struct box *b, uint64_t r, const struct kern *k, struct err *e)
{
    bool clean;
    return values_row(&s->v, k, b->batch, b->row + r, b->col, b->cols, s->in + r * s->stride, VALUES_NEAREST, false,
                      &s->row, s->f, &clean, e);
}

static void close_blocks(struct box_error *out, struct kern_error *block, size_t n, const struct box *b, uint64_t row, struct tensor_error *t)
{
    float *map = t->map ? t->map + (b->batch * (t->map_rows / t->batches) + row / ERROR_BLOCK) * t->map_cols + b->col / ERROR_BLOCK : NULL;
    for (size_t i = 0; i < n; i++) {
        struct error_sums s = {.k = block[i]};
        double rel = error_rel(&s);
        if (rel > out->worst.rel || (isnan(rel) && !isnan(out->worst.rel)))
            out->worst = (struct error_worst){rel, error_gain(&s), b->batch, row, b->col + i * ERROR_BLOCK};
        if (map)
            map[i] = (float)rel;
        add_kern(&out->sums.k, &block[i]);
        block[i] = (struct kern_error){0};
    }
}

/* A row of codes, those that are subnormal as 0; how many there were. */
static uint64_t flush_row(const struct values *v, const uint8_t *in, size_t n, uint8_t *out)
{
    const float least = num_find(v->view->elem)->min_normal;
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const float x = fabsf(v->code[in[i]]);
        const bool subnormal = x > 0 && x < least;
        out[i] = subnormal ? 0 : in[i];
        count += subnormal;
    }
    return count;
}

/* A box of both models, and memory for a row of each. */
struct comparison {
    const struct box *b;
    const struct kern *k;
    struct partner *p;
    struct side_rows x, y;
    struct tops tops;
    struct kern_error *block;  /* one for each ERROR_BLOCK columns */
    size_t blocks;
    uint16_t *half;
    uint8_t *code, *kept;
    struct inspect_part look;
    bool looks;
    struct box_error *out;
};

/* FP8 codes beside plain floating point are compared as they lie, and not by rows of FP32. SRC_COUNT
 * for anything else. */
static enum src plain_source(const struct comparison *c)
{
    const struct view *v = c->x.v.view;
    if (c->p->flush || c->p->bf16 || c->looks || c->x.v.group || v->packing != PACK_PLAIN)
        return SRC_COUNT;
    return v->elem == DT_BF16 ? SRC_BF16 : v->elem == DT_F16 ? SRC_F16 : v->elem == DT_F32 ? SRC_F32 : SRC_COUNT;
}

/* Rows from r on that share their scales, of a block row at most; 0: not that way. */
static size_t compare_codes(struct comparison *c, size_t r, enum src s)
{
    const struct box *b = c->b;
    const uint8_t *x = c->x.in + r * c->x.stride, *q = c->y.in + r * c->y.stride;
    size_t block;
    uint64_t rows;
    if (s == SRC_COUNT || !values_e4m3(&c->y.v, b->batch, b->row + r, b->col, b->cols, &c->y.row, &block, &rows))
        return 0;
    const size_t n = (size_t)min_u64(min_u64(rows, ERROR_BLOCK - r % ERROR_BLOCK), b->rows - r);
    c->k->error_e4m3[s](x, c->x.stride, q, c->y.stride, n, b->cols, block, c->y.row.scale, c->block, &c->out->sums.m);
    return n;
}

static int compare_row(struct comparison *c, const struct op *op, size_t r, struct err *e)
{
    const struct box *b = c->b;
    struct side_rows y = c->y;
    struct error_sums *to = &c->out->sums;
    if (c->p->flush) {
        struct kern_match m = {0};
        if (side_row(&c->x, b, r, c->k, e) || side_row(&y, b, r, c->k, e))
            return -1;
        c->k->error(c->x.f, y.f, b->cols, b->cols, &to->native, &m);
        to->subnormal += flush_row(&y.v, y.in + r * y.stride, b->cols, c->kept);
        y.in = c->kept;
        y.stride = 0;
    }
    if (side_row(&c->x, b, r, c->k, e) || side_row(&y, b, r, c->k, e))
        return -1;
    if (c->p->bf16) {
        c->k->f32_to_bf16(y.f, c->half, b->cols);
        c->k->bf16_to_f32(c->half, y.f, b->cols);
    }
    c->k->error(c->x.f, y.f, b->cols, ERROR_BLOCK, c->block, &to->m);
    if (op->from) {
        values_codes(&op->view, y.in + r * y.stride, b->cols, c->code);
        to->m.saturated += count_saturated(&c->tops, c->code, c->x.f, y.f, b->cols);
        if (c->looks)
            inspect_row(c->p->look, &c->look, &y.v, b, b->row + r, c->code, c->x.f);
    }
    return 0;
}

static int compare_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                       const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass;
    struct partner *p = op->ctx;
    struct comparison c = {.b = b, .k = w->k, .p = p, .blocks = ceil_div(b->cols, ERROR_BLOCK), .out = (struct box_error *)a->box_data + index};
    const size_t width = view_row_bytes(&p->view, b->cols), memory = VALUES_ROW_BYTES(b->cols + 8);
    uint8_t *raw = scratch_get(&w->out[0], b->rows * width, e), *rows = scratch_get(&w->row, 2 * memory + 4 * b->cols + 2, e);
    void *room = p->looks ? scratch_get(&w->out[1], INSPECT_MEMORY(b->cols), e) : rows;
    float *f = scratch_get(&w->f32[0], b->cols * 8 + 64, e);
    c.block = scratch_get(&w->f32[1], c.blocks * sizeof *c.block, e);
    struct source sa = {p->a, p->weight, NULL, &p->view};
    if (!raw || !rows || !room || !f || !c.block || partner_sides(p, w, e) || box_read(&sa, b, raw, width, &w->tmp, e))
        return -1;
    c.x = (struct side_rows){.in = raw, .stride = width, .f = f, .row = values_row_memory(rows, b->cols)};
    c.y = (struct side_rows){.in = in, .stride = stride, .f = f + b->cols, .row = values_row_memory(rows + memory, b->cols)};
    c.half = (uint16_t *)(void *)(rows + 2 * memory);
    c.code = (uint8_t *)(c.half + b->cols);
    c.kept = c.code + b->cols;
    values_init(&c.x.v, p->a, &p->view, p->group, (const uint8_t *const *)p->side);
    values_init(&c.y.v, op->src, &op->view, op->from, a->side);
    c.tops = op->from ? tops_of(&c.y.v) : (struct tops){.n = 0};
    memset(c.block, 0, c.blocks * sizeof *c.block);
    c.out->worst.rel = -1;
    if (partner_looks(p, &c.y.v, e))
        return -1;
    c.looks = p->look && p->look->to;
    if (c.looks)
        inspect_begin(&c.look, p->look, b, room);
    const enum src s = plain_source(&c);
    for (size_t r = 0, n; r < b->rows; r += n) {
        if (!(n = compare_codes(&c, r, s)) && compare_row(&c, op, r, e))
            return -1;
        n += !n;
        if ((r + n) % ERROR_BLOCK == 0 || r + n == b->rows)
            close_blocks(c.out, c.block, c.blocks, b, b->row + r / ERROR_BLOCK * ERROR_BLOCK, p->out);
    }
    c.out->sums.n = b->rows * b->cols;
    if (c.looks)
        inspect_end(p->look, &c.look, b);
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
    struct source sa = {p->a, p->weight, NULL, NULL};
    if (!raw || (op->flat ? model_read(p->a, p->weight, b->col, raw, width, e)
                          : box_read(&sa, b, raw, width, &w->tmp, e)))
        return -1;
    out->worst.rel = -1;
    out->sums.n = b->rows * width;
    for (size_t r = 0; r < b->rows; r++)
        for (size_t i = 0; i < width; i++)
            out->sums.m.equal += raw[r * width + i] == in[r * stride + i];
    return 0;
}

/* Boxes are combined in order, so the figures do not depend on threads. */
static int compare_finish(struct op *op, struct active *a, struct err *e)
{
    (void)e;
    struct partner *p = op->ctx;
    if (p->look && p->look->to) {
        struct values v;
        values_init(&v, op->src, &op->view, op->from, a->side);
        inspect_finish(p->look, &v);
    } else {
        p->out->look = NULL;
    }
    const struct box_error *box = a->box_data;
    for (uint64_t i = 0; i < op->boxes; i++) {
        error_add(&p->out->sums, &box[i].sums);
        double rel = box[i].worst.rel;
        if (rel > p->out->worst.rel || (isnan(rel) && !isnan(p->out->worst.rel)))
            p->out->worst = box[i].worst;
    }
    partner_free(p);
    return 0;
}

static const struct xform xform_compare = {"compare", true, compare_box, compare_finish};
static const struct xform xform_bytes = {"compare bytes", true, compare_bytes, compare_finish};

/* A tensor that stands for itself, or the codes of a weight, by the name of the weight. */
struct item {
    size_t i;
    const struct group *g;
    struct view view;
    const char *name;
};

/* False for what belongs to a weight and is no weight. */
static bool item_of(const struct model *m, const struct grouping *g, size_t i, struct item *x)
{
    if (g->part[i] != PART_PLAIN && g->part[i] != PART_WEIGHT)
        return false;
    *x = (struct item){i, NULL, view_of(&m->t[i]), m->t[i].name};
    if (g->part[i] == PART_WEIGHT) {
        x->g = &g->g[g->group[i]];
        x->view = x->g->view;
        x->name = x->g->name;
    }
    return true;
}

/* A plain tensor beside a weight whose plain form has its inputs first is seen as that weight is. */
static void turn(struct item *x, const struct item *other, const struct tensor *t)
{
    if (!x->g && other->g && other->g->inputs_first && t->rank > 1 && !t->stored)
        x->view = view_turned(t);
}

/* Codes whose values are normal, or 0: what a core without subnormals sees. */
static bool is_fp8(enum dtype t)
{
    return t == DT_F8_E4M3 || t == DT_F8_E5M2 || t == DT_F8_E4M3FNUZ || t == DT_F8_E5M2FNUZ;
}

static int add_pair(struct plan *p, struct error_report *r, struct model *a, struct item *ia, struct item *ib, unsigned how,
                    pthread_mutex_t *lock, struct err *e)
{
    const struct tensor *ta = &a->t[ia->i], *tb = &p->src->t[ib->i];
    const struct stored *from_a, *from_b;
    char sa[256], sb[256];
    turn(ia, ib, ta);
    turn(ib, ia, tb);
    if (ia->view.rank != ib->view.rank || memcmp(ia->view.dim, ib->view.dim, ia->view.rank * sizeof *ia->view.dim))
        return err_set(e, ERR_INPUT, "tensor '%s' has shape %s in %s and %s in %s", ia->name, view_shape(&ia->view, sa),
                       a->path, view_shape(&ib->view, sb), p->src->path);
    bool numbers = values_readable(ia->view.elem, ia->g) && values_readable(ib->view.elem, ib->g);
    if (!numbers && (ta->dtype != tb->dtype || ia->g || ib->g))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s in %s and %s in %s: these cannot be compared", ia->name,
                       dtype_name(ta->dtype), a->path, dtype_name(tb->dtype), p->src->path);
    struct op *op = plan_op(p, numbers ? &xform_compare : &xform_bytes, p->src, ib->i, e);
    struct partner *x = arena_alloc(&p->mem, sizeof *x, e);
    if (!op || !x)
        return -1;
    struct tensor_error *t = &r->t[r->n++];
    *t = (struct tensor_error){.name = ib->name, .a = ta, .b = tb, .scheme = ib->g ? ib->g->scheme : NULL, .bytes = !numbers, .worst.rel = -1};
    const bool looks = how & ERROR_INSPECT && ib->g && numbers;
    if (looks && !(t->look = arena_alloc(&r->mem, sizeof *t->look, e)))
        return -1;
    const struct matrix m = view_matrix(&ib->view);
    t->map_cols = ceil_div(m.cols, ERROR_BLOCK);
    t->map_rows = m.batch * ceil_div(m.rows, ERROR_BLOCK);
    t->batches = m.batch;
    if (how & ERROR_MAP && numbers && !(t->map = arena_array(&r->mem, t->map_rows * t->map_cols + 1, sizeof *t->map, e)))
        return -1;
    *x = (struct partner){.a = a, .weight = ia->i, .group = ia->g, .view = ia->view, .lock = lock, .out = t,
                          .flush = how & ERROR_FLUSH && ib->g && is_fp8(ib->view.elem), .looks = looks, .bf16 = how & ERROR_BF16};
    op->ctx = x;
    op_input(op, ib->i);
    op->view = ib->view;
    op->from = ib->g;
    if (ib->g)
        op_sides(op, ib->g);
    op->box_data = sizeof(struct box_error);
    op->m = view_matrix(&ib->view);
    if (!numbers && tensor_is_flat(ta) && tensor_is_flat(tb)) {
        op->flat = true;
        op->m = (struct matrix){1, 1, tb->size};
        return op_cut(op, &(struct grain){1, 1, {.elem = DT_U8}, NULL, NULL, !p->src->random}, e);
    }
    /* Panels must hold whole blocks of both sides, and whole 128-column blocks of the report. */
    uint64_t cols = lcm_u64(ERROR_BLOCK, lcm_u64(view_step(&ia->view), view_step(&ib->view)));
    const struct item *item[] = {ia, ib};
    for (int k = 0; k < 2 && cols; k++) {
        const struct scheme *s = item[k]->g ? item[k]->g->scheme : NULL;
        if (s && s->scale != DT_COUNT)
            cols = s->block_cols ? lcm_u64(cols, s->block_cols) : 0;
    }
    const bool wider = view_row_bytes(&ia->view, 256) > view_row_bytes(&ib->view, 256);
    if (plan_grain(p, tb, &ib->view, &from_b, e) || plan_grain(p, ta, &ia->view, &from_a, e))
        return -1;
    struct grain g = {ERROR_BLOCK, cols, wider ? ia->view : ib->view, from_b, from_a, op_streams(op) && !p->src->random};
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
    const struct op *x = a, *y = b;
    size_t i = op_last(x, x->src), j = op_last(y, y->src);
    return (i > j) - (i < j);
}

/* The items of a by name. */
static int index_items(const struct model *a, const struct grouping *g, struct map *map, struct err *e)
{
    struct item x;
    for (size_t i = 0; i < a->n; i++)
        if (item_of(a, g, i, &x) && map_add(map, x.name, i, e) < 0)
            return -1;
    return 0;
}

static int find_pairs(struct plan *p, struct error_report *r, const struct grouping *ga, struct model *a,
                      struct map *in_a, const struct rules *rules, unsigned how, pthread_mutex_t *lock, struct err *e)
{
    struct model *b = p->src;
    struct map in_b = {0};
    struct item xa, xb;
    size_t j;
    int bad = index_items(b, &p->group, &in_b, e);
    for (size_t i = 0; !bad && i < b->n; i++) {
        if (!item_of(b, &p->group, i, &xb) || rules_match(rules, xb.name) == ACTION_DROP)
            continue;
        if (!map_find(in_a, xb.name, &j))
            bad = list(&r->only_b, &r->nonly_b, &r->mem, b->n, xb.name, e);
        else
            bad = !item_of(a, ga, j, &xa) || add_pair(p, r, a, &xa, &xb, how, lock, e);
    }
    for (size_t i = 0; !bad && i < a->n; i++)
        if (item_of(a, ga, i, &xa) && !map_find(&in_b, xa.name, &j) && rules_match(rules, xa.name) != ACTION_DROP)
            bad = list(&r->only_a, &r->nonly_a, &r->mem, a->n, xa.name, e);
    map_free(&in_b);
    return bad ? -1 : 0;
}

static int make_pairs(struct plan *p, struct error_report *r, struct grouping *ga, struct model *a,
                      const struct rules *rules, unsigned how, pthread_mutex_t *lock, struct err *e)
{
    struct model *b = p->src;
    struct map in_a = {0};
    if (grouping_expand(a, e) || grouping_expand(b, e) || grouping_named(a, true, ga, e)
        || grouping_named(b, true, &p->group, e))
        return -1;
    r->t = arena_array(&r->mem, b->n, sizeof *r->t, e);
    int bad = !r->t || index_items(a, ga, &in_a, e) || find_pairs(p, r, ga, a, &in_a, rules, how, lock, e);
    map_free(&in_a);
    if (bad)
        return -1;
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = 0; k < p->op[i].nin; k++)
            p->bytes_in += b->t[p->op[i].in[k]].size;
    if (p->nops)
        qsort(p->op, p->nops, sizeof *p->op, by_arrival);
    return 0;
}

int error_measure(struct error_report *r, struct model *a, struct model *b, const struct rules *rules, unsigned how,
                  const struct run_options *opt, struct err *e)
{
    *r = (struct error_report){0};
    struct plan p = {.src = b};
    struct grouping ga;
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (!a->random)
        return err_set(e, ERR_INPUT, "%s: the reference of a comparison must be a file or a directory, not a pipe or "
                       "compressed (--spool keeps a temporary copy)", a->path);
    int result = make_pairs(&p, r, &ga, a, rules, how, &lock, e) || run_plan(&p, NULL, NULL, opt, NULL, e) ? -1 : 0;
    for (size_t i = 0; i < p.nops; i++)
        if (p.op[i].ctx)
            partner_free(p.op[i].ctx);
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
