/* Kernels: the loops that touch every weight.
 *
 * kern_c.c is the truth in plain C; kern_avx2*.c replace pointers and must
 * give the same bytes and counts for every input.  OCTAVO_CPU=c|avx2 lowers
 * the level; an unknown name is an error.
 *
 * A matrix argument is rows x cols elements, rows stride bytes apart, any
 * alignment.  `block` is any positive number of columns that share a scale (the
 * last block may be shorter; more than cols means all); the rows passed share
 * scales too (a block row, or one row).  32 and 128 are the fast ones, followed
 * by long blocks.  Nothing outside the rows is read or written.  Source types:
 * index by enum src. */
#ifndef OCTAVO_KERN_H
#define OCTAVO_KERN_H

#include "formats/err.h"

#include <stddef.h>
#include <stdint.h>

enum { KERN_SEGMENT = 128, KERN_ROWS = 8 };
enum src { SRC_BF16, SRC_F16, SRC_F32, SRC_COUNT };

/* Encoders add to these.  Nothing is counted twice in one field. */
struct kern_count {
    uint64_t inexact;   /* value(code) * scale, computed exactly, differs from the source
                         * (-0 equals +0); flushed, saturated and NaN elements as well */
    uint64_t flushed;   /* nonzero elements (in INT8 also NaN) that became zero */
    uint64_t saturated; /* clamped: rounding without limit would have gone beyond the largest
                         * code (E4M3: |x / scale| > 464, 464 being a tie that goes down to
                         * 448; INT8: |x / scale| >= 127.5, where the tie goes up) */
};

/* Sums of an error measurement (calibrate/error.h), and what it found on the way. */
struct kern_error {
    double se, sx, sy;        /* sum (y-x)^2, x^2, y^2; 2 sum xy is sx + sy - se */
};
struct kern_match {
    float max;                /* max |y-x|, the difference rounded to FP32; NaN is passed over */
    uint64_t equal;           /* x == y (and -0 == +0) */
    uint64_t flushed;         /* y == 0 (of either sign) and x != 0 (NaN is not 0) */
    uint64_t saturated;       /* of codes: the largest one, y != 0 and |x| beyond what rounds to it, 464/448 of |y| */
};

/* A format with the values of E2M1: the bits of a magnitude above these are codes 1..7; those above `saturated`
 * would round to more than 6; minus_zero: -1 when -0 has a code of its own, else 0. */
struct kern_e2m1 {
    int32_t above[7], saturated, minus_zero;
};

struct kern {
    const char *name; /* "c", "avx2" */

    /* amax[b] = max over rows and the block's columns of |x| as FP32 (the
     * source value converted exactly).  A block with NaN or Inf gives a value
     * whose bits are >= 0x7f800000; which one is the largest magnitude bits seen. */
    void (*amax[SRC_COUNT])(const void *x, size_t stride, size_t rows, size_t cols, size_t block,
                            float *amax);

    /* E4M3 with powers of two: q = RNE(x * 2^(127-code)), saturating.  code[b]
     * in 0..254, one per block.  The sign of x is kept, of zeros too.  Callers
     * refuse Inf and NaN in x; here Inf saturates, NaN gives 0x7F | sign.  q
     * rows are qstride bytes apart. */
    void (*enc_e4m3_pow2[SRC_COUNT])(const void *x, size_t stride, size_t rows, size_t cols,
                                     size_t block, const uint8_t *code, uint8_t *q,
                                     size_t qstride, struct kern_count *n);
    /* E4M3 with FP32 scales: q = RNE(x / scale[b]), the division in FP32; scale
     * positive and finite.  Otherwise as above. */
    void (*enc_e4m3_f32[SRC_COUNT])(const void *x, size_t stride, size_t rows, size_t cols,
                                    size_t block, const float *scale, uint8_t *q,
                                    size_t qstride, struct kern_count *n);
    /* INT8: q = RNE(x / scale[b]), the division in FP32, clamped to -127..127
     * (-128 is never made); scale positive and finite; NaN gives 0. */
    void (*enc_int8[SRC_COUNT])(const void *x, size_t stride, size_t rows, size_t cols,
                                size_t block, const float *scale, int8_t *q, size_t qstride,
                                struct kern_count *n);

    /* E2M1, one row of FP32, a byte per code; code or scale (the other is NULL) has one entry per block:
     * q = round(x * 2^(127-code)), or round(x / scale), a scale being at least 2^-124, so that half of it is exact.
     * Otherwise as enc_e4m3_f32; no NaN. */
    void (*enc_e2m1)(const float *x, size_t cols, size_t block, const uint8_t *code, const float *scale,
                     const struct kern_e2m1 *format, uint8_t *q, struct kern_count *n);

    /* Decode to FP32: y = value(q) * scale[b], one FP32 multiplication (exact
     * for powers of two unless it overflows or underflows).  NaN codes give
     * 0x7FC00000.  y rows are ystride bytes apart. */
    void (*dec_e4m3)(const uint8_t *q, size_t qstride, size_t rows, size_t cols, size_t block,
                     const float *scale, float *y, size_t ystride);
    void (*dec_int8)(const int8_t *q, size_t qstride, size_t rows, size_t cols, size_t block,
                     const float *scale, float *y, size_t ystride);

    /* Conversions of n elements, each rounded once. */
    void (*bf16_to_f32)(const uint16_t *x, float *y, size_t n);
    void (*f16_to_f32)(const uint16_t *x, float *y, size_t n);
    void (*f32_to_bf16)(const float *x, uint16_t *y, size_t n);   /* RNE; NaN: (u >> 16) | 0x40 */
    void (*f32_to_f16)(const float *x, uint16_t *y, size_t n);    /* RNE; overflow Inf; NaN quiet,
                                                                   * payload top bits kept */

    /* Compares n pairs (below 2^32); sums[i / block] gets those of pair i, block being a multiple of KERN_SEGMENT or
     * at least n.  Both numbers are converted to double first; each segment of KERN_SEGMENT pairs (the last one is
     * shorter) is summed in 8 lanes by fused multiply-adds, pair i in lane i % 4 + i / 8 % 2 * 4; lanes i and i + 4 are
     * added, then neighbours, twice, and the result to sums.  NaN in x or y propagates into the sums (which NaN is not
     * defined). */
    void (*error)(const float *x, const float *y, size_t n, size_t block, struct kern_error *sums,
                  struct kern_match *m);
    /* The same of x and of what dec_e4m3 makes of q, KERN_ROWS rows at a time: their segments of the same columns are
     * summed as one.  sums[c / KERN_SEGMENT] gets column c of all rows (fewer than 2^32 pairs). */
    void (*error_e4m3[SRC_COUNT])(const void *x, size_t stride, const uint8_t *q, size_t qstride, size_t rows,
                                  size_t cols, size_t block, const float *scale, struct kern_error *sums,
                                  struct kern_match *m);
};

/* The best level this CPU and OCTAVO_CPU allow; fixed at the first call, the
 * error as well. */
const struct kern *kern_get(struct err *e) MUST_USE;
/* A level by name, whatever OCTAVO_CPU says; NULL when this CPU lacks it or
 * there is none of that name: for tests. */
const struct kern *kern_level(const char *name);
/* The limits of a format of that kind, NULL for another (encode_fp4.c); and its kernel in plain C. */
struct num;
const struct kern_e2m1 *kern_e2m1_of(const struct num *num);
void kern_e2m1_c(const float *x, size_t cols, size_t block, const uint8_t *code, const float *scale,
                 const struct kern_e2m1 *format, uint8_t *q, struct kern_count *n);
void kern_fill_c(struct kern *k);
void kern_fill_avx2(struct kern *k);

#endif
