#include "calibrate/error.h"
#include "quantizers/num.h"
#include "tests/mk_gguf.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- two models side by side ---------------------------------------------------------------- */

struct pair {
    char *dir[2], *path[2], *config[2];
    struct model a, b;
};

static void start(struct pair *p, const struct buf *a, const char *config_a, const struct buf *b,
                  const char *config_b, bool stream)
{
    const struct buf *const image[2] = {a, b};
    const char *const config[2] = {config_a, config_b};
    struct err e = {0};
    for (int i = 0; i < 2; i++) {
        struct buf gz = i && stream ? mk_gzip(b->s, b->n) : (struct buf){0};
        p->dir[i] = mk_tmpdir();
        p->path[i] = mk_path(p->dir[i], "model.safetensors");
        p->config[i] = mk_path(p->dir[i], "config.json");
        mk_write(p->path[i], gz.n ? gz.s : image[i]->s, gz.n ? gz.n : image[i]->n);
        if (config[i])
            mk_write(p->config[i], config[i], strlen(config[i]));
        buf_free(&gz);
        cr_assert_eq(model_open(i ? &p->b : &p->a, p->path[i], &e), 0, "%s", e.msg);
    }
}

static void end(struct pair *p)
{
    model_close(&p->a);
    model_close(&p->b);
    for (int i = 0; i < 2; i++) {
        free(p->path[i]);
        free(p->config[i]);
        mk_rmdir(p->dir[i]);
    }
}

static int measure(struct error_report *r, struct pair *p, const struct rules *rules, unsigned threads,
                   struct err *e)
{
    const struct run_options opt = {.threads = threads};
    *e = (struct err){0};
    return error_measure(r, &p->a, &p->b, rules, false, &opt, e);
}

/* ---- sums, directly ----------------------------------------------------------------------------- */

struct direct {
    long double se, sx, sy, sxy, worst;
    double max;
    uint64_t equal, row, col, batch;
};

static struct direct directly(const float *x, const float *y, uint64_t batch, uint64_t rows, uint64_t cols)
{
    struct direct d = {.worst = -1};
    for (uint64_t b = 0; b < batch; b++)
        for (uint64_t r0 = 0; r0 < rows; r0 += 128)
            for (uint64_t c0 = 0; c0 < cols; c0 += 128) {
                long double se = 0, sx = 0;
                for (uint64_t r = r0; r < rows && r < r0 + 128; r++)
                    for (uint64_t c = c0; c < cols && c < c0 + 128; c++) {
                        const uint64_t i = (b * rows + r) * cols + c;
                        const long double v = x[i], w = y[i];
                        se += (w - v) * (w - v);
                        sx += v * v;
                        d.sy += w * w;
                        d.sxy += v * w;
                        d.max = fmax(d.max, fabs((double)y[i] - x[i]));
                        d.equal += x[i] == y[i];
                    }
                d.se += se;
                d.sx += sx;
                const long double rel = se == 0 ? 0 : sqrtl(se / sx);
                if (rel > d.worst) {
                    d.worst = rel;
                    d.batch = b;
                    d.row = r0;
                    d.col = c0;
                }
            }
    return d;
}

static void near(double got, long double want, const char *what)
{
    cr_assert(fabsl(got - want) <= 1e-12L * fabsl(want), "%s: %.17g, not %.17Lg", what, got, want);
}

static void same_as(const struct tensor_error *t, const struct direct *d, uint64_t n)
{
    cr_assert_eq(t->sums.n, n);
    cr_assert_eq(t->sums.m.equal, d->equal);
    near(t->sums.k.se, d->se, "se");
    near(t->sums.k.sx, d->sx, "sx");
    near(t->sums.k.sy, d->sy, "sy");
    near(error_gain(&t->sums), d->sxy / d->sy, "gain");
    cr_assert_float_eq(t->sums.m.max, d->max, 1e-6 * d->max);
    near(error_mse(&t->sums), n ? d->se / n : 0, "mse");
    near(error_rel(&t->sums), sqrtl(d->se / d->sx), "rel");
    near(error_sqnr(&t->sums), 10 * log10l(d->sx / d->se), "sqnr");
    near(error_cosine(&t->sums), d->sxy / sqrtl(d->sx * d->sy), "cosine");
    near(t->worst.rel, d->worst, "worst");
    cr_assert(t->worst.batch == d->batch && t->worst.row == d->row && t->worst.col == d->col,
              "worst block at %lu [%lu,%lu], not %lu [%lu,%lu]", t->worst.batch, t->worst.row, t->worst.col,
              d->batch, d->row, d->col);
}

/* ---- plain tensors ------------------------------------------------------------------------------- */

static const struct {
    const char *name, *shape;
    uint64_t batch, rows, cols;
} shapes[] = {{"a", "[129,257]", 1, 129, 257}, {"b", "[3,130,70]", 3, 130, 70},
              {"c", "[1000]", 1, 1, 1000},     {"d", "[700,1]", 1, 700, 1},
              {"e", "[1]", 1, 1, 1},           {"f", "[2,1200000]", 1, 2, 1200000}};
enum { NSHAPES = sizeof shapes / sizeof *shapes };

/* x normal-like, y near it; a tenth is equal. */
static void fill(float *x, float *y, uint64_t n, uint64_t seed)
{
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t u = oracle_random(&seed);
        x[i] = (float)((double)(u & 0xffffff) / 0x800000 - 1);
        y[i] = i % 10 == 3 ? x[i] : x[i] * (float)(1 + (double)(u >> 40) / 0x1000000 * 0.05);
    }
}

Test(error, against_long_double)
{
    struct mk_tensor ta[NSHAPES], tb[NSHAPES];
    float *x[NSHAPES], *y[NSHAPES];
    uint64_t n[NSHAPES];
    for (size_t k = 0; k < NSHAPES; k++) {
        n[k] = shapes[k].batch * shapes[k].rows * shapes[k].cols;
        x[k] = malloc(n[k] * 4);
        y[k] = malloc(n[k] * 4);
        fill(x[k], y[k], n[k], k + 1);
        ta[k] = (struct mk_tensor){shapes[k].name, "F32", shapes[k].shape, x[k], n[k] * 4};
        tb[NSHAPES - 1 - k] = (struct mk_tensor){shapes[k].name, "F32", shapes[k].shape, y[k], n[k] * 4};
    }
    struct buf a = mk_safetensors(ta, NSHAPES, NULL), b = mk_safetensors(tb, NSHAPES, NULL);
    struct tensor_error
        first[2][NSHAPES]; /* a stream is cut into other boxes, so its sums may round differently */
    for (int i = 0; i < 6; i++) {
        static const unsigned threads[] = {1, 2, 7};
        struct pair p;
        struct error_report r;
        struct err e;
        start(&p, &a, NULL, &b, NULL, i & 1);
        cr_assert_eq(measure(&r, &p, NULL, threads[i / 2], &e), 0, "%s", e.msg);
        cr_assert(r.n == NSHAPES && !r.nonly_a && !r.nonly_b);
        for (size_t k = 0; k < NSHAPES; k++) {
            const struct tensor_error *const t = &r.t[NSHAPES - 1 - k]; /* in the order of b */
            cr_assert_str_eq(t->name, shapes[k].name);
            const struct direct d = directly(x[k], y[k], shapes[k].batch, shapes[k].rows, shapes[k].cols);
            same_as(t, &d, n[k]);
            cr_assert(!t->scheme && !t->bytes && !t->sums.m.saturated && !t->sums.m.flushed);
            struct tensor_error *const f = &first[i & 1][k];
            if (i < 2)
                *f = *t;
            cr_assert(!memcmp(&t->sums, &f->sums, sizeof t->sums)
                          && !memcmp(&t->worst, &f->worst, sizeof t->worst),
                      "%s: bits differ with %u threads, stream %d", shapes[k].name, threads[i / 2], i & 1);
        }
        error_free(&r);
        end(&p);
    }
    for (size_t k = 0; k < NSHAPES; k++) {
        free(x[k]);
        free(y[k]);
    }
    buf_free(&a);
    buf_free(&b);
}

Test(error, types_are_compared_by_value)
{
    /* 1.5 -2 0 448 in each */
    static const struct {
        const char *dtype;
        size_t n;
        uint8_t p[16];
    } v[] = {{"F32", 16, {0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0xe0, 0x43}},
             {"BF16", 8, {0xc0, 0x3f, 0, 0xc0, 0, 0, 0xe0, 0x43}},
             {"F16", 8, {0, 0x3e, 0, 0xc0, 0, 0x80, 0, 0x5f}},
             {"F8_E5M2", 4, {0x3e, 0xc0, 0, 0x5f}}};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) {
            const struct mk_tensor ta = {"t", v[i].dtype, "[4]", v[i].p, v[i].n},
                                   tb = {"t", v[k].dtype, "[4]", v[k].p, v[k].n};
            struct buf a = mk_safetensors(&ta, 1, NULL), b = mk_safetensors(&tb, 1, NULL);
            struct pair p;
            struct error_report r;
            struct err e;
            start(&p, &a, NULL, &b, NULL, false);
            cr_assert_eq(measure(&r, &p, NULL, 1, &e), 0, "%s", e.msg);
            cr_assert_eq(r.t[0].sums.m.equal, 4, "%s %s", v[i].dtype, v[k].dtype);
            error_free(&r);
            end(&p);
            buf_free(&a);
            buf_free(&b);
        }
}

/* Rows so wide that boxes are cut, of two types of GGUF whose blocks differ in length:
 * the value of each 256 elements is that of the F16 number of the block. */
Test(error, cut_between_blocks_of_both)
{
    enum { R = 128, C = 40960, N = R * C / 256 };
    struct pair p;
    struct error_report r;
    struct err e;
    struct buf a = gg_head(3, 1, 0), b = gg_head(3, 1, 0);
    gg_tensor(&a, "w", 2, (uint64_t[]){C, R}, 8, 0), gg_pad(&a, 32);  /* Q8_0: d, and q = 1 */
    gg_tensor(&b, "w", 2, (uint64_t[]){C, R}, 14, 0), gg_pad(&b, 32); /* Q6_K: q = 33, scale 1, d */
    uint8_t q8[34], q6[210];
    memset(q8, 1, sizeof q8);
    memset(q6, 0x11, 128);
    memset(q6 + 128, 0xaa, 64);
    memset(q6 + 192, 1, 16);
    for (size_t i = 0; i < N; i++) {
        const uint16_t d = (uint16_t)(i * 7 % 0x7c00);
        q8[0] = q6[208] = (uint8_t)d;
        q8[1] = q6[209] = (uint8_t)(d >> 8);
        for (int k = 0; k < 8; k++)
            mk_put(&a, q8, sizeof q8);
        mk_put(&b, q6, sizeof q6);
    }
    start(&p, &a, NULL, &b, NULL, false);
    cr_assert_eq(measure(&r, &p, NULL, 3, &e), 0, "%s", e.msg);
    cr_assert_eq(r.t[0].sums.n, (uint64_t)R * C);
    cr_assert_eq(r.t[0].sums.m.equal, (uint64_t)R * C);
    error_free(&r);
    end(&p);
    buf_free(&a);
    buf_free(&b);
}

Test(error, identical_models)
{
    float x[300], y[300];
    fill(x, y, 300, 5);
    const struct mk_tensor t[4] = {{"w", "F32", "[3,100]", x, sizeof x},
                                   {"i", "I64", "[3]", NULL, 24},
                                   {"none", "F32", "[0,4]", NULL, 0},
                                   {"zeros", "F32", "[2]", "\0\0\0\0\0\0\0\0", 8}};
    static const uint64_t n[4] = {300, 24, 0, 2};
    struct buf a = mk_safetensors(t, 4, NULL);
    struct pair p;
    struct error_report r;
    struct err e;
    start(&p, &a, NULL, &a, NULL, false);
    cr_assert_eq(measure(&r, &p, NULL, 2, &e), 0, "%s", e.msg);
    for (size_t i = 0; i < 4; i++) {
        const struct error_sums *const s = &r.t[i].sums;
        cr_assert_eq(r.t[i].bytes, i == 1);
        cr_assert_eq(s->n, n[i]);
        cr_assert_eq(s->m.equal, s->n);
        cr_assert(error_mse(s) == 0 && error_rel(s) == 0 && error_cosine(s) == 1 && s->m.max == 0);
        cr_assert(isinf(error_sqnr(s)) && error_sqnr(s) > 0);
        cr_assert_eq(r.t[i].worst.rel, i == 1 || i == 2 ? -1 : 0);
    }
    error_free(&r);
    end(&p);
    buf_free(&a);
}

Test(error, nan_is_not_hidden)
{
    enum { R = 300, C = 300 };
    static float x[R * C], y[R * C];
    fill(x, y, R * C, 6);
    y[270 * C + 140] = NAN;
    const struct mk_tensor ta = {"w", "F32", "[300,300]", x, sizeof x},
                           tb = {"w", "F32", "[300,300]", y, sizeof y};
    struct buf a = mk_safetensors(&ta, 1, NULL), b = mk_safetensors(&tb, 1, NULL);
    for (unsigned threads = 1; threads < 4; threads++) {
        struct pair p;
        struct error_report r;
        struct err e;
        start(&p, &a, NULL, &b, NULL, false);
        cr_assert_eq(measure(&r, &p, NULL, threads, &e), 0, "%s", e.msg);
        const struct tensor_error *const t = &r.t[0];
        cr_assert(isnan(t->sums.k.se) && isnan(error_rel(&t->sums)) && isnan(error_sqnr(&t->sums))
                  && isnan(error_cosine(&t->sums)) && isnan(error_mse(&t->sums)));
        cr_assert(isnan(t->worst.rel) && t->worst.row == 256 && t->worst.col == 128);
        error_free(&r);
        end(&p);
    }
    buf_free(&a);
    buf_free(&b);
}

/* ---- quantized tensors ----------------------------------------------------------------------------- */

static double e4m3_value(uint8_t q)
{
    const int e = q >> 3 & 15, m = q & 7;
    return (q >> 7 ? -1 : 1) * (e ? ldexp(8 + m, e - 10) : ldexp(m, -9));
}

Test(error, quantized_against_plain)
{
    enum { R = 140, C = 300 };
    static const char config[] =
        "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}}";
    static float x[R * C], y[R * C];
    static uint8_t q[R * C];
    float scale[6] = {0.01f, 0.02f, 1, 0.5f, 3e-3f, 7};
    uint64_t saturated = 0, flushed = 0, seed = 8;
    for (size_t i = 0; i < R * C; i++) {
        const uint64_t u = oracle_random(&seed);
        q[i] = (uint8_t)(u % 127 + (u >> 20 & 128));
        y[i] = (float)e4m3_value(q[i]) * scale[i / C / 128 * 3 + i % C / 128];
        x[i] = y[i] * (float)(0.9 + (double)(u >> 40 & 0xff) / 1000) + (q[i] == 0 && u >> 50 & 1 ? 1e-4f : 0);
        saturated += (q[i] & 0x7f) == 0x7e && fabs((double)x[i] / (double)y[i]) > 464.0 / 448;
        flushed += y[i] == 0 && x[i] != 0;
    }
    cr_assert(saturated > 10 && flushed > 10);
    const struct mk_tensor ta = {"q.weight", "F32", "[140,300]", x, sizeof x};
    const struct mk_tensor tb[2] = {{"q.weight_scale_inv", "F32", "[2,3]", scale, sizeof scale},
                                    {"q.weight", "F8_E4M3", "[140,300]", q, sizeof q}};
    struct buf a = mk_safetensors(&ta, 1, NULL), b = mk_safetensors(tb, 2, NULL);
    const struct direct d = directly(x, y, 1, R, C), back = directly(y, x, 1, R, C);
    struct pair p;
    struct error_report r;
    struct err e;
    start(&p, &a, NULL, &b, config, false);
    cr_assert_eq(measure(&r, &p, NULL, 3, &e), 0, "%s", e.msg);
    cr_assert(r.n == 1 && !r.nonly_a && !r.nonly_b && r.t[0].scheme == scheme_find("fp8-f32-128x128"));
    same_as(&r.t[0], &d, R * C);
    cr_assert(r.t[0].sums.m.saturated == saturated && r.t[0].sums.m.flushed == flushed);
    error_free(&r);
    end(&p);

    start(&p, &b, config, &a, NULL, false); /* the other way round */
    cr_assert_eq(measure(&r, &p, NULL, 3, &e), 0, "%s", e.msg);
    same_as(&r.t[0], &back, R * C);
    cr_assert(!r.t[0].scheme && !r.t[0].sums.m.saturated);
    error_free(&r);
    end(&p);

    start(&p, &b, config, &b, config, false);
    cr_assert_eq(measure(&r, &p, NULL, 3, &e), 0, "%s", e.msg);
    cr_assert(r.t[0].sums.m.equal == R * C && !r.t[0].sums.m.saturated && !r.t[0].sums.m.flushed);
    error_free(&r);
    end(&p);
    buf_free(&a);
    buf_free(&b);
}

/* Codes are compared with BF16, F16 and F32 as they lie; where all of them are normal and scales are powers of two, in yet
 * another way.  The figures are the same. */
Test(error, codes_beside_each_plain_type)
{
    enum { R = 140, C = 300 };
    static const char config[] = "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}}";
    static const char *const type[] = {"BF16", "F16", "F32"};
    static float x[R * C], y[R * C];
    static uint16_t h[R * C];
    static uint8_t q[R * C];
    for (int t = 0; t < 3; t++)
        for (int powers = 0; powers < 2; powers++) {
            const float scale[6] = {powers ? 0x1p-7f : 0.01f, powers ? 0x1p-6f : 0.02f, 1, 0.5f, powers ? 0x1p-8f : 3e-3f, powers ? 8 : 7};
            uint64_t saturated = 0, flushed = 0, seed = 8;
            for (size_t i = 0; i < R * C; i++) {
                const uint64_t u = oracle_random(&seed);
                q[i] = (uint8_t)((i / C % 3 ? 8 + u % 119 : u % 127) + (u >> 20 & 128));
                y[i] = (float)e4m3_value(q[i]) * scale[i / C / 128 * 3 + i % C / 128];
                x[i] = y[i] * (float)(0.9 + (double)(u >> 40 & 0xff) / 1000) + ((q[i] & 0x7f) == 0 && u >> 50 & 1 ? 1e-2f : 0);
                h[i] = t == 0 ? bf16_encode(x[i]) : f16_encode(x[i]);
                x[i] = t == 2 ? x[i] : t == 0 ? bf16_decode(h[i]) : f16_decode(h[i]);
                saturated += (q[i] & 0x7f) == 0x7e && fabs((double)x[i] / (double)y[i]) > 464.0 / 448;
                flushed += y[i] == 0 && x[i] != 0;
            }
            cr_assert(saturated > 10 && flushed > 10);
            const struct mk_tensor ta = {"q.weight", type[t], "[140,300]", t == 2 ? (const void *)x : h, t == 2 ? sizeof x : sizeof h};
            const struct mk_tensor tb[2] = {{"q.weight_scale_inv", "F32", "[2,3]", scale, sizeof scale},
                                            {"q.weight", "F8_E4M3", "[140,300]", q, sizeof q}};
            struct buf a = mk_safetensors(&ta, 1, NULL), b = mk_safetensors(tb, 2, NULL);
            const struct direct d = directly(x, y, 1, R, C);
            struct pair p;
            struct error_report r;
            struct err e;
            start(&p, &a, NULL, &b, config, false);
            cr_assert_eq(measure(&r, &p, NULL, 2, &e), 0, "%s", e.msg);
            same_as(&r.t[0], &d, R * C);
            cr_assert(r.t[0].sums.m.saturated == saturated && r.t[0].sums.m.flushed == flushed, "%s: %lu, not %lu; %lu, not %lu", type[t],
                      r.t[0].sums.m.saturated, saturated, r.t[0].sums.m.flushed, flushed);
            error_free(&r);
            end(&p);
            buf_free(&a);
            buf_free(&b);
        }
}

/* ---- what does not fit together ------------------------------------------------------------------------ */

static void refuses(const struct mk_tensor *ta, const struct mk_tensor *tb, const char *w1, const char *w2)
{
    struct buf a = mk_safetensors(ta, 1, NULL), b = mk_safetensors(tb, 1, NULL);
    struct pair p;
    struct error_report r;
    struct err e;
    start(&p, &a, NULL, &b, NULL, false);
    cr_assert_eq(measure(&r, &p, NULL, 1, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "'t'") && strstr(e.msg, w1) && strstr(e.msg, w2), "%s", e.msg);
    end(&p);
    buf_free(&a);
    buf_free(&b);
}

Test(error, shapes_and_types_must_fit)
{
    const struct mk_tensor f = {"t", "F32", "[2,3]", NULL, 24};
    refuses(&f, &(struct mk_tensor){"t", "F32", "[3,2]", NULL, 24}, "[2,3]", "[3,2]");
    refuses(&f, &(struct mk_tensor){"t", "F32", "[6]", NULL, 24}, "[2,3]", "[6]");
    refuses(&f, &(struct mk_tensor){"t", "I32", "[2,3]", NULL, 24}, "F32", "I32");
    refuses(&(struct mk_tensor){"t", "I64", "[3]", NULL, 24},
            &(struct mk_tensor){"t", "U64", "[3]", NULL, 24}, "I64", "U64");
}

Test(error, tensors_without_partner)
{
    const struct mk_tensor ta[3] = {
        {"both", "I32", "[1]", NULL, 4}, {"left", "I32", "[1]", NULL, 4}, {"skip a", "I8", "[1]", NULL, 1}};
    const struct mk_tensor tb[3] = {
        {"right", "I32", "[1]", NULL, 4}, {"both", "I32", "[1]", NULL, 4}, {"skip b", "I8", "[1]", NULL, 1}};
    struct buf a = mk_safetensors(ta, 3, NULL), b = mk_safetensors(tb, 3, NULL);
    struct pair p;
    struct error_report r;
    struct rules rules = {0};
    struct err e;
    cr_assert_eq(rules_add(&rules, "skip*", ACTION_DROP, "--exclude", &e), 0);
    start(&p, &a, NULL, &b, NULL, false);
    cr_assert_eq(measure(&r, &p, &rules, 1, &e), 0, "%s", e.msg);
    cr_assert(r.n == 1 && r.nonly_a == 1 && r.nonly_b == 1);
    cr_assert_str_eq(r.only_a[0], "left");
    cr_assert_str_eq(r.only_b[0], "right");
    cr_assert_eq(r.t[0].sums.m.equal, 4);
    error_free(&r);
    end(&p);
    rules_free(&rules);
    buf_free(&a);
    buf_free(&b);
}

/* Bytes are counted as they lie, also where a row is no whole number of blocks. */
Test(error, bytes)
{
    const struct mk_tensor ta[4] = {{"t", "BOOL", "[3]", "\1\0\1", 3},
                                    {"u", "F64", "[1]", "12345678", 8},
                                    {"v", "F4", "[2,3]", "abc", 3},
                                    {"w", "F6_E2M3", "[4,1]", "xyz", 3}};
    const struct mk_tensor tb[4] = {{"t", "BOOL", "[3]", "\1\1\1", 3},
                                    {"u", "F64", "[1]", "12345679", 8},
                                    {"v", "F4", "[2,3]", "abd", 3},
                                    {"w", "F6_E2M3", "[4,1]", "xyz", 3}};
    struct buf a = mk_safetensors(ta, 4, NULL), b = mk_safetensors(tb, 4, NULL);
    for (int stream = 0; stream < 2; stream++) {
        struct pair p;
        struct error_report r;
        struct err e;
        start(&p, &a, NULL, &b, NULL, stream);
        cr_assert_eq(measure(&r, &p, NULL, 2, &e), 0, "%s", e.msg);
        for (size_t i = 0; i < 4; i++) {
            cr_assert(r.t[i].bytes && r.t[i].sums.n == ta[i].n, "%s: %lu bytes", r.t[i].name, r.t[i].sums.n);
            cr_assert_eq(r.t[i].sums.m.equal, ta[i].n - (i < 3));
        }
        error_free(&r);
        end(&p);
    }
    buf_free(&a);
    buf_free(&b);
}

Test(error, the_reference_must_be_a_file)
{
    const struct mk_tensor t = {"t", "I32", "[1]", NULL, 4};
    struct buf a = mk_safetensors(&t, 1, NULL);
    struct pair p;
    struct error_report r;
    struct err e = {0};
    start(&p, &a, NULL, &a, NULL, true);
    const struct run_options opt = {.threads = 1};
    cr_assert_eq(error_measure(&r, &p.b, &p.a, NULL, false, &opt, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    end(&p);

    struct buf none = mk_safetensors(NULL, 0, NULL);
    start(&p, &none, NULL, &none, NULL, false);
    cr_assert_eq(measure(&r, &p, NULL, 2, &e), 0, "%s", e.msg);
    cr_assert_eq(r.n, 0);
    error_free(&r);
    end(&p);
    buf_free(&none);
    buf_free(&a);
}

/* ---- the figures alone --------------------------------------------------------------------------------- */

Test(error, figures)
{
    struct error_sums s = {.n = 4, .k = {.se = 4, .sx = 16, .sy = 9}, .m = {.max = 2, .equal = 1}}, t = s;
    cr_assert_eq(error_mse(&s), 1);
    cr_assert_eq(error_rel(&s), 0.5);
    cr_assert_float_eq(error_sqnr(&s), 6.0205999132796239, 1e-14);
    cr_assert_eq(error_cosine(&s), 0.875); /* (16 + 9 - 4) / 2 is 10.5, and 3 times 4 is 12 */
    t.m.saturated = 3;
    t.m.flushed = 2;
    t.m.max = 5;
    error_add(&s, &t);
    cr_assert(s.n == 8 && s.k.se == 8 && s.k.sx == 32 && s.k.sy == 18 && s.m.max == 5
              && s.m.equal == 2 && s.m.saturated == 3 && s.m.flushed == 2);
    const struct error_sums lost = {.n = 1, .k = {.se = 4, .sy = 4}}; /* x is zero, y is not */
    cr_assert(isinf(error_rel(&lost)) && isinf(error_sqnr(&lost)) && error_sqnr(&lost) < 0);
    const struct error_sums none = {0};
    cr_assert(error_mse(&none) == 0 && error_rel(&none) == 0 && error_cosine(&none) == 1
              && isinf(error_sqnr(&none)));
}
