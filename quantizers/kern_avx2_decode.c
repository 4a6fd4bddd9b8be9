/* Decoders and the error sums. */
#include "quantizers/kern.h"

#if defined(__x86_64__)
#include "quantizers/kern_avx2.h"
#include "quantizers/kern_sum.h"

#include <math.h>

/* A code with its fields where F16 has them is the value times 2^-8 (biases 7
 * and 15), E4M3 subnormals being F16 subnormals.  The conversion to FP32 is
 * exact and has no slow case for subnormals, unlike a multiplication; the 2^8
 * goes into the scale, so that there is still one rounding. */
static ALWAYS_INLINE void value16(const uint8_t *q, __m256 scale, __m256i fields, float *y)
{
    const __m256i w = _mm256_cvtepi8_epi16(loadu128(q));
    /* The sign extension fills bits 15 and 14; F16 wants it in 15 alone. */
    const __m256i h = _mm256_and_si256(_mm256_slli_epi16(w, 7), fields);
    const __m256 a = _mm256_cvtph_ps(_mm256_castsi256_si128(h));
    const __m256 b = _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1));

    _mm256_storeu_ps(y, _mm256_mul_ps(a, scale));
    _mm256_storeu_ps(y + 8, _mm256_mul_ps(b, scale));
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

/* ---- error ------------------------------------------------------------- */

/* Half of the 16 lanes: 4 sums of 8 doubles are what the registers hold, so a
 * stretch of the input is walked twice, each time every other eight. */
struct half {
    __m256d se[2], sx[2], sxy[2], sy[2];
    __m256 max;
    __m256i equal;   /* counts down */
};

/* x*x, x*y and y*y of FP32 numbers are exact in double, so the fused
 * operations round as a product and an addition do; d*d is not exact. */
static ALWAYS_INLINE void error8(const float *x, const float *y, __m256 sign, struct half *h)
{
    const __m256 vx = _mm256_loadu_ps(x), vy = _mm256_loadu_ps(y);
    const __m256 away = _mm256_andnot_ps(sign, _mm256_sub_ps(vy, vx));

    h->max = _mm256_max_ps(away, h->max);   /* a NaN leaves max as it is */
    h->equal = _mm256_add_epi32(h->equal,
                                _mm256_castps_si256(_mm256_cmp_ps(vx, vy, _CMP_EQ_OQ)));
    UNROLL
    for (int i = 0; i < 2; i++) {
        const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + 4 * i));
        const __m256d b = _mm256_cvtps_pd(_mm_loadu_ps(y + 4 * i));
        const __m256d d = _mm256_sub_pd(b, a);

        h->se[i] = _mm256_add_pd(h->se[i], _mm256_mul_pd(d, d));
        h->sx[i] = _mm256_fmadd_pd(a, a, h->sx[i]);
        h->sxy[i] = _mm256_fmadd_pd(a, b, h->sxy[i]);
        h->sy[i] = _mm256_fmadd_pd(b, b, h->sy[i]);
    }
}

/* n is a multiple of 16; x and y begin at the half's first element. */
static __attribute__((noinline)) void error_half(const float *x, const float *y, size_t n,
                                                 struct half *half)
{
    const __m256 sign = keep_ps(_mm256_set1_ps(-0.0f));
    struct half h = *half;
    size_t i = 0;

    for (; i + 32 <= n; i += 32) {
        error8(x + i, y + i, sign, &h);
        error8(x + i + 16, y + i + 16, sign, &h);
    }
    if (i < n)
        error8(x + i, y + i, sign, &h);
    *half = h;
}

/* Lane i with i + 8, then with i + 4, i + 2, i + 1: as kern_lane_sum. */
static ALWAYS_INLINE double tree(const __m256d *lo, const __m256d *hi)
{
    const __m256d four = _mm256_add_pd(_mm256_add_pd(lo[0], hi[0]), _mm256_add_pd(lo[1], hi[1]));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));

    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

static ALWAYS_INLINE float largest(__m256 x)
{
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));

    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static void error(const float *x, const float *y, size_t n, struct kern_error *out)
{
    enum { STRETCH = 2048 };   /* both inputs of a stretch stay in L1 */
    struct half lo, hi;
    float max;

    memset(&lo, 0, sizeof lo);
    hi = lo;
    for (size_t i = 0; i < n;) {
        size_t m = smaller(n - i, STRETCH);

        if (m >= 16) {
            m -= m % 16;
            error_half(x + i, y + i, m, &lo);
            error_half(x + i + 8, y + i + 8, m, &hi);
        } else {
            /* The padding adds +0 to sums, which changes none, and is equal. */
            float a[16] = { 0 }, b[16] = { 0 };

            memcpy(a, x + i, m * sizeof *a);
            memcpy(b, y + i, m * sizeof *b);
            error8(a, b, _mm256_set1_ps(-0.0f), &lo);
            error8(a + 8, b + 8, _mm256_set1_ps(-0.0f), &hi);
            out->equal -= 16 - m;
        }
        i += m;
        if (i % (1 << 20) == 0 || i == n) {   /* before 32-bit lanes run full */
            const __m256i equal = _mm256_add_epi32(lo.equal, hi.equal);

            out->equal += sum_epu32(_mm256_sub_epi32(_mm256_setzero_si256(), equal));
            lo.equal = hi.equal = _mm256_setzero_si256();
        }
    }
    max = largest(_mm256_max_ps(lo.max, hi.max));
    if (max > out->max)
        out->max = max;
    out->se += tree(lo.se, hi.se);
    out->sx += tree(lo.sx, hi.sx);
    out->sxy += tree(lo.sxy, hi.sxy);
    out->sy += tree(lo.sy, hi.sy);
}

static uint64_t flushed(const float *x, const float *y, size_t n)
{
    const __m256 zero = _mm256_setzero_ps();
    uint64_t count = 0;
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        const __m256 gone = _mm256_cmp_ps(_mm256_loadu_ps(y + i), zero, _CMP_EQ_OQ);
        const int there = _mm256_movemask_ps(_mm256_and_ps(gone, _mm256_cmp_ps(_mm256_loadu_ps(x + i), zero, _CMP_NEQ_UQ)));

        count += there ? (uint64_t)__builtin_popcount((unsigned)there) : 0;
    }
    return count + kern_avx2_plain.flushed(x + i, y + i, n - i);
}

void kern_avx2_fill_decode(struct kern *k)
{
    k->flushed = flushed;
    k->dec_e4m3 = dec_e4m3;
    k->dec_int8 = dec_int8;
    k->error = error;
}
#endif
