#include "tests/scale_oracle.h"

#include <math.h>
#include <string.h>

const struct scale_elem scale_elems[] = {
    { DT_F8_E4M3, "e4m3", 448, 8, 3 },     { DT_F8_E5M2, "e5m2", 57344, 15, 2 },
    { DT_F4, "e2m1", 6, 2, 1 },            { DT_F8_E4M3FNUZ, "e4m3fnuz", 240, 7, 3 },
    { DT_F8_E5M2FNUZ, "e5m2fnuz", 57344, 15, 2 },
    { DT_I8, "int8", 127, 6, 6 },          { DT_I4, "int4", 7, 2, 2 },
};
const size_t scale_elem_count = sizeof scale_elems / sizeof *scale_elems;

/* v = max(amax, least) / by (or times the FP32 inverse of by), at least `least2`, plus add; each step
 * rounded to FP32.  by 0: nothing; MAX: the element's largest value.  The exponent of v is then taken
 * as `way` says, less emax or what `minus` says. */
#define MAX (-1.0)
enum { EMAX = -1 };
enum way {
    DOWN, UP,              /* floor and ceil of log2(v), exact */
    LOG_DOWN, LOG_UP,      /* the same of log2(v) rounded to FP32 */
    ABOVE,                 /* up when the BF16 that v is cut off to is above `from` times a power of two */
    GRID,                  /* down, of v plus half a unit of the element's mantissa */
    FROM,                  /* up from `from` times a power of two on */
    QUOTIENT               /* UP, without any rounding before it */
};
struct scale_formula {
    const char *name;
    float least;
    double by;
    enum { OVER, TIMES } how;
    float least2, add;
    enum way way;
    double from;
    int minus, lo, hi, zero;   /* zero: the code of 0, -1: what follows from the rest */
};

static const struct scale_formula formula[] = {
    { "smallest", 0, MAX, OVER, 0, 0, QUOTIENT, 0, 0, 1, 254, 127 },
    { "ds", 1e-4f, 448, OVER, 0, 0, UP, 0, 0, 1, 254, -1 },
    { "ds-log2", 1e-4f, 448, OVER, 0, 0, LOG_UP, 0, 0, 0, 255, -1 },
    { "ptgq", 1e-10f, 448, OVER, 1e-10f, 0, UP, 0, 0, 0, 255, -1 },
    { "ptgq-triton", 1e-10f, 448, OVER, 0, 0, UP, 0, 0, 0, 255, -1 },
    { "floor", 0, 0, OVER, 0, 0, DOWN, 0, EMAX, 0, 255, 0 },
    { "ceil", 0, 0, OVER, 0, 0, UP, 0, EMAX, 0, 255, 0 },
    { "even", 0, 0, OVER, 0, 0, GRID, 0, EMAX, 0, 255, 0 },
    { "rceil", 0, MAX, TIMES, 0, 0, UP, 0, 0, 0, 255, 0 },
    { "te", 0, MAX, TIMES, 0, 0, UP, 0, 0, 0, 254, 0 },
    { "asc1", 0, MAX, TIMES, 0, 0, UP, 0, 0, 0, 254, 0 },
    { "asc2", 0, 0, OVER, 0, 0, ABOVE, 1.5, 2, 0, 254, 0 },
    { "asc2-7", 0, 0, OVER, 0, 0, ABOVE, 1.75, 2, 0, 254, 0 },
    { "asc2-8", 0, 8, TIMES, 0, 0, UP, 0, 0, 0, 254, 0 },
    { "asc2-9", 0, 9, TIMES, 0, 0, UP, 0, 0, 0, 254, 0 },
    { "asc2-10", 0, 10, TIMES, 0, 0, UP, 0, 0, 0, 254, 0 },
    { "asc2-11", 0, 11, TIMES, 0, 0, UP, 0, 0, 0, 254, 0 },
    { "asc2-12", 0, 12, TIMES, 0, 0, UP, 0, 0, 0, 254, 0 },
    { "modelopt", 0, MAX, OVER, 0, 0, LOG_UP, 0, 0, 0, 254, 0 },
    { "ct", 0, 0, OVER, 0, 0, FROM, 1.75, EMAX, 0, 255, 0 },
    { "quark", 0, 0, OVER, 0, 0, GRID, 0, EMAX, 0, 254, 0 },
    { "quark-floor", 0, 0, OVER, 0, 0, LOG_DOWN, 0, EMAX, 0, 254, 104 },
    { "quark-ceil", 0, 0, OVER, 0, 0, LOG_UP, 0, EMAX, 0, 254, 104 },
    { "msx", 0, 0, OVER, 0, 0, LOG_DOWN, 0, EMAX, 0, 254, 0 },
    { "ggml", 0, 0, OVER, 0, 0, LOG_DOWN, 0, EMAX, 0, 254, 0 },
    { "ds-fp4", 0x1.8p-124f, 6, TIMES, 0, 0, UP, 0, 0, 1, 254, -1 },
    { "dg-fp4", 1e-4f, 6, OVER, 0, 0, UP, 0, 0, 1, 254, -1 },
    { "slim-ceilx", 0, 7.25, OVER, 0, 9.6e-7f, LOG_UP, 0, 0, 0, 252, -1 },
    { "slim-fp4", 0, 0.875, OVER, 0, 9.6e-7f, LOG_DOWN, 0, 2, 0, 252, -1 },
    { "vllm-mx-naive", 0x1p-126f, 0, OVER, 0, 0, LOG_DOWN, 0, 0, 0, 254, -1 },
};
const size_t scale_formula_count = sizeof formula / sizeof *formula;

const struct scale_formula *scale_formula_of(const char *rule)
{
    for (size_t i = 0; i < scale_formula_count; i++)
        if (strcmp(formula[i].name, rule) == 0)
            return &formula[i];
    return NULL;
}

int scale_formula_log(const struct scale_formula *f)
{
    return f->way == LOG_DOWN || f->way == LOG_UP;
}

static int floor_log2(double v)
{
    int e;

    frexp(v, &e);
    return e - 1;
}

static int ceil_log2(double v)
{
    int e;

    return frexp(v, &e) == 0.5 ? e - 1 : e;
}

/* The exponent, or what is beyond all codes. */
static int exponent(const struct scale_formula *f, const struct scale_elem *e, double v)
{
    const double top = ldexp(1, 128);   /* where FP32 becomes Inf, in rules that round before they look */
    int low;

    if (v == 0)
        return -1000;
    if (isinf(v))
        return 1000;
    low = floor_log2(v);
    switch (f->way) {
    case DOWN: return low;
    case UP:
    case QUOTIENT: return ceil_log2(v);
    case LOG_DOWN: return (int)floorf((float)log2l((long double)v));
    case LOG_UP: return (int)ceilf((float)log2l((long double)v));
    case FROM:
        v = v >= ldexp(f->from, low) ? ldexp(1, low + 1) : v;
        return v >= top ? 1000 : floor_log2(v);
    case GRID:
        v += ldexp(1, low - e->mbits - 1);
        return v >= top ? 1000 : floor_log2(v);
    case ABOVE: return ldexp(floor(ldexp(v, 7 - low)), low - 7) > ldexp(f->from, low) ? low + 1 : low;
    }
    return 0;
}

int scale_formula_code(const struct scale_formula *f, const struct scale_elem *e, float amax)
{
    const double by = f->by == MAX ? e->max : f->by;
    double v = amax > f->least ? (double)amax : (double)f->least;

    if (amax == 0 && f->zero >= 0)
        return f->zero;
    if (by != 0 && f->how == OVER)
        v = f->way == QUOTIENT ? v / by : (double)(float)(v / by);
    else if (by != 0)
        v = (double)(float)(v * (double)(float)(1 / by));
    if (v < (double)f->least2)
        v = (double)f->least2;
    if (f->add != 0)
        v = (double)(float)((long double)v + (long double)f->add);
    /* Ascend leaves a subnormal quotient at code 0. */
    if (strncmp(f->name, "asc2-", 5) == 0 && f->way == UP && v < 0x1p-126)
        return 0;
    const int code = exponent(f, e, v) - (f->minus == EMAX ? e->emax : f->minus) + 127;
    return code < f->lo ? f->lo : code > f->hi ? f->hi : code;
}

/* ---- F32 scales ------------------------------------------------------------------ */

double scale_value_oracle(const char *rule, enum dtype t, float amax, double *times)
{
    static const struct {
        const char *name;
        enum dtype t;
        float least;
        double by;
        double zero;       /* the scale of zeros, 0: what follows from the rest */
        enum { PLAIN, BF16, POWER, KEPT, KEPT_POWER, DIVIDED } kind;
    } row[] = {
        { "absmax", DT_F8_E4M3, 0, 448, 1, PLAIN },        { "absmax", DT_F8_E5M2, 0, 57344, 1, PLAIN },
        { "absmax", DT_F8_E4M3FNUZ, 0, 240, 1, PLAIN },    { "absmax", DT_F8_E5M2FNUZ, 0, 57344, 1, PLAIN },
        { "absmax", DT_F4, 0, 6, 1, PLAIN },               { "absmax", DT_I8, 0, 127, 1, PLAIN },
        { "absmax", DT_I4, 0, 7, 1, PLAIN },               { "pow2", DT_F8_E4M3, 0, 448, 1, POWER },
        { "pow2", DT_F8_E5M2, 0, 57344, 1, POWER },        { "pow2", DT_F8_E4M3FNUZ, 0, 240, 1, POWER },
        { "pow2", DT_F8_E5M2FNUZ, 0, 57344, 1, POWER },    { "pow2", DT_F4, 0, 6, 1, POWER },
        { "ds-float", DT_F8_E4M3, 1e-4f, 448, 0, PLAIN },  { "dg-float", DT_F8_E4M3, 1e-4f, 448, 0, DIVIDED },
        { "hf", DT_F8_E4M3, 0, 448, 1, KEPT },             { "te", DT_F8_E4M3, 0, 448, 1, KEPT },
        { "te", DT_F8_E5M2, 0, 57344, 1, KEPT },           { "te-pow2", DT_F8_E4M3, 0, 448, 1, KEPT_POWER },
        { "te-pow2", DT_F8_E5M2, 0, 57344, 1, KEPT_POWER },
        { "fnuz-224", DT_F8_E4M3FNUZ, 0, 224, 1, PLAIN },  { "ct-fp8", DT_F8_E4M3, 0, 448, 0x1p-23, PLAIN },
        { "ct-int8", DT_I8, 0, 127.5, 0x1p-23, PLAIN },    { "ct-int4", DT_I4, 0, 7.5, 0x1p-23, PLAIN },
        { "ct-bf16", DT_F8_E4M3, 0, 448, 0x1p-7, BF16 },   { "ct-bf16", DT_I8, 0, 127.5, 0x1p-7, BF16 },
        { "ct-bf16", DT_I4, 0, 7.5, 0x1p-7, BF16 },
    };

    *times = 0;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (strcmp(row[i].name, rule) != 0 || row[i].t != t)
            continue;
        const double a = amax > row[i].least ? (double)amax : (double)row[i].least;
        const double q = (double)(float)(a / row[i].by);
        int e;

        if (row[i].kind == KEPT || row[i].kind == KEPT_POWER)
            *times = 1;
        if (a == 0)
            return row[i].zero;
        switch (row[i].kind) {
        case PLAIN: return q < 0x1p-126 ? 0x1p-126 : q;
        case POWER: return ldexp(1, ceil_log2(a / row[i].by) < -126 ? -126 : ceil_log2(a / row[i].by));
        case DIVIDED:
            *times = (double)(float)(1 / q);
            return q;
        case KEPT:
        case KEPT_POWER:
            *times = row[i].by / a >= 0x1p126 ? 0x1p126 : (double)(float)(row[i].by / a);
            if (row[i].kind == KEPT_POWER)
                *times = ldexp(1, floor_log2(*times));
            return (double)(float)(1 / *times);
        case BF16:   /* 8 bits, or as many as a subnormal has; ties to even (rint) */
            e = floor_log2(q == 0 ? 0x1p-149 : q) - 7;
            e = e < -133 ? -133 : e;
            return q == 0 || rint(ldexp(q, -e)) == 0 ? row[i].zero : ldexp(rint(ldexp(q, -e)), e);
        }
    }
    return -1;
}
