/* The transforms that change no value: copies of codes, scales in another
 * type or at a finer granularity, and offsets that are all zero. */
#include "quantizers/plan.h"

#include <math.h>

static int copy_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                    const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)op, (void)a, (void)pass, (void)index, (void)e;
    w->result[0] = (struct result){in, stride, *b};
    w->n.elems = b->rows * b->cols;
    return 0;
}

const struct xform xform_copy = {.name = "copy", .streams = true, .box = copy_box};

static int zero_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                    const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)a, (void)pass, (void)index, (void)in, (void)stride;
    size_t width = row_bytes(op->dtype, b->cols);
    void *p = scratch_get(&w->out[0], b->rows * width, e);
    if (!p)
        return -1;
    memset(p, 0, b->rows * width);
    w->result[0] = (struct result){p, width, *b};
    return 0;
}

const struct xform xform_zero = {.name = "zero", .streams = false, .box = zero_box};

/* An offset that must be zero for the codes to mean what the scheme says. */
static int check_zero_box(const struct op *op, struct active *a, unsigned pass, uint64_t index,
                          const struct box *b, const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)a, (void)pass, (void)index, (void)w;
    const struct tensor *t = &op->src->t[op->in[0]];
    size_t width = row_bytes(t->dtype, b->cols);
    for (uint64_t r = 0; r < b->rows; r++)
        for (size_t i = 0; i < width; i++)
            if (in[r * stride + i])
                return err_set(e, ERR_INPUT, "%s: tensor '%s': an offset is not zero: asymmetric codes are not "
                               "read by this version", op->src->f[t->file].path, t->name);
    return 0;
}

const struct xform xform_check_zero = {.name = "check", .streams = true, .box = check_zero_box};

static bool is_code(enum dtype t) { return t == DT_U8 || t == DT_F8_E8M0; }

static int scale_error(const struct op *op, uint64_t r, uint64_t c, float value, const char *what, struct err *e)
{
    const struct tensor *t = &op->src->t[op->in[0]];
    return err_set(e, ERR_INPUT, "%s: tensor '%s': scale [%llu,%llu] = %.9g %s", op->src->f[t->file].path,
                   t->name, (unsigned long long)r, (unsigned long long)c, (double)value, what);
}

/* One scale in another type, only when that is exact. */
static int rescale_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                       const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index, (void)in, (void)stride;
    const struct tensor *t = &op->src->t[op->in[0]];
    size_t esize = row_bytes(op->dtype, 1);
    /* The source's matrix of scales, whatever its rank says: [N] and [N,1] hold the same. */
    uint64_t rows = ceil_div(op->m.rows, op->repeat[0]), cols = ceil_div(op->m.cols, op->repeat[1]);
    uint8_t *out = scratch_get(&w->out[0], b->rows * b->cols * esize, e), *y = out;
    if (!out)
        return -1;
    for (uint64_t r = 0; r < b->rows; r++)
        for (uint64_t c = 0; c < b->cols; c++, y += esize) {
            uint64_t sr = (b->row + r) / op->repeat[0], sc = (b->col + c) / op->repeat[1];
            uint64_t i = (b->batch * rows + sr) * cols + sc;
            float value = scale_value(a->side, t->dtype, i);
            int code = is_code(t->dtype) ? a->side[i] : ue8m0_exact(value);
            if (isnan(value) || isinf(value) || value < 0)
                return scale_error(op, sr, sc, value, "is no scale", e);
            if ((op->pow2 || is_code(op->dtype)) && (code < 1 || code > 254))
                return scale_error(op, sr, sc, value, "is not a power of two in 2^-126..2^127, so it cannot become "
                                   "UE8M0 exactly (dequantize and quantize again, which rounds a second time)", e);
            uint16_t h = bf16_encode(value);
            if (is_code(op->dtype))
                *y = (uint8_t)code;
            else if (op->dtype == DT_F32)
                memcpy(y, &value, 4);
            else if (op->dtype == DT_BF16 && bf16_decode(h) == value)
                memcpy(y, &h, 2);
            else
                return scale_error(op, sr, sc, value, "does not fit the type of the output exactly", e);
        }
    w->result[0] = (struct result){out, b->cols * esize, *b};
    w->n.elems = b->rows * b->cols;
    return 0;
}

const struct xform xform_rescale = {.name = "rescale", .streams = false, .box = rescale_box};
