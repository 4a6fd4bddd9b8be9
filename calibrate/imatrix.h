/* llama.cpp's importance matrices: the mean square of each channel of the inputs of linear layers, and no more.
 *
 * As a GGUF file (general.type "imatrix"): tensors NAME.in_sum2 F32 [experts, n], sums of squares, and NAME.counts F32 [experts, 1],
 * the rows that went into them.  Or the older .dat: a count, then for each entry its name, a count of chunks, a count of values and
 * values F32, the mean square times the chunks; how many rows there were it does not say, so a chunk counts as one.
 * (ggml-org/llama.cpp tools/imatrix/imatrix.cpp.)
 *
 * They become the diagonals of a file of statistics, under llama.cpp's names, which stats_find() knows.  A diagonal weighs errors
 * in reports and cannot change rounding. */
#ifndef OCTAVO_CALIBRATE_IMATRIX_H
#define OCTAVO_CALIBRATE_IMATRIX_H

#include "calibrate/stats.h"

struct imatrix {
    size_t points;                   /* that were written, each expert one */
    size_t unseen;                   /* experts that had no row, and are left out */
};
/* ERR_INPUT naming file and entry: what is cut, NaN, Inf, a negative sum, a stack of experts of no known number. */
int imatrix_import(struct imatrix *x, const char *path, const char *output, const struct meta *kv, size_t nkv, struct sink_options o,
                   struct err *e) MUST_USE;

#endif
