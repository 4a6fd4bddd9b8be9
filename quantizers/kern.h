/* Kernels: the loops that touch every weight.
 *
 * kern_c.c is the truth in plain C; kern_avx2.c replaces pointers and must
 * give the same bytes and counts for every input.  OCTAVO_CPU=c|avx2 lowers
 * the level; an unknown name is an error.
 *
 * A matrix argument is rows x cols elements, rows stride bytes apart, any
 * alignment.  `block` is the number of columns that share a scale (the last
 * block may be shorter); the rows passed share scales too (a block row, or one
 * row).  Source types: index by enum src. */
#ifndef OCTAVO_KERN_H
#define OCTAVO_KERN_H

#include "formats/err.h"

#include <stddef.h>
#include <stdint.h>

enum src { SRC_BF16, SRC_F16, SRC_F32, SRC_COUNT };

struct kern_count {
    uint64_t inexact;   /* elements whose decoded value differs from the source (flushed and saturated ones too) */
    uint64_t flushed;   /* nonzero elements that became zero */
    uint64_t saturated; /* elements beyond the largest code that were clamped to it */
};

/* sums of an error measurement; see calibrate/error.h */
struct kern_error {
    double se, sx, sxy, sy;   /* sum (y-x)^2, x^2, x*y, y^2 */
    float max;                /* max |y-x| */
    uint64_t equal;           /* x == y (and -0 == +0) */
};

struct kern {
    const char *name; /* "c", "avx2" */

    /* amax[b] = max over rows and the block's columns of |x| as FP32 (the
     * source value converted exactly).  A block with NaN or Inf gives a value
     * whose bits are >= 0x7f800000; which one is the largest magnitude bits seen. */
    void (*amax[SRC_COUNT])(const void *x, size_t stride, size_t rows, size_t cols, size_t block, float *amax);

    /* E4M3 with powers of two: q = RNE(x * 2^(127-code)), saturating.  code[b]
     * in 0..254, one per block.  No NaN or Inf in x.  q rows are qstride bytes apart. */
    void (*enc_e4m3_pow2[SRC_COUNT])(const void *x, size_t stride, size_t rows, size_t cols, size_t block,
                                     const uint8_t *code, uint8_t *q, size_t qstride, struct kern_count *n);
    /* E4M3 with FP32 scales: q = RNE(x / scale[b]), the division in FP32. */
    void (*enc_e4m3_f32[SRC_COUNT])(const void *x, size_t stride, size_t rows, size_t cols, size_t block,
                                    const float *scale, uint8_t *q, size_t qstride, struct kern_count *n);
    /* INT8: q = clamp(RNE(x / scale[b]), -128 is never used: -127..127). */
    void (*enc_int8[SRC_COUNT])(const void *x, size_t stride, size_t rows, size_t cols, size_t block,
                                const float *scale, int8_t *q, size_t qstride, struct kern_count *n);

    /* Decode to FP32: y = value(q) * scale[b], one FP32 multiplication (exact for powers of two unless it underflows). NaN codes give NaN. */
    void (*dec_e4m3)(const uint8_t *q, size_t qstride, size_t rows, size_t cols, size_t block,
                     const float *scale, float *y, size_t ystride);
    void (*dec_int8)(const int8_t *q, size_t qstride, size_t rows, size_t cols, size_t block,
                     const float *scale, float *y, size_t ystride);

    /* Conversions of n elements, each rounded once. */
    void (*bf16_to_f32)(const uint16_t *x, float *y, size_t n);
    void (*f16_to_f32)(const uint16_t *x, float *y, size_t n);
    void (*f32_to_bf16)(const float *x, uint16_t *y, size_t n);   /* RNE; NaN: (u >> 16) | 0x40 */
    void (*f32_to_f16)(const float *x, uint16_t *y, size_t n);    /* RNE; overflow Inf; NaN quiet, payload top bits kept */

    /* Adds the n pairs to 16 independent lanes (element i goes to lane i % 16,
     * FP32 differences, double sums), combined by a fixed tree; the result
     * is *added* to *out by plain double additions. NaN in x or y propagates into the sums. */
    void (*error)(const float *x, const float *y, size_t n, struct kern_error *out);
};

/* The best level this CPU and OCTAVO_CPU allow; fixed at the first call. */
const struct kern *kern_get(struct err *e) MUST_USE;
/* A level by name, NULL when this CPU lacks it: for tests. */
const struct kern *kern_level(const char *name);
void kern_fill_c(struct kern *k);
void kern_fill_avx2(struct kern *k);

#endif
