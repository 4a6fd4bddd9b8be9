/* Packing: weights and scales in the layouts that a chip wants. */
#include "quantizers/plan_parts.h"

#include <string.h>

static struct stored *stored_as(struct plan *p, const struct layout *l, const char *sentence, enum dtype dtype,
                                struct matrix m, const struct tensor *t, struct err *e)
{
    struct stored *s = arena_alloc(&p->mem, sizeof *s, e);
    uint64_t bytes;
    if (!s)
        return NULL;
    *s = (struct stored){.dtype = dtype, .sentence = sentence, .layout = *l, .batch = m.batch, .rows = m.rows,
                         .cols = m.cols, .repeat = {1, 1}};
    if (!stored_size(s, &bytes)) {
        (void)err_set(e, ERR_INPUT, "tensor '%s': its packed size overflows", t->name);
        return NULL;
    }
    return s;
}

const char *plan_unfit(struct plan *p, const struct wanted *w, const struct target_form *f, const char *name,
                       const struct view *v, struct err *e)
{
    struct matrix m = view_matrix(v);
    enum role role = tensor_role(name);
    uint32_t r = f->role[role].row_multiple, c = f->role[role].col_multiple;
    if (m.rows % r == 0 && m.cols % c == 0)
        return NULL;
    return arena_printf(&p->mem, e, "%s [%llu,%llu]: %s needs rows in multiples of %u and columns in multiples of %u",
                        name, (unsigned long long)m.rows, (unsigned long long)m.cols, w->target->id, r, c);
}

/* What belongs to the weight beside its scale lies as it did. */
static int copy_rest(struct plan *p, const struct group *g, struct err *e)
{
    for (int k = PART_GLOBAL; k < PART_AUX; k++) {
        if (g->of[k] == NO_TENSOR)
            continue;
        struct out_tensor o = out_same(&p->src->t[g->of[k]], (enum part)k);
        if (plan_copy(p, g->of[k], &o, NULL, e))
            return -1;
    }
    for (unsigned k = 0; k < g->naux; k++) {
        struct out_tensor o = out_same(&p->src->t[g->aux[k]], PART_AUX);
        if (plan_copy(p, g->aux[k], &o, NULL, e))
            return -1;
    }
    return 0;
}

static int wrong_scheme(struct plan *p, const struct group *g, const struct wanted *w, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s; form '%s' of %s takes %s, and there is no exact way "
                   "(octavo quantize --target %s makes one)", p->src->path, g->name, g->scheme->name, w->form->name,
                   w->target->id, w->form->scheme->name, w->target->id);
}

int plan_pack_form(struct plan *p, const struct group *g, const struct wanted *w, struct err *e)
{
    const struct target_form *f = w->form;
    if (!plan_finer(g->scheme, f->scheme) || (g->scheme->scale != DT_F8_E8M0 && f->scheme->scale == DT_F8_E8M0)
        || g->view.packing != PACK_PLAIN || g->of[PART_GLOBAL] != NO_TENSOR || g->of[PART_ORDER] != NO_TENSOR)
        return wrong_scheme(p, g, w, e);
    const struct tensor *t = &p->src->t[g->of[PART_WEIGHT]], *st = &p->src->t[g->of[PART_SCALE]];
    struct matrix m = tensor_matrix(t);
    enum role role = tensor_role(t->name);
    const char *why = plan_unfit(p, w, f, t->name, &g->view, e);
    if (why)
        return err_set(e, ERR_INPUT, "%s: tensor %s", p->src->path, why);
    struct matrix sm = {m.batch, f->scale_rows ? ceil_div(m.rows, f->scale_rows) : 1,
                        f->scale_cols ? ceil_div(m.cols, f->scale_cols) : 1};
    struct stored *ws = stored_as(p, &f->role[role].weight_layout, f->role[role].weight, t->dtype, m, t, e);
    struct stored *ss = stored_as(p, &f->role[role].scale_layout, f->role[role].scale, f->scale_dtype, sm, st, e);
    struct out_tensor wo = out_same(t, PART_WEIGHT), so = out_same(st, PART_SCALE);
    if (!ws || !ss)
        return -1;
    wo.scheme = so.scheme = g->scheme;
    if (g->scheme->block_rows && f->scale_rows)
        ss->repeat[0] = g->scheme->block_rows / f->scale_rows;
    if (g->scheme->block_cols && f->scale_cols)
        ss->repeat[1] = g->scheme->block_cols / f->scale_cols;
    /* A vector [N] of row scales lies as the column it is only when its shape says [N,1]. */
    struct matrix logical = tensor_matrix(st);
    if (logical.rows != ceil_div(sm.rows, ss->repeat[0]) || logical.cols != ceil_div(sm.cols, ss->repeat[1]))
        ss = NULL;
    return plan_copy(p, g->of[PART_WEIGHT], &wo, ws, e)
        || (ss ? plan_rescale(p, g->of[PART_SCALE], g->scheme, f->scheme, &so, ss, 0, e)
               : plan_copy(p, g->of[PART_SCALE], &so, NULL, e))
        || copy_rest(p, g, e) ? -1 : 0;
}

/* pack --layout: the sentence alone, on every matrix that is quantized. */
int plan_pack_sentence(struct plan *p, const struct group *g, const struct wanted *w, struct err *e)
{
    const enum part part[2] = {PART_WEIGHT, PART_SCALE};
    const struct layout *layout[2] = {w->weight_layout, w->scale_layout};
    const char *sentence[2] = {w->weight_sentence, w->scale_sentence};
    for (int k = 0; k < 2; k++) {
        if (g->of[part[k]] == NO_TENSOR)
            continue;
        const struct tensor *t = &p->src->t[g->of[part[k]]];
        struct out_tensor o = out_same(t, part[k]);
        struct stored *s = NULL;
        o.scheme = g->scheme;
        if (layout[k] && !(s = stored_as(p, layout[k], sentence[k], t->dtype, tensor_matrix(t), t, e)))
            return -1;
        if (plan_copy(p, g->of[part[k]], &o, s, e))
            return -1;
    }
    return copy_rest(p, g, e);
}
