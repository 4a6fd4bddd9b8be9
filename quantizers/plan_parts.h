/* What the files of the plan share: plan.c (tensors, order, ledger),
 * plan_weight.c (quantized weights) and plan_pack.c (chips' layouts). */
#ifndef OCTAVO_PLAN_PARTS_H
#define OCTAVO_PLAN_PARTS_H

#include "quantizers/plan.h"

/* Tensor t as an output of the same name, type and shape. */
struct out_tensor out_same(const struct tensor *t, enum part part);
/* The next input of an op; the first one sets its view. */
void op_input(struct op *op, size_t i);
/* Scale, second-level scale, zero points and order of a group as further inputs. */
void op_sides(struct op *op, const struct group *g);

/* Source tensor i as it is, or in a stored layout. */
int plan_copy(struct plan *p, size_t i, const struct out_tensor *as, const struct stored *stored, struct err *e) MUST_USE;
/* Tensor i (a plain one, or the weight of g) to floating point, under its own name. */
int plan_decode(struct plan *p, size_t i, const struct group *g, enum dtype to, struct err *e) MUST_USE;
/* Weight i of p->src (plain, or that of g), or its namesake in `better` (NULL: none), to a scheme: its codes, scales and
 * all that the convention wants beside them. */
int plan_encode(struct plan *p, size_t i, const struct group *g, const struct model *better, const struct encoding *to,
                const struct wanted *w, struct err *e) MUST_USE;
/* Scale tensor `scale` as output `as`, in stored form when given; repeated when the output is finer. */
int plan_rescale(struct plan *p, size_t scale, const struct scheme *from, const struct scheme *to,
                 const struct out_tensor *as, const struct stored *stored, int shift, struct err *e) MUST_USE;
/* Refuses the run when tensor i is not all zeros. */
int plan_check_zero(struct plan *p, size_t i, struct err *e) MUST_USE;
/* Tensor i of p->src, which is part of a quantized weight. */
int plan_quantized(struct plan *p, size_t i, const struct wanted *w, struct err *e) MUST_USE;
/* Before anything is written: what is rounded a second time, and whether that was allowed. */
int plan_second_rounding(struct plan *p, const struct wanted *w, struct err *e) MUST_USE;

/* Exact ways from one scheme to another for the codes as they are: the same element, blocks that are a whole number of
 * the new ones. */
bool plan_finer(const struct scheme *from, const struct scheme *to);
/* NULL when the groups of s divide the columns of weight `name`, else the sentence that says that they do not. */
const char *plan_partial(struct plan *p, const struct scheme *s, const char *name, const struct view *v, struct err *e);
/* NULL when weight `name` has the sizes that form f wants, else the sentence that says what they are. */
const char *plan_unfit(struct plan *p, const struct wanted *w, const struct target_form *f, const char *name,
                       const struct view *v, struct err *e);
int plan_pack_form(struct plan *p, const struct group *g, const struct wanted *w, struct err *e) MUST_USE;
int plan_pack_sentence(struct plan *p, const struct group *g, const struct wanted *w, struct err *e) MUST_USE;

#endif
