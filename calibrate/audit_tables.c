/* What names, shapes and config.json say: layers, experts, scales that belong to nothing. */
#include "calibrate/audit.h"
#include "calibrate/audit_shapes.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 4096, EDGE = 10 /* a tensor that more than one layer in so many lacks is not missing */ };

struct member {
    uint32_t layer, i;               /* i: of the tensor */
};
/* Tensors of the same name in each layer: "model.layers." and "mlp.experts.*.gate_proj.weight". */
struct kind {
    const char *stem, *rest;
    struct member *t;                /* once for each expert; by layer, after tally() */
    size_t n, cap;
    uint64_t layers;                 /* one more than the last that has any */
    uint64_t most;                   /* tensors of one layer */
};
struct kinds {
    struct kind *k;
    size_t n, cap;
    struct map by_name;
    struct arena mem;
};

/* The first component of digits at or behind s, preceded by a dot: its number and what follows it; NULL: none. */
static const char *numbered(const char *s, uint64_t *number, const char **after)
{
    for (const char *p = strchr(s, '.'); p; p = strchr(p + 1, '.')) {
        const size_t n = strspn(p + 1, "0123456789");
        if (n && n < 6 && p[1 + n] == '.') {
            *number = strtoull(p + 1, NULL, 10);
            *after = p + 1 + n;
            return p + 1;
        }
    }
    return NULL;
}

static int add_name(struct kinds *x, const char *name, size_t tensor, struct err *e)
{
    const char *after, *behind, *number;
    uint64_t layer, expert;
    size_t i;
    if (!(number = numbered(name, &layer, &after)) || layer >= LAYERS)
        return 0;
    const char *stem = arena_strndup(&x->mem, name, (size_t)(number - name), e);
    const char *inner = numbered(after, &expert, &behind);
    const char *rest = inner ? arena_printf(&x->mem, e, "%.*s*%s", (int)(inner - after - 1), after + 1, behind) : after + 1;
    const char *key = stem && rest ? arena_printf(&x->mem, e, "%s %s", stem, rest) : NULL;
    if (!key)
        return -1;
    if (!map_find(&x->by_name, key, &i)) {
        i = x->n;
        if (mem_grow((void **)&x->k, &x->cap, x->n + 1, sizeof *x->k, e) || map_add(&x->by_name, key, i, e) < 0)
            return -1;
        x->k[x->n++] = (struct kind){.stem = stem, .rest = rest};
    }
    struct kind *k = &x->k[i];
    if (mem_grow((void **)&k->t, &k->cap, k->n + 1, sizeof *k->t, e))
        return -1;
    k->t[k->n++] = (struct member){(uint32_t)layer, (uint32_t)tensor};
    return 0;
}

static int by_layer(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return x->layer != y->layer ? (x->layer > y->layer ? 1 : -1) : (x->i > y->i) - (x->i < y->i);
}

/* How many tensors from number i on are of its layer. */
static size_t run_of(const struct kind *k, size_t i)
{
    size_t n = 1;
    while (i + n < k->n && k->t[i + n].layer == k->t[i].layer)
        n++;
    return n;
}

static void tally(struct kind *k)
{
    qsort(k->t, k->n, sizeof *k->t, by_layer);
    k->layers = (uint64_t)k->t[k->n - 1].layer + 1;
    for (size_t i = 0; i < k->n; i += run_of(k, i))
        k->most = max_u64(k->most, run_of(k, i));
}

static int check_kind(struct audit *a, const struct kind *k, uint64_t layers, struct err *e)
{
    uint64_t have = 0, gap = k->t[0].layer;
    for (size_t i = 0; i < k->n; i += run_of(k, i)) {
        const size_t n = run_of(k, i);
        gap += k->t[i].layer == gap;
        have++;
        if (n < k->most && strchr(k->rest, '*')
            && audit_add(a, FINDING_ERROR, "missing", NULL, NULL, e, "'%s%" PRIu32 ".%s' is there %zu times, and %" PRIu64 " times in other layers", k->stem, k->t[i].layer,
                         k->rest, n, k->most))
            return -1;
    }
    const uint64_t lacks = k->layers - k->t[0].layer - have;
    char more[64] = "";
    if (!lacks || lacks * EDGE > layers)
        return 0;
    if (lacks > 1)
        snprintf(more, sizeof more, ", nor that of %" PRIu64 " more layer%s", lacks - 1, lacks == 2 ? "" : "s");
    return audit_add(a, FINDING_ERROR, "missing", NULL, NULL, e, "there is no '%s%" PRIu64 ".%s'%s, which %" PRIu64 " other layers have", k->stem, gap, k->rest, more, have);
}

/* ---- shapes ------------------------------------------------------------------------------------- */
static struct view seen_as(const struct model *m, const struct grouping *g, size_t i)
{
    return g->part[i] == PART_WEIGHT ? g->g[g->group[i]].view : view_of(&m->t[i]);
}

static bool same_shape(const struct view *x, const struct view *y)
{
    return x->rank == y->rank && !memcmp(x->dim, y->dim, x->rank * sizeof *x->dim);
}

/* The shape that most tensors of a kind have, if any has the majority. */
static struct view usual(const struct kind *k, const struct model *m, const struct grouping *g)
{
    struct view best = seen_as(m, g, k->t[0].i);
    size_t lead = 0;
    for (size_t j = 0; j < k->n; j++) {
        const struct view v = seen_as(m, g, k->t[j].i);
        if (!lead)
            best = v;
        lead = same_shape(&v, &best) ? lead + 1 : lead - 1;
    }
    return best;
}

/* Against config.json where it says, else against each other: a few that differ. */
static int check_shapes(struct audit *a, const struct kind *k, const struct model *m, const struct grouping *g, const struct shapes *s, struct err *e)
{
    struct view want = {0};
    const unsigned rank = shapes_find(s, k->stem, k->rest, want.dim);
    size_t differ = 0, first = 0;
    char is[256], should[256], more[48] = "";
    want.rank = (uint8_t)rank;
    if (!rank)
        want = usual(k, m, g);
    for (size_t j = k->n; j--;) {
        const struct view v = seen_as(m, g, k->t[j].i);
        if (!same_shape(&v, &want)) {
            differ++;
            first = k->t[j].i;
        }
    }
    if (!differ || (!rank && differ * EDGE > k->n))
        return 0;
    const struct view v = seen_as(m, g, first);
    if (differ > 1)
        snprintf(more, sizeof more, "; %zu more of its kind differ", differ - 1);
    return audit_add(a, rank ? FINDING_ERROR : FINDING_WARNING, "shape", g->part[first] == PART_WEIGHT ? g->g[g->group[first]].name : m->t[first].name, NULL, e,
                     rank ? "is %s, and config.json makes it %s%s" : "is %s, and in other layers %s%s", view_shape(&v, is), view_shape(&want, should), more);
}

/* ---- config.json -------------------------------------------------------------------------------- */
static json_t *section(json_t *config)
{
    json_t *text = json_object_get(config, "text_config");
    return json_is_object(text) ? text : config;
}

static uint64_t number_of(const json_t *c, const char *const *key)
{
    for (; *key; key++) {
        const json_t *x = json_object_get(c, *key);
        if (json_is_integer(x) && json_integer_value(x) > 0)
            return (uint64_t)json_integer_value(x);
    }
    return 0;
}

static int check_layers(struct audit *a, const struct kinds *x, const json_t *c, struct err *e)
{
    const uint64_t want = number_of(c, (const char *const[]){"num_hidden_layers", "n_layer", NULL});
    const uint64_t ahead = number_of(c, (const char *const[]){"num_nextn_predict_layers", "num_mtp_layers", NULL});
    const uint64_t experts = number_of(c, (const char *const[]){"n_routed_experts", "num_experts", "num_local_experts", NULL});
    uint64_t layers = 0;
    bool apart = false, any = false;
    for (size_t i = 0; i < x->n; i++) {
        const struct kind *k = &x->k[i];
        apart |= strstr(k->stem, "mtp") || strstr(k->rest, "mtp");
        if (!ends_with(k->stem, "layers.") && !ends_with(k->stem, "blk.") && !ends_with(k->stem, ".h."))
            continue;
        if (strstr(k->stem, "mtp"))
            continue;
        any = true;
        layers = max_u64(layers, k->layers);
        const char *star = strstr(k->rest, "experts.*");
        if (experts && star && k->most < experts
            && audit_add(a, FINDING_ERROR, "experts", NULL, NULL, e, "config.json says %" PRIu64 " experts, and there are at most %" PRIu64 " '%s*.%s'", experts, k->most, k->stem,
                         k->rest))
            return -1;
    }
    if (any && want && layers < want
        && audit_add(a, FINDING_ERROR, "layers", NULL, NULL, e, "config.json says %" PRIu64 " layers, and there are %" PRIu64, want, layers))
        return -1;
    if (any && want && layers > want + ahead && !ahead
        && audit_add(a, FINDING_WARNING, "layers", NULL, NULL, e, "config.json says %" PRIu64 " layers, and there are %" PRIu64, want, layers))
        return -1;
    return any && want && ahead && layers >= want && layers < want + ahead && !apart
             ? audit_add(a, FINDING_WARNING, "mtp", NULL, NULL, e, "config.json says %" PRIu64 " layers for the prediction of further tokens (MTP), and %" PRIu64
                         " of them are there: without them a server cannot draft with the model's own head", ahead, layers - want) : 0;
}

static int check_embedding(struct audit *a, const struct model *m, const json_t *c, struct err *e)
{
    const uint64_t vocab = number_of(c, (const char *const[]){"vocab_size", NULL}), hidden = number_of(c, (const char *const[]){"hidden_size", "n_embd", NULL});
    static const char *const name[] = {"model.embed_tokens.weight", "lm_head.weight"};
    for (size_t k = 0; k < 2; k++) {
        size_t i;
        char shape[176];
        if (!map_find(&m->by_name, name[k], &i) || m->t[i].rank != 2 || m->t[i].dtype == DT_U8 || m->t[i].dtype == DT_I32)
            continue;
        if (((vocab && m->t[i].dim[0] < vocab) || (hidden && m->t[i].dim[1] != hidden))
            && audit_add(a, FINDING_ERROR, "shape", name[k], NULL, e, "is %s, and config.json says a vocabulary of %" PRIu64 " and a hidden size of %" PRIu64,
                         tensor_shape(&m->t[i], shape), vocab, hidden))
            return -1;
    }
    return 0;
}

/* ---- parts without a whole ------------------------------------------------------------------------- */
static int check_parts(struct audit *a, const struct model *m, const struct grouping *g, struct err *e)
{
    static const char *const scale[] = {"_scale_inv", ".weight_scale", ".weight_scale_2", "_scales", ".scales", ".qzeros", ".weight_offset"};
    for (size_t i = 0; i < m->n; i++) {
        const struct tensor *t = &m->t[i];
        if (g->part[i] != PART_PLAIN)
            continue;
        if ((t->dtype == DT_F8_E4M3 || t->dtype == DT_F8_E5M2 || t->dtype == DT_F8_E4M3FNUZ || t->dtype == DT_F8_E5M2FNUZ || t->dtype == DT_F4) && t->rank > 1
            && audit_add(a, FINDING_ERROR, "no-scale", t->name, NULL, e, "is %s, and no scale belongs to it", dtype_name(t->dtype)))
            return -1;
        for (size_t k = 0; k < sizeof scale / sizeof *scale; k++)
            if (ends_with(t->name, scale[k])) {
                if (audit_add(a, FINDING_ERROR, "orphan", t->name, NULL, e, "is a scale or offset by its name, and belongs to no weight"))
                    return -1;
                break;
            }
    }
    return 0;
}

int audit_tables(struct audit *a, const struct model *m, const struct grouping *g, struct err *e)
{
    struct kinds x = {0};
    struct shapes shapes;
    json_t *config = m->config ? json_loads(m->config, 0, NULL) : NULL;
    uint64_t layers = 0;
    int r = check_parts(a, m, g, e);
    for (size_t i = 0; !r && i < m->n; i++)
        if (g->part[i] == PART_PLAIN || g->part[i] == PART_WEIGHT)
            r = add_name(&x, g->part[i] == PART_WEIGHT ? g->g[g->group[i]].name : m->t[i].name, i, e);
    for (size_t i = 0; !r && i < x.n; i++) {
        tally(&x.k[i]);
        layers = max_u64(layers, x.k[i].layers);
    }
    shapes_of(&shapes, section(config));
    for (size_t i = 0; !r && i < x.n; i++)
        r = check_kind(a, &x.k[i], layers, e) || check_shapes(a, &x.k[i], m, g, &shapes, e) ? -1 : 0;
    if (!r && json_is_object(config))
        r = check_layers(a, &x, section(config), e) || check_embedding(a, m, section(config), e) ? -1 : 0;
    if (!r && m->config && !json_is_object(config))
        r = audit_add(a, FINDING_ERROR, "config", NULL, NULL, e, "config.json is no JSON object");
    json_decref(config);
    for (size_t i = 0; i < x.n; i++)
        free(x.k[i].t);
    free(x.k);
    map_free(&x.by_name);
    arena_free(&x.mem);
    return r;
}
