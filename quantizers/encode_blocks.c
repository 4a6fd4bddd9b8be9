/* Weights to the block types of GGUF that Octavo makes, Q8_0 and MXFP4, bit for
 * bit as ggml does (ggml-org/ggml src/ggml-quants.c, quantize_row_q8_0_ref and
 * quantize_row_mxfp4_ref); and codes that have such scales already, as they are. */
#include "quantizers/blocks.h"
#include "quantizers/encode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 32 };

/* ---- blocks ---------------------------------------------------------------------- */

/* The largest magnitude, NaN aside. */
static float amax_of(const float *x)
{
    float amax = 0;
    for (int i = 0; i < BLOCK; i++)
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    return amax;
}

/* To nearest, ties away from zero, as roundf; |y| < 2^31. y - (int)y is exact. */
static int round_away(float y)
{
    const int i = (int)y;
    const float rest = y - (float)i;
    return i + (rest >= 0.5f) - (rest <= -0.5f);
}

bool q8_0_encode(const float *x, uint8_t *p)
{
    const float d = amax_of(x) / 127;
    const uint16_t h = f16_encode(d);
    /* Below 2^-128 the inverse is Inf, which ggml multiplies all the same: d is 0 in F16, whatever the codes. */
    const float inverse = d > 0 && !isinf(1 / d) ? 1 / d : 0;
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
    for (int i = 0; i < BLOCK; i++)
        p[2 + i] = (uint8_t)(int8_t)round_away(x[i] * inverse);
    return (h & 0x7c00) != 0x7c00;
}

void mxfp4_pack(uint8_t scale, const uint8_t *code, uint8_t *p)
{
    p[0] = scale;
    for (int i = 0; i < BLOCK / 2; i++)
        p[1 + i] = (uint8_t)((code[i] & 15) | code[i + BLOCK / 2] << 4);
}

/* ---- encoding ---------------------------------------------------------------------- */
static const char *tensor_name(const struct op *op) { return op->src->t[op->in[0]].name; }
static const char *file_name(const struct op *op) { return op->src->f[op->src->t[op->in[0]].file].path; }

/* Inf becomes the largest finite magnitude of its block; NaN and blocks without one have no code. */
static int check_finite(const struct op *op, float *x, uint64_t row, uint64_t col, struct err *e)
{
    float amax = 0;
    int bad = -1;
    for (int i = 0; i < BLOCK; i++) {
        if (isfinite(x[i]))
            amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
        else if (bad < 0 || isnan(x[i]))
            bad = i;
    }
    if (bad < 0)
        return 0;
    if (!op->to->saturate_nonfinite || isnan(x[bad]) || amax == 0)
        return err_set(e, ERR_INPUT, "%s: tensor '%s': element [%llu,%llu] is %s, for which %s has no code%s", file_name(op),
                       tensor_name(op), (unsigned long long)row, (unsigned long long)(col + (uint64_t)bad),
                       isnan(x[bad]) ? "NaN" : x[bad] > 0 ? "Inf" : "-Inf", dtype_name(op->unit),
                       op->to->saturate_nonfinite || isnan(x[bad]) ? "" : " (--nonfinite=saturate keeps going)");
    for (int i = 0; i < BLOCK; i++)
        if (!isfinite(x[i]))
            x[i] = copysignf(amax, x[i]);
    return 0;
}

/* What a block lost; y is what it decodes to. */
static void count(const float *x, const float *y, float limit, struct kern_count *n)
{
    for (int i = 0; i < BLOCK; i++) {
        n->inexact += y[i] != x[i];
        n->flushed += y[i] == 0 && x[i] != 0;
        n->saturated += fabsf(x[i]) >= limit;
    }
}

static int q8_0_block(const struct op *op, const float *x, uint8_t *p, struct kern_count *n, struct err *e)
{
    float y[BLOCK];
    if (!q8_0_encode(x, p))
        return err_set(e, ERR_INPUT, "%s: tensor '%s': a block with amax %.9g needs a scale beyond the range of F16",
                       file_name(op), tensor_name(op), (double)amax_of(x));
    q8_0_decode(p, y, BLOCK);
    count(x, y, INFINITY, n);
    return 0;
}

static int mxfp4_block(const struct op *op, const float *x, uint8_t *p, struct kern_count *n, struct err *e)
{
    const struct num *const num = encoding_num(op->to);
    const float amax = amax_of(x);
    float y[BLOCK];
    uint8_t code[BLOCK];
    bool itself;
    const uint8_t scale = op->to->rule->code(amax, num);
    if (scale == 255)
        return err_set(e, ERR_INPUT, "tensor '%s': rule '%s' has no scale for a block with amax %.9g", tensor_name(op),
                       op->to->rule->name, (double)amax);
    for (int i = 0; i < BLOCK; i++)
        y[i] = x[i] * ue8m0_decode((uint8_t)(254 - scale));
    num_encode_row(num, y, code, BLOCK, OVERFLOW_SATURATE);
    mxfp4_pack(scale, code, p);
    block_find(DT_MXFP4)->decode(p, y, BLOCK);
    count(x, y, encode_limit(num, &itself) * ue8m0_decode(scale), n);
    return 0;
}

static int blocks_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                      const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index;
    const size_t width = row_bytes(op->unit, b->cols), size = dtype_table[op->unit].block_bytes;
    uint8_t *const out = scratch_get(&w->out[0], b->rows * width, e);
    float *const x = scratch_get(&w->f32[0], b->cols * 4, e);
    void *const memory = scratch_get(&w->row, VALUES_ROW_BYTES(b->cols), e);
    struct values v;
    bool clean;
    if (!out || !x || !memory)
        return -1;
    const struct values_row row = values_row_memory(memory, b->cols);
    values_init(&v, op->src, &op->view, op->from, a->side);
    for (size_t r = 0; r < b->rows; r++) {
        uint8_t *p = out + r * width;
        if (values_row(&v, w->k, b->batch, b->row + r, b->col, b->cols, in + r * stride, VALUES_ODD, true, &row, x, &clean, e))
            return -1;
        for (size_t c = 0; c < b->cols; c += BLOCK, p += size)
            if (check_finite(op, x + c, b->row + r, b->col + c, e)
                || (op->unit == DT_Q8_0 ? q8_0_block : mxfp4_block)(op, x + c, p, &w->n.n, e))
                return -1;
    }
    w->n.elems = b->rows * b->cols;
    w->result[0] = (struct result){out, width, *b};
    return 0;
}

const struct xform xform_blocks = {.name = "blocks", .streams = true, .box = blocks_box};

/* ---- carrying ------------------------------------------------------------------------ */
static int bad_scale(const struct op *op, uint64_t r, uint64_t c, float value, struct err *e)
{
    const struct tensor *const t = &op->src->t[op->in[op->side[SIDE_SCALE]]];
    return err_set(e, ERR_INPUT, "%s: tensor '%s': scale [%llu,%llu] = %.9g is none that %s blocks have", op->src->f[t->file].path,
                   t->name, (unsigned long long)r, (unsigned long long)c, (double)value, dtype_name(op->unit));
}

/* Scale i as a block has it, into p. */
static bool put_scale(const struct op *op, const uint8_t *side, uint64_t i, uint8_t *p, float *value)
{
    *value = scale_value(side, op->scale, i);
    if (!(*value >= 0) || isinf(*value))
        return false;
    if (op->unit == DT_MXFP4) {
        const int code = op->scale == DT_U8 || op->scale == DT_F8_E8M0 ? side[i] : ue8m0_exact(*value);
        p[0] = (uint8_t)code;
        return code >= 0 && code < 255;
    }
    const uint16_t h = f16_encode(*value);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
    return f16_decode(h) == *value;
}

static int carry_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                     const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index;
    const struct scheme *const s = op->from->scheme;
    const size_t width = row_bytes(op->unit, b->cols), size = dtype_table[op->unit].block_bytes;
    uint8_t *const out = scratch_get(&w->out[0], b->rows * width, e);
    uint8_t *const code = scratch_get(&w->row, b->cols + 8, e);
    uint64_t rows, cols;
    float value;
    if (!out || !code)
        return -1;
    scheme_scale_shape(s, op->m.rows, op->m.cols, &rows, &cols);
    for (uint64_t r = 0; r < b->rows; r++) {
        uint8_t *p = out + r * width;
        values_codes(&op->view, in + r * stride, b->cols, code);
        for (uint64_t c = 0; c < b->cols; c += BLOCK, p += size) {
            const uint64_t sr = (b->row + r) / s->block_rows, sc = (b->col + c) / s->block_cols;
            uint8_t scale[2];
            if (!put_scale(op, a->side[SIDE_SCALE], (b->batch * rows + sr) * cols + sc, scale, &value))
                return bad_scale(op, b->batch * rows + sr, sc, value, e);
            if (op->unit == DT_MXFP4) {
                mxfp4_pack(scale[0], code + c, p);
            } else {
                memcpy(p, scale, 2);
                memcpy(p + 2, code + c, BLOCK);
            }
        }
    }
    w->n.elems = b->rows * b->cols;
    w->result[0] = (struct result){out, width, *b};
    return 0;
}

const struct xform xform_carry = {.name = "carry", .streams = true, .box = carry_box};
