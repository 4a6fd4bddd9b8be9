/* HiFloat8, Ascend's tapered FP8 (arXiv 2409.16626).
 *
 * The exponent E is sign and magnitude, and its leading 1 is left out; a prefix
 * ("dot") says how many bits it takes, D, and the mantissa has the rest:
 *
 *     s 11 t eee m     D 4   |E| 8..15        s 001 t mmm     D 1   |E| 1
 *     s 10 t ee mm     D 3   |E| 4..7         s 0001 mmm      D 0   E 0
 *     s 01 t e mmm     D 2   |E| 2..3         s 0000 nnn      2^(nnn - 23); nnn 0: zero
 *
 * t is the sign of E.  0x80, where -0 would be, is NaN; 0x6F and 0xEF, which
 * would be 1.5 * 2^15, are Inf. */
#include "quantizers/num.h"

#include <stdlib.h>

/* By D: the prefix as it stands in the code, and the width of the mantissa. */
static const struct { uint8_t prefix; uint8_t mbits; } field[] = {
    { 0x08, 3 }, { 0x10, 3 }, { 0x20, 3 }, { 0x40, 2 }, { 0x60, 1 },
};

static int width(int e)
{
    const int k = abs(e);

    return (k > 0) + (k > 1) + (k > 3) + (k > 7);
}

static uint32_t encode(float x, enum overflow o)
{
    const uint32_t u = f32_bits(x), sign = u >> 31 << 7;
    uint32_t mag = u & 0x7fffffff;

    if (mag > 0x7f800000)
        return o == OVERFLOW_SATURATE ? 0 : 0x80;
    if (mag >= 0x47200000)   /* 1.25 * 2^15, half way to 1.5 * 2^15 */
        return sign | (o == OVERFLOW_SATURATE ? 0x6e : 0x6f);
    if (mag < 0x34000000)    /* 2^-23, half of the smallest */
        return 0;

    /* Round where the mantissa of this binade ends: half a step is added, the
     * rest cut off below.  A carry makes a power of two, which needs no bits. */
    int e = (int)(mag >> 23) - 127;
    mag += (uint32_t)1 << (e < -15 ? 22 : 22 - field[width(e)].mbits);
    e = (int)(mag >> 23) - 127;
    if (e < -15)
        return sign | (e < -22 ? 1 : (uint32_t)(e + 23));

    const int d = width(e), mbits = field[d].mbits;
    const uint32_t m = (mag & 0x7fffff) >> (23 - mbits);
    if (d == 0)
        return sign | field[d].prefix | m;
    const uint32_t low = (uint32_t)abs(e) - (1u << (d - 1));   /* |E| without its leading 1 */
    return sign | field[d].prefix | ((e < 0) << (d - 1) | low) << mbits | m;
}

static float decode(uint32_t code)
{
    const uint32_t c = code & 0x7f, sign = (code & 0x80) << 24;

    if (c == 0)
        return f32_from(sign ? 0x7fc00000 : 0);
    if (c == 0x6f)
        return f32_from(sign | 0x7f800000);
    if (c < 8)
        return f32_from(sign | (127 - 23 + c) << 23);

    const int d = (c >= 0x10) + (c >= 0x20) + (c >= 0x40) + (c >= 0x60), mbits = field[d].mbits;
    const uint32_t m = c & ((1u << mbits) - 1), rest = (c - field[d].prefix) >> mbits;
    int e = 0;

    if (d > 0) {
        const uint32_t t = 1u << (d - 1);   /* the sign of E; and the leading 1 that is left out */

        e = (int)(t | (rest & (t - 1)));
        e = rest & t ? -e : e;
    }
    return f32_from(sign | (uint32_t)(127 + e) << 23 | m << (23 - mbits));
}

const struct num num_hif8 = {
    .name = "hif8", .dtype = DT_HIF8, .bits = 8,
    .max = 32768, .min_normal = 0x1p-15f, .min = 0x1p-22f, .emax = 15, .mbits = 3,
    .encode = encode, .decode = decode,
};
