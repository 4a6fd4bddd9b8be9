/* FP8 E4M3 (the "FN" kind: finite, one NaN per sign): 1 sign, 4 exponent bits
 * of bias 7, 3 mantissa bits.  All exponents carry numbers; only 0x7F and 0xFF
 * are NaN, so the largest finite code is 0x7E, 448. */
#include "quantizers/num.h"

#include "quantizers/narrow.h"

uint8_t e4m3_encode(float x, enum overflow o)
{
    const uint32_t u = f32_bits(x), mag = u & 0x7fffffff;
    const uint8_t sign = (uint8_t)(u >> 31 << 7);

    /* 464, half way to the 480 that does not exist, still is 448. */
    if (o == OVERFLOW_NAN && mag > 0x43e80000)
        return sign | 0x7f;
    return sign | narrow_e4m3(mag);
}

float e4m3_decode(uint8_t code)
{
    const uint32_t mag = code & 0x7f, sign = (uint32_t)(code & 0x80) << 24;

    if (mag == 0x7f)
        return f32_from(0x7fc00000);
    /* The fields, moved to where FP32 has them, are the value times 2^-120
     * (the difference of the biases), subnormal codes included. */
    return f32_from(sign | mag << 20) * 0x1p120f;
}

static uint32_t encode(float x, enum overflow o)
{
    return e4m3_encode(x, o);
}

static float decode(uint32_t code)
{
    return e4m3_decode((uint8_t)code);
}

const struct num num_e4m3 = {
    .name = "e4m3", .dtype = DT_F8_E4M3, .bits = 8,
    .max = 448, .min_normal = 0x1p-6f, .min = 0x1p-9f, .emax = 8, .mbits = 3,
    .encode = encode, .decode = decode,
};
