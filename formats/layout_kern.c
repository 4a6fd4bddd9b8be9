/* The inner loops of layout copies.  The plain C of each kernel is its
 * definition; SSE2, which every x86-64 has, only makes it faster. */
#include "formats/layout_copy.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>

/* None of these needs an aligned pointer. */
#define LOAD(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define LOAD8(p) _mm_loadl_epi64((const __m128i *)(const void *)(p))
#define STORE(p, v) _mm_storeu_si128((__m128i *)(void *)(p), v)
#define STORE_LOW(p, v) _mm_storel_epi64((__m128i *)(void *)(p), v)
#define STORE_HIGH(p, v) _mm_storeh_pi((__m64 *)(void *)(p), _mm_castsi128_ps(v))
#endif

/* At -O2 gcc keeps short loops, and with them arrays of registers in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* ---- rows --------------------------------------------------------------- */

/* Inlined once per constant run, so that memcpy becomes a few moves. */
static inline __attribute__((always_inline)) void rows_of(const unsigned char *s,
                                                          unsigned char *d, size_t run,
                                                          const struct dim *a,
                                                          const struct dim *b)
{
    const uint64_t na = a->n;
    const ptrdiff_t as = a->s, ad = a->d;
    for (uint64_t j = 0; j < b->n; j++) {
        const unsigned char *si = s + (ptrdiff_t)j * b->s;
        unsigned char *di = d + (ptrdiff_t)j * b->d;
        uint64_t i = 0;
        for (; i + 4 <= na; i += 4) {
            memcpy(di, si, run);
            memcpy(di + ad, si + as, run);
            memcpy(di + 2 * ad, si + 2 * as, run);
            memcpy(di + 3 * ad, si + 3 * as, run);
            si += 4 * as;
            di += 4 * ad;
        }
        for (; i < na; i++) {
            memcpy(di, si, run);
            si += as;
            di += ad;
        }
    }
}

void kern_rows(const unsigned char *s, unsigned char *d, size_t run, const struct dim *a,
               const struct dim *b)
{
    switch (run) {
    case 1: rows_of(s, d, 1, a, b); break;
    case 2: rows_of(s, d, 2, a, b); break;
    case 4: rows_of(s, d, 4, a, b); break;
    case 8: rows_of(s, d, 8, a, b); break;
    case 16: rows_of(s, d, 16, a, b); break;
    case 32: rows_of(s, d, 32, a, b); break;
    case 64: rows_of(s, d, 64, a, b); break;
    case 128: rows_of(s, d, 128, a, b); break;
    default: rows_of(s, d, run, a, b); break;
    }
}

void kern_zero(unsigned char *d, size_t run, const struct dim *a, const struct dim *b)
{
    for (uint64_t j = 0; j < b->n; j++)
        for (uint64_t i = 0; i < a->n; i++)
            memset(d + (ptrdiff_t)j * b->d + (ptrdiff_t)i * a->d, 0, run);
}

/* ---- transposes --------------------------------------------------------- */

static void swap_each(const unsigned char *s, unsigned char *d, size_t w, const struct dim *x,
                      const struct dim *y)
{
    const struct dim *in = x->n > y->n ? x : y, *out = x->n > y->n ? y : x;
    kern_rows(s, d, w, in, out);
}

#if defined(__SSE2__)

enum { LINE = 64 }; /* bytes: a block of lines by lines uses each cache line once */

/* Tiles of 16 bytes by TALL elements.  Each round of unpacks moves one bit of
 * the row number into the column number.  Eight rows of bytes use eight
 * registers and store halves; sixteen would spill. */
static inline int tall(size_t w)
{
    return w == 4 ? 4 : 8;
}

static inline void tile_1(const unsigned char *s, ptrdiff_t ss, unsigned char *d, ptrdiff_t ds)
{
    __m128i a[8], b[8];
    UNROLL
    for (int i = 0; i < 8; i++)
        a[i] = LOAD(s + i * ss);
    UNROLL
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 4]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 4]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 4]);
        a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 4]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 4]);
        b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 4]);
    }
    UNROLL
    for (int i = 0; i < 8; i++) {
        STORE_LOW(d + 2 * i * ds, b[i]);
        STORE_HIGH(d + (2 * i + 1) * ds, b[i]);
    }
}

static inline void tile_2(const unsigned char *s, ptrdiff_t ss, unsigned char *d, ptrdiff_t ds)
{
    __m128i a[8], b[8];
    UNROLL
    for (int i = 0; i < 8; i++)
        a[i] = LOAD(s + i * ss);
    UNROLL
    for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
        b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm_unpacklo_epi16(b[i], b[i + 4]);
        a[2 * i + 1] = _mm_unpackhi_epi16(b[i], b[i + 4]);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        STORE(d + 2 * i * ds, _mm_unpacklo_epi16(a[i], a[i + 4]));
        STORE(d + (2 * i + 1) * ds, _mm_unpackhi_epi16(a[i], a[i + 4]));
    }
}

static inline void tile_4(const unsigned char *s, ptrdiff_t ss, unsigned char *d, ptrdiff_t ds)
{
    const __m128i a0 = LOAD(s), a1 = LOAD(s + ss), a2 = LOAD(s + 2 * ss), a3 = LOAD(s + 3 * ss);
    const __m128i b0 = _mm_unpacklo_epi32(a0, a2), b1 = _mm_unpackhi_epi32(a0, a2);
    const __m128i b2 = _mm_unpacklo_epi32(a1, a3), b3 = _mm_unpackhi_epi32(a1, a3);
    STORE(d, _mm_unpacklo_epi32(b0, b2));
    STORE(d + ds, _mm_unpackhi_epi32(b0, b2));
    STORE(d + 2 * ds, _mm_unpacklo_epi32(b1, b3));
    STORE(d + 3 * ds, _mm_unpackhi_epi32(b1, b3));
}

/* All tiles of bx bytes by ny elements, multiples of a tile.  Along x first:
 * only tall() source lines are in use at a time, and each is read as a whole. */
static inline __attribute__((always_inline)) void tiles(const unsigned char *s, ptrdiff_t ss,
                                                        size_t bx, unsigned char *d,
                                                        ptrdiff_t ds, size_t ny, size_t w)
{
    const ptrdiff_t wide = 16 / (ptrdiff_t)w;
    for (size_t j = 0; j < ny; j += (size_t)tall(w)) {
        const unsigned char *st = s + (ptrdiff_t)j * ss;
        unsigned char *dt = d + j * w;
        for (size_t i = 0; i < bx; i += 16) {
            if (w == 1)
                tile_1(st + i, ss, dt, ds);
            else if (w == 2)
                tile_2(st + i, ss, dt, ds);
            else
                tile_4(st + i, ss, dt, ds);
            dt += wide * ds;
        }
    }
}

/* n rows of run bytes. */
static void lines(const unsigned char *s, ptrdiff_t ss, unsigned char *d, ptrdiff_t ds,
                  size_t run, uint64_t n)
{
    const struct dim a = { n, ss, ds }, one = { 1, 0, 0 };
    kern_rows(s, d, run, &a, &one);
}

/* Do n lines at this pitch compete for too few places in the cache?  Those of
 * a pitch that is an odd multiple of 2^k can lie in 4096 / 2^k sets of 8 lines
 * (32 KiB, 8 ways, the usual first level): a power of two is the worst. */
static inline bool crowded(ptrdiff_t pitch, size_t n)
{
    const size_t odd_step = (size_t)pitch & -(size_t)pitch;
    return n * min_u64(odd_step, 4096) > 32768;
}

/* One block of up to LINE bytes each way.  Crowded lines would be thrown out
 * between one tile and the next: then each line is put together in a small
 * buffer and written once.  Blocks with odd edges are completed in another. */
static inline __attribute__((always_inline)) void block(const unsigned char *s, ptrdiff_t ss,
                                                        size_t nx, unsigned char *d,
                                                        ptrdiff_t ds, size_t ny, size_t w)
{
    _Alignas(64) unsigned char in[LINE][LINE], out[LINE][LINE];
    const size_t bx = nx * w, by = ny * w;
    const bool whole = bx % 16 == 0 && ny % (size_t)tall(w) == 0;
    if (whole && (by <= 16 || !crowded(ds, nx))) {
        tiles(s, ss, bx, d, ds, ny, w);
        return;
    }
    if (!whole) {
        lines(s, ss, in[0], LINE, bx, ny);
        s = in[0];
        ss = LINE;
    }
    tiles(s, ss, round_up(bx, 16), out[0], LINE, round_up(ny, (uint64_t)tall(w)), w);
    lines(out[0], LINE, d, ds, by, nx);
}

static inline __attribute__((always_inline)) void blocks(const unsigned char *s, unsigned char *d,
                                                         size_t w, const struct dim *x,
                                                         const struct dim *y,
                                                         const struct dim *z)
{
    const uint64_t side = LINE / w;
    for (uint64_t k = 0; k < z->n; k++, s += z->s, d += z->d)
        for (uint64_t j = 0; j < y->n; j += side)
            for (uint64_t i = 0; i < x->n; i += side)
                block(s + (ptrdiff_t)j * y->s + (ptrdiff_t)(i * w), y->s,
                      min_u64(side, x->n - i), d + (ptrdiff_t)i * x->d + (ptrdiff_t)(j * w), x->d,
                      min_u64(side, y->n - j), w);
}

/* Two byte rows that become one (y.n == 2), and the way back (x.n == 2). */
static void weave(const unsigned char *s, ptrdiff_t ss, unsigned char *d, uint64_t n)
{
    uint64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m128i a = LOAD(s + i), b = LOAD(s + ss + (ptrdiff_t)i);
        STORE(d + 2 * i, _mm_unpacklo_epi8(a, b));
        STORE(d + 2 * i + 16, _mm_unpackhi_epi8(a, b));
    }
    for (; i + 8 <= n; i += 8) {
        STORE(d + 2 * i, _mm_unpacklo_epi8(LOAD8(s + i), LOAD8(s + ss + (ptrdiff_t)i)));
    }
    for (; i < n; i++) {
        d[2 * i] = s[i];
        d[2 * i + 1] = s[ss + (ptrdiff_t)i];
    }
}

static inline void unweave_8(const unsigned char *s, unsigned char *even, unsigned char *odd)
{
    const __m128i v = LOAD(s);
    const __m128i p = _mm_packus_epi16(_mm_and_si128(v, _mm_set1_epi16(0xff)),
                                       _mm_srli_epi16(v, 8));
    STORE_LOW(even, p);
    STORE_HIGH(odd, p);
}

static void unweave(const unsigned char *s, unsigned char *d, ptrdiff_t ds, uint64_t n)
{
    uint64_t i = 0;
    for (; i + 8 <= n; i += 8)
        unweave_8(s + 2 * i, d + i, d + ds + (ptrdiff_t)i);
    for (; i < n; i++) {
        d[i] = s[2 * i];
        d[ds + (ptrdiff_t)i] = s[2 * i + 1];
    }
}

static bool is_weave(size_t w, const struct dim *x, const struct dim *y)
{
    return w == 1 && y->n == 2 && x->d == 2 && x->n >= 8;
}

static bool is_unweave(size_t w, const struct dim *x, const struct dim *y)
{
    return w == 1 && x->n == 2 && y->s == 2 && y->n >= 8;
}

bool kern_swap_is_fast(size_t w, const struct dim *x, const struct dim *y)
{
    return (x->n * w >= 8 && y->n * w >= 8) || is_weave(w, x, y) || is_unweave(w, x, y);
}

void kern_swap(const unsigned char *s, unsigned char *d, size_t w, const struct dim *x,
               const struct dim *y, const struct dim *z)
{
    const bool fast = x->n * w >= 8 && y->n * w >= 8;
    if (is_weave(w, x, y) && x->n == 8) {
        for (uint64_t k = 0; k < z->n; k++, s += z->s, d += z->d)
            STORE(d, _mm_unpacklo_epi8(LOAD8(s), LOAD8(s + y->s)));
    } else if (is_weave(w, x, y)) {
        for (uint64_t k = 0; k < z->n; k++, s += z->s, d += z->d)
            weave(s, y->s, d, x->n);
    } else if (is_unweave(w, x, y) && y->n == 8) {
        for (uint64_t k = 0; k < z->n; k++, s += z->s, d += z->d)
            unweave_8(s, d, d + x->d);
    } else if (is_unweave(w, x, y)) {
        for (uint64_t k = 0; k < z->n; k++, s += z->s, d += z->d)
            unweave(s, d, x->d, y->n);
    } else if (fast && w == 1) {
        blocks(s, d, 1, x, y, z);
    } else if (fast && w == 2) {
        blocks(s, d, 2, x, y, z);
    } else if (fast && w == 4) {
        blocks(s, d, 4, x, y, z);
    } else {
        for (uint64_t k = 0; k < z->n; k++, s += z->s, d += z->d)
            swap_each(s, d, w, x, y);
    }
}

#else

bool kern_swap_is_fast(size_t w, const struct dim *x, const struct dim *y)
{
    (void)w, (void)x, (void)y;
    return true; /* all shapes cost the same, so none is worth a detour */
}

void kern_swap(const unsigned char *s, unsigned char *d, size_t w, const struct dim *x,
               const struct dim *y, const struct dim *z)
{
    for (uint64_t k = 0; k < z->n; k++, s += z->s, d += z->d)
        swap_each(s, d, w, x, y);
}

#endif

/* ---- nibbles ------------------------------------------------------------ */

#if defined(__SSE2__)
/* The low nibbles' bytes and the high nibbles' bytes of pairs, still apart. */
static inline __m128i pair_even(__m128i a, __m128i b)
{
    const __m128i low = _mm_set1_epi8(15);
    return _mm_or_si128(_mm_and_si128(a, low), _mm_slli_epi16(_mm_and_si128(b, low), 4));
}

static inline __m128i pair_odd(__m128i a, __m128i b)
{
    const __m128i low = _mm_set1_epi8(15);
    return _mm_or_si128(_mm_and_si128(_mm_srli_epi16(a, 4), low), _mm_andnot_si128(low, b));
}

/* Sixteen pairs to eight bytes low, eight bytes high.  As 16-bit lanes
 * e | o << 8: lo = e & 15 | (o & 15) << 4, hi = e >> 4 | o & 240. */
static inline __m128i unpair(__m128i v)
{
    const __m128i low = _mm_set1_epi16(15), high = _mm_set1_epi16(0xf0);
    const __m128i shifted = _mm_srli_epi16(v, 4);
    const __m128i a = _mm_or_si128(_mm_and_si128(v, low), _mm_and_si128(shifted, high));
    const __m128i b = _mm_or_si128(_mm_and_si128(shifted, low),
                                   _mm_and_si128(_mm_srli_epi16(v, 8), high));
    return _mm_packus_epi16(a, b);
}
#endif

void kern_pair(const unsigned char *lo, const unsigned char *hi, unsigned char *out, size_t n)
{
    size_t i = 0;
#if defined(__SSE2__)
    for (; i + 16 <= n; i += 16) {
        const __m128i a = LOAD(lo + i), b = LOAD(hi + i);
        const __m128i even = pair_even(a, b), odd = pair_odd(a, b);
        STORE(out + 2 * i, _mm_unpacklo_epi8(even, odd));
        STORE(out + 2 * i + 16, _mm_unpackhi_epi8(even, odd));
    }
#endif
    for (; i < n; i++) {
        out[2 * i] = (unsigned char)((lo[i] & 15) | hi[i] << 4);
        out[2 * i + 1] = (unsigned char)(lo[i] >> 4 | (hi[i] & 0xf0));
    }
}

void kern_unpair(const unsigned char *in, unsigned char *lo, unsigned char *hi, size_t n)
{
    size_t i = 0;
#if defined(__SSE2__)
    for (; i + 8 <= n; i += 8) {
        const __m128i p = unpair(LOAD(in + 2 * i));
        STORE_LOW(lo + i, p);
        STORE_HIGH(hi + i, p);
    }
#endif
    for (; i < n; i++) {
        lo[i] = (unsigned char)((in[2 * i] & 15) | in[2 * i + 1] << 4);
        hi[i] = (unsigned char)(in[2 * i] >> 4 | (in[2 * i + 1] & 0xf0));
    }
}

/* Groups of two bytes low, two bytes high, as the 4-bit Marlin words have
 * them: eight bytes at a time, in a register. */
static uint64_t pair_word(uint64_t v)
{
    const uint64_t even = (v & 0x00000f0f00000f0f) | (v >> 12 & 0x0000f0f00000f0f0);
    const uint64_t odd = (v >> 4 & 0x00000f0f00000f0f) | (v >> 16 & 0x0000f0f00000f0f0);
    return (even & 0x000000ff000000ff) | (even & 0x0000ff000000ff00) << 8 |
           (odd & 0x000000ff000000ff) << 8 | (odd & 0x0000ff000000ff00) << 16;
}

static uint64_t unpair_word(uint64_t v)
{
    const uint64_t even = (v & 0x000000ff000000ff) | (v >> 8 & 0x0000ff000000ff00);
    const uint64_t odd = (v >> 8 & 0x000000ff000000ff) | (v >> 16 & 0x0000ff000000ff00);
    return (even & 0x00000f0f00000f0f) | (even & 0x0000f0f00000f0f0) << 12 |
           (odd & 0x00000f0f00000f0f) << 4 | (odd & 0x0000f0f00000f0f0) << 16;
}

void kern_pair_row(const unsigned char *in, size_t half, unsigned char *out, size_t total)
{
    size_t i = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (uint64_t v; half == 2 && i + 8 <= total; i += 8) {
        memcpy(&v, in + i, 8);
        v = pair_word(v);
        memcpy(out + i, &v, 8);
    }
#endif
#if defined(__SSE2__)
    for (; half == 8 && i < total; i += 16) {
        const __m128i v = LOAD(in + i), hi = _mm_srli_si128(v, 8);
        STORE(out + i, _mm_unpacklo_epi8(pair_even(v, hi), pair_odd(v, hi)));
    }
#endif
    for (; i < total; i += 2 * half)
        kern_pair(in + i, in + i + half, out + i, half);
}

void kern_unpair_row(const unsigned char *in, size_t half, unsigned char *out, size_t total)
{
    size_t i = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (uint64_t v; half == 2 && i + 8 <= total; i += 8) {
        memcpy(&v, in + i, 8);
        v = unpair_word(v);
        memcpy(out + i, &v, 8);
    }
#endif
#if defined(__SSE2__)
    for (; half == 8 && i < total; i += 16)
        STORE(out + i, unpair(LOAD(in + i)));
#endif
    for (; i < total; i += 2 * half)
        kern_unpair(in + i, out + i, out + i + half, half);
}

void kern_swap_nibbles(const unsigned char *in, unsigned char *out, size_t n)
{
    size_t i = 0;
#if defined(__SSE2__)
    const __m128i low = _mm_set1_epi8(15);
    for (; i + 16 <= n; i += 16) {
        const __m128i v = LOAD(in + i);
        STORE(out + i, _mm_or_si128(_mm_slli_epi16(_mm_and_si128(v, low), 4),
                                    _mm_and_si128(_mm_srli_epi16(v, 4), low)));
    }
#endif
    for (; i < n; i++)
        out[i] = (unsigned char)(in[i] << 4 | in[i] >> 4);
}
