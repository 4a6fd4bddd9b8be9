/* What the files of block decoders share; see blocks.h.
 *
 * Where codes have odd bits, eight elements are handled at once as the bytes of a
 * number, the first in the lowest; no step carries from one byte into the next.
 *
 * "Split nibbles" in what follows: of n elements byte j has element j in its low
 * and element j + n/2 in its high nibble. */
#ifndef OCTAVO_BLOCKS_PART_H
#define OCTAVO_BLOCKS_PART_H

#include "quantizers/num.h"

#include <stddef.h>

static inline unsigned u16_at(const uint8_t *p) { return p[0] | (unsigned)p[1] << 8; }
static inline uint32_t u32_at(const uint8_t *p) { return u16_at(p) | (uint32_t)u16_at(p + 2) << 16; }
static inline float half_at(const uint8_t *p) { return f16_decode((uint16_t)u16_at(p)); }

/* 8 bits as bytes 0 or 1: each byte keeps the one bit that is its own, and what is
 * not zero is carried into bit 7. */
#define BYTES_OF_1 0x0101010101010101u
static inline uint64_t bytes_of_bits(uint8_t bits)
{
    const uint64_t one_each = bits * BYTES_OF_1 & 0x8040201008040201u;
    return (one_each + 0x7f * BYTES_OF_1) >> 7 & BYTES_OF_1;
}

/* 8 numbers of 2 bits as bytes. */
static inline uint64_t spread_2(unsigned bits)
{
    uint64_t x = bits;
    x = (x | x << 24) & 0x000000ff000000ffu;
    x = (x | x << 12) & 0x000f000f000f000fu;
    return (x | x << 6) & 0x0303030303030303u;
}

/* n elements of split nibbles.  Without restrict here, and in its callers: gcc 12
 * would gather the levels into vectors, which takes twice the time. */
static inline void split_levels(const uint8_t *p, float *y, int n, const float level[16], float d)
{
    for (int i = 0; i < n / 2; i++) {
        y[i] = level[p[i] & 15] * d;
        y[i + n / 2] = level[p[i] >> 4] * d;
    }
}

/* One function per type and file, in the order of its table in blocks.c. */
void q4_1_decode(const uint8_t *p, float *y, size_t n_elems);
void q5_0_decode(const uint8_t *p, float *y, size_t n_elems);
void q5_1_decode(const uint8_t *p, float *y, size_t n_elems);
void q8_1_decode(const uint8_t *p, float *y, size_t n_elems);
void iq4_nl_decode(const uint8_t *p, float *y, size_t n_elems);
void tq1_0_decode(const uint8_t *p, float *y, size_t n_elems);
void tq2_0_decode(const uint8_t *p, float *y, size_t n_elems);
void mxfp4_decode(const uint8_t *p, float *y, size_t n_elems);
void nvfp4_decode(const uint8_t *p, float *y, size_t n_elems);
void q1_0_decode(const uint8_t *p, float *y, size_t n_elems);
void q2_0_decode(const uint8_t *p, float *y, size_t n_elems);

void q2_k_decode(const uint8_t *p, float *y, size_t n_elems);
void q3_k_decode(const uint8_t *p, float *y, size_t n_elems);
void q4_k_decode(const uint8_t *p, float *y, size_t n_elems);
void q5_k_decode(const uint8_t *p, float *y, size_t n_elems);
void q6_k_decode(const uint8_t *p, float *y, size_t n_elems);
void q8_k_decode(const uint8_t *p, float *y, size_t n_elems);
void iq4_xs_decode(const uint8_t *p, float *y, size_t n_elems);

void iq1_s_decode(const uint8_t *p, float *y, size_t n_elems);
void iq1_m_decode(const uint8_t *p, float *y, size_t n_elems);
void iq2_xxs_decode(const uint8_t *p, float *y, size_t n_elems);
void iq2_xs_decode(const uint8_t *p, float *y, size_t n_elems);
void iq2_s_decode(const uint8_t *p, float *y, size_t n_elems);
void iq3_xxs_decode(const uint8_t *p, float *y, size_t n_elems);
void iq3_s_decode(const uint8_t *p, float *y, size_t n_elems);

/* The levels of IQ4_NL and IQ4_XS (blocks.c). */
extern const float iq4_levels[16];

/* Grid points of the IQ types: 8 levels of 2 bits, or 4 of 3 bits (iq3), the first in the lowest. */
extern const uint16_t iq2_xxs_grid[256], iq2_xs_grid[512], iq2_s_grid[1024], iq1_grid[2048];
extern const uint16_t iq3_xxs_grid[256], iq3_s_grid[512];

#endif
