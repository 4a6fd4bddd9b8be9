#include "tests/oracle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const int oracle_e4m3[3] = { 4, 3, 0x7e };
const int oracle_e5m2[3] = { 5, 2, 0x7b };
const int oracle_f16[3] = { 5, 10, 0x7bff };

void oracle_init(struct oracle *o, int exponent_bits, int mantissa_bits, int max_code)
{
    const int bias = (1 << (exponent_bits - 1)) - 1, steps = 1 << mantissa_bits;

    o->sign_bit = 1 << (exponent_bits + mantissa_bits);
    o->max_code = max_code;
    for (int code = 0; code <= max_code + 1; code++) {
        const int e = code / steps, m = code % steps;

        o->value[code] = e == 0 ? ldexp(m, 1 - bias - mantissa_bits)
                                : ldexp(steps + m, e - bias - mantissa_bits);
    }
}

double oracle_boundary(const struct oracle *o, int code)
{
    return (o->value[code] + o->value[code + 1]) / 2;
}

int oracle_nearest(const struct oracle *o, double mag)
{
    int lo = 0, hi = o->max_code + 1;

    /* The last code whose value is not above mag, then a look at the next. */
    if (mag >= o->value[hi])
        return hi;
    while (hi - lo > 1) {
        const int mid = (lo + hi) / 2;

        if (o->value[mid] <= mag)
            lo = mid;
        else
            hi = mid;
    }
    const double down = mag - o->value[lo], up = o->value[hi] - mag;

    if (down == up)
        return lo % 2 == 0 ? lo : hi;
    return down < up ? lo : hi;
}

void oracle_matrix(uint16_t *m)
{
    uint32_t s = 12345;
    for (int i = 0; i < MATRIX_ROWS; i++)
        for (int j = 0; j < MATRIX_COLS; j++) {
            s = s * 1664525 + 1013904223;
            const int32_t v = (int32_t)(s >> 8) - (1 << 23);
            const float f = (float)(v * 0x1p-24 * (1 + (7 * i + 3 * j) % 13));
            const float g = i >= 128 && j >= 256 ? 0 : ldexpf(f, 5 * (i / 64) + 3 * (j / 64) - 16);
            uint32_t u;
            memcpy(&u, &g, 4);
            m[i * MATRIX_COLS + j] = (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
        }
}

uint64_t oracle_random(uint64_t *state)
{
    /* splitmix64, Steele, Lea and Flood 2014 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t oracle_seed(void)
{
    const char *const s = getenv("OCTAVO_SEED");

    return s && *s ? strtoull(s, NULL, 0) : 20240229;
}

const char *oracle_data(const char *name)
{
    static char path[4096];
    const char *const dir = getenv("OCTAVO_DATA");

    snprintf(path, sizeof path, "%s/%s", dir && *dir ? dir : "../shared/data", name);
    if (access(path, R_OK) == 0)
        return path;
    fprintf(stderr, "skipped: no %s\n", path);
    return NULL;
}
