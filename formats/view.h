/* How the codes of a weight lie in the bytes of its tensor.
 *
 * A checkpoint that has no type for 4-bit elements keeps them in bytes or words
 * of a tensor with another shape.  A view says what that tensor means: the type
 * of its elements and the shape of the weight.  Rows are contiguous. */
#ifndef OCTAVO_VIEW_H
#define OCTAVO_VIEW_H

#include "formats/model.h"

enum packing {
    PACK_PLAIN,  /* as the type says; F4 and I4: two in a byte, the even column in its low half */
    PACK_BYTES,  /* the same 4-bit codes in a U8 or I8 tensor [.., K/2] */
    PACK_HIGH,   /* the same with the even column in the high half (Hygon slimquant) */
    PACK_ROWS,   /* two rows of 4-bit codes in a row of bytes, the even one in its low half: I8 [.., N/2, K] (Ascend
                  * W4A8_DYNAMIC); only written: when it is read it is a derived tensor of I4 */
    PACK_WORDS,  /* unsigned codes, value + 2^(bits-1), as a stream of bits, lowest first, in I32 words
                  * [.., ceil(K * bits / 32)] (compressed-tensors pack_to_int32) */
    PACK_SLOTS,  /* the same codes, 32 / bits of them in each word from its lowest bit on, the rest of it unused:
                  * another order only where bits does not divide 32 (compressed-tensors before 0.18) */
};

struct view {
    enum dtype elem;
    enum packing packing;
    uint8_t bits;             /* of an element of PACK_WORDS or PACK_SLOTS */
    uint8_t rank;
    uint64_t dim[TENSOR_MAX_RANK];
    bool inputs_first;        /* the tensor holds [.., K, N]: columns of the view are its rows */
};

/* What a tensor is when nothing else is said. */
struct view view_of(const struct tensor *t);
struct matrix view_matrix(const struct view *v);
/* A plain tensor [.., K, N] seen as [.., N, K]. */
struct view view_turned(const struct tensor *t);
/* Bytes of the first cols columns of a row (PACK_ROWS: of two of them); cols is a multiple of view_step or reaches the end of the row. */
uint64_t view_row_bytes(const struct view *v, uint64_t cols);
/* Columns that end at a whole byte, word or block. */
uint32_t view_step(const struct view *v);
/* "[128,256]" into s (at least 176 bytes); returns s. */
char *view_shape(const struct view *v, char *s);

#endif
