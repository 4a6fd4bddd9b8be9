/* What a convention wants for a quantized weight: its tensors, and those of them
 * that no code or scale goes into. */
#include "quantizers/plan_parts.h"

#include "quantizers/num.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

int plan_outputs(struct plan *p, const char *name, const struct view *v, const struct scheme *s,
                 const struct wanted *w, struct out_tensor out[OUT_PARTS], size_t *n, struct err *e)
{
    struct weight x = {name, v->rank, v->dim, s, w->activation};
    *n = 0;
    if (w->activation_given ? !w->convention->accepts || !w->convention->accepts(s, w->activation)
                            : !convention_takes(w->convention, s, &x.activation))
        return err_set(e, ERR_USAGE, "tensor '%s': the convention %s has no place for %s%s", name,
                       w->convention->name, s->name, w->activation_given ? " with such activations" : "");
    return w->convention->outputs(&x, &p->mem, out, n, e);
}

bool plan_is_fixed(const struct out_tensor *o)
{
    return o->part == PART_GLOBAL && o->scheme && !o->scheme->two_level;
}

/* The scale of fixed activations is a part of the scales that are stored, in BF16, in which servers use it. */
int plan_fix(struct plan *p, const struct group *g, struct out_tensor *out, size_t n, const struct wanted *w, struct err *e)
{
    struct out_tensor *global = plan_part(out, n, PART_GLOBAL), *scale = plan_part(out, n, PART_SCALE);
    if (!global || !scale || !plan_is_fixed(global) || (g && g->of[PART_GLOBAL] != NO_TENSOR))
        return 0;
    const size_t stem = strlen(global->weight) - (ends_with(global->weight, ".weight") ? strlen(".weight") : 0);
    const char *name = arena_printf(&p->mem, e, "%.*s.input_scale", (int)stem, global->weight);
    size_t i;
    float x;
    if (!name)
        return -1;
    const struct model *from = w->activations && map_find(&w->activations->by_name, name, &i) ? w->activations : NULL;
    if (!from && g && p->src->random && g->scheme->elem == global->scheme->elem && map_find(&p->src->by_name, name, &i))
        from = p->src; /* codes of the same kind have one beside them that is for such activations */
    if (!from)
        return err_set(e, ERR_INPUT, "'%s' needs '%s' for its static activations, which neither %s nor --activation-scales has",
                       global->weight, name, p->src->path);
    const struct tensor *t = &from->t[i];
    if (t->dtype != DT_F32 || tensor_elems(t) != 1)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s with %llu elements, and one F32 is wanted", from->path, name,
                       dtype_name(t->dtype), (unsigned long long)tensor_elems(t));
    if (model_read((struct model *)from, i, 0, &x, 4, e))
        return -1;
    const float rounded = bf16_decode(bf16_encode(x));
    if (!(rounded > 0) || isinf(rounded))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %g, which is no scale", from->path, name, (double)x);
    global->times = scale->times = rounded;
    return 0;
}

struct out_tensor *plan_part(struct out_tensor *out, size_t n, enum part part)
{
    for (size_t i = 0; i < n; i++)
        if (out[i].part == part)
            return &out[i];
    return NULL;
}

/* A tensor whose bytes are known now. */
static int add_bytes(struct plan *p, size_t place, const struct out_tensor *as, const void *bytes, size_t n,
                     struct err *e)
{
    struct op *op = plan_op(p, &xform_known, p->src, place, e);
    void *copy = arena_alloc(&p->mem, n + 1, e);
    if (!op || !copy || !plan_output(p, as, e))
        return -1;
    if (bytes)
        memcpy(copy, bytes, n);
    op->ctx = copy;
    op->flat = true;
    op->m = (struct matrix){1, 1, n};
    return op_cut(op, &(struct grain){1, 1, {.elem = DT_U8}, NULL, NULL, false}, e);
}

/* Zeros, or ones. */
static int add_fill(struct plan *p, size_t place, const struct out_tensor *as, float fill, struct err *e)
{
    struct op *op = plan_op(p, &xform_zero, p->src, place, e);
    if (!op || !plan_output(p, as, e))
        return -1;
    op->factor = fill;
    op->dtype = as->dtype;
    op->m = tensor_matrix(&p->out[p->nout - 1].t);
    return op_cut(op, &(struct grain){1, 1, {.elem = as->dtype}, NULL, NULL, false}, e);
}

/* Is the scale that lies beside the weight at `place` one for activations of the same type? (E4M3: amax / 448, ...) */
static bool same_activations(const struct plan *p, size_t place, const struct scheme *to)
{
    const struct scheme *from = grouping_has(&p->group, place) ? p->group.g[p->group.group[place]].scheme : NULL;
    return from && from->elem == to->elem && from->two_level == to->two_level;
}

/* An activation's tensor: the source's own of that name, or one that the user gave. */
static int add_aux(struct plan *p, size_t place, const struct out_tensor *as, const struct wanted *w,
                   struct err *e)
{
    size_t i;
    if (same_activations(p, place, as->scheme) && map_find(&p->src->by_name, as->name, &i)) {
        struct out_tensor o = out_same(&p->src->t[i], PART_AUX);
        o.scheme = as->scheme;
        o.activation = as->activation;
        o.weight = as->weight;
        return plan_copy(p, i, &o, NULL, e);
    }
    if (!w->activations || !map_find(&w->activations->by_name, as->name, &i))
        return err_set(e, ERR_INPUT, "'%s' needs '%s' for its static activations, which neither %s nor "
                       "--activation-scales has", as->weight, as->name, p->src->path);
    const struct tensor *t = &w->activations->t[i];
    uint8_t bytes[8];
    if (t->dtype != as->dtype || tensor_elems(t) != 1 || t->size > sizeof bytes)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s, and one %s is wanted", w->activations->path,
                       t->name, dtype_name(t->dtype), dtype_name(as->dtype));
    return model_read((struct model *)w->activations, i, 0, bytes, t->size, e)
        || add_bytes(p, place, as, bytes, t->size, e) ? -1 : 0;
}

/* Activations that are to be called symmetric must be so: what stands for zero among them is 0
 * (compressed-tensors' input_zero_point, ascend-v1's input_offset), unless it is carried over itself. */
static int check_symmetric(struct plan *p, const struct out_tensor *scale, const struct out_tensor *out,
                           size_t n, struct err *e)
{
    static const char *const zero[] = {"zero_point", "offset"};
    const size_t stem = strlen(scale->name) - strlen("scale");
    for (size_t k = 0; k < 2; k++) {
        size_t i;
        bool carried = false;
        char *name = arena_printf(&p->mem, e, "%.*s%s", (int)stem, scale->name, zero[k]);
        if (!name)
            return -1;
        for (size_t o = 0; o < n; o++)
            carried |= !strcmp(out[o].name, name);
        if (!carried && map_find(&p->src->by_name, name, &i) && plan_check_zero(p, i, e))
            return -1;
    }
    return 0;
}

static bool has_bias(const struct plan *p, const struct out_tensor *o)
{
    char name[1024];
    size_t i;
    snprintf(name, sizeof name, "%.*s.bias", (int)(strlen(o->name) - strlen(".quant_bias")), o->name);
    return map_find(&p->src->by_name, name, &i);
}

int plan_rest(struct plan *p, size_t place, const struct view *v, const struct out_tensor *out, size_t n,
                    const struct wanted *w, struct err *e)
{
    const struct matrix m = view_matrix(v);
    const int64_t shape[2] = {(int64_t)(m.batch * m.rows), (int64_t)m.cols};
    for (size_t i = 0; i < n; i++) {
        int r = 0;
        if (out[i].part == PART_ZERO && ends_with(out[i].name, ".quant_bias") && has_bias(p, &out[i]))
            r = err_set(e, ERR_INPUT, "'%s' has a bias, which this version does not put into '%s' (a rule can keep it, or take other activations)",
                        out[i].weight, out[i].name);
        else if (out[i].part == PART_ZERO || out[i].part == PART_ONE)
            r = add_fill(p, place, &out[i], out[i].part == PART_ONE, e);
        else if (plan_is_fixed(&out[i]) && out[i].times != 0)
            r = add_bytes(p, place, &out[i], &out[i].times, 4, e);
        else if (out[i].part == PART_SHAPE)
            r = add_bytes(p, place, &out[i], shape, sizeof shape, e);
        else if (out[i].part == PART_AUX)
            r = add_aux(p, place, &out[i], w, e)
             || (ends_with(out[i].name, ".input_scale") && check_symmetric(p, &out[i], out, n, e));
        if (r)
            return -1;
    }
    return 0;
}
