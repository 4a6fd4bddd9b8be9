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
    const struct scale_rule *const r = scale_rule_for(rule, elem->dtype);

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

/* Codes for E2M1 elements. */
Test(scale, fp4_codes)
{
    static const char *const rule[] = { "floor", "ceil", "even", "rceil", "te", "ct", "quark", "quark-floor", "quark-ceil",
                                        "msx", "modelopt", "ds-fp4", "dg-fp4", "slim-ceilx", "slim-fp4" };
    static const struct { uint32_t amax; int code[15]; } row[] = {
        /* 0, 2^-149, 2^-126 */
        { 0x00000000, { 0, 0, 0, 0, 0, 0, 0, 104, 104, 0, 0, 1, 112, 108, 105 } },
        { 0x00000001, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 112, 108, 105 } },
        { 0x00800000, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 112, 108, 105 } },
        /* 6 * 2^-126 and the next, 1e-4, 6e-4 and the next */
        { 0x01c00000, { 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 112, 108, 105 } },
        { 0x01c00001, { 1, 2, 1, 2, 2, 1, 1, 1, 2, 1, 1, 2, 112, 108, 105 } },
        { 0x38d1b717, { 111, 112, 111, 112, 112, 111, 111, 111, 112, 111, 112, 112, 112, 111, 111 } },
        /* 1, 1.5, 1.5 + ulp, 1.75 - ulp, 1.75 */
        { 0x3f800000, { 125, 125, 125, 125, 125, 125, 125, 125, 125, 125, 125, 125, 125, 125, 125 } },
        { 0x3fc00000, { 125, 126, 125, 125, 125, 125, 125, 125, 126, 125, 125, 125, 125, 125, 125 } },
        { 0x3fc00001, { 125, 126, 125, 126, 126, 125, 125, 125, 126, 125, 126, 126, 126, 125, 125 } },
        { 0x3fdfffff, { 125, 126, 125, 126, 126, 125, 125, 125, 126, 125, 126, 126, 126, 125, 126 } },
        { 0x3fe00000, { 125, 126, 126, 126, 126, 126, 126, 125, 126, 125, 126, 126, 126, 125, 126 } },
        /* 4, 6, 6.5, 7, 7.5, 8 */
        { 0x40800000, { 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127 } },
        { 0x40c00000, { 127, 128, 127, 127, 127, 127, 127, 127, 128, 127, 127, 127, 127, 127, 127 } },
        { 0x40d00000, { 127, 128, 127, 128, 128, 127, 127, 127, 128, 127, 128, 128, 128, 127, 127 } },
        { 0x40e00000, { 127, 128, 128, 128, 128, 128, 128, 127, 128, 127, 128, 128, 128, 127, 128 } },
        { 0x40f00000, { 127, 128, 128, 128, 128, 128, 128, 127, 128, 127, 128, 128, 128, 128, 128 } },
        { 0x41000000, { 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128 } },
        /* FLT_MAX, whose logarithm is 128 in FP32; Inf; NaN */
        { 0x7f7fffff, { 252, 253, 255, 253, 253, 255, 254, 253, 253, 253, 253, 253, 253, 252, 252 } },
        { 0x7f800000, { 255, 255, 255, 255, 254, 255, 254, 255, 255, 255, 255, 254, 254, 255, 255 } },
        { 0x7fc00000, { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 254, 254, 255, 255 } },
    };

    for (size_t i = 0; i < COUNT(row); i++)
        for (size_t k = 0; k < COUNT(rule); k++)
            cr_expect_eq(code(rule[k], f32_from(row[i].amax), &e2m1), row[i].code[k], "%s of %08x: %d, not %d",
                         rule[k], row[i].amax, code(rule[k], f32_from(row[i].amax), &e2m1), row[i].code[k]);
}

/* Codes for E5M2 elements, whose largest value is 57344 = 1.75 * 2^15. */
Test(scale, e5m2_codes)
{
    static const char *const rule[] = { "floor", "ceil", "even", "rceil", "te", "asc1", "ct", "quark", "msx", "smallest" };
    static const struct { uint32_t amax; int code[10]; } row[] = {
        { 0x00000000, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 127 } },
        { 0x00800000, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } },
        { 0x07e00000, { 0, 1, 0, 0, 0, 0, 1, 0, 0, 1 } },               /* 57344 * 2^-127 */
        { 0x07e00001, { 0, 1, 0, 0, 0, 0, 1, 0, 0, 1 } },               /* the quotient is 2^-127 still */
        { 0x07e00002, { 0, 1, 0, 1, 1, 1, 1, 0, 0, 1 } },
        { 0x3f800000, { 112, 112, 112, 112, 112, 112, 112, 112, 112, 112 } },   /* 1 */
        { 0x3fe00000, { 112, 113, 112, 112, 112, 112, 113, 112, 112, 112 } },   /* 1.75 */
        { 0x3fefffff, { 112, 113, 112, 113, 113, 113, 113, 112, 112, 113 } },   /* below 1.875 */
        { 0x3ff00000, { 112, 113, 113, 113, 113, 113, 113, 113, 112, 113 } },   /* 1.875 */
        { 0x47600000, { 127, 128, 127, 127, 127, 127, 128, 127, 127, 127 } },   /* 57344 */
        { 0x47600001, { 127, 128, 127, 128, 128, 128, 128, 127, 127, 128 } },
        { 0x47700000, { 127, 128, 128, 128, 128, 128, 128, 128, 127, 128 } },   /* 61440 */
        { 0x47800000, { 128, 128, 128, 128, 128, 128, 128, 128, 128, 128 } },
        { 0x7f7fffff, { 239, 240, 255, 240, 240, 240, 255, 254, 240, 240 } },
        { 0x7f800000, { 255, 255, 255, 255, 254, 255, 255, 254, 255, -1 } },
        { 0x7fc00000, { 255, 255, 255, 255, 255, 255, 255, 255, 255, -1 } },
    };

    for (size_t i = 0; i < COUNT(row); i++)
        for (size_t k = 0; k < COUNT(rule); k++)
            if (row[i].code[k] >= 0)
                cr_expect_eq(code(rule[k], f32_from(row[i].amax), &num_e5m2), row[i].code[k], "%s of %08x: %d, not %d",
                             rule[k], row[i].amax, code(rule[k], f32_from(row[i].amax), &num_e5m2), row[i].code[k]);
}

/* scaleAlg 2 looks at the BF16 that FP32 is cut off to: above 1.5 * 2^k, or 1.75 * 2^k, means one unit of that. */
Test(scale, ascend_fp4)
{
    static const char *const rule[] = { "asc2", "asc2-7", "asc2-8", "asc2-9", "asc2-10", "asc2-11", "asc2-12" };
    static const struct { float amax; int code[7]; } row[] = {
        { 0, { 0, 0, 0, 0, 0, 0, 0 } },
        { 0x1p-126f, { 0, 0, 0, 0, 0, 0, 0 } },
        { 0x1p-124f, { 1, 1, 0, 0, 0, 0, 0 } },   /* a subnormal quotient is code 0 */
        { 0x1p-123f, { 2, 2, 1, 0, 0, 0, 0 } },
        { 0x1p-122f, { 3, 3, 2, 2, 2, 2, 2 } },
        { 1, { 125, 125, 124, 124, 124, 124, 124 } },
        { 6, { 127, 127, 127, 127, 127, 127, 126 } },
        { 0x1.81fffep2f, { 127, 127, 127, 127, 127, 127, 127 } },
        { 0x1.82p2f, { 128, 127, 127, 127, 127, 127, 127 } },
        { 7, { 128, 127, 127, 127, 127, 127, 127 } },
        { 0x1.c1fffep2f, { 128, 127, 127, 127, 127, 127, 127 } },
        { 0x1.c2p2f, { 128, 128, 127, 127, 127, 127, 127 } },
        { 8, { 128, 128, 127, 127, 127, 127, 127 } },
        { 0x1.000002p3f, { 128, 128, 128, 127, 127, 127, 127 } },
        { 12, { 128, 128, 128, 128, 128, 128, 127 } },
        { 12.0625f, { 129, 128, 128, 128, 128, 128, 128 } },
        { FLT_MAX, { 253, 253, 252, 252, 252, 252, 252 } },
        { INFINITY, { 255, 255, 255, 255, 255, 255, 255 } },
        { NAN, { 255, 255, 255, 255, 255, 255, 255 } },
    };

    for (size_t i = 0; i < COUNT(row); i++)
        for (size_t k = 0; k < COUNT(rule); k++)
            cr_expect_eq(code(rule[k], row[i].amax, &e2m1), row[i].code[k], "%s of %a: %d", rule[k], (double)row[i].amax,
                         code(rule[k], row[i].amax, &e2m1));
}

Test(scale, table_is_sound)
{
    int defaults = 0;

    for (size_t i = 0; i < scale_rule_count; i++) {
        const struct scale_rule *const r = &scale_rules[i];

        cr_assert_eq(scale_rule_for(r->name, r->elem == DT_COUNT ? DT_F8_E4M3 : r->elem), r, "%s", r->name);
        cr_assert_str_eq(scale_rule_find(r->name)->name, r->name);
        cr_assert(r->title && r->source && r->code);
        if (r->num) {
            const struct num *const n = num_named(r->num);
            cr_assert(n && n->dtype == r->elem, "%s", r->num);
        }
        defaults += r->default_;
    }
    cr_assert_eq(defaults, 1);
    cr_assert_str_eq(scale_rules[0].name, "smallest");
    cr_assert_null(scale_rule_find("nosuch"));
    cr_assert_null(scale_rule_find(""));
    cr_assert_null(scale_rule_for("ds", DT_F4));
    cr_assert_null(scale_rule_for("ds-fp4", DT_F8_E4M3));
    cr_assert_str_eq(scale_rule_for("modelopt", DT_F4)->num, "e2m1-modelopt");
    cr_assert_null(scale_rule_for("modelopt", DT_F8_E4M3)->num);
    cr_assert_str_eq(scale_rule_e4m3_find(NULL)->name, "nvfp4");
    cr_assert_null(scale_rule_e4m3_find("smallest"));
}

/* NVFP4's scales, with a matrix whose largest magnitude is 2688: the global scale is 1. */
Test(scale, e4m3_codes)
{
    static const char *const rule[] = { "nvfp4", "modelopt", "ct", "ggml" };
    static const struct { float amax; int code[4]; } row[] = {
        { 0, { 0x38, 0x38, 0x20, 0 } },
        { 6, { 0x38, 0x38, 0x38, 0x38 } },
        { 6 * 448, { 0x7e, 0x7e, 0x7e, 0x7e } },
        { 6 * 240, { 0x77, 0x77, 0x77, 0x77 } },
        { 6 * 256, { 0x78, 0x78, 0x78, 0x7e } },        /* llama.cpp has nothing between 240 and 448 */
        { 6 * 1.0625f, { 0x38, 0x38, 0x38, 0x39 } },    /* a tie */
        { 6 * 1.1875f, { 0x3a, 0x3a, 0x3a, 0x3a } },
        { 6 * 0x1p-9f, { 1, 1, 1, 1 } },
        { 6 * 0x1p-10f, { 1, 1, 0x20, 1 } },            /* a tie with 0 */
        { 6 * 0x1p-11f, { 1, 1, 0x20, 0 } },
        { 6 * 0x1.ep-7f, { 8, 8, 8, 7 } },              /* 7.5 of the smallest */
        { FLT_TRUE_MIN, { 1, 0x38, 0x20, 0 } },         /* a sixth of it is 0 */
    };

    for (size_t i = 0; i < COUNT(row); i++)
        for (size_t k = 0; k < COUNT(rule); k++) {
            const struct scale_rule_e4m3 *const r = scale_rule_e4m3_find(rule[k]);

            cr_assert_eq(r->global(2688, false), 1.0f);
            cr_expect_eq(r->code(row[i].amax, 1, false), row[i].code[k], "%s of %a: %02x", rule[k],
                         (double)row[i].amax, r->code(row[i].amax, 1, false));
            cr_expect_eq(r->code(row[i].amax, 1, true), row[i].code[k], "%s of %a", rule[k], (double)row[i].amax);
        }
    cr_assert_eq(scale_rule_e4m3_find("ct")->global(0, true), 0x1p126f);
    cr_assert_eq(scale_rule_e4m3_find("ct")->global(0.5f, true), 5376.0f);
    cr_assert_eq(scale_rule_e4m3_find("modelopt")->global(1, false), 1.0f / 2688);
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
    /* the inverse of what x is multiplied with: 448 / 3 is 149.33333 in FP32, and 1 over that is not 3 / 448 */
    const struct scale_rule_f32 *const hf = scale_rule_f32_find("hf", DT_F8_E4M3);
    const struct scale_rule_f32 *const te = scale_rule_f32_find("te-pow2", DT_F8_E4M3);
    cr_assert_eq(hf->times(3), 448.0f / 3);
    cr_assert_eq(hf->scale(3), 1 / (448.0f / 3));
    cr_assert(hf->times(0) == 1 && hf->scale(0) == 1);
    cr_assert(te->times(3) == 128 && te->scale(3) == 0x1p-7f);
    cr_assert(te->times(448) == 1 && te->times(449) == 0.5f && te->times(FLT_TRUE_MIN) == 0x1p126f);
    cr_assert_eq(scale_rule_f32_find("dg-float", DT_F8_E4M3)->times(3), 1 / (3.0f / 448));
    cr_assert_eq(scale_rule_f32_find("ct-fp8", DT_F8_E4M3)->scale(0), FLT_EPSILON);
    /* BF16 numbers: 1/448 is 1.14286 * 2^-9, and 146 / 128 of it the nearest one */
    cr_assert_eq(bf16->scale(1), 0x1.24p-9f);
    cr_assert_eq(bf16->scale(448), 1.0f);
    cr_assert_eq(bf16->scale(0), 0x1p-7f);
    cr_assert_eq(bf16->scale(448 * 0x1p-133f), 0x1p-133f);
    cr_assert(bf16->bf16 && !ct->bf16 && scale_rule_f32_find("ct-bf16", DT_I8)
              && scale_rule_f32_find("ct-bf16", DT_I4));
}
