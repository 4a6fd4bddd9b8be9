#include "quantizers/fit.h"

#include "quantizers/plan.h"

#include <math.h>
#include <string.h>

/* ---- weights ------------------------------------------------------------------------ */

/* What becomes of weight `name`: quantized, or kept? */
static bool is_quantized(const struct tensor *t, const struct group *g, const struct rules *rules, const struct target_role *r,
                         const struct matrix *m)
{
    const char *why;
    const struct rule *rule = rules_find(rules, g ? g->name : t->name);
    if (!r->scheme || m->rows % r->row_multiple || m->cols % r->col_multiple
        || (r->scheme->block_rows == 1 && r->scheme->block_cols && m->cols % r->scheme->block_cols))
        return false;
    if (rule && rule->action == ACTION_DECODE)
        return false;
    if (g)
        return true;
    return t->rank >= 2 && (!rule || rule->action == ACTION_QUANTIZE) && rules_linear(t, &why);
}

/* Can a weight of this size be cut into `parts`? Vocabularies that do not divide are padded by servers. */
static bool can_cut(const struct cut_of *c, const struct matrix *m, const struct target_role *r, bool quantized, uint64_t parts)
{
    struct cut_units u = {1, 1};
    if (quantized)
        u = (struct cut_units){lcm_u64(r->scheme->block_rows ? r->scheme->block_rows : 1, r->row_multiple),
                               lcm_u64(r->scheme->block_cols ? r->scheme->block_cols : 1, r->col_multiple)};
    return cut_parts(c, m->rows, m->cols, &u, parts) > 0 || (!quantized && !c->units);
}

static uint64_t layer_of(const char *name)
{
    const char *at = strstr(name, "layers.");
    uint64_t n = 0;
    for (at = at ? at + 7 : ""; *at >= '0' && *at <= '9'; at++)
        n = n * 10 + (uint64_t)(*at - '0');
    return n;
}

static void measure_one(const struct tensor *t, const struct group *g, const struct rules *rules,
                        const struct target_form *f, const struct heads *h, bool tied, struct fit_weights *w)
{
    const char *name = g ? g->name : t->name;
    const struct view v = g ? g->view : view_of(t);
    const struct matrix x = view_matrix(&v);
    const struct target_role *r = form_role(f, name);
    const bool quantized = is_quantized(t, g, rules, r, &x);
    const struct cut_of c = cut_of(name, h);
    double codes = (double)x.batch * (double)x.rows * (double)x.cols, scales = 0;
    if (quantized) {
        uint64_t rows, cols;
        scheme_scale_shape(r->scheme, x.rows, x.cols, &rows, &cols);
        codes = codes * r->scheme->bits / 8;
        if (r->scheme->scale != DT_COUNT)
            scales = (double)x.batch * (double)rows * (double)cols * (double)dtype_table[r->scheme->scale].block_bytes;
        w->quantized++;
        w->codes += codes;
        w->scales += scales;
    } else {
        /* Codes of a weight that is kept are decoded to BF16. */
        codes = g ? codes * 2 : f->plain != DT_COUNT && t->rank > 1 && dtype_is_block(t->dtype) ? codes * 2 : (double)t->size;
        w->plain += codes;
        w->kept += t->rank > 1;
    }
    const double bytes = codes + scales;
    const bool more = h->layers && strstr(name, "layers.") && layer_of(name) >= h->layers; /* predicts further tokens */
    const bool lookup = !tied && strstr(name, "embed_tokens") != NULL; /* of a row per token; tied: the output head, too */
    const double read = more || lookup ? 0 : bytes;
    if (c.expert && (x.batch > 1 || expert_number(name) >= 0)) {
        w->expert += bytes;
        w->expert_read += read;
    } else if (c.cut != CUT_NONE) {
        w->cut += bytes;
        w->cut_read += read;
    } else {
        w->whole += bytes;
        w->whole_read += read;
    }
    for (int i = 0; i < FIT_POWERS; i++) {
        const bool yes = can_cut(&c, &x, r, quantized, UINT64_C(1) << i);
        bool *all = c.expert ? &w->cuts_experts[i] : &w->cuts[i];
        if (!yes && *all && !c.expert)
            w->uncut[i] = name;
        *all &= yes;
    }
}

int fit_measure(const struct model *m, const struct grouping *g, const struct rules *rules,
                const struct target_form *f, const struct heads *h, struct fit_weights *w, struct err *e)
{
    bool tied = true;
    *w = (struct fit_weights){0};
    for (size_t i = 0; i < m->n; i++)
        tied &= !strstr(m->t[i].name, "lm_head.");
    for (int i = 0; i < FIT_POWERS; i++)
        w->cuts[i] = w->cuts_experts[i] = true;
    for (size_t i = 0; i < m->n; i++) {
        if (grouping_has(g, i) && g->part[i] != PART_WEIGHT)
            continue;
        const struct group *own = g->part[i] == PART_WEIGHT ? &g->g[g->group[i]] : NULL;
        if (!own && g->part[i] != PART_PLAIN)
            continue;
        measure_one(&m->t[i], own, rules, f, h, tied, w);
    }
    return w->codes + w->plain > 0 ? 0 : err_set(e, ERR_INPUT, "%s: there is no weight in it", m->path);
}

/* ---- cards -------------------------------------------------------------------------- */
static int log2_of(uint32_t n)
{
    int i = 0;
    while ((UINT32_C(1) << i) < n)
        i++;
    return (UINT32_C(1) << i) == n && i < FIT_POWERS ? i : -1;
}

/* What a card keeps of one sequence, and what a step reads of that. */
struct cache { double bytes, read; };

static struct cache cache_of(const struct heads *h, const struct fit_options *o, uint32_t tp)
{
    const double share = h->latent ? 1 : 1 / fmin(tp, h->kv ? (double)h->kv : 1);
    const double near = (double)h->windowed * fmin(o->context, (double)h->window), full = (double)h->full * o->context;
    const double met = h->top_tokens ? fmin(full, (double)h->full * (double)h->top_tokens) : full;
    const double keys = (double)h->kv_elements * share * o->kv_bytes, index = (double)h->index_elements * o->kv_bytes;
    const double state = h->linear ? (double)h->linear * (double)h->state / fmin(tp, (double)h->state_heads) : 0;
    return (struct cache){(keys + index) * (full + near) + state, keys * (met + near) + index * (full + near) + state};
}

/* One way to share out; false when it is not possible at all. */
static bool share_out(const struct fit_weights *w, const struct heads *h, const struct fit_options *o, uint32_t cards,
                      uint32_t tp, struct fit_result *r)
{
    const int i = log2_of(tp), n = log2_of(cards);
    const bool moe = w->expert > 0;
    if (i < 0 || cards % tp || !w->cuts[i] || (!moe && tp != cards))
        return false;
    *r = (struct fit_result){.cards = cards, .tp = tp, .dp = cards / tp};
    /* Experts go whole to a card each, as far as they divide; else all of them are cut, or some cards have one more. */
    double experts = 1.0 / cards;
    if (moe && h->experts && h->experts % cards) {
        r->experts_cut = n >= 0 && w->cuts_experts[n];
        if (!r->experts_cut && h->experts < cards)
            return false;
        if (!r->experts_cut) {
            r->experts_most = h->experts / cards + 1;
            experts = (double)r->experts_most / (double)h->experts;
        }
    }
    const double sequences = ceil(o->batch / r->dp);
    struct cache c = cache_of(h, o, tp);
    r->kv_token = (double)(h->kv_elements + h->index_elements) * (double)(h->full + h->windowed) * o->kv_bytes;
    r->state = (double)h->state * (double)h->linear;
    r->weights = w->expert * experts + w->cut / tp + w->whole;
    r->kv = c.bytes * sequences;
    r->overhead = o->overhead;
    r->room = o->memory * o->usable - o->overhead;
    r->fits = r->weights + r->kv <= r->room;
    const double met = h->experts && h->per_token ? 1 - pow(1 - (double)h->per_token / (double)h->experts, o->batch) : 1;
    r->read = w->expert_read * met * experts + w->cut_read / tp + w->whole_read + c.read * sequences;
    if (o->bandwidth > 0)
        r->tokens = o->batch / (r->read / o->bandwidth);
    if (o->power > 0)
        r->per_joule = r->tokens / (o->power * cards);
    return true;
}

static bool better(const struct fit_result *a, const struct fit_result *b)
{
    if (a->fits != b->fits)
        return a->fits;
    if (a->fits)
        return a->read < b->read;
    return a->weights + a->kv < b->weights + b->kv;
}

void fit_solve(const struct fit_weights *w, const struct heads *h, const struct fit_options *o, uint32_t tp_max,
               struct fit_result *r)
{
    struct fit_result x, best = {0}, fewer = {0};
    bool any = false;
    for (uint32_t cards = o->cards ? o->cards : 1; cards <= 1 << (FIT_POWERS - 1) && !best.fits; cards *= 2) {
        fewer = best;
        for (uint32_t tp = 1; tp <= cards; tp *= 2) {
            if ((o->tp && tp != o->tp) || (tp_max && tp > tp_max) || !share_out(w, h, o, cards, tp, &x))
                continue;
            if (!any || better(&x, &best))
                best = x;
            any = true;
        }
        if (o->cards)
            break;
    }
    *r = best;
    if (best.fits && !o->cards && best.cards > 1) {
        r->why_more = fewer.cards != best.cards / 2 ? "no way to cut the weights"
                    : fewer.weights > fewer.room ? "weights" : "the KV cache";
        r->fewer_weights = fewer.weights;
        r->fewer_kv = fewer.kv;
    }
    r->why = !any ? "no way to cut the weights" : best.fits ? NULL : best.weights > best.room ? "weights" : "the KV cache";
}
