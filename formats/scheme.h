/* What a quantized tensor is: described here, computed in quantizers/.
 *
 * A scheme is an element type, a type of scales, and the block of elements that
 * share one.  The usual ones are rows of a table; every other combination has a
 * name too, ELEMENT-SCALE-BLOCK[-asym]:
 *
 *     ELEMENT   fp8 fp8fnuz fp8e5m2 fp8e5m2fnuz fp4 hif8 int8 int4 (int2 .. int7)
 *     SCALE     ue8m0 f32 bf16 f16; f32 when left out; of fp4 in groups also e4m3, times one F32 of the matrix
 *     BLOCK     RxC (rows x columns), gN (N columns of a row), channel (a row), tensor
 *
 * There is one struct scheme for each, so that schemes are compared by address. */
#ifndef OCTAVO_SCHEME_H
#define OCTAVO_SCHEME_H

#include "formats/dtype.h"

struct scheme {
    const char *name;        /* "fp8-ue8m0-128x128" */
    const char *title;       /* one line for --help and man pages */
    enum dtype elem;         /* DT_F8_E4M3, DT_F4, DT_I8, DT_I4, DT_HIF8 ... */
    enum dtype scale;        /* DT_F8_E8M0: powers of two; DT_F32, DT_BF16, DT_F16: any positive value;
                              * DT_F8_E4M3: NVFP4's; DT_COUNT: there is none */
    uint32_t block_rows;     /* 0: all rows */
    uint32_t block_cols;     /* 0: all columns */
    bool two_level;          /* every scale is multiplied by one F32 of the matrix */
    bool zero_point;         /* a code z per block stands for 0: value = (code - z) * scale */
    uint8_t bits;            /* of an integer element: INT8 with fewer than 8 is stored in that many */
};
extern const struct scheme scheme_table[];
extern const size_t scheme_count;
#define SCHEME_DEFAULT "fp8-ue8m0-128x128"

/* A row of the table, or the scheme that the name spells; NULL when it spells none. */
const struct scheme *scheme_find(const char *name);
/* The scheme with these properties (name and title are not looked at; bits 0: those of elem); NULL
 * when there can be none: no such element, or memory is out. */
const struct scheme *scheme_like(struct scheme s);
/* The same without two_level, zero_point and odd bits. */
const struct scheme *scheme_match(enum dtype elem, enum dtype scale, uint32_t block_rows, uint32_t block_cols);
/* The shape of the scale matrix for a [rows, cols] weight: ceil(rows/block_rows) x ceil(cols/block_cols). */
void scheme_scale_shape(const struct scheme *s, uint64_t rows, uint64_t cols, uint64_t *srows, uint64_t *scols);
/* Are its scales powers of two by their type? */
static inline bool scheme_pow2(const struct scheme *s) { return s->scale == DT_F8_E8M0; }
static inline bool scheme_int(const struct scheme *s) { return s->elem == DT_I8 || s->elem == DT_I4; }

#endif
