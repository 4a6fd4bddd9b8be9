/* How far one model is from another: error metrics per tensor and for its
 * worst block, and thresholds on them.
 *
 * x is the reference, y the other model, both as FP32 values (codes times
 * scales).  Sums are double, in 8 lanes per segment of 128 columns, and combined
 * in a fixed order (quantizers/kern.h): the same figures for any number of threads. */
#ifndef OCTAVO_ERROR_H
#define OCTAVO_ERROR_H

#include "calibrate/inspect.h"
#include "quantizers/run.h"

enum { ERROR_BLOCK = 128 };  /* worst blocks are 128 x 128 */

struct error_sums {
    uint64_t n;
    struct kern_error k;
    struct kern_match m;     /* saturated: of every scheme */
    struct kern_error native; /* flush: k of the weights that it touches, without it */
    uint64_t subnormal;      /* codes of y that were read as 0 because they are subnormal (flush) */
};
struct error_worst {
    double rel;              /* relative Frobenius error of the block; < 0: none */
    double gain;             /* sum xy / sum y^2: what its values would have to be multiplied with */
    uint64_t batch, row, col;
};
struct tensor_error {
    const char *name;
    const struct tensor *a, *b;
    const struct scheme *scheme; /* of b, or NULL */
    bool bytes;              /* not numbers: compared byte by byte; sums.m.equal counts equal bytes */
    struct error_sums sums;
    struct error_worst worst;
    struct inspection *look;     /* of codes with scales, when asked for; else NULL */
    float *map;                  /* when asked for: rel of each 128 x 128 block, [batch, rows, cols] of blocks; else NULL */
    uint64_t batches, map_rows, map_cols; /* rows of all batches, blocks of a row */
};

double error_mse(const struct error_sums *s);
double error_rel(const struct error_sums *s);     /* sqrt(sum (y-x)^2 / sum x^2); 0 when both are 0 */
double error_sqnr(const struct error_sums *s);    /* dB; +infinity when equal */
double error_gain(const struct error_sums *s);    /* what y would have to be multiplied with: sum xy / sum y^2; 1 when y is 0 */
double error_cosine(const struct error_sums *s);  /* 1 when both are 0 */
/* For qsort of pointers to struct tensor_error: the largest relative error first (NaN before all), then by name. */
int error_worst_first(const void *a, const void *b);
void error_add(struct error_sums *to, const struct error_sums *s);

struct error_report {
    struct tensor_error *t;  /* in the order of b */
    size_t n;
    const char **only_a, **only_b; /* tensors without a partner (scales belong to their weights) */
    size_t nonly_a, nonly_b;
    struct arena mem;
};
/* a must be random; b may be a stream. Shapes that differ are ERR_INPUT. how, bits: ERROR_INSPECT: inspect.h, which takes several times
 * as long and 16 bytes for each block of a tensor; ERROR_MAP: error of each block; ERROR_BF16: values of b are rounded to BF16, as servers
 * have them that dequantize to it; ERROR_FLUSH: codes of b's FP8 weights that are
 * subnormal (E4M3: below 2^-6 without the scale) are read as 0, as cores do that have no subnormals
 * (VeriSilicon/TIM-VX vsi_nn_dtype_util_prv.h). */
enum { ERROR_FLUSH = 1, ERROR_INSPECT = 2, ERROR_MAP = 4, ERROR_BF16 = 8 };
int error_measure(struct error_report *r, struct model *a, struct model *b, const struct rules *rules, unsigned how,
                  const struct run_options *opt, struct err *e) MUST_USE;
void error_free(struct error_report *r);

#endif
