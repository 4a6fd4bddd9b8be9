/* The IQ types of 1 to 3 bits: blocks of 256 elements whose codes, eight or four
 * at a time, are points of a grid (blocks_iq_grid.c), with signs apart. */
#include "quantizers/blocks_part.h"

/* ---- grid points to bytes ------------------------------------------------------- */

/* 4 numbers of 3 bits as bytes. */
static inline uint32_t spread_3(uint16_t point)
{
    uint32_t x = point;
    x = (x | x << 10) & 0x003f003fu;
    return (x | x << 5) & 0x07070707u;
}

/* Levels 8, 25, 43. */
static inline uint64_t iq2_levels(uint16_t point)
{
    const uint64_t x = spread_2(point);
    return 8 * BYTES_OF_1 + 17 * x + (x >> 1 & BYTES_OF_1);
}

/* Levels 4, 12, 20 ... 52, and 62 where an eighth step would give 60. */
static inline uint64_t iq3_xxs_levels(const uint8_t *index)
{
    const uint64_t x = spread_3(iq3_xxs_grid[index[0]]) | (uint64_t)spread_3(iq3_xxs_grid[index[1]]) << 32;
    return 4 * BYTES_OF_1 + 8 * x + 2 * (x & x >> 1 & x >> 2 & BYTES_OF_1);
}

/* Levels 1, 3, 5 ... 15; ninth bits of the two indices in bits 0 and 1 of high. */
static inline uint64_t iq3_s_levels(const uint8_t *index, unsigned high)
{
    const uint64_t a = spread_3(iq3_s_grid[index[0] | (high & 1) << 8]);
    const uint64_t b = spread_3(iq3_s_grid[index[1] | (high >> 1 & 1) << 8]);
    return BYTES_OF_1 + 2 * (a | b << 32);
}

/* Bytes that are not zero, negative where a bit is set. */
static inline uint64_t with_signs(uint64_t bytes, uint8_t signs)
{
    const uint64_t minus = bytes_of_bits(signs);
    return (bytes ^ minus * 0xff) + minus;
}

/* Seven sign bits; the eighth makes their number even. */
static inline uint8_t even_signs(uint32_t bits)
{
    bits &= 127;
    return (uint8_t)(bits | (uint32_t)__builtin_parity(bits) << 7);
}

/* Eight signed bytes times d. */
static inline void scaled(float *restrict y, uint64_t bytes, float d)
{
    int8_t q[8];
    memcpy(q, &bytes, 8);
    for (int i = 0; i < 8; i++)
        y[i] = (float)q[i] * d;
}

/* ---- two bits ------------------------------------------------------------------- */

/* F16 d, then for each 32 elements 4 grid indices and a u32: four times 7 bits of
 * signs, and a scale s in the top 4.  d * (s + 1/2) / 4. */
void iq2_xxs_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 66) {
        const float d = half_at(p);
        for (int s = 0; s < 8; s++) {
            const uint8_t *const index = p + 2 + 8 * s;
            const uint32_t signs = u32_at(index + 4);
            const float scale = d * (0.5f + (float)(signs >> 28)) * 0.25f;
            for (int i = 0; i < 4; i++, y += 8) {
                const uint64_t q = iq2_levels(iq2_xxs_grid[index[i]]);
                scaled(y, with_signs(q, even_signs(signs >> 7 * i)), scale);
            }
        }
    }
}

/* Scale s of 16, a nibble. */
static inline float iq2_scale(const uint8_t *p, int s, float d)
{
    return d * (0.5f + (float)(p[s / 2] >> s % 2 * 4 & 15)) * 0.25f;
}

/* F16 d, 32 u16 with 9 bits of grid index and 7 of signs, 8 bytes of scales. */
void iq2_xs_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 74) {
        const float d = half_at(p);
        for (int k = 0; k < 32; k++, y += 8) {
            const unsigned code = u16_at(p + 2 + 2 * k);
            const uint64_t q = iq2_levels(iq2_xs_grid[code & 511]);
            scaled(y, with_signs(q, even_signs(code >> 9)), iq2_scale(p + 66, k / 2, d));
        }
    }
}

/* F16 d, 32 grid indices, 32 bytes of signs, 8 bytes with the two high bits of four
 * indices each, 8 bytes of scales. */
void iq2_s_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 82) {
        const float d = half_at(p);
        for (int k = 0; k < 32; k++, y += 8) {
            const unsigned high = p[66 + k / 4] >> k % 4 * 2 & 3;
            const uint64_t q = iq2_levels(iq2_s_grid[p[2 + k] | high << 8]);
            scaled(y, with_signs(q, p[34 + k]), iq2_scale(p + 74, k / 2, d));
        }
    }
}

/* ---- three bits ----------------------------------------------------------------- */

/* F16 d, 64 grid indices, and for each 32 elements a u32 as in IQ2_XXS; d * (s + 1/2) / 2. */
void iq3_xxs_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 98) {
        const float d = half_at(p);
        for (int s = 0; s < 8; s++) {
            const uint32_t signs = u32_at(p + 66 + 4 * s);
            const float scale = d * (0.5f + (float)(signs >> 28)) * 0.5f;
            for (int i = 0; i < 4; i++, y += 8) {
                const uint64_t q = iq3_xxs_levels(p + 2 + 8 * s + 2 * i);
                scaled(y, with_signs(q, even_signs(signs >> 7 * i)), scale);
            }
        }
    }
}

/* F16 d, 64 grid indices, 8 bytes with the ninth bit of eight indices each, 32 bytes
 * of signs, 4 bytes of scales s, a nibble for 32 elements; d * (2 s + 1). */
void iq3_s_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 110) {
        const float d = half_at(p);
        for (int k = 0; k < 32; k++, y += 8) {
            const uint64_t q = iq3_s_levels(p + 2 + 2 * k, p[66 + k / 4] >> k % 4 * 2);
            const int scale = 2 * (p[106 + k / 8] >> k / 4 % 2 * 4 & 15) + 1;
            scaled(y, with_signs(q, p[74 + k]), d * (float)scale);
        }
    }
}

/* ---- one bit -------------------------------------------------------------------- */

/* Eight levels -1, 0, 1, each shifted by delta, times d. */
static inline void one_bit(float *restrict y, unsigned index, float delta, float d)
{
    const uint64_t bytes = spread_2(iq1_grid[index]);
    uint8_t q[8];
    memcpy(q, &bytes, 8);
    for (int i = 0; i < 8; i++)
        y[i] = d * ((float)q[i] + (delta - 1));
}

/* F16 d, 32 grid indices, and for each 32 elements a u16: four times the three high
 * bits of an index, three bits of scale s, and the sign of delta, 1/8.  d * (2 s + 1). */
void iq1_s_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 50) {
        const float d = half_at(p);
        for (int s = 0; s < 8; s++) {
            const unsigned high = u16_at(p + 34 + 2 * s);
            const float scale = d * (float)(2 * (high >> 12 & 7) + 1), delta = high >> 15 ? -0.125f : 0.125f;
            for (int i = 0; i < 4; i++, y += 8)
                one_bit(y, p[2 + 4 * s + i] | (high >> 3 * i & 7) << 8, delta, scale);
        }
    }
}

/* 32 grid indices, 16 bytes with a nibble for each: its three high bits and the sign
 * of delta; then four u16 with four scales of three bits each, for 16 elements, and
 * in the top nibbles the F16 d, its lowest first.  d * (2 s + 1). */
void iq1_m_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 56) {
        unsigned bits = 0;
        for (int i = 0; i < 4; i++)
            bits |= u16_at(p + 48 + 2 * i) >> 12 << 4 * i;
        const float d = f16_decode((uint16_t)bits);
        for (int s = 0; s < 16; s++) {
            const float scale = d * (float)(2 * (u16_at(p + 48 + s / 4 * 2) >> s % 4 * 3 & 7) + 1);
            for (int k = 2 * s; k < 2 * s + 2; k++, y += 8) {
                const unsigned high = p[32 + k / 2] >> k % 2 * 4;
                one_bit(y, p[k] | (high & 7) << 8, high & 8 ? -0.125f : 0.125f, scale);
            }
        }
    }
}
