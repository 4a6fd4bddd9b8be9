/* FP4: E2M1 of the OCP, NVIDIA and AMD, with ties to even and down, and Ascend's
 * E1M2, whose values are equally spaced. */
#include "quantizers/num.h"

#include "quantizers/narrow.h"

static uint32_t encode_e2m1(float x, enum overflow o)
{
    (void)o;
    return narrow_finite(x, 4, 1, 1);
}

/* The code is the number of midpoints below |x|; none is below a NaN. */
static uint32_t midpoints_below(float x)
{
    static const float midpoint[] = { 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5 };
    const float mag = f32_from(f32_bits(x) & 0x7fffffff);
    uint32_t code = 0;

    for (size_t i = 0; i < sizeof midpoint / sizeof *midpoint; i++)
        code += mag > midpoint[i];
    return code;
}

static uint32_t encode_e2m1_down(float x, enum overflow o)
{
    const uint32_t code = midpoints_below(x);

    (void)o;
    return code ? f32_bits(x) >> 31 << 3 | code : 0;
}

/* The sign bit there is (2 - sign(x)) / 2, which is 1 for the sign 0 of a zero. */
static uint32_t encode_e2m1_modelopt(float x, enum overflow o)
{
    (void)o;
    return x != x ? 0 : (x > 0 ? 0 : 8) | midpoints_below(x);
}

static float decode_e2m1(uint32_t code)
{
    return widen(code, 4, 1, 1);
}

static uint32_t encode_e1m2(float x, enum overflow o)
{
    (void)o;
    return narrow_finite(x, 4, 2, 1);
}

static float decode_e1m2(uint32_t code)
{
    return widen(code, 4, 2, 1);
}

const struct num num_e2m1 = {
    .name = "e2m1", .dtype = DT_F4, .bits = 4,
    .max = 6, .min_normal = 1, .min = 0.5f, .emax = 2, .mbits = 1,
    .encode = encode_e2m1, .decode = decode_e2m1,
};

const struct num num_e2m1_down = {
    .name = "e2m1-down", .dtype = DT_F4, .bits = 4,
    .max = 6, .min_normal = 1, .min = 0.5f, .emax = 2, .mbits = 1,
    .encode = encode_e2m1_down, .decode = decode_e2m1,
};

const struct num num_e2m1_modelopt = {
    .name = "e2m1-modelopt", .dtype = DT_F4, .bits = 4,
    .max = 6, .min_normal = 1, .min = 0.5f, .emax = 2, .mbits = 1,
    .encode = encode_e2m1_modelopt, .decode = decode_e2m1,
};

const struct num num_e1m2 = {
    .name = "e1m2", .dtype = DT_F4, .bits = 4,
    .max = 1.75f, .min_normal = 1, .min = 0.25f, .emax = 0, .mbits = 2,
    .encode = encode_e1m2, .decode = decode_e1m2,
};
