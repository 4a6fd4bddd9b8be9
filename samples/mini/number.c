/* Numbers, the slow way: a format is the list of its values, rounding is a search. */
#include "mini.h"

#include <string.h>

const struct dtype_row dtypes[] = {
    [U8] = {"U8", 1},           [I8] = {"I8", 1},   [F8_E4M3] = {"F8_E4M3", 1},
    [F8_E8M0] = {"F8_E8M0", 1}, [F16] = {"F16", 2}, [BF16] = {"BF16", 2},
    [I32] = {"I32", 4},         [F32] = {"F32", 4}, [I64] = {"I64", 8},
};

/* ---- formats --------------------------------------------------------------- */

/* The finite magnitudes of a format in the order of their codes. */
struct format {
    int mantissa_bits, bias;
    unsigned codes;
    double *value;
};
static struct format e4m3 = {3, 7, 0x7f, NULL}, e2m1 = {1, 1, 8, NULL}, f16 = {10, 15, 0x7c00, NULL},
                     bf16 = {7, 127, 0x7f80, NULL};
static double powers[256]; /* powers[e + 127] is 2^e */

static double power(int e)
{
    if (!powers[127]) {
        powers[127] = 1;
        for (int i = 1; i < 128; i++) {
            powers[127 + i] = powers[126 + i] * 2;
            powers[127 - i] = powers[128 - i] / 2;
        }
    }
    return powers[e + 127];
}

static const double *values(struct format *f)
{
    const unsigned m = 1u << f->mantissa_bits;

    if (f->value)
        return f->value;
    f->value = need(f->codes, sizeof *f->value);
    for (unsigned i = 0; i < f->codes; i++) {
        const unsigned e = i / m;
        const double unit = power((int)(e ? e : 1) - f->bias) / m;
        f->value[i] = (e ? m + i % m : i) * unit;
    }
    return f->value;
}

/* The code of the value nearest to magnitude; of two, the even one, or the larger
 * one.  What is too large becomes the largest. */
static unsigned nearest(struct format *f, double magnitude, bool away)
{
    const double *const v = values(f);
    unsigned low = 0, high = f->codes - 1;

    if (magnitude >= v[high])
        return high;
    while (high - low > 1) { /* v[low] <= magnitude < v[high] */
        const unsigned middle = (low + high) / 2;
        if (v[middle] <= magnitude)
            low = middle;
        else
            high = middle;
    }
    const double below = magnitude - v[low], above = v[high] - magnitude;
    if (below == above)
        return away ? high : low + low % 2;
    return below < above ? low : high;
}

static void put_le(uint8_t *p, uint64_t x, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)(x >> 8 * i);
}

double store(enum dtype t, double v, uint8_t *p)
{
    struct format *const f = t == F8_E4M3 ? &e4m3 : t == F16 ? &f16 : &bf16;
    const float single = (float)v;
    uint32_t bits;

    switch (t) {
    case F32:
        memcpy(&bits, &single, 4);
        put_le(p, bits, 4);
        return single;
    case U8:
    case F8_E8M0:
        bits = 0;
        while (power((int)bits - 127) < v)
            bits++;
        put_le(p, bits, 1);
        return power((int)bits - 127);
    case I32:
    case I64:
        put_le(p, (uint64_t)(int64_t)v, dtypes[t].size);
        return v;
    default:
        bits = nearest(f, v < 0 ? -v : v, false);
        put_le(p, bits | (uint32_t)(v < 0) << (8 * dtypes[t].size - 1), dtypes[t].size);
        return v < 0 ? -f->value[bits] : f->value[bits];
    }
}

/* ---- elements -------------------------------------------------------------- */

static int round_int(double y, bool away, int least, int most)
{
    const double magnitude = y < 0 ? -y : y;
    int i = (int)magnitude;

    i += magnitude - i > 0.5 || (magnitude - i == 0.5 && (away || i % 2));
    i = y < 0 ? -i : i;
    return i < least ? least : i > most ? most : i;
}

/* The sign of a zero stays, also of a value that becomes zero. */
static uint8_t encode(const struct scheme *s, double y, bool negative, int zero)
{
    const double magnitude = negative ? -y : y;

    switch (s->elem) {
    case E4M3:
        return (uint8_t)(nearest(&e4m3, magnitude, s->away) | (unsigned)negative << 7);
    case E2M1:
        return (uint8_t)(nearest(&e2m1, magnitude, s->away) | (unsigned)negative << 3);
    case INT8:
        return (uint8_t)round_int(y, s->away, -128, 127);
    default:
        return (uint8_t)round_int(y + zero, s->away, -8, 7);
    }
}

static double decode(const struct scheme *s, uint8_t code, int zero)
{
    switch (s->elem) {
    case E4M3:
        return (code & 0x80 ? -1 : 1) * values(&e4m3)[code & 0x7f];
    case E2M1:
        return (code & 8 ? -1 : 1) * values(&e2m1)[code & 7];
    default:
        return (int8_t)code - zero;
    }
}

/* ---- scales ---------------------------------------------------------------- */

static double derive(const struct scheme *s, double multiplier, double amax)
{
    const double a = amax > s->least ? amax : s->least;
    int e;

    if (amax == 0 && s->zero != 0)
        return s->zero;
    switch (s->rule) {
    case DIVIDE:
        return (float)(a / s->max);
    case UP:
        for (e = -127; e < 127 && s->max * (multiplier * power(e)) < a; e++)
            ;
        return multiplier * power(e);
    default:
        for (e = 127; e > -127 && power(e) > a; e--)
            ;
        e += s->rule == BUMP && a >= 1.75 * power(e);
        e -= s->emax;
        return power(e < -127 ? -127 : e);
    }
}

struct extent {
    double amax, least, most; /* least <= 0 <= most */
};

static void widen(struct extent *x, double v)
{
    x->least = v < x->least ? v : x->least;
    x->most = v > x->most ? v : x->most;
    x->amax = -x->least > x->most ? -x->least : x->most;
}

void quantize(const struct scheme *s, double multiplier, const float *x, uint64_t rows, uint64_t cols,
              struct quantized *q)
{
    const uint64_t down = s->rows ? s->rows : rows, across = s->cols ? s->cols : cols;
    struct extent all = {0};
    uint8_t stored[8];

    *q = (struct quantized){.rows = rows,
                            .cols = cols,
                            .block_rows = (rows + down - 1) / down,
                            .block_cols = (cols + across - 1) / across};
    const uint64_t blocks = q->block_rows * q->block_cols;
    struct extent *const extent = need(blocks, sizeof *extent);
    q->code = need(rows * cols, 1);
    q->scale = need(blocks, sizeof *q->scale);
    q->zero = need(blocks, 1);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++) {
            widen(&extent[r / down * q->block_cols + c / across], x[r * cols + c]);
            widen(&all, x[r * cols + c]);
        }

    /* The global scale spreads the scales of blocks over all of E4M3. */
    q->global = s->global == DIVIDES ? (float)(448 * 6 / all.amax)
                : s->global          ? (float)(all.amax / (448 * 6))
                                     : 1;
    const double up = s->global == MULTIPLIES ? q->global : 1, below = s->global == DIVIDES ? q->global : 1;
    for (uint64_t b = 0; b < blocks; b++) {
        const struct extent *const e = &extent[b];
        double scale = derive(s, multiplier, s->asymmetric ? e->most - e->least : e->amax);
        if (s->global && e->amax != 0)
            scale = (float)(scale * below / up);
        q->scale[b] = store(s->scale, scale, stored);
        if (s->asymmetric && e->amax != 0)
            q->zero[b] = (int8_t)round_int(-8 - e->least / q->scale[b], false, -8, 7);
    }
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++) {
            const uint64_t b = r / down * q->block_cols + c / across, i = r * cols + c;
            const float y = (float)(x[i] * below / (q->scale[b] * up));
            q->code[i] = encode(s, y, x[i] < 0, q->zero[b]);
        }
    free(extent);
}

void quantized_free(struct quantized *q)
{
    free(q->code);
    free(q->scale);
    free(q->zero);
}

/* The scale that is used is a float, with the global one in it; code times scale is exact in double. */
void dequantize(const struct scheme *s, const struct quantized *q, float *out)
{
    const uint64_t down = s->rows ? s->rows : q->rows, across = s->cols ? s->cols : q->cols;
    const double up = s->global == MULTIPLIES ? q->global : 1, below = s->global == DIVIDES ? q->global : 1;

    for (uint64_t r = 0; r < q->rows; r++)
        for (uint64_t c = 0; c < q->cols; c++) {
            const uint64_t b = r / down * q->block_cols + c / across, i = r * q->cols + c;
            const float scale = (float)(q->scale[b] * up / below);
            out[i] = (float)(decode(s, q->code[i], q->zero[b]) * (double)scale);
        }
}
