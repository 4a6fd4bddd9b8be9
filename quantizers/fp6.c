/* The FP6 formats of OCP Microscaling: all codes are numbers. */
#include "quantizers/num.h"

#include "quantizers/narrow.h"

static uint32_t encode_e2m3(float x, enum overflow o)
{
    (void)o;
    return narrow_finite(x, 6, 3, 1);
}

static float decode_e2m3(uint32_t code)
{
    return widen(code, 6, 3, 1);
}

static uint32_t encode_e3m2(float x, enum overflow o)
{
    (void)o;
    return narrow_finite(x, 6, 2, 3);
}

static float decode_e3m2(uint32_t code)
{
    return widen(code, 6, 2, 3);
}

const struct num num_e2m3 = {
    .name = "e2m3", .dtype = DT_F6_E2M3, .bits = 6,
    .max = 7.5f, .min_normal = 1, .min = 0.125f, .emax = 2, .mbits = 3,
    .encode = encode_e2m3, .decode = decode_e2m3,
};

const struct num num_e3m2 = {
    .name = "e3m2", .dtype = DT_F6_E3M2, .bits = 6,
    .max = 28, .min_normal = 0.25f, .min = 0.0625f, .emax = 4, .mbits = 2,
    .encode = encode_e3m2, .decode = decode_e3m2,
};
