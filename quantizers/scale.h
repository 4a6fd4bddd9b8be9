/* From the largest magnitude of a block (amax) to its scale, for every named
 * rule.  x ~ q * scale.  Computed on bits, never through log2f, except where a
 * published rule is defined through log2f (modelopt, msx ...): those say so.
 *
 * A name may have several rows, for element formats that its project treats
 * differently; there is at most one for each. */
#ifndef OCTAVO_SCALE_H
#define OCTAVO_SCALE_H

#include "quantizers/num.h"

/* Rules that give a UE8M0 code.  Some make a code 0 (2^-127) or 255 (NaN) out
 * of a tiny or non-finite amax, or wrap, because their project does; only
 * "smallest" and "ds" promise 1..254. */
struct scale_rule {
    const char *name;     /* "smallest", "ds", "rceil", "floor" ... as in octavo-schemes(7) */
    const char *title;    /* whose rule it is and what it does, one line */
    const char *source;   /* project and file, or paper */
    enum dtype elem;      /* DT_F8_E4M3, DT_F4, or DT_COUNT when the rule is defined for any
                           * element format */
    bool default_;
    /* amax >= 0.  Returns 0..255.  Callers refuse Inf and NaN; what a rule
     * makes of them is what its project does, where that is defined, else 255.
     * elem gives max, emax and mbits; rules for one format do not look at it. */
    uint8_t (*code)(float amax, const struct num *elem);
    const char *num;      /* the number format of its elements, when that is not the plain one (num_named) */
    bool zero_point;      /* a zero point of 0 is added to x / scale, which makes 0 of -0 */
};
extern const struct scale_rule scale_rules[];
extern const size_t scale_rule_count;
/* The first row of that name; the one for an element format.  NULL: there is none. */
const struct scale_rule *scale_rule_find(const char *name);
const struct scale_rule *scale_rule_for(const char *name, enum dtype elem);
/* "smallest": the smallest power of two with amax / 2^e <= max, clamped to
 * 1..254; 127 for a block of zeros. */
uint8_t scale_smallest(float amax, const struct num *elem);

/* Rules that give an F32 scale: always positive, and normal, since a quotient
 * below 2^-126 (or zero) is replaced by 2^-126; a block of zeros gets what the
 * rule's title says. */
struct scale_rule_f32 {
    const char *name, *title, *source;
    enum dtype elem;
    bool default_;
    float (*scale)(float amax);
    const char *num;      /* as above */
    bool bf16;            /* the scale is a BF16 number, and so is x / scale before it is rounded to an element:
                           * what becomes of BF16 weights in a program that computes in their type (and that
                           * adds a zero point of 0) */
    bool zero_point;      /* as above */
    /* What a program multiplies x with in FP32, where it does not divide by the scale (one is the rounded
     * inverse of the other); else NULL. */
    float (*times)(float amax);
};
extern const struct scale_rule_f32 scale_rules_f32[];
extern const size_t scale_rule_f32_count;
/* By name, or the default of the element format when name is NULL. */
const struct scale_rule_f32 *scale_rule_f32_find(const char *name, enum dtype elem);

/* Rules for E4M3 scales times one F32 of the matrix (NVFP4; elements are E2M1).  The F32, global, multiplies
 * or, where the convention has it so, divides. */
struct scale_rule_e4m3 {
    const char *name, *title, *source;
    bool default_;
    float (*global)(float amax, bool divides);                 /* amax of the matrix, >= 0; positive and normal */
    uint8_t (*code)(float amax, float global, bool divides);   /* 0..0x7e; of 0 all elements are 0 */
    const char *num;
    bool zero_point;
};
extern const struct scale_rule_e4m3 scale_rules_e4m3[];
extern const size_t scale_rule_e4m3_count;
/* By name, or the default when name is NULL. */
const struct scale_rule_e4m3 *scale_rule_e4m3_find(const char *name);

#endif
