/* The tests' own idea of number formats and of rounding: the nearest of all
 * values, found in double precision.  It shares no line and no table with
 * quantizers/. */
#ifndef OCTAVO_ORACLE_H
#define OCTAVO_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

/* What becomes of a magnitude between two values. */
enum tie { TIE_EVEN, TIE_DOWN, TIE_AWAY, ALWAYS_UP };

/* A small format: its finite magnitudes in ascending order, by rank. */
struct oracle {
    int sign_bit, max_code;   /* max_code: the last rank */
    enum tie tie;
    /* value[max_code + 1] is what the next code would be if the format had it:
     * it only bounds the last rounding interval. */
    double value[32768];
    /* The code of a rank: itself, but for HiF8. */
    uint16_t code[32768];
};

/* An IEEE-like float of the usual bias, ties to even. */
void oracle_init(struct oracle *o, int exponent_bits, int mantissa_bits, int max_code);
extern const int oracle_e4m3[3], oracle_e5m2[3], oracle_f16[3];   /* oracle_init's arguments */

/* The rank nearest to mag >= 0 (Inf allowed), ties to the even one or as o->tie
 * says; max_code + 1 when it rounds beyond the largest one. */
int oracle_nearest(const struct oracle *o, double mag);

/* The smallest magnitude that rounds above a rank; whether a value equal to it
 * still rounds down: oracle_stays. */
double oracle_boundary(const struct oracle *o, int rank);
bool oracle_stays(const struct oracle *o, int rank);

/* Every format of at most 8 bits, and what it makes of signs, NaN and overflow. */
struct oracle_format {
    const char *name;         /* as in struct num */
    enum { FLOAT, INTEGER, HIF8, POWER } kind;
    int bits;                 /* of a code */
    int mbits, bias;          /* of FLOAT */
    int max, lowest;          /* ranks of the largest value and of the most negative */
    enum tie tie;
    enum { SIGNED, NO_MINUS_ZERO, NO_PLUS_ZERO, NO_NEGATIVE, NO_SIGN } sign;
    int over;                 /* code of an overflow that does not saturate; -1: it does */
    int nan, nan_saturating;  /* like over with the sign, when it is a magnitude but 0 */
};
extern const struct oracle_format oracle_format[];
extern const int oracle_formats;
void oracle_init_format(struct oracle *o, const struct oracle_format *f);
/* The code of x, NaN and Inf included. */
int oracle_encode(const struct oracle *o, const struct oracle_format *f, float x, bool saturate);

/* The matrix of published end-to-end results, BF16 bits, 192 x 320: a linear
 * congruential generator, shaped so that blocks differ in range; blocks of 128 x 128
 * are cut off below and on the right, and the last one is zero. */
enum { MATRIX_ROWS = 192, MATRIX_COLS = 320 };
void oracle_matrix(uint16_t *m);

/* Bytes from a seed, the same everywhere. */
uint64_t oracle_random(uint64_t *state);
/* The seed of this run: OCTAVO_SEED, or a fixed number. */
uint64_t oracle_seed(void);

/* The path of a file of the golden data, in a static buffer: under
 * OCTAVO_DATA, else ../shared/data.  NULL, and one line on stderr, when it is
 * not there: such a test passes without having tested. */
const char *oracle_data(const char *name);

#endif
