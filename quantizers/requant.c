/* Codes with arbitrary scales to codes of the same blocks with powers of two,
 * the move from DeepSeek-V3 to V3.1.  It rounds every value a second time.
 *
 * Within a block the new code depends on the old one alone, so each block has a
 * table of 256 codes, made from the exact products.  A block whose scale is a
 * power of two already keeps its bytes. */
#include "quantizers/encode.h"

#include <math.h>
#include <string.h>

struct remap {
    uint32_t of[256];        /* the new code, and above it a byte each: 1 when it is inexact, flushed, saturated */
    bool same;               /* the codes stay */
};

/* The table of a block of scale s whose largest code, without sign, is top; *scale receives its new code. */
static int make_remap(const struct op *op, float s, uint8_t top, struct remap *t, uint8_t *scale, struct err *e)
{
    const int exact = ue8m0_exact(s);
    const char *const name = op->src->t[op->in[1]].name;
    if (!(s >= 0) || isinf(s))
        return err_set(e, ERR_INPUT, "%s: tensor '%s': a scale is %g", op->src->path, name, (double)s);
    t->same = exact >= 0 && exact <= 254;
    if (t->same) {
        *scale = (uint8_t)exact;
        return 0;
    }
    bool itself;
    const struct num *const num = encoding_num(op->to);
    const double limit = (double)encode_limit(num, &itself);
    const float amax = round_to_odd((double)e4m3_decode(top) * (double)s);
    *scale = op->to->rule->code(amax, &num_e4m3);
    if (*scale == 255)
        return err_set(e, ERR_INPUT, "%s: tensor '%s': rule '%s' has no scale for a block with amax %.9g", op->src->path,
                       name, op->to->rule->name, (double)amax);
    const double power = (double)ue8m0_decode(*scale);
    for (int q = 0; q < 256; q++) {
        const double x = (double)e4m3_decode((uint8_t)q) * (double)s;
        const double y = x / power; /* exact: a power of two */
        const uint8_t code = isnan(y) ? (uint8_t)q : (uint8_t)num->encode(round_to_odd(y), OVERFLOW_SATURATE);
        const double back = (double)e4m3_decode(code) * power;
        const uint32_t inexact = back != x, flushed = back == 0 && x != 0;
        const uint32_t saturated = fabs(y) > limit || (itself && fabs(y) == limit);
        t->of[q] = code | inexact << 8 | flushed << 16 | saturated << 24;
    }
    return 0;
}

/* The largest code without its sign; in lanes, so that compilers make vectors of them. */
static uint8_t largest(const uint8_t *q, size_t stride, size_t rows, size_t cols)
{
    enum { LANES = 32 };
    uint8_t lane[LANES] = {0}, top = 0;
    for (size_t r = 0; r < rows; r++, q += stride) {
        size_t c = 0;
        for (; c + LANES <= cols; c += LANES)
            for (size_t i = 0; i < LANES; i++)
                lane[i] = (q[c + i] & 0x7f) > lane[i] ? q[c + i] & 0x7f : lane[i];
        for (; c < cols; c++)
            top = (q[c] & 0x7f) > top ? q[c] & 0x7f : top;
    }
    for (size_t i = 0; i < LANES; i++)
        top = lane[i] > top ? lane[i] : top;
    return top;
}

static void apply(const struct remap *t, const uint8_t *q, size_t stride, size_t rows, size_t cols, uint8_t *out,
                  size_t pitch, struct kern_count *n)
{
    for (size_t r = 0; r < rows; r++, q += stride, out += pitch) {
        if (t->same) {
            memcpy(out, q, cols);
            continue;
        }
        for (size_t c = 0; c < cols;) {
            const size_t end = min_u64(c + 255, cols); /* so many fit into a byte of the sum */
            uint32_t sum = 0;
            for (; c < end; c++) {
                const uint32_t x = t->of[q[c]];
                out[c] = (uint8_t)x;
                sum += x >> 8;
            }
            n->inexact += sum & 0xff;
            n->flushed += sum >> 8 & 0xff;
            n->saturated += sum >> 16;
        }
    }
}

static int requant_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                       const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)pass, (void)index;
    const struct scheme *s = op->to->scheme;
    const size_t nr = ceil_div(b->rows, s->block_rows), nc = ceil_div(b->cols, s->block_cols);
    const size_t size = row_bytes(op->dtype, 1);
    const enum dtype type = scale_type(op->src->t[op->in[1]].dtype, op->from->scheme);
    uint64_t rows, cols;
    uint8_t *q = scratch_get(&w->out[0], b->rows * b->cols, e), *out = scratch_get(&w->out[1], nr * nc * 4, e);
    struct remap *t = scratch_get(&w->row, sizeof *t, e);
    if (!q || !out || !t)
        return -1;
    scheme_scale_shape(s, op->m.rows, op->m.cols, &rows, &cols);
    for (size_t i = 0; i < nr; i++)
        for (size_t k = 0; k < nc; k++) {
            const size_t r = i * s->block_rows, c = k * s->block_cols;
            const size_t h = min_u64(s->block_rows, b->rows - r), width = min_u64(s->block_cols, b->cols - c);
            const uint64_t at = (b->batch * rows + b->row / s->block_rows + i) * cols + b->col / s->block_cols + k;
            const uint8_t *from = in + r * stride + c, top = largest(from, stride, h, width);
            uint8_t code;
            if (top == 0x7f)
                return err_set(e, ERR_INPUT, "%s: tensor '%s': block [%llu,%llu] holds NaN", op->src->path, op->from->name,
                               (unsigned long long)(b->row + r), (unsigned long long)(b->col + c));
            if (make_remap(op, scale_value(a->side[SIDE_SCALE], type, at), top, t, &code, e))
                return -1;
            apply(t, from, stride, h, width, q + r * b->cols + c, b->cols, &w->n.n);
            const float f = ue8m0_decode(code);
            if (op->dtype == DT_F32)
                memcpy(out + 4 * (i * nc + k), &f, 4);
            else
                out[i * nc + k] = code;
        }
    w->n.elems = b->rows * b->cols;
    w->result[0] = (struct result){q, b->cols, *b};
    w->result[1] = (struct result){out, nc * size,
                                   {b->batch, b->row / s->block_rows, nr, b->col / s->block_cols, nc}};
    return 0;
}

const struct xform xform_requant = {.name = "requantize", .streams = true, .box = requant_box};
