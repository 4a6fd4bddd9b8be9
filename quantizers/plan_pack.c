/* Packing: weights and scales in the layouts that a chip wants. */
#include "quantizers/plan_parts.h"

#include "quantizers/chip.h"

#include <math.h>
#include <string.h>

static struct stored *stored_as(struct plan *p, const struct layout *l, const char *sentence, enum dtype dtype,
                                struct matrix m, const char *name, struct err *e)
{
    struct stored *s = arena_alloc(&p->mem, sizeof *s, e);
    uint64_t bytes;
    if (!s)
        return NULL;
    *s = (struct stored){.dtype = dtype, .sentence = sentence, .layout = *l, .batch = m.batch, .rows = m.rows,
                         .cols = m.cols, .repeat = {1, 1}};
    if (!stored_size(s, &bytes)) {
        (void)err_set(e, ERR_INPUT, "tensor '%s': its packed size overflows", name);
        return NULL;
    }
    return s;
}

const char *plan_unfit(struct plan *p, const struct wanted *w, const struct target_form *f, const char *name,
                       const struct view *v, struct err *e)
{
    struct matrix m = view_matrix(v);
    const struct target_role *role = form_role(f, name);
    uint32_t r = role->row_multiple, c = role->col_multiple;
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

/* Codes that a layout can take from where they are: one in each element, or 4-bit ones one after the other. */
static bool is_laid(const struct view *v)
{
    return v->packing == PACK_PLAIN || v->packing == PACK_BYTES || v->packing == PACK_HIGH
        || (v->packing == PACK_WORDS && (v->bits == 4 || v->bits == 8));
}

bool plan_takes_form(const struct group *g, const struct target_form *f)
{
    const struct target_role *r = form_role(f, g->name);
    const struct scheme *s = g->scheme, *to = r->scheme;
    if (!to || !plan_finer(s, to) || (s->scale != DT_F8_E8M0 && r->scale_dtype == DT_F8_E8M0) || !is_laid(&g->view)
        || g->of[PART_ORDER] != NO_TENSOR || g->of[PART_POINT] != NO_TENSOR || s->two_level)
        return false;
    /* A second scale that is no second level is that of fixed activations. */
    const bool fixed = g->of[PART_GLOBAL] != NO_TENSOR;
    return f->activation == ACTIVATION_STATIC ? g->naux > 0 || fixed : !fixed;
}

static int wrong_scheme(struct plan *p, const struct group *g, const struct wanted *w, struct err *e)
{
    const struct target_role *r = form_role(w->form, g->name);
    return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s; form '%s' of %s takes %s%s, and there is no exact way "
                   "(octavo quantize --target %s --form %s makes one)", p->src->path, g->name, g->scheme->name, w->form->name,
                   w->target->id, r->scheme ? r->scheme->name : "no quantized weights",
                   w->form->activation == ACTIVATION_STATIC ? " with fixed activation scales" : "", w->target->id,
                   w->form->name);
}

/* The codes of a weight, in units of codes whatever holds them. */
static int pack_codes(struct plan *p, const struct group *g, const struct target_role *r, struct err *e)
{
    const size_t i = g->of[PART_WEIGHT];
    const struct tensor *t = &p->src->t[i];
    const struct matrix m = view_matrix(&g->view);
    struct stored *s = stored_as(p, &r->weight_layout, r->weight, g->view.elem, m, t->name, e);
    struct out_tensor o = out_same(t, PART_WEIGHT);
    if (!s)
        return -1;
    o.scheme = g->scheme;
    s->high = g->view.packing == PACK_HIGH;
    s->flip = r->is_unsigned != (g->view.packing == PACK_WORDS);
    if (!stored_fits(s, t->dtype) || s->cols != tensor_matrix(t).cols * stored_ratio(s, t->dtype)
        || s->rows != tensor_matrix(t).rows || (s->flip && g->view.elem == DT_I4 && m.cols % 2))
        return err_set(e, ERR_INPUT, "%s: tensor '%s': its codes lie in a way that is not packed (%s)", p->src->path, t->name,
                       dtype_name(t->dtype));
    if (layout_is_plain(&r->weight_layout) && !s->flip && !s->high && !t->stored)
        return plan_copy(p, i, &o, NULL, e); /* as in the checkpoint */
    struct op *op = plan_op(p, &xform_copy, p->src, i, e);
    if (!op)
        return -1;
    op_input(op, i);
    op->view = g->view;
    op->m = m;
    struct output *out = plan_output(p, &o, e);
    if (!out)
        return -1;
    out->t.stored = s;
    out->t.size = s->batch_bytes * s->batch;
    struct grain grain = {1, view_step(&g->view), op->view, grain_of(t), s, !p->src->random};
    return op_cut(op, &grain, e);
}

/* Does a column of n elements lie in the order of its rows? */
static bool is_identity(const struct layout *l, uint64_t n)
{
    uint64_t size;
    bool same = layout_size(l, n, 1, &size) && size == n;
    for (uint64_t r = 0; same && r < n; r++)
        same = layout_offset(l, n, 1, r, 0) == r;
    return same;
}

/* Log2 of a power of two that is not far from 1. */
static int shift_of(double times)
{
    int e;
    (void)frexp(times, &e);
    return e - 1;
}

static int pack_scales(struct plan *p, const struct group *g, const struct target_role *r, struct err *e)
{
    const struct tensor *st = &p->src->t[g->of[PART_SCALE]];
    const struct matrix m = view_matrix(&g->view), logical = tensor_matrix(st);
    struct matrix sm = {m.batch, r->scale_rows ? ceil_div(m.rows, r->scale_rows) : 1,
                        r->scale_cols ? ceil_div(m.cols, r->scale_cols) : 1};
    struct out_tensor so = out_same(st, PART_SCALE);
    so.scheme = g->scheme;
    const uint32_t rows = g->scheme->block_rows && r->scale_rows ? g->scheme->block_rows / r->scale_rows : 1;
    const uint32_t cols = g->scheme->block_cols && r->scale_cols ? g->scheme->block_cols / r->scale_cols : 1;
    const bool plain = layout_is_plain(&r->scale_layout) && rows == 1 && cols == 1 && r->scale_times == 1
                    && (r->scale_dtype == st->dtype || g->scheme->scale == DT_COUNT);
    /* A vector [N] of row scales is the column [N,1]; it can stay one when it lies plain. */
    const bool fits = logical.rows == ceil_div(sm.rows, rows) && logical.cols == ceil_div(sm.cols, cols);
    if (!fits && plain)
        return plan_copy(p, g->of[PART_SCALE], &so, NULL, e);
    if (!fits && sm.cols == 1 && cols == 1 && rows == 1 && r->scale_dtype == st->dtype && r->scale_times == 1
        && is_identity(&r->scale_layout, sm.rows))
        return plan_copy(p, g->of[PART_SCALE], &so, NULL, e);
    if (!fits)
        return err_set(e, ERR_INPUT, "%s: tensor '%s': its shape is not that of scales in a matrix, and the layout '%s' "
                       "needs that", p->src->path, st->name, r->scale);
    struct stored *ss = stored_as(p, &r->scale_layout, r->scale, r->scale_dtype, sm, st->name, e);
    if (!ss)
        return -1;
    ss->repeat[0] = rows;
    ss->repeat[1] = cols;
    ss->shift = shift_of(r->scale_times);
    if (!stored_fits(ss, st->dtype))
        return err_set(e, ERR_INPUT, "%s: tensor '%s': scales of type %s are not packed as %s", p->src->path, st->name,
                       dtype_name(st->dtype), dtype_name(r->scale_dtype));
    return plan_rescale(p, g->of[PART_SCALE], g->scheme, r->scheme, &so, ss, 0, e);
}

/* Tensors that the chip wants computed from the scales. */
static int add_computed(struct plan *p, const struct group *g, const struct target_role *r, struct err *e)
{
    const struct tensor *st = &p->src->t[g->of[PART_SCALE]];
    for (size_t k = 0; k < r->nextra; k++) {
        const struct target_extra *x = &r->extra[k];
        uint64_t rows, cols;
        const struct matrix m = view_matrix(&g->view);
        scheme_scale_shape(g->scheme, m.rows, m.cols, &rows, &cols);
        struct out_tensor o = {.name = arena_printf(&p->mem, e, "%s.%s", g->name, x->name), .dtype = x->dtype, .rank = 2,
                               .dim = {m.batch * rows, cols}, .part = PART_PLAIN};
        struct stored *s = stored_as(p, &x->layout, x->sentence, x->dtype, (struct matrix){1, m.batch * rows, cols},
                                     st->name, e);
        struct op *op = o.name && s ? plan_op(p, &xform_chip, p->src, g->of[PART_SCALE], e) : NULL;
        struct output *out = op ? plan_output(p, &o, e) : NULL;
        if (!out)
            return -1;
        s->rule = x->rule_name;
        s->of = st->name;
        out->t.stored = s;
        out->t.size = s->batch_bytes;
        op_input(op, g->of[PART_SCALE]);
        op->dtype = x->dtype;
        op->scale = scale_type(st->dtype, g->scheme);
        op->ctx = (void *)x;
        op->m = (struct matrix){1, m.batch * rows, cols};
        if (op_cut(op, &(struct grain){1, 1, {.elem = x->dtype}, NULL, s, false}, e))
            return -1;
    }
    return 0;
}

static bool is_gguf(const struct target_form *f)
{
    return f->convention && !strcmp(f->convention->name, "gguf");
}

bool plan_takes_model(const struct model *m, const struct target_form *f)
{
    bool blocks = false;
    for (size_t i = 0; i < m->n; i++)
        blocks |= dtype_is_block(m->t[i].dtype);
    return f->plain != DT_COUNT ? !blocks : is_gguf(f) && blocks;
}

/* Blocks have their scales in them, and lie as in the checkpoint. */
int plan_pack_plain(struct plan *p, const struct tensor *t, const struct wanted *w, struct err *e)
{
    struct out_tensor out[OUT_PARTS];
    size_t n = 0;
    if (!dtype_is_block(t->dtype))
        return 0;
    const struct weight as = {t->name, t->rank, t->dim, w->form->scheme, w->form->activation};
    if (is_gguf(w->form) && w->form->convention->outputs(&as, &p->mem, out, &n, e))
        return -1;
    return is_gguf(w->form) && out[0].dtype == t->dtype && layout_is_plain(&w->form->role[ROLE_DENSE].weight_layout) ? 0
         : err_set(e, ERR_INPUT, "%s: tensor '%s' has blocks of %s, which form '%s' of %s does not take (octavo quantize "
                   "--target %s --form %s --allow-requantize rounds anew)", p->src->path, t->name, dtype_name(t->dtype),
                   w->form->name, w->target->id, w->target->id, w->form->name);
}

int plan_pack_form(struct plan *p, const struct group *g, const struct wanted *w, struct err *e)
{
    const struct target_form *f = w->form;
    if (!plan_takes_form(g, f))
        return wrong_scheme(p, g, w, e);
    const struct tensor *t = &p->src->t[g->of[PART_WEIGHT]];
    const struct target_role *r = form_role(f, g->name);
    const char *why = plan_unfit(p, w, f, t->name, &g->view, e);
    if (why)
        return err_set(e, ERR_INPUT, "%s: tensor %s", p->src->path, why);
    if (pack_codes(p, g, r, e))
        return -1;
    if (g->of[PART_SCALE] != NO_TENSOR && (pack_scales(p, g, r, e) || add_computed(p, g, r, e)))
        return -1;
    return copy_rest(p, g, e);
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
        if (layout[k] && !(s = stored_as(p, layout[k], sentence[k], t->dtype, tensor_matrix(t), t->name, e)))
            return -1;
        if (plan_copy(p, g->of[part[k]], &o, s, e))
            return -1;
    }
    return copy_rest(p, g, e);
}
