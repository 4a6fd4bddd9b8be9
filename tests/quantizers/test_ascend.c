/* The types of AscendV1, by the numbers: how each lies in its tensors, what becomes
 * of the scale that W8A8 hides, and what the description says. */
#include "quantizers/plan.h"
#include "tests/flow.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 6, K = 64 };

/* An image whose description gives `type` to every tensor but those that stay. */
static struct buf image(const char *type, int group_size, const struct mk_tensor *t, size_t n,
                        const char *more)
{
    struct buf meta = {0};
    struct err e;
    int bad =
        buf_printf(&meta, &e,
                   "{\"octavo.convention\":\"ascend-v1\",\"octavo.config\":\"{}\",\"octavo.description\":"
                   "\"{\\\"version\\\":\\\"1.0.0\\\",\\\"group_size\\\":%d%s",
                   group_size, more);
    for (size_t i = 0; i < n; i++)
        bad |= buf_printf(&meta, &e, ",\\\"%s\\\":\\\"%s\\\"", t[i].name,
                          strstr(t[i].name, "norm") ? "FLOAT" : type);
    bad |= buf_puts(&meta, "}\"}", &e);
    cr_assert_eq(bad, 0);
    struct buf out = mk_safetensors(t, n, meta.s);
    buf_free(&meta);
    return out;
}

static int run(const struct buf *in, const char *scheme, const char *convention, int activation, bool stream,
               struct buf *out, struct err *e)
{
    struct encoding enc;
    struct wanted w;
    flow_wanted(&w, &enc, NULL);
    *e = (struct err){0};
    if (!scheme)
        w.plain = DT_F32;
    else if (encoding_make(&enc, scheme_find(scheme), NULL, e))
        return -1;
    w.to = scheme ? &enc : NULL;
    w.convention = convention_find(convention ? convention : "ascend-v1");
    w.activation_given = activation >= 0;
    w.activation = activation >= 0 ? (enum activation)activation : ACTIVATION_DYNAMIC;
    return flow_run(in, NULL, &w, 2, stream, false, out, e);
}

static void values_are(const struct buf *out, const double *want)
{
    size_t n;
    const float *f = flow_tensor(out, "a.weight", &n);
    cr_assert_eq(n, N * K * 4);
    for (size_t i = 0; i < N * K; i++)
        cr_assert(f[i] == (float)want[i], "%zu is %g, not %g", i, (double)f[i], want[i]);
}

static int8_t q[N * K];
static float scale[N * 2], offset[N * 2], zeros[N * 2];
static double want[N * K];

static void fill(int low, int high, size_t groups, bool points)
{
    memset(zeros, 0, sizeof zeros);
    for (size_t i = 0; i < N * groups; i++) {
        scale[i] = 0.01f * (float)(i + 1);
        offset[i] = points ? (float)(low + (int)(i * 5 % (size_t)(high - low + 1))) : 0;
    }
    for (size_t i = 0; i < N * K; i++) {
        const size_t g = i / K * groups + (groups > 1 ? i % K / 32 : 0);
        q[i] = (int8_t)(low + (int)(i * 7 % (size_t)(high - low + 1)));
        want[i] = ((double)q[i] - (double)offset[g]) * (double)scale[g];
    }
}

Test(ascend, offsets_and_groups)
{
    static const struct { const char *type; int low, high; bool points; } type[] = {
        {"W8A8_DYNAMIC", -128, 127, false}, {"W8A16", -128, 127, true}, {"W4A4_DYNAMIC", -8, 7, true}};
    struct buf out;
    struct err e;
    for (size_t i = 0; i < 3; i++)
        for (int groups = 1; groups <= 2; groups++)
            for (int points = 0; points < 2; points++) {
                const char *shape = groups == 1 ? "[6,1]" : "[6,2]";
                const size_t size = (size_t)(N * groups * 4);
                fill(type[i].low, type[i].high, (size_t)groups, points);
                const struct mk_tensor t[] = {{"a.weight", "I8", "[6,64]", q, sizeof q},
                                              {"a.weight_scale", "F32", shape, scale, size},
                                              {"a.weight_offset", "F32", shape, offset, size},
                                              {"norm.weight", "F32", "[2]", NULL, 8}};
                struct buf in = image(type[i].type, groups == 1 ? 0 : 32, t, 4, "");
                const int r = run(&in, NULL, NULL, -1, false, &out, &e);
                cr_assert_eq(r, points && !type[i].points ? -1 : 0, "%s: %s", type[i].type, e.msg);
                if (r)
                    cr_assert(strstr(e.msg, "'a.weight_offset'"), "%s", e.msg);
                else {
                    values_are(&out, want);
                    buf_free(&out);
                }
                if (points && type[i].points) { /* codes and zero points, packed */
                    cr_assert_eq(run(&in, groups == 1 ? "int8-channel-asym" : "int8-g32-asym",
                                     "compressed-tensors", -1, false, &out, &e),
                                 0, "%s", e.msg);
                    size_t n;
                    const uint8_t *z = flow_tensor(&out, "a.weight_zero_point", &n);
                    cr_assert_eq(n, (size_t)(2 * groups * 4)); /* 4 rows in a word */
                    for (size_t k = 0; k < (size_t)(N * groups); k++) {
                        const size_t row = k / (size_t)groups, col = k % (size_t)groups;
                        cr_assert_eq(z[4 * (row / 4 * (size_t)groups + col) + row % 4],
                                     (uint8_t)((int)offset[k] + 128));
                    }
                    buf_free(&out);
                    cr_assert_eq(run(&in, NULL, NULL, -1, true, &out, &e),
                                 -1); /* a pipe cannot be looked at ahead */
                    cr_assert(strstr(e.msg, "'a.weight_offset'"), "%s", e.msg);
                }
                buf_free(&in);
            }
    fill(-8, 7, 1, true);
    offset[3] = 1.5f;
    const struct mk_tensor t[] = {{"a.weight", "I8", "[6,64]", q, sizeof q},
                                  {"a.weight_scale", "F32", "[6,1]", scale, N * 4},
                                  {"a.weight_offset", "F32", "[6,1]", offset, N * 4}};
    struct buf in = image("W4A4_DYNAMIC", 0, t, 3, "");
    cr_assert_eq(run(&in, NULL, NULL, -1, false, &out, &e), -1);
    cr_assert(strstr(e.msg, "1.5 stands for zero in row 3"), "%s", e.msg);
    buf_free(&in);
}

/* Two rows in a byte, the even one in its low half. */
Test(ascend, two_rows_in_a_byte)
{
    uint8_t packed[N / 2 * K];
    float bias[N] = {0};
    struct buf out;
    struct err e;
    size_t n;
    fill(-8, 7, 1, false);
    for (size_t i = 0; i < N / 2 * K; i++)
        packed[i] = (uint8_t)((q[i / K * 2 * K + i % K] & 15) | (q[(i / K * 2 + 1) * K + i % K] & 15) << 4);
    const struct mk_tensor t[] = {{"a.weight", "I8", "[3,64]", packed, sizeof packed},
                                  {"a.weight_scale", "F32", "[6,1]", scale, N * 4},
                                  {"a.weight_offset", "F32", "[6,1]", zeros, N * 4},
                                  {"a.scale_bias", "F32", "[6,1]", bias, N * 4},
                                  {"a.weight_scale_second", "F32", "[6,1]", scale, N * 4}};
    struct buf in = image("W4A8_DYNAMIC", 0, t, 4, "");
    cr_assert_eq(run(&in, NULL, NULL, -1, false, &out, &e), 0, "%s", e.msg);
    values_are(&out, want);
    buf_free(&out);
    cr_assert_eq(run(&in, "int4-channel", "compressed-tensors", -1, false, &out, &e), 0, "%s", e.msg);
    const uint8_t *p = flow_tensor(&out, "a.weight_packed", &n);
    cr_assert_eq(n, N * K / 2);
    for (size_t i = 0; i < N * K; i++)
        cr_assert_eq(p[i / 2] >> 4 * (i % 2) & 15, q[i] + 8);
    buf_free(&out);
    cr_assert_eq(run(&in, NULL, NULL, -1, true, &out, &e), -1);
    cr_assert(strstr(e.msg, "--spool"), "%s", e.msg);
    buf_free(&in);
    in = image("W4A8_DYNAMIC", 0, t, 5, "");
    cr_assert_eq(run(&in, NULL, NULL, -1, false, &out, &e), -1);
    cr_assert(strstr(e.msg, "second scale"), "%s", e.msg);
    buf_free(&in);
}

/* What has no place in it: an odd row, a weight that is no expert's, columns that do not divide into the 16 sums. */
Test(ascend, two_rows_of_experts)
{
    static const struct {
        const char *name, *shape, *says;
        size_t rows, cols;
    } bad[] = {{"m.experts.0.up_proj.weight", "[3,64]", "3 rows, an odd number", 3, 64},
               {"m.up_proj.weight", "[4,64]", "no expert's matrix", 4, 64},
               {"m.experts.0.down_proj.weight", "[4,24]", "24 columns", 4, 24},
               {"m.experts.weight", "[2,2,64]", "no expert's matrix", 4, 64}};
    static float w[256];
    struct buf out;
    struct err e;
    for (size_t i = 0; i < 256; i++)
        w[i] = (float)i / 3 - 40;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct mk_tensor t = {bad[i].name, "F32", bad[i].shape, w, bad[i].rows * bad[i].cols * 4};
        struct buf in = mk_safetensors(&t, 1, NULL);
        cr_assert_eq(run(&in, "int4-channel", NULL, -1, false, &out, &e), -1);
        cr_assert(strstr(e.msg, bad[i].says) && strstr(e.msg, bad[i].name), "%s", e.msg);
        buf_free(&in);
    }
    const struct mk_tensor t = {"m.experts.0.down_proj.weight", "F32", "[6,32]", w, 6 * 32 * 4};
    struct buf in = mk_safetensors(&t, 1, NULL);
    for (int stream = 0; stream < 2; stream++) {
        size_t n;
        cr_assert_eq(run(&in, "int4-channel", NULL, -1, stream, &out, &e), 0, "%s", e.msg);
        float s[6], bias[6 * 16];
        const uint8_t *code = flow_tensor(&out, "m.experts.0.down_proj.weight", &n);
        cr_assert_eq(n, 3 * 32);
        memcpy(s, flow_tensor(&out, "m.experts.0.down_proj.weight_scale", &n), sizeof s);
        memcpy(bias, flow_tensor(&out, "m.experts.0.down_proj.scale_bias", &n), sizeof bias);
        cr_assert_eq(n, sizeof bias);
        for (int r = 0; r < 6; r++)
            for (int p = 0; p < 16; p++) {
                double sum = 0;
                for (int c = 2 * p; c < 2 * p + 2; c++) {
                    const int q4 = ((code[r / 2 * 32 + c] >> 4 * (r % 2) & 15) ^ 8) - 8;
                    cr_assert(fabs(q4 * (double)s[r] - (double)w[r * 32 + c]) <= 0.5001 * (double)s[r], "[%d,%d]", r, c);
                    sum += q4;
                }
                cr_assert_eq(bias[r * 16 + p], (float)(8 * sum * (double)s[r]));
            }
        buf_free(&out);
    }
    buf_free(&in);
}

/* The scale of W8A8 is deq_scale / input_scale, whatever it becomes; or all of it is carried over. */
Test(ascend, static_activations)
{
    struct buf out;
    struct err e;
    size_t n;
    int32_t bias[N] = {5, -6};
    for (int bits = 0; bits < 2; bits++)
        for (int power = 0; power < 2; power++)
            for (int off = 0; off < 2; off++) {
                float in_scale = power ? 0.125f : 0.037f, deq[N], zero = (float)(3 * off);
                int64_t wide[N];
                fill(-128, 127, 1, false);
                for (size_t r = 0; r < N; r++) {
                    uint32_t u;
                    deq[r] = scale[r] * in_scale;
                    memcpy(&u, &deq[r], 4);
                    wide[r] = u;
                }
                const struct mk_tensor t[] = {{"a.weight", "I8", "[6,64]", q, sizeof q},
                                              {"a.input_scale", "F32", "[1]", &in_scale, 4},
                                              {"a.input_offset", "F32", "[1]", &zero, 4},
                                              {"a.quant_bias", "I32", "[6]", bias, sizeof bias},
                                              {"a.deq_scale", bits ? "I64" : "F32", "[6]",
                                               bits ? (const void *)wide : deq,
                                               bits ? sizeof wide : sizeof deq}};
                struct buf in = image("W8A8", 0, t, 5, "");
                cr_assert_eq(run(&in, "int8-channel", NULL, -1, false, &out, &e), 0, "%s", e.msg);
                const float *s = flow_tensor(&out, "a.weight_scale", &n);
                cr_assert_eq(n, N * 4);
                for (size_t r = 0; r < N; r++)
                    cr_assert_eq(s[r], (float)((double)deq[r] / (double)in_scale));
                cr_assert_eq(memcmp(flow_tensor(&out, "a.weight", &n), q, sizeof q), 0);
                buf_free(&out);
                cr_assert_eq(run(&in, "int8-channel", NULL, ACTIVATION_STATIC, false, &out, &e), 0, "%s",
                             e.msg);
                for (size_t k = 0; k < 5; k++)
                    cr_assert_eq(memcmp(flow_tensor(&out, t[k].name, &n), t[k].data, t[k].n), 0, "%s",
                                 t[k].name);
                buf_free(&out);
                /* compressed-tensors calls its static activations symmetric: they must be */
                const int r =
                    run(&in, "int8-channel", "compressed-tensors", ACTIVATION_STATIC, false, &out, &e);
                cr_assert_eq(r, off ? -1 : 0, "%s", e.msg);
                if (r)
                    cr_assert(strstr(e.msg, "'a.input_offset'"), "%s", e.msg);
                else
                    buf_free(&out);
                buf_free(&in);
            }
    fill(-128, 127, 1, false); /* the other way there is nothing to carry over */
    const struct mk_tensor t[] = {{"a.weight", "I8", "[6,64]", q, sizeof q},
                                  {"a.weight_scale", "F32", "[6,1]", scale, N * 4}};
    struct buf in = image("W8A8_DYNAMIC", 0, t, 2, "");
    cr_assert_eq(run(&in, "int8-channel", NULL, ACTIVATION_STATIC, false, &out, &e), -1);
    cr_assert(strstr(e.msg, "'a.input_scale'") && strstr(e.msg, "static activations"), "%s", e.msg);
    buf_free(&in);
    in = image("W8A8", 0, t, 1, "");
    cr_assert_eq(run(&in, NULL, NULL, -1, false, &out, &e), -1);
    cr_assert(strstr(e.msg, "'.deq_scale'"), "%s", e.msg);
    buf_free(&in);
}

Test(ascend, what_the_description_says)
{
    struct buf out;
    struct err e;
    fill(-128, 127, 1, false);
    const struct mk_tensor t[] = {{"a.weight", "I8", "[6,64]", q, sizeof q},
                                  {"a.weight_scale", "F32", "[6,1]", scale, N * 4}};
    struct buf in = image("W8A8_DYNAMIC", 0, t, 2, ",\\\"metadata\\\":{\\\"quarot\\\":{\\\"a\\\":1}}");
    cr_assert_eq(run(&in, NULL, NULL, -1, false, &out, &e), -1);
    cr_assert(strstr(e.msg, "rotated"), "%s", e.msg);
    buf_free(&in);
    static const char *const unknown[] = {"W4A4_MXFP4_DUALSCALE", "W8A8_FLATQUANT_DYNAMIC", "W8A8_MXFP8_SVD",
                                          "W4A16"};
    for (size_t i = 0; i < 4; i++) {
        in = image(unknown[i], 0, t, 2, "");
        cr_assert_eq(run(&in, NULL, NULL, -1, false, &out, &e), -1);
        cr_assert(strstr(e.msg, unknown[i]), "%s", e.msg);
        buf_free(&in);
    }

    static const struct {
        const char *name;
        enum part part;
        const char *scheme;
        enum activation a;
        const char *type;
    } said[] = {
        {"a.weight", PART_WEIGHT, "int8-channel", ACTIVATION_STATIC, "\"a.weight\": \"W8A8\""},
        {"a.deq_scale", PART_AUX, "int8-channel", ACTIVATION_STATIC, "\"a.deq_scale\": \"W8A8\""},
        {"b.weight", PART_WEIGHT, "mxfp8", ACTIVATION_DYNAMIC, "\"b.weight\": \"W8A8_MXFP8\""},
        {"c.weight", PART_WEIGHT, "mxfp4", ACTIVATION_DYNAMIC, "\"c.weight\": \"W4A8_MXFP\""},
        {"d.weight", PART_WEIGHT, "int8-channel", ACTIVATION_NONE, "\"d.weight\": \"W8A16\""},
        {"e.k_proj.kv_cache_scale", PART_PLAIN, NULL, 0, "\"e.k_proj.kv_cache_scale\": \"C8\""},
        {"e.fa_k.scale", PART_PLAIN, NULL, 0, "\"e.fa_k.scale\": \"FAQuant\""},
        {"norm.weight", PART_PLAIN, NULL, 0, "\"norm.weight\": \"FLOAT\""},
    };
    enum { SAID = sizeof said / sizeof *said };
    struct out_tensor o[SAID];
    struct buf text = {0};
    for (size_t i = 0; i < SAID; i++)
        o[i] = (struct out_tensor){.name = said[i].name, .part = said[i].part, .activation = said[i].a,
                                   .scheme = said[i].scheme ? scheme_find(said[i].scheme) : NULL};
    cr_assert_eq(convention_find("ascend-v1")->description(o, SAID, &text, &e), 0);
    for (size_t i = 0; i < SAID; i++)
        cr_assert(strstr(text.s, said[i].type), "%s in %s", said[i].type, text.s);
    /* the strongest type stands for the whole, as msmodelslim has it */
    cr_assert(strstr(text.s, "\"model_quant_type\": \"W4A8_MXFP\"") && strstr(text.s, "\"group_size\": 32"),
              "%s", text.s);
    cr_assert(strstr(text.s, "\"kv_quant_type\": \"C8\"")
                  && strstr(text.s, "\"fa_quant_type\": \"FAKQuant\""),
              "%s", text.s);
    buf_free(&text);
    cr_assert_eq(convention_find("ascend-v1")->description(o, 1, &text, &e), 0);
    cr_assert(strstr(text.s, "\"model_quant_type\": \"W8A8\"") && !strstr(text.s, "C8")
                  && !strstr(text.s, "fa_quant"),
              "%s", text.s);
    buf_free(&text);
}
