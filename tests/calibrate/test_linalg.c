/* Products against sums written out in long double, with the library at hand and in plain C. */
#include <criterion/criterion.h>
#include "calibrate/linalg.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 7;
static double next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)state / 9.3e18;
}

static void check_gemm(void)
{
    enum { MOST = 70, LD = 73 };
    static float a[MOST * LD], b[MOST * LD], c[MOST * LD], was[MOST * LD];
    static double da[MOST * LD], db[MOST * LD], dc[MOST * LD];
    static const size_t shape[][3] = {{1, 1, 1}, {1, 70, 33}, {70, 1, 16}, {5, 7, 0}, {33, 17, 70}, {70, 70, 70}, {16, 16, 15}};
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        for (int form = 0; form < 8; form++) {
            const bool ta = form & 1, tb = form & 2;
            const float beta = form & 4 ? 0.5f : 0, alpha = 1.25f;
            const size_t m = shape[s][0], n = shape[s][1], k = shape[s][2];
            for (size_t i = 0; i < MOST * LD; i++) {
                da[i] = a[i] = (float)next();
                db[i] = b[i] = (float)next();
                was[i] = c[i] = (float)next();
                dc[i] = was[i];
                if (beta == 0)
                    dc[i] = c[i] = NAN;
            }
            la_sgemm(ta, tb, m, n, k, alpha, a, LD, b, LD, beta, c, LD);
            la_dgemm(ta, tb, m, n, k, (double)alpha, da, LD, db, LD, (double)beta, dc, LD);
            for (size_t i = 0; i < MOST; i++)
                for (size_t j = 0; j < LD; j++) {
                    const size_t at = i * LD + j;
                    if (i >= m || j >= n) { /* outside C nothing changes */
                        cr_assert(beta == 0 ? isnan(c[at]) && isnan(dc[at]) : c[at] == was[at] && dc[at] == (double)was[at]);
                        continue;
                    }
                    long double sum = (long double)beta * was[at], size = fabsl(sum);
                    for (size_t p = 0; p < k; p++) {
                        const long double v = (long double)alpha * (ta ? a[p * LD + i] : a[i * LD + p]) *
                                              (tb ? b[j * LD + p] : b[p * LD + j]);
                        sum += v;
                        size += fabsl(v);
                    }
                    cr_assert(fabsl(c[at] - sum) <= 1e-5L * size, "%zu form %d: %g for %Lg", s, form, c[at], sum);
                    cr_assert(fabsl(dc[at] - sum) <= 1e-14L * size, "%zu form %d: %g for %Lg", s, form, dc[at], sum);
                }
        }
}

/* Sizes over several pieces; equal bits for any number of threads. */
static void check_pieces(void)
{
    enum { ROWS = 300, IN = 301, OUT = 530, LDX = 310 };
    float *x = malloc(sizeof *x * ROWS * LDX), *w = malloc(sizeof *w * OUT * IN);
    float *y = malloc(sizeof *y * ROWS * OUT), *y1 = malloc(sizeof *y * ROWS * OUT);
    double *h = calloc((size_t)IN * IN, sizeof *h), *h1 = calloc((size_t)IN * IN, sizeof *h);
    for (size_t i = 0; i < ROWS * LDX; i++)
        x[i] = (float)next();
    for (size_t i = 0; i < OUT * IN; i++)
        w[i] = (float)next();
    la_linear(1, ROWS, IN, OUT, x, LDX, w, y1, OUT);
    la_linear(3, ROWS, IN, OUT, x, LDX, w, y, OUT);
    cr_assert(!memcmp(y, y1, sizeof *y * ROWS * OUT));
    for (size_t r = 0; r < ROWS; r += 13)
        for (size_t o = 0; o < OUT; o += 7) {
            long double sum = 0;
            for (size_t k = 0; k < IN; k++)
                sum += (long double)x[r * LDX + k] * w[o * IN + k];
            cr_assert(fabsl(sum - y[r * OUT + o]) < 1e-4L, "%zu %zu: %g for %Lg", r, o, y[r * OUT + o], sum);
        }
    la_gram(1, ROWS, IN, x, LDX, h1);
    la_gram(3, ROWS, IN, x, LDX, h);
    cr_assert(!memcmp(h, h1, sizeof *h * IN * IN));
    la_gram(2, ROWS, IN, x, LDX, h); /* added to what is there */
    for (size_t i = 0; i < IN; i += 5)
        for (size_t j = 0; j < IN; j += 3) {
            long double sum = 0;
            for (size_t r = 0; r < ROWS; r++)
                sum += 2 * (long double)x[r * LDX + i] * x[r * LDX + j];
            cr_assert(j < i ? h[i * IN + j] == 0 : fabsl(sum - h[i * IN + j]) < 2e-4L, "%zu %zu: %g for %Lg", i, j, h[i * IN + j], sum);
        }
    free(x), free(w), free(y), free(y1), free(h), free(h1);
}

/* Criterion runs each test in a process of its own, so the choice of library is made anew. */
Test(linalg, library)
{
    check_gemm();
    check_pieces();
    if (!strcmp(la_name(), "plain C"))
        cr_log_warn("OpenBLAS is not here: only plain C was tried");
}

Test(linalg, plain)
{
    setenv("OCTAVO_BLAS", "none", 1);
    cr_assert_str_eq(la_name(), "plain C");
    check_gemm();
    check_pieces();
}
