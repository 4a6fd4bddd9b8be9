/* Decode: codes and scales (or GGUF blocks) back to floating point. */
#include "quantizers/values.h"

#include <math.h>

/* A scale that is NaN, infinite or negative (E8M0 code 255 is NaN) is no scale. */
static int check_scales(const struct op *op, const float *scale, size_t n, uint64_t row, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!(scale[i] >= 0) || isinf(scale[i]))
            return err_set(e, ERR_INPUT, "%s: tensor '%s': the scale of row %llu, block %zu is %g",
                           op->src->f[op->src->t[op->in[1]].file].path, op->src->t[op->in[1]].name,
                           (unsigned long long)row, i, (double)scale[i]);
    return 0;
}

/* Counts what one row of the result lost against the exact product, which a
 * double holds: 4 or 8 bits of code times 24 bits of scale. */
static int count_row(const struct op *op, const uint8_t *q, const float *f, size_t cols, size_t block,
                     const float *scale, const uint8_t *y, struct outcome *n, struct err *e)
{
    const struct tensor *t = &op->src->t[op->in[0]];
    for (size_t c = 0; c < cols; c++) {
        double exact = !op->from ? (double)f[c]
                     : (t->dtype == DT_I8 ? (double)(int8_t)q[c] : (double)e4m3_decode(q[c])) * (double)scale[c / block];
        double got = (double)scale_value(y, op->dtype, c);
        if (isinf(got) && !isinf(exact))
            return err_set(e, ERR_INPUT, "%s: tensor '%s': %.9g is beyond the range of %s", op->src->f[t->file].path,
                           t->name, exact, dtype_name(op->dtype));
        n->n.inexact += got != exact && !isnan(exact);
        n->n.flushed += got == 0 && exact != 0;
    }
    return 0;
}

static void narrow(const struct work *w, enum dtype t, const float *x, uint8_t *y, size_t n)
{
    if (t == DT_BF16)
        w->k->f32_to_bf16(x, (uint16_t *)(void *)y, n);
    else if (t == DT_F16)
        w->k->f32_to_f16(x, (uint16_t *)(void *)y, n);
    else
        memcpy(y, x, 4 * n);
}

static int decode_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                      const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index;
    struct values v = {&op->src->t[op->in[0]], op->from, a->side, op->from ? op->src->t[op->in[1]].dtype : DT_F32};
    size_t width = b->cols * row_bytes(op->dtype, 1), block;
    uint8_t *out = scratch_get(&w->out[0], b->rows * width, e);
    float *f = scratch_get(&w->f32[0], b->cols * 4, e), *scale = scratch_get(&w->f32[1], (b->cols + 1) * 4, e);
    if (!out || !f || !scale)
        return -1;
    /* Blocks hold more than a type narrower than FP32 can. */
    bool lossy = op->dtype == DT_F16 || (!op->from && op->dtype != DT_F32);
    for (size_t r = 0; r < b->rows; r++) {
        const uint8_t *q = in + r * stride;
        bool clean = values_scales(&v, b->batch, b->row + r, b->col, b->cols, scale, &block);
        if (!clean && check_scales(op, scale, ceil_div(b->cols, block), b->row + r, e))
            return -1;
        values_row(&v, w->k, q, b->cols, scale, block, f);
        narrow(w, op->dtype, f, out + r * width, b->cols);
        if ((!clean || lossy) && count_row(op, q, f, b->cols, block, scale, out + r * width, &w->n, e))
            return -1;
    }
    w->n.elems = b->rows * b->cols;
    w->result[0] = (struct result){out, width, *b};
    return 0;
}

const struct xform xform_decode = {.name = "decode", .streams = true, .box = decode_box};
