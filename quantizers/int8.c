/* INT8, two's complement.  Two formats differ in whether -128 is ever made: a
 * scale of amax / 127 has no use for it, one of amax / 127.5 has. */
#include "quantizers/num.h"

#include "quantizers/narrow.h"

static uint32_t encode(float x, enum overflow o)
{
    (void)o;   /* there is no code for an overflow */
    return (uint8_t)narrow_int(x, -127, 127);
}

static uint32_t encode_full(float x, enum overflow o)
{
    (void)o;
    return (uint8_t)narrow_int(x, -128, 127);
}

static float decode(uint32_t code)
{
    const int v = (int)(code & 0xff);

    return (float)(v < 128 ? v : v - 256);
}

const struct num num_int8 = {
    .name = "int8", .dtype = DT_I8, .bits = 8,
    .max = 127, .min_normal = 1, .min = 1, .emax = 6, .mbits = 6,
    .encode = encode, .decode = decode,
};

const struct num num_int8_full = {
    .name = "int8-full", .dtype = DT_I8, .bits = 8,
    .max = 127, .min_normal = 1, .min = 1, .emax = 6, .mbits = 6,
    .encode = encode_full, .decode = decode,
};
