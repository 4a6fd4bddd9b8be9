/* Sentences: what is refused, what is printed, and every sentence in use
 * against the index formula of the chip or library that it describes, written
 * here as published and without any code of ours. */
#include "formats/layout.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define u64 uint64_t

/* ---- published formulas: n, r = row, k, g, c = column; R rows, C columns ---- */

static u64 up(u64 a, u64 b) { return (a + b - 1) / b * b; }

static u64 f_plain(u64 r, u64 c, u64 R, u64 C) { (void)R; return r * C + c; }
static u64 f_transposed(u64 r, u64 c, u64 R, u64 C) { (void)C; return c * R + r; }

/* FRACTAL_NZ of C0 elements: Rp = 16*ceil(R/16) */
static u64 fractal_nz(u64 r, u64 c, u64 R, u64 C0)
{
    return (c / C0) * (up(R, 16) * C0) + (r / 16) * (16 * C0) + (r % 16) * C0 + c % C0;
}
static u64 f_nz_transposed(u64 n, u64 k, u64 N, u64 K) { (void)N; return fractal_nz(k, n, K, 32); }
static u64 f_nz_transposed_int4(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    return fractal_nz(k, n, K, 64);
}
static u64 f_nz_transposed_short(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    return (n / 32) * (up(K, 16) * 32) + (k / 16) * 512 + (k % 16) * 32 + n % 32;
}
static u64 f_nz(u64 n, u64 k, u64 N, u64 K) { (void)K; return fractal_nz(n, k, N, 32); }
static u64 f_nz_16bit(u64 n, u64 k, u64 N, u64 K) { (void)K; return fractal_nz(n, k, N, 16); }
static u64 f_nz_int4(u64 n, u64 k, u64 N, u64 K) { (void)K; return fractal_nz(n, k, N, 64); }

static u64 f_ascend_mx(u64 n, u64 g, u64 N, u64 G)
{
    (void)G;
    return (g / 2) * (2 * N) + 2 * n + g % 2;
}

static u64 f_deepgemm(u64 r, u64 g, u64 MN, u64 G)
{
    (void)G;
    return 4 * ((g / 4) * up(MN, 4) + r) + g % 4;
}
/* The same in words: word[(k/4)*align(mn,4) + mn], the lowest k in the lowest byte. */
static u64 f_deepgemm_words(u64 mn, u64 k, u64 MN, u64 K)
{
    (void)K;
    const u64 word = (k / 4) * up(MN, 4) + mn;
    return word * 4 + k % 4;
}
static u64 f_mega_moe(u64 r, u64 g, u64 MN, u64 G)
{
    (void)G;
    return 4 * ((g / 4) * MN + (r / 128) * 128 + (r % 32) * 4 + (r % 128) / 32) + g % 4;
}
static u64 f_mn_major(u64 m, u64 g, u64 M, u64 G) { (void)G; return g * up(M, 4) + m; }

static u64 f_tile_128x4(u64 r, u64 g, u64 R, u64 S)
{
    (void)R;
    return ((r / 128) * ((S + 3) / 4) + g / 4) * 512 + (r % 32) * 16 + ((r % 128) / 32) * 4 +
           (g % 4);
}
static u64 f_cublas_block(u64 n, u64 k, u64 N, u64 K) { (void)N; return n * up(K, 4) + k; }
static u64 f_rows16(u64 r, u64 g, u64 R, u64 S)
{
    (void)R;
    return (r / 16) * 16 * S + g * 16 + r % 16;
}

static u64 f_hygon_m1(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    return (k / 64) * (N * 64) + n * 64 + k % 64;
}
static u64 f_hygon_m2(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    return ((n / 16) * (K / 16) + k / 16) * 256 + (n % 16) * 16 + k % 16;
}
static u64 f_hygon_m3(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    return ((((n / 256) * (K / 64) + k / 64) * 16 + (n % 256) / 16) * 4 + (k % 64) / 16) * 256 +
           (n % 16) * 16 + k % 16;
}
static u64 f_hygon_m4(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    return (((k / 64) * (N / 16) + n / 16) * 4 + (k % 64) / 16) * 256 + (n % 16) * 16 + k % 16;
}
/* Eight nibbles in a 32-bit word; slot s occupies bits 4s to 4s+3. */
static u64 f_hygon_m5(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 word = (k / 32) * (4 * N) + (n / 64) * 256 + ((k % 32) / 8) * 64 + n % 64;
    const u64 r = k % 8, slot = r < 4 ? 2 * r + 1 : 2 * (r - 4);
    return word * 8 + slot;
}
static u64 f_hygon_m6(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 word = (((k / 64) * (N / 16) + n / 16) * 4 + (k % 64) / 16) * 32 + (n % 16) * 2 +
                     (k % 16) / 8;
    const u64 r = k % 8, slot = r < 4 ? 2 * r : 2 * (r - 4) + 1;
    return word * 8 + slot;
}
/* byte = (w[2j] & 15) << 4 | (w[2j+1] & 15) */
static u64 f_slimquant(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    return 2 * (n * (K / 2) + k / 2) + (k % 2 == 0);
}

static u64 f_marlin(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 th = 4 * (n % 8) + (k % 8) / 2, wp = (n % 64) / 16, rr = (n % 16) / 8;
    const u64 j = 2 * (k & 1) + ((k >> 3) & 1);
    return 4 * (((k / 16) * (N / 64) + n / 64) * 256 + th * 8 + wp * 2 + rr) + j;
}
static u64 f_tensorrt(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    static const u64 order[4] = { 0, 2, 1, 3 };
    const u64 h = (k % 16) / 8, q = (k % 8) / 2, e = k % 2;
    const u64 kp = (k / 16) * 16 + 4 * q + 2 * h + e, v = kp / 4, b = order[kp % 4];
    return 4 * ((n / 2) * (K / 4) * 2 + 32 * (v / 16) + 16 * (n % 2) + v % 16) + b;
}

static u64 f_iluvatar_tn(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    return 2 * (n * (K / 2) + (k / 32) * 16 + k % 16) + (k % 32) / 16;
}
static u64 f_iluvatar_nn(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 row = (k / 32) * 32 + ((n % 32) / 16) * 16 + k % 16, col = (n / 32) * 16 + n % 16;
    return 2 * (row * (N / 2) + col) + (k % 32) / 16;
}
static u64 enflame(u64 n, u64 k, u64 N, u64 R)
{
    const u64 half = R / 2, row = (k / R) * half + k % half;
    return 2 * (row * N + n) + !(k % R < half);
}
static u64 f_enflame_128(u64 n, u64 k, u64 N, u64 K) { (void)K; return enflame(n, k, N, 128); }
static u64 f_enflame_64(u64 n, u64 k, u64 N, u64 K) { (void)K; return enflame(n, k, N, 64); }

/* byte[n/2][k]: low nibble even n, high nibble odd n */
static u64 f_rows_in_pairs(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    return 2 * (n / 2 * K + k) + n % 2;
}
/* In each run of 64 outputs byte b has element b high and b+32 low; rows are k. */
static u64 f_kunlun_64(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 in = n % 64, byte = k * (N / 2) + (n / 64) * 32 + in % 32;
    return 2 * byte + (in < 32);
}
static u64 f_kunlun_pairs(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    return 2 * (k * (N / 2) + n / 2) + (n % 2 == 0);
}

static const struct known {
    const char *sentence;
    unsigned bits;
    u64 (*formula)(u64 r, u64 c, u64 R, u64 C);
    u64 rows, cols;      /* extents must be multiples of these for the formula to hold */
    u64 pad_rows, pad_cols;
} known[] = {
    { "r0 c0", 8, f_plain, 1, 1, 1, 1 },
    { "c0 r0", 8, f_transposed, 1, 1, 1, 1 },
    { "r1 c1 c0 r0 | r0=32 c0=16", 8, f_nz_transposed, 1, 1, 32, 16 },
    { "r1 c1 c0 r0 | r0=32 c0=16", 8, f_nz_transposed_short, 1, 1, 32, 16 },
    { "r1 c1 c0 r0 | r0=64 c0=16", 4, f_nz_transposed_int4, 1, 1, 64, 16 },
    { "c1 r1 r0 c0 | r0=16 c0=32", 8, f_nz, 1, 1, 16, 32 },
    { "c1 r1 r0 c0 | r0=16 c0=32", 4, f_nz, 1, 1, 16, 32 },
    { "c1 r1 r0 c0 | r0=16 c0=16", 16, f_nz_16bit, 1, 1, 16, 16 },
    { "c1 r1 r0 c0 | r0=16 c0=64", 4, f_nz_int4, 1, 1, 16, 64 },
    { "c1 r0 c0 | c0=2", 8, f_ascend_mx, 1, 1, 1, 2 },
    { "c1 r1 r0 c0 | r0=4 c0=4", 8, f_deepgemm, 1, 1, 4, 4 },
    { "c1 r1 r0 c0 | r0=4 c0=4", 8, f_deepgemm_words, 1, 1, 4, 4 },
    { "c0 r1 r0 | r0=4", 32, f_mn_major, 1, 1, 4, 1 },
    { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 8, f_tile_128x4, 1, 1, 128, 4 },
    { "c1 r2 r0 r1 c0 | r0=32 r1=4 c0=4", 8, f_mega_moe, 128, 1, 128, 4 },
    { "r0 c1 c0 | c0=4", 32, f_cublas_block, 1, 1, 1, 4 },
    { "r1 c0 r0 | r0=16", 8, f_rows16, 1, 1, 16, 1 },
    { "c1 r0 c0 | c0=64", 8, f_hygon_m1, 1, 64, 1, 64 },
    { "r1 c1 r0 c0 | r0=16 c0=16", 8, f_hygon_m2, 16, 16, 16, 16 },
    { "r2 c2 r1 c1 r0 c0 | r0=16 r1=16 c0=16 c1=4", 8, f_hygon_m3, 256, 64, 256, 64 },
    { "c2 r1 c1 r0 c0 | r0=16 c0=16 c1=4", 8, f_hygon_m4, 16, 64, 16, 64 },
    { "c3 r1 c2 r0 c0 -c1 | c0=4 c1=2 c2=4 r0=64", 4, f_hygon_m5, 64, 32, 64, 32 },
    { "c4 r1 c3 r0 c2 c0 c1 | c0=4 c1=2 c2=2 c3=4 r0=16", 4, f_hygon_m6, 16, 64, 16, 64 },
    { "r0 c1 -c0 | c0=2", 4, f_slimquant, 1, 2, 1, 2 },
    { "c3 r3 r0 c1 r2 r1 c0 c2 | c0=2 c1=4 c2=2 r0=8 r1=2 r2=4", 8, f_marlin, 64, 16, 64, 16 },
    { "r1 c4 r0 c3 c1 c0 c2 | c0=2 c1=4 c2=2 c3=4 r0=2", 8, f_tensorrt, 2, 64, 2, 64 },
    { "r0 c2 c0 c1 | c0=16 c1=2", 4, f_iluvatar_tn, 1, 32, 1, 32 },
    { "c2 r1 c0 r2 r0 c1 | c0=16 c1=2 r0=16 r1=2", 4, f_iluvatar_nn, 32, 32, 32, 32 },
    { "c2 c0 r0 c1 | c0=64 c1=2", 4, f_enflame_128, 1, 128, 1, 128 },
    { "c2 c0 r0 c1 | c0=32 c1=2", 4, f_enflame_64, 1, 64, 1, 64 },
    { "r1 c0 r0 | r0=2", 4, f_rows_in_pairs, 2, 1, 2, 1 },
    { "c0 r2 r0 -r1 | r0=32 r1=2", 4, f_kunlun_64, 64, 1, 64, 1 },
    { "c0 r1 -r0 | r0=2", 4, f_kunlun_pairs, 2, 1, 2, 1 },
};
enum { KNOWN = sizeof known / sizeof known[0] };

static unsigned nibble(const unsigned char *p, u64 i) { return p[i / 2] >> i % 2 * 4 & 15; }

/* Every element where the formula says, the rest zero, and back. */
static void check_matrix(const struct known *k, u64 rows, u64 cols)
{
    struct layout l;
    struct err e;
    u64 n = 0, wrong = 0, used = 0;
    cr_assert_eq(layout_parse(&l, k->sentence, &e), 0, "%s", e.msg);
    cr_assert(layout_size(&l, rows, cols, &n));
    cr_assert_eq(n, up(rows, k->pad_rows) * up(cols, k->pad_cols), "'%s' size", k->sentence);
    const size_t w = k->bits / 8, row = k->bits == 4 ? (cols + 1) / 2 : cols * w;
    unsigned char *src = malloc(rows * row), *dst = malloc(n * (w ? w : 1));
    unsigned char *back = malloc(rows * row), *hit = calloc(n, 1);
    cr_assert(src && dst && back && hit);
    for (u64 i = 0; i < rows * row; i++)
        src[i] = (unsigned char)(i * 2654435761u >> 13 | 0x11); /* no nibble is zero */
    memset(dst, 0xff, n * (w ? w : 1));
    layout_pack(&l, k->bits, rows, cols, src, row, dst);
    for (u64 r = 0; r < rows; r++)
        for (u64 c = 0; c < cols; c++) {
            const u64 at = k->formula(r, c, rows, cols);
            if (at >= n || at != layout_offset(&l, rows, cols, r, c) || hit[at]++)
                wrong++;
            else if (w ? memcmp(src + r * row + c * w, dst + at * w, w)
                       : nibble(src + r * row, c) != nibble(dst, at))
                wrong++;
            used++;
        }
    cr_assert_eq(wrong, 0, "'%s', %u bits, %llu x %llu: %llu elements are elsewhere", k->sentence,
                 k->bits, (unsigned long long)rows, (unsigned long long)cols,
                 (unsigned long long)wrong);
    for (u64 i = 0; i < n; i++)
        for (size_t b = 0; !hit[i] && b < (w ? w : 1); b++)
            cr_assert_eq(w ? dst[i * w + b] : nibble(dst, i), 0, "'%s': padding %llu",
                         k->sentence, (unsigned long long)i);
    cr_assert_eq(used, rows * cols);
    memset(back, 0xff, rows * row);
    layout_unpack(&l, k->bits, rows, cols, dst, back, row);
    for (u64 r = 0; w == 0 && cols % 2 && r < rows; r++)
        src[r * row + row - 1] &= 15;
    cr_assert_arr_eq(back, src, rows * row, "'%s' unpack", k->sentence);
    free(src);
    free(dst);
    free(back);
    free(hit);
}

Test(layout, formulas_on_exact_matrices)
{
    for (unsigned i = 0; i < KNOWN; i++) {
        check_matrix(&known[i], 256, 256);
        check_matrix(&known[i], 512, 128);
        check_matrix(&known[i], 256, 640);
    }
}

Test(layout, formulas_on_ragged_matrices)
{
    static const u64 size[][2] = { { 1, 1 }, { 3, 7 }, { 130, 6 }, { 129, 131 }, { 37, 257 },
                                   { 200, 16 }, { 250, 250 } };
    for (unsigned i = 0; i < KNOWN; i++)
        for (unsigned k = 0; k < sizeof size / sizeof size[0]; k++)
            check_matrix(&known[i], up(size[k][0], known[i].rows), up(size[k][1], known[i].cols));
}

Test(layout, golden_points)
{
    static const struct { const char *sentence; u64 R, C, r, c, at; } golden[] = {
        { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 16, 1, 0, 16 },
        { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 16, 31, 3, 499 },
        { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 16, 32, 0, 4 },
        { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 16, 127, 3, 511 },
        { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 16, 128, 0, 2048 },
        { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 16, 33, 5, 533 },
        { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 16, 200, 15, 3723 },
        { "c1 r1 r0 c0 | r0=4 c0=4", 130, 8, 1, 0, 4 },
        { "c1 r1 r0 c0 | r0=4 c0=4", 130, 8, 129, 3, 519 },
        { "c1 r1 r0 c0 | r0=4 c0=4", 130, 8, 0, 4, 528 },
        { "c1 r1 r0 c0 | r0=4 c0=4", 130, 8, 33, 5, 661 },
        { "c1 r2 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 8, 1, 0, 16 },
        { "c1 r2 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 8, 32, 0, 4 },
        { "c1 r2 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 8, 33, 5, 1045 },
        { "c1 r2 r0 r1 c0 | r0=32 r1=4 c0=4", 256, 8, 200, 7, 1675 },
        { "r1 c0 r0 | r0=16", 40, 12, 1, 0, 1 },
        { "r1 c0 r0 | r0=16", 40, 12, 0, 1, 16 },
        { "r1 c0 r0 | r0=16", 40, 12, 15, 11, 191 },
        { "r1 c0 r0 | r0=16", 40, 12, 16, 0, 192 },
        { "r1 c0 r0 | r0=16", 40, 12, 39, 11, 567 },
#define MARLIN "c3 r3 r0 c1 r2 r1 c0 c2 | c0=2 c1=4 c2=2 r0=8 r1=2 r2=4"
        { MARLIN, 192, 64, 0, 1, 2 },
        { MARLIN, 192, 64, 1, 0, 128 },
        { MARLIN, 192, 64, 0, 2, 32 },
        { MARLIN, 192, 64, 0, 8, 1 },
        { MARLIN, 192, 64, 8, 0, 4 },
        { MARLIN, 192, 64, 16, 0, 8 },
        { MARLIN, 192, 64, 64, 0, 1024 },
        { MARLIN, 192, 64, 0, 16, 3072 },
        { MARLIN, 192, 64, 191, 63, 12287 },
#define TENSORRT "r1 c4 r0 c3 c1 c0 c2 | c0=2 c1=4 c2=2 c3=4 r0=2"
        { TENSORRT, 64, 128, 0, 1, 2 },
        { TENSORRT, 64, 128, 0, 2, 4 },
        { TENSORRT, 64, 128, 0, 8, 1 },
        { TENSORRT, 64, 128, 1, 0, 64 },
        { TENSORRT, 64, 128, 2, 0, 256 },
        { TENSORRT, 64, 128, 0, 64, 128 },
        { TENSORRT, 64, 128, 63, 127, 8191 },
    };
    for (unsigned i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        struct layout l;
        struct err e;
        cr_assert_eq(layout_parse(&l, golden[i].sentence, &e), 0, "%s", e.msg);
        const u64 at = layout_offset(&l, golden[i].R, golden[i].C, golden[i].r, golden[i].c);
        cr_assert_eq(at, golden[i].at, "'%s' (%llu,%llu): %llu, not %llu", golden[i].sentence,
                     (unsigned long long)golden[i].r, (unsigned long long)golden[i].c,
                     (unsigned long long)at, (unsigned long long)golden[i].at);
    }
}

/* mla_preprocess wants the fused DeepSeek down-projection as [224, 2112, 32]. */
Test(layout, deepseek_down_projection)
{
    struct layout l;
    struct err e;
    u64 n = 0;
    cr_assert_eq(layout_parse(&l, "c1 r1 r0 c0 | r0=16 c0=32", &e), 0);
    cr_assert(layout_size(&l, 2112, 7168, &n));
    cr_assert_eq(n, (u64)224 * 2112 * 32);
    cr_assert_eq(layout_offset(&l, 2112, 7168, 5, 70), (u64)2 * 2112 * 32 + 5 * 32 + 6);
}

/* ---- sentences ---------------------------------------------------------- */

static void expect_refused(const char *sentence, const char *quoted)
{
    struct layout l;
    struct err e = { .kind = ERR_NONE };
    cr_assert_eq(layout_parse(&l, sentence, &e), -1, "'%s' was accepted", sentence);
    cr_assert_eq(e.kind, ERR_USAGE);
    cr_assert(strstr(e.msg, quoted), "'%s': \"%s\" does not say %s", sentence, e.msg, quoted);
    cr_assert(strncmp(e.msg, "layout sentence: ", 17) == 0, "%s", e.msg);
}

Test(layout, refuses)
{
    expect_refused("", "no digits");
    expect_refused("  \t", "no digits");
    expect_refused("r0", "'c0'");
    expect_refused("c0", "'r0'");
    expect_refused("r0 c0 r0", "'r0' is listed twice");
    expect_refused("r0 c0 x1", "'x1'");
    expect_refused("r0 c0 r", "'r'");
    expect_refused("r0 c0 r01", "'r01'");
    expect_refused("r0 c0 r16", "'r16'");
    expect_refused("r0 c0 r99999999999999999999", "'r99999999999999999999'");
    expect_refused("r0 c0 c1c2 | c0=4", "'c1c2'");
    expect_refused("r0 - c0", "'-'");
    expect_refused("r0 --c0", "'--c0'");
    expect_refused("R0 C0", "'R0'");
    expect_refused("r0 c0 c2 | c0=4 c1=4", "'c1=4'");
    expect_refused("r0 c0 c2 | c0=4", "'c1'");
    expect_refused("r0 c1 c0", "'c0' needs a size");
    expect_refused("r0 c0 |", "no sizes");
    expect_refused("r0 c0 | |", "a second '|'");
    expect_refused("r0 c1 c0 | c0=4 c0=4", "'c0=4'");
    expect_refused("r0 c1 c0 | c0=4 c0=5", "'c0=5'");
    expect_refused("r0 c1 c0 | c0=0", "'c0=0'");
    expect_refused("r0 c1 c0 | c0=", "'c0='");
    expect_refused("r0 c1 c0 | c0", "'c0'");
    expect_refused("r0 c1 c0 | c0=4x", "'c0=4x'");
    expect_refused("r0 c1 c0 | c0=04", "'c0=04'");
    expect_refused("r0 c1 c0 | c0=-4", "'c0=-4'");
    expect_refused("r0 c1 c0 | c0=+4", "'c0=+4'");
    expect_refused("r0 c1 c0 | c0=99999999999999999999", "'c0=99999999999999999999'");
    expect_refused("r0 c1 -c0 | -c0=4", "'-c0=4'");
    expect_refused("r0 c1 c0 | c0=4 c1=4", "'c1=4'");
    expect_refused("r0 c0 | r0=4", "'r0=4'");
    expect_refused("r0 c1 c0=4", "'c0=4'");
    expect_refused("-r0 c0", "'-r0'");
    expect_refused("r0 -c1 c0 | c0=4", "'-c1'");
    expect_refused("r0 c2 c1 c0 | c0=4294967296 c1=4294967296", "'c1=4294967296'");
    expect_refused("r0 c0 r1 r2 r3 r4 r5 r6 r7 r8 r9 r10 r11 r12 r13 r14 r15", "'r15'");
    expect_refused("r0 c0 a-very-long-word-that-goes-on-and-on-and-on-and-on-and-on", "...'");
    expect_refused("r0 c0 \033[31m", "'?[31m'");
}

Test(layout, accepts_free_white_space)
{
    struct layout l;
    struct err e;
    char s[256];
    cr_assert_eq(layout_parse(&l, " \tr1\n c1  c0 r0|c0=16\tr0=32 ", &e), 0, "%s", e.msg);
    cr_assert_str_eq(layout_print(&l, s), "r1 c1 c0 r0 | r0=32 c0=16");
    cr_assert_eq(l.tile[0], 32);
    cr_assert_eq(l.tile[1], 16);
    cr_assert_not(layout_is_plain(&l));
    cr_assert_eq(layout_parse(&l, "r0 c1 -c0 | c0=2", &e), 0);
    cr_assert_str_eq(layout_print(&l, s), "r0 c1 -c0 | c0=2");
    cr_assert_eq(layout_parse(&l, "r0 c0", &e), 0);
    cr_assert_str_eq(layout_print(&l, s), "r0 c0");
    cr_assert(layout_is_plain(&l));
    cr_assert_eq(layout_parse(&l, "c0 r0", &e), 0);
    cr_assert_not(layout_is_plain(&l));
}

Test(layout, longest_spelling_fits)
{
    struct layout l;
    struct err e;
    char s[256];
    memset(s, 'x', sizeof s);
    cr_assert_eq(layout_parse(&l, "-c0 -c1 -c2 -c3 -c4 -c5 -c6 -c7 -c8 -c9 -c10 -c11 -c12 -c13 "
                                  "c14 r0 | c0=1000000 c1=1000 c2=1000 c3=100 c4=10 c5=10 c6=10 "
                                  "c7=10 c8=1 c9=1 c10=1 c11=1 c12=1 c13=1", &e), 0, "%s", e.msg);
    layout_print(&l, s);
    cr_assert(memchr(s, 0, sizeof s));
}

Test(layout, sizes_do_not_overflow)
{
    struct layout l;
    struct err e;
    u64 n = 1;
    cr_assert_eq(layout_parse(&l, "r1 c1 c0 r0 | r0=32 c0=16", &e), 0);
    cr_assert(layout_size(&l, 0, 100, &n));
    cr_assert_eq(n, 0);
    cr_assert(layout_size(&l, 33, 17, &n));
    cr_assert_eq(n, 64 * 32);
    cr_assert_not(layout_size(&l, (u64)1 << 32, (u64)1 << 32, &n));
    cr_assert_not(layout_size(&l, UINT64_MAX, 1, &n));
    cr_assert(layout_size(&l, (u64)1 << 31, (u64)1 << 32, &n));
}
