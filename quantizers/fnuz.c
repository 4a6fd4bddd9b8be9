/* The FP8 formats of AMD's MI300, "FNUZ": finite, and without negative zero.
 * The code of -0 is the only NaN, so that every other code is a number; the
 * bias is one more than in E4M3 and E5M2, which makes room at the lower end. */
#include "quantizers/num.h"

#include "quantizers/narrow.h"

static uint32_t narrow_fnuz(float x, int mbits, int bias, enum overflow o)
{
    const uint32_t u = f32_bits(x), mag = u & 0x7fffffff, sign = u >> 31 << 7;

    if (mag > 0x7f800000)
        return 0x80;
    const uint32_t code = narrow_rne(mag, mbits, bias);
    if (code > 0x7f)
        return o == OVERFLOW_NAN ? 0x80 : sign | 0x7f;
    return code ? sign | code : 0;
}

static uint32_t encode_e4m3(float x, enum overflow o)
{
    return narrow_fnuz(x, 3, 8, o);
}

static float decode_e4m3(uint32_t code)
{
    return (code & 0xff) == 0x80 ? f32_from(0x7fc00000) : widen(code, 8, 3, 8);
}

static uint32_t encode_e5m2(float x, enum overflow o)
{
    return narrow_fnuz(x, 2, 16, o);
}

static float decode_e5m2(uint32_t code)
{
    return (code & 0xff) == 0x80 ? f32_from(0x7fc00000) : widen(code, 8, 2, 16);
}

const struct num num_e4m3fnuz = {
    .name = "e4m3fnuz", .dtype = DT_F8_E4M3FNUZ, .bits = 8,
    .max = 240, .min_normal = 0x1p-7f, .min = 0x1p-10f, .emax = 7, .mbits = 3,
    .encode = encode_e4m3, .decode = decode_e4m3,
};

const struct num num_e5m2fnuz = {
    .name = "e5m2fnuz", .dtype = DT_F8_E5M2FNUZ, .bits = 8,
    .max = 57344, .min_normal = 0x1p-15f, .min = 0x1p-17f, .emax = 15, .mbits = 2,
    .encode = encode_e5m2, .decode = decode_e5m2,
};
