#include "tests/blocks_oracle.h"

#include "quantizers/blocks_part.h"

#include <math.h>

/* ---- bits ------------------------------------------------------------------- */

/* n bits from bit `at`, the lowest first. */
static unsigned bits(const uint8_t *p, unsigned at, unsigned n)
{
    unsigned x = 0;
    for (unsigned i = 0; i < n; i++)
        x += (p[(at + i) / 8] >> (at + i) % 8 & 1u) << i;
    return x;
}

static int signed_byte(const uint8_t *p) { return *p < 128 ? *p : *p - 256; }

static double half_value(unsigned h)
{
    const int sign = h >> 15, exponent = h >> 10 & 31, mantissa = h & 1023;
    const double v = exponent == 31 ? (mantissa ? NAN : INFINITY)
                     : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                                    : ldexp(mantissa, -24);
    return sign ? -v : v;
}

static double half_of(const uint8_t *p, unsigned byte) { return half_value(bits(p, 8 * byte, 16)); }

static double single_of(const uint8_t *p)
{
    const unsigned exponent = bits(p, 23, 8), mantissa = bits(p, 0, 23);
    const double v = exponent == 255 ? (mantissa ? NAN : INFINITY)
                     : exponent      ? ldexp(0x800000 + mantissa, (int)exponent - 150)
                                     : ldexp(mantissa, -149);
    return bits(p, 31, 1) ? -v : v;
}

/* Element i of n whose low and high nibbles are n/2 apart, from this byte on. */
static unsigned nibble(const uint8_t *p, unsigned byte, unsigned n, unsigned i)
{
    return i < n / 2 ? bits(p, 8 * (byte + i), 4) : bits(p, 8 * (byte + i - n / 2) + 4, 4);
}

static double e2m1(unsigned code)
{
    static const double magnitude[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    return code > 8 ? -magnitude[code - 8] : magnitude[code % 8];
}

/* ---- grids ------------------------------------------------------------------ */

enum { XXS2, XS2, S2, XXS3, S3, S1 };
const struct blocks_grid blocks_grid[BLOCKS_GRIDS] = {
    [XXS2] = {"iq2xxs", iq2_xxs_grid, 256, 8, 2, {8, 25, 43}, 0x9924ff02},
    [XS2] = {"iq2xs", iq2_xs_grid, 512, 8, 2, {8, 25, 43}, 0xfa1e1bfd},
    [S2] = {"iq2s", iq2_s_grid, 1024, 8, 2, {8, 25, 43}, 0x25ae5bf1},
    [XXS3] = {"iq3xxs", iq3_xxs_grid, 256, 4, 3, {4, 12, 20, 28, 36, 44, 52, 62}, 0x07ba9ed0},
    [S3] = {"iq3s", iq3_s_grid, 512, 4, 3, {1, 3, 5, 7, 9, 11, 13, 15}, 0xf576e4f3},
    [S1] = {"iq1s", iq1_grid, 2048, 8, 2, {-1, 0, 1}, 0xb85e6ccf},
};

double blocks_grid_value(const struct blocks_grid *g, unsigned point, unsigned i)
{
    unsigned packed = g->points[point];
    while (i--)
        packed /= 1u << g->bits;
    return g->level[packed % (1u << g->bits)];
}

static double grid(int which, unsigned point, unsigned i, struct blocks_seen *seen)
{
    seen->point[point] = true;
    return blocks_grid_value(&blocks_grid[which], point, i);
}

/* Signs: one bit each, or seven and a parity. */
static double sign(const uint8_t *p, unsigned at, unsigned n, unsigned i, struct blocks_seen *seen)
{
    unsigned ones = 0;
    seen->sign[bits(p, at, n)] = true;
    for (unsigned k = 0; k < n; k++)
        ones += bits(p, at + k, 1);
    return (i < n ? bits(p, at + i, 1) : ones % 2) ? -1 : 1;
}

/* ---- types ------------------------------------------------------------------ */

static double scale_of(unsigned code, struct blocks_seen *seen)
{
    seen->scale[code] = true;
    return code;
}

/* The six-bit pair j of Q4_K and Q5_K; s: their 12 bytes. */
static double pair(const uint8_t *s, unsigned j, bool min, struct blocks_seen *seen)
{
    unsigned x;
    if (j < 4)
        x = bits(s, 8 * (j + (min ? 4 : 0)), 6);
    else if (min)
        x = bits(s, 8 * (j + 4) + 4, 4) + 16 * bits(s, 8 * j + 6, 2);
    else
        x = bits(s, 8 * (j + 4), 4) + 16 * bits(s, 8 * (j - 4) + 6, 2);
    (min ? seen->min : seen->scale)[x] = true;
    return x;
}

static double ternary(const uint8_t *p, unsigned i)
{
    /* byte, and which digit of it */
    const unsigned byte = i < 160 ? i % 32 : i < 240 ? 32 + (i - 160) % 16 : 48 + (i - 240) % 4;
    unsigned digit = i < 160 ? i / 32 : i < 240 ? (i - 160) / 16 : (i - 240) / 4, x = p[byte];
    while (digit--)
        x = x * 3 % 256;
    return (double)(x * 3 / 256) - 1;
}

static double ue4m3(unsigned code)
{
    const int exponent = code / 8 % 16, mantissa = code % 8;
    if (code == 0 || code == 0x7f)
        return 0;
    return exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
}

/* The K types.  h, j, l: half of the block, run of 32 in it, place in that; s: sub-block of 16. */
static double k_element(enum dtype t, const uint8_t *p, unsigned i, struct blocks_seen *seen)
{
    const unsigned h = i / 128, j = i % 128 / 32, l = i % 32, s = 8 * h + 2 * j + (l >= 16), pairs = i / 64 * 32;
    double q, scale, min = 0, dmin = 0;
    switch (t) {
    case DT_Q2_K:
        q = bits(p, 8 * (16 + 32 * h + l) + 2 * j, 2);
        seen->min[p[s] / 16] = true;
        scale = scale_of(p[s] % 16, seen);
        min = p[s] / 16;
        dmin = half_of(p, 82);
        break;
    case DT_Q3_K:
        q = bits(p, 8 * (32 + 32 * h + l) + 2 * j, 2) - (bits(p, 8 * l + 4 * h + j, 1) ? 0.0 : 4.0);
        scale = bits(p, 8 * (96 + s % 8) + s / 8 * 4, 4) + 16 * bits(p, 8 * (104 + s % 4) + s / 4 * 2, 2);
        scale = scale_of((unsigned)scale, seen) - 32;
        return half_of(p, 108) * scale * q;
    case DT_Q6_K:
        q = bits(p, 8 * (64 * h + 32 * (j % 2) + l) + j / 2 * 4, 4);
        q += 16 * bits(p, 8 * (128 + 32 * h + l) + 2 * j, 2);
        seen->scale[p[192 + s]] = true;
        return half_of(p, 208) * signed_byte(p + 192 + s) * (q - 32);
    default: /* DT_Q4_K, DT_Q5_K */
        q = bits(p, 8 * ((t == DT_Q5_K ? 48 : 16) + pairs + l) + i / 32 % 2 * 4, 4);
        if (t == DT_Q5_K)
            q += 16 * bits(p, 8 * (16 + l) + i / 32, 1);
        scale = pair(p + 4, i / 32, false, seen);
        min = pair(p + 4, i / 32, true, seen);
        dmin = half_of(p, 2);
    }
    return half_of(p, t == DT_Q2_K ? 80 : 0) * scale * q - dmin * min;
}

static const signed char iq4_value[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* e: eighth of elements; s: run of 32; both counted from the start of the block. */
static double iq_element(enum dtype t, const uint8_t *p, unsigned i, struct blocks_seen *seen)
{
    const unsigned s = i / 32, e = i / 8;
    double d = half_of(p, 0), scale, value;
    unsigned at, point;
    switch (t) {
    case DT_IQ2_XXS: /* 64 bits: 4 indices, 4 x 7 signs, scale */
        at = 8 * (2 + 8 * s);
        scale = (0.5 + scale_of(bits(p, at + 60, 4), seen)) * 0.25;
        value = grid(XXS2, bits(p, at + 8 * (e % 4), 8), i % 8, seen);
        value *= sign(p, at + 32 + 7 * (e % 4), 7, i % 8, seen);
        break;
    case DT_IQ2_XS: /* 16 bits: index, signs */
        at = 8 * 2 + 16 * e;
        scale = (0.5 + scale_of(bits(p, 8 * 66 + 4 * (i / 16), 4), seen)) * 0.25;
        value = grid(XS2, bits(p, at, 9), i % 8, seen) * sign(p, at + 9, 7, i % 8, seen);
        break;
    case DT_IQ2_S:
        point = p[2 + e] + 256 * bits(p, 8 * 66 + 2 * e, 2);
        scale = (0.5 + scale_of(bits(p, 8 * 74 + 4 * (i / 16), 4), seen)) * 0.25;
        value = grid(S2, point, i % 8, seen) * sign(p, 8 * (34 + e), 8, i % 8, seen);
        break;
    case DT_IQ3_XXS: /* 32 bits: 4 x 7 signs, scale */
        at = 8 * (66 + 4 * s);
        scale = (0.5 + scale_of(bits(p, at + 28, 4), seen)) * 0.5;
        value = grid(XXS3, p[2 + i / 4], i % 4, seen) * sign(p, at + 7 * (e % 4), 7, i % 8, seen);
        break;
    case DT_IQ3_S:
        point = p[2 + i / 4] + 256 * bits(p, 8 * 66 + i / 4, 1);
        scale = 1 + 2 * scale_of(bits(p, 8 * 106 + 4 * s, 4), seen);
        value = grid(S3, point, i % 4, seen) * sign(p, 8 * (74 + e), 8, i % 8, seen);
        break;
    case DT_IQ1_S: /* 16 bits: 4 x 3 high bits of indices, scale, delta */
        at = 8 * (34 + 2 * s);
        point = p[2 + e] + 256 * bits(p, at + 3 * (e % 4), 3);
        scale = 2 * scale_of(bits(p, at + 12, 3), seen) + 1;
        value = grid(S1, point, i % 8, seen) + (bits(p, at + 15, 1) ? -0.125 : 0.125);
        break;
    case DT_IQ1_M: /* 4 bits: 3 high bits of an index, delta; words of 4 x 3 bits of scales and 4 of d */
        at = 8 * 32 + 4 * e;
        point = p[e] + 256 * bits(p, at, 3);
        value = grid(S1, point, i % 8, seen) + (bits(p, at + 3, 1) ? -0.125 : 0.125);
        at = 8 * 48;
        scale = 2 * scale_of(bits(p, at + 16 * (i / 64) + 3 * (i / 16 % 4), 3), seen) + 1;
        d = half_value(bits(p, at + 12, 4) + 16 * bits(p, at + 28, 4) + 256 * bits(p, at + 44, 4)
                       + 4096 * bits(p, at + 60, 4));
        break;
    default: /* DT_IQ4_XS */
        at = bits(p, 8 * 4 + 4 * s, 4) + 16 * bits(p, 8 * 2 + 2 * s, 2);
        scale = scale_of(at, seen) - 32;
        value = iq4_value[nibble(p, 8 + 16 * s, 32, i % 32)];
    }
    return d * scale * value;
}

double blocks_element(enum dtype t, const uint8_t *p, unsigned i, struct blocks_seen *seen)
{
    switch (t) {
    case DT_Q4_0: return ((double)nibble(p, 2, 32, i) - 8) * half_of(p, 0);
    case DT_Q4_1: return nibble(p, 4, 32, i) * half_of(p, 0) + half_of(p, 2);
    case DT_Q5_0: return ((double)(nibble(p, 6, 32, i) + 16 * bits(p, 8 * 2 + i, 1)) - 16) * half_of(p, 0);
    case DT_Q5_1: return (nibble(p, 8, 32, i) + 16 * bits(p, 8 * 4 + i, 1)) * half_of(p, 0) + half_of(p, 2);
    case DT_Q8_0: return signed_byte(p + 2 + i) * half_of(p, 0);
    case DT_Q8_1: return signed_byte(p + 4 + i) * half_of(p, 0);
    case DT_Q8_K: return signed_byte(p + 4 + i) * single_of(p);
    case DT_IQ4_NL: return iq4_value[nibble(p, 2, 32, i)] * half_of(p, 0);
    case DT_TQ1_0: return ternary(p, i) * half_of(p, 52);
    case DT_TQ2_0: return ((double)bits(p, 8 * (i / 128 * 32 + i % 32) + 2 * (i % 128 / 32), 2) - 1) * half_of(p, 64);
    case DT_MXFP4: return ldexp(e2m1(nibble(p, 1, 32, i)), (int)scale_of(p[0], seen) - 127);
    case DT_NVFP4:
        seen->scale[p[i / 16]] = true;
        return e2m1(nibble(p, 4 + i / 16 * 8, 16, i % 16)) * ue4m3(p[i / 16]);
    case DT_Q1_0: return bits(p, 8 * 2 + i, 1) ? half_of(p, 0) : -half_of(p, 0);
    case DT_Q2_0: return ((double)bits(p, 8 * 2 + 2 * i, 2) - 1) * half_of(p, 0);
    case DT_Q2_K: case DT_Q3_K: case DT_Q4_K: case DT_Q5_K: case DT_Q6_K: return k_element(t, p, i, seen);
    case DT_IQ2_XXS: case DT_IQ2_XS: case DT_IQ2_S: case DT_IQ3_XXS: case DT_IQ3_S: case DT_IQ1_S: case DT_IQ1_M:
    case DT_IQ4_XS: return iq_element(t, p, i, seen);
    default: return NAN;
    }
}

/* ---- scales ----------------------------------------------------------------- */

struct blocks_halves blocks_halves(enum dtype t)
{
    switch (t) {
    case DT_MXFP4: case DT_NVFP4: case DT_Q8_K: case DT_IQ1_M: return (struct blocks_halves){-1, -1};
    case DT_Q4_1: case DT_Q5_1: case DT_Q4_K: case DT_Q5_K: return (struct blocks_halves){0, 2};
    case DT_Q2_K: return (struct blocks_halves){80, 82};
    case DT_Q3_K: return (struct blocks_halves){108, -1};
    case DT_Q6_K: return (struct blocks_halves){208, -1};
    case DT_TQ1_0: return (struct blocks_halves){52, -1};
    case DT_TQ2_0: return (struct blocks_halves){64, -1};
    default: return (struct blocks_halves){0, -1};
    }
}

bool blocks_put_half(enum dtype t, uint8_t *p, uint16_t d, uint16_t m)
{
    const struct blocks_halves at = blocks_halves(t);
    if (t == DT_IQ1_M)
        for (int k = 0; k < 4; k++)
            p[49 + 2 * k] = (uint8_t)(p[49 + 2 * k] % 16 + 16 * (d >> 4 * k & 15));
    if (at.d >= 0) {
        p[at.d] = (uint8_t)d;
        p[at.d + 1] = (uint8_t)(d >> 8);
    }
    if (at.m >= 0) {
        p[at.m] = (uint8_t)m;
        p[at.m + 1] = (uint8_t)(m >> 8);
    }
    return at.d >= 0 || t == DT_IQ1_M;
}
