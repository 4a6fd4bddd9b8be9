/* Whole runs: plan, sink and threads together, against a plain re-implementation of what
 * every scheme means. */
#include "tests/flow.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


/* ---- models ------------------------------------------------------------------------------ */

struct shape {
    const char *name, *dtype;
    uint64_t batch, rows, cols; /* batch 0: a matrix */
    int spread;                 /* 0: any finite bits; else values around 1, that many binades down */
};
static const struct shape small[] = {
    {"l.0.q.weight", "BF16", 0, 129, 257, 6}, {"l.0.k.weight", "F32", 0, 1, 513, 0},
    {"l.0.v.weight", "F16", 0, 300, 1, 0},    {"l.1.q.weight", "F32", 0, 128, 128, 20},
    {"l.1.k.weight", "BF16", 0, 1, 1, 0},     {"l.1.v.weight", "F16", 0, 5, 4100, 9},
    {"l.2.q.weight", "BF16", 0, 257, 130, 0}, {"l.2.v.weight", "F32", 0, 130, 33, 200},
};
static const struct shape stacks[] = {
    {"e.experts.up", "BF16", 3, 130, 70, 8},
    {"e.experts.down", "F32", 2, 1, 129, 0},
    {"l.0.q.weight", "F16", 0, 64, 32, 0},
    {"e.experts.gate", "F16", 5, 2, 32, 4},
};
static const struct shape wide_blocks[] = {{"l.0.q.weight", "F32", 0, 130, 12001, 12}};
static const struct shape wide_rows[] = {{"l.0.q.weight", "BF16", 0, 2, 3000001, 7}};

static size_t width_of(const char *dtype) { return strcmp(dtype, "F32") ? 2 : 4; }

static double value_of(const char *dtype, const void *p, uint64_t i)
{
    uint16_t h;
    uint32_t u;
    float f;
    if (!strcmp(dtype, "F32"))
        return memcpy(&f, (const char *)p + 4 * i, 4), f;
    memcpy(&h, (const char *)p + 2 * i, 2);
    if (!strcmp(dtype, "BF16"))
        return u = (uint32_t)h << 16, memcpy(&f, &u, 4), f;
    const int e = h >> 10 & 31, m = h & 1023;
    return (h >> 15 ? -1 : 1) * (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
}

/* One element: random bits that are finite; every 64th block of 50 is zero. */
static void put_value(struct buf *b, const struct shape *s, uint64_t i, uint64_t *seed)
{
    uint64_t x = oracle_random(seed);
    const int w = s->dtype[0] == 'B' ? 7 : s->dtype[1] == '1' ? 10 : 23, top = w == 10 ? 31 : 255;
    uint64_t e =
        s->spread ? (uint64_t)(top / 2) - x % (uint64_t)s->spread % (uint64_t)(top / 2) : x % (uint64_t)top;
    uint64_t bits = (e << w | (x >> 16 & ((1u << w) - 1))) | (x >> 63) << (8 * width_of(s->dtype) - 1);
    mk_le(b, i / 50 % 64 == 7 ? 0 : bits, (unsigned)width_of(s->dtype));
}

static struct buf model_of(const struct shape *s, size_t n, uint64_t seed)
{
    struct mk_tensor t[16];
    struct buf data[16] = {{0}};
    char text[16][80];
    cr_assert_leq(n + 2, (size_t)16);
    for (size_t k = 0; k < n; k++) {
        const uint64_t elems = (s[k].batch ? s[k].batch : 1) * s[k].rows * s[k].cols;
        if (s[k].batch)
            snprintf(text[k], sizeof *text, "[%lu,%lu,%lu]", s[k].batch, s[k].rows, s[k].cols);
        else
            snprintf(text[k], sizeof *text, "[%lu,%lu]", s[k].rows, s[k].cols);
        for (uint64_t i = 0; i < elems; i++)
            put_value(&data[k], &s[k], i, &seed);
        t[k] = (struct mk_tensor){s[k].name, s[k].dtype, text[k], data[k].s, data[k].n};
    }
    t[n] = (struct mk_tensor){"l.0.norm.weight", "BF16", "[77]", NULL, 154}; /* kept */
    t[n + 1] = (struct mk_tensor){"ids", "I64", "[2,0]", NULL, 0};
    struct buf b = mk_safetensors(t, n + 2, NULL);
    for (size_t k = 0; k < n; k++)
        buf_free(&data[k]);
    return b;
}

/* ---- what schemes mean ---------------------------------------------------------------------- */

/* The code of the smallest power of two 2^-126..2^127 with amax / 2^e <= 448; 127 for zeros. */
static int code_of(double amax)
{
    int code = 1;
    while (amax > 0 && code < 254 && amax > ldexp(448, code - 127))
        code++;
    return amax > 0 ? code : 127;
}

static float f32_scale(double amax, int top)
{
    const float s = (float)amax / (float)top;
    return amax == 0 ? 1 : s < 0x1p-126f ? 0x1p-126f : s;
}

static uint8_t e4m3_of(const struct oracle *o, double y, bool negative)
{
    const int code = oracle_nearest(o, fabs(y));
    return (uint8_t)((code > o->max_code ? o->max_code : code) | negative << 7);
}

static uint8_t int8_of(double y)
{
    double f = floor(y), d = y - f;
    if (d > 0.5 || (d == 0.5 && fmod(f, 2) != 0))
        f++;
    return (uint8_t)(int8_t)(f > 127 ? 127 : f < -127 ? -127 : f);
}

/* Codes and scales of one tensor of the image, as the output must have them. */
static void check_tensor(const struct buf *in, const struct buf *out, const struct shape *s,
                         const struct scheme *c, const char *suffix)
{
    static struct oracle o;
    char name[128];
    size_t n, nq, ns;
    const void *const x = flow_tensor(in, s->name, &n);
    const uint8_t *const q = flow_tensor(out, s->name, &nq);
    snprintf(name, sizeof name, "%s%s", s->name, suffix);
    const uint8_t *const sc = flow_tensor(out, name, &ns);
    const uint64_t batch = s->batch ? s->batch : 1, br = c->block_rows ? c->block_rows : s->rows;
    const uint64_t bc = c->block_cols ? c->block_cols : s->cols;
    const uint64_t nr = (s->rows + br - 1) / br, nc = (s->cols + bc - 1) / bc;
    const bool code = c->scale == DT_F8_E8M0, byte = code && !strcmp(suffix, "_scale");
    oracle_init(&o, oracle_e4m3[0], oracle_e4m3[1], oracle_e4m3[2]);
    cr_assert_eq(nq, batch * s->rows * s->cols);
    cr_assert_eq(ns, batch * nr * nc * (byte ? 1 : 4));
    for (uint64_t b = 0; b < batch; b++)
        for (uint64_t k = 0; k < nr * nc; k++) {
            const uint64_t r0 = k / nc * br, c0 = k % nc * bc, r1 = min_u64(r0 + br, s->rows),
                           c1 = min_u64(c0 + bc, s->cols);
            double amax = 0;
            float got;
            for (uint64_t r = r0; r < r1; r++)
                for (uint64_t i = c0; i < c1; i++)
                    amax = fmax(amax, fabs(value_of(s->dtype, x, (b * s->rows + r) * s->cols + i)));
            const float scale =
                code ? (float)ldexp(1, code_of(amax) - 127) : f32_scale(amax, c->elem == DT_I8 ? 127 : 448);
            memcpy(&got, sc + (b * nr * nc + k) * (byte ? 1 : 4), byte ? 1 : 4);
            if (byte)
                cr_assert_eq(sc[b * nr * nc + k], code_of(amax), "%s: scale %lu", s->name, k);
            else
                cr_assert_eq(got, scale, "%s: scale %lu is %g, not %g (amax %g)", s->name, k, got, scale,
                             amax);
            for (uint64_t r = r0; r < r1; r++)
                for (uint64_t i = c0; i < c1; i++) {
                    const uint64_t at = (b * s->rows + r) * s->cols + i;
                    const double v = value_of(s->dtype, x, at);
                    const float y = (float)v / scale; /* for powers of two the exact quotient serves */
                    const uint8_t want =
                        c->elem == DT_I8 ? int8_of(y) : e4m3_of(&o, code ? v / scale : y, signbit(v));
                    if (q[at] != want)
                        cr_assert_fail("%s [%lu,%lu,%lu]: %g / %g is code %02x, not %02x", s->name, b, r, i,
                                       v, scale, q[at], want);
                }
        }
}

static const char *suffix_of(const struct scheme *s)
{
    return convention_default(s) == convention_find("deepseek") ? "_scale_inv" : "_scale";
}

static void every_way(const struct shape *s, size_t n, const char *scheme, unsigned mask)
{
    struct buf in = model_of(s, n, oracle_seed()), first[2] = {{0}};
    struct encoding to;
    struct wanted w;
    static const unsigned threads[] = {1, 2, 7};
    flow_wanted(&w, &to, scheme);
    for (unsigned i = 0; i < 12; i++) {
        const bool stream = i & 1, pipe_ = i >> 1 & 1;
        struct buf out;
        struct err e = {0};
        size_t k;
        if (!(mask >> i & 1))
            continue;
        cr_assert_eq(flow_run(&in, NULL, &w, threads[i / 4], stream, pipe_, &out, &e), 0, "%s: %s", scheme,
                     e.msg);
        if (first[pipe_].n) {
            cr_assert_eq(first[pipe_].n, out.n);
            cr_assert_eq(memcmp(first[pipe_].s, out.s, out.n), 0, "%s: %u threads, stream %d, pipe %d",
                         scheme, threads[i / 4], stream, pipe_);
            buf_free(&out);
            continue;
        }
        for (k = 0; k < n; k++)
            check_tensor(&in, &out, &s[k], to.scheme, suffix_of(to.scheme));
        cr_assert_eq(
            memcmp(flow_tensor(&out, "l.0.norm.weight", &k), flow_tensor(&in, "l.0.norm.weight", &k), 154),
            0);
        cr_assert_eq((flow_tensor(&out, "ids", &k), k), 0);
        first[pipe_] = out;
    }
    buf_free(&first[0]);
    buf_free(&first[1]);
    buf_free(&in);
}

#define ALL(s) s, sizeof s / sizeof *s
enum { EVERY = 0xfff, FEW = 0xc41 }; /* of the twelve ways */

Test(run, ue8m0_128x128) { every_way(ALL(small), "fp8-ue8m0-128x128", EVERY); }
Test(run, f32_128x128) { every_way(ALL(small), "fp8-f32-128x128", EVERY); }
Test(run, mxfp8) { every_way(ALL(small), "mxfp8", EVERY); }
Test(run, fp8_channel) { every_way(ALL(small), "fp8-channel", EVERY); }
Test(run, fp8_tensor) { every_way(ALL(small), "fp8-tensor", EVERY); }
Test(run, int8_channel) { every_way(ALL(small), "int8-channel", EVERY); }

Test(run, stacks_of_matrices)
{
    static const char *const scheme[] = {"fp8-ue8m0-128x128", "fp8-f32-128x128", "mxfp8", "fp8-channel",
                                         "int8-channel"};
    for (size_t i = 0; i < sizeof scheme / sizeof *scheme; i++)
        every_way(ALL(stacks), scheme[i], EVERY);
}

/* Stripes of more than 4.5 MiB are cut into panels, except on a stream. */
Test(run, panels_of_wide_blocks) { every_way(ALL(wide_blocks), "fp8-ue8m0-128x128", FEW); }
Test(run, panels_of_wide_rows) { every_way(ALL(wide_rows), "mxfp8", FEW); }
Test(run, wide_rows_of_one_scale) { every_way(ALL(wide_rows), "fp8-tensor", FEW); }

/* Weights without elements: their whole-extent scales have some. */
Test(run, weights_without_elements)
{
    static const struct shape none[] = {{"l.0.q.weight", "BF16", 0, 0, 64, 0},
                                        {"l.1.q.weight", "F32", 0, 4, 0, 0},
                                        {"l.2.q.weight", "F32", 0, 4, 64, 0}};
    struct buf in = model_of(ALL(none), 1);
    for (size_t i = 0; flow_plain[i]; i++)
        for (int pipe_ = 0; pipe_ < 2; pipe_++) {
            struct encoding to;
            struct wanted w;
            struct buf out;
            struct err e = {0};
            flow_wanted(&w, &to, flow_plain[i]);
            cr_assert_eq(flow_run(&in, NULL, &w, 2, pipe_, pipe_, &out, &e), 0, "%s: %s",
                         flow_plain[i], e.msg);
            check_tensor(&in, &out, &none[2], to.scheme, suffix_of(to.scheme));
            buf_free(&out);
        }
    buf_free(&in);
}

Test(run, a_model_without_tensors)
{
    struct buf in = mk_safetensors(NULL, 0, NULL), out;
    for (int i = 0; i < 4; i++) {
        struct encoding to;
        struct wanted w;
        struct err e = {0};
        flow_wanted(&w, &to, SCHEME_DEFAULT);
        cr_assert_eq(flow_run(&in, NULL, &w, 2, i & 1, i >> 1, &out, &e), 0, "%s", e.msg);
        cr_assert_eq(out.n, 16);
        buf_free(&out);
    }
    buf_free(&in);
}

/* ---- failures ----------------------------------------------------------------------------------- */

/* Two tensors have a NaN: whatever the threads do, the first is named, and no file stays. */
Test(run, the_first_failure_is_named)
{
    enum { T = 6, ROWS = 1024, COLS = 512 };
    struct mk_tensor t[T];
    static uint16_t w[T][ROWS * COLS];
    char name[T][16];
    for (size_t k = 0; k < T; k++) {
        for (size_t i = 0; i < ROWS * COLS; i++)
            w[k][i] = 0x3f80;
        snprintf(name[k], sizeof *name, "l.%zu.q.weight", k);
        t[k] = (struct mk_tensor){name[k], "BF16", "[1024,512]", w[k], sizeof w[k]};
    }
    w[2][700 * COLS + 300] = 0x7fc0;
    w[2][700 * COLS + 301] = 0x7fc0;
    w[2][1000 * COLS] = 0x7f80;
    w[4][0] = 0xff80;
    struct buf in = mk_safetensors(t, T, NULL), out;
    static const char *const scheme[] = {"fp8-ue8m0-128x128", "fp8-tensor", "mxfp8"};
    for (int i = 0; i < 48; i++) {
        struct encoding to;
        struct wanted want;
        struct err e = {0};
        flow_wanted(&want, &to, scheme[i % 3]);
        cr_assert_eq(flow_run(&in, NULL, &want, i / 3 % 4 * 2 + 1, i & 1, i / 12 & 1, &out, &e), -1);
        cr_assert_eq(e.kind, ERR_INPUT);
        cr_assert(strstr(e.msg, "'l.2.q.weight'") && strstr(e.msg, "[700,300] is NaN"), "%s", e.msg);
    }
    buf_free(&in);
}

Test(run, a_stream_that_ends_early)
{
    struct buf in = model_of(ALL(small), 5);
    for (int i = 0; i < 16; i++) {
        struct encoding to;
        struct wanted w;
        struct err e = {0};
        struct buf out, cut = {.s = in.s, .n = in.n - (i < 4 ? 1 : 4000 * (size_t)i)};
        flow_wanted(&w, &to, i & 2 ? "fp8-tensor" : SCHEME_DEFAULT);
        cr_assert_eq(flow_run(&cut, NULL, &w, 3, true, i & 1, &out, &e), -1);
        cr_assert_eq(e.kind, ERR_INPUT);
        cr_assert(strstr(e.msg, "ends early"), "%s", e.msg);
    }
    buf_free(&in);
}

static void note_progress(void *ctx, const struct progress *p)
{
    struct progress *const last = ctx;
    cr_assert_leq(last->done, p->done, "it only grows");
    *last = *p;
}

Test(run, progress_ends_at_the_total)
{
    struct buf in = model_of(ALL(wide_rows), 5);
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "in");
    struct progress last = {0};
    const struct run_options opt = {.threads = 2, .progress = note_progress, .progress_ctx = &last};
    struct encoding to;
    struct wanted w;
    struct model m;
    struct plan p;
    struct err e = {0};
    mk_write(path, in.s, in.n);
    flow_wanted(&w, &to, "fp8-tensor"); /* two passes count once */
    cr_assert(!model_open(&m, path, &e) && !plan_make(&p, &m, &w, &e)
                  && !run_plan(&p, NULL, NULL, &opt, NULL, &e),
              "%s", e.msg);
    cr_assert_eq(last.total, p.bytes_in);
    cr_assert_eq(last.done, p.bytes_in);
    plan_free(&p);
    model_close(&m);
    buf_free(&in);
    free(path);
    mk_rmdir(dir);
}
