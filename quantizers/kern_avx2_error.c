/* The error sums. */
#include "quantizers/kern.h"

#if defined(__x86_64__)
#include "quantizers/kern_avx2.h"

#include <math.h>

/* A segment: two vectors are the 16 lanes of a sum. */
struct segment {
    __m256 se[2], sx[2], sxy[2], sy[2];
    __m256i equal;   /* counts down */
};

static ALWAYS_INLINE void add8(__m256 x, __m256 y, __m256 sign, int half, struct segment *s, __m256 *max)
{
    const __m256 d = _mm256_sub_ps(y, x);

    *max = _mm256_max_ps(_mm256_andnot_ps(sign, d), *max);   /* a NaN leaves max as it is */
    s->equal = _mm256_add_epi32(s->equal, _mm256_castps_si256(_mm256_cmp_ps(x, y, _CMP_EQ_OQ)));
    s->se[half] = _mm256_fmadd_ps(d, d, s->se[half]);
    s->sx[half] = _mm256_fmadd_ps(x, x, s->sx[half]);
    s->sxy[half] = _mm256_fmadd_ps(x, y, s->sxy[half]);
    s->sy[half] = _mm256_fmadd_ps(y, y, s->sy[half]);
}

/* Adds the four sums of KERN_SEGMENT pairs; false when they must be made in double. */
static ALWAYS_INLINE bool add_sums(const struct segment *s, struct kern_error *sums)
{
    const __m256 e = _mm256_add_ps(s->se[0], s->se[1]), x = _mm256_add_ps(s->sx[0], s->sx[1]);
    const __m256 xy = _mm256_add_ps(s->sxy[0], s->sxy[1]), y = _mm256_add_ps(s->sy[0], s->sy[1]);
    const __m256 p = _mm256_hadd_ps(_mm256_hadd_ps(e, x), _mm256_hadd_ps(xy, y));
    const __m128 sum = _mm_add_ps(_mm256_castps256_ps128(p), _mm256_extractf128_ps(p, 1));   /* se sx sxy sy */
    const int large = _mm_movemask_ps(_mm_cmpgt_ps(sum, _mm_set1_ps(KERN_LEAST)));
    const int finite = _mm_movemask_ps(_mm_cmplt_ps(sum, _mm_set1_ps(INFINITY)));

    if (!LIKELY((large & finite & 11) == 11)
        && ((large & finite & 10) != 10 || !(finite & 1)
            || _mm256_movemask_epi8(_mm256_cmpeq_epi32(s->equal, _mm256_set1_epi32(-KERN_SEGMENT / 8))) != -1))
        return false;
    _mm256_storeu_pd(&sums->se, _mm256_add_pd(_mm256_loadu_pd(&sums->se), _mm256_cvtps_pd(sum)));
    return true;
}

/* What one call, or a row, found. */
struct found {
    __m256 max;
    __m256i equal;
};

static void add_found(const struct found *f, struct kern_match *m)
{
    float max[8];

    _mm256_storeu_ps(max, f->max);
    for (int i = 0; i < 8; i++)
        if (max[i] > m->max)
            m->max = max[i];
    m->equal += sum_epu32(_mm256_sub_epi32(_mm256_setzero_si256(), f->equal));
}

static uint64_t count_flushed(const float *x, const float *y, size_t n)
{
    uint64_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += (y[i] == 0) & (x[i] != 0);
    return count;
}

/* KERN_SEGMENT pairs. */
static ALWAYS_INLINE void error_segment(const float *x, const float *y, struct kern_error *sums, struct found *f,
                                        uint64_t *flushed)
{
    const __m256 sign = keep_ps(_mm256_set1_ps(-0.0f)), zero = _mm256_setzero_ps();
    struct segment s = { { zero, zero }, { zero, zero }, { zero, zero }, { zero, zero }, _mm256_setzero_si256() };
    __m256 none = zero;

    UNROLL
    for (size_t i = 0; i < KERN_SEGMENT; i += 16) {
        const __m256 a = _mm256_loadu_ps(y + i), b = _mm256_loadu_ps(y + i + 8);

        none = _mm256_or_ps(none, _mm256_or_ps(_mm256_cmp_ps(a, zero, _CMP_EQ_OQ), _mm256_cmp_ps(b, zero, _CMP_EQ_OQ)));
        add8(_mm256_loadu_ps(x + i), a, sign, 0, &s, &f->max);
        add8(_mm256_loadu_ps(x + i + 8), b, sign, 1, &s, &f->max);
    }
    f->equal = _mm256_add_epi32(f->equal, s.equal);
    if (!LIKELY(_mm256_movemask_ps(none) == 0))
        *flushed += count_flushed(x, y, KERN_SEGMENT);
    if (!LIKELY(add_sums(&s, sums)))
        kern_error_wide(x, y, KERN_SEGMENT, sums);
}

/* Fewer pairs than a segment, filled up with zeros: they add nothing, and are equal. */
static void error_rest(const float *x, const float *y, size_t n, struct kern_error *sums, struct found *f,
                       struct kern_match *m)
{
    float a[KERN_SEGMENT] = { 0 }, b[KERN_SEGMENT] = { 0 };

    if (n == 0)
        return;
    memcpy(a, x, n * sizeof *a);
    memcpy(b, y, n * sizeof *b);
    error_segment(a, b, sums, f, &m->flushed);
    m->equal -= KERN_SEGMENT - n;
}

static void error(const float *x, const float *y, size_t n, size_t block, struct kern_error *sums,
                  struct kern_match *m)
{
    struct found f = { _mm256_setzero_ps(), _mm256_setzero_si256() };
    size_t i = 0, stop = block;

    for (; n - i >= KERN_SEGMENT; i += KERN_SEGMENT) {
        if (i == stop) {
            sums++;
            stop += block;
        }
        error_segment(x + i, y + i, sums, &f, &m->flushed);
    }
    error_rest(x + i, y + i, n - i, sums + (i == stop), &f, m);
    add_found(&f, m);
}

/* ---- E4M3 codes ---------------------------------------------------------- */

/* n elements, and zeros up to a segment. */
static ALWAYS_INLINE void to_f32(const uint8_t *x, float *y, size_t n, enum src s)
{
    uint8_t raw[KERN_SEGMENT * 4] = { 0 };

    memcpy(raw, x, n * src_size(s));
    for (size_t i = 0; i < KERN_SEGMENT; i += 8)
        _mm256_storeu_ps(y + i, load8(raw + i * src_size(s), s));
}

/* n columns with the scales of `block` columns each, the slow way: into memory first. */
static __attribute__((noinline)) void plain_e4m3(const uint8_t *x, const uint8_t *q, size_t n, size_t block,
                                                 const float *scale, struct kern_error *sums, struct found *f,
                                                 struct kern_match *m, enum src s)
{
    float a[KERN_SEGMENT], b[KERN_SEGMENT] = { 0 };

    to_f32(x, a, n, s);
    kern_avx2_plain.dec_e4m3(q, 0, 1, n, block, scale, b, 0);
    error_segment(a, b, sums, f, &m->flushed);
    m->equal -= KERN_SEGMENT - n;
}

/* A scale with which values are finite, and 0 only where the code is. */
static ALWAYS_INLINE bool tame(float scale)
{
    return fabsf(scale) > 0x1p-100f && fabsf(scale) < 0x1p119f;
}

/* Codes of a segment that are zero where x is not. */
static ALWAYS_INLINE uint64_t flushed_codes(const uint8_t *x, const uint8_t *q, enum src s)
{
    const __m256 zero = _mm256_setzero_ps();
    int count = 0;

    for (size_t i = 0; i < KERN_SEGMENT; i += 32) {
        const __m256i mag = _mm256_and_si256(loadu(q + i), _mm256_set1_epi8(0x7f));
        const int none = _mm256_movemask_epi8(_mm256_cmpeq_epi8(mag, _mm256_setzero_si256()));
        unsigned some = 0;

        UNROLL
        for (unsigned k = 0; k < 4; k++) {
            const __m256 v = load8(x + (i + 8 * k) * src_size(s), s);

            some |= (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, zero, _CMP_NEQ_UQ)) << 8 * k;
        }
        count += __builtin_popcount((unsigned)none & some);
    }
    return (uint64_t)count;
}

/* What the codes of a segment are: is one NaN, is one zero. */
struct kinds {
    bool nan, zero;
};
static ALWAYS_INLINE struct kinds kinds_of(const uint8_t *q)
{
    const __m256i magnitude = _mm256_set1_epi8(0x7f);
    __m256i most = _mm256_and_si256(loadu(q), magnitude), least = most;

    UNROLL
    for (int i = 32; i < KERN_SEGMENT; i += 32) {
        const __m256i mag = _mm256_and_si256(loadu(q + i), magnitude);

        most = _mm256_max_epu8(most, mag);
        least = _mm256_min_epu8(least, mag);
    }
    return (struct kinds){ _mm256_movemask_epi8(_mm256_cmpeq_epi8(most, magnitude)) != 0,
                           _mm256_movemask_epi8(_mm256_cmpeq_epi8(least, _mm256_setzero_si256())) != 0 };
}

/* A segment with one scale, or one for each 32 columns; false: it has codes or sums for the slow way. */
static ALWAYS_INLINE bool fast_e4m3(const uint8_t *x, const uint8_t *q, bool each32, const float *scale,
                                    struct kern_error *sums, struct found *f, uint64_t *flushed, enum src s)
{
    const __m256 sign = keep_ps(_mm256_set1_ps(-0.0f)), zero = _mm256_setzero_ps();
    const __m256i fields = keep(_mm256_set1_epi16((short)0xbfff));
    const size_t size = src_size(s);
    const struct kinds kinds = kinds_of(q);
    struct segment t = { { zero, zero }, { zero, zero }, { zero, zero }, { zero, zero }, _mm256_setzero_si256() };
    __m256 max = f->max, by = _mm256_set1_ps(*scale * 256);

    if (!LIKELY(!kinds.nan))
        return false;
    UNROLL
    for (size_t i = 0; i < KERN_SEGMENT; i += 32) {
        if (each32)
            by = _mm256_set1_ps(scale[i / 32] * 256);
        UNROLL
        for (size_t k = i; k < i + 32; k += 16) {
            const struct two y = e4m3_values(q + k, by, fields);

            add8(load8(x + k * size, s), y.a, sign, 0, &t, &max);
            add8(load8(x + (k + 8) * size, s), y.b, sign, 1, &t, &max);
        }
    }
    if (!LIKELY(add_sums(&t, sums)))
        return false;
    if (!LIKELY(!kinds.zero))
        *flushed += flushed_codes(x, q, s);
    f->max = max;
    f->equal = _mm256_add_epi32(f->equal, t.equal);
    return true;
}

static ALWAYS_INLINE void error_e4m3(const uint8_t *x, size_t stride, const uint8_t *q, size_t qstride, size_t rows,
                                     size_t cols, size_t block, const float *scale, struct kern_error *sums,
                                     struct kern_match *m, enum src s)
{
    const size_t size = src_size(s);
    struct found f = { _mm256_setzero_ps(), _mm256_setzero_si256() };

    if (block >= cols)
        block = (cols + KERN_SEGMENT) / KERN_SEGMENT * KERN_SEGMENT;
    if (block != 32 && block % KERN_SEGMENT) {
        kern_avx2_plain.error_e4m3[s](x, stride, q, qstride, rows, cols, block, scale, sums, m);
        return;
    }
    for (size_t r = 0; r < rows; r++, x += stride, q += qstride) {
        size_t c = 0, stop = block;
        const float *by = scale;

        for (; cols - c >= KERN_SEGMENT; c += KERN_SEGMENT) {
            bool fast;

            if (block == 32) {
                by = scale + c / 32;
                fast = tame(by[0]) && tame(by[1]) && tame(by[2]) && tame(by[3])
                       && fast_e4m3(x + c * size, q + c, true, by, sums + c / KERN_SEGMENT, &f, &m->flushed, s);
            } else {
                by += c == stop;
                stop += c == stop ? block : 0;
                fast = tame(*by) && fast_e4m3(x + c * size, q + c, false, by, sums + c / KERN_SEGMENT, &f, &m->flushed, s);
            }
            if (!fast)
                plain_e4m3(x + c * size, q + c, KERN_SEGMENT, block, by, sums + c / KERN_SEGMENT, &f, m, s);
        }
        by = block == 32 ? scale + c / 32 : by + (c == stop);
        if (c < cols)
            plain_e4m3(x + c * size, q + c, cols - c, block, by, sums + c / KERN_SEGMENT, &f, m, s);
    }
    add_found(&f, m);
}

#define ENTRIES(name, s)                                                                                             \
    static void error_##name(const void *x, size_t stride, const uint8_t *q, size_t qstride, size_t rows,           \
                             size_t cols, size_t block, const float *scale, struct kern_error *sums,                 \
                             struct kern_match *m)                                                                   \
    {                                                                                                                \
        error_e4m3(x, stride, q, qstride, rows, cols, block, scale, sums, m, s);                                     \
    }
ENTRIES(bf16, SRC_BF16)
ENTRIES(f16, SRC_F16)
ENTRIES(f32, SRC_F32)

void kern_avx2_fill_error(struct kern *k)
{
    k->error = error;
    k->error_e4m3[SRC_BF16] = error_bf16;
    k->error_e4m3[SRC_F16] = error_f16;
    k->error_e4m3[SRC_F32] = error_f32;
}
#endif
