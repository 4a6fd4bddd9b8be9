/* Decode: codes and scales (or GGUF blocks) back to floating point. */
#include "quantizers/plan.h"

#include <math.h>
#include <string.h>

/* Counts what one row of the result lost against the exact values. */
static int count_row(const struct op *op, const double *exact, size_t cols, const uint8_t *y, struct outcome *n,
                     struct err *e)
{
    const struct tensor *t = &op->src->t[op->in[0]];
    for (size_t c = 0; c < cols; c++) {
        const double got = (double)scale_value(y, op->dtype, c);
        if (isinf(got) && !isinf(exact[c]))
            return err_set(e, ERR_INPUT, "%s: tensor '%s': %.9g is beyond the range of %s", op->src->f[t->file].path,
                           t->name, exact[c], dtype_name(op->dtype));
        n->n.inexact += got != exact[c] && !isnan(exact[c]);
        n->n.flushed += got == 0 && exact[c] != 0;
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
    struct values v;
    values_init(&v, op->src, &op->view, op->from, a->side);
    size_t width = b->cols * row_bytes(op->dtype, 1);
    uint8_t *out = scratch_get(&w->out[0], b->rows * width, e);
    float *f = scratch_get(&w->f32[0], b->cols * 4, e);
    void *memory = scratch_get(&w->row, VALUES_ROW_BYTES(b->cols), e);
    if (!out || !f || !memory)
        return -1;
    const struct values_row row = values_row_memory(memory, b->cols);
    /* Blocks hold more than a type narrower than FP32 can. */
    const bool lossy = op->dtype == DT_F16 || (!op->from && op->dtype != DT_F32);
    for (size_t r = 0; r < b->rows; r++) {
        const uint8_t *q = in + r * stride;
        uint8_t *y = out + r * width;
        bool clean;
        if (values_row(&v, w->k, b->batch, b->row + r, b->col, b->cols, q, VALUES_NEAREST, true, &row, f, &clean, e))
            return -1;
        narrow(w, op->dtype, f, y, b->cols);
        if (clean && !lossy)
            continue;
        if (op->from)
            values_exact(&v, b->batch, b->row + r, b->col, b->cols, q, &row, row.wide);
        for (size_t c = 0; !op->from && c < b->cols; c++)
            row.wide[c] = (double)f[c];
        if (count_row(op, row.wide, b->cols, y, &w->n, e))
            return -1;
    }
    w->n.elems = b->rows * b->cols;
    w->result[0] = (struct result){out, width, *b};
    return 0;
}

const struct xform xform_decode = {.name = "decode", .streams = true, .box = decode_box};
