/* Inside the layout code only: what layout.c, layout_copy.c, layout_nibble.c
 * and layout_kern.c share.
 *
 * A matrix and its packed form hold the same elements in two orders.  Both are
 * walked by the same loops, one per digit, with one stride on each side: that
 * is a nest of dims.  Loops may run in any order, so a plan picks the order,
 * the blocks and the kernel that suit both memories. */
#ifndef OCTAVO_LAYOUT_COPY_H
#define OCTAVO_LAYOUT_COPY_H

#include "formats/layout.h"
#include "formats/mem.h"

/* How many values a digit has in a matrix of this extent. */
static inline uint64_t layout_digit_count(const struct layout_digit *d, uint64_t rows,
                                          uint64_t cols)
{
    return d->top ? ceil_div(d->axis ? cols : rows, d->weight) : d->size;
}

/* ---- kernels (layout_kern.c) -------------------------------------------- */

/* One loop: n steps of s bytes in the source and d bytes in the destination. */
struct dim {
    uint64_t n;
    ptrdiff_t s, d;
};

/* For each b, for each a: copy run bytes. */
void kern_rows(const unsigned char *s, unsigned char *d, size_t run, const struct dim *a,
               const struct dim *b);
/* For each z: a transpose.  Elements of w bytes (1, 2, 4) touch along x in the
 * source (x.s == w) and along y in the destination (y.d == w). */
void kern_swap(const unsigned char *s, unsigned char *d, size_t w, const struct dim *x,
               const struct dim *y, const struct dim *z);
/* Does kern_swap have a way for this shape that is faster than element by element? */
bool kern_swap_is_fast(size_t w, const struct dim *x, const struct dim *y);
/* For each b, for each a: set run bytes to zero. */
void kern_zero(unsigned char *d, size_t run, const struct dim *a, const struct dim *b);

/* Two rows of n bytes (2n nibbles each) to 2n bytes: lo's nibble i low, hi's nibble i high. */
void kern_pair(const unsigned char *lo, const unsigned char *hi, unsigned char *out, size_t n);
void kern_unpair(const unsigned char *in, unsigned char *lo, unsigned char *hi, size_t n);
/* The same where lo and hi alternate in one row, every half bytes (total a multiple of 2*half). */
void kern_pair_row(const unsigned char *in, size_t half, unsigned char *out, size_t total);
void kern_unpair_row(const unsigned char *in, size_t half, unsigned char *out, size_t total);
/* Swaps the nibbles of n bytes; in == out is allowed. */
void kern_swap_nibbles(const unsigned char *in, unsigned char *out, size_t n);

/* ---- nests (layout_plan.c) ---------------------------------------------- */

enum { GEOM_MAX_DIGITS = LAYOUT_MAX_DIGITS + 1, NEST_MAX_DIMS = GEOM_MAX_DIGITS };

/* Loops in any order over elements of w bytes; s: the matrix, d: the packed form. */
struct nest {
    struct dim dim[NEST_MAX_DIMS];
    unsigned n;
    size_t w;
};

/* Copies every element; back is from packed to plain. */
void nest_copy(const struct nest *t, unsigned char *plain, unsigned char *packed, bool back);
/* Zeroes every element of the packed form. */
void nest_zero(const struct nest *t, unsigned char *packed);

/* ---- geometries (layout_copy.c) ----------------------------------------- */

/* A layout for one matrix: digits with their counts and with their strides in
 * the packed form, in elements of whole bytes. */
struct geom {
    struct geom_digit {
        uint8_t axis, index;
        bool reversed, top;
        uint64_t n;          /* how many values */
        uint64_t weight;     /* of a step, in rows or columns */
        uint64_t y;          /* of a step, in packed elements */
    } d[GEOM_MAX_DIGITS];    /* slowest first */
    unsigned n;
    size_t w;                /* bytes per element */
};

void geom_make(struct geom *g, const struct layout *l, uint64_t rows, uint64_t cols, size_t w);
/* Copies the first [rows, cols] elements between a row-major matrix and the
 * packed form, which may be that of a bigger matrix; back is from packed to
 * row-major. */
void geom_copy(const struct geom *g, uint64_t rows, uint64_t cols, unsigned char *plain,
               size_t stride, unsigned char *packed, bool back);
/* Zeroes the packed elements of all other rows and columns. */
void geom_pad(const struct geom *g, uint64_t rows, uint64_t cols, unsigned char *packed);

/* ---- elements of 4 bits (layout_nibble.c) ------------------------------- */

void nibble_move(const struct layout *l, uint64_t rows, uint64_t cols, unsigned char *plain,
                 size_t stride, unsigned char *packed, bool back);

/* The part of layout_offset() that comes from one index: r's plus c's is the whole. */
uint64_t layout_axis_offset(const struct layout *l, unsigned axis, uint64_t rows, uint64_t cols,
                            uint64_t index);

#endif
