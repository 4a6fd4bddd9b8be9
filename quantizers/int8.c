/* INT8, symmetric: a code is the number in two's complement.  -128 decodes,
 * but is never made, so that negating a tensor negates its codes. */
#include "quantizers/num.h"

#include <float.h>

/* Adding and taking away 1.5 * 2^23 leaves the integer nearest to y, ties to
 * even, when |y| < 2^22; it needs FP32 arithmetic without extra precision. */
_Static_assert(FLT_EVAL_METHOD == 0, "FP32 expressions must be evaluated in FP32");

static uint32_t encode(float x, enum overflow o)
{
    (void)o;   /* there is no code for an overflow */
    if (x != x)
        return 0;
    if (x > 127)
        x = 127;
    if (x < -127)
        x = -127;
    return (uint8_t)(int8_t)((x + 0x1.8p23f) - 0x1.8p23f);
}

static float decode(uint32_t code)
{
    const int v = (int)(code & 0xff);

    return (float)(v < 128 ? v : v - 256);
}

const struct num num_int8 = {
    .name = "int8", .dtype = DT_I8,
    .max = 127, .min_normal = 1, .min = 1, .emax = 6, .mbits = 6,
    .encode = encode, .decode = decode,
};
