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
    OVERFLOW_NAN,      /* E4M3, UE4M3 and the FNUZ formats: overflow and Inf give NaN (torch <= 2.12);
                        * formats that have Inf (E5M2, HiF8, BF16, F16): Inf (IEEE); formats that
                        * have neither (FP4, FP6, integers): saturate all the same */
};

/* Edges, decided once.  Parameters of the formats: OCP 8-bit Floating Point
 * Specification and OCP Microscaling Formats v1.0; Noune et al. 2022 (arXiv
 * 2206.02915) for FNUZ; arXiv 2409.16626 for HiFloat8.
 *  - Rounding is to nearest, ties to the even code, also between the largest
 *    finite value and the one that would follow: 464 is 448 in E4M3, more than
 *    464 overflows; 61440 overflows in E5M2 and E5M2FNUZ, 248 in E4M3FNUZ.
 *    Rounding follows from the value alone: there are no double roundings.
 *  - The sign of zero is kept; a value at or below half the smallest code is a
 *    zero with its sign.
 *  - NaN becomes 0x7F | sign in E4M3 and E5M2, a quiet NaN with the payload's
 *    upper bits in BF16 and F16, 0 in formats without NaN (FP4, FP6, integers).
 *    NaN codes of the 8-bit formats decode to 0x7FC00000.
 *  - FNUZ formats ("finite, no negative zero") have one NaN, 0x80, where -0
 *    would be: zero has no sign, and code 0 is never given one.
 *  - e2m1-down is E2M1 as DeepGEMM rounds it (deep_gemm/utils/math.py): ties go down
 *    in magnitude (0.75 is 0.5), zero has no sign.  e2m1-modelopt is that of ModelOpt's
 *    MXFP4 (mxfp4_tensor.py): the same ties, but a zero of either sign is code 8, and
 *    what rounds to zero keeps its sign.  Both decode as E2M1.
 *  - e4m3-away, e5m2-away and e2m1-away are those formats with ties away from zero, as
 *    microxcaling (mx/elemwise_ops.py, "nearest") and msModelSlim round.
 *  - UE4M3, NVFP4's scale, is E4M3 without its sign: NaN is 0x7F, a negative
 *    value of any size 0.  Bit 7 is no part of the code.
 *  - UE8M0, the exception, rounds up, as scales must not shrink: encode gives
 *    the smallest power of two that is not below |x|; 0 and all up to 2^-127
 *    give code 0, (2^-127, 2^-126] code 1; above 2^127 and Inf give 254 when
 *    saturating, else 255; NaN gives 255.
 *  - INT8 and INT4 codes are two's complement; -128 and -8 decode, but are never
 *    made, so that negating a tensor negates its codes.  int8-full and int4-full
 *    do make them (compressed-tensors: scale amax / 127.5 and amax / 7.5).
 *  - HiF8 rounds to nearest with ties away from zero (the mode "TA"; Ascend's
 *    CAST_ROUND): less than 2^-23 is 0, from 1.25 * 2^15 on overflows.  One zero,
 *    0x00.  NaN is 0x80, but 0 when saturating, as Ascend's saturating casts
 *    have it.  The largest finite code is 0x6E, 0x6F is Inf; magnitudes are not
 *    in the order of codes. */
struct num {
    const char *name;
    enum dtype dtype;                /* what stores it; E1M2 lies in the bits of F4 */
    int bits;                        /* of a code: encode sets no others, decode ignores others */
    float max, min_normal, min;      /* largest and smallest positive magnitudes */
    int emax, mbits;                 /* floor(log2 max), mantissa bits (the most there are) */
    uint32_t (*encode)(float x, enum overflow o);
    float (*decode)(uint32_t code);
};
extern const struct num num_e4m3, num_e5m2, num_ue8m0, num_bf16, num_f16, num_f32, num_int8;
extern const struct num num_e4m3fnuz, num_e5m2fnuz, num_hif8, num_ue4m3;
extern const struct num num_e2m1, num_e2m1_down, num_e2m1_modelopt, num_e1m2, num_e2m3, num_e3m2;
extern const struct num num_e4m3_away, num_e5m2_away, num_e2m1_away;
extern const struct num num_int4, num_int4_full, num_int8_full;
/* The number format of a storage type, NULL when it is not one (BOOL, I64 ...).
 * Where several lie in the same type it is the plain one: F8_E4M3 is E4M3, F4
 * is E2M1, I4 is INT4; the others have to be named. */
const struct num *num_find(enum dtype t);
/* By name: "e2m1-down", "ue4m3", "int4-full" ...; NULL when there is none. */
const struct num *num_named(const char *name);
extern const struct num *const num_table[]; /* all, NULL-terminated: tests iterate it */

/* n elements of a format of at most 8 bits, one code per byte.  The results are
 * those of encode and decode; what is faster is a table, made at the first use
 * of a format (64 KiB for each enum overflow; 1 KiB to decode).  Any thread. */
void num_encode_row(const struct num *f, const float *x, uint8_t *codes, size_t n, enum overflow o);
void num_decode_row(const struct num *f, const uint8_t *codes, float *x, size_t n);

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
