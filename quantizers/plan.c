#include "quantizers/plan_parts.h"
#include "quantizers/strided.h"

#include "formats/names.h"

#include <stdlib.h>
#include <string.h>

const char *verdict_name(enum verdict v)
{
    static const char *const name[] = {"exact", "rounded", "saturated"};
    return name[v];
}

enum verdict outcome_verdict(const struct outcome *o)
{
    return o->n.saturated ? VERDICT_SATURATED : o->n.inexact ? VERDICT_ROUNDED : VERDICT_EXACT;
}

/* ---- ops and outputs ------------------------------------------------------- */
struct op *plan_op(struct plan *p, const struct xform *x, const struct model *src, size_t place, struct err *e)
{
    if (mem_grow((void **)&p->op, &p->op_cap, p->nops + 1, sizeof *p->op, e))
        return NULL;
    struct op *op = &p->op[p->nops++];
    *op = (struct op){.x = x, .src = src, .place = place, .repeat = {1, 1}, .passes = 1, .exact = true};
    return op;
}

void op_input(struct op *op, size_t i)
{
    op->in[op->nin++] = i;
    if (op->nin == 1)
        op->view = view_of(&op->src->t[i]);
}

void op_sides(struct op *op, const struct group *g)
{
    for (int s = 0; s < SIDE_COUNT; s++) {
        const size_t i = g->of[side_part((enum side)s)];
        if (i == NO_TENSOR)
            continue;
        op->side[s] = op->nin;
        op->in[op->nin++] = i;
    }
}

struct output *plan_output(struct plan *p, const struct out_tensor *as, struct err *e)
{
    if (mem_grow((void **)&p->out, &p->out_cap, p->nout + 1, sizeof *p->out, e))
        return NULL;
    struct output *o = &p->out[p->nout];
    struct op *op = &p->op[p->nops - 1];
    *o = (struct output){.as = *as, .op = p->nops - 1};
    o->t = (struct tensor){.name = as->name, .dtype = as->dtype, .rank = as->rank};
    memcpy(o->t.dim, as->dim, sizeof as->dim);
    if (!dtype_size(as->dtype, tensor_elems(&o->t), &o->t.size)) {
        (void)err_set(e, ERR_INPUT, "tensor '%s': its size overflows", as->name);
        return NULL;
    }
    op->out[op->nout++] = p->nout++;
    return o;
}

struct matrix output_matrix(const struct output *o)
{
    const struct scheme *s = o->as.part == PART_SCALE ? o->as.scheme : NULL;
    if (s && o->t.rank == 1 && s->block_rows && !s->block_cols)
        return (struct matrix){1, o->t.dim[0], 1};
    return tensor_matrix(&o->t);
}

int plan_note(struct plan *p, const char *text, struct err *e)
{
    if (!text || mem_grow((void **)&p->note, &p->note_cap, p->nnotes + 1, sizeof *p->note, e))
        return -1;
    p->note[p->nnotes++] = text;
    return 0;
}

void plan_free(struct plan *p)
{
    for (size_t i = 0; i < p->nops; i++)
        free(p->op[i].tile);
    free(p->op);
    free(p->out);
    free(p->note);
    arena_free(&p->mem);
    *p = (struct plan){0};
}

struct out_tensor out_same(const struct tensor *t, enum part part)
{
    struct out_tensor o = {.name = t->name, .dtype = t->dtype, .rank = t->rank, .part = part};
    memcpy(o.dim, t->dim, sizeof o.dim);
    return o;
}

int plan_grain(struct plan *p, const struct tensor *t, const struct view *v, const struct stored **st, struct err *e)
{
    *st = grain_of(t);
    if (!v->inputs_first)
        return 0;
    struct stored *turned = arena_alloc(&p->mem, sizeof *turned, e);
    if (turned)
        *turned = box_turned(v);
    *st = turned;
    return turned ? 0 : -1;
}

/* ---- plain tensors ------------------------------------------------------------ */
int plan_copy(struct plan *p, size_t i, const struct out_tensor *as, const struct stored *stored, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    struct op *op = plan_op(p, &xform_copy, p->src, i, e);
    if (!op)
        return -1;
    op_input(op, i);
    struct output *o = plan_output(p, as, e);
    if (!o)
        return -1;
    op->m = tensor_matrix(t);
    struct grain g = {1, 1, op->view, grain_of(t), stored, !p->src->random};
    if (!stored && (tensor_is_flat(t) || strided_run(t) == RUN_BATCH)) { /* bytes */
        op->flat = true;
        op->m = (struct matrix){1, 1, t->size};
        g.in = (struct view){.elem = DT_U8};
    } else {
        g.cols = dtype_table[t->dtype].block_elems;
    }
    const unsigned ratio = g.from ? stored_ratio(g.from, t->dtype) : 1;
    if (ratio > 1) { /* tiles of codes, in units of what holds them */
        g.rows = g.from->layout.tile[0];
        g.cols = lcm_u64(g.from->layout.tile[1], ratio) / ratio;
        g.from = NULL;
    }
    if (stored) {
        o->t.stored = stored;
        o->t.size = stored->batch_bytes * stored->batch;
    }
    return op_cut(op, &g, e);
}

int plan_decode(struct plan *p, size_t i, const struct group *g, enum dtype to, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    struct op *op = plan_op(p, &xform_decode, p->src, i, e);
    if (!op)
        return -1;
    op_input(op, i);
    if (g) {
        op->view = g->view;
        op->from = g;
        op_sides(op, g);
    }
    op->dtype = to;
    op->exact = g ? scheme_pow2(g->scheme) && to != DT_F16 && g->of[PART_GLOBAL] == NO_TENSOR : to == DT_F32;
    op->m = view_matrix(&op->view);
    struct out_tensor o = out_same(t, PART_PLAIN);
    o.name = g ? g->name : t->name;
    o.dtype = to;
    o.rank = op->view.rank;
    memcpy(o.dim, op->view.dim, sizeof o.dim);
    struct grain grain = {1, view_step(&op->view), op->view, grain_of(t), NULL, op_streams(op) && !p->src->random};
    if (g)
        grain.cols = g->scheme->block_cols ? lcm_u64(grain.cols, g->scheme->block_cols) : 0;
    if (!g || !g->inputs_first)
        return plan_output(p, &o, e) ? op_cut(op, &grain, e) : -1;
    /* The output is [.., K, N]: a layout of [.., N, K]. */
    struct view turned = op->view;
    struct stored *st = arena_alloc(&p->mem, sizeof *st, e);
    turned.elem = to;
    turned.packing = PACK_PLAIN;
    o.dim[o.rank - 1] = op->view.dim[o.rank - 2];
    o.dim[o.rank - 2] = op->view.dim[o.rank - 1];
    struct output *out = st ? plan_output(p, &o, e) : NULL;
    if (!out)
        return -1;
    *st = box_turned(&turned);
    out->written = grain.to = st;
    return op_cut(op, &grain, e);
}

/* A rule of the user's that says how tensor i is to be decoded, or the type of the run. */
static enum dtype decoded_type(const struct wanted *w, const struct rule *r)
{
    return r && r->action == ACTION_DECODE ? r->dtype : w->plain;
}

/* Does the run only carry tensors from one container to another? Then what they mean does not matter. */
static bool only_carries(const struct wanted *w)
{
    return !w->to && w->plain == DT_COUNT && !w->form && !w->weight_layout && !w->scale_layout;
}

static int keep_plain(struct plan *p, size_t i, const struct wanted *w, const struct rule *r, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    struct out_tensor o = out_same(t, p->group.part[i]);
    const bool stays = w->plain == DT_COUNT || (r && r->action == ACTION_KEEP);
    const bool as_it_is = p->src->container == CONTAINER_GGUF && only_carries(w);
    if (w->gguf && t->rank < 2 && (t->dtype == DT_BF16 || t->dtype == DT_F16) && !as_it_is)
        return plan_decode(p, i, NULL, DT_F32, e);
    const bool other = w->gguf && w->plain_all && !stays && t->rank > 1 && t->dtype != decoded_type(w, r)
                    && (t->dtype == DT_F32 || t->dtype == DT_BF16 || t->dtype == DT_F16);
    if (!other && (dtype_is_safetensors(t->dtype) || ((w->gguf || w->form) && dtype_is_block(t->dtype) && stays)))
        return plan_copy(p, i, &o, NULL, e);
    /* GGUF blocks have no place in safetensors: FP32 holds their values exactly. */
    const enum dtype to = decoded_type(w, r);
    return plan_decode(p, i, NULL, to == DT_COUNT ? DT_F32 : to, e);
}

static const char *unfit_note(struct plan *p, const struct wanted *w, const struct tensor *t, struct err *e)
{
    const struct view v = view_of(t);
    const char *why = w->fit ? plan_unfit(p, w, w->fit, t->name, &v, e) : NULL;
    return why ? arena_printf(&p->mem, e, "kept %s", why) : NULL;
}

static int plain_tensor(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    const char *why = NULL;
    const struct rule *r = rules_find(w->rules, t->name);
    const enum action a = r ? r->action : ACTION_DEFAULT;
    if (a == ACTION_DROP) {
        p->said[i].fate = FATE_DROPPED;
        return 0;
    }
    if (!w->to)
        return w->form && plan_pack_plain(p, t, w, e) ? -1 : keep_plain(p, i, w, r, e);
    const bool asked = r && !r->is_default; /* a default takes what can be taken and is silent about the rest */
    bool yes = !r ? rules_default(t, &why) : a == ACTION_QUANTIZE && (asked || rules_linear(t, &why));
    bool can = t->rank >= 2
            && (t->dtype == DT_BF16 || t->dtype == DT_F16 || t->dtype == DT_F32 || !dtype_is_safetensors(t->dtype));
    if (asked && yes && !can)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' (%s, rank %u) cannot be quantized, although a rule says so",
                       p->src->path, t->name, dtype_name(t->dtype), t->rank);
    yes = yes && can && tensor_elems(t) > 0; /* no elements, no scale */
    const struct encoding *to = r && r->to ? r->to : w->to;
    const char *misfit = yes ? unfit_note(p, w, t, e) : NULL;
    if (yes && to->copies && !asked)
        misfit = arena_printf(&p->mem, e, "kept %s: codes of %s are copied, never made", t->name,
                              to->scheme->name);
    if (yes && !misfit && !asked) {
        const struct view v = view_of(t);
        const char *why_not = plan_partial(p, w, to->scheme, t->name, &v, e);
        misfit = why_not ? arena_printf(&p->mem, e, "kept %s", why_not) : NULL;
    }
    p->said[i].why = misfit ? misfit : yes ? NULL : why ? why : r ? r->why : NULL;
    if (misfit && plan_note(p, misfit, e))
        return -1;
    if (!yes || misfit)
        return keep_plain(p, i, w, r, e);
    if (dtype_is_block(t->dtype) && !w->gguf && !p->blocks++)
        p->block_name = t->name;
    return plan_encode(p, i, NULL, NULL, to, w, e);
}

/* The scale of a KV cache changes no weight. It stays while nothing changes, or its convention is written again. */
static int cache_scale(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    const struct rule *r = rules_find(w->rules, t->name);
    struct out_tensor o = out_same(t, PART_AUX);
    o.scheme = p->group.g[p->group.n].scheme;
    if (r && r->action == ACTION_DROP) {
        p->said[i].fate = FATE_DROPPED;
        return 0;
    }
    if (w->to ? w->convention == p->group.convention && w->convention->keeps_cache : w->plain == DT_COUNT)
        return plan_copy(p, i, &o, NULL, e);
    p->said[i] = (struct said){FATE_DROPPED, "the scale of a KV cache, for which the output has no place"};
    if (!p->caches++)
        p->cache_name = t->name;
    return 0;
}

static int note_caches(struct plan *p, const struct wanted *w, struct err *e)
{
    if (!p->caches)
        return 0;
    return plan_note(p, arena_printf(&p->mem, e, "dropped %zu scale%s of the KV cache ('%s'%s), for which %s has no place",
                                     p->caches, p->caches == 1 ? "" : "s", p->cache_name, p->caches == 1 ? "" : " ...",
                                     w->to ? w->convention->name : "a model without quantized weights"), e);
}

/* ---- the whole ------------------------------------------------------------------ */

/* A stream delivers tensors in file order: ops run in the order in which their
 * last input arrives, and what came earlier is held. */
static int order_ops(struct plan *p, struct err *e)
{
    struct op *tmp = mem_alloc(p->nops, sizeof *tmp, e);
    size_t *count = mem_alloc(p->src->n + 1, sizeof *count, e);
    if (!tmp || !count) {
        free(tmp);
        free(count);
        return -1;
    }
    for (size_t i = 0; i < p->nops; i++)
        count[op_last(&p->op[i], p->src) + 1]++;
    for (size_t i = 0; i < p->src->n; i++)
        count[i + 1] += count[i];
    for (size_t i = 0; i < p->nops; i++)
        tmp[count[op_last(&p->op[i], p->src)]++] = p->op[i];
    if (p->nops)
        memcpy(p->op, tmp, p->nops * sizeof *tmp);
    free(tmp);
    free(count);
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = 0; k < p->op[i].nout; k++)
            p->out[p->op[i].out[k]].op = i;
    return 0;
}

static uint64_t box_memory(const struct plan *p, const struct op *op)
{
    uint64_t box = op->box_rows * op->box_cols;
    if (op->flat)
        return box;
    const uint64_t in = view_row_bytes(&op->view, op->box_cols) * op->box_rows;
    const uint64_t out = op->nout ? row_bytes(p->out[op->out[0]].t.dtype, 1) : 1;
    return in + box * out;
}

static int sum_up(struct plan *p, struct err *e)
{
    bool *used = mem_alloc(p->src->n, sizeof *used, e);
    uint64_t now = 0;
    size_t pos = 0;
    if (!used)
        return -1;
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = 0; k < p->op[i].nin && p->op[i].src == p->src; k++)
            used[p->op[i].in[k]] = true;
    for (size_t i = 0; i < p->nops; i++) {
        const struct op *op = &p->op[i];
        uint64_t in = 0;
        for (unsigned k = 0; k < op->nin; k++)
            in += op->src->t[op->in[k]].size;
        p->bytes_in += in;
        for (unsigned k = 0; k < op->nout; k++)
            p->bytes_out += p->out[op->out[k]].t.size;
        p->box_bytes = max_u64(p->box_bytes, box_memory(p, op));
        if (p->src->random || !op->nin)
            continue;
        const size_t last = op_last(op, p->src);
        for (; pos <= last; pos++)
            if (used[pos] && !(pos == last && op_streams(op)))
                now += p->src->t[pos].size;
        p->held = max_u64(p->held, now);
        now -= op_streams(op) ? in - p->src->t[op->in[0]].size : in;
    }
    free(used);
    return 0;
}

/* What calibration left beside weights that it did not replace is of no use to whoever reads the weights. */
static int left_over(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    const struct out_tensor o = out_same(&p->src->t[i], p->group.part[i]);
    if (only_carries(w))
        return plan_copy(p, i, &o, NULL, e);
    p->said[i] = (struct said){FATE_DROPPED, "left over from calibration"};
    if (!p->nleft++)
        p->left_name = p->src->t[i].name;
    return 0;
}

static int note_left(struct plan *p, struct err *e)
{
    if (!p->nleft)
        return 0;
    return plan_note(p,
                     arena_printf(&p->mem, e,
                                  "dropped %zu tensor%s ('%s'%s) that calibration left beside weights in "
                                  "floating point",
                                  p->nleft, p->nleft == 1 ? "" : "s", p->left_name,
                                  p->nleft == 1 ? "" : " and others"),
                     e);
}

static int note_stay(struct plan *p, struct err *e)
{
    if (!p->stay)
        return 0;
    return plan_note(p,
                     arena_printf(&p->mem, e,
                                  "%zu weight%s ('%s'%s) that would be kept by default %s quantized already and stay so "
                                  "(a rule PATTERN = bf16 ends that)",
                                  p->stay, p->stay == 1 ? "" : "s", p->stay_name, p->stay == 1 ? "" : " and others",
                                  p->stay == 1 ? "is" : "are"),
                     e);
}

static int any_tensor(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    if (grouping_cache(&p->group, i))
        return cache_scale(p, i, w, e);
    if (grouping_has(&p->group, i))
        return plan_quantized(p, i, w, e);
    return p->group.part[i] == PART_PLAIN ? plain_tensor(p, i, w, e) : left_over(p, i, w, e);
}

int plan_make(struct plan *p, struct model *src, const struct wanted *w, struct err *e)
{
    *p = (struct plan){.src = src};
    if ((!only_carries(w) && grouping_expand(src, e)) || grouping_named(src, true, &p->group, e)
        || !(p->said = arena_array(&p->mem, src->n + 1, sizeof *p->said, e)))
        goto fail;
    if ((w->form ? !p->group.n && !plan_takes_model(src, w->form) : w->weight_layout || w->scale_layout ? !p->group.n : false)) {
        (void)err_set(e, ERR_INPUT, "%s: nothing in this model is quantized, so there is nothing to pack (run octavo "
                      "quantize first)", src->path);
        goto fail;
    }
    const char *const left = src->container == CONTAINER_TORCH ? model_meta(src, "torch.left_out") : NULL;
    if (left && plan_note(p, arena_printf(&p->mem, e, "left out: %s", left), e))
        goto fail;
    for (size_t i = 0; src->naming && i < src->naming->nnotes; i++)
        if (plan_note(p, src->naming->note[i], e))
            goto fail;
    for (size_t i = 0; i < src->n; i++)
        if (any_tensor(p, i, w, e))
            goto fail;
    if (note_caches(p, w, e) || note_left(p, e) || note_stay(p, e) || plan_second_rounding(p, w, e) || order_ops(p, e)
        || sum_up(p, e) || plan_ledger(p, w, e))
        goto fail;
    return 0;
fail:
    plan_free(p);
    return -1;
}
