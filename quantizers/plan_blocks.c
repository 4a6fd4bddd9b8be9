/* Weights as tensors of a GGUF block type: made from values, or put together from
 * codes and scales that are already what a block holds. */
#include "quantizers/plan_parts.h"

#include <string.h>

static int cut_blocks(struct plan *p, struct op *op, struct err *e)
{
    struct grain g = {1, lcm_u64(dtype_table[op->unit].block_elems, view_step(&op->view)), op->view, NULL, NULL,
                      op_streams(op) && !p->src->random};
    if (op->from && op->from->scheme->block_cols)
        g.cols = lcm_u64(g.cols, op->from->scheme->block_cols);
    return plan_grain(p, &op->src->t[op->in[0]], &op->view, &g.from, e) ? -1 : op_cut(op, &g, e);
}

int plan_blocks_encode(struct plan *p, struct op *op, const struct encoding *to, const struct out_tensor *as, struct err *e)
{
    struct encoding *const own = arena_alloc(&p->mem, sizeof *own, e);
    if (!own)
        return -1;
    *own = *to;
    if (as->dtype == DT_Q8_0 && !to->usual)
        return err_set(e, ERR_USAGE, "tensor '%s': rule '%s' is for scales beside their codes; Q8_0 of GGUF has the rule of ggml",
                       as->name, encoding_rule(to));
    if (as->dtype == DT_MXFP4 && to->usual)
        own->rule = scale_rule_find("ggml");
    op->to = own;
    op->unit = as->dtype;
    op->exact = false;
    return cut_blocks(p, op, e) || !plan_output(p, as, e) ? -1 : 0;
}

int plan_blocks_carry(struct plan *p, const struct group *g, const struct out_tensor *as, struct err *e)
{
    struct op *const op = plan_op(p, &xform_carry, p->src, g->of[PART_WEIGHT], e);
    if (!op)
        return -1;
    op_input(op, g->of[PART_WEIGHT]);
    op->view = g->view;
    op->from = g;
    op_sides(op, g);
    op->unit = as->dtype;
    op->scale = scale_type(p->src->t[g->of[PART_SCALE]].dtype, g->scheme);
    op->m = view_matrix(&g->view);
    return cut_blocks(p, op, e) || !plan_output(p, as, e) ? -1 : 0;
}
