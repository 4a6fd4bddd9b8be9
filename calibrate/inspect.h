/* What a quantized tensor tells about itself, and beside its original about how it was made.
 *
 * Filled by error_measure() (beside an original) and by audit (alone).  Counts are whole numbers: the same for any number of
 * threads. */
#ifndef OCTAVO_CALIBRATE_INSPECT_H
#define OCTAVO_CALIBRATE_INSPECT_H

#include "quantizers/scale.h"
#include "quantizers/values.h"

struct place {
    uint64_t batch, row, col;
};
enum { INSPECT_STEPS = 5, INSPECT_BINADES = 32 };
/* How elements were rounded: bits of inspection.roundings, each still possible for all elements that were seen. */
enum rounding { ROUND_EVEN, ROUND_AWAY, ROUND_DOWN /* ties to zero */, ROUND_TRUNCATE, ROUNDINGS };
const char *rounding_name(enum rounding r);

struct inspection {
    /* codes */
    uint64_t codes, zero, subnormal, largest; /* 0; subnormal; the largest magnitude there is */
    uint64_t nan;                    /* NaN and Inf codes, the first of them: */
    struct place first_nan;
    uint64_t binade[INSPECT_BINADES];/* codes by floor(log2 |value|) - that of the smallest positive one */
    /* blocks: elements that share a scale */
    uint64_t blocks, zero_blocks;    /* all codes are 0 */
    uint64_t full_blocks;            /* more than a quarter of the codes are the largest */
    struct place first_full;
    uint64_t low_blocks;             /* the largest code is below half of the largest there is: a smaller scale would have done */
    /* scales, second-level ones multiplied in */
    uint64_t exponent[256];          /* by the exponent field of the F32: 127 is 2^0 */
    uint64_t scale_zero, scale_nan, scale_negative, scale_odd; /* odd: no power of two */
    struct place first_scale;        /* the first that is 0, NaN, Inf or negative; in the tensor of scales */
    float scale_factor;              /* of odd ones: mantissa in [1, 2) when all of them have the same, else 0 */

    /* beside the original: */
    bool compared;
    uint64_t steps[INSPECT_STEPS];   /* codes that are 0, 1, 2, 3 and more codes away from the nearest at their scale */
    struct place far;                /* the first that is more than one away */
    uint32_t roundings;              /* bits: which of enum rounding explain every code */
    uint64_t clamped, over_nan;      /* of what is beyond the largest code: clamped, NaN */
    uint64_t rules;                  /* bits: which rows of the table of scale rules explain every scale */
    uint64_t lost_blocks;            /* all codes 0 and the original is not */
    struct place first_lost;
    double error_sum;                /* sum of y - x */
};
#endif
