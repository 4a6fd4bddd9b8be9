/* E4M3 with power-of-two scales.
 *
 * Dividing by a power of two only moves the exponent, so a BF16 is quantized
 * without leaving 16-bit integers: take the scale's exponent off the field,
 * round the upper bits to nearest even, done.  That is the fast path.  A vector
 * of 32 with an element that it cannot do (E4M3 subnormals, nonzero elements
 * that flush to zero, clamped ones) takes the middle path, also in 16-bit lanes;
 * Inf, NaN and scales at the edge take the slow path in FP32 lanes.
 *
 * F32 and F16 become BF16 first by rounding to odd: truncated, with the last
 * bit set when anything was cut off.  BF16 has more than two bits more than
 * E4M3, so the second rounding sees every tie and every inexactness as it was
 * (Boldo and Melquiond, "When double rounding is odd"). */
#include "quantizers/kern.h"

#if defined(__x86_64__)
#include "quantizers/kern_avx2.h"

/* The fast path's code carries this excess: what lies below the smallest E4M3
 * normal is still a positive byte and can be recognized, and the byte's highest
 * bit, set in all that are good, only has to be kept where the sign wants it. */
#define EXCESS 128
/* Scale codes for which the fast path works: below, the excess does not fit
 * into an unsigned field; above, Inf would not look too large. */
#define CODE_MIN 23
#define CODE_MAX 246

/* What the fast path takes off a magnitude: the scale's exponent less the
 * excess.  0xffff for a code out of range makes every nonzero element slow. */
static uint16_t bias_of[256];

static ALWAYS_INLINE __m256i round_to_odd(__m256i u)
{
    const __m256i low = _mm256_set1_epi32(0xffff);
    /* Bit 16 of the sum is set exactly when the low half is not zero. */
    const __m256i sticky = _mm256_add_epi32(_mm256_and_si256(u, low), low);

    return _mm256_srli_epi32(_mm256_or_si256(u, sticky), 16);
}

static ALWAYS_INLINE __m256i odd8(const uint8_t *x, enum src s)
{
    return round_to_odd(_mm256_castps_si256(load8(x, s)));
}

/* 32 elements in 16-bit lanes.  From 32-bit sources the order of the lanes is
 * that of the packs; in_order() puts the bytes right in the end. */
static ALWAYS_INLINE void load32(const uint8_t *x, enum src s, __m256i *a, __m256i *b)
{
    const size_t step = 8 * src_size(s);

    if (s == SRC_BF16) {
        *a = loadu(x);
        *b = loadu(x + 32);
        return;
    }
    *a = _mm256_packus_epi32(odd8(x, s), odd8(x + step, s));
    *b = _mm256_packus_epi32(odd8(x + 2 * step, s), odd8(x + 3 * step, s));
}

/* The fast path's constants. */
struct fast {
    __m256i mask, eighth, first_normal, range, sign, cut, even;
};

static ALWAYS_INLINE struct fast fast_constants(void)
{
    return (struct fast){
        .mask = keep(_mm256_set1_epi16(0x7fff)),
        .eighth = keep(_mm256_set1_epi16(2048)),
        /* Codes 0x09..0x7e are certainly normal and not clamped; 0x08 may be
         * a subnormal rounded by the wrong unit. */
        .first_normal = keep(_mm256_set1_epi8((char)(EXCESS + 9))),
        .range = keep(_mm256_set1_epi8(0x7e - 9)),
        .sign = keep(_mm256_set1_epi8(0x7f)),
        .cut = keep(_mm256_set1_epi16(15)),
        /* What a code is masked with after rounding half up, by the bits cut
         * off: a tie leaves an even one. */
        .even = keep(_mm256_broadcastsi128_si256(_mm_setr_epi8(-1, -1, -1, -1, -1, -1, -1, -1, -2,
                                                               -1, -1, -1, -1, -1, -1, -1))),
    };
}

/* 32 bytes from 16-bit lanes, as the source has them. */
static ALWAYS_INLINE void store32(uint8_t *q, __m256i packed, enum src s)
{
    _mm256_storeu_si256((__m256i *)(void *)q,
                        s == SRC_BF16 ? _mm256_permute4x64_epi64(packed, 0xd8) : in_order(packed));
}

/* Encodes 32 elements and adds one to a byte lane of *exact for every exact
 * one; false, and nothing done, when the vector needs another path. */
static ALWAYS_INLINE bool fast32(const uint8_t *x, enum src s, __m256i bias, const struct fast *f,
                                 uint8_t *q, __m256i *exact)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i a, b;

    load32(x, s, &a, &b);
    const __m256i ma = _mm256_and_si256(a, f->mask), mb = _mm256_and_si256(b, f->mask);
    /* (u + 8) >> 4 */
    const __m256i ca = _mm256_mulhrs_epi16(_mm256_subs_epu16(ma, bias), f->eighth);
    const __m256i cb = _mm256_mulhrs_epi16(_mm256_subs_epu16(mb, bias), f->eighth);
    /* The bias is a multiple of 16: what is cut off is the same with and without it. */
    const __m256i lost = _mm256_packus_epi16(_mm256_and_si256(a, f->cut),
                                             _mm256_and_si256(b, f->cut));
    /* The range is that before ties are settled: the byte 255 may stand for more. */
    __m256i c = _mm256_packus_epi16(ca, cb);
    const __m256i t = _mm256_sub_epi8(c, f->first_normal);
    const int good = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(t, f->range), t));

    if (!LIKELY(good == -1)) {
        const __m256i z = _mm256_cmpeq_epi8(_mm256_packus_epi16(ma, mb), zero);

        if (_mm256_movemask_epi8(z) != ~good)
            return false;   /* not only zeros */
        c = _mm256_or_si256(c, _mm256_andnot_si256(f->sign, z));
    }
    const __m256i sign = _mm256_or_si256(_mm256_packs_epi16(a, b), f->sign);

    c = _mm256_and_si256(c, _mm256_shuffle_epi8(f->even, lost));
    *exact = _mm256_sub_epi8(*exact, _mm256_cmpeq_epi8(lost, zero));
    store32(q, _mm256_and_si256(c, sign), s);
    return true;
}

/* 16 finite magnitudes in 16-bit lanes with a scale code in CODE_MIN..CODE_MAX.
 * With F the exponent field of the E4M3 code, u = (max(F, 1) - 1) << 7 | the
 * eight significant bits; the code is u >> 4 rounded, or u >> (5 - F) when F is
 * below 1.  Shifts and rounding are a multiplication, its factor from a table. */
static ALWAYS_INLINE __m256i middle16(__m256i mag, uint8_t code, __m256i *exact, __m256i *over)
{
    /* By F + 5, limited to 0..6: low bytes of the factors, then high bytes. */
    const __m256i factors = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(32, 64, -128, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 0));
    const __m256i zero = _mm256_setzero_si256(), most = _mm256_set1_epi16(0x7e);
    const __m256i z = _mm256_cmpeq_epi16(mag, zero);
    const __m256i field = _mm256_sub_epi16(_mm256_srli_epi16(mag, 7), _mm256_set1_epi16((short)(code - 12)));
    const __m256i i = _mm256_min_epi16(_mm256_max_epi16(field, zero), _mm256_set1_epi16(6));
    const __m256i both = _mm256_add_epi16(_mm256_or_si256(i, _mm256_slli_epi16(i, 8)),
                                          _mm256_set1_epi16(0x800));
    const __m256i factor = _mm256_shuffle_epi8(factors, both);
    const __m256i low7 = _mm256_and_si256(mag, _mm256_set1_epi16(0x7f));
    const __m256i sig = _mm256_or_si256(low7, _mm256_set1_epi16(0x80));
    const __m256i u = _mm256_max_epu16(
        _mm256_subs_epu16(mag, _mm256_set1_epi16((short)((code - 7) << 7))), sig);
    const __m256i cut = _mm256_slli_epi16(_mm256_mullo_epi16(u, factor), 1);
    const __m256i tie = _mm256_cmpeq_epi16(cut, _mm256_set1_epi16((short)0x8000));
    const __m256i up = _mm256_mulhrs_epi16(u, factor);
    const __m256i q = _mm256_andnot_si256(_mm256_srli_epi16(tie, 15), up);

    *over = _mm256_cmpgt_epi16(q, most);
    *exact = _mm256_or_si256(_mm256_andnot_si256(*over, _mm256_cmpeq_epi16(cut, zero)), z);
    return _mm256_min_epi16(q, most);
}

static ALWAYS_INLINE int count32(__m256i a, __m256i b)
{
    return __builtin_popcount((unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(a, b)));
}

/* False, and nothing done, when the vector needs the slow path. */
static ALWAYS_INLINE bool middle32(const uint8_t *x, enum src s, uint8_t code, uint8_t *q,
                                   struct kern_count *n)
{
    const __m256i mask = _mm256_set1_epi16(0x7fff), inf = _mm256_set1_epi16(0x7f7f);
    __m256i a, b, exact_a, exact_b, over_a, over_b;

    load32(x, s, &a, &b);
    const __m256i ma = _mm256_and_si256(a, mask), mb = _mm256_and_si256(b, mask);

    if (code < CODE_MIN || code > CODE_MAX
        || _mm256_movemask_epi8(_mm256_cmpgt_epi16(_mm256_max_epu16(ma, mb), inf)))
        return false;
    const __m256i qa = middle16(ma, code, &exact_a, &over_a);
    const __m256i qb = middle16(mb, code, &exact_b, &over_b);
    const __m256i mag = _mm256_packus_epi16(qa, qb), zero = _mm256_setzero_si256();
    const __m256i gone = _mm256_andnot_si256(_mm256_cmpeq_epi8(_mm256_packus_epi16(ma, mb), zero),
                                             _mm256_cmpeq_epi8(mag, zero));
    const __m256i sign = _mm256_and_si256(_mm256_packs_epi16(a, b), _mm256_set1_epi8(-128));

    store32(q, _mm256_or_si256(mag, sign), s);
    n->inexact += 32 - (uint64_t)count32(exact_a, exact_b);
    n->flushed += (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_epi8(gone));
    n->saturated += (uint64_t)count32(over_a, over_b);
    return true;
}

/* The float nearest to 2^(127 - code), as ue8m0_decode(254 - code) gives it. */
static float inverse_of(uint8_t code)
{
    const uint32_t u = code == 254 ? 0x00400000 : code == 255 ? 0x7fc00000 : (254u - code) << 23;
    float x;

    memcpy(&x, &u, 4);
    return x;
}

/* Any 32 elements.  y + M, with M so much larger that the sum's last place is
 * that of the element's E4M3 mantissa, is rounded by the addition itself, and
 * its low bits are the code.  M's exponent is at least that for 2^-6, where
 * E4M3's subnormals begin, so these come out right as well. */
static ALWAYS_INLINE void slow32(const uint8_t *x, enum src s, uint8_t code, uint8_t *q,
                                 struct kern_count *n)
{
    const __m256 inverse = _mm256_set1_ps(inverse_of(code));
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    const __m256 zero = _mm256_setzero_ps();
    __m256i out[4];
    int inexact = 0, flushed = 0, saturated = 0;

    UNROLL
    for (int i = 0; i < 4; i++) {
        const __m256 v = load8(x + (size_t)i * 8 * src_size(s), s), a = _mm256_and_ps(v, magnitude);
        const __m256 y = _mm256_mul_ps(a, inverse);
        const __m256 top = _mm256_min_ps(y, _mm256_set1_ps(448));   /* NaN: 448 */
        const __m256i e = _mm256_and_si256(_mm256_castps_si256(top),
                                           _mm256_set1_epi32(0x7f800000));
        const __m256i m = _mm256_add_epi32(_mm256_max_epi32(e, _mm256_set1_epi32(121 << 23)),
                                           _mm256_set1_epi32(20 << 23));
        const __m256 sum = _mm256_add_ps(top, _mm256_castsi256_ps(m));
        const __m256 r = _mm256_sub_ps(sum, _mm256_castsi256_ps(m));   /* decoded */
        const __m256 gone = _mm256_and_ps(_mm256_cmp_ps(r, zero, _CMP_EQ_OQ),
                                          _mm256_cmp_ps(a, zero, _CMP_NEQ_UQ));
        const __m256 differ = _mm256_or_ps(_mm256_cmp_ps(r, y, _CMP_NEQ_UQ), gone);
        const __m256 over = _mm256_cmp_ps(y, _mm256_set1_ps(464), _CMP_GT_OQ);
        const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(y, y, _CMP_UNORD_Q));
        /* The low byte of the sum counts places from M; each exponent of M
         * above the smallest is worth eight codes. */
        const __m256i places = _mm256_add_epi32(_mm256_castps_si256(sum),
                                                _mm256_srli_epi32(m, 20));
        const __m256i mag = _mm256_and_si256(_mm256_sub_epi32(places, _mm256_set1_epi32(141 * 8)),
                                             _mm256_set1_epi32(0xff));
        const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(_mm256_castps_si256(v), 24),
                                              _mm256_set1_epi32(0x80));

        out[i] = _mm256_or_si256(_mm256_blendv_epi8(mag, _mm256_set1_epi32(0x7f), nan), sign);
        inexact += __builtin_popcount((unsigned)_mm256_movemask_ps(differ));
        flushed += __builtin_popcount((unsigned)_mm256_movemask_ps(gone));
        saturated += __builtin_popcount((unsigned)_mm256_movemask_ps(over));
    }
    const __m256i packed = _mm256_packus_epi16(_mm256_packus_epi32(out[0], out[1]),
                                               _mm256_packus_epi32(out[2], out[3]));

    _mm256_storeu_si256((__m256i *)(void *)q, in_order(packed));
    n->inexact += (uint64_t)inexact;
    n->flushed += (uint64_t)flushed;
    n->saturated += (uint64_t)saturated;
}

#define SLOW(name, s)                                                                             \
    static __attribute__((noinline)) void slow_##name(const uint8_t *x, uint8_t code, uint8_t *q, \
                                                      struct kern_count *n)                       \
    {                                                                                             \
        if (!middle32(x, s, code, q, n))                                                          \
            slow32(x, s, code, q, n);                                                             \
    }
SLOW(bf16, SRC_BF16)
SLOW(f16, SRC_F16)
SLOW(f32, SRC_F32)

static ALWAYS_INLINE void slow(const uint8_t *x, enum src s, uint8_t code, uint8_t *q,
                               struct kern_count *n)
{
    /* The caller counts all 32 as inexact and takes the exact ones off. */
    n->inexact -= 32;
    (s == SRC_BF16 ? slow_bf16 : s == SRC_F16 ? slow_f16 : slow_f32)(x, code, q, n);
}

/* What the loops carry along.  The fast path counts exact elements in the byte
 * lanes of exact, which take 255 vectors and are then added to total. */
struct state {
    struct fast f;
    __m256i exact, total;
};

static ALWAYS_INLINE void vector(const uint8_t *x, enum src s, uint8_t code, __m256i bias,
                                 uint8_t *q, struct state *st, struct kern_count *odd)
{
    if (!LIKELY(fast32(x, s, bias, &st->f, q, &st->exact)))
        slow(x, s, code, q, odd);
}

static ALWAYS_INLINE void flush(struct state *st)
{
    const __m256i zero = _mm256_setzero_si256();

    st->total = _mm256_add_epi64(st->total, _mm256_sad_epu8(st->exact, zero));
    st->exact = zero;
}

static ALWAYS_INLINE __m256i bias(uint8_t code)
{
    return _mm256_set1_epi16((short)bias_of[code]);
}

/* n whole blocks of v vectors each, side by side. */
static ALWAYS_INLINE void blocks(const uint8_t *x, size_t n, size_t v, enum src s,
                                 const uint8_t *code, uint8_t *q, struct state *st,
                                 struct kern_count *odd)
{
    while (n) {
        const size_t m = smaller(n, 255 / v);

        for (const uint8_t *const end = code + m; code < end; code++) {
            const __m256i by = bias(*code);

            for (size_t i = 0; i < 32 * v; i += 32)
                vector(x + i * src_size(s), s, *code, by, q + i, st, odd);
            x += 32 * v * src_size(s);
            q += 32 * v;
        }
        flush(st);
        n -= m;
    }
}

/* A run of any length with one scale. */
static ALWAYS_INLINE void run(const uint8_t *x, size_t cols, enum src s, uint8_t code, uint8_t *q,
                              struct state *st, struct kern_count *odd)
{
    const __m256i by = bias(code);

    while (cols >= 32) {
        const size_t m = 32 * smaller(cols / 32, 255);

        for (size_t i = 0; i < m; i += 32)
            vector(x + i * src_size(s), s, code, by, q + i, st, odd);
        flush(st);
        x += m * src_size(s);
        q += m;
        cols -= m;
    }
    if (cols) {   /* padded with zeros, which are exact */
        uint8_t in[32 * 4] = { 0 }, out[32];

        memcpy(in, x, cols * src_size(s));
        vector(in, s, code, by, out, st, odd);
        flush(st);
        memcpy(q, out, cols);
    }
}

static ALWAYS_INLINE void encode(const uint8_t *x, size_t stride, size_t rows, size_t cols,
                                 size_t block, const uint8_t *code, uint8_t *q, size_t qstride,
                                 struct kern_count *n, enum src s)
{
    const __m256i zero = _mm256_setzero_si256();
    struct state st = { .f = fast_constants(), .exact = zero, .total = zero };
    struct kern_count odd = { 0 };   /* from the slow path */

    if (cols == 0)
        return;
    block = smaller(block, cols);
    const size_t whole = cols / block, rest = cols % block;
    /* Elements per row with the padding of every run's last vector. */
    const uint64_t per_row = 32 * (whole * ((block + 31) / 32) + (rest + 31) / 32);

    for (size_t r = 0; r < rows; r++, x += stride, q += qstride) {
        /* The usual sizes get loops of constant length. */
        if (block == 128)
            blocks(x, whole, 4, s, code, q, &st, &odd);
        else if (block == 32)
            blocks(x, whole, 1, s, code, q, &st, &odd);
        else
            for (size_t b = 0; b < whole; b++)
                run(x + b * block * src_size(s), block, s, code[b], q + b * block, &st,
                    &odd);
        if (rest)
            run(x + whole * block * src_size(s), rest, s, code[whole], q + whole * block, &st,
                &odd);
    }
    n->inexact += rows * per_row - sum_epi64(st.total) + odd.inexact;
    n->flushed += odd.flushed;
    n->saturated += odd.saturated;
}

#define ENTRY(name, s)                                                                            \
    static void encode_##name(const void *x, size_t stride, size_t rows, size_t cols,             \
                              size_t block, const uint8_t *code, uint8_t *q, size_t qstride,      \
                              struct kern_count *n)                                               \
    {                                                                                             \
        encode(x, stride, rows, cols, block, code, q, qstride, n, s);                             \
    }
ENTRY(bf16, SRC_BF16)
ENTRY(f16, SRC_F16)
ENTRY(f32, SRC_F32)

void kern_avx2_fill_e4m3(struct kern *k)
{
    for (int code = 0; code < 256; code++)
        bias_of[code] = code < CODE_MIN || code > CODE_MAX
                            ? 0xffff
                            : (uint16_t)((code - CODE_MIN) << 7);
    k->enc_e4m3_pow2[SRC_BF16] = encode_bf16;
    k->enc_e4m3_pow2[SRC_F16] = encode_f16;
    k->enc_e4m3_pow2[SRC_F32] = encode_f32;
}
#endif
