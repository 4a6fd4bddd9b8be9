/* What the kernels must compute, for every level: against the oracle over all
 * inputs where these are finite in number, and against published results. */
#include "quantizers/kern.h"
#include "quantizers/num.h"
#include "quantizers/scale.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <zlib.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char *const level_name[] = { "c", "avx2" };

/* Runs body once for each level that this CPU has. */
#define EACH_LEVEL(k)                                                       \
    for (size_t level_ = 0; level_ < COUNT(level_name); level_++)           \
        for (const struct kern *k = kern_level(level_name[level_]); k; k = NULL)

static double source_value(uint32_t bits, enum src s)
{
    if (s == SRC_F32)
        return (double)f32_from(bits);
    return (double)(s == SRC_BF16 ? bf16_decode((uint16_t)bits) : f16_decode((uint16_t)bits));
}

/* The code of one element and its counts, from the definition. */
static uint8_t expected(const struct oracle *o, double x, double scale, struct kern_count *n)
{
    const int sign = signbit(x) ? 0x80 : 0;

    if (x != x) {
        n->inexact++;
        return (uint8_t)(sign | 0x7f);
    }
    const int near = oracle_nearest(o, fabs(x) / scale);   /* exact: a power of two */
    const int code = near > o->max_code ? o->max_code : near;

    n->inexact += o->value[code] * scale != fabs(x);
    n->flushed += code == 0 && x != 0;
    n->saturated += near > o->max_code;
    return (uint8_t)(sign | code);
}

static void same_counts(const struct kern_count *got, const struct kern_count *want,
                        const char *what, int code)
{
    cr_assert(got->inexact == want->inexact && got->flushed == want->flushed
                  && got->saturated == want->saturated,
              "%s, code %d: inexact %llu/%llu flushed %llu/%llu saturated %llu/%llu", what, code,
              (unsigned long long)got->inexact, (unsigned long long)want->inexact,
              (unsigned long long)got->flushed, (unsigned long long)want->flushed,
              (unsigned long long)got->saturated, (unsigned long long)want->saturated);
}

/* All 65,536 patterns of a 16-bit source with each of 255 scales. */
static void all_16bit(enum src s)
{
    static struct oracle o;
    static uint16_t x[65536];
    static uint8_t want[65536], got[65536];

    oracle_init(&o, oracle_e4m3[0], oracle_e4m3[1], oracle_e4m3[2]);
    for (uint32_t h = 0; h < 65536; h++)
        x[h] = (uint16_t)h;
    for (int code = 0; code < 255; code++) {
        struct kern_count count = { 0 };
        const uint8_t byte = (uint8_t)code;

        for (uint32_t h = 0; h < 65536; h++)
            want[h] = expected(&o, source_value(h, s), ldexp(1, code - 127), &count);
        EACH_LEVEL(k) {
            struct kern_count n = { 0 };

            memset(got, 0xaa, sizeof got);
            k->enc_e4m3_pow2[s](x, 0, 1, 65536, 65536, &byte, got, 0, &n);
            for (uint32_t h = 0; h < 65536; h++)
                cr_assert_eq(got[h], want[h], "%s: %04x at scale code %d is %02x, not %02x",
                             k->name, h, code, got[h], want[h]);
            same_counts(&n, &count, k->name, code);
        }
    }
}

Test(kern, every_bf16_at_every_scale)
{
    all_16bit(SRC_BF16);
}

Test(kern, every_f16_at_every_scale)
{
    all_16bit(SRC_F16);
}

/* FP32 next to everything that matters: each code's value and upper boundary,
 * scaled, and the neighbours of both. */
Test(kern, f32_boundaries_at_every_scale)
{
    static struct oracle o;
    static float x[127 * 2 * 3 * 2];
    static uint8_t want[COUNT(x)], got[COUNT(x)];

    oracle_init(&o, oracle_e4m3[0], oracle_e4m3[1], oracle_e4m3[2]);
    for (int code = 0; code < 255; code++) {
        const double scale = ldexp(1, code - 127);
        const uint8_t byte = (uint8_t)code;
        struct kern_count count = { 0 };
        size_t n = 0;

        for (int c = 0; c < 127; c++)
            for (int i = 0; i < 6; i++) {
                const double at = (i < 3 ? o.value[c] : oracle_boundary(&o, c)) * scale;
                const uint32_t u = f32_bits((float)at), step = (uint32_t)(i % 3 - 1);
                const uint32_t v = step == 0xffffffff && u == 0 ? 0 : u + step;

                x[n++] = f32_from(v);
                x[n++] = f32_from(v | 0x80000000);
            }
        cr_assert_eq(n, COUNT(x));
        for (size_t i = 0; i < n; i++)
            want[i] = expected(&o, (double)x[i], scale, &count);
        EACH_LEVEL(k) {
            struct kern_count cnt = { 0 };

            k->enc_e4m3_pow2[SRC_F32](x, 0, 1, n, 32, (const uint8_t[48]){ 0 }, got, 0, &cnt);
            memset(&cnt, 0, sizeof cnt);
            k->enc_e4m3_pow2[SRC_F32](x, 0, 1, n, n, &byte, got, 0, &cnt);
            for (size_t i = 0; i < n; i++)
                cr_assert_eq(got[i], want[i], "%s: %a at scale code %d is %02x, not %02x", k->name,
                             (double)x[i], code, got[i], want[i]);
            same_counts(&cnt, &count, k->name, code);
        }
    }
}

/* ---- the published end-to-end matrix ----------------------------------- */

enum { ROWS = MATRIX_ROWS, COLS = MATRIX_COLS };

static unsigned long crc(const void *p, size_t n)
{
    return crc32(0, p, (unsigned)n);
}

/* Quantizes in blocks of rb x cb by a UE8M0 rule; returns the number of codes. */
static size_t quantize(const struct kern *k, const uint16_t *m, size_t rb, size_t cb,
                       const char *rule, uint8_t *code, uint8_t *q, struct kern_count *n)
{
    const size_t across = (COLS + cb - 1) / cb;
    uint8_t *const first = code;
    float amax[COLS];

    for (size_t r = 0; r < ROWS; r += rb, code += across) {
        const size_t rows = ROWS - r < rb ? ROWS - r : rb;

        k->amax[SRC_BF16](m + r * COLS, 2 * COLS, rows, COLS, cb, amax);
        for (size_t b = 0; b < across; b++)
            code[b] = scale_rule_find(rule)->code(amax[b], &num_e4m3);
        k->enc_e4m3_pow2[SRC_BF16](m + r * COLS, 2 * COLS, rows, COLS, cb, code, q + r * COLS,
                                   COLS, n);
    }
    return (size_t)(code - first);
}

Test(kern, published_matrix)
{
    static uint16_t m[ROWS * COLS];
    static uint8_t q[ROWS * COLS], code[ROWS * COLS / 32];
    static const uint8_t first_in[8] = { 0xB6, 0xF6, 0xB7, 0xF8, 0x36, 0x9B, 0x37, 0xAD };
    static const uint8_t ds_code[6] = { 113, 119, 122, 118, 124, 105 };
    static const uint8_t ds_first[4] = { 0x9F, 0xB0, 0x1A, 0x2B };

    oracle_matrix(m);
    cr_assert_eq(crc(m, sizeof m), 0x171ACE86);
    for (int i = 0; i < 4; i++)   /* published most significant byte first */
        cr_assert_eq(m[i], first_in[2 * i] << 8 | first_in[2 * i + 1]);
    EACH_LEVEL(k) {
        struct kern_count n = { 0 };

        cr_assert_eq(quantize(k, m, 128, 128, "ds", code, q, &n), 6);
        cr_expect_arr_eq(code, ds_code, 6, "%s", k->name);
        cr_expect_arr_eq(q, ds_first, 4, "%s", k->name);
        cr_expect_eq(crc(q, sizeof q), 0xAC1314B8, "%s", k->name);
        cr_expect_eq(crc(code, 6), 0xD954F804);
        cr_expect_eq(n.saturated, 0);

        cr_assert_eq(quantize(k, m, 1, 32, "rceil", code, q, &n), 1920);
        cr_expect_eq(crc(q, sizeof q), 0x116DFE55, "%s", k->name);
        cr_expect_eq(crc(code, 1920), 0x332FBE75, "%s", k->name);
        cr_expect_eq(n.saturated, 0);

        cr_assert_eq(quantize(k, m, 1, 32, "floor", code, q, &n), 1920);
        cr_expect_eq(crc(q, sizeof q), 0xB3596712, "%s", k->name);
        cr_expect_eq(crc(code, 1920), 0x6E39A557, "%s", k->name);
        cr_expect_gt(n.saturated, 0);
    }
}

Test(kern, published_matrix_with_float_scales)
{
    static uint16_t m[ROWS * COLS];
    static uint8_t q[ROWS * COLS];
    static const double block_amax[6] = { 0.0252685547, 1.625, 12.9375, 0.8125, 52, 0 };

    oracle_matrix(m);
    EACH_LEVEL(k) {
        struct kern_count n = { 0 };
        float scale[6], amax[3];

        for (int r = 0; r < 2; r++) {
            const size_t rows = r ? 64 : 128;
            const uint16_t *const x = m + r * 128 * COLS;

            k->amax[SRC_BF16](x, 2 * COLS, rows, COLS, 128, amax);
            for (int b = 0; b < 3; b++)
                cr_expect_float_eq((double)amax[b], block_amax[3 * r + b], 5e-11, "%s", k->name);
            for (int b = 0; b < 3; b++)
                scale[3 * r + b] = scale_rule_f32_find("ds-float", DT_F8_E4M3)->scale(amax[b]);
            k->enc_e4m3_f32[SRC_BF16](x, 2 * COLS, rows, COLS, 128, scale + 3 * r,
                                      q + r * 128 * COLS, COLS, &n);
        }
        cr_expect_eq(crc(q, sizeof q), 0x3187C7C2, "%s", k->name);
        cr_expect_eq(crc(scale, sizeof scale), 0x04E02AF5, "%s", k->name);
    }
}

/* Decoding what `ds` made and measuring it gives the published error. */
Test(kern, published_error)
{
    static uint16_t m[ROWS * COLS];
    static uint8_t q[ROWS * COLS], code[6];
    static float x[ROWS * COLS], y[ROWS * COLS];

    oracle_matrix(m);
    EACH_LEVEL(k) {
        struct kern_count n = { 0 };
        struct kern_error e = { 0 };
        struct kern_match same = { 0 };

        quantize(k, m, 128, 128, "ds", code, q, &n);
        k->bf16_to_f32(m, x, ROWS * COLS);
        for (int r = 0; r < 2; r++) {
            float scale[3];

            for (int b = 0; b < 3; b++)
                scale[b] = ue8m0_decode(code[3 * r + b]);
            k->dec_e4m3(q + r * 128 * COLS, COLS, r ? 64 : 128, COLS, 128, scale,
                        y + r * 128 * COLS, 4 * COLS);
        }
        k->error(x, y, ROWS * COLS, ROWS * COLS, &e, &same);
        cr_expect_float_eq(sqrt(e.se / e.sx), 0.0264835677, 1e-9, "%s", k->name);
        cr_expect_float_eq(10 * log10(e.sx / e.se), 31.540470, 1e-5);
        cr_expect_float_eq(e.se / (ROWS * COLS), 0.0168849524, 1e-9);
        cr_expect_eq(same.max, 2.0f);
        /* what was counted as inexact is what does not come back */
        cr_expect_eq(same.equal, ROWS * COLS - n.inexact);
        long double sxy = 0;
        for (size_t i = 0; i < ROWS * COLS; i++)
            sxy += (long double)x[i] * (long double)y[i];
        cr_expect_float_eq((e.sx + e.sy - e.se) / 2, (double)sxy, e.sy * 1e-12);
    }
}

/* ---- small things, computed by hand ------------------------------------ */

Test(kern, counts)
{
    /* scale 1: exact, exact zeros, inexact, flushed, at the limit, beyond it */
    static const float x[] = { 1, 0, -0.0f, 1.01f, 0x1p-10f, -0x1p-11f, 0x1p-9f, 448, 464,
                               464.1f, -480, 1e30f };
    static const uint8_t want[] = { 0x38, 0, 0x80, 0x38, 0, 0x80, 1, 0x7e, 0x7e, 0x7e, 0xfe, 0x7e };
    static const uint8_t code = 127;
    static const float one = 1;
    uint8_t q[COUNT(x)];

    EACH_LEVEL(k) {
        struct kern_count n = { 0 };

        k->enc_e4m3_pow2[SRC_F32](x, 0, 1, COUNT(x), COUNT(x), &code, q, 0, &n);
        cr_expect_arr_eq(q, want, sizeof want, "%s", k->name);
        cr_expect(n.inexact == 7 && n.flushed == 2 && n.saturated == 3, "%s: %d %d %d", k->name,
                  (int)n.inexact, (int)n.flushed, (int)n.saturated);
        k->enc_e4m3_f32[SRC_F32](x, 0, 1, COUNT(x), COUNT(x), &one, q, 0, &n);
        cr_expect_arr_eq(q, want, sizeof want, "%s", k->name);
        cr_expect(n.inexact == 14 && n.flushed == 4 && n.saturated == 6, "%s", k->name);
    }
}

Test(kern, int8)
{
    static const float x[] = { 0, 1, -1, 0.5f, 1.5f, 2.5f, -0.4f, 126.5f, 127, 127.4f, 127.5f,
                               -127.5f, -300, 1e30f, -1e30f };
    static const int8_t want[] = { 0, 1, -1, 0, 2, 2, 0, 126, 127, 127, 127, -127, -127, 127,
                                   -127 };
    static const float one = 1;
    int8_t q[COUNT(x)];
    float y[COUNT(x)];

    EACH_LEVEL(k) {
        struct kern_count n = { 0 };

        k->enc_int8[SRC_F32](x, 0, 1, COUNT(x), COUNT(x), &one, q, 0, &n);
        cr_expect_arr_eq(q, want, sizeof want, "%s", k->name);
        cr_expect(n.inexact == 11 && n.flushed == 2 && n.saturated == 5, "%s: %d %d %d", k->name,
                  (int)n.inexact, (int)n.flushed, (int)n.saturated);
        k->dec_int8(q, 0, 1, COUNT(x), 4, (const float[]){ 1, 2, 3, 4 }, y, 0);
        for (size_t i = 0; i < COUNT(x); i++)
            cr_expect_eq(y[i], (float)q[i] * (float)(i / 4 + 1));
    }
}

Test(kern, conversions_of_all_16bit)
{
    static uint16_t h[65536], back[65536];
    static float x[65536];

    for (uint32_t i = 0; i < 65536; i++)
        h[i] = (uint16_t)i;
    EACH_LEVEL(k) {
        k->bf16_to_f32(h, x, 65536);
        for (uint32_t i = 0; i < 65536; i++)
            cr_assert_eq(f32_bits(x[i]), i << 16, "%s", k->name);
        k->f32_to_bf16(x, back, 65536);
        for (uint32_t i = 0; i < 65536; i++)
            cr_assert_eq(back[i], (i & 0x7fff) > 0x7f80 ? (i | 0x40) : i, "%s", k->name);
        k->f16_to_f32(h, x, 65536);
        for (uint32_t i = 0; i < 65536; i++)
            cr_assert_eq(f32_bits(x[i]), f32_bits(f16_decode((uint16_t)i)), "%s %x", k->name, i);
        k->f32_to_f16(x, back, 65536);
        for (uint32_t i = 0; i < 65536; i++)
            cr_assert_eq(back[i], (i & 0x7fff) > 0x7c00 ? (i | 0x200) : i, "%s", k->name);
    }
}

Test(kern, amax_sees_inf_and_nan)
{
    uint16_t h[96] = { 0 };
    float amax[3];

    h[3] = 0xc0e0;    /* -7 */
    h[40] = 0xff80;   /* -Inf */
    h[90] = 0x7f81;   /* NaN */
    EACH_LEVEL(k) {
        k->amax[SRC_BF16](h, 0, 1, 96, 32, amax);
        cr_expect_eq(amax[0], 7.0f, "%s", k->name);
        cr_expect_eq(f32_bits(amax[1]), 0x7f800000, "%s", k->name);
        cr_expect_eq(f32_bits(amax[2]), 0x7f810000, "%s", k->name);
    }
}

/* ---- choosing a level -------------------------------------------------- */

Test(kern, level_names)
{
    cr_assert_str_eq(kern_level("c")->name, "c");
    cr_assert_null(kern_level("sse9"));
    cr_assert_null(kern_level(""));
}

Test(kern, octavo_cpu_c)
{
    struct err e = { 0 };

    setenv("OCTAVO_CPU", "c", 1);
    const struct kern *const k = kern_get(&e);
    cr_assert_not_null(k);
    cr_assert_str_eq(k->name, "c");
    setenv("OCTAVO_CPU", "nonsense", 1);   /* too late: fixed at the first call */
    cr_assert_eq(kern_get(&e), k);
}

Test(kern, octavo_cpu_unset_or_avx2)
{
    struct err e = { 0 };

    unsetenv("OCTAVO_CPU");
    const struct kern *const k = kern_get(&e);
    cr_assert_not_null(k);
    cr_assert_str_eq(k->name, kern_level("avx2") ? "avx2" : "c");
}

Test(kern, octavo_cpu_unknown)
{
    struct err e = { 0 };

    setenv("OCTAVO_CPU", "avx3", 1);
    cr_assert_null(kern_get(&e));
    cr_assert_eq(e.kind, ERR_USAGE);
    cr_assert_not_null(strstr(e.msg, "avx3"));
}
