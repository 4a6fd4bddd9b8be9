/* INT4, two's complement in four bits.  Two formats differ in whether -8 is
 * ever made: a scale of amax / 7 has no use for it, one of amax / 7.5 has. */
#include "quantizers/num.h"

#include "quantizers/narrow.h"

static uint32_t encode(float x, enum overflow o)
{
    (void)o;   /* there is no code for an overflow */
    return (uint32_t)narrow_int(x, -7, 7) & 0xf;
}

static uint32_t encode_full(float x, enum overflow o)
{
    (void)o;
    return (uint32_t)narrow_int(x, -8, 7) & 0xf;
}

static float decode(uint32_t code)
{
    const int v = (int)(code & 0xf);

    return (float)(v < 8 ? v : v - 16);
}

const struct num num_int4 = {
    .name = "int4", .dtype = DT_I4, .bits = 4,
    .max = 7, .min_normal = 1, .min = 1, .emax = 2, .mbits = 2,
    .encode = encode, .decode = decode,
};

const struct num num_int4_full = {
    .name = "int4-full", .dtype = DT_I4, .bits = 4,
    .max = 7, .min_normal = 1, .min = 1, .emax = 2, .mbits = 2,
    .encode = encode_full, .decode = decode,
};
