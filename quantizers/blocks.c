/* The table of block types, and those whose blocks have one scale and no
 * structure inside: all of 32 elements, and the ternary and binary ones. */
#include "quantizers/blocks.h"

#include "quantizers/blocks_part.h"

#define ROW(id, name) [DT_##id - DT_Q8_0] = {DT_##id, name##_decode}
static const struct block_decoder block_table[] = {
    ROW(Q8_0, q8_0),       ROW(Q4_0, q4_0),       ROW(Q4_1, q4_1),       ROW(Q5_0, q5_0),
    ROW(Q5_1, q5_1),       ROW(Q8_1, q8_1),       ROW(Q2_K, q2_k),       ROW(Q3_K, q3_k),
    ROW(Q4_K, q4_k),       ROW(Q5_K, q5_k),       ROW(Q6_K, q6_k),       ROW(Q8_K, q8_k),
    ROW(IQ2_XXS, iq2_xxs), ROW(IQ2_XS, iq2_xs),   ROW(IQ3_XXS, iq3_xxs), ROW(IQ1_S, iq1_s),
    ROW(IQ4_NL, iq4_nl),   ROW(IQ3_S, iq3_s),     ROW(IQ2_S, iq2_s),     ROW(IQ4_XS, iq4_xs),
    ROW(IQ1_M, iq1_m),     ROW(TQ1_0, tq1_0),     ROW(TQ2_0, tq2_0),     ROW(MXFP4, mxfp4),
    ROW(NVFP4, nvfp4),     ROW(Q1_0, q1_0),       ROW(Q2_0, q2_0),
};
_Static_assert(sizeof block_table / sizeof *block_table == DT_COUNT - DT_Q8_0, "a row for each block type");

const struct block_decoder *block_find(enum dtype t)
{
    return t < DT_COUNT && dtype_is_block(t) ? &block_table[t - DT_Q8_0] : NULL;
}

/* ---- whole numbers times d --------------------------------------------------- */

void q8_0_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 32; n -= 32, p += 34, y += 32) {
        const float d = half_at(p);
        for (int i = 0; i < 32; i++)
            y[i] = (float)(int8_t)p[2 + i] * d;
    }
}

/* F16 d, F16 sum of the elements, 32 signed bytes. */
void q8_1_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 32; n -= 32, p += 36, y += 32) {
        const float d = half_at(p);
        for (int i = 0; i < 32; i++)
            y[i] = (float)(int8_t)p[4 + i] * d;
    }
}

void q4_0_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 32; n -= 32, p += 18, y += 32) {
        const float d = half_at(p);
        for (int i = 0; i < 16; i++) {
            y[i] = (float)((p[2 + i] & 15) - 8) * d;
            y[i + 16] = (float)((p[2 + i] >> 4) - 8) * d;
        }
    }
}

/* F16 d, F16 m, split nibbles; q * d + m. */
void q4_1_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 32; n -= 32, p += 20, y += 32) {
        const float d = half_at(p), m = half_at(p + 2);
        for (int i = 0; i < 16; i++) {
            y[i] = (float)(p[4 + i] & 15) * d + m;
            y[i + 16] = (float)(p[4 + i] >> 4) * d + m;
        }
    }
}

/* Codes 8 i to 8 i + 7 of 32: split nibbles after four bytes of fifth bits, that of
 * code j in bit j. */
static inline uint64_t five_bits(const uint8_t *p, int i)
{
    uint64_t x;
    memcpy(&x, p + 4 + i % 2 * 8, 8);
    return (x >> i / 2 * 4 & 15 * BYTES_OF_1) | bytes_of_bits(p[i]) << 4;
}

/* F16 d, fifth bits, split nibbles; (q - 16) * d. */
void q5_0_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 32; n -= 32, p += 22) {
        const float d = half_at(p);
        for (int i = 0; i < 4; i++, y += 8) {
            const uint64_t bytes = five_bits(p + 2, i);
            uint8_t q[8];
            memcpy(q, &bytes, 8);
            for (int k = 0; k < 8; k++)
                y[k] = (float)(q[k] - 16) * d;
        }
    }
}

/* F16 d, F16 m, fifth bits, split nibbles; q * d + m. */
void q5_1_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 32; n -= 32, p += 24) {
        const float d = half_at(p), m = half_at(p + 2);
        for (int i = 0; i < 4; i++, y += 8) {
            const uint64_t bytes = five_bits(p + 4, i);
            uint8_t q[8];
            memcpy(q, &bytes, 8);
            for (int k = 0; k < 8; k++)
                y[k] = (float)q[k] * d + m;
        }
    }
}

/* ---- levels times d ------------------------------------------------------------ */

const float iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/* E2M1, with both zeros positive as in ggml. */
static const float e2m1_levels[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/* F16 d, split nibbles. */
void iq4_nl_decode(const uint8_t *p, float *y, size_t n)
{
    for (; n >= 32; n -= 32, p += 18, y += 32)
        split_levels(p + 2, y, 32, iq4_levels, half_at(p));
}

/* E8M0 scale, split nibbles.  Code 255 is 2^128, beyond FP32: so it is applied as
 * half of it and doubled levels, as in ggml; both are exact. */
void mxfp4_decode(const uint8_t *p, float *y, size_t n)
{
    float doubled[16];
    for (int i = 0; i < 16; i++)
        doubled[i] = 2 * e2m1_levels[i];
    for (; n >= 32; n -= 32, p += 17, y += 32) {
        const uint32_t half_scale = p[0] < 2 ? 0x00200000u << p[0] : (uint32_t)(p[0] - 1) << 23;
        split_levels(p + 1, y, 32, doubled, f32_from(half_scale));
    }
}

/* UE4M3: E4M3 without a sign, its NaN worth 0; with the sign bit it is 480. */
static float ue4m3(uint8_t code)
{
    if (code == 0x7f)
        return 0;
    return code == 0xff ? 480 : e4m3_decode(code & 0x7f);
}

/* Four UE4M3 scales, then 8 bytes of split nibbles for 16 elements of each. */
void nvfp4_decode(const uint8_t *p, float *y, size_t n)
{
    for (; n >= 64; n -= 64, p += 36, y += 64)
        for (int s = 0; s < 4; s++)
            split_levels(p + 4 + 8 * s, y + 16 * s, 16, e2m1_levels, ue4m3(p[s]));
}

/* ---- one and two bits ---------------------------------------------------------- */

/* F16 d, 128 bits, the lowest of a byte first; d where set, else -d. */
void q1_0_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 128; n -= 128, p += 18, y += 128) {
        const float d = half_at(p);
        for (int i = 0; i < 16; i++) {
            const uint64_t bytes = bytes_of_bits(p[2 + i]);
            uint8_t q[8];
            memcpy(q, &bytes, 8);
            for (int k = 0; k < 8; k++)
                y[8 * i + k] = (float)(2 * q[k] - 1) * d;
        }
    }
}

/* F16 d, 64 codes of two bits, the lowest of a byte first; (q - 1) * d. */
void q2_0_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 64; n -= 64, p += 18, y += 64) {
        const float d = half_at(p);
        for (int i = 0; i < 8; i++) {
            const uint64_t bytes = spread_2(u16_at(p + 2 + 2 * i));
            uint8_t q[8];
            memcpy(q, &bytes, 8);
            for (int k = 0; k < 8; k++)
                y[8 * i + k] = (float)(q[k] - 1) * d;
        }
    }
}

/* n bytes that hold a digit of base 3 for each of `digits` runs of n elements: the
 * byte is a fraction of 256, and times 3 its whole part is the next digit. */
static inline float *base_3(const uint8_t *restrict p, float *restrict y, int n, int digits, float d)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    for (int k = 0; k < digits; k++, y += n)
        for (int i = 0; i < n; i++)
            y[i] = (float)(((uint8_t)(p[i] * power[k]) * 3 >> 8) - 1) * d;
    return y;
}

/* 32 and 16 bytes of five digits, 4 bytes of four, F16 d; (digit - 1) * d. */
void tq1_0_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 54) {
        const float d = half_at(p + 52);
        y = base_3(p, y, 32, 5, d);
        y = base_3(p + 32, y, 16, 5, d);
        y = base_3(p + 48, y, 4, 4, d);
    }
}

/* Two times 32 bytes with four codes each, the lowest bits for the first 32
 * elements; then F16 d.  (q - 1) * d. */
void tq2_0_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 66) {
        const float d = half_at(p + 64);
        for (int k = 0; k < 8; k++, y += 32)
            for (int i = 0; i < 32; i++)
                y[i] = (float)((p[k / 4 * 32 + i] >> 2 * (k % 4) & 3) - 1) * d;
    }
}
