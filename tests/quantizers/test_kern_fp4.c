/* The E2M1 kernel of every level against the number formats and counts by definition,
 * in double; and its limits against the oracle. */
#include "quantizers/encode.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const level[] = { "c", "avx2" };
static const struct num *const nums[] = { &num_e2m1, &num_e2m1_down, &num_e2m1_away };
enum { LEVELS = 2, NUMS = 3, MOST = 320 };

static const struct oracle_format *format_of(const struct num *num)
{
    for (int i = 0; i < oracle_formats; i++)
        if (!strcmp(oracle_format[i].name, num->name))
            return &oracle_format[i];
    cr_assert_fail("%s", num->name);
    return NULL;
}

/* Codes and counts of n elements with a scale per block, as their definitions have them. */
static void define(const struct num *num, const float *x, size_t n, size_t block, const uint8_t *code,
                   const float *scale, uint8_t *q, struct kern_count *to)
{
    static struct oracle o;
    const struct oracle_format *const f = format_of(num);

    oracle_init_format(&o, f);
    for (size_t i = 0; i < n; i++) {
        const double s = code ? ldexp(1, code[i / block] - 127) : (double)scale[i / block];
        const float y = (float)((double)x[i] / s);

        q[i] = (uint8_t)oracle_encode(&o, f, y, true);
        const double back = (double)num->decode(q[i]) * s;
        to->inexact += back != (double)x[i];
        to->flushed += back == 0 && x[i] != 0;
        to->saturated += oracle_nearest(&o, fabs((double)y)) > o.max_code;
    }
}

static void compare(const float *values, size_t n, size_t block, const uint8_t *code, const float *scale)
{
    /* Of their own size, so that a sanitizer sees what is read beyond them. */
    float *const x = malloc(n * sizeof *x);
    uint8_t *const got = malloc(n), want[MOST];

    memcpy(x, values, n * sizeof *x);
    for (int k = 0; k < NUMS; k++) {
        struct kern_count expected = { 0 };

        define(nums[k], x, n, block, code, scale, want, &expected);
        for (int l = 0; l < LEVELS; l++) {
            const struct kern *const kern = kern_level(level[l]);
            struct kern_count count = { 0 };

            if (!kern)
                continue;
            memset(got, 0xaa, n);
            kern->enc_e2m1(x, n, block, code, scale, kern_e2m1_of(nums[k]), got, &count);
            for (size_t i = 0; i < n; i++)
                cr_assert_eq(got[i], want[i], "%s, %s: %a by %a: %x, not %x", level[l], nums[k]->name, (double)x[i],
                             code ? ldexp(1, code[i / block] - 127) : (double)scale[i / block], got[i], want[i]);
            cr_assert(!memcmp(&count, &expected, sizeof count), "%s, %s, %zu of %zu: %lu %lu %lu, not %lu %lu %lu",
                      level[l], nums[k]->name, n, block, count.inexact, count.flushed, count.saturated,
                      expected.inexact, expected.flushed, expected.saturated);
        }
    }
    free(x);
    free(got);
}

Test(kern_fp4, which_formats)
{
    for (size_t i = 0; num_table[i]; i++) {
        bool one = false;

        for (int k = 0; k < NUMS; k++)
            one |= num_table[i] == nums[k];
        cr_assert_eq(kern_e2m1_of(num_table[i]) != NULL, one, "%s", num_table[i]->name);
    }
}

/* Around every value and midpoint, times powers of two and other scales. */
Test(kern_fp4, edges)
{
    static const double at[] = { 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 1e10 };
    static const float scales[] = { 0x1p-124f, 1, 0x1.8p0f, 0x1.555556p-3f, 0x1.fffffep20f, 0x1.000002p-20f,
                                    0x1.fffffep127f, 3e-38f * 4 };
    float x[MOST];
    size_t n = 0;

    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        for (int step = -2; step <= 2; step++)
            for (int sign = 0; sign < 2; sign++) {
                const float v = (float)at[i];
                const uint32_t u = f32_bits(v) + (uint32_t)(step < 0 && v == 0 ? 0 : step);

                x[n++] = f32_from(u | (uint32_t)sign << 31);
            }
    cr_assert_leq(n, MOST);
    for (int code = 0; code < 255; code++) {
        float y[MOST];
        const uint8_t c = (uint8_t)code;

        for (size_t i = 0; i < n; i++) {
            y[i] = (float)ldexp((double)x[i], code - 127);
            if (isinf(y[i]))
                y[i] = 0x1.fffffep127f;
        }
        compare(y, n, n, &c, NULL);
    }
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (int d = -1; d <= 1; d++) {
            float y[MOST];

            for (size_t i = 0; i < n; i++) {
                y[i] = (float)((double)x[i] * (double)scales[s]);
                y[i] = isinf(y[i]) ? 1 : f32_from(f32_bits(y[i]) + (uint32_t)(y[i] == 0 ? 0 : d));
            }
            compare(y, n, n, NULL, &scales[s]);
        }
}

/* Rows and blocks of every size, noise of every size. */
Test(kern_fp4, shapes)
{
    static const size_t blocks[] = { 1, 3, 8, 16, 31, 32, 33, 100, 1000 };
    float x[100], scale[100];
    uint8_t code[100];
    uint64_t seed = oracle_seed();

    for (size_t n = 1; n <= 100; n++)
        for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
            for (size_t i = 0; i < n; i++) {
                const uint64_t u = oracle_random(&seed);

                code[i] = (uint8_t)(110 + (u >> 50) % 30);
                scale[i] = (float)ldexp(1 + (double)(u >> 44 & 0x3f) / 64, (int)(u >> 32 & 15) - 8);
                x[i] = (float)ldexp((double)(int32_t)(u & 0xff) - 128, (int)(u >> 8 & 15) - 14);
                x[i] = u >> 62 ? x[i] : (float)((double)x[i] * (1 + (double)(u >> 20 & 0xff) / 65536));
                if ((u >> 40 & 15) == 0)
                    x[i] = u & 1 ? -0.0f : 0;
                if ((u >> 40 & 15) == 1)
                    x[i] = u & 1 ? -INFINITY : INFINITY;
            }
            compare(x, n, blocks[b], code, NULL);
            compare(x, n, blocks[b], NULL, scale);
        }
}

/* encode_any takes this way, and the other where a scale is too small for it: the same bytes. */
Test(kern_fp4, small_scales)
{
    float x[64], y[128], scale[2] = { 0x1p-125f, 0x1.8p-126f };
    uint8_t q[64], want[64];
    struct kern_count got = { 0 }, expected = { 0 };

    for (int i = 0; i < 64; i++)
        x[i] = (float)ldexp(i - 32, -128);
    const struct panel p = { SRC_F32, (const uint8_t *)x, sizeof x, 1, 64, 32, 2 };
    const struct scales s = { .value = scale };
    encode_any(&num_e2m1, &p, &s, kern_level("c"), q, 64, y, &got);
    define(&num_e2m1, x, 64, 32, NULL, scale, want, &expected);
    cr_assert_arr_eq(q, want, 64);
    cr_assert(!memcmp(&got, &expected, sizeof got));
}

/* Codes lie in nibbles, the first in the lower half, however many there are. */
Test(kern_fp4, nibbles)
{
    const struct view view = { .elem = DT_F4, .packing = PACK_PLAIN };

    for (size_t n = 1; n <= 40; n++) {
        uint8_t code[40], to[21];

        memset(to, 0xee, sizeof to);
        for (size_t i = 0; i < n; i++)
            code[i] = (uint8_t)(i * 7 + 3);   /* upper bits are not the code's */
        encode_pack(&view, code, n, to);
        for (size_t i = 0; i < n; i++)
            cr_assert_eq(to[i / 2] >> (i % 2 * 4) & 15, code[i] & 15, "%zu of %zu", i, n);
        if (n % 2)
            cr_assert_eq(to[n / 2] >> 4, 0);
        cr_assert_eq(to[(n + 1) / 2], 0xee);
    }
}
