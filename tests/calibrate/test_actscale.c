/* Fixed scales against searches over the elements themselves. */
#include "calibrate/actscale.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 20000 };
static float x[N];
static int64_t count[STATS_BINS];
static float amax;

static void fill(double power)
{
    uint64_t state = 77;
    memset(count, 0, sizeof count);
    amax = 0;
    for (size_t i = 0; i < N; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const double u = ((double)(state >> 11) + 0.5) / 9007199254740992.0;
        x[i] = (float)(0.01 * pow(1 / u, power)); /* heavy tails for large powers */
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        count[bits >> 19]++;
        amax = fmaxf(amax, x[i]);
    }
}

static double error_of(const struct num *num, float scale)
{
    double sum = 0;
    static float y[N];
    static uint8_t code[N];
    for (size_t i = 0; i < N; i++)
        y[i] = x[i] / scale;
    num_encode_row(num, y, code, N, OVERFLOW_SATURATE);
    num_decode_row(num, code, y, N);
    for (size_t i = 0; i < N; i++)
        sum += ((double)y[i] * (double)scale - (double)x[i]) * ((double)y[i] * (double)scale - (double)x[i]);
    return sum;
}

static int by_size(const void *a, const void *b)
{
    const float p = *(const float *)a, q = *(const float *)b;
    return p < q ? -1 : p > q;
}

Test(actscale, is_what_a_search_finds)
{
    static const char *const name[] = {"e4m3", "int8"};
    for (int k = 0; k < 2; k++)
        for (int power = 1; power < 5; power++) {
            const struct num *num = num_named(name[k]);
            fill(power * 0.2);
            cr_assert_eq(actscale(ACTSCALE_MAX, 0, num, count, amax), amax / num->max);
            const float mse = actscale(ACTSCALE_MSE, 0, num, count, amax);
            double best = INFINITY;
            for (int s = 0; s < 200; s++)
                best = fmin(best, error_of(num, amax / num->max * exp2f(-(float)s / 20)));
            cr_assert_leq(error_of(num, mse), 1.08 * best, "%s, power %d: %g, best %g", name[k], power, error_of(num, mse), best);
            static float sorted[N];
            memcpy(sorted, x, sizeof x);
            qsort(sorted, N, sizeof *sorted, by_size);
            static const double share[] = {0.5, 0.9, 0.999, 1};
            for (int i = 0; i < 4; i++) {
                const float top = actscale(ACTSCALE_PERCENTILE, share[i], num, count, amax) * num->max;
                const float want = sorted[(size_t)(share[i] * N) - 1];
                cr_assert(top >= want * 0.9999f && top <= want * 1.0626f, "%g%%: %g, not %g", 100 * share[i], (double)top, (double)want);
            }
        }
    cr_assert_eq(actscale(ACTSCALE_MAX, 0, num_named("int8"), count, 0), 1);
}
