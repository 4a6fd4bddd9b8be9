/* The error sums against long double: whatever the magnitude, and codes give what their values give. */
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
    long double se, sx, sy;
};

static struct exact exactly(const float *x, const float *y, size_t n)
{
    struct exact s = {0};
    for (size_t i = 0; i < n; i++) {
        const long double a = x[i], b = y[i];
        s.se += (b - a) * (b - a);
        s.sx += a * a;
        s.sy += b * b;
    }
    return s;
}

static void near(double got, long double want, const char *what, const struct kern *k, int exponent)
{
    cr_assert(fabsl((long double)got - want) <= 1e-14L * want, "%s, %s at 2^%d: %.17g, not %.17Lg", k->name, what, exponent, got, want);
}

static float random_unit(uint64_t *seed)
{
    return (float)((double)(oracle_random(seed) >> 40) / 0x800000 - 1);
}

/* Numbers of every magnitude that FP32 has: nothing underflows, nothing overflows. */
Test(kern_error, exact_at_every_magnitude)
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
            near(e.se, s.se, "se", k, exponent);
            near(e.sx, s.sx, "sx", k, exponent);
            near(e.sy, s.sy, "sy", k, exponent);
        }
}

/* One weight of 1e-30 that became 0 beside weights that are exact. */
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

/* Codes, of every value, compared as their decoded values are; with powers of two, where BF16 is compared as it lies,
 * and with other scales.  The sums of one row are the same bits, those of more rows are summed in another order. */
Test(kern_error, codes_are_their_values)
{
    enum { ROWS = 19, COLS = 700, SEGMENTS = 6 };
    static const size_t block[] = {32, 128, 48, 256, COLS};
    static float x[ROWS * COLS], y[ROWS * COLS], scale[COLS];
    static uint16_t h[ROWS * COLS];
    static uint8_t q[ROWS * COLS];
    for (size_t b = 0; b < COUNT(block); b++)
        for (int odd = 0; odd < 2; odd++) {
            struct kern_error first[SEGMENTS] = {{0}};
            EACH_LEVEL(k) {
                uint64_t seed = 9;
                struct kern_error e[SEGMENTS] = {{0}}, f[SEGMENTS] = {{0}};
                struct kern_match m = {0}, l = {0};
                for (size_t i = 0; i < ROWS * COLS; i++) {
                    q[i] = (uint8_t)(oracle_random(&seed) >> 40);
                    if ((q[i] & 0x7f) == 0x7f || (i / COLS % 3 && (q[i] & 0x7f) < 8)) /* rows of normal codes alone */
                        q[i] ^= 16;
                }
                for (size_t i = 0; i < COLS; i++)
                    scale[i] = ldexpf(odd ? 1 + 0.4f * random_unit(&seed) : 1, -7 - (int)(i % 5));
                k->dec_e4m3(q, COLS, ROWS, COLS, block[b], scale, y, 4 * COLS);
                for (size_t i = 0; i < ROWS * COLS; i++) {
                    h[i] = bf16_encode(i % 7 ? y[i] * 1.02f : i % 3 ? y[i] : 0.001f);
                    x[i] = bf16_decode(h[i]);
                }
                k->error_e4m3[SRC_BF16](h, 2 * COLS, q, COLS, ROWS, COLS, block[b], scale, e, &m);
                for (size_t r = 0; r < ROWS; r++) {
                    struct kern_error one[SEGMENTS] = {{0}}, same[SEGMENTS] = {{0}};
                    struct kern_match none = {0};
                    k->error(x + r * COLS, y + r * COLS, COLS, KERN_SEGMENT, f, &l);
                    k->error(x + r * COLS, y + r * COLS, COLS, KERN_SEGMENT, one, &none);
                    k->error_e4m3[SRC_BF16](h + r * COLS, 2 * COLS, q + r * COLS, COLS, 1, COLS, block[b], scale, same, &none);
                    cr_assert(!memcmp(one, same, sizeof one), "%s, block %zu, row %zu", k->name, block[b], r);
                }
                if (level_ == 0)
                    memcpy(first, e, sizeof first);
                cr_assert(!memcmp(first, e, sizeof first), "%s, block %zu", k->name, block[b]);
                cr_assert(m.max == l.max && m.equal == l.equal && m.flushed == l.flushed, "%s, block %zu", k->name, block[b]);
                cr_assert(m.flushed > 0 && m.equal > 0);
                for (size_t i = 0; i < SEGMENTS; i++) {
                    near(e[i].se, f[i].se, "se", k, (int)block[b]);
                    near(e[i].sx, f[i].sx, "sx", k, (int)block[b]);
                    near(e[i].sy, f[i].sy, "sy", k, (int)block[b]);
                }
            }
        }
}
