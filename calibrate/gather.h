/* From rows of inputs to a file of statistics.
 *
 * Rows come from the forward pass (as its tap) or from dumps of another framework.  Sums are kept in double, one point's
 * (or one part of a layer's) at a time, and written as soon as they are complete.
 *
 * Routed experts: gate and up see what the router sees, so all of a layer's share its sum; for down projections there is one
 * sum over all experts of a layer, and with `each` one for each expert beside. */
#ifndef OCTAVO_CALIBRATE_GATHER_H
#define OCTAVO_CALIBRATE_GATHER_H

#include "calibrate/forward/net.h"
#include "calibrate/stats.h"

struct gather_options {
    bool diagonal, each;
    unsigned threads;
    bool caches;                     /* keys and values, too, as points X.k_cache and X.v_cache: diagonals, maxima, histograms */
};
struct gather;
/* What the points of layers [from, to) will be; nothing is read. */
int gather_plan(struct gather **g, struct net *n, uint64_t from, uint64_t to, struct gather_options o, struct err *e) MUST_USE;
/* A plan for one point that linears share (dumps): a name, its channels. Add as many as there are. An expert's is like all
 * others here: no sum over the experts of a layer is made. */
int gather_plan_empty(struct gather **g, struct gather_options o, struct err *e) MUST_USE;
int gather_plan_add(struct gather *g, const char *const *linear, size_t n, uint64_t width, struct err *e) MUST_USE;
/* Bytes of the file, and of the most that is held at once. */
void gather_cost(const struct gather *g, uint64_t *file, uint64_t *memory);
/* Operations of second moments, for one token through all points. */
double gather_flop(const struct gather *g);
int gather_create(struct gather *g, const char *path, const struct meta *kv, size_t nkv, struct sink_options o, struct err *e) MUST_USE;
/* The tap to run with. */
const struct tap *gather_tap(struct gather *g);
/* After the last row of a layer: what was summed over its experts. */
int gather_layer(struct gather *g, struct err *e) MUST_USE;
int gather_commit(struct gather *g, struct err *e) MUST_USE;
void gather_free(struct gather *g);  /* what was created and not committed goes away */

#endif
