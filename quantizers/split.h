/* One rank's part of a model: rows, columns and experts of its tensors, as
 * servers share them out (parallel.h).
 *
 * A dense weight is cut into tp parts.  The routed experts of a layer are dealt
 * to ep groups of ranks, in order, and cut into ranks / ep parts within a group,
 * where ranks is the larger of tp and ep and a multiple of both: SGLang's
 * moe_ep_rank = rank / moe_tp_size and moe_tp_rank = rank % moe_tp_size
 * (python/sglang/srt/layers/moe); with ep = 1 experts are cut like all weights,
 * with ep = tp they stay whole, as vLLM's --enable-expert-parallel has it. */
#ifndef OCTAVO_SPLIT_H
#define OCTAVO_SPLIT_H

#include "formats/convention.h"
#include "formats/target.h"
#include "quantizers/parallel.h"

struct split {
    uint32_t tp, ep, ranks, rank;
};
/* Fills ranks; ERR_USAGE when tp and ep do not go together. */
int split_ranks(struct split *s, struct err *e) MUST_USE;
/* Can every weight of m be cut so, for form f (NULL: none)? ERR_INPUT names the first that cannot be, why, and the tp
 * that are possible. */
int split_check(const struct model *m, const struct grouping *g, const struct heads *h, const struct target_form *f,
                const struct split *s, struct err *e) MUST_USE;
/* Leaves in m what rank s->rank has: dimensions, offsets and strides change, experts of other ranks go, and every tensor
 * that was cut gets its slice. m is random; g, of it, is not valid any more. After split_check. */
int split_model(struct model *m, const struct grouping *g, const struct heads *h, const struct split *s,
                struct err *e) MUST_USE;

#endif
