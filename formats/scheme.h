/* What a quantized tensor is: described here, computed in quantizers/. */
#ifndef OCTAVO_SCHEME_H
#define OCTAVO_SCHEME_H

#include "formats/dtype.h"

struct scheme {
    const char *name;        /* "fp8-ue8m0-128x128" */
    const char *title;       /* one line for --help and man pages */
    enum dtype elem;         /* DT_F8_E4M3 or DT_I8 */
    enum dtype scale;        /* DT_F8_E8M0: powers of two; DT_F32: any positive value */
    uint32_t block_rows;     /* 0: all rows */
    uint32_t block_cols;     /* 0: all columns */
};
extern const struct scheme scheme_table[];
extern const size_t scheme_count;
#define SCHEME_DEFAULT "fp8-ue8m0-128x128"

/* NULL when there is none. */
const struct scheme *scheme_find(const char *name);
const struct scheme *scheme_match(enum dtype elem, enum dtype scale, uint32_t block_rows, uint32_t block_cols);
/* The shape of the scale matrix for a [rows, cols] weight: ceil(rows/block_rows) x ceil(cols/block_cols). */
void scheme_scale_shape(const struct scheme *s, uint64_t rows, uint64_t cols, uint64_t *srows, uint64_t *scols);

#endif
