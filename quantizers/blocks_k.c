/* Block types of 256 elements in sub-blocks of 16 or 32, each with a small scale
 * of its own: the K types, and IQ4_XS, which is built like them. */
#include "quantizers/blocks_part.h"

/* 16 scale bytes, 64 bytes of codes, F16 d, F16 dmin.
 * Sub-blocks of 16: low nibble of the byte times d, high nibble times dmin.  Codes
 * of two bits: 32 bytes hold four runs of 32 elements, the lowest bits first. */
void q2_k_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 84) {
        const float d = half_at(p + 80), dmin = half_at(p + 82);
        for (int s = 0; s < 16; s++, y += 16) {
            const float scale = d * (float)(p[s] & 15), min = dmin * (float)(p[s] >> 4);
            const uint8_t *const q = p + 16 + s / 8 * 32 + s % 2 * 16;
            for (int i = 0; i < 16; i++)
                y[i] = scale * (float)(q[i] >> s % 8 / 2 * 2 & 3) - min;
        }
    }
}

/* Scale s of 16, six bits: the low four as nibbles of bytes 0 to 7, the high two
 * in bytes 8 to 11, of each the lowest bits first for scales 0 to 3. */
static int scale_of_16(const uint8_t *p, int s)
{
    return ((p[s % 8] >> s / 8 * 4 & 15) | (p[8 + s % 4] >> s / 4 * 2 & 3) << 4) - 32;
}

/* 32 bytes of high bits, 64 of low bits, 12 of scales, F16 d.
 * Codes of three bits: the low two lie as in Q2_K, the third of runs of 32
 * elements in bits 0 to 7 of the same 32 bytes; it is worth -4 where it is clear. */
void q3_k_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 110) {
        const float d = half_at(p + 108);
        for (int s = 0; s < 16; s++, y += 16) {
            const float scale = d * (float)scale_of_16(p + 96, s);
            const uint8_t *const high = p + s % 2 * 16, *const q = p + 32 + s / 8 * 32 + s % 2 * 16;
            for (int i = 0; i < 16; i++)
                y[i] = scale * (float)((q[i] >> s % 8 / 2 * 2 & 3) + (high[i] >> s / 2 << 2 & 4) - 4);
        }
    }
}

/* Scale and minimum s of 8, six bits each in 12 bytes: the first four whole in
 * bytes 0 to 7; of the others the low bits as nibbles of bytes 8 to 11 and the
 * high two above those of the first four. */
static void scale_and_min(const uint8_t *p, int s, float *scale, float *min)
{
    const int a = s < 4 ? p[s] & 63 : (p[s + 4] & 15) | p[s - 4] >> 6 << 4;
    const int b = s < 4 ? p[s + 4] & 63 : p[s + 4] >> 4 | p[s] >> 6 << 4;
    *scale = (float)a;
    *min = (float)b;
}

/* F16 d, F16 dmin, 12 bytes of scales, 128 bytes of codes.
 * Sub-blocks of 32, two of them in the nibbles of 32 bytes: d * scale * q - dmin * min. */
void q4_k_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 144) {
        const float d = half_at(p), dmin = half_at(p + 2);
        for (int s = 0; s < 8; s++, y += 32) {
            const uint8_t *const q = p + 16 + s / 2 * 32;
            float scale, min;
            scale_and_min(p + 4, s, &scale, &min);
            scale *= d;
            min *= dmin;
            for (int i = 0; i < 32; i++)
                y[i] = scale * (float)(q[i] >> s % 2 * 4 & 15) - min;
        }
    }
}

/* As Q4_K, with the fifth bits of sub-block s in bit s of 32 bytes before the codes. */
void q5_k_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 176) {
        const float d = half_at(p), dmin = half_at(p + 2);
        for (int s = 0; s < 8; s++, y += 32) {
            const uint8_t *const high = p + 16, *const q = p + 48 + s / 2 * 32;
            float scale, min;
            scale_and_min(p + 4, s, &scale, &min);
            scale *= d;
            min *= dmin;
            for (int i = 0; i < 32; i++)
                y[i] = scale * (float)((q[i] >> s % 2 * 4 & 15) | (high[i] >> s << 4 & 16)) - min;
        }
    }
}

/* 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales, F16 d.
 * Sub-blocks of 16, eight of them in 64 low and 32 high bytes: (q - 32) * scale * d. */
void q6_k_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 210) {
        const float d = half_at(p + 208);
        for (int s = 0; s < 16; s++, y += 16) {
            const float scale = d * (float)(int8_t)p[192 + s];
            const int run = s % 8 / 2; /* of 32 elements, of four */
            const uint8_t *const low = p + s / 8 * 64 + run % 2 * 32 + s % 2 * 16;
            const uint8_t *const high = p + 128 + s / 8 * 32 + s % 2 * 16;
            for (int i = 0; i < 16; i++)
                y[i] = scale * (float)(((low[i] >> run / 2 * 4 & 15) | (high[i] >> 2 * run & 3) << 4) - 32);
        }
    }
}

/* F32 d, 256 signed bytes, sums of 16 codes each. */
void q8_k_decode(const uint8_t *restrict p, float *restrict y, size_t n)
{
    for (; n >= 256; n -= 256, p += 292, y += 256) {
        const float d = f32_from(u32_at(p));
        for (int i = 0; i < 256; i++)
            y[i] = (float)(int8_t)p[4 + i] * d;
    }
}

/* F16 d, 8 pairs of high bits of scales, 8 nibbles of low ones, 128 bytes of codes.
 * Sub-blocks of 32 in split nibbles; d * (scale - 32) * level. */
void iq4_xs_decode(const uint8_t *p, float *y, size_t n)
{
    for (; n >= 256; n -= 256, p += 136) {
        const float d = half_at(p);
        const unsigned high = u16_at(p + 2);
        for (int s = 0; s < 8; s++, y += 32) {
            const int low = p[4 + s / 2] >> s % 2 * 4 & 15;
            const float scale = d * (float)((low | (int)(high >> 2 * s & 3) << 4) - 32);
            split_levels(p + 8 + 16 * s, y, 32, iq4_levels, scale);
        }
    }
}
