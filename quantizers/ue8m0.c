/* UE8M0: the exponent field of an FP32 and nothing else; it stores scales. */
#include "quantizers/num.h"

float ue8m0_decode(uint8_t code)
{
    if (code == 0)
        return f32_from(0x00400000);   /* 2^-127 has no normal FP32 */
    if (code == 255)
        return f32_from(0x7fc00000);
    return f32_from((uint32_t)code << 23);
}

int ue8m0_exact(float scale)
{
    const uint32_t u = f32_bits(scale);

    if (u == 0x00400000)
        return 0;
    /* No sign, no mantissa, and an exponent field that is neither 0 nor 255. */
    if (u & 0x807fffff || u == 0 || u == 0x7f800000)
        return -1;
    return (int)(u >> 23);
}

static uint32_t encode(float x, enum overflow o)
{
    const uint32_t mag = f32_bits(x) & 0x7fffffff;

    if (mag > 0x7f800000)
        return 255;
    if (mag > 0x7f000000)   /* above 2^127, or Inf */
        return o == OVERFLOW_SATURATE ? 254 : 255;
    if (mag <= 0x00400000)
        return 0;
    return (mag >> 23) + ((mag & 0x7fffff) != 0);
}

static float decode(uint32_t code)
{
    return ue8m0_decode((uint8_t)code);
}

const struct num num_ue8m0 = {
    .name = "ue8m0", .dtype = DT_F8_E8M0, .bits = 8,
    .max = 0x1p127f, .min_normal = 0x1p-127f, .min = 0x1p-127f, .emax = 127, .mbits = 0,
    .encode = encode, .decode = decode,
};
