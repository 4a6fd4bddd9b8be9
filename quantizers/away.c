/* E4M3, E5M2 and E2M1 with ties away from zero, as microxcaling and msModelSlim
 * round elements: floor(|x| / step + 0.5) in the step of the binade of x. */
#include "quantizers/num.h"

/* narrow_rne (narrow.h), but for the tie. */
static uint32_t narrow_away(uint32_t mag, int mbits, int bias)
{
    const int e = (int)(mag >> 23), e_min = 128 - bias;
    const int shift = 23 - mbits + (e < e_min ? e_min - e : 0);

    if (e == 0 || shift > 24)
        return 0;   /* less than half of the smallest code */
    const uint32_t q = (((mag & 0x7fffff) | 0x800000) + ((uint32_t)1 << (shift - 1))) >> shift;
    return e < e_min ? q : q + ((uint32_t)(e - e_min) << mbits);
}

static uint32_t encode(float x, int bits, int mbits, int bias, uint32_t max, uint32_t over, uint32_t nan)
{
    const uint32_t u = f32_bits(x), mag = u & 0x7fffffff, sign = u >> 31 << (bits - 1);

    if (mag > 0x7f800000)
        return nan ? sign | nan : 0;
    const uint32_t code = narrow_away(mag, mbits, bias);
    return sign | (code > max ? over : code);
}

static uint32_t encode_e4m3(float x, enum overflow o)
{
    return encode(x, 8, 3, 7, 0x7e, o == OVERFLOW_SATURATE ? 0x7e : 0x7f, 0x7f);
}

static uint32_t encode_e5m2(float x, enum overflow o)
{
    return encode(x, 8, 2, 15, 0x7b, o == OVERFLOW_SATURATE ? 0x7b : 0x7c, 0x7f);
}

static uint32_t encode_e2m1(float x, enum overflow o)
{
    (void)o;
    return encode(x, 4, 1, 1, 7, 7, 0);
}

static float decode_e4m3(uint32_t code) { return num_e4m3.decode(code); }
static float decode_e5m2(uint32_t code) { return num_e5m2.decode(code); }
static float decode_e2m1(uint32_t code) { return num_e2m1.decode(code); }

const struct num num_e4m3_away = {
    .name = "e4m3-away", .dtype = DT_F8_E4M3, .bits = 8,
    .max = 448, .min_normal = 0x1p-6f, .min = 0x1p-9f, .emax = 8, .mbits = 3,
    .encode = encode_e4m3, .decode = decode_e4m3,
};

const struct num num_e5m2_away = {
    .name = "e5m2-away", .dtype = DT_F8_E5M2, .bits = 8,
    .max = 57344, .min_normal = 0x1p-14f, .min = 0x1p-16f, .emax = 15, .mbits = 2,
    .encode = encode_e5m2, .decode = decode_e5m2,
};

const struct num num_e2m1_away = {
    .name = "e2m1-away", .dtype = DT_F4, .bits = 4,
    .max = 6, .min_normal = 1, .min = 0.5f, .emax = 2, .mbits = 1,
    .encode = encode_e2m1, .decode = decode_e2m1,
};
