#include "quantizers/blocks.h"
#include "tests/flow.h"
#include "tests/mk_gguf.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>


/* Runs w with nowhere to put results; the outcome of the op that reads tensor `name`. */
static int outcome_of(const struct buf *image, const struct wanted *w, const char *name, struct outcome *o,
                      struct err *e)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "in");
    struct model m;
    struct plan p;
    mk_write(path, image->s, image->n);
    cr_assert_eq(model_open(&m, path, e), 0, "%s", e->msg);
    int r = plan_make(&p, &m, w, e);
    cr_assert_eq(r, 0, "%s", e->msg);
    r = run_plan(&p, NULL, NULL, &(struct run_options){.threads = 3}, NULL, e);
    for (size_t i = 0; i < p.nops; i++)
        if (!strcmp(m.t[p.op[i].in[0]].name, name))
            *o = p.op[i].done;
    plan_free(&p);
    model_close(&m);
    free(path);
    mk_rmdir(dir);
    return r;
}

static double e4m3_value(uint8_t q)
{
    const int e = q >> 3 & 15, m = q & 7;
    return (q >> 7 ? -1 : 1) * ((q & 0x7f) == 0x7f ? NAN : e ? ldexp(8 + m, e - 10) : ldexp(m, -9));
}

/* ---- what was lost --------------------------------------------------------------------- */

/* Values of very different size in a block: many are flushed, some fit exactly. */
Test(encode, losses_are_counted)
{
    enum { R = 140, C = 300 };
    static float x[R * C];
    uint64_t seed = oracle_seed();
    for (size_t i = 0; i < R * C; i++) {
        const uint64_t u = oracle_random(&seed);
        x[i] = (float)ldexp(i % 3 ? 1 + (double)(u >> 40 & 0xffff) / 65536 : 1 + (double)(u & 7) / 8,
                            -(int)(u >> 8 & 31));
        x[i] = i % 11 == 0 ? 0 : u >> 63 ? -x[i] : x[i];
    }
    const struct mk_tensor t = {"q.weight", "F32", "[140,300]", x, sizeof x};
    struct buf in = mk_safetensors(&t, 1, NULL), out;
    for (size_t k = 0; flow_plain[k]; k++) {
        const struct scheme *const s = scheme_find(flow_plain[k]);
        struct encoding to;
        struct wanted w;
        struct outcome o = {0};
        struct err e = {0};
        size_t n;
        uint64_t inexact = 0, flushed = 0;
        flow_wanted(&w, &to, s->name);
        cr_assert_eq(flow_run(&in, NULL, &w, 2, false, false, &out, &e), 0, "%s", e.msg);
        const uint8_t *const q = flow_tensor(&out, "q.weight", &n);
        const bool inv = s->block_rows == 128;
        const uint8_t *const sc = flow_tensor(&out, inv ? "q.weight_scale_inv" : "q.weight_scale", &n);
        const size_t br = s->block_rows ? s->block_rows : R, bc = s->block_cols ? s->block_cols : C,
                     nc = (C + bc - 1) / bc;
        for (size_t r = 0; r < R; r++)
            for (size_t c = 0; c < C; c++) {
                const size_t b = r / br * nc + c / bc;
                float f;
                memcpy(&f, sc + 4 * b, 4);
                const double scale = s->scale == DT_F8_E8M0 && !inv ? ldexp(1, sc[b] - 127) : (double)f;
                const uint8_t code = q[r * C + c];
                const double back = (s->elem == DT_I8 ? (double)(int8_t)code : e4m3_value(code)) * scale;
                inexact += back != (double)x[r * C + c];
                flushed += back == 0 && x[r * C + c] != 0;
            }
        cr_assert_eq(outcome_of(&in, &w, "q.weight", &o, &e), 0, "%s", e.msg);
        cr_assert(o.elems == R * C && o.n.inexact == inexact && o.n.flushed == flushed && o.n.saturated == 0,
                  "%s: %lu of %lu inexact, %lu of %lu flushed, %lu saturated", s->name, o.n.inexact, inexact,
                  o.n.flushed, flushed, o.n.saturated);
        cr_assert(inexact > 0 && flushed > 0 && inexact < R * C);
        cr_assert_eq(outcome_verdict(&o), VERDICT_ROUNDED);
        buf_free(&out);
    }
    buf_free(&in);
}

/* A rule whose scales are too small: the codes end at 448, and that is said. */
Test(encode, saturation_is_counted)
{
    float x[64];
    for (int i = 0; i < 64; i++)
        x[i] = i < 32 ? 500 : 464 + (float)(i == 40); /* 464 lies half way to what would be 480 */
    const struct mk_tensor t = {"q.weight", "F32", "[2,32]", x, sizeof x};
    struct buf in = mk_safetensors(&t, 1, NULL);
    struct encoding to;
    struct wanted w;
    struct outcome o = {0};
    struct err e = {0};
    flow_wanted(&w, &to, "mxfp8");
    to.rule = scale_rule_find("floor");
    cr_assert_eq(outcome_of(&in, &w, "q.weight", &o, &e), 0, "%s", e.msg);
    cr_assert(o.n.saturated == 33 && o.n.inexact == 64 && o.n.flushed == 0, "%lu %lu", o.n.saturated,
              o.n.inexact);
    cr_assert_eq(outcome_verdict(&o), VERDICT_SATURATED);
    buf_free(&in);
}

Test(encode, exact_values_stay_exact)
{
    uint16_t x[256];
    for (int i = 0; i < 256; i++) /* 1 + m/8 times 2^e */
        x[i] = (uint16_t)(0x3f80 + (i % 8 << 4) + (i / 8 % 8 << 7) + (i % 2 << 15));
    const struct mk_tensor t = {"q.weight", "BF16", "[8,32]", x, sizeof x};
    struct buf in = mk_safetensors(&t, 1, NULL);
    struct encoding to;
    struct wanted w;
    struct outcome o = {.n.inexact = 9};
    struct err e = {0};
    flow_wanted(&w, &to, SCHEME_DEFAULT);
    cr_assert_eq(outcome_of(&in, &w, "q.weight", &o, &e), 0, "%s", e.msg);
    cr_assert(o.elems == 256 && !o.n.inexact && !o.n.flushed && !o.n.saturated);
    cr_assert_eq(outcome_verdict(&o), VERDICT_EXACT);
    buf_free(&in);
}

/* Every rule by its name: the codes that are stored are the rule's, block by block. */
Test(encode, every_rule)
{
    enum { R = 3, C = 64 * 32 };
    static float x[R * C];
    uint64_t seed = 9;
    for (size_t i = 0; i < R * C; i++)
        x[i] = (float)ldexp(1 + (double)(oracle_random(&seed) & 255) / 256, (int)(i / 32 % 64) - 40);
    const struct mk_tensor t = {"q.weight", "F32", "[3,2048]", x, sizeof x};
    struct buf in = mk_safetensors(&t, 1, NULL), out;
    for (size_t k = 0; k < scale_rule_count; k++) {
        struct encoding to;
        struct wanted w;
        struct err e = {0};
        size_t n;
        if (scale_rules[k].elem != DT_COUNT && scale_rules[k].elem != DT_F8_E4M3)
            continue;
        flow_wanted(&w, &to, "mxfp8");
        to.rule = &scale_rules[k];
        cr_assert_eq(flow_run(&in, NULL, &w, 2, false, false, &out, &e), 0, "%s: %s", scale_rules[k].name,
                     e.msg);
        const uint8_t *const code = flow_tensor(&out, "q.weight_scale", &n);
        cr_assert_eq(n, R * C / 32);
        for (size_t b = 0; b < n; b++) {
            float amax = 0;
            for (size_t i = 0; i < 32; i++)
                amax = fmaxf(amax, x[b * 32 + i]);
            cr_assert_eq(code[b], scale_rules[k].code(amax, &num_e4m3), "%s", scale_rules[k].name);
        }
        buf_free(&out);
    }
    buf_free(&in);
}

/* ---- NaN and Inf --------------------------------------------------------------------------- */

static const struct {
    const char *dtype;
    uint16_t high, inf, nan;
    size_t width;
} kinds[] = {{"BF16", 0x3f80, 0x7f80, 0x7fc1, 2},
             {"F16", 0x3c00, 0x7c00, 0x7e01, 2},
             {"F32", 0x3f80, 0x7f80, 0x7fc1, 4}};

/* A matrix of ones of kind k where element `at` is something else. */
static struct buf ones(size_t k, const char *shape, size_t n, size_t at, uint16_t bits)
{
    const size_t width = kinds[k].width;
    uint8_t *const p = calloc(n, width);
    for (size_t i = 0; i < n; i++)
        memcpy(p + i * width + width - 2, i == at ? &bits : &kinds[k].high, 2);
    const struct mk_tensor t = {"x.experts.weight", kinds[k].dtype, shape, p, n * width};
    struct buf b = mk_safetensors(&t, 1, NULL);
    free(p);
    return b;
}

Test(encode, nonfinite_is_refused_with_its_place)
{
    static const struct {
        const char *shape, *place;
        size_t n, at;
    } v[] = {{"[130,257]", "[129,256]", 130 * 257, 130 * 257 - 1},
             {"[130,257]", "[0,0]", 130 * 257, 0},
             {"[3,2100]", "[1,2099]", 6300, 4199},
             {"[1,1]", "[0,0]", 1, 0}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++)
        for (size_t k = 0; k < 9; k++)
            for (size_t s = 0; flow_plain[s]; s++) {
                const char *const word[] = {"NaN", "Inf", "-Inf"};
                const uint16_t bits[] = {kinds[k / 3].nan, kinds[k / 3].inf, kinds[k / 3].inf | 0x8000};
                struct buf in = ones(k / 3, v[i].shape, v[i].n, v[i].at, bits[k % 3]), out;
                struct encoding to;
                struct wanted w;
                struct err e = {0};
                char want[64];
                flow_wanted(&w, &to, flow_plain[s]);
                snprintf(want, sizeof want, "%s is %s ", v[i].place, word[k % 3]);
                cr_assert_eq(flow_run(&in, NULL, &w, 2, false, false, &out, &e), -1);
                cr_assert_eq(e.kind, ERR_INPUT);
                cr_assert(strstr(e.msg, "'x.experts.weight'") && strstr(e.msg, want), "%s: %s", want, e.msg);
                buf_free(&in);
            }
}

/* Inf becomes the largest code of its sign and NaN stays NaN; neither moves a scale, and
 * everything else is what it would be without them. */
static void saturates(const char *scheme, size_t k, bool c)
{
    enum { R = 130, C = 260, NINF = 2, NNAN = 2 };
    static const size_t at[NINF + NNAN] = {5, 129 * C + 131, 40 * C + 7, 2 * C + 259};
    uint8_t *const p = calloc(R * C, kinds[k].width), *const clean = calloc(R * C, kinds[k].width);
    const size_t width = kinds[k].width;
    const bool inv = scheme_find(scheme)->block_rows == 128;
    const char *const scale = inv ? "q.weight_scale_inv" : "q.weight_scale";
    if (c)
        setenv("OCTAVO_CPU", "c", 1);
    for (size_t i = 0; i < R * C; i++) {
        const uint16_t v = (uint16_t)(kinds[k].high + i % 251); /* ascending from 1 */
        memcpy(p + i * width + width - 2, &v, 2);
        memcpy(clean + i * width + width - 2, &v, 2);
    }
    for (size_t i = 0; i < NINF + NNAN; i++) {
        const uint16_t v = (uint16_t)((i < NINF ? kinds[k].inf : kinds[k].nan) | (i & 1) << 15), zero = 0;
        memcpy(p + at[i] * width + width - 2, &v, 2);
        memcpy(clean + at[i] * width + width - 2, &zero, 2);
    }
    const struct mk_tensor t = {"q.weight", kinds[k].dtype, "[130,260]", p, R * C * width};
    const struct mk_tensor u = {"q.weight", kinds[k].dtype, "[130,260]", clean, R * C * width};
    struct buf a = mk_safetensors(&t, 1, NULL), b = mk_safetensors(&u, 1, NULL), x, y;
    struct encoding to;
    struct wanted w;
    struct outcome o = {0}, without = {0};
    struct err e = {0};
    size_t n;
    flow_wanted(&w, &to, scheme);
    to.saturate_nonfinite = true;
    cr_assert_eq(flow_run(&a, NULL, &w, 2, false, false, &x, &e), 0, "%s: %s", scheme, e.msg);
    cr_assert_eq(flow_run(&b, NULL, &w, 2, false, false, &y, &e), 0, "%s: %s", scheme, e.msg);
    const void *const sx = flow_tensor(&x, scale, &n), *const sy = flow_tensor(&y, scale, &n);
    cr_assert_eq(memcmp(sx, sy, n), 0, "%s: scales", scheme);
    const uint8_t *const qx = flow_tensor(&x, "q.weight", &n), *const qy = flow_tensor(&y, "q.weight", &n);
    for (size_t i = 0; i < R * C; i++) {
        uint8_t want = qy[i];
        for (size_t j = 0; j < NINF + NNAN; j++)
            if (i == at[j])
                want = (uint8_t)((j < NINF ? 0x7e : 0x7f) | (j & 1) << 7);
        cr_assert_eq(qx[i], want, "%s %s: element %zu is %02x, not %02x", scheme, kinds[k].dtype, i, qx[i],
                     want);
    }
    cr_assert(!outcome_of(&a, &w, "q.weight", &o, &e) && !outcome_of(&b, &w, "q.weight", &without, &e), "%s",
              e.msg);
    cr_assert_eq(o.n.saturated, without.n.saturated + NINF, "%s %s: %lu, %lu", scheme, kinds[k].dtype,
                 o.n.saturated, without.n.saturated);
    cr_assert_eq(o.n.inexact, without.n.inexact + NINF + NNAN, "%s: %lu, %lu", scheme, o.n.inexact,
                 without.n.inexact);
    cr_assert_eq(o.n.flushed, without.n.flushed);
    buf_free(&a);
    buf_free(&b);
    buf_free(&x);
    buf_free(&y);
    free(p);
    free(clean);
}

ParameterizedTestParameters(encode, saturate_policy)
{
    static int param[10];
    for (int i = 0; i < 10; i++)
        param[i] = i;
    return cr_make_param_array(int, param, 10);
}
ParameterizedTest(int *i, encode, saturate_policy)
{
    static const char *const scheme[] = {"fp8-ue8m0-128x128", "fp8-f32-128x128", "mxfp8", "fp8-channel",
                                         "fp8-tensor"};
    for (size_t k = 0; k < 3; k++)
        saturates(scheme[*i % 5], k, *i / 5);
}

/* A block with nothing but NaN has the scale of zeros; INT8 has no code for NaN. */
Test(encode, saturate_policy_at_its_edges)
{
    struct buf in = ones(0, "[1,1]", 1, 0, 0x7fc0), out;
    struct encoding to;
    struct wanted w;
    struct err e = {0};
    size_t n;
    flow_wanted(&w, &to, "mxfp8");
    to.saturate_nonfinite = true;
    cr_assert_eq(flow_run(&in, NULL, &w, 1, false, false, &out, &e), 0, "%s", e.msg);
    cr_assert_eq(*(const uint8_t *)flow_tensor(&out, "x.experts.weight_scale", &n), 127);
    cr_assert_eq(*(const uint8_t *)flow_tensor(&out, "x.experts.weight", &n), 0x7f);
    buf_free(&out);
    flow_wanted(&w, &to, "int8-channel");
    to.saturate_nonfinite = true;
    cr_assert_eq(flow_run(&in, NULL, &w, 1, false, false, &out, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "NaN"), "%s", e.msg);
    buf_free(&in);

    in = ones(0, "[2,64]", 128, 70, 0xff80);
    cr_assert_eq(flow_run(&in, NULL, &w, 1, false, false, &out, &e), 0, "%s", e.msg);
    const int8_t *const q = flow_tensor(&out, "x.experts.weight", &n);
    for (int i = 0; i < 128; i++)
        cr_assert_eq(q[i], i == 70 ? -127 : 127);
    buf_free(&out);
    buf_free(&in);
}

/* Values that saturate are counted in a block with Inf as they are in any other. */
Test(encode, saturated_beside_a_nonfinite)
{
    float x[32];
    for (int i = 0; i < 32; i++)
        x[i] = 500;
    x[31] = INFINITY;
    const struct mk_tensor t = {"q.weight", "F32", "[1,32]", x, sizeof x};
    struct buf in = mk_safetensors(&t, 1, NULL);
    struct encoding to;
    struct wanted w;
    struct outcome o = {0};
    struct err e = {0};
    flow_wanted(&w, &to, "mxfp8");
    to.rule = scale_rule_find("floor");
    to.saturate_nonfinite = true;
    cr_assert_eq(outcome_of(&in, &w, "q.weight", &o, &e), 0, "%s", e.msg);
    cr_assert_eq(o.n.saturated, 32);
    buf_free(&in);
}

/* ---- where scales go ---------------------------------------------------------------------------- */

Test(encode, conventions_store_the_same_scales)
{
    static const struct {
        const char *scheme, *convention, *suffix;
        bool code;
    } v[] = {{"fp8-ue8m0-128x128", "deepseek", ".weight_scale_inv", false},
             {"fp8-ue8m0-128x128", "deepseek-v4", ".scale", true},
             {"mxfp8", "compressed-tensors", ".weight_scale", true},
             {"mxfp8", "ascend-v1", ".weight_scale", true},
             {"int8-channel", "ascend-v1", ".weight_scale", false}};
    enum { R = 130, C = 160 };
    static float x[R * C];
    for (size_t i = 0; i < R * C; i++)
        x[i] = (float)(1 + i % 1000);
    const struct mk_tensor t = {"q.weight", "F32", "[130,160]", x, sizeof x};
    struct buf in = mk_safetensors(&t, 1, NULL), out;
    for (size_t k = 0; k < sizeof v / sizeof *v; k++) {
        struct encoding to;
        struct wanted w;
        struct err e = {0};
        size_t n;
        char name[64];
        flow_wanted(&w, &to, v[k].scheme);
        w.convention = convention_find(v[k].convention);
        snprintf(name, sizeof name, "q%s", v[k].suffix);
        const struct scheme *const s = to.scheme;
        const size_t bc = s->block_cols ? s->block_cols : C, nc = (C + bc - 1) / bc,
                     nr = (R + s->block_rows - 1) / s->block_rows;
        cr_assert_eq(flow_run(&in, NULL, &w, 2, false, false, &out, &e), 0, "%s", e.msg);
        const uint8_t *const p = flow_tensor(&out, name, &n);
        cr_assert_eq(n, nr * nc * (v[k].code ? 1 : 4));
        for (size_t b = 0; b < nr * nc; b++) {
            double amax = 0, scale = 0x1p-126;
            float f;
            for (size_t r = b / nc * s->block_rows; r < R && r < (b / nc + 1) * s->block_rows; r++)
                for (size_t c = b % nc * bc; c < C && c < (b % nc + 1) * bc; c++)
                    amax = fmax(amax, x[r * C + c]);
            while (amax > scale * 448)
                scale *= 2;
            memcpy(&f, p + 4 * b, v[k].code ? 0 : 4);
            if (s->elem == DT_I8)
                cr_assert_eq(f, (float)amax / 127);
            else
                cr_assert_eq(v[k].code ? ldexp(1, p[b] - 127) : (double)f, scale, "%s %zu", v[k].convention,
                             b);
        }
        if (s->elem == DT_I8) { /* offsets that servers want to see */
            const float *const z = flow_tensor(&out, "q.weight_offset", &n);
            cr_assert_eq(n, R * 4);
            for (size_t i = 0; i < R; i++)
                cr_assert_eq(z[i], 0);
        }
        buf_free(&out);
    }
    buf_free(&in);
}

/* ---- the published end-to-end matrix ----------------------------------------------------------- */

/* Through the whole of it: model, plan, workers, files. */
Test(encode, published_matrix)
{
    static const struct {
        const char *scheme, *convention, *rule, *scales;
        uint32_t codes_crc, scales_crc;
        size_t scales_size;
        bool saturates;
    } v[] = {
        {"fp8-ue8m0-128x128", "deepseek-v4", "ds", "q.scale", 0xAC1314B8, 0xD954F804, 6, false},
        {"fp8-f32-128x128", "deepseek", "ds-float", "q.weight_scale_inv", 0x3187C7C2, 0x04E02AF5, 24, false},
        {"mxfp8", "compressed-tensors", "rceil", "q.weight_scale", 0x116DFE55, 0x332FBE75, 1920, false},
        {"mxfp8", "ascend-v1", "floor", "q.weight_scale", 0xB3596712, 0x6E39A557, 1920, true},
        /* by compressed-tensors 0.20, presets MXFP8, FP8_DYNAMIC and W8A8 */
        {"mxfp8", "compressed-tensors", "ct", "q.weight_scale", 0x116DFE55, 0x332FBE75, 1920, false},
        {"fp8-bf16-channel", "compressed-tensors", "ct-bf16", "q.weight_scale", 0x1D11C44F, 0x4CC583EB, 384, false},
        {"int8-bf16-channel", "compressed-tensors", "ct-bf16", "q.weight_scale", 0x4FCC25BC, 0xDBF761AC, 384, true},
    };
    static uint16_t x[MATRIX_ROWS * MATRIX_COLS];
    oracle_matrix(x);
    const struct mk_tensor t = {"q.weight", "BF16", "[192,320]", x, sizeof x};
    struct buf in = mk_safetensors(&t, 1, NULL), out;
    for (size_t k = 0; k < sizeof v / sizeof *v; k++) {
        struct encoding to;
        struct wanted w;
        struct outcome o = {0};
        struct err e = {0};
        size_t n, m;
        flow_wanted(&w, &to, v[k].scheme);
        w.convention = convention_find(v[k].convention);
        cr_assert_eq(encoding_make(&to, to.scheme, v[k].rule, &e), 0, "%s", e.msg);
        cr_assert_eq(flow_run(&in, NULL, &w, 2, k & 1, false, &out, &e), 0, "%s", e.msg);
        const void *const codes = flow_tensor(&out, "q.weight", &n);
        const void *const scales = flow_tensor(&out, v[k].scales, &m);
        cr_assert(n == sizeof x / 2 && m == v[k].scales_size, "%s: %zu %zu", v[k].rule, n, m);
        cr_expect_eq(crc32(0, codes, (unsigned)n), v[k].codes_crc, "%s", v[k].rule);
        cr_expect_eq(crc32(0, scales, (unsigned)m), v[k].scales_crc, "%s", v[k].rule);
        cr_assert_eq(outcome_of(&in, &w, "q.weight", &o, &e), 0, "%s", e.msg);
        cr_expect_eq(o.n.saturated > 0, v[k].saturates, "%s", v[k].rule);
        buf_free(&out);
    }
    buf_free(&in);
}

/* ---- GGUF blocks ------------------------------------------------------------------------------- */

/* Blocks encode to what the same values in F32 encode to, in whichever panels. */
static void blocks_encode(uint32_t id, enum dtype t, uint64_t cols, size_t d_at)
{
    enum { R = 131 };
    const struct dtype_info *const d = &dtype_table[t];
    const size_t n = R * cols / d->block_elems;
    struct buf g = gg_head(3, 1, 0);
    uint64_t seed = 4;
    float *const x = malloc(R * cols * sizeof *x);
    gg_tensor(&g, "q.weight", 2, (uint64_t[]){cols, R}, id, 0);
    gg_pad(&g, 32);
    for (size_t b = 0; b < n; b++) {
        const uint64_t half = (15 - oracle_random(&seed) % 12) << 10; /* 2^-11 to 1 */
        for (size_t i = 0; i < d->block_bytes; i++)
            if (i == d_at)
                mk_le(&g, half, 2), i++;
            else
                mk_le(&g, oracle_random(&seed), 1);
        block_find(t)->decode((const uint8_t *)g.s + g.n - d->block_bytes, x + b * d->block_elems, d->block_elems);
    }
    char shape[40];
    sprintf(shape, "[%d,%d]", R, (int)cols);
    const struct mk_tensor m = {"q.weight", "F32", shape, x, R * cols * sizeof *x};
    struct buf in = mk_safetensors(&m, 1, NULL), a, b;
    for (size_t s = 0; flow_plain[s]; s++) {
        struct encoding to;
        struct wanted w;
        struct err e = {0};
        flow_wanted(&w, &to, flow_plain[s]);
        for (int stream = 0; stream < 2; stream++) {
            cr_assert_eq(flow_run(&g, NULL, &w, 3, stream, false, &a, &e), 0, "%s: %s", flow_plain[s],
                         e.msg);
            cr_assert_eq(flow_run(&in, NULL, &w, 3, stream, false, &b, &e), 0, "%s", e.msg);
            cr_assert(a.n == b.n && !memcmp(a.s, b.s, a.n), "%s, %s", d->name, flow_plain[s]);
            buf_free(&a);
            buf_free(&b);
        }
    }
    buf_free(&in);
    buf_free(&g);
    free(x);
}

Test(encode, blocks_of_gguf)
{
    blocks_encode(8, DT_Q8_0, 2080, 0);
    blocks_encode(14, DT_Q6_K, 2304, 208);
    blocks_encode(41, DT_Q1_0, 2176, 0);
}
