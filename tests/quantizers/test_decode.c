#include "tests/flow.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static double e4m3_value(uint8_t q)
{
    const int e = q >> 3 & 15, m = q & 7;
    return (q >> 7 ? -1 : 1) * ((q & 0x7f) == 0x7f ? NAN : e ? ldexp(8 + m, e - 10) : ldexp(m, -9));
}

static struct wanted to_plain(enum dtype t) { return (struct wanted){.plain = t}; }

/* The value of a 16-bit code with this many exponent bits. */
static double half_value(uint16_t h, int ebits)
{
    const int w = 15 - ebits, top = (1 << ebits) - 1, e = h >> w & top, m = h & ((1 << w) - 1);
    const double v = e == top ? (m ? NAN : INFINITY)
                     : e      ? ldexp((1 << w) + m, e - top / 2 - w)
                              : ldexp(m, 1 - top / 2 - w);
    return h >> 15 ? -v : v;
}

static double out_value(enum dtype t, const uint8_t *p, size_t i)
{
    uint16_t h;
    float f;
    if (t == DT_F32)
        return memcpy(&f, p + 4 * i, 4), f;
    memcpy(&h, p + 2 * i, 2);
    return half_value(h, t == DT_BF16 ? 8 : 5);
}

/* What FP32 value x becomes in type t. */
static double rounded(enum dtype t, float x)
{
    static struct oracle bf16, f16;
    if (!bf16.sign_bit) {
        oracle_init(&bf16, 8, 7, 0x7f7f);
        oracle_init(&f16, oracle_f16[0], oracle_f16[1], oracle_f16[2]);
    }
    if (t == DT_F32 || isnan(x))
        return x;
    const struct oracle *const o = t == DT_BF16 ? &bf16 : &f16;
    const int code = oracle_nearest(o, fabsf(x));
    return copysign(code > o->max_code ? INFINITY : o->value[code], x);
}

/* ---- models ---------------------------------------------------------------------------- */

enum { R = 140, C = 391 };
static const char fp8[] =
    "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}}";

/* Codes 0..255 in turn with a 2 x 4 matrix of F32 scales. */
static struct buf blocks(const float *scale)
{
    static uint8_t q[R * C];
    for (size_t i = 0; i < R * C; i++)
        q[i] = (uint8_t)(i * 7 + i / 300);
    const struct mk_tensor t[3] = {{"q.weight", "F8_E4M3", "[140,391]", q, sizeof q},
                                   {"q.weight_scale_inv", "F32", "[2,4]", scale, 32},
                                   {"norm.weight", "BF16", "[4]", NULL, 8}};
    return mk_safetensors(t, 3, NULL);
}

static int counted(const struct buf *in, const char *config, const struct wanted *w, struct outcome *o,
                   struct err *e)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "in"), *const c = mk_path(dir, "config.json");
    struct model m;
    struct plan p;
    mk_write(path, in->s, in->n);
    mk_write(c, config, strlen(config));
    cr_assert_eq(model_open(&m, path, e), 0, "%s", e->msg);
    cr_assert_eq(plan_make(&p, &m, w, e), 0, "%s", e->msg);
    const int r = run_plan(&p, NULL, NULL, &(struct run_options){.threads = 2}, NULL, e);
    for (size_t i = 0; i < p.nops; i++)
        if (p.op[i].x == &xform_decode)
            *o = p.op[i].done;
    plan_free(&p);
    model_close(&m);
    free(path);
    free(c);
    mk_rmdir(dir);
    return r;
}

/* Values and counts of every element against double arithmetic; two roundings, to FP32 and on. */
static void decodes(const float *scale, enum dtype t, uint64_t *inexact, uint64_t *flushed)
{
    struct buf in = blocks(scale), out, other;
    const struct wanted w = to_plain(t);
    struct outcome o = {0};
    struct err e = {0};
    size_t n;
    cr_assert_eq(flow_run(&in, fp8, &w, 3, false, false, &out, &e), 0, "%s", e.msg);
    const uint8_t *const p = flow_tensor(&out, "q.weight", &n);
    const uint8_t *const q = flow_tensor(&in, "q.weight", &n);
    *inexact = *flushed = 0;
    for (size_t i = 0; i < R * C; i++) {
        const double exact = e4m3_value(q[i]) * (double)scale[i / C / 128 * 4 + i % C / 128];
        const double want = rounded(t, (float)exact), got = out_value(t, p, i);
        cr_assert(got == want || (isnan(got) && isnan(want)), "%s element %zu: %g, not %g", dtype_name(t), i,
                  got, want);
        cr_assert(isnan(got) || !signbit(got) == !signbit(want), "the sign of zero is kept");
        *inexact += !isnan(exact) && got != exact;
        *flushed += got == 0 && exact != 0;
    }
    cr_assert_eq(counted(&in, fp8, &w, &o, &e), 0, "%s", e.msg);
    cr_assert(o.elems == R * C && o.n.inexact == *inexact && o.n.flushed == *flushed && o.n.saturated == 0,
              "%s: %lu, %lu of %lu inexact; %lu of %lu flushed", dtype_name(t), o.elems, o.n.inexact,
              *inexact, o.n.flushed, *flushed);
    cr_assert_eq(memcmp(flow_tensor(&out, "norm.weight", &n), flow_tensor(&in, "norm.weight", &n), 8), 0);
    for (int way = 1; way < 4; way++) { /* a stream, a pipe, both */
        cr_assert_eq(flow_run(&in, fp8, &w, way, way & 1, way > 1, &other, &e), 0, "%s", e.msg);
        cr_assert_eq(memcmp(flow_tensor(&other, "q.weight", &n), p, R * C * row_bytes(t, 1)), 0, "way %d",
                     way);
        buf_free(&other);
    }
    buf_free(&in);
    buf_free(&out);
}

static const enum dtype plain[] = {DT_BF16, DT_F16, DT_F32};

Test(decode, powers_of_two_are_exact)
{
    static const float scale[8] = {1, 0.5, 0x1p-7, 4, 0x1p-3, 2, 0x1p-5, 0x1p-2};
    uint64_t inexact, flushed;
    for (size_t i = 0; i < 3; i++) {
        decodes(scale, plain[i], &inexact, &flushed);
        cr_assert(inexact == 0 && flushed == 0, "%s", dtype_name(plain[i]));
    }
}

Test(decode, extreme_powers_of_two)
{
    static const float scale[8] = {0x1p-126, 0x1p-127, 0x1p118, 0x1p-117,
                                   0x1p-118, 0x1p-120, 0x1p117, 0x1p-125};
    uint64_t inexact, flushed;
    decodes(scale, DT_F32, &inexact, &flushed);
    cr_assert(inexact == 0 && flushed == 0, "FP32 has subnormals for 2^-9 times 2^-127");
    decodes(scale, DT_BF16, &inexact, &flushed);
    cr_assert(inexact > 0, "BF16 has fewer bits there");
}

Test(decode, any_scale)
{
    static const float scale[8] = {1.1f, 0x1.fffffep-3f, 0.3f, 3e-3f, 1, 0x1.000002p0f, 2.2e-4f, 7};
    uint64_t inexact, flushed;
    for (size_t i = 0; i < 3; i++) {
        decodes(scale, plain[i], &inexact, &flushed);
        cr_assert_gt(inexact, 0);
    }
}

Test(decode, what_underflows_is_counted)
{
    static const float scale[8] = {0x1p-20f, 1e-6f, 0x1p-17f, 3e-8f, 0x1p-25f, 1e-5f, 1e-4f, 1};
    uint64_t inexact, flushed;
    decodes(scale, DT_F16, &inexact, &flushed);
    cr_assert(flushed > 0 && inexact >= flushed);
    static const float tiny[8] = {0x1p-145f, 1e-40f, 1e-38f, 0x1p-149f, 1, 1, 1, 1};
    decodes(tiny, DT_F32, &inexact, &flushed);
    cr_assert(flushed > 0 && inexact >= flushed);
}

Test(decode, what_overflows_is_refused)
{
    static const struct {
        enum dtype t;
        float scale;
        bool fits;
    } v[] = {{DT_F16, 146, true},      {DT_F16, 147, false},      {DT_F16, 1e30f, false},
             {DT_F32, 0x1p119f, true}, {DT_F32, 0x1p120f, false}, {DT_BF16, 0x1p120f, false},
             {DT_BF16, 0x1p119f, true}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        const float scale[8] = {1, 1, 1, 1, 1, v[i].scale, 1, 1};
        struct buf in = blocks(scale), out;
        const struct wanted w = to_plain(v[i].t);
        struct err e = {0};
        const int r = flow_run(&in, fp8, &w, 3, false, false, &out, &e);
        cr_assert_eq(r, v[i].fits ? 0 : -1, "%s x %g: %s", dtype_name(v[i].t), v[i].scale, e.msg);
        if (r) {
            cr_assert_eq(e.kind, ERR_INPUT);
            cr_assert(strstr(e.msg, "'q.weight'") && strstr(e.msg, dtype_name(v[i].t)), "%s", e.msg);
        } else {
            buf_free(&out);
        }
        buf_free(&in);
    }
}

/* Scales in every type and place that conventions know. */
Test(decode, every_kind_of_scale)
{
    static const char v4[] = "{\"quantization_config\":{\"quant_method\":\"fp8\",\"scale_fmt\":\"ue8m0\","
                             "\"weight_block_size\":[128,128]}}";
    static const char mx[] = "{\"quantization_config\":{\"quant_method\":\"mxfp8\"}}";
    static const char tensor[] = "{\"quantization_config\":{\"quant_method\":\"fp8\"}}";
    static const struct {
        const char *config, *name, *dtype, *shape;
        size_t n, br, bc;
    } v[] = {{v4, "q.scale", "F8_E8M0", "[2,3]", 6, 128, 128},
             {v4, "q.weight_scale_inv", "F32", "[2,3]", 6, 128, 128},
             {fp8, "q.weight_scale_inv", "BF16", "[2,3]", 6, 128, 128},
             {fp8, "q.weight_scale_inv", "F16", "[2,3]", 6, 128, 128},
             {mx, "q.weight_scale_inv", "U8", "[130,9]", 1170, 1, 32},
             {tensor, "q.weight_scale", "F32", "[]", 1, 130, 260}};
    static uint8_t q[130 * 260], bytes[1170 * 4];
    for (size_t i = 0; i < sizeof q; i++)
        q[i] = (uint8_t)(i % 127 + i / 127 % 2 * 128);
    for (size_t k = 0; k < sizeof v / sizeof *v; k++)
        for (int order = 0; order < 4; order++) { /* the scale first or last, of a file or a stream */
            const size_t width = v[k].dtype[0] == 'U' || v[k].dtype[1] == '8' ? 1
                                 : v[k].dtype[1] == '3'                       ? 4
                                                                              : 2;
            const int shift = v[k].dtype[0] == 'B'   ? 7
                              : v[k].dtype[1] == '1' ? 10
                              : v[k].dtype[1] == '3' ? 23
                                                     : 0;
            for (size_t i = 0; i < v[k].n; i++) {
                const uint32_t u = (uint32_t)(120 + i % 9 - (shift == 10 ? 112 : 0)) << shift;
                memcpy(bytes + i * width, &u, width);
            }
            struct mk_tensor t[2] = {{"q.weight", "F8_E4M3", "[130,260]", q, sizeof q},
                                     {v[k].name, v[k].dtype, v[k].shape, bytes, v[k].n * width}};
            if (order & 1) {
                const struct mk_tensor x = t[0];
                t[0] = t[1];
                t[1] = x;
            }
            struct buf in = mk_safetensors(t, 2, NULL), out;
            const struct wanted w = to_plain(DT_F32);
            struct err e = {0};
            size_t n;
            cr_assert_eq(flow_run(&in, order & 2 ? NULL : v[k].config, &w, 2, order & 2, false, &out, &e),
                         order & 2 ? -1 : 0, "%zu: %s", k, e.msg);
            buf_free(&in);
            if (order & 2) { /* a stream has its config inside */
                char meta[256], *to = meta + sprintf(meta, "{\"octavo.config\":\"");
                for (const char *c = v[k].config; *c; c++)
                    to += sprintf(to, *c == '"' ? "\\\"" : "%c", *c);
                sprintf(to, "\"}");
                in = mk_safetensors(t, 2, meta);
                cr_assert_eq(flow_run(&in, NULL, &w, 2, true, true, &out, &e), 0, "%zu: %s", k, e.msg);
                buf_free(&in);
            }
            const float *const f = flow_tensor(&out, "q.weight", &n);
            for (size_t i = 0; i < sizeof q; i++) {
                const size_t s = i / 260 / v[k].br * ((260 + v[k].bc - 1) / v[k].bc) + i % 260 / v[k].bc;
                cr_assert_eq(f[i], e4m3_value(q[i]) * ldexp(1, (int)(s % 9) - 7), "%zu: element %zu", k, i);
            }
            buf_free(&out);
        }
}

Test(decode, int8_rows)
{
    enum { ROWS = 9, COLS = 100 };
    static const char config[] =
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":"
        "\"int-quantized\",\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_"
        "bits\":8,"
        "\"type\":\"int\",\"strategy\":\"channel\",\"symmetric\":true,\"dynamic\":false}}}}}";
    int8_t q[ROWS * COLS];
    float scale[ROWS];
    for (size_t i = 0; i < sizeof q; i++)
        q[i] = (int8_t)(i * 5 - 128);
    for (size_t i = 0; i < ROWS; i++)
        scale[i] = 0.013f * (float)(i + 1);
    static const char *const shape[] = {"[9,1]", "[9]"};
    for (int k = 0; k < 2; k++) {
        const struct mk_tensor t[2] = {{"q.weight", "I8", "[9,100]", q, sizeof q},
                                       {"q.weight_scale", "F32", shape[k], scale, sizeof scale}};
        struct buf in = mk_safetensors(t, 2, NULL), out;
        const struct wanted w = to_plain(DT_BF16);
        struct err e = {0};
        size_t n;
        cr_assert_eq(flow_run(&in, config, &w, 2, false, false, &out, &e), 0, "%s", e.msg);
        const uint8_t *const p = flow_tensor(&out, "q.weight", &n);
        for (size_t i = 0; i < sizeof q; i++)
            cr_assert_eq(out_value(DT_BF16, p, i), rounded(DT_BF16, (float)q[i] * scale[i / COLS]));
        buf_free(&in);
        buf_free(&out);
    }
}

/* GGUF blocks become FP32 exactly, and lose bits in anything shorter. */
Test(decode, blocks_of_gguf)
{
    enum { ROWS = 3, COLS = 96 };
    struct buf g = {0}, out;
    double want[ROWS * COLS];
    mk_puts(&g, "GGUF");
    mk_le(&g, 3, 4), mk_le(&g, 1, 8), mk_le(&g, 0, 8);
    mk_le(&g, 1, 8), mk_puts(&g, "w"), mk_le(&g, 2, 4), mk_le(&g, COLS, 8), mk_le(&g, ROWS, 8),
        mk_le(&g, 8, 4), mk_le(&g, 0, 8);
    while (g.n % 32)
        mk_le(&g, 0, 1);
    for (size_t b = 0; b < ROWS * COLS / 32; b++) {
        const uint16_t d = (uint16_t)(0x2955 + b * 77);
        mk_le(&g, d, 2);
        for (size_t i = 0; i < 32; i++) {
            mk_le(&g, (uint8_t)(b * 31 + i * 9), 1);
            want[b * 32 + i] = (double)(int8_t)(b * 31 + i * 9) * half_value(d, 5);
        }
    }
    for (int i = 0; i < 3; i++)
        for (int stream = 0; stream < 2; stream++) {
            static const enum dtype to[] = {DT_COUNT, DT_F32,
                                            DT_BF16}; /* DT_COUNT: a copy, which safetensors has as FP32 */
            const enum dtype t = i == 2 ? DT_BF16 : DT_F32;
            const struct wanted w = to_plain(to[i]);
            struct outcome o = {0};
            struct err e = {0};
            size_t n;
            uint64_t inexact = 0;
            cr_assert_eq(flow_run(&g, NULL, &w, 2, stream, false, &out, &e), 0, "%s", e.msg);
            const uint8_t *const p = flow_tensor(&out, "w", &n);
            cr_assert_eq(n, ROWS * COLS * row_bytes(t, 1));
            for (size_t k = 0; k < ROWS * COLS; k++) {
                cr_assert_eq(out_value(t, p, k), rounded(t, (float)want[k]), "element %zu", k);
                inexact += out_value(t, p, k) != want[k];
            }
            cr_assert_eq(counted(&g, "{}", &w, &o, &e), 0, "%s", e.msg);
            cr_assert_eq(o.n.inexact, inexact);
            cr_assert_eq(inexact > 0, i == 2);
            buf_free(&out);
        }
    buf_free(&g);
}
