/* The two 16-bit floats, BF16 and F16. */
#include "quantizers/num.h"

#include "quantizers/narrow.h"

uint16_t bf16_encode(float x)
{
    const uint32_t u = f32_bits(x);

    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    /* BF16 is the upper half of FP32, so rounding is one addition, and a carry
     * out of the largest finite value makes Inf by itself. */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

uint16_t f16_encode(float x)
{
    const uint32_t u = f32_bits(x), mag = u & 0x7fffffff, sign = u >> 31 << 15;

    if (mag > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
    const uint32_t code = narrow_rne(mag, 10, 15);
    return (uint16_t)(sign | (code > 0x7c00 ? 0x7c00 : code));
}

float f16_decode(uint16_t h)
{
    const uint32_t mag = h & 0x7fff, sign = (uint32_t)(h & 0x8000) << 16;

    if (mag > 0x7c00)
        return f32_from(sign | 0x7fc00000 | mag << 13);
    if (mag == 0x7c00)
        return f32_from(sign | 0x7f800000);
    return f32_from(sign | mag << 13) * 0x1p112f;   /* biases 127 and 15 */
}

static uint32_t bf16_code(float x, enum overflow o)
{
    const uint32_t code = bf16_encode(x);

    return o == OVERFLOW_SATURATE && (code & 0x7fff) == 0x7f80 ? code - 1 : code;
}

static float bf16_value(uint32_t code)
{
    return bf16_decode((uint16_t)code);
}

static uint32_t f16_code(float x, enum overflow o)
{
    const uint32_t code = f16_encode(x);

    return o == OVERFLOW_SATURATE && (code & 0x7fff) == 0x7c00 ? code - 1 : code;
}

static float f16_value(uint32_t code)
{
    return f16_decode((uint16_t)code);
}

const struct num num_bf16 = {
    .name = "bf16", .dtype = DT_BF16, .bits = 16,
    .max = 0x1.fep127f, .min_normal = 0x1p-126f, .min = 0x1p-133f, .emax = 127, .mbits = 7,
    .encode = bf16_code, .decode = bf16_value,
};

const struct num num_f16 = {
    .name = "f16", .dtype = DT_F16, .bits = 16,
    .max = 65504, .min_normal = 0x1p-14f, .min = 0x1p-24f, .emax = 15, .mbits = 10,
    .encode = f16_code, .decode = f16_value,
};
