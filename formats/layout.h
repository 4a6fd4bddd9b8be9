/* Layout sentences: a chip's memory layout in one line, such as
 *
 *     r1 c1 c0 r0 | r0=32 c0=16
 *
 * Digits of the row and the column index, least significant = 0; listed
 * slowest first; sizes are given for all but the top digit of each index; the
 * top digit counts ceil(extent / product of the sizes).  Elements past the
 * extent are padding and zero.  A leading '-' reverses a digit (its value v
 * is stored at size-1-v); a top digit cannot be reversed.  The digits of each
 * index are listed once each, from 0 to the top without holes, and an index
 * with one digit has only a top digit and so no size ("r0 c0" has no '|').
 * Hence every sentence is a bijection by construction.
 *
 * Elements are 1, 2, 4 or 8 bytes, or 4 bits: then row-major data has two
 * elements per byte, the even column in the low nibble (with an odd number of
 * columns the last high nibble of each row is unused), and in the packed form
 * packed element 2i is the low nibble and 2i+1 the high nibble of byte i. An
 * odd number of elements leaves the last high nibble, which is zero. */
#ifndef OCTAVO_LAYOUT_H
#define OCTAVO_LAYOUT_H

#include "formats/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LAYOUT_MAX_DIGITS = 16 };

struct layout_digit {
    uint8_t axis;      /* 0 row, 1 column */
    uint8_t index;     /* significance */
    bool reversed;
    bool top;          /* size depends on the extent */
    uint64_t size;     /* of a digit that is not top */
    uint64_t weight;   /* product of the sizes of the less significant digits of its axis */
};
struct layout {
    struct layout_digit d[LAYOUT_MAX_DIGITS]; /* slowest first */
    uint8_t n;
    uint64_t tile[2];  /* product of the sizes below the top digit, per axis: rows, columns */
};

/* ERR_USAGE with a sentence that quotes the offending word. */
int layout_parse(struct layout *l, const char *sentence, struct err *e) MUST_USE;
/* The canonical spelling, into s (at least 256 bytes); returns s. */
char *layout_print(const struct layout *l, char *s);
/* True for "r0 c0": packed = row-major. */
bool layout_is_plain(const struct layout *l);
/* Number of elements of the packed form, padding included. False on overflow. */
bool layout_size(const struct layout *l, uint64_t rows, uint64_t cols, uint64_t *elems);
/* Where element (r, c) of a [rows, cols] matrix lies: index in elements. The definition; slow. */
uint64_t layout_offset(const struct layout *l, uint64_t rows, uint64_t cols, uint64_t r,
                       uint64_t c);

/* Packs a whole [rows, cols] matrix; src rows are src_stride bytes apart; dst
 * has layout_size elements, dense; padding is written as zero.  bits is 4, 8,
 * 16, 32 or 64.  unpack is the inverse (padding is ignored; an unused nibble
 * of a row is written as zero; bytes between rows are not touched).  Needs no
 * alignment of the pointers.  Runs at copy speed: strided copies with the
 * longest contiguous run innermost, blocked transposes where rows and columns
 * swap.  No allocation. */
void layout_pack(const struct layout *l, unsigned bits, uint64_t rows, uint64_t cols,
                 const void *src, size_t src_stride, void *dst);
void layout_unpack(const struct layout *l, unsigned bits, uint64_t rows, uint64_t cols,
                   const void *src, void *dst, size_t dst_stride);
/* The first padding element of a packed matrix that is not zero, or UINT64_MAX. */
uint64_t layout_padding_nonzero(const struct layout *l, unsigned bits, uint64_t rows,
                                uint64_t cols, const void *packed);

/* A box [r0, r0+nr) x [c0, c0+nc) of a bigger matrix, r0 and c0 multiples of
 * tile[] (nr, nc too, unless they reach the end).  Packing the box alone as an
 * [nr, nc] matrix gives the same elements as in the big packed form, cut into
 * runs: calls run(ctx, global, local, n) for each maximal contiguous run of n
 * elements at element index `global` of the big form and `local` of the box's
 * form, in ascending order of both; `local` has no gaps.  Stops when run
 * returns non-zero and returns -1.  Padding belongs to the box that reaches
 * the end, so boxes that cover the matrix once cover the packed form once. */
int layout_runs(const struct layout *l, uint64_t rows, uint64_t cols,
                uint64_t r0, uint64_t nr, uint64_t c0, uint64_t nc,
                int (*run)(void *ctx, uint64_t global, uint64_t local, uint64_t n), void *ctx);
/* How many runs that would be (to choose a good box shape). */
uint64_t layout_run_count(const struct layout *l, uint64_t rows, uint64_t cols,
                          uint64_t r0, uint64_t nr, uint64_t c0, uint64_t nc);
/* Do all runs of the box start and end on whole bytes?  Always true unless
 * bits is 4; there, true whenever the digits faster than both top digits
 * multiply to an even number.  A half byte at the very end of the big form
 * counts as whole. A box that says no cannot be placed by copying bytes. */
bool layout_box_whole_bytes(const struct layout *l, unsigned bits, uint64_t rows, uint64_t cols,
                            uint64_t r0, uint64_t nr, uint64_t c0, uint64_t nc);

#endif
