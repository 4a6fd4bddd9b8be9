/* Which way leads from codes and scales to those of another scheme: with the codes as they are, by their values, or by rounding them
 * a second time. */
#include "quantizers/plan_parts.h"

#include <stdlib.h>

/* ---- what the scales are -------------------------------------------------------- */
static bool has_values(enum dtype t) { return t == DT_F32 || t == DT_BF16 || t == DT_F16; }

static bool is_power(uint32_t u, uint32_t mantissa)
{
    const uint32_t exponent = u >> 23;
    return (u & 0x807fffff) == mantissa && exponent >= 1 && exponent <= 254;
}

static bool is_code(float scale) { return ue8m0_exact(scale) >= 0; }

/* Looks at every scale of a group. A pipe cannot be looked at ahead: what its scheme says is believed, and checked when
 * the scales arrive; so is what a packed file says. */
int plan_scan_scales(struct plan *p, const struct group *g, struct plan_scan *x, struct err *e)
{
    const size_t i = g->of[PART_SCALE];
    *x = (struct plan_scan){.kind = g->scheme->scale == DT_F8_E8M0 ? KIND_POW2 : KIND_OTHER, .factor = 1, .at = UINT64_MAX};
    if (i == NO_TENSOR || !has_values(p->src->t[i].dtype) || !p->src->random || p->src->t[i].stored)
        return 0;
    const struct tensor *t = &p->src->t[i];
    const uint64_t n = tensor_elems(t);
    struct scratch tmp = {0};
    uint8_t *data = box_whole(&(struct source){p->src, i, NULL, NULL}, &tmp, e);
    scratch_free(&tmp);
    if (!data)
        return -1;
    const uint32_t mantissa = n ? f32_bits(scale_value(data, t->dtype, 0)) & 0x7fffff : 0;
    bool same = true;
    x->kind = KIND_POW2;
    for (uint64_t k = 0; k < n; k++) {
        const float value = scale_value(data, t->dtype, k);
        same &= is_power(f32_bits(value), mantissa);
        if (x->kind == KIND_POW2 && !is_code(value)) {
            x->kind = KIND_OTHER;
            x->at = k;
            x->value = value;
        }
    }
    if (x->kind == KIND_OTHER && same)
        x->kind = KIND_FACTOR;
    x->factor = f32_from(127u << 23 | mantissa);
    free(data);
    return 0;
}

/* ---- ways -------------------------------------------------------------------- */
bool plan_finer(const struct scheme *from, const struct scheme *to)
{
    if (from->elem != to->elem || from->bits != to->bits || from->zero_point != to->zero_point
        || from->two_level != to->two_level)
        return false;
    if (from->block_rows == to->block_rows && from->block_cols == to->block_cols)
        return true;
    return from->block_rows && from->block_cols && to->block_rows && to->block_cols
        && from->block_rows % to->block_rows == 0 && from->block_cols % to->block_cols == 0;
}

static bool same_block(const struct scheme *a, const struct scheme *b)
{
    return a->block_rows == b->block_rows && a->block_cols == b->block_cols;
}

bool plan_is_fnuz(const struct scheme *from, const struct scheme *to)
{
    return from->elem == DT_F8_E4M3 && to->elem == DT_F8_E4M3FNUZ && !from->two_level;
}

/* Can scales of type `to` hold those of a kind exactly? */
static bool scales_fit(const struct scheme *from, enum plan_kind kind, const struct scheme *to)
{
    if (to->scale == DT_F8_E8M0)
        return kind == KIND_POW2; /* whatever the scheme is called */
    return from->scale == to->scale || to->scale == DT_F32 || (to->scale == DT_BF16 && kind == KIND_POW2)
        || (to->scale == DT_F16 && kind == KIND_POW2); /* F16 has fewer exponents: checked one by one */
}

enum plan_way plan_way_of(const struct group *g, enum plan_kind kind, const struct scheme *to)
{
    const struct scheme *from = g->scheme;
    /* A global scale that is no second level (W8A8 of ascend-v1) goes into the others. */
    const bool simple = g->of[PART_GLOBAL] == NO_TENSOR || from == to || !from->two_level;
    struct scheme as = *to;
    if (plan_is_fnuz(from, to))
        as.elem = from->elem;
    if (simple && g->of[PART_ORDER] == NO_TENSOR && plan_finer(from, &as) && scales_fit(from, kind, to))
        return WAY_CODES;
    const bool floats = !scheme_int(from) && !scheme_int(to) && to->elem != DT_HIF8;
    const bool powers = kind == KIND_POW2 && (to->scale == DT_F8_E8M0 || to->scale == DT_F32 || to->scale == DT_BF16);
    if (floats && powers && g->of[PART_GLOBAL] == NO_TENSOR && (from->bits < to->bits || from->elem == to->elem))
        return WAY_VALUES;
    const bool e4m3 = from->elem == DT_F8_E4M3 && to->elem == DT_F8_E4M3 && to->scale == DT_F8_E8M0;
    return e4m3 && same_block(from, to) && from->block_cols && from->block_rows ? WAY_REQUANT : WAY_ROUND;
}
