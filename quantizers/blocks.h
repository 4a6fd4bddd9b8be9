/* Block types: what GGUF stores as small groups of elements with a scale inside.
 *
 * What an element is worth is defined by the reference decoders of ggml
 * (ggml-org/ggml src/ggml-quants.c, dequantize_row_*): an FP32 number, and these
 * decoders give the same bits.  The product of an F16 d with a scale and a code
 * has at most 24 bits, so it is exact whatever its order.  One rounding remains
 * where a minimum is added or subtracted (Q4_1, Q5_1, Q2_K, Q4_K, Q5_K) and in
 * Q8_K, whose d is an F32.
 *
 * Edges, as ggml has them:
 *  - A d that is Inf or NaN gives what IEEE arithmetic gives, Inf or NaN; which
 *    NaN is not promised.
 *  - MXFP4: E8M0 code 255 is 2^128 and no NaN, so codes 253 to 255 can give Inf.
 *    E2M1 code 8 is +0 times the scale, here and in NVFP4: -0 is not kept.
 *  - NVFP4: the sign of a UE4M3 scale is not looked at, except that 7F is worth
 *    0 and FF is worth 480.
 *  - Q8_1 and Q8_K, which ggml uses in computing and does not expect in files,
 *    are q * d like Q8_0; their sums are not looked at. */
#ifndef OCTAVO_BLOCKS_H
#define OCTAVO_BLOCKS_H

#include "formats/dtype.h"

#include <stdbool.h>
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
/* Makes such a block of 32 finite numbers: d = amax / 127, q = x * (1 / d) rounded to nearest with ties away from zero,
 * then d rounded to F16.  False when that is Inf. */
bool q8_0_encode(const float *x, uint8_t *p);
/* 17 bytes for 32 E2M1 codes: the UE8M0 scale, then 16 bytes; byte j has code j in its low and code j + 16 in its
 * high nibble. */
void mxfp4_pack(uint8_t scale, const uint8_t *code, uint8_t *p);
/* 18 bytes for 32 elements: F16 d, then 16 bytes; byte j has element j in its
 * low and element j + 16 in its high nibble; y = (q - 8) * d. */
void q4_0_decode(const uint8_t *p, float *y, size_t n_elems);

#endif
