/* The tests' own idea of rounding: the nearest of all decoded values, found in
 * double precision.  It shares no line and no table with quantizers/. */
#ifndef OCTAVO_ORACLE_H
#define OCTAVO_ORACLE_H

#include <stdint.h>

/* A small float format with sign: codes 0..max_code are the finite magnitudes
 * in order. */
struct oracle {
    int sign_bit, max_code;
    /* value[max_code + 1] is what the next code would be if the format had it:
     * it only bounds the last rounding interval. */
    double value[32768];
};

void oracle_init(struct oracle *o, int exponent_bits, int mantissa_bits, int max_code);
extern const int oracle_e4m3[3], oracle_e5m2[3], oracle_f16[3];   /* oracle_init's arguments */

/* The magnitude code nearest to mag >= 0 (Inf allowed), ties to the even code;
 * max_code + 1 when it rounds beyond the largest one. */
int oracle_nearest(const struct oracle *o, double mag);

/* The smallest magnitude that rounds above code; whether a value equal to it
 * still rounds down is the parity of code (even: down). */
double oracle_boundary(const struct oracle *o, int code);

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
