/* Scales beside the largest magnitudes of their blocks: which rule made them, and where they are not what it makes. */
#include "calibrate/inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the rules, as one list ------------------------------------------------------------------- */
enum { RULES_MAX = 64, RARE = 4 /* a rule explains most scales when it fails for one of so many at most */ };
struct rule_of {
    const struct scale_rule *pow2;   /* or */
    const struct scale_rule_f32 *f32;
    bool bf16;
};

/* Rule k of those for a type; false: there are no more. */
static bool rule_at(enum dtype elem, size_t k, struct rule_of *r)
{
    *r = (struct rule_of){0};
    if (k >= RULES_MAX)
        return false;
    for (size_t i = 0; i < scale_rule_count; i++)
        if ((scale_rules[i].elem == DT_COUNT || scale_rules[i].elem == elem) && !k--)
            return (r->pow2 = &scale_rules[i]) != NULL;
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (size_t i = 0; i < scale_rule_f32_count; i++)
            if (scale_rules_f32[i].elem == elem && !k--) {
                *r = (struct rule_of){NULL, &scale_rules_f32[i], bf16};
                return true;
            }
    return false;
}

const char *inspect_rule_name(enum dtype elem, size_t k, bool *bf16)
{
    struct rule_of r;
    const bool there = rule_at(elem, k, &r);
    *bf16 = r.bf16 || (r.f32 && r.f32->bf16);
    return !there ? NULL : r.pow2 ? r.pow2->name : r.f32->name;
}

/* Does a rule that is possible have its ties rounded like that? */
bool inspect_rule_ties(const struct inspection *l, enum round_mode mode)
{
    static const char *const mark[ROUNDINGS] = {[ROUND_AWAY] = "-away", [ROUND_DOWN] = "-down"};
    struct rule_of r;
    for (size_t k = 0; rule_at(l->elem, k, &r); k++) {
        const char *num = r.pow2 ? r.pow2->num : r.f32->num;
        if (l->rules >> k & 1 && num && mark[mode] && (strstr(num, mark[mode]) || (mode == ROUND_DOWN && strstr(num, "-modelopt"))))
            return true;
    }
    return false;
}

static float scale_by(const struct rule_of *r, float amax, const struct num *num)
{
    if (r->pow2)
        return ue8m0_decode(r->pow2->code(amax, num));
    return r->bf16 ? bf16_decode(bf16_encode(r->f32->scale(amax))) : r->f32->scale(amax);
}

/* ---- one tensor ---------------------------------------------------------------------------------- */
struct grid {
    const struct inspector *i;
    const struct values *v;
    enum dtype type;                 /* of the scales as stored */
};

/* Is it what a rule's scale becomes where it is stored: rounded to nearest, or up, so that nothing saturates (encode.c)? */
static bool stored(enum dtype type, float want, float have)
{
    if (type != DT_BF16 && type != DT_F16)
        return have == want;
    const uint16_t h = type == DT_BF16 ? bf16_encode(want) : f16_encode(want);
    const float near = type == DT_BF16 ? bf16_decode(h) : f16_decode(h);
    const uint16_t up = (uint16_t)(near < want ? h + 1 : h);
    return have == near || have == (type == DT_BF16 ? bf16_decode(up) : f16_decode(up));
}

static bool right(const struct grid *g, const struct rule_of *rule, uint64_t scale, uint64_t block)
{
    const float amax = f32_from(g->i->block[block].amax);
    return stored(g->type, scale_by(rule, amax, g->i->num), values_scale(g->v, scale));
}

static struct place place_at(const struct inspector *i, uint64_t block)
{
    return (struct place){block / (i->brows * i->bcols), block / i->bcols % i->brows, block % i->bcols};
}

/* Every scale is right for the block on the other side of the diagonal. */
static bool transposed(const struct grid *g, const struct rule_of *rule)
{
    const uint64_t n = g->i->brows;
    if (n != g->i->bcols || n < 2)
        return false;
    for (uint64_t k = 0; k < g->i->batches; k++)
        for (uint64_t r = 0; r < n; r++)
            for (uint64_t c = 0; c < n; c++)
                if (!right(g, rule, (k * n + r) * n + c, (k * n + c) * n + r))
                    return false;
    return true;
}

static bool row_right(const struct grid *g, const struct rule_of *rule, uint64_t scales, uint64_t blocks)
{
    for (uint64_t c = 0; c < g->i->bcols; c++)
        if (!right(g, rule, scales * g->i->bcols + c, blocks * g->i->bcols + c))
            return false;
    return true;
}

/* Every row of scales that is wrong is that of another such row of blocks. */
static bool rows_exchanged(const struct grid *g, const struct rule_of *rule, uint64_t swapped[2])
{
    enum { MOST = 64 };
    uint64_t row[MOST], n = 0, all = g->i->batches * g->i->brows;
    for (uint64_t r = 0; r < all; r++) {
        if (row_right(g, rule, r, r))
            continue;
        if (n == MOST)
            return false;
        row[n++] = r;
    }
    for (uint64_t a = 0; a < n; a++) {
        uint64_t b = 0;
        while (b < n && (b == a || !row_right(g, rule, row[a], row[b])))
            b++;
        if (b == n)
            return false;
        if (!a) {
            swapped[0] = row[a];
            swapped[1] = row[b];
        }
    }
    return n > 1;
}

static void look_at_rules(const struct grid *g, bool pow2)
{
    const struct inspector *i = g->i;
    struct inspection *to = i->to;
    const uint64_t blocks = to->blocks;
    uint64_t off[RULES_MAX] = {0}, first[RULES_MAX] = {0};
    struct rule_of r;
    to->ruled = true;
    for (size_t k = 0; rule_at(to->elem, k, &r); k++) {
        if (!r.pow2 && pow2) {
            off[k] = UINT64_MAX;
            continue;
        }
        for (uint64_t b = 0; b < blocks && off[k] <= blocks / RARE; b++)
            if (!right(g, &r, b, b) && !off[k]++)
                first[k] = b;
        to->rules |= off[k] ? 0 : (uint64_t)1 << k;
    }
    for (size_t k = 0; !to->rules && rule_at(to->elem, k, &r); k++)
        if (off[k] <= blocks / RARE && (to->most == SIZE_MAX || off[k] < off[to->most]))
            to->most = k;
    if (to->most != SIZE_MAX && rule_at(to->elem, to->most, &r)) {
        const uint64_t b = first[to->most];
        const float want = scale_by(&r, f32_from(i->block[b].amax), i->num), have = values_scale(g->v, b);
        to->off_blocks = off[to->most];
        to->first_off = place_at(i, b);
        to->off_by = have > 0 && want > 0 ? (int)lroundf(log2f(have) - log2f(want)) : 0;
    }
    for (size_t k = 0; !to->rules && !to->grid && rule_at(to->elem, k, &r); k++) {
        if (off[k] == UINT64_MAX)
            continue;
        to->grid = transposed(g, &r) ? GRID_TRANSPOSED : rows_exchanged(g, &r, to->swapped) ? GRID_ROWS : GRID_RIGHT;
        to->most = to->grid ? k : to->most;
    }
}

static void count_codes(const struct inspector *i, const struct values *v)
{
    struct inspection *to = i->to;
    const int lowest = ilogbf(i->num->min);
    to->binades = (unsigned)(ilogbf(i->num->max) - lowest + 1);
    for (int c = 0; c < 256; c++) {
        const float x = fabsf(v->code[c]);
        const uint64_t n = i->count[c];
        to->codes += n;
        if (i->rank[c] == INSPECT_NO_RANK) {
            to->nan += n;
            continue;
        }
        to->zero += x == 0 ? n : 0;
        to->subnormal += x > 0 && x < i->num->min_normal ? n : 0;
        to->largest += x >= i->num->max ? n : 0;
        const int binade = x > 0 ? ilogbf(x) - lowest : -1;
        if (binade >= 0 && binade < INSPECT_BINADES)
            to->binade[binade] += n;
    }
}

static void count_block(const struct inspector *i, uint64_t b, float scale)
{
    struct inspection *to = i->to;
    const struct block_seen *s = &i->block[b];
    const struct place at = place_at(i, b);
    const float top = i->size_value[s->top];
    const bool none = top == 0;
    to->zero_blocks += none;
    if (none && s->amax) {
        to->lost_blocks++;
        to->first_lost = place_is(&to->first_lost) ? to->first_lost : at;
    }
    if (s->largest > s->n / 4) {
        to->full_blocks++;
        to->first_full = place_is(&to->first_full) ? to->first_full : at;
    }
    to->top_blocks += s->largest > 0;
    if (!none && top < i->num->max / 2) {
        to->low_blocks++;
        to->first_low = place_is(&to->first_low) ? to->first_low : at;
    }
    if (!(scale >= 0) || isinf(scale) || (scale == 0 && !none)) {
        if (!to->bad_scales++) {
            to->first_bad = at;
            to->bad = scale;
        }
        return;
    }
    to->exponent[f32_bits(scale) >> 23 & 255]++;
    if (scale > 0 && ue8m0_exact(scale) < 0) {
        const float mantissa = f32_from((f32_bits(scale) & 0x7fffff) | 0x3f800000);
        to->factor = to->odd_scales++ ? (to->factor == mantissa ? mantissa : 0) : mantissa;
    }
}

void inspect_finish(struct inspector *i, const struct values *v)
{
    const struct group *g = v->group;
    const struct grid grid = {i, v, v->side[SIDE_SCALE] ? scale_type(v->model->t[g->of[PART_SCALE]].dtype, g->scheme) : DT_COUNT};
    struct inspection *to = i->to;
    to->elem = v->view->elem;
    to->blocks = i->batches * i->brows * i->bcols;
    count_codes(i, v);
    for (uint64_t b = 0; b < to->blocks; b++)
        count_block(i, b, values_scale_used(v, b / (i->brows * i->bcols), b));
    const bool plain = v->side[SIDE_SCALE] && !v->side[SIDE_GLOBAL] && g->constant == 0;
    if (to->compared && plain)
        look_at_rules(&grid, grid.type == DT_F8_E8M0);
}
