/* Every scale rule, for every element format, against the second implementation of
 * tests/scale_oracle.c.  `make prove` goes through all of FP32; here it is every
 * binade with the mantissas at which rules step, all of BF16, and noise. */
#include "quantizers/scale.h"
#include "tests/oracle.h"
#include "tests/scale_oracle.h"

#include <criterion/criterion.h>
#include <math.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { MAX_INPUTS = 200000, NOISE = 40000, FLT_MAX_BITS = 0x7f7fffff };
static uint32_t input[MAX_INPUTS];
static size_t inputs;

static void add(uint32_t bits)
{
    cr_assert_lt(inputs, MAX_INPUTS);
    if (bits <= FLT_MAX_BITS)
        input[inputs++] = bits;
}

static void fill_inputs(void)
{
    /* Where 448, 57344, 240, 6, 7, 127, 7.25, 8/7 and 12 leave steps: 1.75, 1.875, 1.5, 1.984 and
     * their neighbours, in BF16 as well; the grids of all elements; just above 1, where logarithms do. */
    static const uint32_t at[] = { 0, 0x400000, 0x410000, 0x600000, 0x610000, 0x680000, 0x700000, 0x780000,
                                   0x7e0000, 0x7f0000, 0x200000, 0x480000, 0x2aaaab, 0x555555, 0x100000, 0x1b6db6 };
    uint64_t seed = oracle_seed();

    for (uint32_t e = 0; e < 255; e++)
        for (size_t i = 0; i < COUNT(at); i++)
            for (uint32_t d = 0; d < 17; d++)
                add(((e << 23 | at[i]) + (d < 9 ? d : d * d * 3)) - (d < 9 && (e || at[i]) ? 4 : 0));
    for (uint32_t h = 0; h < 0x7f80; h++)
        add(h << 16);
    for (int i = 0; i < NOISE; i++)
        add((uint32_t)(oracle_random(&seed) & 0x7fffffff));
    add(FLT_MAX_BITS);
    static const float floors[] = { 1e-4f, 1e-10f, 448 * 1e-10f, 0x1.8p-124f, 448 * 0x1p-127f, 9.6e-7f };
    for (size_t i = 0; i < COUNT(floors); i++)
        for (uint32_t d = 0; d < 9; d++)
            add(f32_bits(floors[i]) + d - 4);
}

static const struct scale_elem *elem_of(enum dtype t)
{
    for (size_t i = 0; i < scale_elem_count; i++)
        if (scale_elems[i].t == t)
            return &scale_elems[i];
    return NULL;
}

/* Nothing is left out on either side. */
Test(scale_oracle, complete)
{
    size_t names = 0;

    for (size_t i = 0; i < scale_rule_count; i++) {
        const struct scale_rule *const r = &scale_rules[i];

        cr_assert_not_null(scale_formula_of(r->name), "%s", r->name);
        names += scale_rule_find(r->name) == r;
        cr_assert(r->elem == DT_COUNT || elem_of(r->elem), "%s", r->name);
    }
    cr_assert_eq(names, scale_formula_count);
    for (size_t i = 0; i < scale_elem_count; i++) {
        const struct scale_elem *const e = &scale_elems[i];
        const struct num *const n = num_named(e->num);

        cr_assert(n && n->dtype == e->t && num_find(e->t) == n, "%s", e->num);
        cr_assert((double)n->max == e->max && n->emax == e->emax && n->mbits == e->mbits, "%s", e->num);
    }
}

Test(scale_oracle, codes)
{
    size_t combinations = 0;

    fill_inputs();
    for (size_t i = 0; i < scale_rule_count; i++)
        for (size_t k = 0; k < scale_elem_count; k++) {
            const struct scale_rule *const r = &scale_rules[i];
            const struct scale_elem *const e = &scale_elems[k];
            const struct scale_formula *const f = scale_formula_of(r->name);
            const struct num *const num = r->num ? num_named(r->num) : num_find(e->t);

            if (scale_rule_for(r->name, e->t) != r)
                continue;
            combinations++;
            for (size_t j = 0; j < inputs; j++) {
                const float amax = f32_from(input[j]);
                const int want = scale_formula_code(f, e, amax), got = r->code(amax, num);

                cr_assert_eq(got, want, "%s for %s of %08x (%a): %d, not %d", r->name, e->num, input[j],
                             (double)amax, got, want);
            }
        }
    cr_assert_eq(combinations, 99);
}

/* The F32 rules, and what they multiply with. */
Test(scale_oracle, values)
{
    fill_inputs();
    for (size_t i = 0; i < scale_rule_f32_count; i++) {
        const struct scale_rule_f32 *const r = &scale_rules_f32[i];

        for (size_t j = 0; j < inputs; j++) {
            double times;
            const float amax = f32_from(input[j]);
            const double want = scale_value_oracle(r->name, r->elem, amax, &times);

            cr_assert(want > 0, "%s is not in the table", r->name);
            cr_assert_eq((double)r->scale(amax), want, "%s of %a: %a, not %a", r->name, (double)amax,
                         (double)r->scale(amax), want);
            cr_assert_eq(r->times != NULL, times != 0, "%s", r->name);
            if (r->times)
                cr_assert_eq((double)r->times(amax), times, "%s of %a", r->name, (double)amax);
        }
    }
}

/* ---- E4M3 scales ------------------------------------------------------------------- */

static struct oracle e4m3, half_up;

static int nearest(const struct oracle *o, float s)
{
    const int code = oracle_nearest(o, (double)s);

    return code > o->max_code ? o->max_code : code;
}

/* q = amax / 6 in units of the global scale, as each project computes it in FP32. */
static int e4m3_code(const char *rule, float amax, float g, bool divides)
{
    const double sixth = (double)(float)((double)amax / 6);
    const float plain = (float)(divides ? sixth * (double)g : sixth / (double)g);
    int code = nearest(&e4m3, plain);

    if (!strcmp(rule, "nvfp4"))
        return amax == 0 ? 0x38 : code ? code : 1;
    if (!strcmp(rule, "ct"))
        return code ? code : 0x20;
    if (!strcmp(rule, "modelopt")) {
        const float s = divides ? plain : (float)((double)amax / (double)(float)(6 * (double)g));

        code = nearest(&e4m3, s);
        return s == 0 ? 0x38 : code ? code : 1;
    }
    cr_assert_str_eq(rule, "ggml");
    if (plain >= 256)
        return 0x7e;
    if (plain < 0x1p-6f) {   /* 0.5 is added in FP32, which makes a half of what is just below it */
        code = (int)floor((double)(float)((double)plain * 512 + 0.5));
        return code > 7 ? 7 : code;
    }
    code = nearest(&half_up, plain);
    return code >= 0x78 ? 0x7e : code;
}

Test(scale_oracle, e4m3_scales)
{
    static const float of_matrix[] = { 0, 0x1p-149f, 0x1p-126f, 1e-30f, 0.013f, 1, 6, 2688, 3.1e7f, 0x1.fffffep127f };

    oracle_init(&e4m3, oracle_e4m3[0], oracle_e4m3[1], oracle_e4m3[2]);
    oracle_init(&half_up, oracle_e4m3[0], oracle_e4m3[1], oracle_e4m3[2]);
    half_up.tie = TIE_AWAY;
    fill_inputs();
    for (size_t i = 0; i < scale_rule_e4m3_count; i++)
        for (size_t m = 0; m < COUNT(of_matrix); m++)
            for (int divides = 0; divides < 2; divides++) {
                const struct scale_rule_e4m3 *const r = &scale_rules_e4m3[i];
                const float top = of_matrix[m], g = r->global(top, divides);
                const double exact = divides ? 2688 / (double)top : (double)top / 2688;

                cr_assert(g >= 0x1p-126f && isfinite(g), "%s", r->name);
                if (!strcmp(r->name, "ggml") || (top == 0 && strcmp(r->name, "ct") != 0))
                    cr_assert_eq(g, 1.0f, "%s", r->name);
                else if (exact >= 0x1p-126 && exact < 0x1p126)
                    cr_assert_eq(g, (float)exact, "%s", r->name);
                for (size_t j = 0; j < inputs; j++) {
                    const float amax = f32_from(input[j]);
                    const int got = r->code(amax, g, divides);

                    if (amax > top)
                        continue;
                    cr_assert_eq(got, e4m3_code(r->name, amax, g, divides), "%s of %a with %a: %02x, not %02x", r->name,
                                 (double)amax, (double)g, (unsigned)got,
                                 (unsigned)e4m3_code(r->name, amax, g, divides));
                }
            }
}

/* ---- what is published about how rules differ ------------------------------------------ */

static int code(const char *rule, uint32_t bits)
{
    return scale_rule_for(rule, DT_F8_E4M3)->code(f32_from(bits), &num_e4m3);
}

/* Logarithms in FP32 lose 3102 values just above a power of two, none of them a BF16; compared with that, what
 * is one too large from 448 * 2^k on is so for 142 values, and CEIL for three quarters of all. */
Test(scale_oracle, differences)
{
    enum { FROM = 0x38D1B717 };   /* 1e-4 */
    int lost = 0, larger = 0, others = 0;

    for (uint32_t e = 0; e < 255; e++)
        for (uint32_t m = 0x5fff00; m < 0x601000; m++) {
            const uint32_t u = e << 23 | m;
            const int ds = code("ds", u), log = code("ds-log2", u);

            if (u < FROM)
                continue;
            lost += log == ds - 1;
            cr_assert(log == ds || (log == ds - 1 && (u & 0xffff) != 0), "%08x", u);
            larger += code("ct", u) == ds + 1 && e < 254;
            others += code("rceil", u) != ds;
        }
    cr_assert_eq(lost, 3102);
    cr_assert_eq(larger, 141);   /* and 448 * 2^119, whose bump is beyond FP32 there */
    cr_assert_eq(others, 0);
    int ceil = 0;
    for (uint32_t m = 0; m < 0x800000; m += 0x80)
        ceil += code("ceil", 0x3f800000 | m) != code("rceil", 0x3f800000 | m);
    cr_assert_float_eq(ceil / 65536.0, 0.749, 0.002);
}
