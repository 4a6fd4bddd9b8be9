/* FP8 E5M2: the upper byte of an IEEE half, with infinities and NaNs. */
#include "quantizers/num.h"

#include "quantizers/narrow.h"

static uint32_t encode(float x, enum overflow o)
{
    const uint32_t u = f32_bits(x), mag = u & 0x7fffffff, sign = u >> 31 << 7;

    if (mag > 0x7f800000)
        return sign | 0x7f;
    const uint32_t code = narrow_rne(mag, 2, 15);
    if (code > 0x7b)
        return sign | (o == OVERFLOW_SATURATE ? 0x7b : 0x7c);
    return sign | code;
}

static float decode(uint32_t code)
{
    const uint32_t mag = code & 0x7f, sign = (code & 0x80) << 24;

    if (mag > 0x7c)
        return f32_from(0x7fc00000);
    if (mag == 0x7c)
        return f32_from(sign | 0x7f800000);
    return f32_from(sign | mag << 21) * 0x1p112f;   /* biases 127 and 15 */
}

const struct num num_e5m2 = {
    .name = "e5m2", .dtype = DT_F8_E5M2, .bits = 8,
    .max = 57344, .min_normal = 0x1p-14f, .min = 0x1p-16f, .emax = 15, .mbits = 2,
    .encode = encode, .decode = decode,
};
