/* Rounding that knows what the inputs look like.
 *
 * With H = X^T X of a layer's inputs the error of its output is sum over rows (w - q) H (w - q)^T. Codes q on a grid whose
 * scales are given are chosen to make that small:
 *
 *   1. H is shrunk towards its diagonal, (1 - a) H + a diag(H), since few tokens say little about what is off it; and 3 % of
 *      the mean of the diagonal are added to it: a channel that was silent in this text may speak in another one, and on
 *      a grid as wide as E4M3's its weights would be bent to any value for the sake of the others (without it the weights of
 *      one layer of the sample model had less signal than error, for 0.7 dB more of output);
 *   2. Babai's nearest plane with the Cholesky factor of it, columns with the largest diagonal first: what is called GPTQ
 *      (Frantar et al., arXiv 2210.17323; that the two are one is arXiv 2507.18553);
 *   3. passes of coordinate descent: each code in turn becomes the best one, given all others.
 *
 * a is chosen by the error on other sequences, H of which is `hold`, and where that is not below the error of rounding to
 * nearest, the nearest codes stay.  Rows do not depend on each other: threads share them out in bands, and the result is the
 * same for any number of them. */
#ifndef OCTAVO_CALIBRATE_ROUND_H
#define OCTAVO_CALIBRATE_ROUND_H

#include "formats/err.h"
#include "quantizers/num.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The values of a format, ascending, and their codes: no NaN, no infinities, one zero. */
struct grid {
    size_t n;
    double value[256];
    uint8_t code[256];
    size_t zero;                     /* value[zero] is 0 */
    uint8_t minus_zero;              /* the code of a zero that comes of a negative weight; that of 0 where there is none */
    double of[256];                  /* value of each code (NaN: 0) */
};
/* symmetric: the most negative integer, which nearest rounding never makes, is left out. */
void grid_init(struct grid *g, const struct num *num, bool symmetric);

#define ROUND_FLOOR 0.03

struct round_job {
    const struct grid *grid;
    size_t rows, cols;
    const float *w;                  /* [rows, cols] */
    const float *scale;              /* of blocks, [ceil(rows / block_rows), ceil(cols / block_cols)] */
    size_t block_rows, block_cols;
    uint8_t *code;                   /* [rows, cols]: in the nearest codes, out the chosen ones */
    const double *h, *hold;          /* [cols, cols]; finite, symmetric, diagonals not negative */
    unsigned threads;
    double shrink;                   /* 0: choose among round_shrinks */
    unsigned passes;                 /* of coordinate descent */
};
extern const double round_shrinks[6];
struct round_result {
    bool kept;                       /* the codes are other ones now */
    double shrink;
    double nearest, chosen;          /* output error on hold, as a part of the output's energy: nearest codes, and those of the solver */
    double fit_nearest, fit_chosen;  /* the same on h */
    uint64_t changed;                /* codes that differ from the nearest */
};
/* Memory: 3 matrices [cols, cols] of double with the two of the caller, and 64 rows of 5 doubles a column for each thread.
 * ERR_INPUT for a diagonal that is NaN or negative. */
int round_layer(const struct round_job *j, struct round_result *r, struct err *e) MUST_USE;
/* The energy of an error e [rows, n] under h: sum over rows e h e^T, in a fixed order. */
int round_energy(size_t rows, size_t cols, const float *a, const float *b, const double *h, unsigned threads, double *out,
                 struct err *e) MUST_USE;

/* ---- cholesky.c ------------------------------------------------------------------------ */
/* The upper triangle of A [n, n] becomes R with A = R^T R; what is below it is left alone. Returns the index of the first pivot
 * that is not positive, or n. */
size_t cholesky(unsigned threads, size_t n, double *a);

#endif
