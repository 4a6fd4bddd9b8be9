/* Scale rules: the table of published codes, and what each formula promises. */
#include "quantizers/scale.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* FP4 E2M1, for the rules that take any element format. */
static const struct num e2m1 = { .name = "e2m1", .dtype = DT_F4, .max = 6, .min_normal = 1,
                                 .min = 0.5f, .emax = 2, .mbits = 1 };

static int code(const char *rule, float amax, const struct num *elem)
{
    const struct scale_rule *const r = scale_rule_find(rule);

    cr_assert_not_null(r, "%s", rule);
    return r->code(amax, elem);
}

/* Codes for E4M3 elements.  -1: nothing is published, or it is undefined.  480
 * is 1.875 * 2^8, below the 1.9375 from where `even` rounds up. */
Test(scale, published_codes)
{
    static const char *const rule[] = { "ds", "ptgq", "floor", "ceil", "even", "rceil", "te",
                                        "modelopt", "ct", "msx", "asc1" };
    static const struct { uint32_t amax; int code[11]; } row[] = {
        { 0x00000000, { 105, 94, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
        { 0x00000001, { 105, 94, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
        { 0x00800000, { 105, 94, 0, 0, 0, 0, 0, 0, 0, 0, 0 } },
        { 0x2B8CBCCC, { 105, 94, 79, 80, 79, 79, 79, 79, 79, 79, 79 } },
        { 0x2EDBE6FF, { 105, 94, 85, 86, 85, 85, 85, 85, 85, 85, 85 } },
        { 0x38D1B717, { 105, 105, 105, 106, 105, 105, 105, 105, 105, 105, 105 } },
        { 0x38E00000, { 105, 105, 105, 106, 105, 105, 105, 105, 106, 105, 105 } },
        { 0x38E00001, { 106, 106, 105, 106, 105, 106, 106, 105, 106, 105, 106 } },
        { 0x3C23D70A, { 112, 112, 112, 113, 112, 112, 112, 112, 112, 112, 112 } },
        { 0x3F800000, { 119, 119, 119, 119, 119, 119, 119, 119, 119, 119, 119 } },
        { 0x3FC00000, { 119, 119, 119, 120, 119, 119, 119, 119, 119, 119, 119 } },
        { 0x3FE00000, { 119, 119, 119, 120, 119, 119, 119, 119, 120, 119, 119 } },
        { 0x3FE00001, { 120, 120, 119, 120, 119, 120, 120, 119, 120, 119, 120 } },
        { 0x3FF80000, { 120, 120, 119, 120, 120, 120, 120, 120, 120, 119, 120 } },
        { 0x40C00000, { 121, 121, 121, 122, 121, 121, 121, 121, 121, 121, 121 } },
        { 0x42C80000, { 125, 125, 125, 126, 125, 125, 125, 125, 125, 125, 125 } },
        { 0x43E00000, { 127, 127, 127, 128, 127, 127, 127, 127, 128, 127, 127 } },
        { 0x43E00001, { 128, 128, 127, 128, 127, 128, 128, 128, 128, 127, 128 } },
        { 0x43F00000, { 128, 128, 127, 128, 127, 128, 128, 128, 128, 127, 128 } },
        { 0x477FE000, { 135, 135, 134, 135, 135, 135, 135, 135, 135, 134, 135 } },
        { 0x7F7FFFFF, { 247, 247, 246, 247, 255, 247, 247, 247, 255, 247, 247 } },
        { 0x7F800000, { 254, 255, 255, 255, 255, 255, 254, 254, -1, 255, 255 } },
        { 0x7FC00000, { 254, 94, 255, 255, 255, 255, 255, 0, -1, 255, 255 } },
    };

    for (size_t i = 0; i < COUNT(row); i++)
        for (size_t k = 0; k < COUNT(rule); k++)
            if (row[i].code[k] >= 0)
                cr_expect_eq(code(rule[k], f32_from(row[i].amax), &num_e4m3), row[i].code[k],
                             "%s of %08x: %d, not %d", rule[k], row[i].amax,
                             code(rule[k], f32_from(row[i].amax), &num_e4m3), row[i].code[k]);
}

/* Some magnitudes of every binade: ends, powers of two, around 1.5 and 1.75. */
static const uint32_t mantissa[] = { 0, 1, 0x2aaaaa, 0x3fffff, 0x400000, 0x400001, 0x5fffff,
                                     0x600000, 0x600001, 0x6fffff, 0x700000, 0x7f0000, 0x7fffff };

Test(scale, smallest_is_smallest)
{
    static const struct num *const elem[] = { &num_e4m3, &num_e5m2, &num_int8, &e2m1 };

    for (size_t f = 0; f < COUNT(elem); f++) {
        for (uint32_t e = 0; e < 255; e++)
            for (size_t i = 0; i < COUNT(mantissa); i++) {
                const float amax = f32_from(e << 23 | mantissa[i]);
                const int c = scale_smallest(amax, elem[f]);

                if (amax == 0) {
                    cr_assert_eq(c, 127);
                    continue;
                }
                cr_assert(c >= 1 && c <= 254);
                cr_assert_leq((double)amax, ldexp((double)elem[f]->max, c - 127));
                if (c > 1)
                    cr_assert_gt((double)amax, ldexp((double)elem[f]->max, c - 128));
            }
    }
}

Test(scale, rules_agree_where_they_should)
{
    for (uint32_t e = 1; e < 255; e++)
        for (size_t i = 0; i < COUNT(mantissa); i++) {
            const float amax = f32_from(e << 23 | mantissa[i]);
            const int up = code("rceil", amax, &num_e4m3);

            if (amax >= 1e-4f) {
                cr_assert_eq(code("ds", amax, &num_e4m3), up);
                cr_assert_eq(code("asc1", amax, &num_e4m3), up);
                cr_assert_eq(code("te", amax, &num_e4m3), up);
                cr_assert_eq(code("smallest", amax, &num_e4m3), up);
                cr_assert_eq(code("ptgq", amax, &num_e4m3), up);
                cr_assert_eq(code("ptgq-triton", amax, &num_e4m3), up);
                /* log2 loses what lies just above a power of two, no more */
                const int log = code("modelopt", amax, &num_e4m3);

                cr_assert(log == up || (log == up - 1 && mantissa[i] == 0x600001),
                          "%08x", f32_bits(amax));
            }
            if (e > 8) {
                cr_assert_eq(code("floor", amax, &num_e4m3), (int)e - 8);
                cr_assert_eq(code("ct", amax, &num_e4m3) - ((int)e - 8),
                             e == 254 && mantissa[i] >= 0x600000 ? 255 - 246
                                                                 : mantissa[i] >= 0x600000);
            }
        }
    cr_assert_eq(code("ptgq-triton", 0, &num_e4m3), 85);
    cr_assert_eq(code("vllm-mx-naive", 0, &num_e4m3), 1);
    cr_assert_eq(code("vllm-mx-naive", 1.5f, &num_e4m3), 127);
    cr_assert_eq(code("vllm-mx-naive", FLT_MAX, &num_e4m3), 254);
}

Test(scale, fp4_rules)
{
    /* ds-fp4, asc2, slim-ceilx, slim-fp4, floor, even, ct */
    static const char *const rule[] = { "ds-fp4", "asc2", "slim-ceilx", "slim-fp4", "floor",
                                        "even", "ct" };
    static const struct { float amax; int code[7]; } row[] = {
        { 0, { 1, 0, 108, 105, 0, 0, 0 } },
        { 1, { 125, 125, 125, 125, 125, 125, 125 } },
        { 4, { 127, 127, 127, 127, 127, 127, 127 } },
        { 5.9f, { 127, 127, 127, 127, 127, 127, 127 } },
        { 6, { 127, 128, 127, 127, 127, 127, 127 } },
        { 6.5f, { 128, 128, 127, 127, 127, 127, 127 } },
        { 7, { 128, 128, 127, 128, 127, 128, 128 } },
        { 7.5f, { 128, 128, 128, 128, 127, 128, 128 } },
        { 8, { 128, 128, 128, 128, 128, 128, 128 } },
        { FLT_MAX, { 253, 253, 252, 252, 252, 255, 255 } },
        { INFINITY, { 254, 255, 255, 255, 255, 255, 255 } },
    };

    for (size_t i = 0; i < COUNT(row); i++)
        for (size_t k = 0; k < COUNT(rule); k++)
            cr_expect_eq(code(rule[k], row[i].amax, &e2m1), row[i].code[k], "%s of %g: %d",
                         rule[k], (double)row[i].amax, code(rule[k], row[i].amax, &e2m1));
}

Test(scale, table_is_sound)
{
    int defaults = 0;

    for (size_t i = 0; i < scale_rule_count; i++) {
        cr_assert_eq(scale_rule_find(scale_rules[i].name), &scale_rules[i]);
        cr_assert(scale_rules[i].title && scale_rules[i].source && scale_rules[i].code);
        defaults += scale_rules[i].default_;
    }
    cr_assert_eq(defaults, 1);
    cr_assert_str_eq(scale_rules[0].name, "smallest");
    cr_assert_null(scale_rule_find("nosuch"));
    cr_assert_null(scale_rule_find(""));
}

Test(scale, f32_rules)
{
    const struct scale_rule_f32 *const e4m3 = scale_rule_f32_find(NULL, DT_F8_E4M3);
    const struct scale_rule_f32 *const int8 = scale_rule_f32_find(NULL, DT_I8);
    const struct scale_rule_f32 *const ds = scale_rule_f32_find("ds-float", DT_F8_E4M3);
    const struct scale_rule_f32 *const ct = scale_rule_f32_find("ct-int8", DT_I8);
    const struct scale_rule_f32 *const bf16 = scale_rule_f32_find("ct-bf16", DT_F8_E4M3);

    cr_assert(e4m3 && int8 && ds && ct && bf16 && e4m3 != int8);
    cr_assert_str_eq(e4m3->name, "absmax");
    cr_assert_null(scale_rule_f32_find("ds-float", DT_I8));
    cr_assert_null(scale_rule_f32_find(NULL, DT_BF16));
    cr_assert_eq(e4m3->scale(0), 1.0f);
    cr_assert_eq(e4m3->scale(448), 1.0f);
    cr_assert_eq(e4m3->scale(1), 1.0f / 448);
    cr_assert_eq(e4m3->scale(FLT_TRUE_MIN), FLT_MIN);
    cr_assert_eq(e4m3->scale(FLT_MIN * 447), FLT_MIN);
    cr_assert_eq(int8->scale(254), 2.0f);
    cr_assert_eq(int8->scale(0), 1.0f);
    cr_assert_eq(ds->scale(0), 1e-4f / 448);
    cr_assert_eq(ct->scale(255), 2.0f);
    cr_assert_eq(ct->scale(0), FLT_EPSILON);
    /* BF16 numbers: 1/448 is 1.14286 * 2^-9, and 146 / 128 of it the nearest one */
    cr_assert_eq(bf16->scale(1), 0x1.24p-9f);
    cr_assert_eq(bf16->scale(448), 1.0f);
    cr_assert_eq(bf16->scale(0), 0x1p-7f);
    cr_assert_eq(bf16->scale(448 * 0x1p-133f), 0x1p-133f);
    cr_assert(bf16->bf16 && !ct->bf16 && scale_rule_f32_find("ct-bf16", DT_I8)
              && scale_rule_f32_find("ct-bf16", DT_I4));
}
