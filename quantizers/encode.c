/* Encode: floating-point weights to a scheme's codes and scales.
 *
 * A box is a stripe of whole block rows (or a panel of whole blocks).  It is
 * worked through in panels of columns that fit the second-level cache: the
 * largest magnitude of each block first, then its scale, then the codes, so
 * that the second visit finds the data in cache. */
#include "quantizers/encode.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL = 2048 };

static int src_of(enum dtype t, enum src *s)
{
    switch (t) {
    case DT_BF16: *s = SRC_BF16; return 1;
    case DT_F16: *s = SRC_F16; return 1;
    case DT_F32: *s = SRC_F32; return 1;
    default: return 0;
    }
}

static float src_value(enum src s, const uint8_t *row, size_t c)
{
    uint16_t h;
    float f;
    if (s == SRC_F32)
        return memcpy(&f, row + 4 * c, 4), f;
    memcpy(&h, row + 2 * c, 2);
    return s == SRC_BF16 ? bf16_decode(h) : f16_decode(h);
}

static const char *tensor_name(const struct op *op) { return op->src->t[op->in[0]].name; }

static int nonfinite_error(const struct op *op, const struct panel *p, const struct box *b, uint64_t row,
                           uint64_t col, struct err *e)
{
    const struct model *m = op->src;
    uint64_t count = 0, at_r = 0, at_c = 0;
    float value = 0;
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->cols; c++) {
            float x = src_value(p->src, p->x + r * p->stride, c);
            if (isfinite(x))
                continue;
            if (!count++) {
                at_r = row + r;
                at_c = col + c;
                value = x;
            }
        }
    return err_set(e, ERR_INPUT, "%s: tensor '%s': element [%s%llu,%llu] is %s (%llu such here); a scale "
                   "cannot be derived from it (--nonfinite=saturate keeps going)",
                   m->f[m->t[op->in[0]].file].path, tensor_name(op), b->batch ? "..," : "",
                   (unsigned long long)at_r, (unsigned long long)at_c,
                   isnan(value) ? "NaN" : value > 0 ? "Inf" : "-Inf", (unsigned long long)count);
}

/* The largest finite magnitude, for blocks that hold NaN or Inf. */
static float finite_amax(const struct panel *p, size_t block)
{
    float amax = 0;
    size_t c0 = block * p->block, c1 = min_u64(c0 + p->block, p->cols);
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = c0; c < c1; c++) {
            float x = fabsf(src_value(p->src, p->x + r * p->stride, c));
            if (isfinite(x) && x > amax)
                amax = x;
        }
    return amax;
}

/* --nonfinite=saturate: the kernels make Inf the largest code and keep NaN,
 * for which integers, FP4 and, where it saturates, HiFloat8 have none. */
static bool no_nan(const struct scheme *s) { return scheme_int(s) || s->elem == DT_F4 || s->elem == DT_HIF8; }

static int refuse_nan(const struct op *op, const struct panel *p, struct err *e)
{
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->cols; c++)
            if (isnan(src_value(p->src, p->x + r * p->stride, c)))
                return err_set(e, ERR_INPUT, "%s: tensor '%s': NaN has no code in %s",
                               op->src->f[op->src->t[op->in[0]].file].path, tensor_name(op), op->to->scheme->name);
    return 0;
}


/* ---- scales ------------------------------------------------------------------ */

/* Second-level scale of NVFP4. */
struct global {
    float stored; /* multiplies, or divides */
    bool divides;
};

/* The scale x in a narrower type, rounded up: no value of the block may end beyond the largest code. */
static int narrow_scale(const struct op *op, enum dtype t, float *x, struct err *e)
{
    const float want = *x;
    uint16_t h = t == DT_BF16 ? bf16_encode(want) : f16_encode(want);
    *x = t == DT_BF16 ? bf16_decode(h) : f16_decode(h);
    if (*x < want)
        *x = t == DT_BF16 ? bf16_decode(++h) : f16_decode(++h);
    if (!isinf(*x))
        return 0;
    return err_set(e, ERR_INPUT, "tensor '%s': the scale %.9g is beyond the range of %s", tensor_name(op), (double)want,
                   dtype_name(t));
}

static int derive(const struct op *op, const float *amax, size_t n, const struct global *g, struct scales *s,
                  struct err *e)
{
    const struct encoding *to = op->to;
    const enum dtype type = to->scheme->scale;
    const struct num *elem = encoding_num(to);
    for (size_t i = 0; i < n; i++) {
        if (type == DT_COUNT) {
            s->value[i] = 1;
        } else if (type == DT_F8_E4M3) {
            s->stored[i] = to->rule_e4m3->code(amax[i], g->stored, g->divides);
            s->value[i] = s->stored[i] ? scale_with_global(e4m3_decode(s->stored[i]), g->stored, g->divides)
                                       : FLT_MAX; /* all of the block becomes 0 */
        } else if (to->rule_f32) {
            s->value[i] = to->rule_f32->scale(amax[i]);
            if (s->times)
                s->times[i] = to->rule_f32->times(amax[i]);
            if (type != DT_F32 && narrow_scale(op, type, &s->value[i], e))
                return -1;
        } else {
            s->code[i] = to->rule->code(amax[i], elem);
            if (s->code[i] == 255)
                return err_set(e, ERR_INPUT, "tensor '%s': rule '%s' has no scale for a block with amax %.9g",
                               tensor_name(op), to->rule->name, (double)amax[i]);
        }
    }
    return 0;
}

/* Scale `j` as element i of a row of the scale tensor. */
static void store_scale(uint8_t *out, enum dtype t, size_t i, const struct scales *s, size_t j, float factor)
{
    float f = s->code ? ue8m0_decode(s->code[j]) : s->value ? s->value[j] : 1;
    if (factor != 0)
        f *= factor;
    uint16_t h;
    if (s->stored)
        out[i] = s->stored[j];
    else if (t == DT_F32)
        memcpy(out + 4 * i, &f, 4);
    else if (t == DT_BF16 || t == DT_F16)
        h = t == DT_BF16 ? bf16_encode(f) : f16_encode(f), memcpy(out + 2 * i, &h, 2);
    else
        out[i] = s->code[j];
}

/* ---- panels ------------------------------------------------------------------- */

/* A zero point of 0 is added to y = x / scale, which takes the sign of a y that is zero away: a code that is a zero
 * with a sign has it from a y that is one, or that rounded to one. */
static void add_zero_point(const struct panel *p, const struct scales *s, uint8_t *q, size_t qstride, uint8_t minus_zero)
{
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->cols; c++) {
            if (q[r * qstride + c] != minus_zero)
                continue;
            const size_t b = c / p->block;
            const float x = src_value(p->src, p->x + r * p->stride, c);
            if ((s->code ? x * ue8m0_decode((uint8_t)(254 - s->code[b])) : x / s->value[b]) == 0)
                q[r * qstride + c] = 0;
        }
}

static bool has_zero_point(const struct encoding *to)
{
    return to->rule ? to->rule->zero_point : to->rule_f32 ? to->rule_f32->zero_point
           : to->rule_e4m3 && to->rule_e4m3->zero_point;
}

static void run_kernels(const struct op *op, struct work *w, const struct panel *p, const struct scales *s,
                        uint8_t *q, size_t qstride, float *row, struct kern_count *n)
{
    const struct scheme *to = op->to->scheme;
    const struct num *num = encoding_num(op->to);
    if (s->bf16 || s->times || num != num_find(to->elem))
        encode_any(num, p, s, w->k, q, qstride, row, n);
    else if (to->elem == DT_F8_E4M3 && s->code)
        w->k->enc_e4m3_pow2[p->src](p->x, p->stride, p->rows, p->cols, p->block, s->code, q, qstride, n);
    else if (to->elem == DT_F8_E4M3)
        w->k->enc_e4m3_f32[p->src](p->x, p->stride, p->rows, p->cols, p->block, s->value, q, qstride, n);
    else if (to->elem == DT_I8 && to->bits == 8 && !s->code)
        w->k->enc_int8[p->src](p->x, p->stride, p->rows, p->cols, p->block, s->value, (int8_t *)q, qstride, n);
    else
        encode_any(num, p, s, w->k, q, qstride, row, n);
    if (has_zero_point(op->to))
        add_zero_point(p, s, q, qstride, (uint8_t)(1 << (num->bits - 1)));
}

/* The same block by block, with a count for each: *tile is the first one of the panel. */
static void run_tiles(const struct op *op, struct work *w, const struct panel *p, const struct scales *s, uint8_t *q,
                      size_t qstride, float *row, uint32_t *tile)
{
    for (size_t b = 0; b < p->blocks; b++) {
        struct kern_count n = {0};
        struct panel one = *p;
        struct scales sc = {.code = s->code ? s->code + b : NULL, .value = s->value ? s->value + b : NULL,
                            .times = s->times ? s->times + b : NULL, .bf16 = s->bf16};
        one.x += b * p->block * (p->src == SRC_F32 ? 4 : 2);
        one.cols = min_u64(p->block, p->cols - b * p->block);
        one.blocks = 1;
        run_kernels(op, w, &one, &sc, q + b * p->block, qstride, row, &n);
        tile[b] = (uint32_t)n.inexact;
        w->n.n.inexact += n.inexact;
        w->n.n.flushed += n.flushed;
        w->n.n.saturated += n.saturated;
    }
}

/* The panel [row0, row0+rows) x [col0, col0+cols) of the box, in a type the kernels take. What comes of codes is
 * rounded to odd, so that the rounding to the new ones is the only one. */
static int panel_of(const struct op *op, const struct values *v, const struct box *b, const uint8_t *in, size_t stride,
                    size_t row0, size_t rows, size_t col0, size_t cols, size_t block, struct work *w, struct panel *p,
                    struct err *e)
{
    *p = (struct panel){.rows = rows, .cols = cols, .block = block, .blocks = ceil_div(cols, block)};
    if (!op->from && src_of(op->view.elem, &p->src)) {
        p->x = in + row0 * stride + view_row_bytes(&op->view, col0);
        p->stride = stride;
        return 0;
    }
    float *f = scratch_get(&w->f32[0], rows * cols * 4, e);
    void *memory = scratch_get(&w->row, VALUES_ROW_BYTES(cols), e);
    if (!f || !memory)
        return -1;
    const struct values_row row = values_row_memory(memory, cols);
    bool clean;
    for (size_t r = 0; r < rows; r++)
        if (values_row(v, w->k, b->batch, b->row + row0 + r, b->col + col0, cols,
                       in + (row0 + r) * stride + view_row_bytes(&op->view, col0), VALUES_ODD, true, &row, f + r * cols,
                       &clean, e))
            return -1;
    p->src = SRC_F32;
    p->x = (const uint8_t *)f;
    p->stride = cols * 4;
    return 0;
}

/* Panels begin where blocks of either side do. */
static size_t panel_cols(const struct op *op, size_t block)
{
    uint64_t step = lcm_u64(block, view_step(&op->view));
    if (op->from && op->from->scheme->block_cols)
        step = lcm_u64(step, op->from->scheme->block_cols);
    return round_up(PANEL, step);
}

static int measure_box(const struct op *op, const struct values *v, const struct box *b, const uint8_t *in,
                       size_t stride, struct work *w, struct err *e)
{
    const size_t panel = panel_cols(op, 1);
    w->amax = 0;
    for (size_t r = 0; r < b->rows; r += 128)
        for (size_t c = 0; c < b->cols; c += panel) {
            struct panel p;
            float amax;
            size_t n = min_u64(panel, b->cols - c);
            if (panel_of(op, v, b, in, stride, r, min_u64(128, b->rows - r), c, n, n, w, &p, e))
                return -1;
            w->k->amax[p.src](p.x, p.stride, p.rows, p.cols, p.block, &amax);
            if (!isfinite(amax)) {
                if (!op->to->saturate_nonfinite)
                    return nonfinite_error(op, &p, b, b->row + r, b->col + c, e);
                amax = finite_amax(&p, 0);
            }
            if (amax > w->amax)
                w->amax = amax;
        }
    return 0;
}

/* ---- what rounding a second time costs ------------------------------------------ */

/* At the beginning of the box data of such an op. */
struct cost {
    double lost, kept;
};

static void add_cost(struct cost *sum, const struct panel *p, const struct scales *s, const uint8_t *q, size_t qstride,
                     const float value[256])
{
    for (size_t r = 0; r < p->rows; r++) {
        const float *x = (const float *)(const void *)(p->x + r * p->stride);
        for (size_t c = 0; c < p->cols; c++) {
            const size_t b = c / p->block;
            const double scale = s->code ? (double)ue8m0_decode(s->code[b]) : (double)s->value[b];
            const double d = (double)value[q[r * qstride + c]] * scale - (double)x[c];
            sum->lost += d * d;
            sum->kept += (double)x[c] * (double)x[c];
        }
    }
}

/* ---- boxes -------------------------------------------------------------------- */

/* What a box is worked through with. */
struct job {
    const struct op *op;
    const struct box *b;
    struct values v;
    struct global global;
    float *amax, *row;       /* of a panel; two rows of it */
    struct scales s;
    uint8_t *q;              /* codes of the box, a byte each */
    uint32_t *tile;          /* inexact values of each block of the box, or NULL */
    bool whole;              /* one scale for all, known by now */
    float *w, *scale;        /* of the whole matrix, for a rounder; else NULL */
};

static int scale_panel(struct job *j, const struct panel *p, uint64_t row, uint64_t col, struct work *w, struct err *e)
{
    bool bad = false;
    const struct op *op = j->op;
    if (j->whole && op->passes == 2)
        return 0; /* measured before */
    w->k->amax[p->src](p->x, p->stride, p->rows, p->cols, p->block, j->amax);
    for (size_t i = 0; i < p->blocks; i++)
        bad |= !isfinite(j->amax[i]);
    if (bad && !op->to->saturate_nonfinite)
        return nonfinite_error(op, p, j->b, row, col, e);
    for (size_t i = 0; bad && i < p->blocks; i++)
        if (!isfinite(j->amax[i]))
            j->amax[i] = finite_amax(p, i);
    if (!j->whole && derive(op, j->amax, p->blocks, &j->global, &j->s, e))
        return -1;
    return bad && no_nan(op->to->scheme) ? refuse_nan(op, p, e) : 0;
}

static int job_memory(struct job *j, size_t panel, size_t block, struct work *w, struct err *e)
{
    const size_t cols = min_u64(panel, j->b->cols), most = ceil_div(cols, block) + 1;
    float *f = scratch_get(&w->f32[1], (3 * most + 2 * cols) * 4 + 2 * most, e);
    if (!f)
        return -1;
    const enum dtype t = j->op->to->scheme->scale;
    const struct scale_rule_f32 *const rule = j->op->to->rule_f32;
    uint8_t *bytes = (uint8_t *)(f + 3 * most + 2 * cols);
    j->amax = f;
    j->row = f + 3 * most;
    j->s = (struct scales){.code = t == DT_F8_E8M0 ? bytes : NULL, .value = t == DT_F8_E8M0 ? NULL : f + most,
                           .stored = t == DT_F8_E4M3 ? bytes + most : NULL,
                           .times = rule && rule->times && t == DT_F32 ? f + 2 * most : NULL,
                           .bf16 = rule && rule->bf16};
    return 0;
}

/* The codes as their tensor holds them, in units of its elements. */
static int pack_result(const struct job *j, const struct view *view, enum dtype unit, struct work *w, struct err *e)
{
    const struct box *b = j->b;
    if (view->packing == PACK_PLAIN && dtype_table[view->elem].block_elems == 1) {
        w->result[0] = (struct result){j->q, b->cols, *b};
        return 0;
    }
    const size_t width = view_row_bytes(view, b->cols), size = dtype_table[unit].block_bytes;
    uint8_t *packed = scratch_get(&w->out[3], b->rows * width, e);
    if (!packed)
        return -1;
    encode_pack_rows(view, j->q, b->cols, b->rows, b->cols, packed);
    w->result[0] = (struct result){packed, width, encode_packed_box(view, b, size)};
    return 0;
}

/* ---- what a rounder sees -------------------------------------------------------- */
static int rounder_memory(struct job *j, size_t scales, struct work *w, struct err *e)
{
    j->w = scratch_get(&w->whole[0], j->b->rows * j->b->cols * sizeof *j->w, e);
    j->scale = scratch_get(&w->whole[1], scales * sizeof *j->scale, e);
    return j->w && j->scale ? 0 : -1;
}

/* Values of a panel at row r and column c of the matrix, and its scales, of blocks from number `at` on. */
static void keep_panel(struct job *j, const struct panel *p, size_t r, size_t c, size_t at)
{
    for (size_t i = 0; i < p->rows; i++)
        for (size_t k = 0; k < p->cols; k++)
            j->w[(r + i) * j->b->cols + c + k] = src_value(p->src, p->x + i * p->stride, k);
    for (size_t i = 0; i < p->blocks; i++)
        j->scale[at + i] = j->s.code ? ue8m0_decode(j->s.code[i]) : j->s.value[i];
}

/* Better codes for all of it; what is counted is of those. */
static int round_all(struct job *j, size_t block_rows, size_t block_cols, struct cost *cost, const float value[256], struct work *w,
                     struct err *e)
{
    const struct op *op = j->op;
    const struct scheme *s = op->to->scheme;
    const bool all = !s->block_rows;
    const struct rounding r = {op->from ? op->from->name : tensor_name(op), encoding_num(op->to), scheme_int(s), j->b->rows, j->b->cols, all ? j->b->rows : block_rows,
                               all ? j->b->cols : block_cols, j->w, j->scale, j->q};
    int bad = op->rounder->round(op->rounder->ctx, &r, e);
    const size_t across = ceil_div(r.cols, r.block_cols);
    w->n.n.inexact = w->n.n.flushed = 0;
    for (size_t i = 0; !bad && i < r.rows; i++)
        for (size_t c = 0; c < r.cols; c++) {
            const double x = (double)j->w[i * r.cols + c];
            const double y = (double)value[j->q[i * r.cols + c]] * (double)j->scale[i / r.block_rows * across + c / r.block_cols];
            w->n.n.inexact += x != y;
            w->n.n.flushed += y == 0 && x != 0;
            if (op->second) {
                cost->lost += (y - x) * (y - x);
                cost->kept += x * x;
            }
        }
    return bad;
}

/* Rows are whole, and one scale is a row's. */
static int bias_result(const struct job *j, const float *scale, struct work *w, struct err *e)
{
    const struct box *b = j->b;
    const size_t parts = j->op->bias;
    float *bias = scratch_get(&w->out[2], b->rows * parts * 4, e);
    if (!bias)
        return -1;
    for (size_t r = 0; r < b->rows; r++)
        encode_bias(j->q + r * b->cols, b->cols, scale[r], parts, bias + r * parts);
    w->result[2] = (struct result){bias, parts * 4, {b->batch, b->row, b->rows, 0, parts}};
    return 0;
}

static int encode_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                      const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    const struct scheme *s = op->to->scheme;
    struct job j = {.op = op, .b = b, .whole = !s->block_rows && s->scale != DT_COUNT};
    if (op->from || !src_of(op->view.elem, &(enum src){0}))
        values_init(&j.v, op->src, &op->view, op->from, a->side);
    if (op->passes == 2 && pass == 0)
        return measure_box(op, &j.v, b, in, stride, w, e);
    const bool all = !s->block_rows; /* no blocks: one scale, or none */
    const size_t block = s->block_cols ? s->block_cols : b->cols, block_rows = all ? 128 : s->block_rows;
    const size_t nr = all ? 1 : ceil_div(b->rows, block_rows), nc = all ? 1 : ceil_div(b->cols, block);
    const size_t panel = s->block_cols || all ? panel_cols(op, all ? 1 : block) : b->cols;
    j.q = scratch_get(&w->out[0], b->rows * b->cols, e);
    uint8_t *out = scratch_get(&w->out[1], nr * nc * 4 + 4, e);
    if (!j.q || !out || job_memory(&j, panel, all ? panel : block, w, e))
        return -1;
    if (op->passes == 2)
        j.global = (struct global){op->to->rule_e4m3 ? op->to->rule_e4m3->global(a->amax, op->divides) : 1, op->divides};
    if (all && derive(op, &a->amax, 1, &j.global, &j.s, e))
        return -1;
    char *const data = op->tiles ? (char *)a->box_data + index * op->box_data : NULL;
    j.tile = op->tiles && !op->rounder ? (uint32_t *)(void *)(data + sizeof(struct cost)) : NULL;
    float value[256];
    if (op->second || op->rounder) {
        uint8_t code[256];
        for (int i = 0; i < 256; i++)
            code[i] = (uint8_t)i;
        num_decode_row(encoding_num(op->to), code, value, 256);
    }
    w->n.elems = b->rows * b->cols;
    j.whole = all;
    if (op->rounder && rounder_memory(&j, nr * nc, w, e))
        return -1;
    for (size_t r = 0; r < b->rows; r += block_rows)
        for (size_t c = 0; c < b->cols; c += panel) {
            struct panel p;
            const size_t rows = min_u64(block_rows, b->rows - r), cols = min_u64(panel, b->cols - c);
            if (panel_of(op, &j.v, b, in, stride, r, rows, c, cols, all ? cols : block, w, &p, e)
                || scale_panel(&j, &p, b->row + r, b->col + c, w, e))
                return -1;
            uint8_t *q = j.q + r * b->cols + c;
            const size_t at = all ? 0 : r / block_rows * nc + c / block;
            if (j.tile)
                run_tiles(op, w, &p, &j.s, q, b->cols, j.row, j.tile + at);
            else
                run_kernels(op, w, &p, &j.s, q, b->cols, j.row, &w->n.n);
            if (op->rounder)
                keep_panel(&j, &p, r, c, at);
            else if (op->second)
                add_cost((struct cost *)(void *)data, &p, &j.s, q, b->cols, value);
            for (size_t i = 0; !all && i < p.blocks; i++)
                store_scale(out, op->dtype, at + i, &j.s, i, op->factor);
        }
    if (op->rounder && round_all(&j, block_rows, block, (struct cost *)(void *)data, value, w, e))
        return -1;
    if (pack_result(&j, &op->coded, op->unit, w, e))
        return -1;
    if (all)
        store_scale(out, op->dtype, 0, &j.s, 0, op->factor);
    if (s->scale != DT_COUNT && (!all || index == 0))
        w->result[1] = (struct result){out, nc * row_bytes(op->dtype, 1),
            {b->batch, all ? 0 : b->row / block_rows, nr, b->col / block, nc}};
    if (op->bias && bias_result(&j, (const float *)(const void *)out, w, e))
        return -1;
    if (s->two_level && index == 0) {
        uint8_t *g = scratch_get(&w->out[2], 4, e);
        if (!g)
            return -1;
        memcpy(g, &j.global.stored, 4);
        w->result[2] = (struct result){g, 4, {0, 0, 1, 0, 1}};
    }
    return 0;
}

/* The blocks that are not exact, in order. */
static int encode_finish(struct op *op, struct active *a, struct err *e)
{
    const struct scheme *s = op->to->scheme;
    for (uint64_t i = 0; op->second && i < op->boxes; i++) { /* in order: the same sums for any number of threads */
        const struct cost *x = (const struct cost *)(const void *)((const char *)a->box_data + i * op->box_data);
        op->lost += x->lost;
        op->kept += x->kept;
    }
    if (!op->tiles || op->rounder || !op->done.n.inexact)
        return 0;
    size_t cap = 0;
    const uint64_t br = s->block_rows ? s->block_rows : op->m.rows, bc = s->block_cols ? s->block_cols : op->m.cols;
    for (uint64_t i = 0; i < op->boxes; i++) {
        const uint32_t *tile = (const uint32_t *)(const void *)((const char *)a->box_data + i * op->box_data + sizeof(struct cost));
        const struct box b = op_box(op, i);
        const uint64_t nc = ceil_div(b.cols, bc), n = ceil_div(b.rows, br) * nc;
        for (uint64_t k = 0; k < n; k++) {
            if (!tile[k])
                continue;
            if (mem_grow((void **)&op->tile, &cap, op->ntiles + 1, sizeof *op->tile, e))
                return -1;
            op->tile[op->ntiles++] = (struct tile){b.batch, b.row + k / nc * br, b.col + k % nc * bc, tile[k]};
        }
    }
    return 0;
}

const struct xform xform_encode = {.name = "encode", .streams = true, .box = encode_box, .finish = encode_finish};
