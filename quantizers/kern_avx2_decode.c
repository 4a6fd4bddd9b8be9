/* Decoders. */
#include "quantizers/kern.h"

#if defined(__x86_64__)
#include "quantizers/kern_avx2.h"

#include <math.h>

static ALWAYS_INLINE void value16(const uint8_t *q, __m256 scale, __m256i fields, float *y)
{
    const struct two v = e4m3_values(q, scale, fields);

    _mm256_storeu_ps(y, v.a);
    _mm256_storeu_ps(y + 8, v.b);
}

/* The C kernel on n elements of one block. */
static __attribute__((noinline)) void plain_e4m3(const uint8_t *q, size_t n, const float *scale,
                                                 float *y)
{
    kern_avx2_plain.dec_e4m3(q, 0, 1, n, n, scale, y, 0);
}

/* n elements with one scale, n a multiple of 32. */
static ALWAYS_INLINE void decode(const uint8_t *q, size_t n, const float *scale, __m256i nan,
                                 __m256i fields, float *y)
{
    const __m256 by = _mm256_set1_ps(*scale * 256);

    if (!LIKELY(fabsf(*scale) < 0x1p119f)) {
        plain_e4m3(q, n, scale, y);
        return;
    }
    for (size_t i = 0; i < n; i += 32) {
        const __m256i mag = _mm256_and_si256(loadu(q + i), nan);

        if (LIKELY(_mm256_movemask_epi8(_mm256_cmpeq_epi8(mag, nan)) == 0)) {
            value16(q + i, by, fields, y + i);
            value16(q + i + 16, by, fields, y + i + 16);
        } else {
            plain_e4m3(q + i, 32, scale, y + i);
        }
    }
}

static void dec_e4m3(const uint8_t *q, size_t qstride, size_t rows, size_t cols, size_t block,
                     const float *scale, float *y, size_t ystride)
{
    const __m256i nan = keep(_mm256_set1_epi8(0x7f));
    const __m256i fields = keep(_mm256_set1_epi16((short)0xbfff));

    block = smaller(block, cols);
    for (size_t r = 0; r < rows; r++, q += qstride, y = (float *)(void *)((char *)y + ystride)) {
        const float *by = scale;
        size_t c = 0;

        if (block == 32)
            for (; cols - c >= 32; c += 32)
                decode(q + c, 32, by++, nan, fields, y + c);
        else if (block == 128)
            for (; cols - c >= 128; c += 128)
                decode(q + c, 128, by++, nan, fields, y + c);
        while (c < cols) {
            const size_t n = smaller(block, cols - c), whole = n - n % 32;

            if (whole)
                decode(q + c, whole, by, nan, fields, y + c);
            if (n > whole)
                plain_e4m3(q + c + whole, n - whole, by, y + c + whole);
            by++;
            c += n;
        }
    }
}

static void dec_int8(const int8_t *q, size_t qstride, size_t rows, size_t cols, size_t block,
                     const float *scale, float *y, size_t ystride)
{
    for (size_t r = 0; r < rows; r++, q += qstride, y = (float *)(void *)((char *)y + ystride))
        for (size_t c = 0, b = 0; c < cols; b++) {
            const size_t stop = c + smaller(block, cols - c);
            const __m256 by = _mm256_set1_ps(scale[b]);

            for (; c + 16 <= stop; c += 16) {
                const __m128i v = loadu128(q + c);
                const __m256 lo = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
                const __m256 hi = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)));

                _mm256_storeu_ps(y + c, _mm256_mul_ps(lo, by));
                _mm256_storeu_ps(y + c + 8, _mm256_mul_ps(hi, by));
            }
            if (c < stop)
                kern_avx2_plain.dec_int8(q + c, 0, 1, stop - c, stop - c, scale + b, y + c, 0);
            c = stop;
        }
}

void kern_avx2_fill_decode(struct kern *k)
{
    k->dec_e4m3 = dec_e4m3;
    k->dec_int8 = dec_int8;
}
#endif
