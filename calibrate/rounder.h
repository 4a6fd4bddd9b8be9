/* Statistics at work in quantize: the rounder of a plan.
 *
 * A weight of which the file has second moments of both sets gets codes by round.h.  Of an expert its own moments are taken
 * where the file has them and they are of at least four tokens a channel, else those of all experts of its layer. */
#ifndef OCTAVO_CALIBRATE_ROUNDER_H
#define OCTAVO_CALIBRATE_ROUNDER_H

#include "calibrate/round.h"
#include "calibrate/stats.h"
#include "quantizers/plan.h"

struct rounded {                     /* what became of one weight */
    const char *name, *point;
    uint64_t rows, cols, tokens[STATS_SETS];
    struct round_result r;
};
struct calibrated {
    const struct stats *stats;
    unsigned threads, passes;
    struct rounded *done;            /* in the order in which they were rounded */
    size_t n, cap;
    double *h, *hold;                /* moments of `point` */
    const struct stats_point *point;
    uint64_t widest;                 /* channels of the widest weight that was wanted */
    struct arena mem;
};
/* s is borrowed. */
void calibrated_init(struct calibrated *c, const struct stats *s, unsigned threads, unsigned passes);
void calibrated_free(struct calibrated *c);
struct rounder calibrated_rounder(struct calibrated *c);
/* Bytes that rounding the widest weight takes. */
uint64_t calibrated_memory(const struct calibrated *c);
/* dB by which the output error on the text to choose by is smaller; 0 where the nearest codes stayed. */
double rounded_gain(const struct rounded *r);

#endif
