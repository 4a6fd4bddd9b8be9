/* The kernels in plain C: slow, and obviously what kern.h says.
 *
 * Matrices are walked row by row, so that memory is read in the order it
 * lies, and within a row block by block. */
#include "quantizers/kern.h"

#include "quantizers/narrow.h"
#include "quantizers/num.h"

#include <math.h>
#include <stdbool.h>

/* Element i of a row of unknown alignment, as FP32. */
static inline float load(const uint8_t *row, size_t i, enum src s)
{
    uint16_t h;
    float x;

    if (s == SRC_F32) {
        memcpy(&x, row + 4 * i, 4);
        return x;
    }
    memcpy(&h, row + 2 * i, 2);
    return s == SRC_BF16 ? bf16_decode(h) : f16_decode(h);
}

/* The magnitude bits of element i in its own format; they order like values. */
static inline uint32_t load_mag(const uint8_t *row, size_t i, enum src s)
{
    uint16_t h;
    uint32_t u;

    if (s == SRC_F32) {
        memcpy(&u, row + 4 * i, 4);
        return u & 0x7fffffff;
    }
    memcpy(&h, row + 2 * i, 2);
    return h & 0x7fff;
}

static inline float mag_value(uint32_t mag, enum src s)
{
    if (s == SRC_F32)
        return f32_from(mag);
    return s == SRC_BF16 ? bf16_decode((uint16_t)mag) : f16_decode((uint16_t)mag);
}

/* e4m3_decode of all codes: the encoders decode every code that they make. */
static float e4m3_value[256];

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- amax -------------------------------------------------------------- */

static inline void amax(const uint8_t *x, size_t stride, size_t rows, size_t cols, size_t block,
                        float *out, enum src s)
{
    for (size_t c = 0, b = 0; c < cols; b++) {
        uint32_t top[64] = { 0 };   /* this many blocks side by side per sweep */
        size_t n = 0, end = c;

        for (; n < 64 && end < cols; n++)
            end += smaller(block, cols - end);
        for (size_t r = 0; r < rows; r++) {
            size_t i = c;

            for (size_t k = 0; k < n; k++)
                for (const size_t stop = i + smaller(block, cols - i); i < stop; i++) {
                    const uint32_t mag = load_mag(x + r * stride, i, s);

                    if (mag > top[k])
                        top[k] = mag;
                }
        }
        for (size_t k = 0; k < n; k++)
            out[b + k] = mag_value(top[k], s);
        b += n - 1;
        c = end;
    }
}

/* ---- encoders ---------------------------------------------------------- */

/* Counts one element: x is the source, back its code's value, exactly. */
static inline void count(struct kern_count *n, float x, double back, bool zero, bool over)
{
    n->inexact += back != (double)x;
    n->flushed += zero & (f32_bits(x) << 1 != 0);
    n->saturated += over;
}

static inline void add(struct kern_count *to, const struct kern_count *n)
{
    to->inexact += n->inexact;
    to->flushed += n->flushed;
    to->saturated += n->saturated;
}

static inline void enc_pow2(const uint8_t *x, size_t stride, size_t rows, size_t cols, size_t block,
                            const uint8_t *code, uint8_t *q, size_t qstride,
                            struct kern_count *n, enum src s)
{
    struct kern_count t = { 0 };

    for (size_t r = 0; r < rows; r++, x += stride, q += qstride)
        for (size_t c = 0, b = 0; c < cols; b++) {
            const float scale = ue8m0_decode(code[b]);
            /* 2^(127 - code); exact, the reciprocal of 2^127 being 2^-127 */
            const float inverse = ue8m0_decode((uint8_t)(254 - code[b]));

            for (const size_t stop = c + smaller(block, cols - c); c < stop; c++) {
                const float v = load(x, c, s);
                /* Inexact only when it underflows FP32: then it is far below
                 * the smallest code and becomes zero in any case. */
                const float y = fabsf(v) * inverse;
                const uint8_t mag = narrow_e4m3(f32_bits(y));

                q[c] = (uint8_t)(mag | (f32_bits(v) >> 31 << 7));
                count(&t, v, (double)e4m3_value[q[c]] * scale, mag == 0, y > 464);
            }
        }
    add(n, &t);
}

static inline void enc_f32(const uint8_t *x, size_t stride, size_t rows, size_t cols, size_t block,
                           const float *scale, uint8_t *q, size_t qstride,
                           struct kern_count *n, enum src s)
{
    struct kern_count t = { 0 };

    for (size_t r = 0; r < rows; r++, x += stride, q += qstride)
        for (size_t c = 0, b = 0; c < cols; b++)
            for (const size_t stop = c + smaller(block, cols - c); c < stop; c++) {
                const float v = load(x, c, s), y = fabsf(v) / scale[b];
                const uint8_t mag = narrow_e4m3(f32_bits(y));

                q[c] = (uint8_t)(mag | (f32_bits(v) >> 31 << 7));
                /* 4 bits times 24 bits: exact in double */
                count(&t, v, (double)e4m3_value[q[c]] * scale[b], mag == 0, y > 464);
            }
    add(n, &t);
}

static inline void enc_i8(const uint8_t *x, size_t stride, size_t rows, size_t cols, size_t block,
                          const float *scale, int8_t *q, size_t qstride,
                          struct kern_count *n, enum src s)
{
    struct kern_count t = { 0 };

    for (size_t r = 0; r < rows; r++, x += stride, q += qstride)
        for (size_t c = 0, b = 0; c < cols; b++)
            for (const size_t stop = c + smaller(block, cols - c); c < stop; c++) {
                const float v = load(x, c, s), y = v / scale[b];

                q[c] = (int8_t)num_int8.encode(y, OVERFLOW_SATURATE);
                /* 127.5 is the first magnitude that rounds beyond 127 */
                count(&t, v, (double)q[c] * scale[b], q[c] == 0, fabsf(y) >= 127.5f);
            }
    add(n, &t);
}

/* ---- decoders ---------------------------------------------------------- */

static void dec_e4m3(const uint8_t *q, size_t qstride, size_t rows, size_t cols, size_t block,
                     const float *scale, float *y, size_t ystride)
{
    uint8_t *out = (uint8_t *)y;

    for (size_t r = 0; r < rows; r++, q += qstride, out += ystride)
        for (size_t c = 0, b = 0; c < cols; b++)
            for (const size_t stop = c + smaller(block, cols - c); c < stop; c++) {
                const float value = e4m3_value[q[c]];
                /* NaN is kept apart: which NaN a product gives is not portable */
                const float v = value == value ? value * scale[b] : value;

                memcpy(out + 4 * c, &v, 4);
            }
}

static void dec_int8(const int8_t *q, size_t qstride, size_t rows, size_t cols, size_t block,
                     const float *scale, float *y, size_t ystride)
{
    uint8_t *out = (uint8_t *)y;

    for (size_t r = 0; r < rows; r++, q += qstride, out += ystride)
        for (size_t c = 0, b = 0; c < cols; b++)
            for (const size_t stop = c + smaller(block, cols - c); c < stop; c++) {
                const float v = (float)q[c] * scale[b];

                memcpy(out + 4 * c, &v, 4);
            }
}

/* ---- conversions ------------------------------------------------------- */

static void bf16_to_f32(const uint16_t *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = bf16_decode(x[i]);
}

static void f16_to_f32(const uint16_t *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = f16_decode(x[i]);
}

static void f32_to_bf16(const float *x, uint16_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = bf16_encode(x[i]);
}

static void f32_to_f16(const float *x, uint16_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = f16_encode(x[i]);
}

/* ---- error ------------------------------------------------------------- */

struct lanes {
    double se[8], sx[8], sy[8];
};

static void add_pairs(const float *x, const float *y, size_t n, struct lanes *l, struct kern_match *m)
{
    for (size_t i = 0; i < n; i++) {
        const size_t k = i % 4 + i / 8 % 2 * 4;
        const double a = x[i], b = y[i], d = b - a;
        const float away = fabsf(y[i] - x[i]);

        l->se[k] = fma(d, d, l->se[k]);
        l->sx[k] += a * a;   /* exact products: fused or not is the same */
        l->sy[k] += b * b;
        if (away > m->max)
            m->max = away;
        m->equal += x[i] == y[i];
        m->flushed += (y[i] == 0) & (x[i] != 0);
    }
}

static double lane_sum(const double *lane)
{
    double s[4];

    for (int i = 0; i < 4; i++)
        s[i] = lane[i] + lane[i + 4];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static void add_sums(const struct lanes *l, struct kern_error *sums)
{
    sums->se += lane_sum(l->se);
    sums->sx += lane_sum(l->sx);
    sums->sy += lane_sum(l->sy);
}

static void error(const float *x, const float *y, size_t n, size_t block, struct kern_error *sums,
                  struct kern_match *m)
{
    for (size_t i = 0; i < n; i += KERN_SEGMENT) {
        struct lanes l = { { 0 }, { 0 }, { 0 } };

        add_pairs(x + i, y + i, smaller(KERN_SEGMENT, n - i), &l, m);
        add_sums(&l, sums + i / block);
    }
}

static inline void error_e4m3(const uint8_t *x, size_t stride, const uint8_t *q, size_t qstride, size_t rows,
                              size_t cols, size_t block, const float *scale, struct kern_error *sums,
                              struct kern_match *m, enum src s)
{
    for (size_t r = 0; r < rows; r += KERN_ROWS)
        for (size_t c = 0; c < cols; c += KERN_SEGMENT) {
            const size_t n = smaller(KERN_SEGMENT, cols - c), end = smaller(r + KERN_ROWS, rows);
            struct lanes l = { { 0 }, { 0 }, { 0 } };

            for (size_t k = r; k < end; k++) {
                float a[KERN_SEGMENT], b[KERN_SEGMENT];

                for (size_t i = 0; i < n; i++) {
                    a[i] = load(x + k * stride, c + i, s);
                    dec_e4m3(q + k * qstride + c + i, 0, 1, 1, 1, scale + (c + i) / block, b + i, 0);
                    m->saturated += ((q[k * qstride + c + i] & 0x7f) == 0x7e) & (b[i] != 0)
                                    & (448 * (double)fabsf(a[i]) > 464 * (double)fabsf(b[i]));
                }
                add_pairs(a, b, n, &l, m);
            }
            add_sums(&l, sums + c / KERN_SEGMENT);
        }
}

/* One set of entry points per source type, so that the type is a constant in
 * each copy of the loops above. */
#define ENTRIES(name, s)                                                                          \
    static void amax_##name(const void *x, size_t stride, size_t rows, size_t cols, size_t block, \
                            float *out)                                                           \
    {                                                                                             \
        amax(x, stride, rows, cols, block, out, s);                                               \
    }                                                                                             \
    static void pow2_##name(const void *x, size_t stride, size_t rows, size_t cols, size_t block, \
                            const uint8_t *code, uint8_t *q, size_t qstride,                      \
                            struct kern_count *n)                                                 \
    {                                                                                             \
        enc_pow2(x, stride, rows, cols, block, code, q, qstride, n, s);                           \
    }                                                                                             \
    static void f32_##name(const void *x, size_t stride, size_t rows, size_t cols, size_t block,  \
                           const float *scale, uint8_t *q, size_t qstride, struct kern_count *n)  \
    {                                                                                             \
        enc_f32(x, stride, rows, cols, block, scale, q, qstride, n, s);                           \
    }                                                                                             \
    static void i8_##name(const void *x, size_t stride, size_t rows, size_t cols, size_t block,   \
                          const float *scale, int8_t *q, size_t qstride, struct kern_count *n)    \
    {                                                                                             \
        enc_i8(x, stride, rows, cols, block, scale, q, qstride, n, s);                            \
    }                                                                                             \
    static void error_##name(const void *x, size_t stride, const uint8_t *q, size_t qstride,      \
                             size_t rows, size_t cols, size_t block, const float *scale,          \
                             struct kern_error *sums, struct kern_match *m)                       \
    {                                                                                             \
        error_e4m3(x, stride, q, qstride, rows, cols, block, scale, sums, m, s);                  \
    }
ENTRIES(bf16, SRC_BF16)
ENTRIES(f16, SRC_F16)
ENTRIES(f32, SRC_F32)

void kern_fill_c(struct kern *k)
{
    for (int code = 0; code < 256; code++)
        e4m3_value[code] = e4m3_decode((uint8_t)code);
    *k = (struct kern){
        .name = "c",
        .amax = { amax_bf16, amax_f16, amax_f32 },
        .enc_e4m3_pow2 = { pow2_bf16, pow2_f16, pow2_f32 },
        .enc_e4m3_f32 = { f32_bf16, f32_f16, f32_f32 },
        .enc_int8 = { i8_bf16, i8_f16, i8_f32 },
        .enc_e2m1 = kern_e2m1_c,
        .dec_e4m3 = dec_e4m3,
        .dec_int8 = dec_int8,
        .bf16_to_f32 = bf16_to_f32,
        .f16_to_f32 = f16_to_f32,
        .f32_to_bf16 = f32_to_bf16,
        .f32_to_f16 = f32_to_f16,
        .error = error,
        .error_e4m3 = { error_bf16, error_f16, error_f32 },
    };
}
