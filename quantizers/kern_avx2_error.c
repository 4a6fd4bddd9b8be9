/* The error sums. */
#include "quantizers/kern.h"

#if defined(__x86_64__)
#include "quantizers/kern_avx2.h"
#include "quantizers/num.h"

#include <math.h>

/* The 8 lanes of each sum. */
struct lanes {
    __m256d se[2], sx[2], sy[2];
};

static ALWAYS_INLINE struct lanes no_lanes(void)
{
    const __m256d zero = _mm256_setzero_pd();

    return (struct lanes){ { zero, zero }, { zero, zero }, { zero, zero } };
}

/* Four pairs.  From memory: that spares the extraction of halves, which costs more than a store. */
static ALWAYS_INLINE void add4(const float *x, const float *y, int half, struct lanes *l)
{
    const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x)), b = _mm256_cvtps_pd(_mm_loadu_ps(y)), d = _mm256_sub_pd(b, a);

    l->se[half] = _mm256_fmadd_pd(d, d, l->se[half]);
    l->sx[half] = _mm256_fmadd_pd(a, a, l->sx[half]);
    l->sy[half] = _mm256_fmadd_pd(b, b, l->sy[half]);
}

/* Lane i with i + 4, then neighbours, then both pairs. */
static ALWAYS_INLINE void add_sums(const struct lanes *l, struct kern_error *sums)
{
    const __m256d e = _mm256_add_pd(l->se[0], l->se[1]), x = _mm256_add_pd(l->sx[0], l->sx[1]);
    const __m256d y = _mm256_add_pd(l->sy[0], l->sy[1]);
    const __m256d p = _mm256_hadd_pd(e, x), q = _mm256_hadd_pd(y, y);
    const __m128d ex = _mm_add_pd(_mm256_castpd256_pd128(p), _mm256_extractf128_pd(p, 1));
    const __m128d yy = _mm_add_sd(_mm256_castpd256_pd128(q), _mm256_extractf128_pd(q, 1));

    _mm_storeu_pd(&sums->se, _mm_add_pd(_mm_loadu_pd(&sums->se), ex));
    sums->sy += _mm_cvtsd_f64(yy);
}

/* What one call found; equal counts up in 32-bit lanes. */
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
    m->equal += sum_epu32(f->equal);
}

/* Of a segment. */
static uint64_t count_flushed(const float *x, const float *y)
{
    const __m256 zero = _mm256_setzero_ps();
    int count = 0;

    for (size_t i = 0; i < KERN_SEGMENT; i += 8) {
        const __m256 gone = _mm256_cmp_ps(_mm256_loadu_ps(y + i), zero, _CMP_EQ_OQ);
        const __m256 there = _mm256_cmp_ps(_mm256_loadu_ps(x + i), zero, _CMP_NEQ_UQ);

        count += __builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_and_ps(gone, there)));
    }
    return (uint64_t)count;
}

/* What is counted of 8 pairs. */
static ALWAYS_INLINE void look8(__m256 x, __m256 y, struct found *f)
{
    const __m256 away = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(y, x));

    f->max = _mm256_max_ps(away, f->max);   /* a NaN leaves max as it is */
    f->equal = _mm256_sub_epi32(f->equal, _mm256_castps_si256(_mm256_cmp_ps(x, y, _CMP_EQ_OQ)));
}

/* A segment in memory.  True: some y is zero. */
static ALWAYS_INLINE bool look(const float *x, const float *y, struct found *to)
{
    const __m256 zero = _mm256_setzero_ps();
    struct found f = *to;
    __m256 none = zero;

    UNROLL
    for (size_t i = 0; i < KERN_SEGMENT; i += 16) {
        const __m256 a = _mm256_loadu_ps(y + i), b = _mm256_loadu_ps(y + i + 8);

        none = _mm256_or_ps(none, _mm256_or_ps(_mm256_cmp_ps(a, zero, _CMP_EQ_OQ), _mm256_cmp_ps(b, zero, _CMP_EQ_OQ)));
        look8(_mm256_loadu_ps(x + i), a, &f);
        look8(_mm256_loadu_ps(x + i + 8), b, &f);
    }
    *to = f;
    return _mm256_movemask_ps(none) != 0;
}

/* A segment in memory; in an unpacked one elements 4 to 7 of each 16 stand behind 8 to 11. */
static ALWAYS_INLINE void add_segment(const float *x, const float *y, bool unpacked, struct lanes *l)
{
    UNROLL
    for (size_t i = 0; i < KERN_SEGMENT; i += 16) {
        add4(x + i, y + i, 0, l);
        add4(x + i + 4, y + i + 4, unpacked ? 1 : 0, l);
        add4(x + i + 8, y + i + 8, unpacked ? 0 : 1, l);
        add4(x + i + 12, y + i + 12, 1, l);
    }
}

static void error(const float *x, const float *y, size_t n, size_t block, struct kern_error *sums,
                  struct kern_match *m)
{
    struct found f = { _mm256_setzero_ps(), _mm256_setzero_si256() };

    for (size_t i = 0, stop = block; i < n; i += KERN_SEGMENT) {
        struct lanes l = no_lanes();

        if (i == stop) {
            sums++;
            stop += block;
        }
        const float *a = x + i, *b = y + i;
        float u[KERN_SEGMENT], v[KERN_SEGMENT];

        if (!LIKELY(n - i >= KERN_SEGMENT)) {
            /* Filled up with zeros, which add nothing and are equal. */
            memset(u, 0, sizeof u);
            memset(v, 0, sizeof v);
            a = memcpy(u, a, (n - i) * sizeof *u);
            b = memcpy(v, b, (n - i) * sizeof *v);
            m->equal -= KERN_SEGMENT - (n - i);
        }
        if (!LIKELY(!look(a, b, &f)))
            m->flushed += count_flushed(a, b);
        add_segment(a, b, false, &l);
        add_sums(&l, sums);
    }
    add_found(&f, m);
}

/* ---- E4M3 codes ---------------------------------------------------------- */

/* What the codes of a segment are. */
struct kinds {
    bool nan, top, zero, small;   /* some of them; top: the largest number or NaN; small: zero or subnormal */
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
                           _mm256_movemask_epi8(_mm256_cmpgt_epi8(most, _mm256_set1_epi8(0x7d))) != 0,
                           _mm256_movemask_epi8(_mm256_cmpeq_epi8(least, _mm256_setzero_si256())) != 0,
                           _mm256_movemask_epi8(_mm256_cmpgt_epi8(_mm256_set1_epi8(8), least)) != 0 };
}

/* What makes the BF16 of a normal code times a power of two out of its fields: the exponent's bias, 127 - 7 and the
 * scale's.  0: the scale is no power of two, or one at the edge of FP32. */
static ALWAYS_INLINE int bf16_bias(float scale)
{
    const uint32_t u = f32_bits(scale);

    return (u & 0x807fffff) == 0 && u >= 0x10000000 && u < 0x70000000 ? (int)(u >> 23) - 7 : 0;
}

/* A segment of BF16, and of normal codes with powers of two: those are BF16 as well, and both become FP32 by
 * unpacking.  bias: of 32 columns each. */
static ALWAYS_INLINE void unpack(const uint8_t *x, const uint8_t *q, const int *bias, float *a, float *b, struct found *f)
{
    const __m256i fields = keep(_mm256_set1_epi16((short)0x87f0)), zero = _mm256_setzero_si256();
    const __m256 sign = keep_ps(_mm256_set1_ps(-0.0f));
    __m256i equal = zero;
    __m256 max = f->max;

    UNROLL
    for (size_t i = 0; i < KERN_SEGMENT; i += 16) {
        const __m256i v = loadu(x + 2 * i), w = _mm256_slli_epi16(_mm256_cvtepi8_epi16(loadu128(q + i)), 4);
        const __m256i y = _mm256_add_epi16(_mm256_and_si256(w, fields), _mm256_set1_epi16((short)(bias[i / 32] << 7)));
        const __m256 xa = _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, v));
        const __m256 xb = _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, v));
        const __m256 ya = _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, y));
        const __m256 yb = _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, y));

        equal = _mm256_sub_epi16(equal, _mm256_cmpeq_epi16(v, y));
        max = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_sub_ps(ya, xa)), max);
        max = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_sub_ps(yb, xb)), max);
        _mm256_storeu_ps(a + i, xa);
        _mm256_storeu_ps(a + i + 8, xb);
        _mm256_storeu_ps(b + i, ya);
        _mm256_storeu_ps(b + i + 8, yb);
    }
    f->max = max;
    f->equal = _mm256_add_epi32(f->equal, _mm256_madd_epi16(equal, _mm256_set1_epi16(1)));
}

/* A segment without NaN codes; scale: of 32 columns each. */
static ALWAYS_INLINE void decode(const uint8_t *x, const uint8_t *q, const float *scale, float *a, float *b, struct found *to,
                                 enum src s)
{
    const __m256i fields = keep(_mm256_set1_epi16((short)0xbfff));
    struct found f = *to;

    UNROLL
    for (size_t i = 0; i < KERN_SEGMENT; i += 16) {
        const struct two y = e4m3_values(q + i, _mm256_set1_ps(scale[i / 32] * 256), fields);
        const __m256 xa = load8(x + i * src_size(s), s), xb = load8(x + (i + 8) * src_size(s), s);

        look8(xa, y.a, &f);
        look8(xb, y.b, &f);
        _mm256_storeu_ps(a + i, xa);
        _mm256_storeu_ps(a + i + 8, xb);
        _mm256_storeu_ps(b + i, y.a);
        _mm256_storeu_ps(b + i + 8, y.b);
    }
    *to = f;
}

/* n columns, a segment at most, of any codes and scales. */
static __attribute__((noinline)) void decode_plain(const uint8_t *x, const uint8_t *q, size_t n, const float *scale,
                                                   float *a, float *b, struct found *f, enum src s)
{
    uint8_t raw[KERN_SEGMENT * 4] = { 0 };

    memcpy(raw, x, n * src_size(s));
    for (size_t i = 0; i < KERN_SEGMENT; i += 8)
        _mm256_storeu_ps(a + i, load8(raw + i * src_size(s), s));
    memset(b, 0, KERN_SEGMENT * sizeof *b);
    kern_avx2_plain.dec_e4m3(q, 0, 1, n, 32, scale, b, 0);
    look(a, b, f);
}

/* Of n columns: of each code of the largest magnitude, whether its reference is beyond what rounds to it. */
static __attribute__((noinline)) uint64_t count_saturated(const uint8_t *q, size_t n, const float *x, const float *y,
                                                          bool unpacked)
{
    uint8_t code[KERN_SEGMENT] = { 0 };
    uint64_t count = 0;

    memcpy(code, q, n);
    for (size_t i = 0; i < KERN_SEGMENT; i += 32) {
        const __m256i mag = _mm256_and_si256(loadu(code + i), _mm256_set1_epi8(0x7f));
        unsigned top = (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(mag, _mm256_set1_epi8(0x7e)));

        for (; top; top &= top - 1) {
            const size_t c = i + (size_t)__builtin_ctz(top);
            const size_t k = unpacked ? (c & ~(size_t)12) | (c & 4) << 1 | (c & 8) >> 1 : c;

            count += y[k] != 0 && 448 * (double)fabsf(x[k]) > 464 * (double)fabsf(y[k]);
        }
    }
    return count;
}

/* What was stored is loaded again: a compiler that keeps it in registers has too few of them. */
static ALWAYS_INLINE void in_memory(void) { __asm__ volatile("" : : : "memory"); }

/* The same n columns of some rows, a segment at most; scale: of 32 columns each. */
static ALWAYS_INLINE void add_rows(const uint8_t *x, size_t stride, const uint8_t *q, size_t qstride, size_t rows,
                                   size_t n, const float scale[4], struct kern_error *sums, struct found *f,
                                   struct kern_match *m, enum src s)
{
    struct lanes l = no_lanes();
    bool powers = s == SRC_BF16, tame = true;
    float a[KERN_SEGMENT], b[KERN_SEGMENT];
    int bias[4];

    for (size_t k = 0; k < 4; k++) {
        bias[k] = bf16_bias(scale[k]);
        powers &= bias[k] != 0;
        tame &= fabsf(scale[k]) > 0x1p-100f && fabsf(scale[k]) < 0x1p119f;   /* only the code zero has the value zero */
    }
    for (size_t r = 0; r < rows; r++, x += stride, q += qstride) {
        const struct kinds has = LIKELY(n == KERN_SEGMENT) ? kinds_of(q) : (struct kinds){ true, true, true, true };

        if (LIKELY(powers && !has.nan && !has.small)) {
            unpack(x, q, bias, a, b, f);
            in_memory();
            add_segment(a, b, true, &l);
            if (!LIKELY(!has.top))
                m->saturated += count_saturated(q, KERN_SEGMENT, a, b, true);
        } else {
            if (LIKELY(tame && !has.nan))
                decode(x, q, scale, a, b, f, s);
            else
                decode_plain(x, q, n, scale, a, b, f, s);
            in_memory();
            add_segment(a, b, false, &l);
            if (!LIKELY(tame && !has.nan && !has.zero))
                m->flushed += count_flushed(a, b);
            if (!LIKELY(!has.top))
                m->saturated += count_saturated(q, n, a, b, false);
            m->equal -= KERN_SEGMENT - n;
        }
    }
    add_sums(&l, sums);
}

static ALWAYS_INLINE void error_e4m3(const uint8_t *x, size_t stride, const uint8_t *q, size_t qstride, size_t rows,
                                     size_t cols, size_t block, const float *scale, struct kern_error *sums,
                                     struct kern_match *m, enum src s)
{
    struct found f = { _mm256_setzero_ps(), _mm256_setzero_si256() };

    if (block < cols && block != 32 && block % KERN_SEGMENT) {
        kern_avx2_plain.error_e4m3[s](x, stride, q, qstride, rows, cols, block, scale, sums, m);
        return;
    }
    for (size_t r = 0, n; r < rows; r += n, x += n * stride, q += n * qstride) {
        const float *by = scale;

        n = smaller(KERN_ROWS, rows - r);
        for (size_t c = 0, stop = block; c < cols; c += KERN_SEGMENT) {
            float four[4];

            if (c >= stop) {
                by += block == 32 ? 4 : 1;
                stop += block == 32 ? KERN_SEGMENT : block;
            }
            for (size_t k = 0; k < 4; k++)
                four[k] = block != 32 ? *by : c + 32 * k < cols ? by[k] : 1;
            add_rows(x + c * src_size(s), stride, q + c, qstride, n, smaller(KERN_SEGMENT, cols - c), four,
                     sums + c / KERN_SEGMENT, &f, m, s);
        }
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
