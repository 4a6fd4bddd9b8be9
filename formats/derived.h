/* Tensors that are computed as they are read.
 *
 * A checkpoint can keep a weight apart: the values that are not zero, and a mask
 * that says where they go.  What it means is one tensor, so one takes the place
 * of the pieces in the model's table, and reading its rows puts them together.
 * Nobody who reads a tensor through model_read() can tell. */
#ifndef OCTAVO_DERIVED_H
#define OCTAVO_DERIVED_H

#include "formats/model.h"

struct derived {
    uint64_t row_bytes;
    /* Rows [row, row + n) of all that there are, leading dimensions counted as rows; out has n * row_bytes
     * bytes. Thread-safe; reads the pieces with model_read_piece. */
    int (*rows)(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out,
                struct err *e);
    bool counts;  /* what the model has is this tensor, not the pieces, which are not in its list of them */
};

/* Did it take the place of pieces? */
static inline bool tensor_has_pieces(const struct tensor *t) { return t->derived && !t->derived->counts; }

/* n bytes at byte off of tensor t, as model_read. */
int derived_read(struct model *m, const struct tensor *t, uint64_t off, void *p, size_t n,
                 struct err *e) MUST_USE;

/* Makes t, a matrix that is computed, the part of itself [first, first + extent) of its rows (axis 0) or columns (axis 1),
 * whose bytes are whole; t->dim and t->size are set. */
int derived_cut(struct model *m, struct tensor *t, unsigned axis, uint64_t first, uint64_t extent, struct err *e) MUST_USE;

/* New tensors in the place of others: add[k] comes where tensor at[k] was, at ascending; gone[i] takes tensor
 * i away. Names and struct derived are the model's memory. A name that is there already is ERR_INPUT. */
int derived_replace(struct model *m, const bool *gone, const struct tensor *add, const size_t *at, size_t n,
                    struct err *e) MUST_USE;

#endif
