/* Every layout sentence of every target against the index formula of its maker,
 * written down here once more: each element of a matrix with ragged edges, where
 * the formula allows them, is where the formula says.  A sentence without a
 * formula fails.  The formulas are those of chips-1 and chips-2 of the project's
 * references, which name file and function of each; the golden points of chips-2,
 * section 12, are at the end. */
#include "formats/target.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

typedef uint64_t u64;
static struct err err;

static u64 up(u64 a, u64 b) { return (a + b - 1) / b * b; }

/* ---- formulas: element (n, k) of [N, K] to its index; of 4-bit codes 2 * byte + (1 when it is the upper half) ---- */
static u64 plain(u64 n, u64 k, u64 N, u64 K) { (void)N; return n * K + k; }
static u64 transposed(u64 n, u64 k, u64 N, u64 K) { (void)K; return k * N + n; }
/* FRACTAL_NZ of X[R, C]: (c / C0) * Rp * C0 + (r / 16) * 16 * C0 + (r % 16) * C0 + c % C0 */
static u64 nz(u64 r, u64 c, u64 R, u64 c0) { return c / c0 * (up(R, 16) * c0) + r / 16 * (16 * c0) + r % 16 * c0 + c % c0; }
static u64 nz_of_transposed(u64 n, u64 k, u64 N, u64 K) { (void)N; return nz(k, n, K, 32); }
static u64 nz_int4_of_transposed(u64 n, u64 k, u64 N, u64 K) { (void)N; return nz(k, n, K, 64); }
static u64 nz_32(u64 n, u64 k, u64 N, u64 K) { (void)K; return nz(n, k, N, 32); }
static u64 ascend_pairs(u64 n, u64 g, u64 N, u64 S) { (void)S; return g / 2 * (2 * N) + 2 * n + g % 2; }
static u64 ascend_pairs_nk(u64 n, u64 g, u64 N, u64 S) { (void)N; return n * up(S, 2) + g; }
static u64 hygon_m1(u64 n, u64 k, u64 N, u64 K) { (void)K; return k / 64 * (N * 64) + n * 64 + k % 64; }
static u64 hygon_m2(u64 n, u64 k, u64 N, u64 K) { (void)N; return (n / 16 * (K / 16) + k / 16) * 256 + n % 16 * 16 + k % 16; }
static u64 hygon_m3(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    return (((n / 256 * (K / 64) + k / 64) * 16 + n % 256 / 16) * 4 + k % 64 / 16) * 256 + n % 16 * 16 + k % 16;
}
static u64 hygon_m4(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    return ((k / 64 * (N / 16) + n / 16) * 4 + k % 64 / 16) * 256 + n % 16 * 16 + k % 16;
}
/* Words of eight codes: slot s is bits 4s to 4s + 3. */
static u64 hygon_m5(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 word = k / 32 * (4 * N) + n / 64 * 256 + k % 32 / 8 * 64 + n % 64, r = k % 8;
    return word * 8 + (r < 4 ? 2 * r + 1 : 2 * (r - 4));
}
static u64 hygon_m6(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 word = ((k / 64 * (N / 16) + n / 16) * 4 + k % 64 / 16) * 32 + n % 16 * 2 + k % 16 / 8, r = k % 8;
    return word * 8 + (r < 4 ? 2 * r : 2 * (r - 4) + 1);
}
static u64 enflame(u64 n, u64 k, u64 N, u64 r)
{
    const u64 half = r / 2, row = k / r * half + k % half;
    return 2 * (row * N + n) + (k % r >= half);
}
static u64 enflame_128(u64 n, u64 k, u64 N, u64 K) { (void)K; return enflame(n, k, N, 128); }
static u64 enflame_64(u64 n, u64 k, u64 N, u64 K) { (void)K; return enflame(n, k, N, 64); }
static u64 biren_rows(u64 r, u64 g, u64 N, u64 S) { (void)N; return r / 16 * 16 * S + g * 16 + r % 16; }
static u64 iluvatar_tn(u64 n, u64 k, u64 N, u64 K) { (void)N; return 2 * (n * (K / 2) + k / 32 * 16 + k % 16) + k % 32 / 16; }
static u64 iluvatar_nn(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 row = k / 32 * 32 + n % 32 / 16 * 16 + k % 16, col = n / 32 * 16 + n % 16;
    return 2 * (row * (N / 2) + col) + k % 32 / 16;
}
static u64 marlin(u64 n, u64 k, u64 N, u64 K)
{
    (void)K;
    const u64 th = 4 * (n % 8) + k % 8 / 2, wp = n % 64 / 16, rr = n % 16 / 8, j = 2 * (k & 1) + (k >> 3 & 1);
    return 4 * ((k / 16 * (N / 64) + n / 64) * 256 + th * 8 + wp * 2 + rr) + j;
}
/* Scales [groups, N]; inside every 64: new[8i + j] = old[i + 8j]. */
static u64 marlin_groups(u64 n, u64 g, u64 N, u64 S)
{
    (void)S;
    const u64 old = n % 64, i = old % 8, j = old / 8;
    return g * N + n / 64 * 64 + 8 * i + j;
}
static u64 tensorrt_w8(u64 n, u64 k, u64 N, u64 K)
{
    (void)N;
    static const u64 order[] = {0, 2, 1, 3};
    const u64 h = k % 16 / 8, q = k % 8 / 2, e = k % 2, kp = k / 16 * 16 + 4 * q + 2 * h + e, v = kp / 4;
    return 4 * (n / 2 * (K / 4) * 2 + 32 * (v / 16) + 16 * (n % 2) + v % 16) + order[kp % 4];
}
static u64 cublaslt_rows(u64 n, u64 g, u64 N, u64 S) { (void)N; return n * up(S, 4) + g; }
static u64 deepgemm(u64 r, u64 g, u64 N, u64 S) { (void)S; return 4 * (g / 4 * up(N, 4) + r) + g % 4; }
/* Rows of 128 permuted as the tiles below have them, tiles of rows fastest (DeepGEMM's mega kernels). */
static u64 deepgemm_mega(u64 r, u64 g, u64 N, u64 S)
{
    (void)S;
    return 4 * (g / 4 * N + r / 128 * 128 + r % 32 * 4 + r % 128 / 32) + g % 4;
}
static u64 tiles(u64 r, u64 g, u64 N, u64 S)
{
    (void)N;
    return (r / 128 * (up(S, 4) / 4) + g / 4) * 512 + r % 32 * 16 + r % 128 / 32 * 4 + g % 4;
}

/* ---- which sentence is which ---------------------------------------------------------- */
enum place { WEIGHT = 1, SCALE = 2, ANY = 3 };
static const struct row {
    const char *targets;   /* their ids begin so; "" any */
    const char *sentence;
    enum place place;
    u64 (*formula)(u64 n, u64 k, u64 N, u64 K);
    u64 rows, cols;        /* multiples that the formula wants */
} known[] = {
    {"", "r0 c0", ANY, plain, 1, 1},
    {"", "c0 r0", ANY, transposed, 1, 1},
    {"ascend", "r1 c1 c0 r0 | r0=32 c0=16", WEIGHT, nz_of_transposed, 1, 1},
    {"ascend", "r1 c1 c0 r0 | r0=64 c0=16", WEIGHT, nz_int4_of_transposed, 1, 1},
    {"ascend-950", "c1 r1 r0 c0 | r0=16 c0=32", WEIGHT, nz_32, 1, 1},
    {"ascend-950", "c1 r0 c0 | c0=2", SCALE, ascend_pairs, 1, 1},
    {"ascend-950", "r0 c1 c0 | c0=2", SCALE, ascend_pairs_nk, 1, 1},
    {"hygon", "c1 r0 c0 | c0=64", WEIGHT, hygon_m1, 1, 64},
    {"hygon", "r1 c1 r0 c0 | r0=16 c0=16", WEIGHT, hygon_m2, 16, 16},
    {"hygon", "r2 c2 r1 c1 r0 c0 | r0=16 r1=16 c0=16 c1=4", WEIGHT, hygon_m3, 256, 64},
    {"hygon", "c2 r1 c1 r0 c0 | r0=16 c0=16 c1=4", WEIGHT, hygon_m4, 16, 64},
    {"hygon", "c3 r1 c2 r0 c0 -c1 | r0=64 c0=4 c1=2 c2=4", WEIGHT, hygon_m5, 64, 32},
    {"hygon", "c4 r1 c3 r0 c2 c0 c1 | r0=16 c0=4 c1=2 c2=2 c3=4", WEIGHT, hygon_m6, 16, 64},
    {"enflame", "c2 c0 r0 c1 | c0=64 c1=2", WEIGHT, enflame_128, 1, 128},
    {"enflame", "c2 c0 r0 c1 | c0=32 c1=2", WEIGHT, enflame_64, 1, 64},
    {"biren-br288", "r1 c0 r0 | r0=16", SCALE, biren_rows, 1, 1},
    {"iluvatar", "r0 c2 c0 c1 | c0=16 c1=2", WEIGHT, iluvatar_tn, 1, 32},
    {"iluvatar", "c2 r1 c0 r2 r0 c1 | r0=16 r1=2 c0=16 c1=2", WEIGHT, iluvatar_nn, 32, 32},
    {"nvidia-sm80", "c3 r3 r0 c1 r2 r1 c0 c2 | r0=8 r1=2 r2=4 c0=2 c1=4 c2=2", WEIGHT, marlin, 64, 16},
    {"nvidia-sm80", "c0 r2 r0 r1 | r0=8 r1=8", SCALE, marlin_groups, 64, 1},
    {"nvidia-trtllm", "r1 c4 r0 c3 c1 c0 c2 | r0=2 c0=2 c1=4 c2=2 c3=4", WEIGHT, tensorrt_w8, 2, 64},
    {"nvidia-sm90", "r0 c1 c0 | c0=4", SCALE, cublaslt_rows, 1, 1},
    {"nvidia-sm100", "c1 r1 r0 c0 | r0=4 c0=4", SCALE, deepgemm, 1, 1},
    {"nvidia-sm100", "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", SCALE, tiles, 1, 1},
    {"nvidia-sm100", "c1 r2 r0 r1 c0 | r0=32 r1=4 c0=4", SCALE, deepgemm_mega, 128, 1},
};
enum { KNOWN = sizeof known / sizeof *known };

static const struct row *row_of(const char *target, const char *sentence, enum place place)
{
    for (int i = 0; i < KNOWN; i++)
        if (!strncmp(known[i].targets, target, strlen(known[i].targets)) && !strcmp(known[i].sentence, sentence)
            && (known[i].place & place))
            return &known[i];
    return NULL;
}

static void compare(const char *target, const struct row *row, const struct layout *l, u64 rows, u64 cols)
{
    for (u64 r = 0; r < rows; r++)
        for (u64 c = 0; c < cols; c++)
            cr_assert_eq(layout_offset(l, rows, cols, r, c), row->formula(r, c, rows, cols), "%s '%s' [%d,%d] (%d,%d)",
                         target, row->sentence, (int)rows, (int)cols, (int)r, (int)c);
}

static void check(const char *target, const char *sentence, const struct layout *l, enum place place)
{
    const struct row *row = row_of(target, sentence, place);
    cr_assert_not_null(row, "%s: no formula for '%s'", target, sentence);
    static const u64 size[][2] = {{1, 1}, {1, 3}, {5, 2}, {37, 13}, {130, 70}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        compare(target, row, l, up(size[i][0], row->rows), up(size[i][1], row->cols));
}

Test(target_layouts, every_sentence_is_its_makers_formula)
{
    bool used[KNOWN] = {false};
    for (size_t i = 0; i < target_count(); i++) {
        struct target t;
        cr_assert_eq(target_find(&t, target_id(i), &err), 0, "%s", err.msg);
        for (size_t f = 0; f < t.nforms; f++)
            for (int r = 0; r < ROLE_COUNT; r++) {
                const struct target_role *x = &t.form[f].role[r];
                check(t.id, x->weight, &x->weight_layout, WEIGHT);
                used[row_of(t.id, x->weight, WEIGHT) - known] = true;
                if (x->scale) {
                    check(t.id, x->scale, &x->scale_layout, SCALE);
                    used[row_of(t.id, x->scale, SCALE) - known] = true;
                }
                for (size_t k = 0; k < x->nextra; k++)
                    check(t.id, x->extra[k].sentence, &x->extra[k].layout, SCALE);
            }
        target_free(&t);
    }
    for (int i = 0; i < KNOWN; i++)
        if (!used[i])
            fprintf(stderr, "no target has '%s' of %s\n", known[i].sentence, known[i].targets);
}

/* Which form has which formula, where it is not the plain one: a sentence of another form of the same chip is found
 * out here, and a new form whose sentence is not plain fails until it has a row. */
enum roles { DENSE = 1 << ROLE_DENSE, EXPERT = 1 << ROLE_EXPERT, BOTH = DENSE | EXPERT };
static const struct {
    const char *target, *form;
    enum roles roles;
    u64 (*weight)(u64 n, u64 k, u64 N, u64 K), (*scale)(u64 n, u64 k, u64 N, u64 K);
} forms[] = {
    {"ascend-910b", "int8-nz", BOTH, nz_of_transposed, plain},
    {"ascend-910b", "int8-static", BOTH, nz_of_transposed, plain},
    {"ascend-910b", "w4a8", DENSE, nz_of_transposed, plain},
    {"ascend-910b", "w4a8", EXPERT, nz_int4_of_transposed, plain},
    {"ascend-910c", "w4a8", DENSE, nz_of_transposed, plain},
    {"ascend-910c", "w4a8", EXPERT, nz_int4_of_transposed, plain},
    {"ascend-910c", "int8-nz", BOTH, nz_of_transposed, plain},
    {"ascend-910c", "int8-static", BOTH, nz_of_transposed, plain},
    {"ascend-950", "mx", DENSE, transposed, ascend_pairs},
    {"ascend-950", "mx", EXPERT, plain, ascend_pairs_nk},
    {"ascend-950", "mx-nz", BOTH, nz_32, ascend_pairs_nk},
    {"ascend-950", "w4a8-mx", BOTH, nz_32, ascend_pairs_nk},
    {"ascend-950", "int8-nz", BOTH, nz_of_transposed, plain},
    {"biren-br288", "mx", DENSE, plain, biren_rows},
    {"cambricon-mlu", "mx", BOTH, plain, transposed},
    {"enflame-gcu300", "w8a8", BOTH, transposed, plain},
    {"enflame-gcu300", "int8", BOTH, transposed, plain},
    {"enflame-gcu300", "int4", BOTH, enflame_128, transposed},
    {"enflame-gcu400", "int8", BOTH, transposed, plain},
    {"hygon-bw1000", "int8", EXPERT, hygon_m1, plain},
    {"hygon-bw1000", "int8-kpack2", EXPERT, hygon_m2, plain},
    {"hygon-bw1000", "int8-decode", EXPERT, hygon_m3, plain},
    {"hygon-bw1000", "int8-kpack2-marlin", EXPERT, hygon_m4, plain},
    {"hygon-bw1000", "w4a8", EXPERT, hygon_m5, plain},
    {"hygon-bw1000", "w4a8-deepep", EXPERT, hygon_m6, plain},
    {"hygon-bw1100", "fp8", EXPERT, hygon_m1, plain},
    {"hygon-bw1100", "fp8-kpack2-marlin", EXPERT, hygon_m4, plain},
    {"hygon-bw1100", "int8", EXPERT, hygon_m1, plain},
    {"hygon-bw1100", "int8-kpack2", EXPERT, hygon_m2, plain},
    {"hygon-bw1100", "int8-decode", EXPERT, hygon_m3, plain},
    {"hygon-bw1100", "int8-kpack2-marlin", EXPERT, hygon_m4, plain},
    {"hygon-bw1100", "w4a8", EXPERT, hygon_m5, plain},
    {"hygon-bw1100", "w4a8-deepep", EXPERT, hygon_m6, plain},
    {"hygon-k100ai", "int8", EXPERT, hygon_m1, plain},
    {"hygon-k100ai", "int8-kpack2", EXPERT, hygon_m2, plain},
    {"hygon-k100ai", "int8-decode", EXPERT, hygon_m3, plain},
    {"hygon-k100ai", "int8-kpack2-marlin", EXPERT, hygon_m4, plain},
    {"hygon-k100ai", "w4a8", EXPERT, hygon_m5, plain},
    {"hygon-k100ai", "w4a8-deepep", EXPERT, hygon_m6, plain},
    {"iluvatar-bi", "nn", BOTH, transposed, plain},
    {"iluvatar-bi", "w4a8-tn", BOTH, iluvatar_tn, plain},
    {"iluvatar-bi", "w4a8-nn", BOTH, iluvatar_nn, plain},
    {"metax-c600", "block", BOTH, plain, transposed},
    {"nvidia-sm100", "deepgemm", BOTH, plain, deepgemm},
    {"nvidia-sm100", "tiles", BOTH, plain, tiles},
    {"nvidia-sm100", "deepgemm-mx", BOTH, plain, deepgemm},
    {"nvidia-sm100", "tiles-modelopt", BOTH, plain, tiles},
    {"nvidia-sm100", "mega-moe", DENSE, plain, deepgemm},
    {"nvidia-sm100", "mega-moe", EXPERT, plain, deepgemm_mega},
    {"nvidia-sm80-marlin", "bf16", BOTH, marlin, marlin_groups},
    {"nvidia-sm80-marlin", "f16", BOTH, marlin, marlin_groups},
    {"nvidia-sm90", "cublaslt", BOTH, plain, cublaslt_rows},
    {"nvidia-trtllm-w8a16", "w8a16", BOTH, tensorrt_w8, plain},
};
enum { FORMS = sizeof forms / sizeof *forms };

Test(target_layouts, every_form_has_its_formula)
{
    int used[FORMS] = {0};
    for (size_t i = 0; i < target_count(); i++) {
        struct target t;
        cr_assert_eq(target_find(&t, target_id(i), &err), 0, "%s", err.msg);
        for (size_t f = 0; f < t.nforms; f++)
            for (int r = 0; r < ROLE_COUNT; r++) {
                const struct target_role *x = &t.form[f].role[r];
                u64 (*weight)(u64, u64, u64, u64) = plain, (*scale)(u64, u64, u64, u64) = plain;
                for (int k = 0; k < FORMS; k++)
                    if (!strcmp(forms[k].target, t.id) && !strcmp(forms[k].form, t.form[f].name)
                        && (forms[k].roles & 1u << r)) {
                        weight = forms[k].weight;
                        scale = forms[k].scale;
                        used[k] |= 1 << r;
                    }
                const struct row *w = row_of(t.id, x->weight, WEIGHT);
                cr_assert(w && w->formula == weight, "%s %s, role %d: weight '%s'", t.id, t.form[f].name, r, x->weight);
                if (!x->scale)
                    continue;
                const struct row *s = row_of(t.id, x->scale, SCALE);
                cr_assert(s && s->formula == scale, "%s %s, role %d: scale '%s'", t.id, t.form[f].name, r, x->scale);
            }
        target_free(&t);
    }
    for (int k = 0; k < FORMS; k++)
        cr_assert_eq(used[k], (int)forms[k].roles, "no such form: %s %s", forms[k].target, forms[k].form);
}

/* Also those that no target has yet. */
Test(target_layouts, formulas)
{
    for (int i = 0; i < KNOWN; i++) {
        struct layout l;
        char text[256];
        cr_assert_eq(layout_parse(&l, known[i].sentence, &err), 0, "%s", err.msg);
        cr_assert_str_eq(layout_print(&l, text), known[i].sentence, "the canonical spelling");
        check(known[i].targets, known[i].sentence, &l, known[i].place == ANY ? WEIGHT : known[i].place);
    }
}

/* chips-2, section 12; and the shape of sgl-kernel-npu's mla_preprocess, chips-1, 1.3. */
Test(target_layouts, golden_points)
{
    static const struct { u64 (*formula)(u64, u64, u64, u64); u64 rows, cols, r, c, at; } golden[] = {
        {tiles, 256, 16, 1, 0, 16}, {tiles, 256, 16, 31, 3, 499}, {tiles, 256, 16, 32, 0, 4}, {tiles, 256, 16, 127, 3, 511},
        {tiles, 256, 16, 128, 0, 2048}, {tiles, 256, 16, 33, 5, 533}, {tiles, 256, 16, 200, 15, 3723},
        {deepgemm, 130, 8, 1, 0, 4}, {deepgemm, 130, 8, 129, 3, 519}, {deepgemm, 130, 8, 0, 4, 528}, {deepgemm, 130, 8, 33, 5, 661},
        {deepgemm_mega, 256, 8, 1, 0, 16}, {deepgemm_mega, 256, 8, 32, 0, 4}, {deepgemm_mega, 256, 8, 33, 5, 1045},
        {deepgemm_mega, 256, 8, 200, 7, 1675},
        {biren_rows, 48, 12, 1, 0, 1}, {biren_rows, 48, 12, 0, 1, 16}, {biren_rows, 48, 12, 15, 11, 191},
        {biren_rows, 48, 12, 16, 0, 192}, {biren_rows, 48, 12, 39, 11, 567},
        {marlin, 192, 64, 0, 1, 2}, {marlin, 192, 64, 1, 0, 128}, {marlin, 192, 64, 0, 2, 32}, {marlin, 192, 64, 0, 8, 1},
        {marlin, 192, 64, 8, 0, 4}, {marlin, 192, 64, 16, 0, 8}, {marlin, 192, 64, 64, 0, 1024}, {marlin, 192, 64, 0, 16, 3072},
        {marlin, 192, 64, 191, 63, 12287},
        {tensorrt_w8, 64, 128, 0, 1, 2}, {tensorrt_w8, 64, 128, 0, 2, 4}, {tensorrt_w8, 64, 128, 0, 8, 1},
        {tensorrt_w8, 64, 128, 1, 0, 64}, {tensorrt_w8, 64, 128, 2, 0, 256}, {tensorrt_w8, 64, 128, 0, 64, 128},
        {tensorrt_w8, 64, 128, 63, 127, 8191},
        {nz_32, 2112, 7168, 0, 32, 2112 * 32}, {nz_32, 2112, 7168, 2111, 7167, (u64)2112 * 7168 - 1},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        struct layout l;
        int k = 0;
        while (known[k].formula != golden[i].formula)
            k++;
        cr_assert_eq(layout_parse(&l, known[k].sentence, &err), 0);
        cr_assert_eq(layout_offset(&l, golden[i].rows, golden[i].cols, golden[i].r, golden[i].c), golden[i].at, "'%s' (%d,%d)",
                     known[k].sentence, (int)golden[i].r, (int)golden[i].c);
    }
}
