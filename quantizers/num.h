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
    OVERFLOW_SATURATE, /* finite overflow and Inf give the largest finite code; NaN stays NaN (0x7F | sign) */
    OVERFLOW_NAN,      /* E4M3: overflow and Inf give NaN (torch <= 2.12); E5M2: Inf (IEEE) */
};

struct num {
    const char *name;
    enum dtype dtype;
    float max, min_normal, min;
    int emax, mbits;                 /* floor(log2 max), mantissa bits */
    uint32_t (*encode)(float x, enum overflow o); /* round to nearest, ties to even */
    float (*decode)(uint32_t code);
};
extern const struct num num_e4m3, num_e5m2, num_ue8m0, num_bf16, num_f16, num_f32, num_int8;
/* The number format of a storage type, NULL when it is not one (BOOL, I64 ...). */
const struct num *num_find(enum dtype t);
extern const struct num *const num_table[]; /* all, NULL-terminated: tests iterate it */

/* Direct names for the hot and the common ones. */
uint8_t e4m3_encode(float x, enum overflow o);
float e4m3_decode(uint8_t code);
uint16_t bf16_encode(float x);      /* NaN: (u >> 16) | 0x40 */
static inline float bf16_decode(uint16_t h) { return f32_from((uint32_t)h << 16); }
uint16_t f16_encode(float x);       /* overflow: Inf */
float f16_decode(uint16_t h);
/* UE8M0: 0 is 2^-127 (an F32 subnormal), 255 is NaN. */
float ue8m0_decode(uint8_t code);
/* The code of a value that is exactly a power of two 2^-127..2^127, else -1. */
int ue8m0_exact(float scale);

#endif
