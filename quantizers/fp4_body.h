/* Encoding E2M1 in vectors of GCC's and Clang's kind, for encode_fp4.c and, compiled
 * for AVX2, kern_avx2_fp4.c.  Magnitudes are compared as bits, which have their order;
 * a comparison gives -1 or 0. */
#ifndef OCTAVO_FP4_BODY_H
#define OCTAVO_FP4_BODY_H

#include "quantizers/kern.h"
#include "quantizers/num.h"

#include <stdbool.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
enum { FP4_LANES = 8 };
#else
enum { FP4_LANES = 4 };
#endif
typedef float fp4_vf __attribute__((vector_size(4 * FP4_LANES)));
typedef int32_t fp4_vi __attribute__((vector_size(4 * FP4_LANES)));
#define FP4_INLINE static inline __attribute__((always_inline))

/* A byte for each lane of 0..15. */
FP4_INLINE void fp4_store(const fp4_vi *code, uint8_t *q)
{
#ifdef __AVX2__
    const __m256i v = (__m256i)*code;
    const __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    _mm_storel_epi64((__m128i *)(void *)q, _mm_packus_epi16(h, h));
#else
    int32_t lane[FP4_LANES];

    memcpy(lane, code, sizeof lane);
    for (int i = 0; i < FP4_LANES; i++)
        q[i] = (uint8_t)lane[i];
#endif
}

/* What lanes count, negated. */
struct fp4_count { fp4_vi inexact, flushed, saturated; };

/* FP4_LANES elements: y = x * by, where by is a power of two, or x / by; odd is 0 when 1.5 * by is exact in FP32,
 * else -1. */
FP4_INLINE void fp4_lanes(const float *from, float by, bool divide, int32_t odd, const struct kern_e2m1 *f, uint8_t *q,
                          struct fp4_count *n)
{
    fp4_vf x, y;

    memcpy(&x, from, sizeof x);
    y = divide ? x / by : x * by;
    const fp4_vi mag = (fp4_vi)y & 0x7fffffff, u = (fp4_vi)x & 0x7fffffff;
    /* The code is how many limits it is above; steps of twice the value are 1, 1, 1, 1, 2, 2 and 4. */
    const fp4_vi low = (mag > f->above[0]) + (mag > f->above[1]) + (mag > f->above[2]) + (mag > f->above[3]);
    const fp4_vi middle = (mag > f->above[4]) + (mag > f->above[5]), high = mag > f->above[6];
    const fp4_vi code = -(low + middle + high), zero = code == 0;
    const fp4_vf back = __builtin_convertvector(-(low + 2 * middle + 4 * high), fp4_vf) * 0.5f;
    const fp4_vi codes = code | ((fp4_vi)y >> 28 & 8 & (~zero | f->minus_zero));

    /* code * scale against x: for powers of two code against y is the same, unless x vanished in y; else a product
     * in FP32 that equals x may have been rounded to it, when the code is 1.5, 3 or 6. */
    if (divide)
        n->inexact += ((fp4_vi)(back * by) != u) | (-(code & 1) & (code > 1) & odd);
    else
        n->inexact += ((fp4_vi)back != mag) | ((mag == 0) & (u != 0));
    n->flushed += zero & (u != 0);
    n->saturated += mag > f->saturated;
    fp4_store(&codes, q);
}

FP4_INLINE void fp4_block(const float *x, size_t count, float by, bool divide, int32_t odd, const struct kern_e2m1 *f,
                          uint8_t *q, struct fp4_count *n)
{
    size_t i = 0;

    for (; i + FP4_LANES <= count; i += FP4_LANES)
        fp4_lanes(x + i, by, divide, odd, f, q + i, n);
    if (i < count) {   /* zeros count for nothing */
        float tail[FP4_LANES] = {0};
        uint8_t codes[FP4_LANES];

        memcpy(tail, x + i, (count - i) * sizeof *tail);
        fp4_lanes(tail, by, divide, odd, f, codes, n);
        memcpy(q + i, codes, count - i);
    }
}

FP4_INLINE uint64_t fp4_sum(const fp4_vi *v)
{
    int32_t lane[FP4_LANES];
    uint64_t sum = 0;

    memcpy(lane, v, sizeof lane);
    for (int i = 0; i < FP4_LANES; i++)
        sum += (uint32_t)-lane[i];
    return sum;
}

FP4_INLINE void fp4_row(const float *x, size_t count, size_t block, const uint8_t *code, const float *scale,
                        const struct kern_e2m1 *format, uint8_t *q, struct kern_count *n)
{
    const struct kern_e2m1 limits = *format, *const f = &limits;   /* which q cannot be part of */
    struct fp4_count sum;

    memset(&sum, 0, sizeof sum);
    for (size_t at = 0, b = 0; at < count; at += block, b++) {
        const size_t width = count - at < block ? count - at : block;

        if (code)
            fp4_block(x + at, width, ue8m0_decode((uint8_t)(254 - code[b])), false, 0, f, q + at, &sum);
        else
            fp4_block(x + at, width, scale[b], true, -((double)(scale[b] * 1.5f) != (double)scale[b] * 1.5), f, q + at,
                      &sum);
    }
    n->inexact += fp4_sum(&sum.inexact);
    n->flushed += fp4_sum(&sum.flushed);
    n->saturated += fp4_sum(&sum.saturated);
}

#endif
