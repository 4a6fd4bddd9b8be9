/* Every level against C, byte for byte: lengths, strides, alignments, blocks,
 * special values and random bits, with unreadable pages on both sides. */
#include "quantizers/kern.h"
#include "quantizers/num.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- memory with a fence ----------------------------------------------- */

struct fence {
    uint8_t *begin, *end;   /* usable memory; the bytes next to it fault */
};

static struct fence fence_make(size_t n)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (n + page - 1) / page * page;
    uint8_t *const p = mmap(NULL, size + 2 * page, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq(p, MAP_FAILED);
    cr_assert_eq(mprotect(p, page, PROT_NONE), 0);
    cr_assert_eq(mprotect(p + page + size, page, PROT_NONE), 0);
    return (struct fence){ p + page, p + page + size };
}

/* n bytes that touch the front fence or the back one. */
static uint8_t *fence_place(const struct fence *f, size_t n, bool front)
{
    return front ? f->begin : f->end - n;
}

Test(levels, fence_catches_overread, .signal = SIGSEGV)
{
    const struct fence f = fence_make(1);
    volatile uint8_t *const p = f.end;

    (void)*p;
}

/* ---- data -------------------------------------------------------------- */

static uint64_t rng;

static uint32_t below(uint32_t n)
{
    return (uint32_t)(oracle_random(&rng) >> 32) % n;
}

static uint32_t random_element(enum src s, int kind)
{
    static const uint32_t special[] = {
        0x00000000, 0x00000001, 0x00400000, 0x007fffff, 0x00800000, 0x3a800000, 0x3a800001,
        0x3b000000, 0x3c7fffff, 0x3c800000, 0x3f800000, 0x3f880000, 0x3f980000, 0x42fe0000,
        0x42ff0000, 0x43e00000, 0x43e80000, 0x43e80001, 0x43f00000, 0x44000000, 0x7f7fffff,
        0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff,
    };
    const uint64_t r = oracle_random(&rng);
    uint32_t u = (uint32_t)r;

    switch (kind) {
    case 0:   /* any bits */
        break;
    case 1:   /* like weights: a few binades */
        u = (u & 0x807fffff) | (0x3f800000 - ((uint32_t)(r >> 32) % 12 << 23));
        break;
    case 2:   /* half of them zero */
        u = r >> 63 ? u & 0x80000000 : (u & 0x807fffff) | 0x3f800000;
        break;
    case 3:   /* special, at random signs */
        u = special[(r >> 32) % COUNT(special)] | (u & 0x80000000);
        break;
    case 4:   /* few mantissa bits: exact codes and ties */
        u = (u & 0x80780000) | (0x3f800000 - ((uint32_t)(r >> 32) % 20 << 23));
        break;
    default:   /* all below or around E4M3's subnormals at scale 1 */
        u = (u & 0x807fffff) | (0x3c800000 - ((uint32_t)(r >> 32) % 6 << 23));
    }
    if (s == SRC_F32)
        return u;
    if (kind == 0)
        return u & 0xffff;
    return s == SRC_BF16 ? u >> 16 : f16_encode(f32_from(u));
}

struct shape {
    size_t rows, cols, block, stride, qstride, ystride, blocks;
    bool front;
};

static const size_t block_size[] = { 1, 7, 32, 33, 64, 128, 130, 0 /* cols */, SIZE_MAX };

static struct shape random_shape(size_t cols, size_t esz)
{
    struct shape z = { .rows = 1 + below(4), .cols = cols };

    z.block = block_size[below(COUNT(block_size))];
    if (z.block == 0)
        z.block = cols ? cols : 1;
    z.blocks = cols / z.block + (cols % z.block != 0);
    z.stride = cols * esz + below(2) * below(67);
    z.qstride = cols + below(2) * below(67);
    z.ystride = 4 * cols + below(2) * below(67) * 4;
    z.front = below(2);
    return z;
}

static size_t extent(size_t rows, size_t stride, size_t last)
{
    return (rows - 1) * stride + last;
}

static void fill(uint8_t *x, const struct shape *z, enum src s)
{
    const int kind = (int)below(6);
    const size_t esz = s == SRC_F32 ? 4 : 2;

    for (size_t r = 0; r < z->rows; r++)
        for (size_t c = 0; c < z->cols; c++) {
            /* a rare stranger in an otherwise uniform matrix */
            const uint32_t u = random_element(s, below(200) ? kind : (int)below(6));

            memcpy(x + r * z->stride + c * esz, &u, esz);
        }
}

static uint8_t random_code(void)
{
    static const uint8_t edge[] = { 0, 1, 10, 11, 12, 119, 120, 127, 127, 127, 128, 246, 247, 254 };

    return below(3) ? edge[below(COUNT(edge))] : (uint8_t)below(255);
}

static float random_scale(void)
{
    static const float edge[] = { 1, 1, 0x1p-3f, 1.0f / 448, 0.0123f, 3.14159f, 0x1p-126f,
                                  0x1p-100f, 0x0.8p-100f, 0x1p119f, 0x1p120f, 0x1.fffffep127f,
                                  0x1p-140f };

    return below(4) ? edge[below(COUNT(edge))]
                    : f32_from(0x3f800000 - (below(16) << 23) + below(1 << 23));
}

/* ---- comparisons ------------------------------------------------------- */

static struct fence source, dest, args;
static uint8_t want[1 << 16];

static const char *context(const struct kern *k, const char *what, int s, const struct shape *z)
{
    static char text[256];

    snprintf(text, sizeof text,
             "%s %s src %d: %zu x %zu, block %zu, strides %zu %zu, %s; OCTAVO_SEED=%llu", k->name,
             what, s, z->rows, z->cols, z->block, z->stride, z->qstride,
             z->front ? "front" : "back",
             (unsigned long long)oracle_seed());
    return text;
}

static void check_count(const struct kern_count *a, const struct kern_count *b, const char *where)
{
    cr_assert(a->inexact == b->inexact && a->flushed == b->flushed && a->saturated == b->saturated,
              "%s: counts %llu %llu %llu, not %llu %llu %llu", where,
              (unsigned long long)b->inexact, (unsigned long long)b->flushed,
              (unsigned long long)b->saturated, (unsigned long long)a->inexact,
              (unsigned long long)a->flushed, (unsigned long long)a->saturated);
}

static void check_encoders(const struct kern *c, const struct kern *k, size_t cols, enum src s)
{
    const struct shape z = random_shape(cols, s == SRC_F32 ? 4 : 2);
    const size_t n = extent(z.rows, z.stride, cols * (s == SRC_F32 ? 4 : 2));
    const size_t qn = extent(z.rows, z.qstride, cols);
    uint8_t *const x = fence_place(&source, n, z.front);
    uint8_t *q = fence_place(&dest, qn, z.front);
    struct kern_count a, b;

    fill(x, &z, s);

    /* amax */
    float *top = (float *)(void *)fence_place(&dest, 4 * z.blocks, z.front);
    c->amax[s](x, z.stride, z.rows, cols, z.block, top);
    memcpy(want, top, 4 * z.blocks);
    memset(top, 0xa5, 4 * z.blocks);
    k->amax[s](x, z.stride, z.rows, cols, z.block, top);
    cr_assert_arr_eq((uint8_t *)top, want, 4 * z.blocks, "%s", context(k, "amax", (int)s, &z));

    /* E4M3 by powers of two */
    uint8_t *const code = fence_place(&args, z.blocks, false);
    for (size_t i = 0; i < z.blocks; i++)
        code[i] = random_code();
    a = b = (struct kern_count){ 1, 2, 3 };   /* counts are added */
    memset(q, 0xa5, qn);
    c->enc_e4m3_pow2[s](x, z.stride, z.rows, cols, z.block, code, q, z.qstride, &a);
    memcpy(want, q, qn);
    memset(q, 0xa5, qn);
    k->enc_e4m3_pow2[s](x, z.stride, z.rows, cols, z.block, code, q, z.qstride, &b);
    cr_assert_arr_eq(q, want, qn, "%s", context(k, "enc_e4m3_pow2", (int)s, &z));
    check_count(&a, &b, context(k, "enc_e4m3_pow2", (int)s, &z));

    /* E4M3 and INT8 by FP32 scales */
    float *const scale = (float *)(void *)fence_place(&args, 4 * z.blocks, false);
    for (size_t i = 0; i < z.blocks; i++)
        scale[i] = random_scale();
    a = b = (struct kern_count){ 1, 2, 3 };
    memset(q, 0xa5, qn);
    c->enc_e4m3_f32[s](x, z.stride, z.rows, cols, z.block, scale, q, z.qstride, &a);
    memcpy(want, q, qn);
    memset(q, 0xa5, qn);
    k->enc_e4m3_f32[s](x, z.stride, z.rows, cols, z.block, scale, q, z.qstride, &b);
    cr_assert_arr_eq(q, want, qn, "%s", context(k, "enc_e4m3_f32", (int)s, &z));
    check_count(&a, &b, context(k, "enc_e4m3_f32", (int)s, &z));

    memset(q, 0xa5, qn);
    c->enc_int8[s](x, z.stride, z.rows, cols, z.block, scale, (int8_t *)q, z.qstride, &a);
    memcpy(want, q, qn);
    memset(q, 0xa5, qn);
    k->enc_int8[s](x, z.stride, z.rows, cols, z.block, scale, (int8_t *)q, z.qstride, &b);
    cr_assert_arr_eq(q, want, qn, "%s", context(k, "enc_int8", (int)s, &z));
    check_count(&a, &b, context(k, "enc_int8", (int)s, &z));
    for (size_t r = 0; r + 1 < z.rows; r++)
        for (size_t i = cols; i < z.qstride; i++)
            cr_assert_eq(q[r * z.qstride + i], 0xa5, "between rows: %s",
                         context(k, "enc_int8", (int)s, &z));
}

static void check_decoders(const struct kern *c, const struct kern *k, size_t cols)
{
    const struct shape z = random_shape(cols, 1);
    const size_t n = extent(z.rows, z.qstride, cols), yn = extent(z.rows, z.ystride, 4 * cols);
    uint8_t *const q = fence_place(&source, n, z.front);
    uint8_t *const y = fence_place(&dest, yn, z.front);
    float *const scale = (float *)(void *)fence_place(&args, 4 * z.blocks, false);
    const bool nan = below(2);

    for (size_t i = 0; i < n; i++) {
        q[i] = (uint8_t)oracle_random(&rng);
        if (!nan && (q[i] & 0x7f) == 0x7f)
            q[i] ^= 1;
    }
    for (size_t i = 0; i < z.blocks; i++)
        scale[i] = random_scale();
    memset(y, 0xa5, yn);
    c->dec_e4m3(q, z.qstride, z.rows, cols, z.block, scale, (float *)(void *)y, z.ystride);
    memcpy(want, y, yn);
    memset(y, 0xa5, yn);
    k->dec_e4m3(q, z.qstride, z.rows, cols, z.block, scale, (float *)(void *)y, z.ystride);
    cr_assert_arr_eq(y, want, yn, "%s", context(k, "dec_e4m3", 0, &z));

    memset(y, 0xa5, yn);
    c->dec_int8((int8_t *)q, z.qstride, z.rows, cols, z.block, scale, (float *)(void *)y,
                z.ystride);
    memcpy(want, y, yn);
    memset(y, 0xa5, yn);
    k->dec_int8((int8_t *)q, z.qstride, z.rows, cols, z.block, scale, (float *)(void *)y,
                z.ystride);
    cr_assert_arr_eq(y, want, yn, "%s", context(k, "dec_int8", 0, &z));
}

static void check_conversions(const struct kern *c, const struct kern *k, size_t n)
{
    const struct shape z = { .rows = 1, .cols = n, .front = below(2) };
    uint16_t *const h = (uint16_t *)(void *)fence_place(&source, 2 * n, z.front);
    float *const y = (float *)(void *)fence_place(&dest, 4 * n, z.front);
    const int kind = (int)below(6);

    for (size_t i = 0; i < n; i++)
        h[i] = (uint16_t)random_element(SRC_F16, below(8) ? kind : 0);
    c->bf16_to_f32(h, y, n);
    memcpy(want, y, 4 * n);
    memset(y, 0, 4 * n);
    k->bf16_to_f32(h, y, n);
    cr_assert_arr_eq((uint8_t *)y, want, 4 * n, "%s", context(k, "bf16_to_f32", 0, &z));
    c->f16_to_f32(h, y, n);
    memcpy(want, y, 4 * n);
    memset(y, 0, 4 * n);
    k->f16_to_f32(h, y, n);
    cr_assert_arr_eq((uint8_t *)y, want, 4 * n, "%s", context(k, "f16_to_f32", 0, &z));

    for (size_t i = 0; i < n; i++) {
        uint32_t u = random_element(SRC_F32, kind);

        /* FP32 values at the edges of F16: ties, subnormals, overflow */
        if (below(3) == 0)
            u = f32_bits(f16_decode((uint16_t)u)) + (0x1000u * below(3)) + below(3) - 1;
        y[i] = f32_from(u);
    }
    c->f32_to_bf16(y, h, n);
    memcpy(want, h, 2 * n);
    memset(h, 0, 2 * n);
    k->f32_to_bf16(y, h, n);
    cr_assert_arr_eq((uint8_t *)h, want, 2 * n, "%s", context(k, "f32_to_bf16", 0, &z));
    c->f32_to_f16(y, h, n);
    memcpy(want, h, 2 * n);
    memset(h, 0, 2 * n);
    k->f32_to_f16(y, h, n);
    cr_assert_arr_eq((uint8_t *)h, want, 2 * n, "%s", context(k, "f32_to_f16", 0, &z));
}

static bool same_double(double a, double b)
{
    return (a != a && b != b) || memcmp(&a, &b, sizeof a) == 0;
}

static void check_sums(const struct kern_error *a, const struct kern_error *b, size_t n, const struct kern_match *ma,
                       const struct kern_match *mb, const char *where)
{
    for (size_t i = 0; i < n; i++)
        cr_assert(same_double(a[i].se, b[i].se) && same_double(a[i].sx, b[i].sx) && same_double(a[i].sy, b[i].sy),
                  "%s: sums %zu: se %a/%a sx %a/%a", where, i, a[i].se, b[i].se, a[i].sx, b[i].sx);
    cr_assert(f32_bits(ma->max) == f32_bits(mb->max) && ma->equal == mb->equal && ma->flushed == mb->flushed && ma->saturated == mb->saturated,
              "%s: max %a/%a equal %llu/%llu flushed %llu/%llu saturated %llu/%llu", where, (double)ma->max, (double)mb->max,
              (unsigned long long)ma->equal, (unsigned long long)mb->equal, (unsigned long long)ma->flushed,
              (unsigned long long)mb->flushed, (unsigned long long)ma->saturated, (unsigned long long)mb->saturated);
}

static void check_error(const struct kern *c, const struct kern *k, const float *x, const float *y, size_t n)
{
    static const size_t block[] = { KERN_SEGMENT, 3 * KERN_SEGMENT, SIZE_MAX };
    struct kern_error a[32], b[32];
    const struct shape z = { .rows = 1, .cols = n, .block = n / COUNT(a) < KERN_SEGMENT ? block[n % 3] : SIZE_MAX };
    struct kern_match ma = { 0.5f, 7, 9, 11 }, mb = ma;

    for (size_t i = 0; i < COUNT(a); i++)
        a[i] = b[i] = (struct kern_error){ 1, 2, 3 };
    c->error(x, y, n, z.block, a, &ma);
    k->error(x, y, n, z.block, b, &mb);
    check_sums(a, b, COUNT(a), &ma, &mb, context(k, "error", 0, &z));
}

/* Codes without NaN, without zero and without both, so that segments of all kinds are met. */
static void check_error_e4m3(const struct kern *c, const struct kern *k, size_t cols, enum src s)
{
    const size_t esz = s == SRC_F32 ? 4 : 2;
    const struct shape z = random_shape(cols, esz);
    const size_t n = extent(z.rows, z.qstride, cols);
    uint8_t *const x = fence_place(&source, extent(z.rows, z.stride, cols * esz), z.front);
    uint8_t *const q = fence_place(&dest, n, z.front);
    float *const scale = (float *)(void *)fence_place(&args, 4 * z.blocks, false);
    const uint32_t kind = below(4);
    struct kern_error a[32], b[32];
    struct kern_match ma = { 0.5f, 7, 9, 11 }, mb = ma;

    for (size_t i = 0; i < COUNT(a); i++)
        a[i] = b[i] = (struct kern_error){ 1, 2, 3 };
    fill(x, &z, s);
    for (size_t i = 0; i < n; i++) {
        q[i] = (uint8_t)oracle_random(&rng);
        if ((kind & 1 && (q[i] & 0x7f) == 0x7f) || (kind & 2 && (q[i] & 0x7f) == 0))
            q[i] ^= 4;
    }
    for (size_t i = 0; i < z.blocks; i++)
        scale[i] = below(3) ? 1.0f / 64 : random_scale();
    c->error_e4m3[s](x, z.stride, q, z.qstride, z.rows, cols, z.block, scale, a, &ma);
    k->error_e4m3[s](x, z.stride, q, z.qstride, z.rows, cols, z.block, scale, b, &mb);
    check_sums(a, b, COUNT(a), &ma, &mb, context(k, "error_e4m3", (int)s, &z));
}

static void random_errors(const struct kern *c, const struct kern *k, size_t n)
{
    float *const x = (float *)(void *)fence_place(&source, 4 * n, false);
    float *const y = (float *)(void *)fence_place(&dest, 4 * n, false);
    const int kind = (int)below(6);

    for (size_t i = 0; i < n; i++) {
        x[i] = f32_from(random_element(SRC_F32, kind));
        y[i] = below(3) ? x[i] * 1.01f : below(2) ? x[i] : f32_from(random_element(SRC_F32, kind));
    }
    check_error(c, k, x, y, n);
}

Test(levels, equal_c)
{
    const struct kern *const c = kern_level("c"), *const k = kern_level("avx2");

    if (!k) {
        fprintf(stderr, "skipped: this CPU has no level above c\n");
        return;
    }
    rng = oracle_seed();
    cr_log_info("OCTAVO_SEED=%llu", (unsigned long long)oracle_seed());
    source = fence_make(1 << 16);
    dest = fence_make(1 << 16);
    args = fence_make(1 << 16);
    for (int round = 0; round < 60; round++)
        for (size_t cols = 0; cols <= 257; cols++) {
            check_encoders(c, k, cols, (enum src)(cols + (size_t)round) % SRC_COUNT);
            check_decoders(c, k, cols);
            check_conversions(c, k, cols);
            random_errors(c, k, cols);
            check_error_e4m3(c, k, cols, (enum src)(cols + (size_t)round) % SRC_COUNT);
        }
    for (int round = 0; round < 60; round++) {
        const size_t cols = 258 + below(3000);

        check_encoders(c, k, cols, (enum src)below(SRC_COUNT));
        check_decoders(c, k, cols);
        random_errors(c, k, cols);
        check_error_e4m3(c, k, cols, (enum src)below(SRC_COUNT));
    }
}

/* Long enough to pass every limit of the vector code's narrow counters. */
Test(levels, equal_c_when_large)
{
    enum { N = (1 << 21) + 4711 };
    static uint16_t x[N];
    static uint8_t q[2][N];
    static float fx[N], fy[N];
    static const uint8_t code = 119;
    static const float scale = 0.0078f;
    const struct kern *const c = kern_level("c"), *const k = kern_level("avx2");
    struct kern_count a = { 0 }, b = { 0 };

    if (!k)
        return;
    rng = oracle_seed();
    for (size_t i = 0; i < N; i++) {
        x[i] = (uint16_t)random_element(SRC_BF16, 4);
        fx[i] = bf16_decode(x[i]);
        fy[i] = i % 3 ? fx[i] : fx[i] * 1.03f;
    }
    c->enc_e4m3_pow2[SRC_BF16](x, 0, 1, N, N, &code, q[0], 0, &a);
    k->enc_e4m3_pow2[SRC_BF16](x, 0, 1, N, N, &code, q[1], 0, &b);
    cr_assert_eq(memcmp(q[0], q[1], N), 0);
    check_count(&a, &b, "enc_e4m3_pow2");
    c->enc_int8[SRC_BF16](x, 0, 1, N, N, &scale, (int8_t *)q[0], 0, &a);
    k->enc_int8[SRC_BF16](x, 0, 1, N, N, &scale, (int8_t *)q[1], 0, &b);
    cr_assert_eq(memcmp(q[0], q[1], N), 0);
    check_count(&a, &b, "enc_int8");
    check_error(c, k, fx, fy, N);
    check_error(c, k, fx, fx, N);
}

/* Vectors of equal elements: every lane of a counter counts every time. */
Test(levels, counters_do_not_overflow)
{
    enum { N = 300 * 128 };
    static const size_t block[] = { 32, 96, 128, N };
    static float x[N];
    static uint8_t q[N], code[N / 32];
    static float scale[N / 32];

    for (size_t i = 0; i < COUNT(scale); i++) {
        scale[i] = 1;
        code[i] = 127;
    }
    for (size_t i = 0; i < COUNT(block); i++)
        for (int tiny = 0; tiny < 2; tiny++)
            for (const char *const *l = (const char *const[]){ "c", "avx2", NULL }; *l; l++) {
                const struct kern *const k = kern_level(*l);
                struct kern_count n = { 0 };

                if (!k)
                    continue;
                for (size_t j = 0; j < N; j++)
                    x[j] = tiny ? 0x1p-20f : 1;
                k->enc_e4m3_pow2[SRC_F32](x, 0, 1, N, block[i], code, q, 0, &n);
                k->enc_e4m3_f32[SRC_F32](x, 0, 1, N, block[i], scale, q, 0, &n);
                k->enc_int8[SRC_F32](x, 0, 1, N, block[i], scale, (int8_t *)q, 0, &n);
                check_count(&(struct kern_count){ tiny * 3 * N, tiny * 3 * N, 0 }, &n, k->name);
            }
}

/* A difference that FP32 cannot hold: code 1 times this scale is x * (1 + 2^-23),
 * and x is already subnormal. */
Test(levels, exactness_at_the_edge_of_fp32)
{
    static const float scale = 0x1.000002p-120f;
    float x[64];
    uint8_t q[64];

    for (size_t i = 0; i < COUNT(x); i++)
        x[i] = 0x1p-129f;
    for (const char *const *l = (const char *const[]){ "c", "avx2", NULL }; *l; l++) {
        const struct kern *const k = kern_level(*l);
        struct kern_count n = { 0 };

        if (!k)
            continue;
        k->enc_e4m3_f32[SRC_F32](x, 0, 1, COUNT(x), COUNT(x), &scale, q, 0, &n);
        cr_assert_eq(q[0], 1);
        check_count(&(struct kern_count){ COUNT(x), 0, 0 }, &n, k->name);
    }
}
