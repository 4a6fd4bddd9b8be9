/* The steps that small formats share: rounding to a narrow float or to an
 * integer, and the way back. */
#ifndef OCTAVO_NARROW_H
#define OCTAVO_NARROW_H

#include "quantizers/num.h"

#include <float.h>
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

/* A format of `bits` bits in which every code is a number: what is too large
 * saturates, the sign is kept, NaN is 0. */
static inline uint32_t narrow_finite(float x, int bits, int mbits, int bias)
{
    const uint32_t u = f32_bits(x), mag = u & 0x7fffffff, max = ((uint32_t)1 << (bits - 1)) - 1;

    if (mag > 0x7f800000)
        return 0;
    const uint32_t code = narrow_rne(mag, mbits, bias);
    return u >> 31 << (bits - 1) | (code > max ? max : code);
}

/* The value of a code that is a number: the fields, moved to where FP32 has
 * them, are the value times 2^(bias - 127), subnormal codes included. */
static inline float widen(uint32_t code, int bits, int mbits, int bias)
{
    const uint32_t mag = code & (((uint32_t)1 << (bits - 1)) - 1), sign = code >> (bits - 1) << 31;

    return f32_from(sign | mag << (23 - mbits)) * f32_from((uint32_t)(254 - bias) << 23);
}

/* Adding and taking away 1.5 * 2^23 leaves the integer nearest to x, ties to
 * even, when |x| < 2^22; it needs FP32 arithmetic without extra precision. */
_Static_assert(FLT_EVAL_METHOD == 0, "FP32 expressions must be evaluated in FP32");

/* The integer nearest to x, ties to even, limited to lo..hi; NaN is 0. */
static inline int narrow_int(float x, int lo, int hi)
{
    if (x != x)
        return 0;
    if (x > (float)hi)
        return hi;
    if (x < (float)lo)
        return lo;
    return (int)((x + 0x1.8p23f) - 0x1.8p23f);
}

#endif
