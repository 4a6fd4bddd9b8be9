/* The transforms that change no value: copies of codes, scales in another
 * type or at a finer granularity, and offsets that are all zero. */
#include "quantizers/encode.h"

#include <math.h>
#include <string.h>

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
    for (size_t i = 0; op->factor != 0 && i < b->rows * b->cols; i++)
        memcpy((uint8_t *)p + 4 * i, &op->factor, 4);
    w->result[0] = (struct result){p, width, *b};
    return 0;
}

const struct xform xform_zero = {.name = "zero", .streams = false, .box = zero_box};

/* An offset that must be zero, or factors that must be op->factor, for the codes to mean what the scheme says. */
static int check_zero_box(const struct op *op, struct active *a, unsigned pass, uint64_t index,
                          const struct box *b, const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)a, (void)pass, (void)index, (void)w;
    const struct tensor *t = &op->src->t[op->in[0]];
    size_t width = row_bytes(t->dtype, b->cols);
    uint8_t want[8] = {0};
    size_t size = op->factor != 0 ? 4 : 1;
    memcpy(want, &op->factor, 4);
    for (uint64_t r = 0; r < b->rows; r++)
        for (size_t i = 0; i < width; i++)
            if (in[r * stride + i] != want[i % size] && op->factor != 0)
                return err_set(e, ERR_INPUT, "%s: tensor '%s': a factor of the inputs is not %g, and what is to be written has "
                               "no place for it", op->src->f[t->file].path, t->name, (double)op->factor);
            else if (in[r * stride + i] != want[i % size])
                return err_set(e, ERR_INPUT,
                               "%s: tensor '%s': an offset is not zero, and what is to be written "
                               "has no place for it",
                               op->src->f[t->file].path, t->name);
    return 0;
}

const struct xform xform_check_zero = {.name = "check", .streams = true, .box = check_zero_box};

/* Bytes that were known when the plan was made (op->ctx). */
static int known_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                     const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)a, (void)pass, (void)index, (void)in, (void)stride, (void)e;
    w->result[0] = (struct result){(const uint8_t *)op->ctx + b->col, b->cols, *b};
    return 0;
}

const struct xform xform_known = {.name = "known", .streams = false, .box = known_box};

/* ---- codes ------------------------------------------------------------------- */

/* E4M3FN to E4M3FNUZ: the same byte is half the value, and -0 is NaN there. */
static int to_fnuz(const struct op *op, uint8_t *code, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if ((code[i] & 0x7f) == 0x7f)
            return err_set(e, ERR_INPUT, "%s: tensor '%s' holds NaN, for whose code FNUZ has a number", op->src->path,
                           op->src->t[op->in[0]].name);
        code[i] = code[i] == 0x80 ? 0 : code[i];
    }
    return 0;
}

/* Scale i of the source, its global one in it. */
static float folded(const struct op *op, const struct active *a, uint64_t i, uint64_t batch, struct work *w)
{
    const float scale = scale_value(a->side[SIDE_SCALE], op->scale, i) * (op->shift ? 2 : 1);
    const double factor = (op->factor != 0 ? (double)op->factor : 1)
                        * (op->from && op->from->constant != 0 ? (double)op->from->constant : 1);
    if (!op->side[SIDE_GLOBAL] && factor == 1)
        return scale;
    if (!op->side[SIDE_GLOBAL]) {
        const double product = (double)scale * factor;
        w->n.n.inexact += (double)(float)product != product;
        return (float)product;
    }
    const struct tensor *t = &op->src->t[op->in[op->side[SIDE_GLOBAL]]];
    const double global =
        (double)scale_value(a->side[SIDE_GLOBAL], t->dtype, tensor_elems(t) == 1 ? 0 : batch);
    const double both = op->from->global_divides ? (double)scale / global : (double)scale * global;
    w->n.n.inexact += (double)(float)both != both;
    return (float)both;
}

/* The same codes in another packing, or in a format in which they mean the same up to the scale. */
static int codes_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                     const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index;
    const bool two = op->coded.packing == PACK_ROWS;
    const size_t width = view_row_bytes(&op->coded, b->cols), unit = dtype_table[op->unit].block_bytes;
    const size_t room = b->cols + 8, step = two ? 2 : 1;
    uint8_t *out = scratch_get(&w->out[0], b->rows * width, e), *code = scratch_get(&w->row, step * room, e), *to = out;
    float *bias = op->bias ? scratch_get(&w->out[1], b->rows * op->bias * 4, e) : NULL;
    if (!out || !code || (op->bias && !bias))
        return -1;
    for (size_t r = 0; r < b->rows; r += step, to += width) {
        for (size_t k = 0; k < step; k++) {
            uint8_t *x = code + k * room;
            values_codes(&op->view, in + (r + k) * stride, b->cols, x);
            if (op->view.elem != op->coded.elem && to_fnuz(op, x, b->cols, e))
                return -1;
            if (bias)
                encode_bias(x, b->cols, folded(op, a, b->batch * op->m.rows + b->row + r + k, b->batch, w), op->bias,
                            bias + (r + k) * op->bias);
        }
        encode_pack_rows(&op->coded, code, room, step, b->cols, to);
    }
    w->result[0] = (struct result){out, width, op->coded.packing == PACK_PLAIN ? *b : encode_packed_box(&op->coded, b, unit)};
    if (bias)
        w->result[1] = (struct result){bias, op->bias * 4, {b->batch, b->row, b->rows, 0, op->bias}};
    w->n.elems = b->rows * b->cols;
    return 0;
}

const struct xform xform_codes = {.name = "codes", .streams = true, .box = codes_box};

/* The codes that stand for zero, packed along the rows: word w of a column has the bits 32 * w .. of a stream
 * of codes of the rows, each value + 2^(bits-1). */
static int points_box(const struct op *op, struct active *a, unsigned pass, uint64_t index,
                      const struct box *b, const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index, (void)in, (void)stride;
    const uint8_t *side[SIDE_COUNT] = {[SIDE_POINT] = a->side[SIDE_SCALE]};
    const unsigned bits = op->from->scheme->bits;
    const int middle = 1 << (bits - 1);
    struct values v;
    uint64_t rows, cols;
    uint8_t *out = scratch_get(&w->out[0], b->rows * b->cols * 4, e), *y = out;
    if (!out)
        return -1;
    values_init(&v, op->src, &op->from->view, op->from, side);
    scheme_scale_shape(op->from->scheme, view_matrix(&op->from->view).rows, view_matrix(&op->from->view).cols,
                       &rows, &cols);
    for (uint64_t r = b->row; r < b->row + b->rows; r++)
        for (uint64_t c = b->col; c < b->col + b->cols; c++, y += 4) {
            uint32_t word = 0;
            for (uint64_t k = 32 * r / bits; k < rows && k * bits < 32 * (r + 1); k++) {
                const int code = values_point(&v, k, c / op->repeat[1], cols) + middle;
                if (code < 0 || code >= 2 * middle)
                    return err_set(e, ERR_INPUT,
                                   "%s: tensor '%s': %d stands for zero in row %llu, which is no code of "
                                   "%u bits",
                                   op->src->path, op->src->t[op->in[0]].name, code - middle,
                                   (unsigned long long)k, bits);
                word |= k * bits < 32 * r ? (uint32_t)code >> (32 * r - k * bits)
                                          : (uint32_t)code << (k * bits - 32 * r);
            }
            memcpy(y, &word, 4);
        }
    w->result[0] = (struct result){out, b->cols * 4, *b};
    w->n.elems = b->rows * b->cols;
    return 0;
}

const struct xform xform_points = {.name = "points", .streams = false, .box = points_box};

/* ---- scales ------------------------------------------------------------------ */

/* A second-level scale, as it is or (divides) inverted: rounded once, by at most 6e-8 of itself. */
static int global_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                      const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index, (void)in, (void)stride;
    float *out = scratch_get(&w->out[0], b->cols * 4, e);
    const struct tensor *t = &op->src->t[op->in[0]];
    if (!out)
        return -1;
    for (uint64_t c = 0; c < b->cols; c++) {
        const float x = scale_value(a->side[SIDE_SCALE], t->dtype, b->row * op->m.cols + b->col + c);
        if (!(x > 0) || isinf(x))
            return err_set(e, ERR_INPUT, "%s: tensor '%s': the second-level scale is %g", op->src->path, t->name, (double)x);
        out[c] = op->divides ? (float)(1 / (double)x) : x;
        w->n.n.inexact += op->divides && (double)out[c] * (double)x != 1;
    }
    w->n.elems = b->cols;
    w->result[0] = (struct result){out, b->cols * 4, *b};
    return 0;
}

const struct xform xform_global = {.name = "global", .streams = false, .box = global_box};

static bool is_code(enum dtype t) { return t == DT_U8 || t == DT_F8_E8M0; }

static int scale_error(const struct op *op, uint64_t r, uint64_t c, float value, const char *what, struct err *e)
{
    const struct tensor *t = &op->src->t[op->in[0]];
    return err_set(e, ERR_INPUT, "%s: tensor '%s': scale [%llu,%llu] = %.9g %s", op->src->f[t->file].path,
                   t->name, (unsigned long long)r, (unsigned long long)c, (double)value, what);
}

/* One scale into the type of the output; false when that does not hold it exactly. */
static bool put_scale(const struct op *op, float value, int code, uint8_t *y)
{
    uint16_t h = 0;
    if (op->scale == DT_F8_E4M3) {
        *y = e4m3_encode(value, OVERFLOW_SATURATE);
        return e4m3_decode(*y) == value;
    }
    if (is_code(op->dtype)) {
        *y = (uint8_t)code;
        return true;
    }
    if (op->dtype == DT_F32)
        return memcpy(y, &value, 4), !isinf(value);
    if (op->dtype == DT_BF16 || op->dtype == DT_F16)
        h = op->dtype == DT_BF16 ? bf16_encode(value) : f16_encode(value);
    memcpy(y, &h, 2);
    return !isinf(value) && (op->dtype == DT_BF16 ? bf16_decode(h) : f16_decode(h)) == value;
}

/* One scale in another type, only when that is exact.  Code 0 of UE8M0 is 2^-127, a subnormal FP32 or BF16
 * number: files have it for blocks of zeros (compressed-tensors, OCP MX), and it goes through as what it is,
 * both ways. */
static int rescale_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                       const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index, (void)in, (void)stride;
    const uint8_t *side = a->side[SIDE_SCALE];
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
            float value = folded(op, a, i, b->batch, w);
            int code = is_code(op->scale) ? side[i] + op->shift : ue8m0_exact(value);
            if (isnan(value) || isinf(value) || value < 0)
                return scale_error(op, sr, sc, value, "is no scale", e);
            if ((op->pow2 || is_code(op->dtype)) && (code < 0 || code > 254))
                return scale_error(
                    op, sr, sc, value,
                    "is not a power of two in 2^-127..2^127, so it cannot become "
                    "UE8M0 exactly (--spool lets that be seen and handled before anything is written)",
                    e);
            const float big = op->times ? ldexpf(value, op->times) : value;
            if (!put_scale(op, big, code, y) || (op->times && ldexpf(big, -op->times) != value))
                return scale_error(op, sr, sc, big, "does not fit the type of the output exactly", e);
        }
    w->result[0] = (struct result){out, b->cols * esize, *b};
    w->n.elems = b->rows * b->cols;
    return 0;
}

const struct xform xform_rescale = {.name = "rescale", .streams = false, .box = rescale_box};
