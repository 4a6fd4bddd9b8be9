/* Number formats: one row each.  The plain-C functions here are the truth
 * that every kernel must equal bit for bit. */
#ifndef OCTAVO_NUM_H
#define OCTAVO_NUM_H

#include "formats/dtype.h"

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
static inline float f32_from(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }

enum overflow {
    OVERFLOW_SATURATE, /* finite overflow and Inf give the largest finite code; NaN stays NaN */
    OVERFLOW_NAN,      /* E4M3: overflow and Inf give NaN (torch <= 2.12); formats that have Inf
                        * (E5M2, BF16, F16): Inf (IEEE); INT8: saturates all the same */
};

/* Edges, decided once.  Parameters of the formats: OCP 8-bit Floating Point
 * Specification and OCP Microscaling Formats v1.0.
 *  - Rounding is to nearest, ties to the even code, also between the largest
 *    finite value and the one that would follow: 464 is 448 in E4M3, more than
 *    464 overflows; 61440 overflows in E5M2.
 *  - The sign of zero is kept; a value at or below half the smallest code is a
 *    zero with its sign.
 *  - NaN becomes 0x7F | sign in E4M3 and E5M2, a quiet NaN with the payload's
 *    upper bits in BF16 and F16, 0 in INT8.  NaN codes of the 8-bit formats
 *    decode to 0x7FC00000.
 *  - UE8M0, the exception, rounds up, as scales must not shrink: encode gives
 *    the smallest power of two that is not below |x|; 0 and all up to 2^-127
 *    give code 0, (2^-127, 2^-126] code 1; above 2^127 and Inf give 254 when
 *    saturating, else 255; NaN gives 255.
 *  - INT8 codes are two's complement; -128 decodes but is never made. */
struct num {
    const char *name;
    enum dtype dtype;
    float max, min_normal, min;
    int emax, mbits;                 /* floor(log2 max), mantissa bits */
    uint32_t (*encode)(float x, enum overflow o);
    float (*decode)(uint32_t code);
};
extern const struct num num_e4m3, num_e5m2, num_ue8m0, num_bf16, num_f16, num_f32, num_int8;
/* The number format of a storage type, NULL when it is not one (BOOL, I64 ...). */
const struct num *num_find(enum dtype t);
extern const struct num *const num_table[]; /* all, NULL-terminated: tests iterate it */

/* Direct names for the hot and the common ones. */
uint8_t e4m3_encode(float x, enum overflow o);
float e4m3_decode(uint8_t code);
uint16_t bf16_encode(float x);      /* overflow: Inf; NaN: (u >> 16) | 0x40 */
static inline float bf16_decode(uint16_t h) { return f32_from((uint32_t)h << 16); }
uint16_t f16_encode(float x);       /* overflow: Inf */
float f16_decode(uint16_t h);
/* UE8M0: 0 is 2^-127 (an F32 subnormal), 255 is NaN. */
float ue8m0_decode(uint8_t code);
/* The code of a value that is exactly a power of two 2^-127..2^127, else -1. */
int ue8m0_exact(float scale);

#endif
