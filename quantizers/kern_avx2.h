/* What the AVX2 kernel files share.  They are compiled for AVX2, FMA and F16C
 * and must run on nothing less, so no ordinary code includes this header.
 *
 * Every kernel here handles the common case in vectors and hands the rest (a
 * scale at the edge of FP32, NaN, the last few columns) to the C kernel, whose
 * answer is right by definition. */
#ifndef OCTAVO_KERN_AVX2_H
#define OCTAVO_KERN_AVX2_H

#include "quantizers/kern.h"

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)

/* Before a short loop of constant length over vectors, which must not end up
 * as an array in memory.  Clang unrolls such loops by itself. */
#if defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* The C kernels, filled before any AVX2 kernel can run. */
extern struct kern kern_avx2_plain;

void kern_avx2_fill_amax(struct kern *k);
void kern_avx2_fill_e4m3(struct kern *k);
void kern_avx2_fill_scaled(struct kern *k);
void kern_avx2_fill_fp4(struct kern *k);
void kern_avx2_fill_decode(struct kern *k);
void kern_avx2_fill_error(struct kern *k);

static ALWAYS_INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static ALWAYS_INLINE size_t src_size(enum src s) { return s == SRC_F32 ? 4 : 2; }

static ALWAYS_INLINE __m256i loadu(const void *p) { return _mm256_loadu_si256(p); }
static ALWAYS_INLINE __m128i loadu128(const void *p) { return _mm_loadu_si128(p); }

/* Makes a constant opaque: in a loop with a call on its cold side the compiler
 * would rather build constants anew in every turn than hold them. */
static ALWAYS_INLINE __m256i keep(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}
static ALWAYS_INLINE __m256 keep_ps(__m256 v)
{
    __asm__("" : "+x"(v));
    return v;
}

/* Eight elements as FP32. */
static ALWAYS_INLINE __m256 load8(const uint8_t *x, enum src s)
{
    if (s == SRC_F32)
        return _mm256_loadu_ps((const float *)(const void *)x);
    if (s == SRC_F16)
        return _mm256_cvtph_ps(loadu128(x));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(loadu128(x)), 16));
}

/* The values of 16 E4M3 codes that are no NaN times a 256th of what is in scale.  A code
 * with its fields where F16 has them is the value times 2^-8 (biases 7 and 15),
 * E4M3 subnormals being F16 subnormals.  The conversion to FP32 is exact and has
 * no slow case for subnormals, unlike a multiplication; the 2^8 goes into the
 * scale, so that there is still one rounding.  fields: words of 0xbfff. */
struct two {
    __m256 a, b;
};
static ALWAYS_INLINE struct two e4m3_values(const uint8_t *q, __m256 scale, __m256i fields)
{
    const __m256i w = _mm256_cvtepi8_epi16(loadu128(q));
    /* The sign extension fills bits 15 and 14; F16 wants it in 15 alone. */
    const __m256i h = _mm256_and_si256(_mm256_slli_epi16(w, 7), fields);

    return (struct two){ _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(h)), scale),
                         _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)), scale) };
}

/* Four vectors of eight 32-bit lanes, each already in 0..255, to 32 bytes in
 * order.  The packs work within 128-bit halves, hence the permutation. */
static ALWAYS_INLINE __m256i in_order(__m256i packed)
{
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static ALWAYS_INLINE uint64_t sum_epu32(__m256i v)
{
    const __m256i lo = _mm256_and_si256(v, _mm256_set1_epi64x(0xffffffff));
    const __m256i s = _mm256_add_epi64(lo, _mm256_srli_epi64(v, 32));
    const __m128i t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));

    return (uint64_t)_mm_cvtsi128_si64(t) + (uint64_t)_mm_extract_epi64(t, 1);
}

static ALWAYS_INLINE uint64_t sum_epi64(__m256i v)
{
    const __m128i t = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    return (uint64_t)_mm_cvtsi128_si64(t) + (uint64_t)_mm_extract_epi64(t, 1);
}

#endif
