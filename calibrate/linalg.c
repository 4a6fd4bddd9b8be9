#include "calibrate/linalg.h"
#include "calibrate/each.h"
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef OCTAVO_STATIC
#include <dlfcn.h>
#endif

/* CBLAS's numbers for row-major, as it is and transposed. */
enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 };
typedef void sgemm_fn(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
typedef void dgemm_fn(int, int, int, int, int, int, double, const double *, int, const double *, int, double, double *, int);

static struct {
    sgemm_fn *sgemm;
    dgemm_fn *dgemm;
    const char *name;
} blas;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if !defined OCTAVO_STATIC && defined __x86_64__
/* A version that does not know a processor takes it for one of 2004. What it can do is asked here. */
static void choose_core(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        setenv("OPENBLAS_CORETYPE", "SKYLAKEX", 0);
    else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        setenv("OPENBLAS_CORETYPE", "HASWELL", 0);
}
#else
static void choose_core(void) { }
#endif

/* The library is loaded when first needed: it starts threads and takes memory as it loads, which
 * no other verb should pay for. */
static void load(void)
{
    blas.name = "plain C";
#ifndef OCTAVO_STATIC
    const char *want = getenv("OCTAVO_BLAS");
    if (want && !strcmp(want, "none"))
        return;
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    choose_core();
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return;
    void *s = dlsym(lib, "cblas_sgemm"), *d = dlsym(lib, "cblas_dgemm"), *config = dlsym(lib, "openblas_get_config");
    void *core = dlsym(lib, "openblas_get_corename");
    if (!s || !d || !config) {
        dlclose(lib);
        return;
    }
    static char name[96];
    char *(*describe)(void), *(*kernels)(void) = NULL;
    memcpy(&blas.sgemm, &s, sizeof s);
    memcpy(&blas.dgemm, &d, sizeof d);
    memcpy(&describe, &config, sizeof config);
    memcpy(&kernels, &core, sizeof core);
    const char *text = describe(); /* "OpenBLAS 0.3.21 NO_LAPACKE ..." */
    const size_t first = strcspn(text, " "), both = first + (text[first] ? 1 + strcspn(text + first + 1, " ") : 0);
    snprintf(name, sizeof name, "%.*s%s%s", both < 40 ? (int)both : 40, text, core ? " " : "", core ? kernels() : "");
    blas.name = name;
#endif
}

const char *la_name(void)
{
    pthread_once(&once, load);
    return blas.name;
}

/* The plain product, written once for both types: a row of C at a time, so that the innermost
 * loop runs along rows of B, or, where B is transposed, along rows of A and B. */
#define PLAIN(NAME, T)                                                                                                             \
    static void NAME(bool ta, bool tb, size_t m, size_t n, size_t k, T alpha, const T *a, size_t lda, const T *b, size_t ldb,      \
                     T beta, T *c, size_t ldc)                                                                                     \
    {                                                                                                                              \
        enum { LANES = 16 };                                                                                                       \
        for (size_t i = 0; i < m; i++) {                                                                                           \
            T *row = c + i * ldc;                                                                                                  \
            for (size_t j = 0; j < n; j++)                                                                                         \
                row[j] = beta == 0 ? 0 : beta * row[j];                                                                            \
            for (size_t p = 0; !tb && p < k; p++) {                                                                                \
                const T f = alpha * (ta ? a[p * lda + i] : a[i * lda + p]);                                                        \
                for (size_t j = 0; j < n; j++)                                                                                     \
                    row[j] += f * b[p * ldb + j];                                                                                  \
            }                                                                                                                      \
            for (size_t j = 0; tb && j < n; j++) {                                                                                 \
                T lane[LANES] = {0}, sum = 0;                                                                                      \
                const T *x = a + i * lda, *y = b + j * ldb;                                                                        \
                size_t p = 0;                                                                                                      \
                for (; !ta && p + LANES <= k; p += LANES)                                                                          \
                    for (size_t l = 0; l < LANES; l++)                                                                             \
                        lane[l] += x[p + l] * y[p + l];                                                                            \
                for (; p < k; p++)                                                                                                 \
                    sum += (ta ? a[p * lda + i] : x[p]) * y[p];                                                                    \
                for (size_t l = 0; l < LANES; l++)                                                                                 \
                    sum += lane[l];                                                                                                \
                row[j] += alpha * sum;                                                                                             \
            }                                                                                                                      \
        }                                                                                                                          \
    }
PLAIN(plain_sgemm, float)
PLAIN(plain_dgemm, double)

void la_sgemm(bool ta, bool tb, size_t m, size_t n, size_t k, float alpha, const float *a, size_t lda, const float *b, size_t ldb,
              float beta, float *c, size_t ldc)
{
    pthread_once(&once, load);
    if (!m || !n)
        return;
    if (blas.sgemm && k)
        blas.sgemm(ROW_MAJOR, ta ? TRANSPOSED : AS_IS, tb ? TRANSPOSED : AS_IS, (int)m, (int)n, (int)k, alpha, a, (int)lda, b,
                   (int)ldb, beta, c, (int)ldc);
    else
        plain_sgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void la_dgemm(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a, size_t lda, const double *b,
              size_t ldb, double beta, double *c, size_t ldc)
{
    pthread_once(&once, load);
    if (!m || !n)
        return;
    if (blas.dgemm && k)
        blas.dgemm(ROW_MAJOR, ta ? TRANSPOSED : AS_IS, tb ? TRANSPOSED : AS_IS, (int)m, (int)n, (int)k, alpha, a, (int)lda, b,
                   (int)ldb, beta, c, (int)ldc);
    else
        plain_dgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Pieces of a product: so many rows of X by so many rows of W. */
enum { PIECE_ROWS = 512, PIECE_OUT = 512 };
struct linear {
    size_t rows, in, out, ldx, ldy, across;
    const float *x, *w;
    float *y;
};

static void linear_piece(void *ctx, size_t i)
{
    const struct linear *l = ctx;
    const size_t r = i / l->across * PIECE_ROWS, o = i % l->across * PIECE_OUT;
    la_sgemm(false, true, least(PIECE_ROWS, l->rows - r), least(PIECE_OUT, l->out - o), l->in, 1, l->x + r * l->ldx, l->ldx,
             l->w + o * l->in, l->in, 0, l->y + r * l->ldy + o, l->ldy);
}

void la_linear(unsigned threads, size_t rows, size_t in, size_t out, const float *x, size_t ldx, const float *w, float *y, size_t ldy)
{
    struct linear l = {rows, in, out, ldx, ldy, (out + PIECE_OUT - 1) / PIECE_OUT, x, w, y};
    each(threads, (rows + PIECE_ROWS - 1) / PIECE_ROWS * l.across, linear_piece, &l);
}

/* Tiles of H, those on and above the diagonal, counted row after row. */
enum { TILE = 256, GRAM_ROWS = 1024 };
struct gram {
    size_t rows, n, ldx, tiles;
    const float *x;
    double *h;
};

static void gram_tile(void *ctx, size_t t)
{
    const struct gram *g = ctx;
    size_t i = 0;
    for (; t >= g->tiles - i; i++)
        t -= g->tiles - i;
    const size_t r0 = i * TILE, c0 = (i + t) * TILE, nr = least(TILE, g->n - r0), nc = least(TILE, g->n - c0);
    float sum[TILE * TILE];
    for (size_t at = 0; at < g->rows; at += GRAM_ROWS) {
        const float *x = g->x + at * g->ldx;
        la_sgemm(true, false, nr, nc, least(GRAM_ROWS, g->rows - at), 1, x + r0, g->ldx, x + c0, g->ldx, 0, sum, nc);
        for (size_t r = 0; r < nr; r++)
            for (size_t c = c0 == r0 ? r : 0; c < nc; c++)
                g->h[(r0 + r) * g->n + c0 + c] += (double)sum[r * nc + c];
    }
}

void la_gram(unsigned threads, size_t rows, size_t n, const float *x, size_t ldx, double *h)
{
    struct gram g = {rows, n, ldx, (n + TILE - 1) / TILE, x, h};
    each(threads, g.tiles * (g.tiles + 1) / 2, gram_tile, &g);
}
