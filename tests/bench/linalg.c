/* linalg THREADS: GFLOP/s of the linear layer 2048 to 8192 of 1024 tokens, the best of several. */
#include "calibrate/linalg.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    enum { ROWS = 1024, IN = 2048, OUT = 8192 };
    const unsigned threads = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    float *x = malloc(ROWS * IN * sizeof *x), *w = malloc((size_t)OUT * IN * sizeof *w), *y = malloc((size_t)ROWS * OUT * sizeof *y);
    double best = 0;
    if (!x || !w || !y)
        return 4;
    for (size_t i = 0; i < ROWS * IN; i++)
        x[i] = (float)(i % 17) - 8;
    for (size_t i = 0; i < (size_t)OUT * IN; i++)
        w[i] = (float)(i % 13) - 6;
    for (int i = 0; i < 8; i++) {
        const double start = now();
        la_linear(threads, ROWS, IN, OUT, x, IN, w, y, OUT);
        const double rate = 2.0 * ROWS * IN * OUT / (now() - start) / 1e9;
        best = rate > best ? rate : best;
    }
    printf("%.1f\n", best);
    free(x);
    free(w);
    free(y);
    return 0;
}
