#include "quantizers/blocks.h"
#include "quantizers/num.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { BLOCKS = 500 };

static uint32_t random_state = 12345;

static uint8_t random_byte(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint8_t)(random_state >> 24);
}

/* The value of an F16 by its definition. */
static double half_value(unsigned h)
{
    const int sign = h >> 15, exponent = h >> 10 & 31, mantissa = h & 1023;
    const double v = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return sign ? -v : v;
}

static void same(float y, double want)
{
    /* |q| <= 128 has 8 bits and d 11: the product is exact in an F32 */
    cr_assert_eq((double)y, want, "%.9g, not %.17g", (double)y, want);
}

Test(blocks, q8_0_is_q_times_d)
{
    static uint8_t p[BLOCKS][34];
    static float y[BLOCKS][32];
    for (size_t b = 0; b < BLOCKS; b++) {
        for (size_t i = 0; i < 34; i++)
            p[b][i] = random_byte();
        p[b][1] &= 0xfb; /* finite */
    }
    q8_0_decode(p[0], y[0], BLOCKS * 32);
    for (size_t b = 0; b < BLOCKS; b++)
        for (size_t i = 0; i < 32; i++) {
            const int q = p[b][2 + i] < 128 ? p[b][2 + i] : p[b][2 + i] - 256;
            same(y[b][i], half_value(p[b][0] + 256u * p[b][1]) * q);
        }
}

Test(blocks, q4_0_is_nibble_minus_8_times_d)
{
    static uint8_t p[BLOCKS][18];
    static float y[BLOCKS][32];
    for (size_t b = 0; b < BLOCKS; b++) {
        for (size_t i = 0; i < 18; i++)
            p[b][i] = random_byte();
        p[b][1] &= 0xfb;
    }
    q4_0_decode(p[0], y[0], BLOCKS * 32);
    for (size_t b = 0; b < BLOCKS; b++)
        for (size_t i = 0; i < 32; i++) {
            const int q = (p[b][2 + i % 16] / (i < 16 ? 1 : 16)) % 16;
            same(y[b][i], half_value(p[b][0] + 256u * p[b][1]) * (q - 8));
        }
}

Test(blocks, known_bytes)
{
    /* d = 0.5; q = 1, -1, 127, -128, 0 ... */
    const uint8_t q8[34] = {0x00, 0x38, 0x01, 0xff, 0x7f, 0x80};
    const uint8_t q4[18] = {0x00, 0x38, 0x0f, 0xf0};
    float y[33];
    y[32] = 7;
    q8_0_decode(q8, y, 32);
    cr_assert(y[0] == 0.5f && y[1] == -0.5f && y[2] == 63.5f && y[3] == -64.0f && y[4] == 0);
    q4_0_decode(q4, y, 32);
    cr_assert(y[0] == 3.5f && y[16] == -4.0f && y[1] == -4.0f && y[17] == 3.5f && y[2] == -4.0f);
    cr_assert_eq(y[32], 7, "wrote past the end");
    q8_0_decode(q8, y + 32, 0);
    cr_assert_eq(y[32], 7, "wrote without elements");
}

Test(blocks, table)
{
    for (int t = 0; t < DT_COUNT; t++) {
        const struct block_decoder *const d = block_find((enum dtype)t);
        cr_assert_eq(d != NULL, dtype_is_block((enum dtype)t), "%s",
                     dtype_name((enum dtype)t));
        if (d)
            cr_assert_eq((int)d->dtype, t);
    }
    cr_assert_eq(block_find(DT_Q8_0)->decode, q8_0_decode);
    cr_assert_eq(block_find(DT_Q4_0)->decode, q4_0_decode);
}
