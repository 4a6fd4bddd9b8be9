/* Fixed scales of activations, from what was counted.
 *
 * Of a point the largest magnitude is known exactly, and all others to 1/16 of their octave (stats.h).  A scale maps some magnitude
 * `top` to the largest code of a format: value / scale is what is rounded. */
#ifndef OCTAVO_CALIBRATE_ACTSCALE_H
#define OCTAVO_CALIBRATE_ACTSCALE_H

#include "calibrate/stats.h"
#include "quantizers/num.h"

enum actscale_rule {
    ACTSCALE_MAX,        /* top is the largest magnitude: nothing is clipped */
    ACTSCALE_PERCENTILE, /* top is above that share of all elements */
    ACTSCALE_MSE         /* the scale with the smallest squared error, of 1, 15/16, 14/16 ... of the largest magnitude and on down by
                          * octaves */
};
/* count: [4096]; amax: the largest magnitude there was. 1 when there was nothing but zeros. share: of ACTSCALE_PERCENTILE, in
 * (0, 1]. */
float actscale(enum actscale_rule rule, double share, const struct num *num, const int64_t *count, float amax);
/* Writes X.input_scale, F32 [1], for every linear that s knows, and X.k_scale and X.v_scale for every cache. */
int actscale_write(const struct stats *s, enum actscale_rule rule, double share, const struct num *num, const char *path, struct sink_options o,
                   struct err *e) MUST_USE;

#endif
