/* The error sums against long double: that they keep the bound they claim, that FP32 is left where it would lose
 * something, and that codes give what their values give. */
#include "quantizers/kern.h"
#include "quantizers/num.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { N = 1000 };

static const char *const level_name[] = {"c", "avx2"};
#define EACH_LEVEL(k)                                                       \
    for (size_t level_ = 0; level_ < COUNT(level_name); level_++)           \
        for (const struct kern *k = kern_level(level_name[level_]); k; k = NULL)

struct exact {
    long double se, sx, sxy, sy, xy;
};

static struct exact exactly(const float *x, const float *y, size_t n)
{
    struct exact s = {0};
    for (size_t i = 0; i < n; i++) {
        const long double a = x[i], b = y[i];
        s.se += (b - a) * (b - a);
        s.sx += a * a;
        s.sxy += a * b;
        s.sy += b * b;
        s.xy += fabsl(a * b);
    }
    return s;
}

static void within(double got, long double want, long double scale, long double bound, const char *what, const struct kern *k, int exponent)
{
    cr_assert(fabsl((long double)got - want) <= bound * scale, "%s, %s at 2^%d: %.17g, not %.17Lg", k->name, what, exponent, got, want);
}

static float random_unit(uint64_t *seed)
{
    return (float)((double)(oracle_random(seed) >> 40) / 0x800000 - 1);
}

/* Numbers of every magnitude that FP32 has: in the middle the sums are FP32's, at both ends double. */
Test(kern_error, bound_at_every_magnitude)
{
    static float x[N], y[N];
    EACH_LEVEL(k)
        for (int exponent = -140; exponent <= 126; exponent++) {
            uint64_t seed = (uint64_t)(exponent + 1000);
            for (size_t i = 0; i < N; i++) {
                x[i] = ldexpf(random_unit(&seed), exponent);
                y[i] = i % 10 == 3 ? x[i] : x[i] * (1 + 0.05f * random_unit(&seed));
            }
            struct kern_error e = {0};
            struct kern_match m = {0};
            k->error(x, y, N, N, &e, &m);
            const struct exact s = exactly(x, y, N);
            const bool wide = exponent < -54 || exponent > 62;
            const long double bound = (wide ? 0x1p-43L : 12 * 0x1p-24L);
            within(e.se, s.se, s.se, 12 * 0x1p-24L, "se", k, exponent);
            within(e.sx, s.sx, s.sx, bound, "sx", k, exponent);
            within(e.sxy, s.sxy, s.xy, bound, "sxy", k, exponent);
            within(e.sy, s.sy, s.sy, bound, "sy", k, exponent);
        }
}

/* Rounding errors of segments have no bias: of a tensor's sums they are far below the bound of one segment's. */
Test(kern_error, errors_cancel)
{
    enum { MANY = 1 << 20 };
    static float x[MANY], y[MANY];
    uint64_t seed = 5;
    for (size_t i = 0; i < MANY; i++) {
        x[i] = random_unit(&seed) * 0.05f;
        y[i] = x[i] * (1 + 0.03f * random_unit(&seed));
    }
    const struct exact s = exactly(x, y, MANY);
    EACH_LEVEL(k) {
        struct kern_error e = {0};
        struct kern_match m = {0};
        k->error(x, y, MANY, MANY, &e, &m);
        within(e.se, s.se, s.se, 3e-9L, "se", k, 0);
        within(e.sx, s.sx, s.sx, 3e-9L, "sx", k, 0);
        within(e.sxy, s.sxy, s.sxy, 3e-9L, "sxy", k, 0);
        within(e.sy, s.sy, s.sy, 3e-9L, "sy", k, 0);
    }
}

/* One weight of 1e-30 that became 0 beside weights that are exact: its square is nothing in FP32. */
Test(kern_error, nothing_is_too_small)
{
    float x[KERN_SEGMENT], y[KERN_SEGMENT];
    for (size_t i = 0; i < KERN_SEGMENT; i++)
        x[i] = y[i] = 0.5f;
    x[77] = 1e-30f;
    y[77] = 0;
    EACH_LEVEL(k) {
        struct kern_error e = {0};
        struct kern_match m = {0};
        k->error(x, y, KERN_SEGMENT, KERN_SEGMENT, &e, &m);
        cr_assert_eq(e.se, (double)x[77] * (double)x[77], "%s: %g", k->name, e.se);
        cr_assert(m.equal == KERN_SEGMENT - 1 && m.flushed == 1 && m.max == x[77]);
    }
}

/* An error that is so large or no number at all shows in the sums. */
Test(kern_error, nothing_is_too_large)
{
    static const float odd[] = {0x1.8p100f, 0x1.fffffep127f, INFINITY, NAN};
    float x[200], y[200];
    for (size_t k = 0; k < COUNT(odd); k++)
        for (int side = 0; side < 2; side++) {
            for (size_t i = 0; i < 200; i++)
                x[i] = y[i] = 1;
            (side ? x : y)[150] = odd[k];
            EACH_LEVEL(kern) {
                struct kern_error e[2] = {{0}};
                struct kern_match m = {0};
                kern->error(x, y, 200, KERN_SEGMENT, e, &m);
                cr_assert(e[0].se == 0 && e[0].sx == KERN_SEGMENT && m.equal == 199);
                const double want = ((double)odd[k] - 1) * ((double)odd[k] - 1);
                cr_assert(isnan(want) ? isnan(e[1].se) : e[1].se == want, "%s: %g", kern->name, e[1].se);
            }
        }
}

/* Codes, of every value, compared as their decoded values are. */
Test(kern_error, codes_are_their_values)
{
    enum { ROWS = 3, COLS = 700 };
    static const size_t block[] = {32, 128, 48, 256, COLS};
    static float x[ROWS * COLS], y[ROWS * COLS], scale[ROWS * COLS];
    static uint8_t q[ROWS * COLS];
    uint64_t seed = 9;
    for (size_t i = 0; i < ROWS * COLS; i++) {
        q[i] = (uint8_t)(i % 256 == 127 || i % 256 == 255 ? 0 : i);
        scale[i] = ldexpf(1 + 0.4f * random_unit(&seed), -7);
    }
    for (size_t b = 0; b < COUNT(block); b++)
        EACH_LEVEL(k) {
            struct kern_error e[6] = {{0}}, f[6] = {{0}};
            struct kern_match m = {0}, l = {0};
            k->dec_e4m3(q, COLS, ROWS, COLS, block[b], scale, y, 4 * COLS);
            for (size_t i = 0; i < ROWS * COLS; i++)
                x[i] = i % 7 ? y[i] * 1.02f : i % 3 ? y[i] : 0.001f;
            k->error_e4m3[SRC_F32](x, 4 * COLS, q, COLS, ROWS, COLS, block[b], scale, e, &m);
            for (size_t r = 0; r < ROWS; r++)
                k->error(x + r * COLS, y + r * COLS, COLS, KERN_SEGMENT, f, &l);
            cr_assert(!memcmp(e, f, sizeof e) && m.max == l.max && m.equal == l.equal && m.flushed == l.flushed, "%s, block %zu", k->name, block[b]);
            cr_assert(m.flushed > 0 && m.equal > 0);
        }
}
