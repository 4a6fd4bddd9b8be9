#include "quantizers/chip.h"

#include "quantizers/num.h"
#include "quantizers/values.h"

#include <math.h>
#include <string.h>

/* The word of Ascend's matrix unit: 19 bits of an FP32 scale, and bit 46, which says that there is one (hicann/ops-nn
 * quant/trans_quant_param_v2, without an offset: those of activations are in quant_bias). */
static uint64_t dequant_word(float scale)
{
    return (f32_bits(scale) & UINT64_C(0xffffe000)) | UINT64_C(1) << 46;
}

int chip_value(enum extra_rule rule, float scale, uint8_t *y, bool *inexact, struct err *e)
{
    uint64_t word = 0;
    float value = scale;
    *inexact = false;
    if (!(scale >= 0) || isinf(scale))
        return err_set(e, ERR_INPUT, "is no scale");
    switch (rule) {
    case EXTRA_ABSMAX:
        value = scale * 127;
        *inexact = (double)value != (double)scale * 127;
        if (isinf(value))
            return err_set(e, ERR_INPUT, "times 127 is more than F32 holds");
        memcpy(y, &value, 4);
        return 0;
    case EXTRA_INVERSE:
        value = scale > 0 ? 1 / scale : 0;
        *inexact = scale > 0 && (double)value * (double)scale != 1;
        if (isinf(value))
            return err_set(e, ERR_INPUT, "is so small that F32 does not hold its inverse");
        memcpy(y, &value, 4);
        return 0;
    case EXTRA_DEQUANT:
        word = dequant_word(scale);
        *inexact = (f32_bits(scale) & 0x1fff) != 0;
        memcpy(y, &word, 8);
        return 0;
    case EXTRA_BITS:
        word = f32_bits(scale);
        memcpy(y, &word, 8);
        return 0;
    case EXTRA_F16:
    case EXTRA_BF16: {
        const uint16_t h = rule == EXTRA_F16 ? f16_encode(scale) : bf16_encode(scale);
        value = rule == EXTRA_F16 ? f16_decode(h) : bf16_decode(h);
        *inexact = value != scale;
        if (isinf(value) || fabsf(value - scale) > scale / 256)
            return err_set(e, ERR_INPUT, "is out of the range of %s: it would be off by more than one part in 256",
                           rule == EXTRA_F16 ? "F16" : "BF16");
        memcpy(y, &h, 2);
        return 0;
    }
    }
    return err_set(e, ERR_INPUT, "has no rule");
}

static int chip_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                    const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index, (void)in, (void)stride;
    const struct target_extra *x = op->ctx;
    const size_t size = row_bytes(op->dtype, 1);
    uint8_t *out = scratch_get(&w->out[0], b->rows * b->cols * size, e), *y = out;
    if (!out)
        return -1;
    for (uint64_t r = b->row; r < b->row + b->rows; r++)
        for (uint64_t c = b->col; c < b->col + b->cols; c++, y += size) {
            const float scale = scale_value(a->side[SIDE_SCALE], op->scale, r * op->m.cols + c);
            struct err why;
            bool inexact;
            if (chip_value(x->rule, scale, y, &inexact, &why))
                return err_set(e, ERR_INPUT, "%s: tensor '%s': scale [%llu,%llu] = %.9g %s (%s)", op->src->path,
                               op->src->t[op->in[0]].name, (unsigned long long)r, (unsigned long long)c, (double)scale,
                               why.msg, x->name);
            w->n.n.inexact += inexact;
        }
    w->result[0] = (struct result){out, b->cols * size, *b};
    w->n.elems = b->rows * b->cols;
    return 0;
}

const struct xform xform_chip = {.name = "chip", .streams = false, .box = chip_box};
