/* From the largest magnitude of a block (amax) to its scale, for every named
 * rule.  x ~ q * scale.  Computed on bits, never through log2f, except where a
 * published rule is defined through log2f (modelopt, msx ...): those say so. */
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
};
extern const struct scale_rule scale_rules[];
extern const size_t scale_rule_count;
const struct scale_rule *scale_rule_find(const char *name);
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
                           * what becomes of BF16 weights in a program that computes in their type */
};
extern const struct scale_rule_f32 scale_rules_f32[];
extern const size_t scale_rule_f32_count;
/* By name, or the default of the element format when name is NULL. */
const struct scale_rule_f32 *scale_rule_f32_find(const char *name, enum dtype elem);

#endif
