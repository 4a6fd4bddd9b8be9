#include "tests/oracle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const int oracle_e4m3[3] = { 4, 3, 0x7e };
const int oracle_e5m2[3] = { 5, 2, 0x7b };
const int oracle_f16[3] = { 5, 10, 0x7bff };

static void init_float(struct oracle *o, int mantissa_bits, int bias, int max_code)
{
    const int steps = 1 << mantissa_bits;

    o->max_code = max_code;
    o->tie = TIE_EVEN;
    for (int code = 0; code <= max_code + 1; code++) {
        const int e = code / steps, m = code % steps;

        o->code[code] = (uint16_t)code;
        o->value[code] = e == 0 ? ldexp(m, 1 - bias - mantissa_bits)
                                : ldexp(steps + m, e - bias - mantissa_bits);
    }
}

void oracle_init(struct oracle *o, int exponent_bits, int mantissa_bits, int max_code)
{
    init_float(o, mantissa_bits, (1 << (exponent_bits - 1)) - 1, max_code);
    o->sign_bit = 1 << (exponent_bits + mantissa_bits);
}

double oracle_boundary(const struct oracle *o, int rank)
{
    return o->tie == ALWAYS_UP ? o->value[rank] : (o->value[rank] + o->value[rank + 1]) / 2;
}

bool oracle_stays(const struct oracle *o, int rank)
{
    return o->tie == TIE_EVEN ? rank % 2 == 0 : o->tie != TIE_AWAY;
}

int oracle_nearest(const struct oracle *o, double mag)
{
    int lo = 0, hi = o->max_code + 1;

    /* The last rank whose value is not above mag, then a look at the next. */
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

    if (o->tie == ALWAYS_UP)
        return down <= 0 ? lo : hi;
    if (down == up)
        return oracle_stays(o, lo) ? lo : hi;
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

/* ---- formats of at most 8 bits -------------------------------------------------- */

const struct oracle_format oracle_format[] = {
    { "e4m3", FLOAT, 8, 3, 7, 0x7e, 0x7e, TIE_EVEN, SIGNED, 0x7f, 0x7f, 0x7f },
    { "e5m2", FLOAT, 8, 2, 15, 0x7b, 0x7b, TIE_EVEN, SIGNED, 0x7c, 0x7f, 0x7f },
    { "ue8m0", POWER, 8, 0, 0, 254, 254, ALWAYS_UP, NO_SIGN, 255, 255, 255 },
    { "int8", INTEGER, 8, 0, 0, 127, 127, TIE_EVEN, SIGNED, -1, 0, 0 },
    { "e4m3fnuz", FLOAT, 8, 3, 8, 0x7f, 0x7f, TIE_EVEN, NO_MINUS_ZERO, 0x80, 0x80, 0x80 },
    { "e5m2fnuz", FLOAT, 8, 2, 16, 0x7f, 0x7f, TIE_EVEN, NO_MINUS_ZERO, 0x80, 0x80, 0x80 },
    { "hif8", HIF8, 8, 0, 0, 126, 126, TIE_AWAY, NO_MINUS_ZERO, 0x6f, 0x80, 0 },
    { "ue4m3", FLOAT, 7, 3, 7, 0x7e, 0, TIE_EVEN, NO_NEGATIVE, 0x7f, 0x7f, 0x7f },
    { "e2m1", FLOAT, 4, 1, 1, 7, 7, TIE_EVEN, SIGNED, -1, 0, 0 },
    { "e2m1-down", FLOAT, 4, 1, 1, 7, 7, TIE_DOWN, NO_MINUS_ZERO, -1, 0, 0 },
    { "e2m1-modelopt", FLOAT, 4, 1, 1, 7, 7, TIE_DOWN, NO_PLUS_ZERO, -1, 0, 0 },
    { "e1m2", FLOAT, 4, 2, 1, 7, 7, TIE_EVEN, SIGNED, -1, 0, 0 },
    { "e2m3", FLOAT, 6, 3, 1, 0x1f, 0x1f, TIE_EVEN, SIGNED, -1, 0, 0 },
    { "e3m2", FLOAT, 6, 2, 3, 0x1f, 0x1f, TIE_EVEN, SIGNED, -1, 0, 0 },
    { "e4m3-away", FLOAT, 8, 3, 7, 0x7e, 0x7e, TIE_AWAY, SIGNED, 0x7f, 0x7f, 0x7f },
    { "e5m2-away", FLOAT, 8, 2, 15, 0x7b, 0x7b, TIE_AWAY, SIGNED, 0x7c, 0x7f, 0x7f },
    { "e2m1-away", FLOAT, 4, 1, 1, 7, 7, TIE_AWAY, SIGNED, -1, 0, 0 },
    { "int4", INTEGER, 4, 0, 0, 7, 7, TIE_EVEN, SIGNED, -1, 0, 0 },
    { "int4-full", INTEGER, 4, 0, 0, 7, 8, TIE_EVEN, SIGNED, -1, 0, 0 },
    { "int8-full", INTEGER, 8, 0, 0, 127, 128, TIE_EVEN, SIGNED, -1, 0, 0 },
};
const int oracle_formats = sizeof oracle_format / sizeof *oracle_format;

/* A HiF8 magnitude, bit by bit from the left as the paper writes it. */
static double hif8_value(int code)
{
    static const char *const prefix[] = { "11", "10", "01", "001", "0001" };
    char bit[8];
    int at = 0, e = 1, m = 0;

    for (int i = 0; i < 7; i++)
        bit[i] = code >> (6 - i) & 1 ? '1' : '0';
    bit[7] = 0;
    for (int i = 0; i < 5; i++) {
        const int n = (int)strlen(prefix[i]), d = 4 - i;

        if (strncmp(bit, prefix[i], (size_t)n) != 0)
            continue;
        at = n + (d > 0);
        for (int k = 1; k < d; k++)
            e = 2 * e + (bit[at++] == '1');
        for (int k = at; k < 7; k++)
            m = 2 * m + (bit[k] == '1');
        if (d == 0)
            e = 0;
        else if (bit[n] == '1')
            e = -e;
        return ldexp(1 + ldexp(m, at - 7), e);
    }
    m = 4 * (bit[4] == '1') + 2 * (bit[5] == '1') + (bit[6] == '1');
    return m ? ldexp(1, m - 23) : 0;
}

static void init_hif8(struct oracle *o)
{
    int n = 0;

    for (int code = 0; code < 128; code++) {
        const double v = hif8_value(code);
        int i = n++;

        for (; i > 0 && o->value[i - 1] > v; i--) {
            o->value[i] = o->value[i - 1];
            o->code[i] = o->code[i - 1];
        }
        o->value[i] = v;
        o->code[i] = (uint16_t)code;
    }
}

void oracle_init_format(struct oracle *o, const struct oracle_format *f)
{
    const int max = f->max > f->lowest ? f->max : f->lowest;

    switch (f->kind) {
    case FLOAT: init_float(o, f->mbits, f->bias, max); break;
    case HIF8: init_hif8(o); break;
    case INTEGER:
    case POWER:
        for (int i = 0; i <= max + 1; i++) {
            o->value[i] = f->kind == POWER ? ldexp(1, i - 127) : i;
            o->code[i] = (uint16_t)i;
        }
    }
    o->max_code = max;
    o->tie = f->tie;
    o->sign_bit = 1 << (f->bits - 1);
}

static int special(const struct oracle *o, int code, int sign)
{
    return code > 0 && code < o->sign_bit ? code | sign : code;
}

int oracle_encode(const struct oracle *o, const struct oracle_format *f, float x, bool saturate)
{
    const bool minus = signbit(x) && f->sign != NO_SIGN;
    const int sign = minus && f->sign != NO_NEGATIVE ? o->sign_bit : 0;

    if (isnan(x))
        return special(o, saturate ? f->nan_saturating : f->nan, sign);
    if (minus && f->sign == NO_NEGATIVE)
        return 0;
    const int limit = minus ? f->lowest : f->max;
    int rank = oracle_nearest(o, fabs((double)x));

    if (rank > limit) {
        if (!saturate && f->over >= 0)
            return special(o, f->over, sign);
        rank = limit;
    }
    if (f->kind == INTEGER)
        return (minus ? -rank : rank) & ((1 << f->bits) - 1);
    if (rank == 0 && f->sign == NO_MINUS_ZERO)
        return 0;
    if (x == 0 && f->sign == NO_PLUS_ZERO)
        return o->sign_bit;
    return o->code[rank] | sign;
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
