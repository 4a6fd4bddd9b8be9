/* The ledger: nothing may be lost.  Every tensor of the source, as its files have
 * it, is mapped, copied, merged into another one, or dropped for a reason that is
 * said; a tensor that nothing in the plan takes is an error. */
#include "quantizers/plan_parts.h"

#include "formats/config_json.h"
#include "formats/derived.h"
#include "formats/fused.h"

#include <stdlib.h>
#include <string.h>

const char *fate_name(enum fate f)
{
    static const char *const name[FATE_COUNT] = {"lost", "mapped", "copied", "merged", "dropped"};
    return name[f];
}

/* Outputs that have something of tensor i, op by op. */
struct reads {
    size_t *first;     /* of tensor i: out[first[i]] .. out[first[i + 1] - 1] */
    size_t *out;
};

/* The tensors that an op is for: those that it reads, or its place when it reads none of the source. */
static unsigned tensors_of(const struct plan *p, const struct op *op, size_t of[1 + SIDE_COUNT])
{
    if (!op->nin || op->src != p->src) {
        of[0] = op->place;
        return 1;
    }
    memcpy(of, op->in, op->nin * sizeof *of);
    return op->nin;
}

static int collect(struct plan *p, struct reads *r, struct err *e)
{
    const size_t n = p->src->n;
    size_t of[1 + SIDE_COUNT], *fill = mem_alloc(n + 1, sizeof *fill, e);
    r->first = arena_array(&p->mem, n + 1, sizeof *r->first, e);
    if (!fill || !r->first)
        goto fail;
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = tensors_of(p, &p->op[i], of); k--;)
            r->first[of[k] + 1] += p->op[i].nout;
    for (size_t i = 0; i < n; i++)
        r->first[i + 1] += r->first[i];
    if (!(r->out = arena_array(&p->mem, r->first[n] + 1, sizeof *r->out, e)))
        goto fail;
    memcpy(fill, r->first, n * sizeof *fill);
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = tensors_of(p, &p->op[i], of); k--;)
            for (unsigned o = 0; o < p->op[i].nout; o++)
                r->out[fill[of[k]]++] = p->op[i].out[o];
    free(fill);
    return 0;
fail:
    free(fill);
    return -1;
}

/* What an op that writes tensors of constants says of the tensor they stand beside: nothing. */
static enum fate fate_in(const struct plan *p, const struct op *op, size_t i)
{
    if (!op->nin)
        return FATE_NONE;
    if (!op->nout || (op->src == p->src && op->in[0] != i))
        return FATE_MERGED;
    const struct tensor *t = &p->src->t[i], *o = &p->out[op->out[0]].t;
    return op->x == &xform_copy && !t->stored && !o->stored ? FATE_COPIED : FATE_MAPPED;
}

/* Of several ops the one that does most for a tensor decides. */
static void set_fates(const struct plan *p, enum fate *fate)
{
    size_t of[1 + SIDE_COUNT];
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned k = tensors_of(p, &p->op[i], of); k--;) {
            const enum fate f = fate_in(p, &p->op[i], of[k]);
            if (f && (!fate[of[k]] || f < fate[of[k]]))
                fate[of[k]] = f;
        }
}

static void add_entry(struct plan *p, const struct entry *x)
{
    p->ledger[p->nledger++] = *x;
    p->fates[x->fate]++;
}

/* The name that rules know tensor i by. */
static const char *rule_name(const struct plan *p, size_t i)
{
    const struct grouping *g = &p->group;
    return grouping_has(g, i) && !grouping_cache(g, i) ? g->g[g->group[i]].name : p->src->t[i].name;
}

static size_t weight_of(const struct plan *p, size_t i)
{
    const struct grouping *g = &p->group;
    return grouping_has(g, i) && !grouping_cache(g, i) ? g->g[g->group[i]].of[PART_WEIGHT] : i;
}

/* What became of tensor i of the plan's source. */
static int make_entry(const struct plan *p, const struct wanted *w, const struct reads *r, const enum fate *fate, size_t i,
                      struct entry *x, struct err *e)
{
    const struct tensor *t = &p->src->t[i];
    *x = (struct entry){t->name, fate[i], p->said[i].why, rules_find(w->rules, rule_name(p, i)), r->out + r->first[i],
                        r->first[i + 1] - r->first[i]};
    if (!x->fate)
        x->fate = p->said[i].fate;
    if (!x->fate)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' would be lost: nothing in the plan takes it", p->src->path, t->name);
    if (x->fate == FATE_MERGED && !x->nout) {
        const size_t weight = weight_of(p, i);
        x->out = r->out + r->first[weight];
        x->nout = r->first[weight + 1] - r->first[weight];
    }
    if (x->fate == FATE_MERGED && !x->why)
        x->why = "into its weight";
    if (x->fate == FATE_DROPPED && !x->why && x->rule)
        x->why = x->rule->why;
    if (p->said[i].fate && x->fate != FATE_MERGED && x->fate != FATE_DROPPED)
        x->why = NULL; /* it was said for when no op takes it */
    return 0;
}

/* The same of a tensor that got another name, or several, or became part of a stack. */
static void rename_entry(const struct plan *p, const struct reads *r, const struct named *n, struct entry *x)
{
    if (n->dropped)
        *x = (struct entry){.fate = FATE_DROPPED, .why = n->dropped};
    else if (n->count > 1)
        x->nout = r->first[n->now + n->count] - r->first[n->now];
    else if (tensor_has_pieces(&p->src->t[n->now]) && x->fate != FATE_DROPPED)
        x->fate = FATE_MERGED, x->why = "into a stack";
    x->name = n->was;
}

static int add_tensors(struct plan *p, const struct wanted *w, const struct reads *r, const enum fate *fate, struct err *e)
{
    const struct naming *names = p->src->naming;
    struct entry x = {0};
    for (size_t i = 0; i < p->src->n; i++) {
        if (make_entry(p, w, r, fate, i, &x, e))
            return -1;
        if (!names && !tensor_has_pieces(&p->src->t[i]))
            add_entry(p, &x);
    }
    for (size_t i = 0; names && i < names->n; i++) {
        const struct named *n = &names->tensor[i];
        if (!n->dropped && make_entry(p, w, r, fate, n->now, &x, e))
            return -1;
        rename_entry(p, r, n, &x);
        if (n->was)
            add_entry(p, &x);
    }
    return 0;
}

/* The tensor that X.PIECE became a part of: of its own name, X.weight, or X. */
static int whole_of(struct plan *p, const char *piece, size_t *i, struct err *e)
{
    const char *dot = strrchr(piece, '.');
    const char *stem = arena_strndup(&p->mem, piece, dot ? (size_t)(dot - piece) : strlen(piece), e);
    const char *weight = stem ? arena_printf(&p->mem, e, "%s.weight", stem) : NULL;
    if (!weight)
        return -1;
    return map_find(&p->src->by_name, piece, i) || map_find(&p->src->by_name, weight, i)
        || map_find(&p->src->by_name, stem, i);
}

/* Those whose rows lie in turns in another tensor. */
static int map_fused(const struct plan *p, struct map *in, struct err *e)
{
    for (size_t i = 0; i < p->src->n; i++)
        for (int k = 0; p->src->t[i].fused && k < 2; k++)
            if (map_add(in, p->src->t[i].fused->of[k], i, e) < 0)
                return -1;
    return 0;
}

static int add_pieces(struct plan *p, const struct wanted *w, const struct reads *r, const struct map *fused, struct err *e)
{
    for (size_t k = 0; k < p->src->npieces; k++) {
        const char *name = p->src->piece[k];
        struct entry x = {name, FATE_MERGED, "a piece of a weight that is kept apart", NULL, NULL, 0};
        size_t i = 0;
        const bool in_turns = map_find(fused, name, &i);
        const int found = in_turns ? 1 : whole_of(p, name, &i, e);
        if (found < 0)
            return -1;
        if (in_turns)
            x.why = "rows in turns with those of another";
        if (found) {
            x.rule = rules_find(w->rules, rule_name(p, i));
            x.out = r->out + r->first[i];
            x.nout = r->first[i + 1] - r->first[i];
            if (p->said[i].fate == FATE_DROPPED)
                x.fate = FATE_DROPPED;
        }
        add_entry(p, &x);
    }
    return 0;
}

/* Multi-token prediction: layers after the last one (model.layers.61. of DeepSeek-V3), or mtp.*. */
struct mtp { long long first, end; };

static struct mtp mtp_of(const char *config)
{
    struct err ignored;
    json_t *root = config ? config_parse(config, "config.json", &ignored) : NULL, *text = json_object_get(root, "text_config");
    const json_t *c = json_object_get(root, "num_nextn_predict_layers") ? root : text;
    struct mtp m = {json_integer_value(json_object_get(c, "num_hidden_layers")), 0};
    m.end = m.first > 0 ? m.first + json_integer_value(json_object_get(c, "num_nextn_predict_layers")) : 0;
    json_decref(root);
    return m;
}

static bool is_mtp(const struct mtp *m, const char *name)
{
    const char *s = strstr(name, "layers.");
    char *end;
    if (!strncmp(name, "mtp.", 4) || strstr(name, ".mtp."))
        return true;
    if (!s || (s != name && s[-1] != '.'))
        return false;
    const long long layer = strtoll(s + 7, &end, 10);
    return end > s + 7 && *end == '.' && layer >= m->first && layer < m->end;
}

static int note_mtp(struct plan *p, struct err *e)
{
    const struct mtp m = mtp_of(p->src->config);
    size_t n = 0, fates[FATE_COUNT] = {0};
    const char *first = NULL;
    for (size_t i = 0; i < p->nledger; i++) {
        if (!is_mtp(&m, p->ledger[i].name))
            continue;
        n++;
        fates[p->ledger[i].fate]++;
        if (!first)
            first = p->ledger[i].name;
    }
    if (!n)
        return 0;
    return plan_note(p,
                     arena_printf(&p->mem, e,
                                  "%zu tensor%s for the prediction of further tokens (MTP, '%s' ...): %zu mapped, "
                                  "%zu copied, %zu merged, %zu dropped",
                                  n, n == 1 ? "" : "s", first, fates[FATE_MAPPED], fates[FATE_COPIED], fates[FATE_MERGED],
                                  fates[FATE_DROPPED]),
                     e);
}

int plan_ledger(struct plan *p, const struct wanted *w, struct err *e)
{
    struct reads r = {0};
    enum fate *fate = mem_alloc(p->src->n + 1, sizeof *fate, e);
    p->ledger = arena_array(&p->mem, (p->src->naming ? p->src->naming->n : p->src->n) + p->src->npieces + 1, sizeof *p->ledger, e);
    int bad = !fate || !p->ledger || collect(p, &r, e);
    if (!bad)
        set_fates(p, fate);
    struct map fused = {0};
    bad = bad || add_tensors(p, w, &r, fate, e) || map_fused(p, &fused, e) || add_pieces(p, w, &r, &fused, e) || note_mtp(p, e);
    map_free(&fused);
    free(fate);
    return bad ? -1 : 0;
}
