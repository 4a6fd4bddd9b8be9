/* Values that are computed for chips, against definitions in integers and doubles. */
#include "quantizers/chip.h"

#include "quantizers/num.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

static struct err err;

static uint64_t word(enum extra_rule rule, float scale, size_t n)
{
    uint8_t y[8] = {0};
    bool inexact;
    uint64_t x = 0;
    err = (struct err){0};
    cr_assert_eq(chip_value(rule, scale, y, &inexact, &err), 0, "%s", err.msg);
    for (size_t i = 0; i < n; i++)
        x |= (uint64_t)y[i] << 8 * i;
    return x;
}

static bool refuses(enum extra_rule rule, float scale)
{
    uint8_t y[8];
    bool inexact;
    return chip_value(rule, scale, y, &inexact, &err) == -1;
}

/* chips-1, 1.4: the example of ops-nn's trans_quant_param. */
Test(chip, golden_words)
{
    cr_assert_eq(word(EXTRA_DEQUANT, 0.0123f, 8), UINT64_C(0x40003C498000));
    cr_assert_eq(word(EXTRA_DEQUANT, 1.0f, 8), UINT64_C(0x40003F800000));
    cr_assert_eq(word(EXTRA_BITS, 0.0123f, 8), (uint64_t)f32_bits(0.0123f));
    cr_assert_eq(word(EXTRA_F16, 1.5f, 2), 0x3e00);
    cr_assert_eq(word(EXTRA_BF16, 1.5f, 2), 0x3fc0);
    cr_assert_eq(word(EXTRA_ABSMAX, 1.0f, 4), f32_bits(127.0f));
    cr_assert_eq(word(EXTRA_INVERSE, 4.0f, 4), f32_bits(0.25f));
    cr_assert_eq(word(EXTRA_INVERSE, 0.0f, 4), 0);
}

/* Every exponent, mantissas at the ends and in between. */
Test(chip, all_exponents)
{
    uint64_t seed = oracle_seed();
    for (uint32_t e = 1; e < 255; e++)
        for (int k = 0; k < 64; k++) {
            const uint32_t m = k == 0 ? 0 : k == 1 ? 0x7fffff : (uint32_t)(oracle_random(&seed) & 0x7fffff);
            const float s = f32_from(e << 23 | m);
            const double d = (double)s;
            /* 46, and sign, exponent and the upper ten bits of the mantissa: 19 bits from bit 13 on. */
            cr_assert_eq(word(EXTRA_DEQUANT, s, 8) >> 13, UINT64_C(1) << 33 | (e << 10 | m >> 13));
            cr_assert_eq(word(EXTRA_DEQUANT, s, 8) & 0x1fff, 0);
            cr_assert_eq(word(EXTRA_BITS, s, 8), e << 23 | m);
            const bool big = d * 127 >= 0x1p128 - 0x1p103, small = d < 0x1p-128;
            cr_assert_eq(refuses(EXTRA_ABSMAX, s), big);
            cr_assert_eq(refuses(EXTRA_INVERSE, s), small);
            if (!big)
                cr_assert_eq(f32_from((uint32_t)word(EXTRA_ABSMAX, s, 4)), (float)(d * 127));
            if (!small)
                cr_assert_eq(f32_from((uint32_t)word(EXTRA_INVERSE, s, 4)), (float)(1 / d));
            /* Steps of 2^-10 of the power of two below, and of 2^-24 below 2^-14. */
            const double step = d < 0x1p-14 ? 0x1p-24 : ldexp(1, (int)e - 127 - 10), half = nearbyint(d / step) * step;
            const bool off = d >= 65520 || fabs(half - d) > d / 256;
            cr_assert_eq(refuses(EXTRA_F16, s), off, "%g", d);
            if (!off)
                cr_assert_eq((double)f16_decode((uint16_t)word(EXTRA_F16, s, 2)), half, "%g", d);
            /* Steps of 2^-7: nothing is off by more than 2^-9, and only the top half step is infinite. */
            const double b = nearbyint(d / ldexp(1, (int)e - 127 - 7)) * ldexp(1, (int)e - 127 - 7);
            cr_assert_eq(refuses(EXTRA_BF16, s), b >= 0x1p128, "%g", d);
            if (b < 0x1p128)
                cr_assert_eq((double)f32_from((uint32_t)word(EXTRA_BF16, s, 2) << 16), b, "%g", d);
        }
}

Test(chip, what_is_no_scale)
{
    static const enum extra_rule all[] = {EXTRA_ABSMAX, EXTRA_INVERSE, EXTRA_DEQUANT, EXTRA_BITS, EXTRA_F16, EXTRA_BF16};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cr_assert(refuses(all[i], NAN) && refuses(all[i], INFINITY) && refuses(all[i], -1.0f));
}
