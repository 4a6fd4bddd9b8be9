/* Encoders with FP32 scales: E4M3 and INT8.
 *
 * The quotient is a true FP32 division, as in the C kernel.  Whether a code is
 * exact is asked of code * scale - x in one fused operation: with a scale in
 * the range below, the product's last place is well inside FP32, so the
 * rounded difference is zero only when the true one is.  A zero code that is
 * not exact is a flushed element.  Vectors with NaN or with an element that
 * must be clamped go to the C kernel. */
#include "quantizers/kern.h"

#if defined(__x86_64__)
#include "quantizers/kern_avx2.h"

static bool scale_is_tame(float scale)
{
    return scale >= 0x1p-100f && scale <= 0x1.fffffep127f;
}

/* Counters in byte lanes, good for 255 vectors. */
struct tally {
    __m256i exact, flushed;
};

/* Four masks or numbers of 32-bit lanes to bytes, saturating, not in order. */
static ALWAYS_INLINE __m256i pack4(__m256i a, __m256i b, __m256i c, __m256i d)
{
    return _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
}

static ALWAYS_INLINE __m256i equal_zero(__m256 v)
{
    return _mm256_castps_si256(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_EQ_OQ));
}

static ALWAYS_INLINE void count(struct tally *t, __m256i same, __m256i magnitude)
{
    const __m256i empty = _mm256_cmpeq_epi8(magnitude, _mm256_setzero_si256());

    t->exact = _mm256_sub_epi8(t->exact, same);
    t->flushed = _mm256_sub_epi8(t->flushed, _mm256_andnot_si256(same, empty));
}

struct e4m3 {
    __m256 magnitude, max;
    __m256i exponent, subnormal, shift, limit, byte, excess, sign;
};

static ALWAYS_INLINE struct e4m3 e4m3_constants(void)
{
    return (struct e4m3){
        .magnitude = keep_ps(_mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))),
        .max = keep_ps(_mm256_set1_ps(448)),
        .exponent = keep(_mm256_set1_epi32(0x7f800000)),
        .subnormal = keep(_mm256_set1_epi32(121 << 23)),
        .shift = keep(_mm256_set1_epi32(20 << 23)),
        .limit = keep(_mm256_castps_si256(_mm256_set1_ps(464))),
        .byte = keep(_mm256_set1_epi32(0xff)),
        .excess = keep(_mm256_set1_epi8((char)(141 * 8 & 0xff))),
        .sign = keep(_mm256_set1_epi8(-128)),
    };
}

/* 32 elements to E4M3; false, and nothing done, when one is clamped or NaN.
 * The rounding by addition is the one explained in kern_avx2_e4m3.c. */
static ALWAYS_INLINE bool e4m3_32(const uint8_t *x, enum src s, __m256 scale, const struct e4m3 *k,
                                  uint8_t *q, struct tally *t)
{
    __m256i places[4], same[4], in[4], top = _mm256_setzero_si256();

    UNROLL
    for (int i = 0; i < 4; i++) {
        const __m256 v = load8(x + (size_t)i * 8 * src_size(s), s);
        const __m256 a = _mm256_and_ps(v, k->magnitude);
        const __m256 y = _mm256_div_ps(a, scale), z = _mm256_min_ps(y, k->max);
        const __m256i e = _mm256_and_si256(_mm256_castps_si256(z), k->exponent);
        const __m256i m = _mm256_add_epi32(_mm256_max_epi32(e, k->subnormal), k->shift);
        const __m256 sum = _mm256_add_ps(z, _mm256_castsi256_ps(m));
        const __m256 value = _mm256_sub_ps(sum, _mm256_castsi256_ps(m));

        same[i] = equal_zero(_mm256_fmsub_ps(value, scale, a));
        places[i] = _mm256_and_si256(_mm256_add_epi32(_mm256_castps_si256(sum),
                                                      _mm256_srli_epi32(m, 20)), k->byte);
        in[i] = _mm256_castps_si256(v);
        /* y has no sign, so its bits order like its value, NaN on top. */
        top = _mm256_max_epi32(top, _mm256_castps_si256(y));
    }
    const __m256i over = _mm256_cmpgt_epi32(top, k->limit);

    if (!LIKELY(_mm256_testz_si256(over, over)))
        return false;
    const __m256i low = _mm256_packus_epi16(_mm256_packus_epi32(places[0], places[1]),
                                            _mm256_packus_epi32(places[2], places[3]));
    const __m256i code = _mm256_sub_epi8(low, k->excess);
    const __m256i sign = _mm256_and_si256(pack4(in[0], in[1], in[2], in[3]), k->sign);

    count(t, pack4(same[0], same[1], same[2], same[3]), code);
    _mm256_storeu_si256((__m256i *)(void *)q, in_order(_mm256_or_si256(code, sign)));
    return true;
}

/* 32 elements to INT8; false, and nothing done, when one is clamped or NaN. */
static ALWAYS_INLINE bool int8_32(const uint8_t *x, enum src s, __m256 scale, __m256i limit,
                                  uint8_t *q, struct tally *t)
{
    __m256i r[4], same[4];

    UNROLL
    for (int i = 0; i < 4; i++) {
        const __m256 v = load8(x + (size_t)i * 8 * src_size(s), s);

        /* NaN and what does not fit become INT_MIN, which is beyond -127. */
        r[i] = _mm256_cvtps_epi32(_mm256_div_ps(v, scale));
        same[i] = equal_zero(_mm256_fmsub_ps(_mm256_cvtepi32_ps(r[i]), scale, v));
    }
    const __m256i a = _mm256_packs_epi32(r[0], r[1]), b = _mm256_packs_epi32(r[2], r[3]);
    const __m256i top = _mm256_max_epu16(_mm256_abs_epi16(a), _mm256_abs_epi16(b));
    const __m256i over = _mm256_subs_epu16(top, limit);

    if (!LIKELY(_mm256_testz_si256(over, over)))
        return false;
    const __m256i code = _mm256_packs_epi16(a, b);

    count(t, pack4(same[0], same[1], same[2], same[3]), code);
    _mm256_storeu_si256((__m256i *)(void *)q, in_order(code));
    return true;
}

/* The C kernel on n elements. */
static void plain(const uint8_t *x, size_t n, enum src s, bool int8, float scale, uint8_t *q,
                  struct kern_count *count_)
{
    if (int8)
        kern_avx2_plain.enc_int8[s](x, 0, 1, n, n, &scale, (int8_t *)q, 0, count_);
    else
        kern_avx2_plain.enc_e4m3_f32[s](x, 0, 1, n, n, &scale, q, 0, count_);
}

/* A run of columns with one scale. */
static ALWAYS_INLINE void run(const uint8_t *x, size_t cols, enum src s, bool int8, float scale,
                              const struct e4m3 *k, __m256i limit, uint8_t *q,
                              struct kern_count *n)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256 by = _mm256_set1_ps(scale);
    const size_t size = src_size(s), end = scale_is_tame(scale) ? cols - cols % 32 : 0;
    size_t i = 0;

    while (i < end) {
        const size_t begin = i, stop = i + smaller(end - i, 255 * 32);
        struct tally t = { zero, zero };
        size_t slow = 0;

        for (; i < stop; i += 32) {
            if (LIKELY(int8 ? int8_32(x + i * size, s, by, limit, q + i, &t)
                            : e4m3_32(x + i * size, s, by, k, q + i, &t)))
                continue;
            plain(x + i * size, 32, s, int8, scale, q + i, n);
            slow += 32;
        }
        n->inexact += stop - begin - slow - sum_epi64(_mm256_sad_epu8(t.exact, zero));
        n->flushed += sum_epi64(_mm256_sad_epu8(t.flushed, zero));
    }
    if (i < cols)
        plain(x + i * size, cols - i, s, int8, scale, q + i, n);
}

static ALWAYS_INLINE void encode(const uint8_t *x, size_t stride, size_t rows, size_t cols,
                                 size_t block, const float *scale, uint8_t *q, size_t qstride,
                                 struct kern_count *n, enum src s, bool int8)
{
    const struct e4m3 k = e4m3_constants();
    const __m256i limit = keep(_mm256_set1_epi16(127));

    block = smaller(block, cols);
    for (size_t r = 0; r < rows; r++, x += stride, q += qstride)
        for (size_t c = 0, b = 0; c < cols; b++, c += block)
            run(x + c * src_size(s), smaller(block, cols - c), s, int8, scale[b], &k, limit, q + c,
                n);
}

#define ENTRIES(name, s)                                                                          \
    static void e4m3_##name(const void *x, size_t stride, size_t rows, size_t cols, size_t block, \
                            const float *scale, uint8_t *q, size_t qstride, struct kern_count *n) \
    {                                                                                             \
        encode(x, stride, rows, cols, block, scale, q, qstride, n, s, false);                     \
    }                                                                                             \
    static void int8_##name(const void *x, size_t stride, size_t rows, size_t cols, size_t block, \
                            const float *scale, int8_t *q, size_t qstride, struct kern_count *n)  \
    {                                                                                             \
        encode(x, stride, rows, cols, block, scale, (uint8_t *)q, qstride, n, s, true);           \
    }
ENTRIES(bf16, SRC_BF16)
ENTRIES(f16, SRC_F16)
ENTRIES(f32, SRC_F32)

void kern_avx2_fill_scaled(struct kern *k)
{
    k->enc_e4m3_f32[SRC_BF16] = e4m3_bf16;
    k->enc_e4m3_f32[SRC_F16] = e4m3_f16;
    k->enc_e4m3_f32[SRC_F32] = e4m3_f32;
    k->enc_int8[SRC_BF16] = int8_bf16;
    k->enc_int8[SRC_F16] = int8_f16;
    k->enc_int8[SRC_F32] = int8_f32;
}
#endif
