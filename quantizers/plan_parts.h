/* What the files of the plan share: plan.c (tensors, order, ledger),
 * plan_weight.c (quantized weights), plan_outputs.c (what a convention wants for
 * them), plan_pack.c (chips' layouts) and plan_ledger.c (what became of each tensor). */
#ifndef OCTAVO_PLAN_PARTS_H
#define OCTAVO_PLAN_PARTS_H

#include "quantizers/plan.h"

/* Tensor t as an output of the same name, type and shape. */
struct out_tensor out_same(const struct tensor *t, enum part part);
/* The next input of an op; the first one sets its view. */
void op_input(struct op *op, size_t i);
/* Scale, second-level scale, zero points and order of a group as further inputs. */
void op_sides(struct op *op, const struct group *g);

/* What boxes of input view v of tensor t must respect: its layout, in the plan's memory; *st NULL when it is plain. */
int plan_grain(struct plan *p, const struct tensor *t, const struct view *v, const struct stored **st,
               struct err *e) MUST_USE;
/* The outputs of weight `name` in scheme s, as the convention and the activations of the run want them; n of
 * them, [0] its codes. */
int plan_outputs(struct plan *p, const char *name, const struct view *v, const struct scheme *s,
                 const struct wanted *w, struct out_tensor out[OUT_PARTS], size_t *n, struct err *e) MUST_USE;
/* The one that is this part, or NULL. */
struct out_tensor *plan_part(struct out_tensor *out, size_t n, enum part part);
/* Is this the scale of fixed activations that the stored scales have in them (no second level)? */
bool plan_is_fixed(const struct out_tensor *o);
/* Finds it for weight g (NULL: a plain one), when the convention wants one and the source has none: ->times of both. */
int plan_fix(struct plan *p, const struct group *g, struct out_tensor *out, size_t n, const struct wanted *w,
             struct err *e) MUST_USE;
/* Those that are no codes, scales or zero points: zeros, shapes, what belongs to activations. */
int plan_rest(struct plan *p, size_t place, const struct view *v, const struct out_tensor *out, size_t n,
              const struct wanted *w, struct err *e) MUST_USE;

/* Source tensor i as it is, or in a stored layout. */
int plan_copy(struct plan *p, size_t i, const struct out_tensor *as, const struct stored *stored, struct err *e) MUST_USE;
/* Tensor i (a plain one, or the weight of g) to floating point, under its own name. */
int plan_decode(struct plan *p, size_t i, const struct group *g, enum dtype to, struct err *e) MUST_USE;
/* Weight i of p->src (plain, or that of g), or its namesake in `better` (NULL: none), to a scheme: its codes, scales and
 * all that the convention wants beside them. */
int plan_encode(struct plan *p, size_t i, const struct group *g, const struct model *better, const struct encoding *to,
                const struct wanted *w, struct err *e) MUST_USE;
/* An encode op whose inputs are set, made one of a GGUF block type; and a group whose codes and scales are those of
 * such blocks, put together. `as` is the one output. */
int plan_blocks_encode(struct plan *p, struct op *op, const struct encoding *to, const struct out_tensor *as,
                       struct err *e) MUST_USE;
int plan_blocks_carry(struct plan *p, const struct group *g, const struct out_tensor *as, struct err *e) MUST_USE;
/* Scale tensor `scale` as output `as`, in stored form when given; repeated when the output is finer. */
int plan_rescale(struct plan *p, size_t scale, const struct scheme *from, const struct scheme *to,
                 const struct out_tensor *as, const struct stored *stored, int shift, struct err *e) MUST_USE;
/* Refuses the run when tensor i is not all zeros. */
int plan_check_zero(struct plan *p, size_t i, struct err *e) MUST_USE;
/* Tensor i of p->src, which is part of a quantized weight. */
int plan_quantized(struct plan *p, size_t i, const struct wanted *w, struct err *e) MUST_USE;
/* Before anything is written: what is rounded a second time, and whether that was allowed. */
int plan_second_rounding(struct plan *p, const struct wanted *w, struct err *e) MUST_USE;

/* Once all ops are there and in order: p->ledger. ERR_INPUT names a tensor that would be lost. */
int plan_ledger(struct plan *p, const struct wanted *w, struct err *e) MUST_USE;

/* ---- plan_way.c -------------------------------------------------------------- */
enum plan_kind {
    KIND_POW2,      /* powers of two */
    KIND_FACTOR,    /* powers of two, all times the same factor */
    KIND_OTHER
};
struct plan_scan {
    enum plan_kind kind;
    float factor;     /* of KIND_FACTOR */
    uint64_t at;      /* the first scale that is no power of two, and its value */
    float value;
};
/* Looks at every scale of a group. A pipe cannot be looked at ahead: what its scheme says is believed, and checked when the
 * scales arrive; so is what a packed file says. */
int plan_scan_scales(struct plan *p, const struct group *g, struct plan_scan *x, struct err *e) MUST_USE;
enum plan_way {
    WAY_CODES,    /* the codes stay, or are the same number in another format */
    WAY_VALUES,   /* values are encoded anew: exact where the new blocks can hold them, and counted */
    WAY_REQUANT,  /* the same blocks with new scales: rounded a second time, but for blocks that need no new scale */
    WAY_ROUND     /* values are encoded anew: rounded a second time */
};
enum plan_way plan_way_of(const struct group *g, enum plan_kind kind, const struct scheme *to);
/* E4M3FN to E4M3FNUZ, whose codes mean half. */
bool plan_is_fnuz(const struct scheme *from, const struct scheme *to);
/* Exact ways from one scheme to another for the codes as they are: the same element, blocks that are a whole number of
 * the new ones. */
bool plan_finer(const struct scheme *from, const struct scheme *to);
/* NULL when the groups of s divide the columns of weight `name`, else the sentence that says that they do not. */
const char *plan_partial(struct plan *p, const struct wanted *w, const struct scheme *s, const char *name,
                         const struct view *v, struct err *e);
/* NULL when weight `name` has the sizes that form f wants, else the sentence that says what they are. */
const char *plan_unfit(struct plan *p, const struct wanted *w, const struct target_form *f, const char *name,
                       const struct view *v, struct err *e);
/* Refuses blocks of GGUF that are not those of the form. */
int plan_pack_plain(struct plan *p, const struct tensor *t, const struct wanted *w, struct err *e) MUST_USE;
int plan_pack_form(struct plan *p, const struct group *g, const struct wanted *w, struct err *e) MUST_USE;
int plan_pack_sentence(struct plan *p, const struct group *g, const struct wanted *w, struct err *e) MUST_USE;

#endif
