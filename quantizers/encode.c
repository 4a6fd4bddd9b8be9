/* Encode: floating-point weights to a scheme's codes and scales.
 *
 * A box is a stripe of whole block rows (or a panel of whole blocks).  It is
 * worked through in panels of columns that fit the second-level cache: the
 * largest magnitude of each block first, then its scale, then the codes, so
 * that the second visit finds the data in cache. */
#include "quantizers/plan.h"

#include "quantizers/blocks.h"

#include <math.h>

enum { PANEL = 2048 };

/* One panel of one block row, converted to something the kernels take. */
struct panel {
    enum src src;
    const uint8_t *x;
    size_t stride, rows, cols, block, blocks;
};

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
 * for which INT8 has none. */
static int refuse_nan(const struct op *op, const struct panel *p, struct err *e)
{
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->cols; c++)
            if (isnan(src_value(p->src, p->x + r * p->stride, c)))
                return err_set(e, ERR_INPUT, "%s: tensor '%s': NaN has no INT8 code",
                               op->src->f[op->src->t[op->in[0]].file].path, tensor_name(op));
    return 0;
}

/* Scales of the blocks of a panel, as codes or floats. */
struct scales {
    uint8_t *code;
    float *value;
};

static int derive(const struct op *op, const float *amax, size_t n, struct scales *s, struct err *e)
{
    const struct encoding *to = op->to;
    const struct num *elem = num_find(to->scheme->elem);
    for (size_t i = 0; i < n; i++) {
        if (to->rule_f32) {
            s->value[i] = to->rule_f32->scale(amax[i]);
            continue;
        }
        s->code[i] = to->rule->code(amax[i], elem);
        if (s->code[i] == 255)
            return err_set(e, ERR_INPUT, "tensor '%s': rule '%s' has no scale for a block with amax %.9g",
                           tensor_name(op), to->rule->name, (double)amax[i]);
    }
    return 0;
}

static void run_kernels(const struct op *op, const struct work *w, const struct panel *p, const struct scales *s,
                        uint8_t *q, size_t qstride, struct kern_count *n)
{
    if (s->code)
        w->k->enc_e4m3_pow2[p->src](p->x, p->stride, p->rows, p->cols, p->block, s->code, q, qstride, n);
    else if (op->to->scheme->elem == DT_I8)
        w->k->enc_int8[p->src](p->x, p->stride, p->rows, p->cols, p->block, s->value, (int8_t *)q, qstride, n);
    else
        w->k->enc_e4m3_f32[p->src](p->x, p->stride, p->rows, p->cols, p->block, s->value, q, qstride, n);
}

static int encode_panel(const struct op *op, const struct panel *p, const struct box *b, uint64_t row,
                        uint64_t col, float *amax, const struct scales *s, bool derived, uint8_t *q,
                        size_t qstride, struct work *w, struct err *e)
{
    bool bad = false;
    if (!derived) {
        w->k->amax[p->src](p->x, p->stride, p->rows, p->cols, p->block, amax);
        for (size_t i = 0; i < p->blocks; i++)
            bad |= !isfinite(amax[i]);
        if (bad && !op->to->saturate_nonfinite)
            return nonfinite_error(op, p, b, row, col, e);
        for (size_t i = 0; bad && i < p->blocks; i++)
            if (!isfinite(amax[i]))
                amax[i] = finite_amax(p, i);
        struct scales mine = *s;
        if (derive(op, amax, p->blocks, &mine, e))
            return -1;
    }
    if (bad && op->to->scheme->elem == DT_I8 && refuse_nan(op, p, e))
        return -1;
    run_kernels(op, w, p, s, q, qstride, &w->n.n);
    return 0;
}

/* The panel [row0, row0+rows) x [col0, col0+cols) of the box, in a type the kernels take. */
static int panel_of(const struct op *op, const uint8_t *in, size_t stride, size_t row0, size_t rows, size_t col0,
                    size_t cols, size_t block, struct work *w, struct panel *p, struct err *e)
{
    enum dtype t = op->src->t[op->in[0]].dtype;
    *p = (struct panel){.rows = rows, .cols = cols, .block = block, .blocks = ceil_div(cols, block)};
    if (src_of(t, &p->src)) {
        p->x = in + row0 * stride + row_bytes(t, col0);
        p->stride = stride;
        return 0;
    }
    const struct block_decoder *d = block_find(t);
    float *f = scratch_get(&w->f32[0], rows * cols * 4, e);
    if (!f)
        return -1;
    for (size_t r = 0; r < rows; r++)
        d->decode(in + (row0 + r) * stride + row_bytes(t, col0), f + r * cols, cols);
    p->src = SRC_F32;
    p->x = (const uint8_t *)f;
    p->stride = cols * 4;
    return 0;
}

/* Scale `i` of the box, in the type it is stored in. */
static void store_scale(uint8_t *out, enum dtype t, size_t i, const struct scales *s, size_t j)
{
    float f = s->code ? ue8m0_decode(s->code[j]) : s->value[j];
    if (t == DT_F32)
        memcpy(out + 4 * i, &f, 4);
    else
        out[i] = s->code[j];
}

static int measure_box(const struct op *op, const struct box *b, const uint8_t *in, size_t stride,
                       struct work *w, struct err *e)
{
    w->amax = 0;
    for (size_t c = 0; c < b->cols; c += PANEL) {
        struct panel p;
        float amax;
        size_t n = min_u64(PANEL, b->cols - c);
        if (panel_of(op, in, stride, 0, b->rows, c, n, n, w, &p, e))
            return -1;
        w->k->amax[p.src](p.x, p.stride, p.rows, p.cols, p.block, &amax);
        if (!isfinite(amax)) {
            if (!op->to->saturate_nonfinite)
                return nonfinite_error(op, &p, b, b->row, b->col + c, e);
            amax = finite_amax(&p, 0);
        }
        if (amax > w->amax)
            w->amax = amax;
    }
    return 0;
}

static int encode_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                      const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    const struct scheme *s = op->to->scheme;
    if (op->passes == 2 && pass == 0)
        return measure_box(op, b, in, stride, w, e);
    bool whole = op->passes == 2; /* one scale for the tensor, known by now */
    size_t block = s->block_cols ? s->block_cols : b->cols;
    size_t block_rows = s->block_rows ? s->block_rows : b->rows;
    size_t nr = whole ? 1 : ceil_div(b->rows, block_rows), nc = whole ? 1 : ceil_div(b->cols, block);
    size_t panel = s->block_cols ? round_up(PANEL, block) : whole ? PANEL : b->cols;
    uint8_t *q = scratch_get(&w->out[0], b->rows * b->cols, e);
    uint8_t *out = scratch_get(&w->out[1], nr * nc * 4, e);
    size_t most = ceil_div(panel < b->cols ? panel : b->cols, block) + 1;
    float *amax = scratch_get(&w->f32[1], most * 9, e);
    if (!q || !out || !amax)
        return -1;
    struct scales sc = {.value = op->to->rule_f32 ? amax + most : NULL,
                        .code = op->to->rule_f32 ? NULL : (uint8_t *)(amax + 2 * most)};
    if (whole && derive(op, &a->amax, 1, &sc, e))
        return -1;
    w->n.elems = b->rows * b->cols;
    for (size_t r = 0; r < b->rows; r += block_rows)
        for (size_t c = 0; c < b->cols; c += panel) {
            struct panel p;
            size_t rows = min_u64(block_rows, b->rows - r), cols = min_u64(panel, b->cols - c);
            if (panel_of(op, in, stride, r, rows, c, cols, whole ? cols : block, w, &p, e)
                || encode_panel(op, &p, b, b->row + r, b->col + c, amax, &sc, whole, q + r * b->cols + c,
                                b->cols, w, e))
                return -1;
            for (size_t i = 0; !whole && i < p.blocks; i++)
                store_scale(out, op->dtype, r / block_rows * nc + c / block + i, &sc, i);
        }
    w->result[0] = (struct result){q, b->cols, *b};
    if (whole)
        store_scale(out, op->dtype, 0, &sc, 0);
    if (!whole || index == 0)
        w->result[1] = (struct result){out, nc * row_bytes(op->dtype, 1),
            {b->batch, whole ? 0 : b->row / block_rows, nr, b->col / block, nc}};
    return 0;
}

const struct xform xform_encode = {.name = "encode", .streams = true, .box = encode_box};
