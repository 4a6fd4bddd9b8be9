#include "quantizers/blocks.h"
#include "tests/blocks_oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static uint32_t random_state = 12345;

static uint8_t random_byte(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint8_t)(random_state >> 24);
}

/* ---- against the words ------------------------------------------------------------------- */

enum { BLOCKS = 256 };

/* Bit for bit, but for the bits of a NaN. */
static bool same(float y, double want)
{
    const float w = (float)want;
    return isnan(want) ? isnan(y) : !memcmp(&y, &w, 4);
}

/* Decodes n blocks that lie in memory of just their size and compares each element. */
static void compare(enum dtype t, const uint8_t *blocks, size_t n, const char *what, struct blocks_seen *seen)
{
    const struct dtype_info *const d = &dtype_table[t];
    uint8_t *const p = malloc(n * d->block_bytes);
    float *const y = malloc(n * d->block_elems * sizeof *y);
    memcpy(p, blocks, n * d->block_bytes);
    memset(y, 0xa5, n * d->block_elems * sizeof *y);
    block_find(t)->decode(p, y, n * d->block_elems);
    for (size_t b = 0; b < n; b++)
        for (unsigned i = 0; i < d->block_elems; i++) {
            const double want = blocks_element(t, p + b * d->block_bytes, i, seen);
            const float got = y[b * d->block_elems + i];
            cr_assert(same(got, want), "%s, %s, block %zu, element %u: %.9g, not %.17g", d->name, what, b, i,
                      (double)got, want);
        }
    free(p);
    free(y);
}

/* 256 blocks in which every byte takes every value. */
static void every_byte(uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        const uint8_t step = random_byte() | 1, first = random_byte();
        for (size_t b = 0; b < BLOCKS; b++)
            p[b * bytes + i] = (uint8_t)(first + step * b);
    }
}

/* How many different codes there are: nothing is left out. */
static const struct {
    enum dtype t;
    unsigned scales, mins, points, signs;
} codes[] = {
    {DT_Q2_K, 16, 16, 0, 0},      {DT_Q3_K, 64, 0, 0, 0},        {DT_Q4_K, 64, 64, 0, 0},
    {DT_Q5_K, 64, 64, 0, 0},      {DT_Q6_K, 256, 0, 0, 0},       {DT_IQ2_XXS, 16, 0, 256, 128},
    {DT_IQ2_XS, 16, 0, 512, 128}, {DT_IQ2_S, 16, 0, 1024, 256},  {DT_IQ3_XXS, 16, 0, 256, 128},
    {DT_IQ3_S, 16, 0, 512, 256},  {DT_IQ1_S, 8, 0, 2048, 0},     {DT_IQ1_M, 8, 0, 2048, 0},
    {DT_IQ4_XS, 64, 0, 0, 0},     {DT_MXFP4, 256, 0, 0, 0},      {DT_NVFP4, 256, 0, 0, 0},
};

static unsigned count(const bool *seen, size_t n)
{
    unsigned k = 0;
    for (size_t i = 0; i < n; i++)
        k += seen[i];
    return k;
}

static void all_seen(enum dtype t, const struct blocks_seen *s)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].t == t) {
            cr_assert_eq(count(s->scale, 256), codes[i].scales, "%s", dtype_name(t));
            cr_assert_eq(count(s->min, 256), codes[i].mins, "%s", dtype_name(t));
            cr_assert_eq(count(s->point, 2048), codes[i].points, "%s", dtype_name(t));
            cr_assert_eq(count(s->sign, 256), codes[i].signs, "%s", dtype_name(t));
        }
}

Test(blocks, every_type_is_what_the_words_say)
{
    static uint8_t p[BLOCKS * 512];
    for (enum dtype t = DT_Q8_0; t < DT_COUNT; t++) {
        struct blocks_seen seen = {0};
        const size_t bytes = dtype_table[t].block_bytes;
        cr_assert_leq(bytes, 512);
        for (int round = 0; round < 8; round++) {
            every_byte(p, bytes);
            compare(t, p, BLOCKS, "every byte", &seen);
        }
        for (size_t i = 0; i < BLOCKS * bytes; i++)
            p[i] = random_byte();
        compare(t, p, BLOCKS, "random bytes", &seen);
        all_seen(t, &seen);
        memset(p, 0, bytes);
        compare(t, p, 1, "zeros", &seen);
        memset(p, 0xff, bytes);
        compare(t, p, 1, "ones", &seen);
    }
}

/* +-0, smallest and largest subnormal, smallest normal, largest, Inf, NaN: for d, and for the minimum. */
Test(blocks, extreme_scales)
{
    static const uint16_t half[] = {0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x7c00,
                                    0xfc00, 0x7c01, 0x7e00, 0xffff};
    enum { HALVES = sizeof half / sizeof *half };
    uint8_t p[512];
    for (enum dtype t = DT_Q8_0; t < DT_COUNT; t++) {
        struct blocks_seen seen = {0};
        for (size_t i = 0; i < HALVES * HALVES; i++) {
            for (size_t k = 0; k < sizeof p; k++)
                p[k] = random_byte();
            if (!blocks_put_half(t, p, half[i / HALVES], half[i % HALVES]))
                break;
            compare(t, p, 1, "extreme halves", &seen);
        }
    }
    static const uint32_t single[] = {0, 0x80000000, 1, 0x007fffff, 0x00800000, 0x7f7fffff, 0x7f800000,
                                      0xff800000, 0x7f800001, 0x7fc00000};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        struct blocks_seen seen = {0};
        for (size_t k = 0; k < sizeof p; k++)
            p[k] = random_byte();
        memcpy(p, &single[i], 4);
        compare(DT_Q8_K, p, 1, "extreme singles", &seen);
    }
}

/* The whole of the grids, as ggml's tables have it. */
Test(blocks, grids_are_those_of_ggml)
{
    for (size_t k = 0; k < BLOCKS_GRIDS; k++) {
        const struct blocks_grid *const g = &blocks_grid[k];
        static int8_t bytes[BLOCKS_GRID_MAX];
        for (unsigned i = 0; i < g->n * g->elems; i++)
            bytes[i] = (int8_t)blocks_grid_value(g, i / g->elems, i % g->elems);
        cr_assert_eq(crc32(0, (const Bytef *)bytes, g->n * g->elems), g->crc, "%s", g->name);
    }
}

/* ---- against others ----------------------------------------------------------------------- */

/* CRC-32 of what 64 blocks of random bytes with finite d decode to, as FP32.
 * Confirmed with gguf-py 0.19.0 (gguf.quants.dequantize) where it has the type,
 * that is all but Q1_0, Q2_0 and Q8_K, and with dequantize_row_* of ggml d99724f. */
static const struct {
    enum dtype t;
    uint32_t crc;
} golden[] = {
    {DT_Q8_0, 0xdf8786c3},   {DT_Q4_0, 0x53af5f2c},   {DT_Q4_1, 0x981fed88},   {DT_Q5_0, 0xe367c1ae},
    {DT_Q5_1, 0x39791d60},   {DT_Q2_K, 0x71574e01},   {DT_Q3_K, 0x3df89063},   {DT_Q4_K, 0x5d1c602b},
    {DT_Q5_K, 0xedbdff21},   {DT_Q6_K, 0x7b483f55},   {DT_Q8_K, 0xc5fcdc8b},   {DT_IQ2_XXS, 0x6fcea83f},
    {DT_IQ2_XS, 0x82f2c2f2}, {DT_IQ3_XXS, 0x4ab89c92},{DT_IQ1_S, 0x0522c68b},  {DT_IQ4_NL, 0x24474d56},
    {DT_IQ3_S, 0x2f6ed852},  {DT_IQ2_S, 0xb9d2693e},  {DT_IQ4_XS, 0x9c0c386b}, {DT_IQ1_M, 0xc1fad1b9},
    {DT_TQ1_0, 0xaf1c006a},  {DT_TQ2_0, 0x8b124f1d},  {DT_MXFP4, 0x5a53f99e},  {DT_NVFP4, 0x38a60131},
    {DT_Q1_0, 0xfab2f0e4},   {DT_Q2_0, 0xd0f9cd2c},
};

Test(blocks, golden_blocks)
{
    enum { N = 64 };
    static uint8_t p[N * 292];
    static float y[N * 256];
    for (size_t k = 0; k < sizeof golden / sizeof *golden; k++) {
        const enum dtype t = golden[k].t;
        const struct dtype_info *const d = &dtype_table[t];
        const struct blocks_halves at = blocks_halves(t);
        random_state = 12345;
        for (size_t i = 0; i < N * d->block_bytes; i++)
            p[i] = random_byte();
        for (uint8_t *b = p; b < p + N * d->block_bytes; b += d->block_bytes) {
            /* One bit of an exponent is cleared, so that it is none of Inf and NaN. */
            if (at.d >= 0)
                b[at.d + 1] &= 0xfb;
            if (at.m >= 0)
                b[at.m + 1] &= 0xfb;
            if (t == DT_IQ1_M)
                b[53] &= 0xbf;
            if (t == DT_Q8_K)
                b[3] &= 0xbf;
        }
        block_find(t)->decode(p, y, N * d->block_elems);
        const uint32_t crc = (uint32_t)crc32(0, (const Bytef *)y, N * d->block_elems * (uInt)sizeof *y);
        cr_expect_eq(crc, golden[k].crc, "%s: %08x", d->name, crc);
    }
}

/* ---- by hand ------------------------------------------------------------------------------ */

Test(blocks, known_bytes)
{
    /* d = 0.5; q = 1, -1, 127, -128, 0 ... */
    const uint8_t q8[34] = {0x00, 0x38, 0x01, 0xff, 0x7f, 0x80};
    const uint8_t q4[18] = {0x00, 0x38, 0x0f, 0xf0};
    float y[33];
    y[32] = 7;
    q8_0_decode(q8, y, 32);
    cr_assert(y[0] == 0.5f && y[1] == -0.5f && y[2] == 63.5f && y[3] == -64.0f && y[4] == 0);
    q4_0_decode(q4, y, 32);
    cr_assert(y[0] == 3.5f && y[16] == -4.0f && y[1] == -4.0f && y[17] == 3.5f && y[2] == -4.0f);
    cr_assert_eq(y[32], 7, "wrote past the end");
    q8_0_decode(q8, y + 32, 0);
    cr_assert_eq(y[32], 7, "wrote without elements");
}

/* What blocks.h says of the edges. */
Test(blocks, edges_of_the_fp4_types)
{
    static const struct {
        uint8_t scale;
        double value[4]; /* of codes 1, 7, 8 and F */
    } mx[] = {{0, {0x1p-128, 6 * 0x1p-127, 0, -6 * 0x1p-127}},   {127, {0.5, 6, 0, -6}},
              {252, {0x1p124, 6 * 0x1p125, 0, -6 * 0x1p125}},     {253, {0x1p125, INFINITY, 0, -INFINITY}},
              {255, {0x1p127, INFINITY, 0, -INFINITY}}},
      nv[] = {{0, {0, 0, 0, -0.0}},   {1, {0x1p-10, 6 * 0x1p-9, 0, -6 * 0x1p-9}}, {0x38, {0.5, 6, 0, -6}},
              {0x7e, {224, 2688, 0, -2688}}, {0x7f, {0, 0, 0, -0.0}},                  {0x80, {0, 0, 0, -0.0}},
              {0xb8, {0.5, 6, 0, -6}},       {0xff, {240, 2880, 0, -2880}}};
    uint8_t p[36];
    float y[64];
    for (size_t i = 0; i < sizeof mx / sizeof *mx; i++) {
        memset(p, 0x71, sizeof p);
        p[0] = mx[i].scale;
        p[2] = 0xf8;
        block_find(DT_MXFP4)->decode(p, y, 32);
        cr_assert(same(y[0], mx[i].value[0]) && same(y[16], mx[i].value[1]) && same(y[1], mx[i].value[2])
                  && same(y[17], mx[i].value[3]), "scale %u", mx[i].scale);
    }
    for (size_t i = 0; i < sizeof nv / sizeof *nv; i++) {
        memset(p, 0x71, sizeof p);
        p[0] = nv[i].scale;
        p[5] = 0xf8;
        block_find(DT_NVFP4)->decode(p, y, 64);
        cr_assert(same(y[0], nv[i].value[0]) && same(y[8], nv[i].value[1]) && same(y[1], nv[i].value[2])
                  && same(y[9], nv[i].value[3]), "scale %02x", nv[i].scale);
    }
}

Test(blocks, table)
{
    for (int t = 0; t <= DT_COUNT; t++) {
        const struct block_decoder *const d = block_find((enum dtype)t);
        cr_assert_eq(d != NULL, t < DT_COUNT && dtype_is_block((enum dtype)t));
        if (d)
            cr_assert_eq((int)d->dtype, t);
    }
    cr_assert_eq(block_find(DT_Q8_0)->decode, q8_0_decode);
    cr_assert_eq(block_find(DT_Q4_0)->decode, q4_0_decode);
}
