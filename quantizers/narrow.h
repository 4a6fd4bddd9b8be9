/* The one rounding step that all small float formats share. */
#ifndef OCTAVO_NARROW_H
#define OCTAVO_NARROW_H

#include <stdint.h>

/* Rounds an FP32 magnitude (bits, sign clear, not NaN) to a format with mbits
 * mantissa bits and the given exponent bias; ties go to even.  The result is
 * the code without sign.  It is not limited: an overflowing value gives the
 * code that the format would have if its exponent field had no end, so that
 * code > largest code is the overflow test (Inf overflows as well).
 *
 * q keeps the implicit one when the result is normal, therefore adding the
 * exponent above the smallest one, and every carry of the rounding (subnormal
 * to normal, binade to binade), come out right without special cases. */
static inline uint32_t narrow_rne(uint32_t mag, int mbits, int bias)
{
    const int e = (int)(mag >> 23);
    const int e_min = 128 - bias;   /* FP32 exponent field of the smallest normal */
    int shift = 23 - mbits;

    if (e == 0)
        return 0;   /* FP32 zero and subnormals: far below half of any smallest code */
    if (e < e_min)
        shift += e_min - e;
    if (shift > 25)
        return 0;   /* below a quarter of the smallest code */

    const uint32_t m = (mag & 0x7fffff) | 0x800000;
    const uint32_t half = (uint32_t)1 << (shift - 1);
    /* Just below one half always; all of it when the result would be odd. */
    const uint32_t q = (m + (half - 1) + (m >> shift & 1)) >> shift;

    return e < e_min ? q : q + ((uint32_t)(e - e_min) << mbits);
}

/* E4M3 without sign: the saturating code of an FP32 magnitude, NaN included.
 * Inline, for e4m3_encode and for the loops of the plain C kernels. */
static inline uint8_t narrow_e4m3(uint32_t mag)
{
    if (mag > 0x7f800000)
        return 0x7f;
    const uint32_t code = narrow_rne(mag, 3, 7);

    return (uint8_t)(code > 0x7e ? 0x7e : code);
}

#endif
