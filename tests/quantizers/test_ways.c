/* From one scheme to another, where the codes cannot stay: against values that are
 * computed here, in double, from the bytes of input and output. */
#include "quantizers/plan.h"
#include "tests/flow.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { R = 150, C = 320, BR = 2, BC = 3 };
static const char blocks[] =
    "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}}";
static const char powers[] = "{\"quantization_config\":{\"quant_method\":\"fp8\",\"scale_fmt\":\"ue8m0\","
                             "\"weight_block_size\":[128,128]}}";

static double e4m3(uint8_t q)
{
    const int e = q >> 3 & 15, m = q & 7;
    return (q >> 7 ? -1 : 1) * ((q & 0x7f) == 0x7f ? NAN : e ? ldexp(8 + m, e - 10) : ldexp(m, -9));
}

static double e2m1(uint8_t q)
{
    static const double v[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    return (q & 8 ? -1 : 1) * v[q & 7];
}

/* Codes of every size but NaN, a different mix in each block; the last block is zeros. */
static void fill_codes(uint8_t *q, uint64_t seed)
{
    for (size_t i = 0; i < R * C; i++) {
        const uint8_t u = (uint8_t)oracle_random(&seed);
        q[i] = (u & 0x7f) == 0x7f ? 0x80 : u;
        if (i / C >= 128 && i % C >= 256)
            q[i] = u & 0x80;
    }
}

static struct buf block_model(const uint8_t *q, const float *scale)
{
    const struct mk_tensor t[2] = {{"q.weight", "F8_E4M3", "[150,320]", q, R * C},
                                   {"q.weight_scale_inv", "F32", "[2,3]", scale, BR * BC * 4}};
    return mk_safetensors(t, 2, NULL);
}

/* The op that reads q.weight, after a run with nowhere to put results. */
static int outcome_of(const struct buf *image, const char *config, const struct wanted *w, struct op *out, struct err *e)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "in"), *const cfg = mk_path(dir, "config.json");
    struct model m;
    struct plan p;
    mk_write(path, image->s, image->n);
    mk_write(cfg, config, strlen(config));
    cr_assert_eq(model_open(&m, path, e), 0, "%s", e->msg);
    int r = plan_make(&p, &m, w, e);
    if (!r) {
        r = run_plan(&p, NULL, NULL, &(struct run_options){.threads = 3}, NULL, e);
        for (size_t i = 0; i < p.nops; i++)
            if (!strcmp(m.t[p.op[i].in[0]].name, "q.weight")) {
                *out = p.op[i];
                out->tile = NULL;
                if (p.op[i].ntiles) {
                    out->tile = malloc(p.op[i].ntiles * sizeof *out->tile);
                    memcpy(out->tile, p.op[i].tile, p.op[i].ntiles * sizeof *out->tile);
                }
            }
        plan_free(&p);
    }
    model_close(&m);
    free(path);
    free(cfg);
    mk_rmdir(dir);
    return r;
}

static void wants(struct wanted *w, struct encoding *to, const char *scheme, const char *convention)
{
    flow_wanted(w, to, scheme);
    w->convention = convention_find(convention);
}

/* ---- the same blocks with powers of two ------------------------------------------------ */

/* Every value is rounded once, from the exact product; blocks with a power of two keep their bytes. */
static void check_requantized(const uint8_t *q, const float *s, const struct buf *out, uint64_t lost[3])
{
    static struct oracle o;
    size_t n;
    const uint8_t *const y = flow_tensor(out, "q.weight", &n);
    const float *const t = flow_tensor(out, "q.weight_scale_inv", &n);
    oracle_init(&o, oracle_e4m3[0], oracle_e4m3[1], oracle_e4m3[2]);
    lost[0] = lost[1] = lost[2] = 0;
    for (size_t b = 0; b < BR * BC; b++) {
        double amax = 0;
        float scale;
        int e;
        const bool power = frexpf(s[b], &e) == 0.5f;
        memcpy(&scale, t + b, 4);
        for (size_t i = 0; i < R * C; i++)
            if (i / C / 128 * BC + i % C / 128 == b)
                amax = fmax(amax, fabs(e4m3(q[i])) * (double)s[b]);
        double want = 1;
        if (power)
            want = (double)s[b];
        else if (amax > 0)
            for (want = 0x1p-126; amax / want > 448;)
                want *= 2;
        cr_assert_eq((double)scale, want, "block %zu: %g, not %g", b, (double)scale, want);
        for (size_t i = 0; i < R * C; i++) {
            if (i / C / 128 * BC + i % C / 128 != b)
                continue;
            const double x = e4m3(q[i]) * (double)s[b];
            const int rank = oracle_nearest(&o, fabs(x) / want);
            cr_assert_leq(rank, o.max_code);
            const uint8_t code = power ? q[i] : (uint8_t)((unsigned)rank | (q[i] & 0x80));
            cr_assert_eq(y[i], code, "element %zu: %02x, not %02x", i, y[i], code);
            lost[0] += e4m3(code) * want != x;
            lost[1] += e4m3(code) == 0 && x != 0;
        }
    }
}

Test(ways, requantized_blocks)
{
    static uint8_t q[R * C];
    uint64_t seed = oracle_seed();
    for (int round = 0; round < 12; round++) {
        float s[BR * BC];
        uint64_t lost[3];
        struct encoding to;
        struct wanted w;
        struct err e = {0};
        struct buf out;
        struct op op = {0};
        fill_codes(q, seed + (uint64_t)round);
        for (int b = 0; b < BR * BC; b++) {
            const uint64_t u = oracle_random(&seed);
            s[b] = ldexpf(1 + (float)(u & 0x7fffff) * 0x1p-23f, (int)(u >> 30 & 63) - 40);
            if (b == round % 7)
                s[b] = ldexpf(1, (int)(u >> 40 & 15) - 8); /* keeps its bytes */
            if (b == round % 5)
                s[b] = ldexpf(1.75f, -3 - round); /* products that end exactly at a power times 448 */
        }
        struct buf in = block_model(q, s);
        wants(&w, &to, "fp8-ue8m0-128x128", "deepseek");
        w.requantize = true;
        for (int way = 0; way < 4; way++) {
            cr_assert_eq(flow_run(&in, blocks, &w, 1 + way, false, way & 1, &out, &e), 0, "%s", e.msg);
            check_requantized(q, s, &out, lost);
            buf_free(&out);
        }
        cr_assert_eq(outcome_of(&in, blocks, &w, &op, &e), 0, "%s", e.msg);
        cr_assert(op.x == &xform_requant && op.done.elems == R * C && op.done.n.inexact == lost[0]
                      && op.done.n.flushed == lost[1] && op.done.n.saturated == 0,
                  "%lu %lu, not %lu %lu", op.done.n.inexact, op.done.n.flushed, lost[0], lost[1]);
        buf_free(&in);
    }
}

Test(ways, a_second_rounding_needs_consent)
{
    static uint8_t q[R * C];
    float s[BR * BC] = {1, 2, 3, 4, 5, 6};
    struct encoding to;
    struct wanted w;
    struct err e = {0};
    struct buf out;
    struct op op = {0};
    fill_codes(q, 3);
    struct buf in = block_model(q, s);
    static const char *const schemes[] = {"fp8-ue8m0-128x128", "mxfp8", "int8-channel", "mxfp4", "nvfp4", "fp8-channel"};
    for (size_t i = 0; i < 6; i++) {
        wants(&w, &to, schemes[i], i ? "octavo" : "deepseek");
        cr_assert_eq(flow_run(&in, blocks, &w, 2, false, false, &out, &e), -1, "%s", schemes[i]);
        cr_assert_eq(e.kind, ERR_INPUT);
        cr_assert(strstr(e.msg, "'q.weight'") && strstr(e.msg, "--allow-requantize") && strstr(e.msg, "--source"), "%s",
                  e.msg);
        w.requantize = true;
        cr_assert_eq(outcome_of(&in, blocks, &w, &op, &e), 0, "%s: %s", schemes[i], e.msg);
        cr_assert_gt(op.done.n.inexact, 0);
        free(op.tile);
    }
    /* the factor that DeepSeek-V3.1's o_proj has is named */
    for (int b = 0; b < BR * BC; b++)
        s[b] = ldexpf(1.3228756189f, b - 9);
    struct buf factor = block_model(q, s);
    wants(&w, &to, "mxfp8", "ascend-v1");
    cr_assert_eq(flow_run(&factor, powers, &w, 2, false, false, &out, &e), -1);
    cr_assert(strstr(e.msg, "powers of two times 1.3228756") && strstr(e.msg, "no place"), "%s", e.msg);
    buf_free(&factor);
    buf_free(&in);
}

/* ---- powers of two stay powers of two ---------------------------------------------------- */

/* MXFP4 as DeepSeek-V4 stores it; exponents of a 128 x 128 tile spread over `spread`. */
static struct buf fp4_model(uint8_t *q, uint8_t *s, int spread, uint64_t seed)
{
    for (size_t i = 0; i < R * C / 2; i++)
        q[i] = (uint8_t)oracle_random(&seed);
    for (size_t i = 0; i < R * C / 32; i++)
        s[i] = (uint8_t)(120 + (int)(oracle_random(&seed) % (unsigned)(spread + 1)));
    s[0] = 120;
    s[1] = (uint8_t)(120 + spread);
    q[0] = 0x61; /* the smallest and the largest value there are */
    q[16] = 0x77;
    const struct mk_tensor t[2] = {{"q.weight", "I8", "[150,160]", q, R * C / 2},
                                   {"q.scale", "F8_E8M0", "[150,10]", s, R * C / 32}};
    return mk_safetensors(t, 2, NULL);
}

static double fp4_value(const uint8_t *q, const uint8_t *s, size_t r, size_t c)
{
    return e2m1((uint8_t)(q[(r * C + c) / 2] >> 4 * (c % 2) & 15)) * ldexp(1, s[r * (C / 32) + c / 32] - 127);
}

Test(ways, fp4_to_blocks_of_fp8)
{
    static uint8_t q[R * C / 2], s[R * C / 32];
    for (int spread = 0; spread <= 20; spread++) {
        struct encoding to;
        struct wanted w;
        struct err e = {0};
        struct buf in = fp4_model(q, s, spread, 7 + (uint64_t)spread), out;
        struct op op = {0};
        uint32_t lost[BR * BC] = {0};
        size_t n, tiles = 0;
        wants(&w, &to, "fp8-ue8m0-128x128", "deepseek-v4");
        cr_assert_eq(flow_run(&in, "{}", &w, 2, false, false, &out, &e), 0, "%s", e.msg);
        const uint8_t *const y = flow_tensor(&out, "q.weight", &n);
        const uint8_t *const t = flow_tensor(&out, "q.scale", &n);
        for (size_t r = 0; r < R; r++)
            for (size_t c = 0; c < C; c++) {
                const size_t b = r / 128 * BC + c / 128;
                const double x = fp4_value(q, s, r, c), z = e4m3(y[r * C + c]) * ldexp(1, t[b] - 127);
                lost[b] += x != z;
                cr_assert_leq(fabs(x - z), ldexp(1, t[b] - 127 - 10), "no more than half a subnormal is lost");
            }
        cr_assert_eq(outcome_of(&in, "{}", &w, &op, &e), 0, "%s", e.msg);
        uint64_t all = 0;
        for (size_t b = 0; b < BR * BC; b++) {
            all += lost[b];
            tiles += lost[b] != 0;
        }
        cr_assert_eq(op.done.n.inexact, all);
        cr_assert_eq(op.ntiles, tiles);
        for (size_t i = 0; i < op.ntiles; i++) {
            const size_t b = op.tile[i].row / 128 * BC + op.tile[i].col / 128;
            cr_assert(op.tile[i].batch == 0 && op.tile[i].row % 128 == 0 && op.tile[i].col % 128 == 0);
            cr_assert_eq(op.tile[i].inexact, lost[b], "tile %zu", b);
            cr_assert(!i || b > op.tile[i - 1].row / 128 * BC + op.tile[i - 1].col / 128, "in order");
        }
        /* six is the largest element and 448 = 1.75 * 2^8 the largest code: 14 binades fit below */
        cr_assert_eq(tiles == 0, spread <= 14, "spread %d: %zu tiles", spread, tiles);
        free(op.tile);
        buf_free(&in);
        buf_free(&out);
    }
}

Test(ways, fp4_to_mxfp8_and_back_is_exact)
{
    static uint8_t q[R * C / 2], s[R * C / 32];
    struct encoding to;
    struct wanted w;
    struct err e = {0};
    struct buf in = fp4_model(q, s, 60, 5), out;
    struct op op = {0};
    size_t n;
    wants(&w, &to, "mxfp8", "octavo");
    cr_assert_eq(flow_run(&in, "{}", &w, 2, false, false, &out, &e), 0, "%s", e.msg);
    const uint8_t *const y = flow_tensor(&out, "q.weight", &n);
    const uint8_t *const t = flow_tensor(&out, "q.weight_scale", &n);
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < C; c++)
            cr_assert_eq(fp4_value(q, s, r, c), e4m3(y[r * C + c]) * ldexp(1, t[r * (C / 32) + c / 32] - 127));
    cr_assert_eq(outcome_of(&in, "{}", &w, &op, &e), 0);
    cr_assert(op.done.n.inexact == 0 && op.ntiles == 0);
    buf_free(&out);
    /* the same scheme in other clothes keeps its codes, and the scales theirs */
    wants(&w, &to, "mxfp4", "compressed-tensors");
    cr_assert_eq(flow_run(&in, "{}", &w, 2, false, false, &out, &e), 0, "%s", e.msg);
    cr_assert_eq(memcmp(flow_tensor(&out, "q.weight_packed", &n), q, sizeof q), 0);
    cr_assert_eq(n, sizeof q);
    cr_assert_eq(memcmp(flow_tensor(&out, "q.weight_scale", &n), s, sizeof s), 0);
    buf_free(&out);
    buf_free(&in);
}

/* 128 x 128 to one scale per row: exact until a code underflows. */
Test(ways, blocks_to_channels)
{
    static uint8_t q[R * C];
    for (int spread = 0; spread < 24; spread++) {
        float s[BR * BC];
        struct encoding to;
        struct wanted w;
        struct err e = {0};
        struct buf out;
        struct op op = {0};
        uint64_t lost = 0;
        size_t n;
        fill_codes(q, 11);
        for (size_t i = 0; i < R * C; i++)
            if ((q[i] & 0x7f) < 0x20)
                q[i] |= 0x20; /* three binades above the subnormals */
        for (int b = 0; b < BR * BC; b++)
            s[b] = ldexpf(1, b == 1 ? -spread : 0);
        struct buf in = block_model(q, s);
        wants(&w, &to, "fp8-channel", "compressed-tensors");
        cr_assert_eq(flow_run(&in, powers, &w, 2, false, false, &out, &e), 0, "%s", e.msg);
        const uint8_t *const y = flow_tensor(&out, "q.weight", &n);
        const float *const t = flow_tensor(&out, "q.weight_scale", &n);
        for (size_t r = 0; r < R; r++) {
            float row;
            int power;
            memcpy(&row, t + r, 4);
            cr_assert_eq(frexpf(row, &power), 0.5f, "a power of two");
            for (size_t c = 0; c < C; c++)
                lost += e4m3(q[r * C + c]) * (double)s[r / 128 * BC + c / 128] != e4m3(y[r * C + c]) * (double)row;
        }
        cr_assert_eq(outcome_of(&in, powers, &w, &op, &e), 0);
        cr_assert_eq(op.done.n.inexact, lost);
        cr_assert_eq(lost == 0, spread <= 3, "%d: %lu", spread, lost);
        free(op.tile);
        buf_free(&in);
        buf_free(&out);
    }
}

/* ---- other formats of the same codes ------------------------------------------------------ */
Test(ways, fnuz_is_the_same_byte_with_twice_the_scale)
{
    static uint8_t q[R * C];
    float s[BR * BC] = {0.3f, 1, 2, 0.5f, 7, 1e-3f};
    struct encoding to;
    struct wanted w;
    struct err e = {0};
    struct buf out;
    size_t n;
    fill_codes(q, 9);
    struct buf in = block_model(q, s);
    wants(&w, &to, "fp8fnuz-f32-128x128", "octavo");
    for (int way = 0; way < 2; way++) {
        cr_assert_eq(flow_run(&in, blocks, &w, 1 + way, false, way, &out, &e), 0, "%s", e.msg);
        const uint8_t *const y = flow_tensor(&out, "q.weight", &n);
        const float *const t = flow_tensor(&out, "q.weight_scale", &n);
        for (size_t i = 0; i < R * C; i++) {
            cr_assert_eq(y[i], q[i] == 0x80 ? 0 : q[i]);
            /* E4M3FNUZ: bias 8 instead of 7 */
            const double z = e4m3(y[i]) / 2 * (double)t[i / C / 128 * BC + i % C / 128];
            cr_assert_eq(z, e4m3(q[i]) * (double)s[i / C / 128 * BC + i % C / 128]);
        }
        buf_free(&out);
    }
    buf_free(&in);
    q[77] = 0xff;
    in = block_model(q, s);
    cr_assert_eq(flow_run(&in, blocks, &w, 2, false, false, &out, &e), -1);
    cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "'q.weight' holds NaN"), "%s", e.msg);
    buf_free(&in);
}
