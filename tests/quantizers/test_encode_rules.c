/* Every scale rule through plan and run: the scales of the file are the rule's, block
 * by block, and its codes are what the project of the rule makes of x with them,
 * worked out in double precision with the number formats of tests/oracle.c. */
#include "tests/flow.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { R = 3, C = 96 * 32 };
static float x[R * C];
static struct oracle values;

/* Blocks of very different size; in each ties, zeros of both signs and what is next to nothing. */
static void fill(void)
{
    static const double at[] = { 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6, 7, 448, 464, 1.0625, 1.1875, 0x1p-10, 57344,
                                 1.125, 240, 0.5, 1.5, 126.5, 127.5, 7.5 };
    uint64_t seed = oracle_seed();

    for (int i = 0; i < R * C; i++) {
        const int block = i / 32 % 96, k = i % 32;
        const uint64_t u = oracle_random(&seed);
        double v = k < 22 ? at[(k + i / 32) % 22] : 1 + (double)(u >> 8 & 0xffff) / 65536;

        v = ldexp(k % 4 == 3 ? v / 64 : v, block < 90 ? block % 30 - 20 : block == 90 ? -139 : 0);
        if (block == 91)
            v = 0;
        if (block == 92)
            v = k == 0 ? 1e30 : ldexp(v, -60);
        x[i] = (float)(k == 30 ? 0 : u & 1 ? -v : v);
        if (k == 31)
            x[i] = -0.0f;
    }
}

static float amax_of(const float *p, size_t n)
{
    float amax = 0;

    for (size_t i = 0; i < n; i++)
        amax = fmaxf(amax, fabsf(p[i]));
    return amax;
}

/* q and scales as tensors, by rule `rule`. */
struct made { struct buf out; const uint8_t *q, *scale; float global; struct encoding to; };

static void run_rule(const struct buf *in, const char *scheme, const char *rule, struct made *r)
{
    struct wanted w;
    struct err e = {0};
    size_t n;

    flow_wanted(&w, &r->to, scheme);
    w.convention = convention_find("octavo");
    cr_assert_eq(encoding_make(&r->to, r->to.scheme, rule, &e), 0, "%s", e.msg);
    cr_assert_eq(flow_run(in, NULL, &w, 2, false, false, &r->out, &e), 0, "%s, %s: %s", scheme, rule, e.msg);
    r->q = flow_tensor(&r->out, "q.weight", &n);
    r->scale = flow_tensor(&r->out, "q.weight_scale", &n);
    if (r->to.scheme->two_level)
        memcpy(&r->global, flow_tensor(&r->out, "q.weight_scale_2", &n), 4);
}

static const struct oracle_format *format_of(const char *name)
{
    for (int i = 0; i < oracle_formats; i++)
        if (!strcmp(oracle_format[i].name, name))
            return &oracle_format[i];
    cr_assert_fail("%s", name);
    return NULL;
}

static float to_bf16(float f)
{
    int e;

    frexp((double)f, &e);
    e = e - 8 < -133 ? -133 : e - 8;
    return (float)ldexp(rint(ldexp((double)f, -e)), e);
}

/* One block: y is what is to be rounded. */
static void check_block(const struct made *r, const char *rule, const struct oracle_format *f, size_t at, size_t n,
                        double times, double over, bool bf16, bool zero_point)
{
    for (size_t i = at; i < at + n; i++) {
        float y = (float)(times != 0 ? (double)x[i] * times : (double)x[i] / over);

        if (bf16)
            y = to_bf16(y);
        if (bf16 || zero_point)
            y += 0.0f;
        const int want = oracle_encode(&values, f, y, true);
        const int got = f->bits == 4 ? r->q[i / 2] >> (i % 2 * 4) & 15 : r->q[i];

        cr_assert_eq(got, want, "%s, %s, element %zu, %a (%a): %02x, not %02x", r->to.scheme->name, rule, i,
                     (double)x[i], (double)y, (unsigned)got, (unsigned)want);
    }
}

static int rules_run;

static void check_pow2(const struct buf *in, const char *scheme, const struct scale_rule *rule)
{
    struct made r = {0};
    const struct scheme *const s = scheme_find(scheme);
    const struct oracle_format *const f = format_of(rule->num ? rule->num : num_find(s->elem)->name);

    run_rule(in, scheme, rule->name, &r);
    cr_assert_eq(r.to.rule, rule);
    oracle_init_format(&values, f);
    for (size_t b = 0; b < R * C / 32; b++) {
        const int code = rule->code(amax_of(x + b * 32, 32), encoding_num(&r.to));

        cr_assert_not_null(r.scale, "%s %s", scheme, rule->name);
        cr_assert_eq(r.scale[b], code, "%s, %s, block %zu", scheme, rule->name, b);
        check_block(&r, rule->name, f, b * 32, 32, ldexp(1, 127 - code), 0, false, rule->zero_point);
    }
    buf_free(&r.out);
    rules_run++;
}

Test(encode_rules, powers_of_two)
{
    static const char *const schemes[] = { "mxfp8", "fp8e5m2-ue8m0-1x32", "mxfp4", "fp8fnuz-ue8m0-1x32", "int8-ue8m0-g32" };
    const struct mk_tensor t = {"q.weight", "F32", "[3,3072]", x, sizeof x};

    fill();
    struct buf in = mk_safetensors(&t, 1, NULL);
    for (size_t k = 0; k < sizeof schemes / sizeof *schemes; k++)
        for (size_t i = 0; i < scale_rule_count; i++)
            if (scale_rule_for(scale_rules[i].name, scheme_find(schemes[k])->elem) == &scale_rules[i])
                check_pow2(&in, schemes[k], &scale_rules[i]);
    cr_assert_eq(rules_run, 18 + 12 + 25 + 11 + 11);
    buf_free(&in);
}

Test(encode_rules, values)
{
    static const char *const schemes[] = { "fp8-f32-1x32", "fp8e5m2-f32-1x32", "fp8fnuz-f32-1x32", "fp8e5m2fnuz-f32-1x32",
                                           "fp4-f32-1x32", "int8-g32", "int4-g32" };
    const struct mk_tensor t = {"q.weight", "F32", "[3,3072]", x, sizeof x};

    fill();
    struct buf in = mk_safetensors(&t, 1, NULL);
    for (size_t k = 0; k < sizeof schemes / sizeof *schemes; k++)
        for (size_t i = 0; i < scale_rule_f32_count; i++) {
            const struct scale_rule_f32 *const rule = &scale_rules_f32[i];
            const struct scheme *const s = scheme_find(schemes[k]);
            const struct oracle_format *f;
            struct made r = {0};

            if (rule->elem != s->elem)
                continue;
            f = format_of(rule->num ? rule->num : num_find(s->elem)->name);
            run_rule(&in, schemes[k], rule->name, &r);
            oracle_init_format(&values, f);
            for (size_t b = 0; b < R * C / 32; b++) {
                const float amax = amax_of(x + b * 32, 32), want = rule->scale(amax);
                float scale;

                memcpy(&scale, r.scale + 4 * b, 4);
                cr_assert_eq(scale, want, "%s, %s, block %zu: %a", schemes[k], rule->name, b, (double)scale);
                check_block(&r, rule->name, f, b * 32, 32, rule->times ? (double)rule->times(amax) : 0, (double)scale,
                            rule->bf16, rule->zero_point);
            }
            buf_free(&r.out);
            rules_run++;
        }
    cr_assert_eq((size_t)rules_run, scale_rule_f32_count);
    buf_free(&in);
}

Test(encode_rules, e4m3)
{
    const struct mk_tensor t = {"q.weight", "F32", "[3,3072]", x, sizeof x};

    fill();
    struct buf in = mk_safetensors(&t, 1, NULL);
    for (size_t i = 0; i < scale_rule_e4m3_count; i++) {
        const struct scale_rule_e4m3 *const rule = &scale_rules_e4m3[i];
        const struct oracle_format *const f = format_of(rule->num ? rule->num : "e2m1");
        struct made r = {0};
        int zeros = 0;

        run_rule(&in, "nvfp4", rule->name, &r);
        oracle_init_format(&values, f);
        cr_assert_eq(r.global, rule->global(amax_of(x, R * C), false), "%s", rule->name);
        for (size_t b = 0; b < R * C / 16; b++) {
            const int code = rule->code(amax_of(x + b * 16, 16), r.global, false);
            const float scale = e4m3_decode((uint8_t)code) * r.global;

            cr_assert_eq(r.scale[b], code, "%s, block %zu", rule->name, b);
            zeros += code == 0;
            check_block(&r, rule->name, f, b * 16, 16, 0, code ? (double)scale : INFINITY, false, rule->zero_point);
        }
        cr_assert_eq(zeros > 0, !strcmp(rule->name, "ggml"), "%s: %d", rule->name, zeros);
        buf_free(&r.out);
    }
    buf_free(&in);
}
