/* Block types: what GGUF stores as small groups of elements with a scale inside. */
#ifndef OCTAVO_BLOCKS_H
#define OCTAVO_BLOCKS_H

#include "formats/dtype.h"

#include <stddef.h>
#include <stdint.h>

struct block_decoder {
    enum dtype dtype;
    /* Decodes n_elems elements, a whole number of blocks, of which p holds the bytes. */
    void (*decode)(const uint8_t *p, float *y, size_t n_elems);
};
/* NULL when t is no block type. */
const struct block_decoder *block_find(enum dtype t);

/* 34 bytes for 32 elements: F16 d, then 32 signed bytes q; y = q * d. */
void q8_0_decode(const uint8_t *p, float *y, size_t n_elems);
/* 18 bytes for 32 elements: F16 d, then 16 bytes; byte j has element j in its
 * low and element j + 16 in its high nibble; y = (q - 8) * d. */
void q4_0_decode(const uint8_t *p, float *y, size_t n_elems);

#endif
