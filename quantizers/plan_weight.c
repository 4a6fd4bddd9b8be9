/* Quantized weights: from one scheme to another.
 *
 * The codes stay wherever that says the same values: when only the type of the
 * scales changes, or a scale is repeated for smaller blocks.  Where the new
 * scales can hold what the old ones did, values are encoded anew and counted, so
 * that it is told tile by tile what was exact.  What must be rounded a second
 * time is told before anything is written, and done only when it was allowed. */
#include "quantizers/plan_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A group is a part of one row, as in OCP MX: kernels, and compressed-tensors in forward_helpers.py, refuse a row that
 * ends in a partial one.  Blocks of several rows are partial at the edges by definition (DeepSeek-V3's
 * README_WEIGHTS.md). */
const char *plan_partial(struct plan *p, const struct wanted *w, const struct scheme *s, const char *name,
                         const struct view *v, struct err *e)
{
    struct matrix m = view_matrix(v);
    if (s->block_rows != 1 || !s->block_cols || m.cols % s->block_cols == 0)
        return NULL;
    return arena_printf(&p->mem, e, "%s [%llu,%llu]: groups of %u columns do not divide it, and %s%s", name,
                        (unsigned long long)m.rows, (unsigned long long)m.cols, s->block_cols,
                        w->gguf ? "GGUF has only whole blocks" : "what serves ",
                        w->gguf ? "" : arena_printf(&p->mem, e, "%s refuses that (--include takes it all the same)", s->name));
}

/* ---- encoding ------------------------------------------------------------------ */
static int cut_encode(struct plan *p, struct op *op, struct err *e)
{
    const struct scheme *s = op->to->scheme;
    struct grain g = {s->block_rows ? s->block_rows : 1, s->block_rows ? s->block_cols : 1, op->view, NULL, NULL,
                      op_streams(op) && !p->src->random};
    if (op->rounder)
        g.rows = g.cols = 0; /* all of it at once */
    uint64_t step = lcm_u64(view_step(&op->view), view_step(&op->coded));
    if (plan_grain(p, &op->src->t[op->in[0]], &op->view, &g.from, e))
        return -1;
    if (op->from && op->from->scheme->block_cols)
        step = lcm_u64(step, op->from->scheme->block_cols);
    if (g.cols)
        g.cols = lcm_u64(g.cols, step);
    if (op->coded.packing == PACK_ROWS && g.rows)
        g.rows = lcm_u64(g.rows, 2);
    if (op->from && !op->from->scheme->block_cols && g.cols && s->scale == DT_COUNT)
        g.cols = 0;
    if (op_cut(op, &g, e))
        return -1;
    if (op->tiles) /* two sums, then a count for each block: a multiple of 8 bytes */
        op->box_data = 16 + 8 * ceil_div((s->block_rows ? ceil_div(op->box_rows, s->block_rows) : 1)
                     * (s->block_cols ? ceil_div(op->box_cols, s->block_cols) : 1), 2);
    return 0;
}

/* The tensor of another model that stands for weight `name`, if it is one that can be encoded. */
static int find_better(const struct model *better, const struct group *g, size_t *i, struct err *e)
{
    char a[176], b[176];
    if (!better || !g || !map_find(&better->by_name, g->name, i))
        return 0;
    const struct tensor *t = &better->t[*i];
    const char *name = g->name;
    const struct view *v = &g->view, turned = t->rank > 1 ? view_turned(t) : view_of(t);
    if (g->inputs_first && turned.rank == v->rank && !memcmp(turned.dim, v->dim, v->rank * sizeof *v->dim))
        return t->dtype == DT_BF16 || t->dtype == DT_F16 || t->dtype == DT_F32;
    if (t->rank != v->rank || memcmp(t->dim, v->dim, t->rank * sizeof *t->dim))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s, but that of the model is %s", better->path, name,
                       tensor_shape(t, a), view_shape(v, b));
    return t->dtype == DT_BF16 || t->dtype == DT_F16 || t->dtype == DT_F32;
}

/* A matrix on a grid that its scales fix, of which the rounder knows something. */
static bool rounds(const struct wanted *w, const struct scheme *s, const char *name, const struct matrix *m)
{
    return w->rounder && m->batch == 1 && !s->two_level && !s->zero_point && s->scale != DT_COUNT
        && w->rounder->wants(w->rounder->ctx, name, m->rows, m->cols);
}

int plan_encode(struct plan *p, size_t i, const struct group *g, const struct model *better, const struct encoding *to,
                const struct wanted *w, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    const struct scheme *s = to->scheme;
    const char *name = g ? g->name : t->name;
    const bool turned = w->convention->inputs_first && w->convention->inputs_first(name);
    struct view v = g ? g->view : turned && t->rank > 2 ? view_turned(t) : view_of(t);
    struct out_tensor out[OUT_PARTS];
    size_t n, other = 0;
    int found = find_better(better, g, &other, e);
    if (found >= 0 && to->copies)
        return err_set(e, ERR_INPUT, "%s: tensor '%s': codes of %s are copied, never made: only what has them already can become "
                       "that", p->src->path, name, s->name);
    if (found < 0 || plan_outputs(p, name, &v, s, w, out, &n, e) || plan_fix(p, NULL, out, n, w, e))
        return -1;
    struct matrix m = view_matrix(&v);
    const bool whole = (!s->block_rows && s->scale != DT_COUNT) || s->two_level;
    if (whole && m.batch > 1)
        return err_set(e, ERR_INPUT, "%s: tensor '%s': %s needs one matrix, this is a stack of %llu (exclude it, or "
                       "take another scheme)", p->src->path, name, s->name, (unsigned long long)m.batch);
    const bool blocks = dtype_is_block(out[0].dtype);
    if (blocks && !g && !found && t->dtype == out[0].dtype)
        return plan_copy(p, i, &out[0], NULL, e);
    struct op *op = plan_op(p, blocks ? &xform_blocks : &xform_encode, found ? better : p->src, i, e);
    if (!op)
        return -1;
    op_input(op, found ? other : i);
    if (found && g && g->inputs_first)
        op->view = view_turned(&better->t[other]);
    if (!found)
        op->view = v;
    if (g && !found) {
        op->from = g;
        op_sides(op, g);
    }
    op->m = m;
    if (blocks)
        return plan_blocks_encode(p, op, to, &out[0], e);
    const struct out_tensor *scale = plan_part(out, n, PART_SCALE), *global = plan_part(out, n, PART_GLOBAL);
    const struct out_tensor *bias = plan_part(out, n, PART_BIAS);
    if (global && plan_is_fixed(global))
        global = NULL;
    op->bias = bias ? (uint32_t)bias->dim[bias->rank - 1] : 0;
    op->factor = scale ? scale->times : 0;
    op->to = to;
    op->coded = out[0].view;
    op->unit = out[0].dtype;
    op->dtype = scale ? scale->dtype : DT_F32;
    op->divides = global && global->divides;
    op->exact = false;
    op->tiles = op->from != NULL;
    op->rounder = rounds(w, s, name, &m) ? w->rounder : NULL;
    op->passes = whole ? 2 : 1;
    if (cut_encode(p, op, e) || !plan_output(p, &out[0], e)
        || (scale && !plan_output(p, scale, e)) || (global && !plan_output(p, global, e))
        || (bias && !plan_output(p, bias, e)))
        return -1;
    return plan_rest(p, i, &v, out, n, w, e);
}

/* ---- codes that stay ------------------------------------------------------------- */
int plan_rescale(struct plan *p, size_t scale, const struct scheme *from, const struct scheme *to,
                 const struct out_tensor *as, const struct stored *stored, int shift, struct err *e)
{
    struct op *op = plan_op(p, &xform_rescale, p->src, scale, e);
    struct output *o = op ? plan_output(p, as, e) : NULL;
    if (!o)
        return -1;
    op_input(op, scale);
    op->dtype = stored ? stored->dtype : as->dtype;
    op->m = stored ? (struct matrix){stored->batch, stored->rows, stored->cols} : output_matrix(o);
    op->pow2 = to->scale == DT_F8_E8M0;
    op->shift = shift;
    op->scale = scale_type(p->src->t[scale].dtype, from);
    if (stored) {
        memcpy(op->repeat, stored->repeat, sizeof op->repeat);
        op->times = stored->shift;
        o->t.stored = stored;
        o->t.size = stored->batch_bytes * stored->batch;
    } else if (from != to) {
        op->repeat[0] = from->block_rows && to->block_rows ? from->block_rows / to->block_rows : 1;
        op->repeat[1] = from->block_cols && to->block_cols ? from->block_cols / to->block_cols : 1;
    }
    return op_cut(op, &(struct grain){1, 1, {.elem = op->dtype}, NULL, stored, false}, e);
}

int plan_check_zero(struct plan *p, size_t i, struct err *e)
{
    struct op *op = plan_op(p, &xform_check_zero, p->src, i, e);
    if (!op)
        return -1;
    op_input(op, i);
    const struct tensor *t = &p->src->t[i];
    op->m = tensor_matrix(t);
    return op_cut(op, &(struct grain){1, 1, op->view, grain_of(t), NULL, !p->src->random}, e);
}

static bool same_bytes(const struct view *a, const struct view *b)
{
    return a->packing == b->packing || (a->packing <= PACK_BYTES && b->packing <= PACK_BYTES);
}

/* The codes in another packing, or as the same numbers of another format; the sums of theirs that a convention wants. */
static int add_codes(struct plan *p, const struct group *g, const struct out_tensor *as, const struct out_tensor *bias,
                     struct err *e)
{
    const size_t i = g->of[PART_WEIGHT];
    const struct tensor *t = &p->src->t[i];
    if (g->view.elem == as->view.elem && same_bytes(&g->view, &as->view) && !t->stored)
        return plan_copy(p, i, as, NULL, e);
    if (g->view.elem == as->view.elem && g->view.packing == PACK_PLAIN && as->view.packing == PACK_PLAIN)
        return plan_copy(p, i, as, NULL, e);
    struct op *op = plan_op(p, &xform_codes, p->src, i, e);
    if (!op || !plan_output(p, as, e) || (bias && !plan_output(p, bias, e)))
        return -1;
    op_input(op, i);
    if (bias) {
        op->bias = (uint32_t)bias->dim[bias->rank - 1];
        op->from = g;
        op_sides(op, g);
        op->scale = scale_type(p->src->t[g->of[PART_SCALE]].dtype, g->scheme);
    }
    op->view = g->view;
    op->coded = as->view;
    op->unit = as->dtype;
    op->m = view_matrix(&g->view);
    const uint64_t step = bias ? 0 : lcm_u64(view_step(&op->view), view_step(&op->coded)), rows = as->view.packing == PACK_ROWS ? 2 : 1;
    return op_cut(op, &(struct grain){rows, step, op->view, grain_of(t), NULL, op_streams(op) && !p->src->random}, e);
}

/* The global scale of g becomes a part of the scales that op makes: rounded once, where that is not exact. */
static void fold_global(struct op *op, const struct group *g)
{
    op->from = g;
    op->side[SIDE_GLOBAL] = op->nin;
    op->in[op->nin++] = g->of[PART_GLOBAL];
    op->exact = false;
}

static int keep_codes(struct plan *p, const struct group *g, const struct scheme *to, const struct wanted *w, struct err *e)
{
    struct out_tensor out[OUT_PARTS];
    size_t n;
    if (plan_outputs(p, g->name, &g->view, to, w, out, &n, e) || plan_fix(p, g, out, n, w, e))
        return -1;
    if (dtype_is_block(out[0].dtype))
        return plan_blocks_carry(p, g, &out[0], e);
    if (add_codes(p, g, &out[0], plan_part(out, n, PART_BIAS), e))
        return -1;
    const struct out_tensor *scale = plan_part(out, n, PART_SCALE), *global = plan_part(out, n, PART_GLOBAL);
    if (scale && plan_rescale(p, g->of[PART_SCALE], g->scheme, to, scale, NULL, plan_is_fnuz(g->scheme, to), e))
        return -1;
    if (scale && (scale->times != 0 || g->constant != 0)) {
        p->op[p->nops - 1].factor = scale->times;
        p->op[p->nops - 1].from = g;
        p->op[p->nops - 1].exact = g->constant != 0;
    }
    if (scale && (!global || (plan_is_fixed(global) && global->times != 0)) && g->of[PART_GLOBAL] != NO_TENSOR)
        fold_global(&p->op[p->nops - 1], g);
    if (global && plan_is_fixed(global) && global->times != 0)
        global = NULL;
    const struct out_tensor *point = plan_part(out, n, PART_POINT);
    if (point) {
        struct op *op = plan_op(p, &xform_points, p->src, g->of[PART_WEIGHT], e);
        if (!op || !plan_output(p, point, e))
            return -1;
        op_input(op, g->of[PART_POINT]);
        op->from = g;
        op->repeat[1] = g->scheme->block_cols && to->block_cols ? g->scheme->block_cols / to->block_cols : 1;
        op->m = tensor_matrix(&p->out[p->nout - 1].t);
        if (op_cut(op, &(struct grain){1, 1, op->view, NULL, NULL, false}, e))
            return -1;
    }
    if (global) {
        struct op *op = plan_op(p, &xform_global, p->src, g->of[PART_WEIGHT], e);
        if (!op || !plan_output(p, global, e))
            return -1;
        op_input(op, g->of[PART_GLOBAL]);
        op->divides = global->divides != g->global_divides;
        op->exact = !op->divides;
        op->m = tensor_matrix(&p->out[p->nout - 1].t);
        if (op_cut(op, &(struct grain){1, 1, op->view, NULL, NULL, false}, e))
            return -1;
    }
    return plan_rest(p, g->of[PART_WEIGHT], &g->view, out, n, w, e);
}

/* The same blocks with power-of-two scales: see requant.c. */
static int requant(struct plan *p, const struct group *g, const struct encoding *to, const struct wanted *w, struct err *e)
{
    struct out_tensor out[OUT_PARTS];
    size_t n;
    if (plan_outputs(p, g->name, &g->view, to->scheme, w, out, &n, e))
        return -1;
    const struct out_tensor *scale = plan_part(out, n, PART_SCALE);
    struct op *op = plan_op(p, &xform_requant, p->src, g->of[PART_WEIGHT], e);
    if (!op || !scale)
        return -1;
    op_input(op, g->of[PART_WEIGHT]);
    op->view = g->view;
    op->from = g;
    op_sides(op, g);
    op->to = to;
    op->coded = out[0].view;
    op->dtype = scale->dtype;
    op->exact = false;
    op->m = view_matrix(&g->view);
    if (cut_encode(p, op, e) || !plan_output(p, &out[0], e)
        || !plan_output(p, scale, e))
        return -1;
    return plan_rest(p, g->of[PART_WEIGHT], &g->view, out, n, w, e);
}

/* ---- which way ------------------------------------------------------------------- */
static int refuse_rounding(struct plan *p, const struct group *g, const struct scheme *to, const struct plan_scan *x,
                           struct err *e)
{
    char why[192] = "";
    struct matrix m = view_matrix(&g->view);
    uint64_t rows, cols;
    scheme_scale_shape(g->scheme, m.rows, m.cols, &rows, &cols);
    const bool wants = to->scale == DT_F8_E8M0 && cols;
    if (wants && x->kind == KIND_FACTOR)
        snprintf(why, sizeof why, "its scales are powers of two times %.9g, a factor for which there is no place; ",
                 (double)x->factor);
    else if (wants && x->at != UINT64_MAX)
        snprintf(why, sizeof why, "scale [%llu,%llu] = %.9g of '%s' is no power of two in 2^-127..2^127; ",
                 (unsigned long long)(x->at / cols), (unsigned long long)(x->at % cols), (double)x->value,
                 p->src->t[g->of[PART_SCALE]].name);
    return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s already: %sthere is no exact way to %s, which would round it a "
                   "second time%s (--source MODEL, the weights before they were quantized, avoids that; "
                   "--allow-requantize accepts it; a rule can exclude it)", p->src->path, g->name, g->scheme->name, why,
                   to->name, g->scheme->elem == to->elem ? " and cost about 3 dB" : "");
}

static int recode(struct plan *p, const struct group *g, const struct encoding *to, const struct wanted *w, struct err *e)
{
    struct plan_scan x;
    size_t ignored;
    if (plan_scan_scales(p, g, &x, e))
        return -1;
    const enum plan_way way = plan_way_of(g, x.kind, to->scheme);
    const size_t i = g->of[PART_WEIGHT];
    if (way == WAY_CODES && !(w->gguf && g->of[PART_GLOBAL] != NO_TENSOR)) /* blocks have no place for it */
        return keep_codes(p, g, to->scheme, w, e);
    if (way == WAY_VALUES) {
        /* Powers of two stay powers of two, whatever type holds them. */
        struct encoding *exact = arena_alloc(&p->mem, sizeof *exact, e);
        if (!exact)
            return -1;
        *exact = *to;
        if (exact->rule_f32 && scale_rule_f32_find("pow2", to->scheme->elem))
            exact->rule_f32 = scale_rule_f32_find("pow2", to->scheme->elem);
        struct wanted as_they_are = *w;
        as_they_are.rounder = NULL;
        return plan_encode(p, i, g, NULL, exact, &as_they_are, e);
    }
    const int found = find_better(w->better, g, &ignored, e);
    if (found < 0)
        return -1;
    if (found)
        return plan_encode(p, i, g, w->better, to, w, e);
    if (!w->requantize && !w->dry_run)
        return refuse_rounding(p, g, to->scheme, &x, e);
    p->second++;
    if (!p->second_name)
        p->second_name = g->name;
    const size_t first = p->nops;
    const struct matrix m = view_matrix(&g->view);
    if (way == WAY_REQUANT && !rounds(w, to->scheme, g->name, &m))
        return requant(p, g, to, w, e);
    if (plan_encode(p, i, g, NULL, to, w, e))
        return -1;
    for (size_t k = first; k < p->nops; k++)
        p->op[k].second = p->op[k].x == &xform_encode && p->op[k].from == g;
    return 0;
}

int plan_second_rounding(struct plan *p, const struct wanted *w, struct err *e)
{
    if (p->blocks
        && plan_note(p, arena_printf(&p->mem, e, "%zu tensor%s ('%s'%s) %s blocks of a GGUF, which are rounded a second time",
                                     p->blocks, p->blocks == 1 ? "" : "s", p->block_name,
                                     p->blocks == 1 ? "" : " and others", p->blocks == 1 ? "is" : "are"), e))
        return -1;
    if (!p->second)
        return 0;
    return plan_note(p, arena_printf(&p->mem, e, "%zu tensor%s ('%s'%s) %s rounded a second time, which costs about 3 dB; "
                                     "--source MODEL avoids that%s", p->second, p->second == 1 ? "" : "s", p->second_name,
                                     p->second == 1 ? "" : " and others", p->second == 1 ? "is" : "are",
                                     w->requantize ? "" : ", --allow-requantize is needed to do it"), e);
}

static void set_fate(struct plan *p, const struct group *g, enum fate fate, const char *why)
{
    for (int k = PART_WEIGHT; k < PART_AUX; k++)
        if (g->of[k] != NO_TENSOR)
            p->said[g->of[k]] = (struct said){fate, why};
    for (unsigned k = 0; k < g->naux; k++)
        p->said[g->aux[k]] = (struct said){fate, why};
}

/* The fate of everything that belongs to g, when no op takes it. */
static void set_merged(struct plan *p, const struct group *g)
{
    set_fate(p, g, FATE_MERGED, "into its weight");
    for (unsigned k = 0; k < g->naux; k++)
        p->said[g->aux[k]] = (struct said){FATE_DROPPED, "of activations, which the output does not fix"};
}

/* What must be zeros or ones is looked at. */
static int check_constants(struct plan *p, const struct group *g, struct err *e)
{
    if (g->of[PART_ZERO] != NO_TENSOR && plan_check_zero(p, g->of[PART_ZERO], e))
        return -1;
    if (g->of[PART_ONE] == NO_TENSOR)
        return 0;
    if (plan_check_zero(p, g->of[PART_ONE], e))
        return -1;
    p->op[p->nops - 1].factor = 1;
    return 0;
}

/* Scales that have those of static activations in them, wanted in the convention that they are in: all of it stays. */
static bool stays_static(const struct plan *p, const struct group *g, const struct scheme *to, const struct wanted *w)
{
    return to == g->scheme && w->convention == p->group.convention && w->activation_given && w->activation == ACTIVATION_STATIC
        && g->of[PART_GLOBAL] != NO_TENSOR && !g->scheme->two_level;
}

static int copy_group(struct plan *p, const struct group *g, struct err *e)
{
    for (size_t i = 0; i < p->src->n; i++) {
        if (!grouping_has(&p->group, i) || &p->group.g[p->group.group[i]] != g)
            continue;
        struct out_tensor o = out_same(&p->src->t[i], p->group.part[i]);
        o.scheme = g->scheme;
        o.weight = g->name;
        o.view = g->view;
        o.activation = ACTIVATION_STATIC;
        if (plan_copy(p, i, &o, NULL, e))
            return -1;
    }
    return 0;
}

/* Rounding twice is for the weight; what lay beside it has done its work. */
static int recode_all(struct plan *p, const struct group *g, const struct encoding *to, enum action a,
                      const struct wanted *w, struct err *e)
{
    const char *misfit = a == ACTION_QUANTIZE || to->scheme == g->scheme ? NULL
                       : plan_partial(p, w, to->scheme, g->name, &g->view, e);
    if (misfit)
        return err_set(e, ERR_INPUT, "%s: tensor %s%s", p->src->path, misfit,
                       w->gguf ? " (a rule, PATTERN = bf16, decodes it)" : "");
    if (stays_static(p, g, to->scheme, w))
        return copy_group(p, g, e);
    set_merged(p, g);
    if (check_constants(p, g, e))
        return -1;
    return recode(p, g, to, w, e);
}

static int decode_all(struct plan *p, const struct group *g, enum dtype to, struct err *e)
{
    set_merged(p, g);
    if (check_constants(p, g, e))
        return -1;
    return plan_decode(p, g->of[PART_WEIGHT], g, to, e);
}

/* What is done to the activations of a weight that stays: fixed scales lie beside it, or there are none. */
static enum activation activation_of(const struct plan *p, const struct group *g)
{
    const struct convention *c = p->group.convention;
    enum activation a = ACTIVATION_DYNAMIC;
    if (g->naux && c->accepts && c->accepts(g->scheme, ACTIVATION_STATIC))
        return ACTIVATION_STATIC;
    (void)convention_takes(c, g->scheme, &a);
    return a;
}

/* Only packed files have a type for elements of 4 bits: in others they lie in bytes, as the convention of the model
 * has them. */
static int in_bytes(struct plan *p, const struct group *g, enum activation a, struct err *e)
{
    const struct wanted own = {.convention = p->group.convention, .activation = a, .activation_given = true};
    struct out_tensor out[OUT_PARTS];
    size_t n;
    return plan_outputs(p, g->name, &g->view, g->scheme, &own, out, &n, e) || add_codes(p, g, &out[0], NULL, e) ? -1 : 0;
}

static struct encoding *own_encoding(struct plan *p, const struct group *g, struct err *e)
{
    struct encoding *own = arena_alloc(&p->mem, sizeof *own, e);
    if (own)
        *own = encoding_of(g->scheme);
    return own;
}

int plan_quantized(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    const struct group *g = &p->group.g[p->group.group[i]];
    const struct rule *r = rules_find(w->rules, g->name);
    enum action a = r ? r->action : ACTION_DEFAULT;
    const bool weight = i == g->of[PART_WEIGHT];
    /* A default says what is not quantized by itself; what somebody did quantize stays quantized. */
    if (w->to && a == ACTION_KEEP && r->is_default) {
        a = ACTION_DEFAULT;
        p->stay += weight;
        if (!p->stay_name)
            p->stay_name = g->name;
    }
    if (a == ACTION_DROP) {
        set_fate(p, g, FATE_DROPPED, NULL);
        return 0;
    }
    if (!w->to && !w->form && !w->weight_layout && !w->scale_layout && (w->plain == DT_COUNT || a == ACTION_KEEP)) {
        struct out_tensor o = out_same(&p->src->t[i], p->group.part[i]);
        struct encoding *own = w->gguf ? own_encoding(p, g, e) : NULL;
        if (w->gguf && !own)
            return -1;
        if (own && w->convention->accepts(g->scheme, ACTIVATION_NONE))
            return weight ? recode_all(p, g, own, ACTION_KEEP, w, e) : 0;
        o.scheme = g->scheme;
        o.weight = g->name;
        o.view = g->view;
        o.activation = activation_of(p, g);
        return weight && p->src->t[i].dtype == DT_I4 ? in_bytes(p, g, o.activation, e) : plan_copy(p, i, &o, NULL, e);
    }
    if (!weight)
        return 0; /* with its weight */
    if (w->form)
        return plan_pack_form(p, g, w, e);
    if (w->weight_layout || w->scale_layout)
        return plan_pack_sentence(p, g, w, e);
    if (!w->to || a == ACTION_DECODE)
        return decode_all(p, g, a == ACTION_DECODE ? r->dtype : w->plain, e);
    if (a == ACTION_KEEP) { /* as it is, in the names of the output */
        struct encoding *own = own_encoding(p, g, e);
        return own ? recode_all(p, g, own, a, w, e) : -1;
    }
    return recode_all(p, g, r && r->to ? r->to : w->to, r && r->is_default ? ACTION_DEFAULT : a, w, e);
}
