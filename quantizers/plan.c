#include "quantizers/plan.h"
#include "quantizers/strided.h"

#include <stdlib.h>

const char *verdict_name(enum verdict v)
{
    static const char *const name[] = {"exact", "rounded", "saturated"};
    return name[v];
}

enum verdict outcome_verdict(const struct outcome *o)
{
    return o->n.saturated ? VERDICT_SATURATED : o->n.inexact ? VERDICT_ROUNDED : VERDICT_EXACT;
}

struct op *plan_op(struct plan *p, const struct xform *x, struct err *e)
{
    if (mem_grow((void **)&p->op, &p->op_cap, p->nops + 1, sizeof *p->op, e))
        return NULL;
    struct op *op = &p->op[p->nops++];
    *op = (struct op){.x = x, .src = p->src, .repeat = {1, 1}, .passes = 1, .exact = true};
    return op;
}

struct output *plan_output(struct plan *p, size_t op, const struct out_tensor *t, struct err *e)
{
    if (mem_grow((void **)&p->out, &p->out_cap, p->nout + 1, sizeof *p->out, e))
        return NULL;
    struct output *o = &p->out[p->nout];
    *o = (struct output){.part = t->part, .op = op};
    o->t = (struct tensor){.name = t->name, .dtype = t->dtype, .rank = t->rank};
    memcpy(o->t.dim, t->dim, sizeof t->dim);
    if (!dtype_size(t->dtype, tensor_elems(&o->t), &o->t.size)) {
        (void)err_set(e, ERR_INPUT, "tensor '%s': its size overflows", t->name);
        return NULL;
    }
    p->op[op].out[p->op[op].nout++] = p->nout++;
    return o;
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
    free(p->op);
    free(p->out);
    free(p->note);
    arena_free(&p->mem);
    *p = (struct plan){0};
}

/* ---- one op each --------------------------------------------------------- */
static struct out_tensor same(const struct tensor *t, enum part part)
{
    struct out_tensor o = {.name = t->name, .dtype = t->dtype, .rank = t->rank, .part = part};
    memcpy(o.dim, t->dim, sizeof o.dim);
    return o;
}

static int add_copy(struct plan *p, size_t i, const struct out_tensor *as, const struct stored *stored,
                    const struct scheme *s, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    struct op *op = plan_op(p, &xform_copy, e);
    if (!op)
        return -1;
    op->in[0] = i;
    op->nin = 1;
    struct output *o = plan_output(p, p->nops - 1, as, e);
    if (!o)
        return -1;
    o->scheme = s;
    op->m = tensor_matrix(t);
    struct grain g = {1, 1, t->dtype, grain_of(t), stored, !p->src->random};
    if (!stored && (tensor_is_flat(t) || strided_run(t) == RUN_BATCH)) { /* bytes */
        op->flat = true;
        op->m = (struct matrix){1, 1, t->size};
        g.in = DT_U8;
    } else {
        g.cols = dtype_table[t->dtype].block_elems;
    }
    if (stored) {
        o->t.stored = stored;
        o->t.size = stored->batch_bytes * stored->batch;
    }
    return op_cut(op, &g, e);
}

static int add_zero(struct plan *p, size_t i, const struct out_tensor *as, struct err *e)
{
    struct op *op = plan_op(p, &xform_zero, e);
    if (!op || !plan_output(p, p->nops - 1, as, e))
        return -1;
    op->in[0] = i; /* only for its place in the order */
    op->dtype = as->dtype;
    op->m = tensor_matrix(&p->out[p->nout - 1].t);
    return op_cut(op, &(struct grain){1, 1, as->dtype, NULL, NULL, false}, e);
}

/* Scale tensor `scale` of scheme `from` as output `as`, in stored form when given. */
static int add_rescale(struct plan *p, size_t scale, const struct scheme *from, const struct scheme *to,
                       const struct out_tensor *as, const struct stored *stored, struct err *e)
{
    struct op *op = plan_op(p, &xform_rescale, e);
    struct output *o = op ? plan_output(p, p->nops - 1, as, e) : NULL;
    if (!o)
        return -1;
    o->scheme = to;
    op->in[0] = scale;
    op->nin = 1;
    op->dtype = stored ? stored->dtype : as->dtype;
    op->m = stored ? (struct matrix){stored->batch, stored->rows, stored->cols} : tensor_matrix(&o->t);
    op->pow2 = to->scale == DT_F8_E8M0;
    if (stored) {
        memcpy(op->repeat, stored->repeat, sizeof op->repeat);
        o->t.stored = stored;
        o->t.size = stored->batch_bytes * stored->batch;
    } else if (from != to) {
        op->repeat[0] = from->block_rows && to->block_rows ? from->block_rows / to->block_rows : 1;
        op->repeat[1] = from->block_cols && to->block_cols ? from->block_cols / to->block_cols : 1;
    }
    return op_cut(op, &(struct grain){1, 1, op->dtype, NULL, stored, false}, e);
}

static int add_check_zero(struct plan *p, size_t i, struct err *e)
{
    struct op *op = plan_op(p, &xform_check_zero, e);
    if (!op)
        return -1;
    op->in[0] = i;
    op->nin = 1;
    op->m = tensor_matrix(&p->src->t[i]);
    const struct tensor *t = &p->src->t[i];
    return op_cut(op, &(struct grain){1, 1, t->dtype, grain_of(t), NULL, !p->src->random}, e);
}

static int add_encode(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    const struct scheme *s = w->to->scheme;
    struct out_tensor out[3];
    size_t n;
    if (w->convention->outputs(s, t->name, t->rank, t->dim, &p->mem, out, &n, e))
        return -1;
    struct matrix m = tensor_matrix(t);
    if (!s->block_rows && m.batch > 1)
        return err_set(e, ERR_INPUT, "%s: tensor '%s': %s needs one matrix, this is a stack of %llu (exclude it, or "
                       "take another scheme)", p->src->path, t->name, s->name, (unsigned long long)m.batch);
    struct op *op = plan_op(p, &xform_encode, e);
    if (!op)
        return -1;
    size_t at = p->nops - 1;
    op->in[0] = i;
    op->nin = 1;
    op->to = w->to;
    op->dtype = out[1].dtype;
    op->exact = false;
    op->m = m;
    op->passes = s->block_rows ? 1 : 2;
    struct grain g = {s->block_rows ? s->block_rows : 1, s->block_rows ? s->block_cols : 1, t->dtype, grain_of(t),
                      NULL, op_streams(op) && !p->src->random};
    if (op_cut(op, &g, e))
        return -1;
    for (size_t k = 0; k < 2; k++) {
        struct output *o = plan_output(p, at, &out[k], e);
        if (!o)
            return -1;
        o->scheme = s;
    }
    return n > 2 ? add_zero(p, i, &out[2], e) : 0;
}

static int add_decode(struct plan *p, size_t i, size_t scale, const struct scheme *from, enum dtype to,
                      struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    struct op *op = plan_op(p, &xform_decode, e);
    if (!op)
        return -1;
    op->in[0] = i;
    op->in[1] = scale;
    op->nin = from ? 2 : 1;
    op->from = from;
    op->dtype = to;
    op->exact = from ? from->scale == DT_F8_E8M0 && to != DT_F16 : to == DT_F32;
    op->m = tensor_matrix(t);
    struct out_tensor o = same(t, PART_PLAIN);
    o.dtype = to;
    struct grain g = {1, dtype_table[t->dtype].block_elems, t->dtype, grain_of(t), NULL,
                      op_streams(op) && !p->src->random};
    if (from)
        g.cols = from->block_cols;
    return plan_output(p, p->nops - 1, &o, e) ? op_cut(op, &g, e) : -1;
}

/* ---- which op ------------------------------------------------------------- */

/* Exact ways from one scheme to another: the codes stay as they are. */
static bool recodes(const struct scheme *from, const struct scheme *to)
{
    if (from == to)
        return true;
    if (from->elem != to->elem || from->elem != DT_F8_E4M3 || !from->block_rows || !from->block_cols
        || !to->block_rows || !to->block_cols)
        return false;
    bool finer = from->block_rows % to->block_rows == 0 && from->block_cols % to->block_cols == 0;
    return finer; /* F32 scales that are to be UE8M0 are checked one by one when read */
}

static int recode_group(struct plan *p, const struct group *g, const struct wanted *w, struct err *e)
{
    const struct scheme *to = w->to->scheme;
    const struct tensor *t = &p->src->t[g->weight];
    struct out_tensor out[3];
    size_t n;
    if (!recodes(g->scheme, to))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s already; there is no exact way to %s (octavo dequantize "
                       "first: that rounds a second time)", p->src->path, t->name, g->scheme->name, to->name);
    if (w->convention->outputs(to, t->name, t->rank, t->dim, &p->mem, out, &n, e)
        || add_copy(p, g->weight, &out[0], NULL, to, e)
        || add_rescale(p, g->scale, g->scheme, to, &out[1], NULL, e)
        || (n > 2 && add_zero(p, g->weight, &out[2], e)))
        return -1;
    p->out[p->nout - n].part = PART_WEIGHT;
    return g->zero == SIZE_MAX ? 0 : add_check_zero(p, g->zero, e);
}

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

/* NULL when weight t has the sizes that form f wants, else the sentence that says what they are. */
static const char *unfit(struct plan *p, const struct wanted *w, const struct target_form *f, const struct tensor *t,
                         const char *verb, struct err *e)
{
    struct matrix m = tensor_matrix(t);
    enum role role = tensor_role(t->name);
    uint32_t r = f ? f->role[role].row_multiple : 1, c = f ? f->role[role].col_multiple : 1;
    if (m.rows % r == 0 && m.cols % c == 0)
        return NULL;
    return arena_printf(&p->mem, e, "%s%s [%llu,%llu]: %s needs rows in multiples of %u and columns in multiples of %u",
                        verb, t->name, (unsigned long long)m.rows, (unsigned long long)m.cols, w->target->id, r, c);
}

static int pack_group(struct plan *p, const struct group *g, const struct wanted *w, struct err *e)
{
    const struct target_form *f = w->form;
    const struct tensor *t = &p->src->t[g->weight], *st = &p->src->t[g->scale];
    struct matrix m = tensor_matrix(t);
    enum role role = tensor_role(t->name);
    if (!recodes(g->scheme, f->scheme) || (g->scheme->scale == DT_F32 && f->scheme->scale == DT_F8_E8M0))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s; form '%s' of %s takes %s, and there is no exact way "
                       "(octavo quantize --target %s makes one)", p->src->path, t->name, g->scheme->name, f->name,
                       w->target->id, f->scheme->name, w->target->id);
    const char *why = unfit(p, w, f, t, "", e);
    if (why)
        return err_set(e, ERR_INPUT, "%s: tensor %s", p->src->path, why);
    struct matrix sm = {m.batch, f->scale_rows ? ceil_div(m.rows, f->scale_rows) : 1,
                        f->scale_cols ? ceil_div(m.cols, f->scale_cols) : 1};
    struct stored *ws = stored_as(p, &f->role[role].weight_layout, f->role[role].weight, t->dtype, m, t, e);
    struct stored *ss = stored_as(p, &f->role[role].scale_layout, f->role[role].scale, f->scale_dtype, sm, st, e);
    struct out_tensor wo = same(t, PART_WEIGHT), so = same(st, PART_SCALE);
    if (!ws || !ss)
        return -1;
    if (g->scheme->block_rows && f->scale_rows)
        ss->repeat[0] = g->scheme->block_rows / f->scale_rows;
    if (g->scheme->block_cols && f->scale_cols)
        ss->repeat[1] = g->scheme->block_cols / f->scale_cols;
    /* A vector [N] of row scales lies as the column it is only when its shape says [N,1]. */
    struct matrix logical = tensor_matrix(st);
    if (logical.rows != ceil_div(sm.rows, ss->repeat[0]) || logical.cols != ceil_div(sm.cols, ss->repeat[1]))
        ss = NULL;
    if (add_copy(p, g->weight, &wo, ws, g->scheme, e)
        || (ss ? add_rescale(p, g->scale, g->scheme, f->scheme, &so, ss, e)
               : add_copy(p, g->scale, &so, NULL, g->scheme, e)))
        return -1;
    if (g->zero == SIZE_MAX)
        return 0;
    struct out_tensor zo = same(&p->src->t[g->zero], PART_ZERO);
    return add_copy(p, g->zero, &zo, NULL, NULL, e);
}

/* pack --layout: the sentence alone, on every matrix that is quantized. */
static int pack_sentence(struct plan *p, const struct group *g, const struct wanted *w, struct err *e)
{
    const size_t index[2] = {g->weight, g->scale};
    const struct layout *layout[2] = {w->weight_layout, w->scale_layout};
    const char *sentence[2] = {w->weight_sentence, w->scale_sentence};
    for (int k = 0; k < 2; k++) {
        const struct tensor *t = &p->src->t[index[k]];
        struct out_tensor o = same(t, k ? PART_SCALE : PART_WEIGHT);
        struct stored *s = NULL;
        if (layout[k] && !(s = stored_as(p, layout[k], sentence[k], t->dtype, tensor_matrix(t), t, e)))
            return -1;
        if (add_copy(p, index[k], &o, s, g->scheme, e))
            return -1;
    }
    struct out_tensor zo = g->zero == SIZE_MAX ? (struct out_tensor){0} : same(&p->src->t[g->zero], PART_ZERO);
    return g->zero == SIZE_MAX ? 0 : add_copy(p, g->zero, &zo, NULL, NULL, e);
}

static int keep(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    struct out_tensor o = same(t, p->group.part[i]);
    if (dtype_is_safetensors(t->dtype))
        return add_copy(p, i, &o, NULL, NULL, e);
    /* GGUF blocks have no place in safetensors: FP32 holds their values exactly. */
    return add_decode(p, i, SIZE_MAX, NULL, w->plain == DT_COUNT ? DT_F32 : w->plain, e);
}

static int plain_tensor(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    const char *why = NULL;
    enum action a = rules_match(w->rules, t->name);
    if (a == ACTION_DROP)
        return plan_note(p, arena_printf(&p->mem, e, "dropped %s (a rule says so)", t->name), e);
    if (!w->to)
        return keep(p, i, w, e);
    bool by_default = rules_default(t, &why), yes = a == ACTION_QUANTIZE || (a == ACTION_DEFAULT && by_default);
    bool can = t->rank >= 2
            && (t->dtype == DT_BF16 || t->dtype == DT_F16 || t->dtype == DT_F32 || !dtype_is_safetensors(t->dtype));
    if (a == ACTION_QUANTIZE && !can)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' (%s, rank %u) cannot be quantized, although a rule says so",
                       p->src->path, t->name, dtype_name(t->dtype), t->rank);
    yes = yes && can && tensor_elems(t) > 0; /* no elements, no scale */
    const char *misfit = yes ? unfit(p, w, w->fit, t, "kept ", e) : NULL;
    if (misfit && plan_note(p, misfit, e))
        return -1;
    yes = yes && !misfit;
    return yes ? add_encode(p, i, w, e) : keep(p, i, w, e);
}

static int quantized_tensor(struct plan *p, size_t i, const struct wanted *w, struct err *e)
{
    const struct group *g = &p->group.g[p->group.group[i]];
    enum action a = rules_match(w->rules, p->src->t[g->weight].name);
    if (a == ACTION_DROP)
        return i != g->weight ? 0 : plan_note(p, arena_printf(&p->mem, e, "dropped %s and its scale (a rule says so)",
                                                              p->src->t[i].name), e);
    if (w->to && a == ACTION_KEEP && i == g->weight && g->scheme != w->to->scheme)
        return err_set(e, ERR_USAGE, "%s: a rule keeps tensor '%s', which is %s already; the output would have two schemes",
                       p->src->path, p->src->t[i].name, g->scheme->name);
    bool whole = w->to || w->form || w->weight_layout || w->scale_layout;
    if (whole && i != g->weight)
        return 0; /* with its weight */
    if (w->form)
        return pack_group(p, g, w, e);
    if (w->weight_layout || w->scale_layout)
        return pack_sentence(p, g, w, e);
    if (w->to)
        return recode_group(p, g, w, e);
    if (w->plain == DT_COUNT || a == ACTION_KEEP)
        return keep(p, i, w, e);
    if (i == g->zero)
        return add_check_zero(p, i, e);
    return i == g->weight ? add_decode(p, i, g->scale, g->scheme, w->plain, e) : 0;
}

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
        count[op_last(&p->op[i]) + 1]++;
    for (size_t i = 0; i < p->src->n; i++)
        count[i + 1] += count[i];
    for (size_t i = 0; i < p->nops; i++)
        tmp[count[op_last(&p->op[i])]++] = p->op[i];
    if (p->nops)
        memcpy(p->op, tmp, p->nops * sizeof *tmp);
    free(tmp);
    free(count);
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = 0; k < p->op[i].nout; k++)
            p->out[p->op[i].out[k]].op = i;
    return 0;
}

static int sum_up(struct plan *p, struct err *e)
{
    bool *used = mem_alloc(p->src->n, sizeof *used, e);
    uint64_t now = 0;
    size_t pos = 0;
    if (!used)
        return -1;
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = 0; k < p->op[i].nin; k++)
            used[p->op[i].in[k]] = true;
    for (size_t i = 0; i < p->nops; i++) {
        const struct op *op = &p->op[i];
        uint64_t in = 0, box = op->box_rows * op->box_cols;
        for (unsigned k = 0; k < op->nin; k++)
            in += p->src->t[op->in[k]].size;
        p->bytes_in += in;
        for (unsigned k = 0; k < op->nout; k++)
            p->bytes_out += p->out[op->out[k]].t.size;
        enum dtype t = op->nin ? p->src->t[op->in[0]].dtype : DT_U8;
        if (op->x == &xform_copy)
            box *= op->flat ? 1 : row_bytes(t, 1);
        else
            box = row_bytes(t, op->box_cols) * op->box_rows + box * (op->nout ? row_bytes(p->out[op->out[0]].t.dtype, 1) : 1);
        p->box_bytes = max_u64(p->box_bytes, box);
        if (p->src->random || !op->nin)
            continue;
        for (; pos <= op_last(op); pos++)
            if (used[pos] && !(pos == op_last(op) && op_streams(op)))
                now += p->src->t[pos].size;
        p->held = max_u64(p->held, now);
        now -= op_streams(op) ? in - p->src->t[op->in[0]].size : in;
    }
    free(used);
    return 0;
}

int plan_make(struct plan *p, struct model *src, const struct wanted *w, struct err *e)
{
    *p = (struct plan){.src = src};
    if (grouping_read(src, true, &p->group, e))
        goto fail;
    if ((w->form || w->weight_layout || w->scale_layout) && !p->group.n) {
        (void)err_set(e, ERR_INPUT, "%s: nothing in this model is quantized, so there is nothing to pack (run octavo "
                      "quantize first)", src->path);
        goto fail;
    }
    const char *const left = src->container == CONTAINER_TORCH ? model_meta(src, "torch.left_out") : NULL;
    if (left && plan_note(p, arena_printf(&p->mem, e, "left out: %s", left), e))
        goto fail;
    for (size_t i = 0; i < src->n; i++)
        if (p->group.part[i] == PART_PLAIN ? plain_tensor(p, i, w, e) : quantized_tensor(p, i, w, e))
            goto fail;
    if (order_ops(p, e) || sum_up(p, e))
        goto fail;
    return 0;
fail:
    plan_free(p);
    return -1;
}
