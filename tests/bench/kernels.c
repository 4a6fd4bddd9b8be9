/* How fast each kernel is, at each level.
 *
 *   bench-kernels              one line per kernel and level: nanoseconds per
 *                              element (median of many runs over 65,536
 *                              elements, which stay in L2), the ratio of C to
 *                              the level, and the level relative to memcpy of
 *                              the source's bytes, timed in the same run.
 *   bench-kernels --list       the kernels' names
 *   bench-kernels --ir KERNEL LEVEL
 *                              runs one kernel once over 256 x 8192 elements,
 *                              inside bench_entry, for exact counting:
 *
 *   valgrind --tool=callgrind --toggle-collect=bench_entry \
 *       --callgrind-out-file=/dev/null bench-kernels --ir amax-bf16-128 avx2
 *
 *   The "Collected" line divided by 2097152 is instructions per element. */
#include "quantizers/kern.h"
#include "quantizers/num.h"
#include "quantizers/scale.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum op { AMAX, POW2, F32, INT8, E2M1_POW2, E2M1_F32, DEC_E4M3, DEC_INT8, TO_F32_BF16, TO_F32_F16, TO_BF16, TO_F16,
          ERROR, ERROR_E4M3 };

static const struct bench {
    const char *name;
    enum op op;
    enum src src;
    size_t rows, block;   /* rows that share scales; block 0: a whole row */
} bench_table[] = {
    { "amax-bf16-128", AMAX, SRC_BF16, 128, 128 },
    { "amax-f16-128", AMAX, SRC_F16, 128, 128 },
    { "amax-f32-128", AMAX, SRC_F32, 128, 128 },
    { "amax-bf16-32", AMAX, SRC_BF16, 1, 32 },
    { "amax-f16-32", AMAX, SRC_F16, 1, 32 },
    { "amax-f32-32", AMAX, SRC_F32, 1, 32 },
    { "amax-bf16-row", AMAX, SRC_BF16, 1, 0 },
    { "pow2-bf16-128", POW2, SRC_BF16, 128, 128 },
    { "pow2-f16-128", POW2, SRC_F16, 128, 128 },
    { "pow2-f32-128", POW2, SRC_F32, 128, 128 },
    { "pow2-bf16-32", POW2, SRC_BF16, 1, 32 },
    { "pow2-f16-32", POW2, SRC_F16, 1, 32 },
    { "pow2-f32-32", POW2, SRC_F32, 1, 32 },
    { "pow2-bf16-row", POW2, SRC_BF16, 1, 0 },
    { "f32-bf16-128", F32, SRC_BF16, 128, 128 },
    { "f32-f16-128", F32, SRC_F16, 128, 128 },
    { "f32-f32-128", F32, SRC_F32, 128, 128 },
    { "int8-bf16-row", INT8, SRC_BF16, 1, 0 },
    { "int8-f16-row", INT8, SRC_F16, 1, 0 },
    { "int8-f32-row", INT8, SRC_F32, 1, 0 },
    { "e2m1-pow2-f32-32", E2M1_POW2, SRC_F32, 1, 32 },
    { "e2m1-f32-f32-16", E2M1_F32, SRC_F32, 1, 16 },
    { "dec-e4m3-128", DEC_E4M3, SRC_COUNT, 128, 128 },
    { "dec-e4m3-32", DEC_E4M3, SRC_COUNT, 1, 32 },
    { "dec-int8-row", DEC_INT8, SRC_COUNT, 1, 0 },
    { "bf16-to-f32", TO_F32_BF16, SRC_COUNT, 1, 0 },
    { "f16-to-f32", TO_F32_F16, SRC_COUNT, 1, 0 },
    { "f32-to-bf16", TO_BF16, SRC_COUNT, 1, 0 },
    { "f32-to-f16", TO_F16, SRC_COUNT, 1, 0 },
    { "error", ERROR, SRC_COUNT, 1, 0 },
    { "error-bf16-128", ERROR_E4M3, SRC_BF16, 128, 128 },
    { "error-bf16-32", ERROR_E4M3, SRC_BF16, 1, 32 },
    { "error-f32-128", ERROR_E4M3, SRC_F32, 128, 128 },
};
enum { BENCHES = sizeof bench_table / sizeof *bench_table };

struct data {
    size_t rows, cols;
    void *src[SRC_COUNT];
    uint8_t *q;
    float *y, *amax, *scale;
    uint8_t *code;   /* a row of codes for each row */
    struct kern_error *sums;
};

static double gauss(uint64_t *s)
{
    double sum = 0;

    for (int i = 0; i < 12; i++) {
        *s = *s * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*s >> 40) * 0x1p-24;
    }
    return sum - 6;
}

static void *need(void *p)
{
    if (!p) {
        fprintf(stderr, "bench-kernels: out of memory\n");
        exit(4);
    }
    return p;
}

/* Weights as they are: Gaussian, one in 2000 eight times as large. */
static struct data make(size_t rows, size_t cols)
{
    const size_t n = rows * cols;
    struct data d = { .rows = rows, .cols = cols };
    uint64_t s = 1;

    for (int i = 0; i < SRC_COUNT; i++)
        d.src[i] = need(aligned_alloc(64, n * 4));
    d.q = need(aligned_alloc(64, n));
    d.y = need(aligned_alloc(64, n * 4));
    d.amax = need(aligned_alloc(64, n * 4));
    d.scale = need(aligned_alloc(64, n * 4));
    d.code = need(aligned_alloc(64, n));
    d.sums = need(calloc(cols / KERN_SEGMENT + 1, sizeof *d.sums));
    for (size_t i = 0; i < n; i++) {
        const float x = (float)(gauss(&s) * 0.02 * (i % 2000 == 77 ? 8 : 1));

        ((uint16_t *)d.src[SRC_BF16])[i] = bf16_encode(x);
        ((uint16_t *)d.src[SRC_F16])[i] = f16_encode(x);
        ((float *)d.src[SRC_F32])[i] = x;
        d.q[i] = 0x30;
        d.y[i] = i % 2 ? x : x * 1.01f;
    }
    return d;
}

static size_t block_of(const struct bench *b, const struct data *d)
{
    return b->block ? b->block : d->cols;
}

/* The scales that the encoders need, by the default rules; the decoders get
 * the codes of an encoder. */
static void prepare(const struct bench *b, const struct kern *k, struct data *d)
{
    const enum src s = b->src == SRC_COUNT ? SRC_BF16 : b->src;
    const size_t block = block_of(b, d), across = (d->cols + block - 1) / block;
    const bool int8 = b->op == INT8 || b->op == DEC_INT8, pow2 = b->op == DEC_E4M3 || b->op == ERROR_E4M3;
    const bool fp4 = b->op == E2M1_POW2 || b->op == E2M1_F32;
    const struct scale_rule_f32 *const rule = scale_rule_f32_find(NULL, int8 ? DT_I8 : fp4 ? DT_F4 : DT_F8_E4M3);
    const size_t size = s == SRC_F32 ? 4 : 2;
    struct kern_count n = { 0 };

    for (size_t r = 0, o = 0; r < d->rows; r += b->rows, o += across) {
        const size_t rows = d->rows - r < b->rows ? d->rows - r : b->rows;
        const char *const x = (char *)d->src[s] + r * d->cols * size;

        k->amax[s](x, d->cols * size, rows, d->cols, block, d->amax + o);
        for (size_t i = o; i < o + across; i++) {
            d->code[i] = scale_smallest(d->amax[i], fp4 ? &num_e2m1 : &num_e4m3);
            d->scale[i] = pow2 ? ue8m0_decode(d->code[i]) : rule->scale(d->amax[i]);
        }
        if (pow2)
            k->enc_e4m3_pow2[s](x, d->cols * size, rows, d->cols, block, d->code + o,
                                d->q + r * d->cols, d->cols, &n);
        if (b->op == DEC_INT8)
            k->enc_int8[s](x, d->cols * size, rows, d->cols, block, d->scale + o,
                           (int8_t *)d->q + r * d->cols, d->cols, &n);
    }
}

/* A clone under another name would escape the toggle: nothing is counted. */
#if defined(__clang__)
#define ENTRY_POINT __attribute__((noinline))
#else
#define ENTRY_POINT __attribute__((noinline, noclone))
#endif
ENTRY_POINT void bench_entry(const struct bench *b, const struct kern *k, struct data *d);
void bench_entry(const struct bench *b, const struct kern *k, struct data *d)
{
    const size_t block = block_of(b, d), across = (d->cols + block - 1) / block;
    const size_t all = d->rows * d->cols, size = b->src == SRC_F32 ? 4 : 2;
    struct kern_count n = { 0 };
    struct kern_error e = { 0 };
    struct kern_match m = { 0 };

    switch (b->op) {
    case TO_F32_BF16: k->bf16_to_f32(d->src[SRC_BF16], d->y, all); return;
    case TO_F32_F16: k->f16_to_f32(d->src[SRC_F16], d->y, all); return;
    case TO_BF16: k->f32_to_bf16(d->src[SRC_F32], (uint16_t *)d->y, all); return;
    case TO_F16: k->f32_to_f16(d->src[SRC_F32], (uint16_t *)d->y, all); return;
    case ERROR: k->error(d->src[SRC_F32], d->y, all, all, &e, &m); return;
    default: break;
    }
    for (size_t r = 0, o = 0; r < d->rows; r += b->rows, o += across) {
        const size_t rows = d->rows - r < b->rows ? d->rows - r : b->rows, at = r * d->cols;
        const size_t stride = d->cols * size;
        const void *const x = b->src == SRC_COUNT ? NULL : (char *)d->src[b->src] + at * size;

        switch (b->op) {
        case AMAX:
            k->amax[b->src](x, stride, rows, d->cols, block, d->amax + o);
            break;
        case POW2:
            k->enc_e4m3_pow2[b->src](x, stride, rows, d->cols, block, d->code + o, d->q + at,
                                     d->cols, &n);
            break;
        case F32:
            k->enc_e4m3_f32[b->src](x, stride, rows, d->cols, block, d->scale + o, d->q + at,
                                    d->cols, &n);
            break;
        case INT8:
            k->enc_int8[b->src](x, stride, rows, d->cols, block, d->scale + o,
                                (int8_t *)d->q + at, d->cols, &n);
            break;
        case E2M1_POW2:
            k->enc_e2m1(x, d->cols, block, d->code + o, NULL, kern_e2m1_of(&num_e2m1), d->q + at, &n);
            break;
        case E2M1_F32:
            k->enc_e2m1(x, d->cols, block, NULL, d->scale + o, kern_e2m1_of(&num_e2m1), d->q + at, &n);
            break;
        case DEC_E4M3:
            k->dec_e4m3(d->q + at, d->cols, rows, d->cols, block, d->scale + o, d->y + at,
                        d->cols * 4);
            break;
        case ERROR_E4M3:
            k->error_e4m3[b->src](x, stride, d->q + at, d->cols, rows, d->cols, block, d->scale + o, d->sums, &m);
            break;
        default:
            k->dec_int8((int8_t *)d->q + at, d->cols, rows, d->cols, block, d->scale + o,
                        d->y + at, d->cols * 4);
        }
    }
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median time of one pass, in nanoseconds per element.  k NULL: memcpy of as
 * many bytes as the kernel's source has. */
static double measure(const struct bench *b, const struct kern *k, struct data *d)
{
    enum { RUNS = 101 };
    const size_t all = d->rows * d->cols;
    const size_t bytes = all * (b->op == DEC_E4M3 || b->op == DEC_INT8 ? 1
                                : b->src == SRC_F32 || b->op == TO_BF16 || b->op == TO_F16 || b->op == ERROR ? 4 : 2);
    double t[RUNS];

    for (int i = -3; i < RUNS; i++) {
        const double start = now();

        if (k) {
            bench_entry(b, k, d);
        } else {
            memcpy(d->y, d->src[SRC_F32], bytes);
            __asm__ volatile("" : : "r"(d->y) : "memory");
        }
        if (i >= 0)
            t[i] = now() - start;
    }
    qsort(t, RUNS, sizeof *t, ascending);
    return t[RUNS / 2] / (double)all;
}

static int table(void)
{
    struct data d = make(128, 512);
    const struct kern *const c = kern_level("c"), *const avx2 = kern_level("avx2");

    printf("%-14s %9s %9s %9s %7s %8s\n", "kernel", "c ns/el", "avx2", "memcpy", "c/avx2",
           "/memcpy");
    for (int i = 0; i < BENCHES; i++) {
        const struct bench *const b = &bench_table[i];

        prepare(b, c, &d);
        const double copy = measure(b, NULL, &d);
        prepare(b, c, &d);
        const double plain = measure(b, c, &d), fast = avx2 ? measure(b, avx2, &d) : plain;

        printf("%-14s %9.3f %9.3f %9.3f %7.1f %8.2f\n", b->name, plain, fast, copy, plain / fast,
               fast / copy);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 1)
        return table();
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (int i = 0; i < BENCHES; i++)
            puts(bench_table[i].name);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "--ir") == 0) {
        const struct kern *const k = kern_level(argv[3]);

        for (int i = 0; k && i < BENCHES; i++)
            if (strcmp(argv[2], bench_table[i].name) == 0) {
                struct data d = make(256, 8192);

                prepare(&bench_table[i], k, &d);
                bench_entry(&bench_table[i], k, &d);
                return 0;
            }
    }
    fprintf(stderr, "usage: bench-kernels [--list | --ir KERNEL c|avx2]\n");
    return 2;
}
