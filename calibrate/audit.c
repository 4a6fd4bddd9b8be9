#include "calibrate/audit.h"

#include "formats/names.h"
#include "quantizers/plan_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *severity_name(enum severity s)
{
    static const char *const name[] = {"note", "warning", "error"};
    return name[s];
}

int audit_add(struct audit *a, enum severity s, const char *rule, const char *tensor, const struct place *at, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *says = n < 0 ? NULL : arena_alloc(&a->mem, (size_t)n + 1, e);
    if (!says)
        return n < 0 ? err_set(e, ERR_SYSTEM, "cannot format a string") : -1;
    va_start(ap, fmt);
    vsnprintf(says, (size_t)n + 1, fmt, ap);
    va_end(ap);
    if (mem_grow((void **)&a->f, &a->cap, a->n + 1, sizeof *a->f, e))
        return -1;
    struct finding *f = &a->f[a->n];
    *f = (struct finding){s, rule, tensor ? arena_strdup(&a->mem, tensor, e) : NULL, at ? *at : NO_PLACE, says};
    if (tensor && !f->tensor)
        return -1;
    a->count[s]++;
    a->n++;
    return 0;
}

static int worst_first(const void *a, const void *b)
{
    const struct finding *x = a, *y = b;
    const int by_tensor = strcmp(x->tensor ? x->tensor : "", y->tensor ? y->tensor : "");
    const int by_rule = strcmp(x->rule, y->rule);
    return x->severity != y->severity ? (x->severity > y->severity ? -1 : 1) : by_tensor ? by_tensor : by_rule ? by_rule : strcmp(x->says, y->says);
}

void audit_sort(struct audit *a)
{
    if (a->n)
        qsort(a->f, a->n, sizeof *a->f, worst_first);
}

void audit_free(struct audit *a)
{
    free(a->f);
    arena_free(&a->mem);
    *a = (struct audit){0};
}

/* ---- one pass over the bytes ------------------------------------------------------------------ */
enum { LONG_ROW = 1 << 20 };         /* columns */
struct looking;
struct looked {                      /* a tensor that stands for itself, or the codes of a weight */
    struct looking *all;
    const char *name;
    const struct tensor *t;
    const struct group *g;
    struct view view;
    struct look *look;               /* of a weight, from its first box to its last */
    uint64_t n, odd;                 /* values; NaN and Inf among them, the first of which: */
    struct place first_odd;
    double sum;                      /* of squares */
    float amax;
    struct place at_amax;
    uint64_t rows, same_rows;        /* rows of more than one value that are all the same and not 0 */
    struct place first_same;
};
struct look {
    struct inspector inspector;
    struct inspection says;
};
struct looking {
    struct audit *a;
    const struct model *m;
    pthread_mutex_t lock;
};
struct box_looked {
    double sum;
};

static void earliest(struct place *to, const struct place *p)
{
    const bool sooner = p->batch != to->batch ? p->batch < to->batch : p->row != to->row ? p->row < to->row : p->col < to->col;
    if (sooner)
        *to = *p;
}

/* A row with values that are no numbers, one by one; the largest magnitude of the others. */
static float odd_row(struct looked *x, const struct box *b, uint64_t r, const float *f)
{
    float amax = 0;
    for (uint64_t c = 0; c < b->cols; c++)
        if (!isfinite(f[c])) {
            if (!x->odd++)
                x->first_odd = (struct place){b->batch, r, b->col + c};
        } else {
            x->sum += (double)f[c] * (double)f[c];
            amax = fmaxf(amax, fabsf(f[c]));
        }
    return amax;
}

static void plain_row(struct looked *x, const struct box *b, uint64_t r, const float *f, bool whole, const struct kern *k)
{
    const bool same = whole && b->cols > 1 && f[0] != 0 && !memcmp(f, f + 1, (b->cols - 1) * sizeof *f);
    struct kern_error sums = {0};
    struct kern_match match = {0};
    float amax;
    k->amax[SRC_F32](f, b->cols * sizeof *f, 1, b->cols, b->cols, &amax);
    if (f32_bits(amax) >= 0x7f800000) {
        amax = odd_row(x, b, r, f);
    } else {
        k->error(f, f, b->cols, b->cols, &sums, &match);
        x->sum += sums.sx;
    }
    for (uint64_t c = 0; amax > x->amax && c < b->cols; c++)
        if (fabsf(f[c]) == amax) {
            x->amax = amax;
            x->at_amax = (struct place){b->batch, r, b->col + c};
        }
    if (same && !x->same_rows++)
        x->first_same = (struct place){b->batch, r, b->col};
    x->rows += b->col == 0;
}

static void merge(struct looked *to, const struct looked *x)
{
    pthread_mutex_lock(&to->all->lock);
    to->odd += x->odd;
    earliest(&to->first_odd, &x->first_odd);
    if (x->amax > to->amax) {
        to->amax = x->amax;
        to->at_amax = x->at_amax;
    } else if (x->amax == to->amax) {
        earliest(&to->at_amax, &x->at_amax);
    }
    to->rows += x->rows;
    to->same_rows += x->same_rows;
    earliest(&to->first_same, &x->first_same);
    pthread_mutex_unlock(&to->all->lock);
}

/* With the first box: a model of 100,000 tensors has few open at a time. */
static int open_look(struct looked *x, const struct values *v, struct err *e)
{
    int r = 0;
    pthread_mutex_lock(&x->all->lock);
    if (!x->look && (!(x->look = mem_alloc(1, sizeof *x->look, e)) || inspect_open(&x->look->inspector, &x->look->says, v, false, e)))
        r = -1;
    pthread_mutex_unlock(&x->all->lock);
    return r;
}

static void close_look(struct looked *x)
{
    if (x->look)
        inspect_free(&x->look->inspector);
    free(x->look);
    x->look = NULL;
}

static int look_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b, const uint8_t *in, size_t stride,
                    struct work *w, struct err *e)
{
    (void)pass;
    struct looked *x = op->ctx, mine = {.first_odd = NO_PLACE, .first_same = NO_PLACE, .at_amax = NO_PLACE};
    uint8_t *rows = scratch_get(&w->row, VALUES_ROW_BYTES(b->cols + 8) + b->cols, e);
    float *f = scratch_get(&w->f32[0], b->cols * 4 + 64, e);
    struct values v;
    if (!rows || !f)
        return -1;
    values_init(&v, op->src, &op->view, op->from, a->side);
    if (op->from && open_look(x, &v, e))
        return -1;
    struct inspector *in_it = op->from && x->look->inspector.to ? &x->look->inspector : NULL;
    void *room = in_it ? scratch_get(&w->out[1], INSPECT_MEMORY(b->cols), e) : rows;
    if (!room)
        return -1;
    const struct values_row memory = values_row_memory(rows, b->cols);
    uint8_t *code = rows + VALUES_ROW_BYTES(b->cols + 8);
    struct inspect_part part;
    if (in_it)
        inspect_begin(&part, in_it, b, room);
    for (uint64_t r = 0; r < b->rows; r++) {
        bool clean;
        if (in_it) {
            values_codes(&op->view, in + r * stride, b->cols, code);
            inspect_row(in_it, &part, &v, b, b->row + r, code, NULL);
        }
        if (values_row(&v, w->k, b->batch, b->row + r, b->col, b->cols, in + r * stride, VALUES_NEAREST, false, &memory, f, &clean, e))
            return -1;
        plain_row(&mine, b, b->row + r, f, b->cols == op->m.cols, w->k);
    }
    if (in_it)
        inspect_end(in_it, &part, b);
    ((struct box_looked *)a->box_data)[index].sum = mine.sum;
    merge(x, &mine);
    return 0;
}

/* ---- what they tell ------------------------------------------------------------------------------- */
static bool says_ue8m0(const struct model *m)
{
    return m->config && strstr(m->config, "\"scale_fmt\"") && strstr(m->config, "ue8m0");
}

static int tell_scales(struct audit *a, const struct model *m, const struct looked *x, const struct inspection *l, struct err *e)
{
    const bool labelled = scheme_pow2(x->g->scheme) || says_ue8m0(m);
    if (l->bad_scales
        && audit_add(a, FINDING_ERROR, "bad-scale", x->name, &l->first_bad, e, "%" PRIu64 " of %" PRIu64 " scales are 0, negative or no numbers; the first is %g",
                     l->bad_scales, l->blocks, (double)l->bad))
        return -1;
    if (labelled && l->odd_scales && l->factor > 0
        && audit_add(a, FINDING_ERROR, "odd-scale", x->name, NULL, e, "%" PRIu64 " scales are labelled UE8M0 and are no powers of two, all of them %.9g times one: "
                     "who reads their exponents alone loses that factor", l->odd_scales, (double)l->factor))
        return -1;
    if (labelled && l->odd_scales && !(l->factor > 0)
        && audit_add(a, FINDING_ERROR, "odd-scale", x->name, NULL, e, "%" PRIu64 " of %" PRIu64 " scales are labelled UE8M0 and are no powers of two", l->odd_scales, l->blocks))
        return -1;
    if (l->low_blocks > l->blocks / 2 && x->g->scheme->scale != DT_COUNT
        && audit_add(a, FINDING_WARNING, "low-blocks", x->name, &l->first_low, e, "in %" PRIu64 " of %" PRIu64 " blocks half the scale would have done: a binade is not used",
                     l->low_blocks, l->blocks))
        return -1;
    return l->full_blocks && dtype_table[x->view.elem].block_elems == 1 ? audit_add(a, FINDING_WARNING, "full-block", x->name, &l->first_full, e, "in %" PRIu64 " of %" PRIu64 " blocks more than a quarter of the codes "
                                      "is the largest there is: the scale is too small", l->full_blocks, l->blocks) : 0;
}

/* l: NULL: codes were not looked at */
static int tell_one(struct audit *a, const struct model *m, const struct looked *x, const struct inspection *l, struct err *e)
{
    const double rms = x->n > x->odd ? sqrt(x->sum / (double)(x->n - x->odd)) : 0;
    if (l && l->nan && audit_add(a, FINDING_ERROR, "nan-code", x->name, &l->first_nan, e, "%" PRIu64 " of %" PRIu64 " codes are NaN or Inf", l->nan, l->codes))
        return -1;
    if (x->odd && !(l && (l->nan || l->bad_scales))
        && audit_add(a, FINDING_ERROR, "nan-value", x->name, &x->first_odd, e, "%" PRIu64 " of %" PRIu64 " values are NaN or Inf", x->odd, x->n))
        return -1;
    if (l && tell_scales(a, m, x, l, e))
        return -1;
    const bool matrix = x->view.rank > 1 && x->n >= 256;
    if (matrix && x->amax == 0 && !x->odd)
        return audit_add(a, FINDING_WARNING, "all-zero", x->name, NULL, e, "all %" PRIu64 " values are 0", x->n);
    if (l && l->zero_blocks
        && audit_add(a, FINDING_NOTE, "zero-block", x->name, NULL, e, "%" PRIu64 " of %" PRIu64 " blocks have codes of 0 alone", l->zero_blocks, l->blocks))
        return -1;
    if (matrix && x->same_rows
        && audit_add(a, FINDING_WARNING, "equal-row", x->name, &x->first_same, e, "%" PRIu64 " of %" PRIu64 " rows hold one value only", x->same_rows, x->rows))
        return -1;
    return matrix && rms > 0 && (double)x->amax > 1000 * rms
             ? audit_add(a, FINDING_NOTE, "outlier", x->name, &x->at_amax, e, "%g is %.0f times the root mean square", (double)x->amax, (double)x->amax / rms) : 0;
}

/* ---- all tensors ---------------------------------------------------------------------------------- */
/* Under the lock of the run: findings come one at a time, in any order. */
static int look_finish(struct op *op, struct active *a, struct err *e)
{
    struct looked *x = op->ctx;
    const struct inspection *l = NULL;
    for (uint64_t i = 0; i < op->boxes; i++)
        x->sum += ((const struct box_looked *)a->box_data)[i].sum;
    if (x->look && x->look->inspector.to) {
        struct values v;
        values_init(&v, op->src, &op->view, op->from, a->side);
        inspect_finish(&x->look->inspector, &v);
        l = &x->look->says;
    }
    const int r = tell_one(x->all->a, x->all->m, x, l, e);
    close_look(x);
    return r;
}

static const struct xform xform_look = {"look", true, look_box, look_finish};

static int add_op(struct plan *p, struct looked *x, size_t i, struct err *e)
{
    const struct stored *from;
    struct op *op = plan_op(p, &xform_look, p->src, i, e);
    if (!op || plan_grain(p, x->t, &x->view, &from, e))
        return -1;
    op->ctx = x;
    op_input(op, i);
    op->view = x->view;
    op->from = x->g;
    if (x->g)
        op_sides(op, x->g);
    op->box_data = sizeof(struct box_looked);
    op->m = view_matrix(&x->view);
    /* Whole rows, for what is said of rows; one that is too long to be held is cut. */
    const struct scheme *s = x->g ? x->g->scheme : NULL;
    const uint64_t step = !s ? view_step(&x->view) : s->block_cols ? lcm_u64(view_step(&x->view), s->block_cols) : 0;
    const struct grain g = {1, op->m.cols > LONG_ROW ? step : 0, x->view, from, NULL, false};
    return op_cut(op, &g, e);
}

static int read_all(struct audit *a, struct model *m, const struct grouping *g, const struct audit_options *o, struct err *e)
{
    struct plan p = {.src = m, .group = *g};
    struct looked *x = mem_alloc(m->n + 1, sizeof *x, e);
    struct looking all = {a, m, PTHREAD_MUTEX_INITIALIZER};
    size_t n = 0;
    int r = x ? 0 : -1;
    for (size_t i = 0; !r && i < m->n; i++) {
        const bool weight = grouping_has(g, i) && g->part[i] == PART_WEIGHT;
        const struct group *of = weight ? &g->g[g->group[i]] : NULL;
        const struct view view = of ? of->view : view_of(&m->t[i]);
        a->quantized += weight;
        if ((g->part[i] != PART_PLAIN && !weight) || !values_readable(view.elem, of) || !tensor_elems(&m->t[i]))
            continue;
        x[n] = (struct looked){.all = &all, .name = of ? of->name : m->t[i].name, .t = &m->t[i], .g = of, .view = view, .first_odd = NO_PLACE, .first_same = NO_PLACE,
                               .at_amax = NO_PLACE};
        const struct matrix s = view_matrix(&view);
        x[n].n = s.batch * s.rows * s.cols;
        p.bytes_in += m->t[i].size;
        r = add_op(&p, &x[n++], i, e);
    }
    r = r || run_plan(&p, NULL, NULL, &o->run, NULL, e) ? -1 : 0;
    for (size_t i = 0; i < n; i++)
        close_look(&x[i]);
    p.group = (struct grouping){0};
    plan_free(&p);
    free(x);
    return r;
}

/* ---- tensors that are there twice --------------------------------------------------------------------- */
struct twin {
    uint8_t digest[32];
    size_t i;
};

static int by_digest(const void *a, const void *b)
{
    const struct twin *x = a, *y = b;
    const int d = memcmp(x->digest, y->digest, sizeof x->digest);
    return d ? d : x->i < y->i ? -1 : x->i > y->i;
}

static int find_twins(struct audit *a, struct model *m, const struct grouping *g, const struct audit_options *o, struct err *e)
{
    enum { SMALL = 4096 };           /* bytes below which equal tensors are nothing strange */
    uint8_t (*d)[32] = mem_alloc(m->n + 1, sizeof *d, e);
    struct twin *t = mem_alloc(m->n + 1, sizeof *t, e);
    size_t n = 0;
    int r = !d || !t || run_digest(m, o->run.threads, d, e) ? -1 : 0;
    for (size_t i = 0; !r && i < m->n; i++)
        if (m->t[i].size >= SMALL && m->t[i].rank > 1 && (g->part[i] == PART_PLAIN || g->part[i] == PART_WEIGHT)) {
            memcpy(t[n].digest, d[i], sizeof d[i]);
            t[n++].i = i;
        }
    if (!r && n)
        qsort(t, n, sizeof *t, by_digest);
    for (size_t i = 1; !r && i < n; i++)
        if (!memcmp(t[i].digest, t[i - 1].digest, sizeof t[i].digest))
            r = audit_add(a, FINDING_NOTE, "twin", m->t[t[i].i].name, NULL, e, "has the same bytes as '%s'", m->t[t[i - 1].i].name);
    free(t);
    free(d);
    return r;
}

/* ---- all of it ------------------------------------------------------------------------------------------- */
int audit_model(struct audit *a, struct model *m, const struct audit_options *o, struct err *e)
{
    struct grouping g;
    struct err strict = {0};
    *a = (struct audit){0};
    if (!m->random)
        return err_set(e, ERR_INPUT, "%s: is read twice, which a pipe does not allow (--spool keeps a temporary copy)", m->path);
    if (grouping_expand(m, e))
        return -1;
    int r = 0;
    if (grouping_read(m, true, &g, &strict)) {
        if (strict.kind != ERR_INPUT)
            return err_set(e, strict.kind, "%s", strict.msg);
        r = audit_add(a, FINDING_ERROR, "pairing", NULL, NULL, e, "%s", strict.msg) || grouping_read(m, false, &g, e) ? -1 : 0;
    }
    a->tensors = m->n;
    a->convention = g.convention ? g.convention->name : NULL;
    for (size_t i = 0; i < m->n; i++)
        a->bytes += m->t[i].size;
    r = r || audit_tables(a, m, &g, e) || read_all(a, m, &g, o, e) || (o->digests && find_twins(a, m, &g, o, e)) ? -1 : 0;
    if (r)
        audit_free(a);
    return r;
}
