/* The weights of a model as F32, whatever holds them: floating point, FP8 with scales, GGUF blocks.
 *
 * Names are Hugging Face's.  Reading never changes the model; a band of rows is decoded by several threads. */
#ifndef OCTAVO_FORWARD_WEIGHTS_H
#define OCTAVO_FORWARD_WEIGHTS_H

#include "formats/convention.h"
#include "quantizers/kern.h"
#include "quantizers/values.h"

struct weights {
    struct model *m;
    struct grouping g;
    struct map by_group;             /* what groups are called: some weights have codes of another name */
    const struct kern *k;
    unsigned threads;
};
/* m is open and random, and stays the caller's; its tensors get Hugging Face's names. ERR_INPUT for a pipe, and for names that
 * are not known; then there is nothing to close. */
int weights_open(struct weights *w, struct model *m, unsigned threads, struct err *e) MUST_USE;
void weights_close(struct weights *w); /* all but m; zeros are nothing */

struct layer_matrix {
    const struct weights *of;
    const char *name;                /* the model's */
    size_t index;
    const struct group *group;       /* NULL: not quantized */
    struct view view;
    uint64_t rows, cols;
    uint8_t *side[SIDE_COUNT];       /* scales and the like, whole */
    uint8_t *whole;                  /* the codes, where they lie in another order; else NULL */
};
bool weights_have(const struct weights *w, const char *name);
/* The name of the weight that tensor i of the model holds, or is a part of the codes of; NULL: it is a scale or the like. */
const char *weights_name(const struct weights *w, size_t i);
/* The shape of a tensor as a matrix (a vector is one row); false: there is none. */
bool weights_shape(const struct weights *w, const char *name, uint64_t *rows, uint64_t *cols);
/* Whether weight `name` is there, can be read and is [rows, cols] (a vector: rows 1); else ERR_INPUT as of weight_open. */
int weight_check(const struct weights *w, const char *name, uint64_t rows, uint64_t cols, struct err *e) MUST_USE;
/* Weight `name`, which must be [rows, cols] (a vector: rows 1); else ERR_INPUT naming it and both shapes. */
int weight_open(const struct weights *w, const char *name, uint64_t rows, uint64_t cols, struct layer_matrix *x, struct err *e) MUST_USE;
/* Rows [row, row + n) into out, n * cols floats. ERR_INPUT for a value that is NaN or infinite. */
int weight_rows(const struct layer_matrix *x, uint64_t row, uint64_t n, float *out, struct err *e) MUST_USE;
void weight_close(struct layer_matrix *x);
/* All of it (free()), or NULL. */
float *weight_whole(const struct weights *w, const char *name, uint64_t rows, uint64_t cols, struct err *e) MUST_USE;

#endif
