/* Two weights of the same input, such as gate_proj and up_proj, that lie in one: so many rows of the
 * first, as many of the second, and so on.
 *
 * A chip's kernel may want that (DeepGEMM's mega-MoE: deep_gemm/mega/__init__.py). The tensors of the
 * model stay what they are: while packing, one takes the place of two, and a packed file is opened
 * with the two in the place of the one. */
#ifndef OCTAVO_FUSED_H
#define OCTAVO_FUSED_H

#include "formats/model.h"

struct fused {
    const char *of[2]; /* whose rows alternate, the first ones first */
    uint64_t rows;     /* so many at a time */
};

/* Every gate and up in m of which rows(ctx, name) says how many of its rows shall alternate (0: none)
 * becomes one tensor: "X.gate_proj.Y" and "X.up_proj.Y" become "X.gate_up_proj.Y", "X.w1.Y" and
 * "X.w3.Y" become "X.w13.Y", where the second was or the first, whichever came first. Only of a
 * source that is random. ERR_INPUT, naming the tensor: one without the other, other sizes, rows that
 * do not divide, tensors that do not lie row by row. Everything is the model's memory.
 * *was (the model's, too): for each tensor that there was, the one it is, or is in, now; NULL when
 * none became another. */
int fused_make(struct model *m, uint64_t (*rows)(const void *ctx, const char *name), const void *ctx, const size_t **was,
               struct err *e) MUST_USE;

/* Of a packed file, before its names are indexed: each tensor with t->fused goes to m->computed, and
 * the two that it is of take its place. ERR_INPUT of a stream, which has no rows to pick. */
int fused_split(struct model *m, struct err *e) MUST_USE;

#endif
