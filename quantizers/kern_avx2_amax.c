/* Largest magnitudes.  The bits of a magnitude order like its value, in every
 * source format, so the whole pass is integer AND and MAX; Inf and NaN are
 * simply the largest ones. */
#include "quantizers/kern.h"

#if defined(__x86_64__)
#include "quantizers/kern_avx2.h"

/* How many blocks side by side one sweep over the rows covers: their running
 * maxima stay in L1, and each row is read in stretches of this many blocks. */
#define SWEEP 64

static ALWAYS_INLINE __m256i vmax(__m256i a, __m256i b, enum src s)
{
    return s == SRC_F32 ? _mm256_max_epu32(a, b) : _mm256_max_epu16(a, b);
}

static ALWAYS_INLINE __m256i magnitude(const void *x, enum src s)
{
    const __m256i mask = s == SRC_F32 ? _mm256_set1_epi32(0x7fffffff) : _mm256_set1_epi16(0x7fff);

    return _mm256_and_si256(loadu(x), mask);
}

/* The maximum of 32 * v bytes; v is a constant. */
static ALWAYS_INLINE __m256i max_of(const uint8_t *x, size_t v, enum src s)
{
    __m256i m[8];

    UNROLL
    for (size_t i = 0; i < v; i++)
        m[i] = magnitude(x + 32 * i, s);
    UNROLL
    for (size_t i = v / 2; i; i /= 2)
        UNROLL
        for (size_t k = 0; k < i; k++)
            m[k] = vmax(m[k], m[k + i], s);
    return m[0];
}

/* The maximum of m and a run of n elements. */
static ALWAYS_INLINE __m256i max_run(__m256i m, const uint8_t *x, size_t n, enum src s)
{
    const size_t bytes = n * src_size(s);
    size_t i = 0;

    for (; i + 256 <= bytes; i += 256)
        m = vmax(m, max_of(x + i, 8, s), s);
    for (; i + 32 <= bytes; i += 32)
        m = vmax(m, magnitude(x + i, s), s);
    if (i == bytes)
        return m;
    if (bytes >= 32)   /* looking at an element twice does no harm */
        return vmax(m, magnitude(x + bytes - 32, s), s);

    uint8_t rest[32] = { 0 };
    memcpy(rest, x, bytes);
    return vmax(m, magnitude(rest, s), s);
}

static ALWAYS_INLINE float top_value(__m256i v, enum src s)
{
    __m128i m;
    uint32_t u;
    float x;

    if (s == SRC_F32) {
        m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
        m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
        u = (uint32_t)_mm_cvtsi128_si32(m);
    } else {
        m = _mm_max_epu16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        /* The instruction finds a minimum; that of the complement is wanted. */
        m = _mm_minpos_epu16(_mm_xor_si128(m, _mm_set1_epi16(-1)));
        u = ~(uint32_t)_mm_cvtsi128_si32(m) & 0xffff;
        if (s == SRC_F16)
            return _cvtsh_ss((unsigned short)u);
        u <<= 16;
    }
    memcpy(&x, &u, 4);
    return x;
}

/* One row in blocks of 32 columns: eight blocks at a time, halved together
 * until each 32-bit lane holds what is left of one block: its maximum, or two
 * candidates when the source has 16 bits. */
static ALWAYS_INLINE size_t blocks_of_32(const uint8_t *x, size_t cols, float *out, enum src s)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    size_t c = 0;

    for (; c + 256 <= cols; c += 256, x += 256 * src_size(s), out += 8) {
        __m256i v[8];

        UNROLL
        for (int i = 0; i < 8; i++)
            v[i] = max_of(x + 32 * (size_t)i * src_size(s), src_size(s), s);
        UNROLL
        for (int i = 0; i < 4; i++)
            v[i] = vmax(_mm256_permute2x128_si256(v[2 * i], v[2 * i + 1], 0x20),
                        _mm256_permute2x128_si256(v[2 * i], v[2 * i + 1], 0x31), s);
        UNROLL
        for (int i = 0; i < 2; i++)
            v[i] = vmax(_mm256_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                        _mm256_unpackhi_epi64(v[2 * i], v[2 * i + 1]), s);

        const __m256 a = _mm256_castsi256_ps(v[0]), b = _mm256_castsi256_ps(v[1]);
        const __m256i p = vmax(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)),
                               _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)), s);
        const __m256i q = _mm256_permutevar8x32_epi32(p, order);

        if (s == SRC_F32) {
            _mm256_storeu_ps(out, _mm256_castsi256_ps(q));
        } else if (s == SRC_BF16) {
            /* The upper half of a lane is in place; the lower one moves up. */
            const __m256i top = _mm256_max_epu32(_mm256_slli_epi32(q, 16),
                                                 _mm256_andnot_si256(_mm256_set1_epi32(0xffff), q));

            _mm256_storeu_ps(out, _mm256_castsi256_ps(top));
        } else {
            const __m256i top = _mm256_max_epu32(_mm256_srli_epi32(q, 16),
                                                 _mm256_and_si256(q, _mm256_set1_epi32(0xffff)));
            const __m256i h = _mm256_permute4x64_epi64(_mm256_packus_epi32(top, top), 0xd8);

            _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm256_castsi256_si128(h)));
        }
    }
    return c;
}

static ALWAYS_INLINE void amax(const uint8_t *x, size_t stride, size_t rows, size_t cols,
                               size_t block, float *out, enum src s)
{
    const size_t size = src_size(s);

    block = smaller(block, cols);
    if (rows == 1 && block == 32) {
        const size_t done = blocks_of_32(x, cols, out, s);

        x += done * size;
        out += done / 32;
        cols -= done;
    }
    while (cols) {
        __m256i top[SWEEP];
        const size_t n = smaller(SWEEP, cols / block + (cols % block != 0));
        const size_t width = n * block < cols ? n * block : cols;

        for (size_t k = 0; k < n; k++)
            top[k] = _mm256_setzero_si256();
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *p = x + r * stride;
            size_t k = 0;

            if (block == 128)
                for (; k + 1 < n; k++, p += 128 * size) {
                    top[k] = vmax(top[k], max_of(p, 8, s), s);
                    if (s == SRC_F32)
                        top[k] = vmax(top[k], max_of(p + 256, 8, s), s);
                }
            for (; k + 1 < n; k++, p += block * size)
                top[k] = max_run(top[k], p, block, s);
            top[k] = max_run(top[k], p, width - k * block, s);
        }
        for (size_t k = 0; k < n; k++)
            out[k] = top_value(top[k], s);
        out += n;
        x += width * size;
        cols -= width;
    }
}

#define ENTRY(name, s)                                                                            \
    static void amax_##name(const void *x, size_t stride, size_t rows, size_t cols, size_t block, \
                            float *out)                                                           \
    {                                                                                             \
        amax(x, stride, rows, cols, block, out, s);                                               \
    }
ENTRY(bf16, SRC_BF16)
ENTRY(f16, SRC_F16)
ENTRY(f32, SRC_F32)

void kern_avx2_fill_amax(struct kern *k)
{
    k->amax[SRC_BF16] = amax_bf16;
    k->amax[SRC_F16] = amax_f16;
    k->amax[SRC_F32] = amax_f32;
}
#endif
