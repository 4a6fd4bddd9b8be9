#include "quantizers/plan.h"
#include "tests/flow.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>


enum { R = 150, C = 300, BR = 2, BC = 3 };
static const char blocks[] =
    "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}}";
static const char powers[] = "{\"quantization_config\":{\"quant_method\":\"fp8\",\"scale_fmt\":\"ue8m0\","
                             "\"weight_block_size\":[128,128]}}";
static const char mx[] = "{\"quantization_config\":{\"quant_method\":\"mxfp8\"}}";

static struct buf model_of(const char *scale_name, const char *dtype, const char *shape, const void *scale,
                           size_t n)
{
    static uint8_t q[R * C];
    for (size_t i = 0; i < R * C; i++)
        q[i] = (uint8_t)(i * 11 + i / C);
    const struct mk_tensor t[3] = {{"norm.weight", "F32", "[2]", NULL, 8},
                                   {"q.weight", "F8_E4M3", "[150,300]", q, sizeof q},
                                   {scale_name, dtype, shape, scale, n}};
    return mk_safetensors(t, 3, NULL);
}

/* Recodes to scheme `to` in every way; the codes must be untouched. */
static void recodes(const struct buf *in, const char *config, const char *to, const char *convention,
                    struct buf *out)
{
    struct encoding enc;
    struct wanted w;
    struct buf b;
    size_t n, k;
    flow_wanted(&w, &enc, to);
    if (convention)
        w.convention = convention_find(convention);
    for (unsigned i = 0; i < 4; i++) {
        struct err e = {0};
        cr_assert_eq(flow_run(in, config, &w, 1 + i, false, i & 1, &b, &e), 0, "%s: %s", to, e.msg);
        cr_assert_eq(memcmp(flow_tensor(in, "q.weight", &n), flow_tensor(&b, "q.weight", &k), R * C), 0);
        cr_assert_eq(memcmp(flow_tensor(in, "norm.weight", &n), flow_tensor(&b, "norm.weight", &k), 8), 0);
        if (!i)
            *out = b;
        else
            buf_free(&b);
    }
}

static int refused(const struct buf *in, const char *config, const char *to, struct err *e)
{
    struct encoding enc;
    struct wanted w;
    struct buf out;
    *e = (struct err){0};
    flow_wanted(&w, &enc, to);
    const int r = flow_run(in, config, &w, 2, false, false, &out, e);
    if (!r)
        buf_free(&out);
    return r;
}

/* ---- exact ways --------------------------------------------------------------------------- */

/* 2^-127 is code 0 and a subnormal FP32: what files have for blocks of zeros. */
static const int exponent[BR * BC] = {-5, 0, 127, -126, -127, 3};

static void f32_powers(float *s)
{
    for (int i = 0; i < BR * BC; i++)
        s[i] = (float)ldexp(1, exponent[i]);
}

Test(recode, blocks_to_mx)
{
    float s[BR * BC];
    struct buf out;
    size_t n;
    f32_powers(s);
    struct buf in = model_of("q.weight_scale_inv", "F32", "[2,3]", s, sizeof s);
    for (int k = 0; k < 2; k++) { /* a scheme that says powers of two, and one whose scales happen to be */
        recodes(&in, k ? blocks : powers, "mxfp8", NULL, &out);
        const uint8_t *const code = flow_tensor(&out, "q.weight_scale", &n);
        cr_assert_eq(n, R * 10);
        for (size_t i = 0; i < n; i++) {
            const int want = 127 + exponent[i / 10 / 128 * BC + i % 10 * 32 / 128];
            cr_assert_eq(code[i], want, "scale %zu", i);
        }
        buf_free(&out);
    }
    buf_free(&in);
}

Test(recode, the_type_of_a_scale)
{
    float s[BR * BC];
    uint8_t codes[BR * BC];
    uint16_t bf16[BR * BC];
    struct buf out;
    size_t n;
    f32_powers(s);
    for (int i = 0; i < BR * BC; i++) {
        codes[i] = (uint8_t)(127 + exponent[i]);
        bf16[i] = (uint16_t)(codes[i] ? codes[i] << 7 : 0x40);
    }
    const struct {
        const char *name, *dtype;
        const void *p;
        size_t n;
    } from[] = {{"q.weight_scale_inv", "F32", s, sizeof s},
                {"q.scale", "F8_E8M0", codes, sizeof codes},
                {"q.weight_scale_inv", "BF16", bf16, sizeof bf16},
                {"q.weight_scale_inv", "U8", codes, sizeof codes}};
    for (size_t k = 0; k < 4; k++) {
        struct buf in = model_of(from[k].name, from[k].dtype, "[2,3]", from[k].p, from[k].n);
        recodes(&in, powers, "fp8-ue8m0-128x128", "deepseek-v4", &out);
        cr_assert_eq(memcmp(flow_tensor(&out, "q.scale", &n), codes, sizeof codes), 0, "%s to codes",
                     from[k].dtype);
        cr_assert_eq(n, sizeof codes);
        buf_free(&out);
        recodes(&in, powers, "fp8-ue8m0-128x128", "deepseek", &out);
        cr_assert_eq(memcmp(flow_tensor(&out, "q.weight_scale_inv", &n), s, sizeof s), 0, "%s to F32",
                     from[k].dtype);
        buf_free(&out);
        recodes(&in, powers, "fp8-f32-128x128", NULL, &out);
        cr_assert_eq(memcmp(flow_tensor(&out, "q.weight_scale_inv", &n), s, sizeof s), 0);
        buf_free(&out);
        buf_free(&in);
    }
}

Test(recode, any_f32_scale_stays_what_it_is)
{
    static const float s[BR * BC] = {1.1f, 0, 3e-39f, 0x1.fffffep127f, 1, 0x1p-149f};
    struct buf in = model_of("q.weight_scale_inv", "F32", "[2,3]", s, sizeof s), out;
    size_t n;
    recodes(&in, blocks, "fp8-f32-128x128", NULL, &out);
    cr_assert_eq(memcmp(flow_tensor(&out, "q.weight_scale_inv", &n), s, sizeof s), 0);
    buf_free(&out);
    buf_free(&in);
}

/* A stack of matrices whose row scales have one dimension less than the convention writes. */
Test(recode, row_scales_of_a_stack)
{
    enum { E = 5, N = 7, K = 32 };
    static const char config[] =
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":"
        "\"int-quantized\",\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_"
        "bits\":8,"
        "\"type\":\"int\",\"strategy\":\"channel\",\"symmetric\":true,\"dynamic\":false}}}}}";
    static const char *const shape[] = {"[5,7,1]", "[5,7]", "[35]"};
    float s[E * N];
    for (int i = 0; i < E * N; i++)
        s[i] = (float)(i + 1);
    for (int k = 0; k < 3; k++) {
        const struct mk_tensor t[2] = {{"a.experts.weight", "I8", "[5,7,32]", NULL, E * N * K},
                                       {"a.experts.weight_scale", "F32", shape[k], s, sizeof s}};
        struct buf in = mk_safetensors(t, 2, NULL), out;
        struct encoding enc;
        struct wanted w;
        struct err e = {0};
        size_t n;
        flow_wanted(&w, &enc, "int8-channel");
        cr_assert_eq(flow_run(&in, config, &w, 2, false, false, &out, &e), 0, "%s", e.msg);
        cr_assert_eq(memcmp(flow_tensor(&out, "a.experts.weight_scale", &n), s, sizeof s), 0, "%s", shape[k]);
        buf_free(&in);
        buf_free(&out);
    }
}

/* ---- what is not exact ------------------------------------------------------------------------ */

Test(recode, a_scale_that_is_no_power_of_two)
{
    static const struct {
        float s;
        const char *word;
    } bad[] = {{1.5f, "1.5"},
               {0x1.000002p0f, "1.00000012"},
               {0, "0"},
               {0x1.8p-127f, "8.81620763e-39"},
               {0x1p-149f, "e-45"},
               {-1, "-1"},
               {NAN, "nan"},
               {INFINITY, "inf"}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        for (int at = 0; at < BR * BC; at++) {
            float s[BR * BC];
            struct err e;
            char place[64];
            f32_powers(s);
            s[at] = bad[k].s;
            struct buf in = model_of("q.weight_scale_inv", "F32", "[2,3]", s, sizeof s);
            snprintf(place, sizeof place, "scale [%d,%d] = ", at / BC, at % BC);
            for (int to = 0; to < 2; to++) {
                cr_assert_eq(refused(&in, blocks, to ? "mxfp8" : "fp8-ue8m0-128x128", &e), -1);
                cr_assert_eq(e.kind, ERR_INPUT);
                cr_assert(strstr(e.msg, "'q.weight_scale_inv'") && strstr(e.msg, place)
                              && strcasestr(e.msg, bad[k].word),
                          "%s %s: %s", place, bad[k].word, e.msg);
            }
            buf_free(&in);
        }
}

Test(recode, codes_at_the_ends)
{
    uint8_t code[R * 10];
    struct err e;
    for (int k = 0; k < 4; k++) {
        memset(code, 127, sizeof code);
        code[149 * 10 + 9] = (uint8_t[]){255, 0, 1, 254}[k]; /* NaN has no way; 0 is 2^-127 */
        struct buf in = model_of("q.weight_scale_inv", "U8", "[150,10]", code, sizeof code), out;
        if (k < 1) {
            cr_assert_eq(refused(&in, mx, "mxfp8", &e), -1);
            cr_assert_eq(e.kind, ERR_INPUT);
            cr_assert(strstr(e.msg, "[149,9]"), "%s", e.msg);
        } else {
            size_t n;
            recodes(&in, mx, "mxfp8", NULL, &out);
            cr_assert_eq(memcmp(flow_tensor(&out, "q.weight_scale", &n), code, sizeof code), 0);
            buf_free(&out);
        }
        buf_free(&in);
    }
}

Test(recode, schemes_without_an_exact_way)
{
    float s[BR * BC];
    uint8_t code[R * 10];
    struct err e;
    f32_powers(s);
    memset(code, 127, sizeof code);
    struct buf b = model_of("q.weight_scale_inv", "F32", "[2,3]", s, sizeof s);
    struct buf m = model_of("q.weight_scale_inv", "U8", "[150,10]", code, sizeof code);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(refused(i ? &m : &b, i ? mx : powers, "int8-channel", &e), -1);
        cr_assert_eq(e.kind, ERR_INPUT);
        cr_assert(strstr(e.msg, "'q.weight'") && strstr(e.msg, "no exact way to int8-channel"), "%s", e.msg);
    }
    buf_free(&b);
    buf_free(&m);
}

/* ---- offsets ------------------------------------------------------------------------------------ */

Test(recode, offsets_must_be_zero)
{
    static const char meta[] =
        "{\"octavo.convention\":\"ascend-v1\",\"octavo.config\":\"{}\",\"octavo.description\":"
        "\"{\\\"q.weight\\\":\\\"W8A8_DYNAMIC\\\"}\"}";
    float s[4] = {1, 2, 3, 4}, z[4] = {0};
    for (int k = 0; k < 12; k++) {
        z[3] = k & 1 ? 0x1p-149f : 0;
        const struct mk_tensor t[3] = {{"q.weight", "I8", "[4,64]", NULL, 256},
                                       {"q.weight_scale", "F32", "[4,1]", s, 16},
                                       {"q.weight_offset", "F32", "[4,1]", z, 16}};
        const struct mk_tensor back[3] = {t[2], t[1], t[0]};
        struct buf in = mk_safetensors(k & 2 ? back : t, 3, meta), out;
        struct encoding enc;
        struct wanted w;
        struct err e = {0};
        size_t n;
        flow_wanted(&w, &enc, k / 4 ? "int8-channel" : NULL);
        if (k / 4 == 0)
            w.plain = DT_F32;
        if (k / 4 == 2)
            w.convention = convention_find("ascend-v1");
        cr_assert_eq(flow_run(&in, NULL, &w, 2, true, true, &out, &e), k & 1 ? -1 : 0, "%d: %s", k, e.msg);
        if (k & 1) {
            cr_assert_eq(e.kind, ERR_INPUT);
            cr_assert(strstr(e.msg, "'q.weight_offset'"), "%s", e.msg);
        } else {
            flow_tensor(&out, "q.weight", &n);
            cr_assert_eq(n, k / 4 ? 256 : 1024);
            if (k / 4 == 2)
                cr_assert_eq(memcmp(flow_tensor(&out, "q.weight_offset", &n), z, 16), 0);
            buf_free(&out);
        }
        buf_free(&in);
    }
}

/* What calibration left beside weights in floating point is carried from container to container, and dropped
 * where the weights are read. */
Test(recode, left_over_from_calibration)
{
    static const char config[] =
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"quantization_status\":"
        "\"frozen\",\"format\":\"int-quantized\",\"config_groups\":{}}}";
    static const char *const left[] = {"\"x.weight_scale\"", "\"x.weight_zero_point\"", "\"x.input_scale\""};
    const struct mk_tensor t[] = {{"x.weight", "BF16", "[4,64]", NULL, 512},
                                  {"x.weight_scale", "BF16", "[4,1]", NULL, 8},
                                  {"x.weight_zero_point", "I8", "[4,1]", NULL, 4},
                                  {"x.input_scale", "F32", "[1]", NULL, 4},
                                  {"b.weight", "BF16", "[4]", NULL, 8}};
    struct buf b = mk_safetensors(t, 5, NULL), out;
    for (int i = 0; i < 3;
         i++) { /* carried; decoded, which leaves floating point alone; encoded, with a scale of its own */
        struct encoding enc;
        struct wanted w;
        struct err e = {0};
        flow_wanted(&w, &enc, i == 2 ? "int8-channel" : NULL);
        w.plain = i == 1 ? DT_F32 : DT_COUNT;
        cr_assert_eq(flow_run(&b, config, &w, 2, false, false, &out, &e), 0, "%s", e.msg);
        for (int k = 0; k < 3; k++)
            cr_assert_eq(memmem(out.s, out.n, left[k], strlen(left[k])) != NULL, i == 0 || (i == 2 && k == 0),
                         "%d %s", i, left[k]);
        buf_free(&out);
    }
    buf_free(&b);
}
