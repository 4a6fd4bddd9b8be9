#include "formats/convention.h"

#include "formats/conventions/parts.h"
#include "formats/io.h"

#include <stdlib.h>
#include <string.h>

/* In the order of detection: the more specific first, since DeepSeek-V4 too
 * calls itself "fp8". */
const struct convention *const convention_table[] = {
    &convention_octavo,
    &convention_modelopt,
    &convention_ascend_v1,
    &convention_compressed_tensors,
    &convention_gpt_oss,
    &convention_quark,
    &convention_mlu_fp8,
    &convention_mlu_smoothquant,
    &convention_gcu_w8a8,
    &convention_slimquant,
    &convention_tim_vx,
    &convention_deepseek_v4,
    &convention_deepseek,
    &convention_gguf,
};
const size_t convention_count = sizeof convention_table / sizeof *convention_table;

const struct convention *convention_find(const char *name)
{
    for (size_t i = 0; i < convention_count; i++)
        if (!strcmp(convention_table[i]->name, name))
            return convention_table[i];
    return NULL;
}

bool convention_takes(const struct convention *c, const struct scheme *s, enum activation *a)
{
    /* Below 8 bits activations cost more than the weights do: they stay as they are where a convention can
     * say so. */
    const enum activation first = s->bits < 8 ? ACTIVATION_NONE : ACTIVATION_DYNAMIC;
    *a = first;
    if (c->accepts && !c->accepts(s, first))
        *a = first == ACTIVATION_NONE ? ACTIVATION_DYNAMIC : ACTIVATION_NONE;
    return c->accepts && c->accepts(s, *a);
}

const struct convention *convention_default(const struct scheme *s)
{
    static const struct convention *const order[] = {&convention_deepseek, &convention_compressed_tensors,
                                                     &convention_octavo};
    enum activation a;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (convention_takes(order[i], s, &a) && (order[i] != &convention_deepseek || s->block_rows == 128))
            return order[i];
    return NULL;
}

/* ---- what a model says about itself ---------------------------------------- */
enum { DESCRIPTION_LIMIT = 256 << 20 }; /* 92,000 tensors take 8 MB */

/* Adds the description file of convention c to the config, under its name. */
static int add_description(const struct model *m, const struct convention *c, json_t *config,
                           struct err *e)
{
    const char *text = model_meta(m, "octavo.description");
    const char *named = model_meta(m, "octavo.convention");
    char *file = NULL, *owned = NULL;
    if (text && named && strcmp(named, c->name))
        return 0;
    if (!text && m->dir) {
        struct buf path = {0};
        if (buf_printf(&path, e, "%s/%s", m->dir, c->description_name))
            return -1;
        file = path.s;
        size_t n;
        if (io_exists(file)) {
            text = owned = io_read_file(file, DESCRIPTION_LIMIT, &n, e);
            if (!text) {
                free(file);
                return -1;
            }
        }
    }
    int r = 0;
    if (text) {
        json_t *d = config_parse(text, file ? file : c->description_name, e);
        r = d ? config_set(config, c->description_name, d, e) : -1;
    }
    free(owned);
    free(file);
    return r;
}

/* The parsed config.json (an empty object when there is none) with the
 * description files in it; NULL on error. */
static json_t *read_config(const struct model *m, struct err *e)
{
    const char *text = model_meta(m, "octavo.convention") ? model_meta(m, "octavo.config") : NULL;
    json_t *config = config_parse(text ? text : m->config ? m->config : "{}", "config.json", e);
    if (!config) {
        if (e->kind == ERR_INPUT)
            err_prefix(e, "%s", m->path);
        return NULL;
    }
    for (size_t i = 0; i < convention_count; i++) {
        const struct convention *c = convention_table[i];
        if (c->description_name && add_description(m, c, config, e)) {
            json_decref(config);
            return NULL;
        }
    }
    return config;
}

static int find_convention(const struct model *m, const json_t *config,
                           const struct convention **out, struct err *e)
{
    const char *name = model_meta(m, "octavo.convention");
    *out = name ? convention_find(name) : NULL;
    if (name && !*out)
        return err_set(e, ERR_INPUT, "%s: metadata octavo.convention is '%s', which this version "
                       "does not know", m->path, name);
    for (size_t i = 0; !*out && i < convention_count; i++)
        if (convention_table[i]->detect(m, config))
            *out = convention_table[i];
    const json_t *q = config_section(config);
    if (!*out && q)
        return err_set(e, ERR_INPUT, "%s: config.json: quant_method '%s' is not read by this "
                       "version", m->path, config_string(q, "quant_method"));
    return 0;
}

/* ---- pairing ------------------------------------------------------------------- */
static bool is_fp8(enum dtype t)
{
    return t == DT_F8_E4M3 || t == DT_F8_E5M2 || t == DT_F8_E4M3FNUZ || t == DT_F8_E5M2FNUZ;
}

static bool is_candidate(const struct tensor *t)
{
    return t->rank >= 2
        && (is_fp8(t->dtype) || t->dtype == DT_I8 || t->dtype == DT_U8 || t->dtype == DT_I32
            || t->dtype == DT_F4 || t->dtype == DT_I4);
}

static int claim(const struct model *m, struct grouping *out, size_t i, enum part part, struct err *e)
{
    if (out->part[i] != PART_PLAIN)
        return err_set(e, ERR_INPUT, "tensor '%s' belongs to two weights, '%s' and '%s'", m->t[i].name,
                       out->g[out->group[i]].name, out->g[out->n].name);
    out->part[i] = part;
    out->group[i] = out->n;
    return 0;
}

/* All tensors of a group, or none. */
static int claim_group(const struct model *m, struct grouping *out, const struct group *g, struct err *e)
{
    size_t taken[PART_COUNT + GROUP_AUX];
    unsigned n = 0;
    int r = 0;
    for (int p = PART_WEIGHT; !r && p < PART_AUX; p++)
        if (g->of[p] != NO_TENSOR && !(r = claim(m, out, g->of[p], (enum part)p, e)))
            taken[n++] = g->of[p];
    for (unsigned k = 0; !r && k < g->naux; k++)
        if (!(r = claim(m, out, g->aux[k], PART_AUX, e)))
            taken[n++] = g->aux[k];
    while (r && n)
        out->part[taken[--n]] = PART_PLAIN;
    return r;
}

static int pair_one(struct model *m, const json_t *config, struct grouping *out, size_t i, struct err *e)
{
    struct group *g = &out->g[out->n];
    *g = (struct group){.name = m->t[i].name, .view = view_of(&m->t[i])};
    for (int p = 0; p < PART_COUNT; p++)
        g->of[p] = NO_TENSOR;
    g->of[PART_WEIGHT] = i;
    if (out->convention->pair(m, config, i, g, e))
        return -1;
    if (g->scheme && claim_group(m, out, g, e))
        return -1;
    out->n += g->scheme != NULL;
    return 0;
}

/* A scale of some convention, by its name.  Plain ".scale" and "_scale" are
 * names that unquantized layers use too, so they need the dtype of a code. */
static bool is_scale(const struct tensor *t)
{
    return ends_with(t->name, "_scale_inv") || ends_with(t->name, ".weight_scale")
        || ends_with(t->name, ".weight_offset") || ends_with(t->name, ".weight_packed")
        || ends_with(t->name, ".weight_global_scale") || ends_with(t->name, ".weight_scale_2")
        || ends_with(t->name, ".weight_zero_point")
        || (t->dtype == DT_F8_E8M0
            && (ends_with(t->name, ".scale") || ends_with(t->name, "_scale")));
}

/* Strict: everything that looks quantized must have been paired. */
static int check_plain(const struct model *m, const struct grouping *out, struct err *e)
{
    static const char *const scale[] = {"_scale_inv", "_scale", ".scale", NULL};
    char shape[176], scale_shape[176];
    for (size_t i = 0; i < m->n; i++) {
        const struct tensor *t = &m->t[i];
        if (out->part[i] != PART_PLAIN)
            continue;
        if (t->rank >= 2 && is_fp8(t->dtype)) {
            size_t s;
            int found = part_find_any(m, t->name, scale, &s, e);
            if (found < 0)
                return -1;
            return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s %s%s%s%s%s, and nothing states its "
                           "scheme: config.json with a \"quantization_config\" belongs beside it",
                           m->path, t->name, dtype_name(t->dtype), tensor_shape(t, shape),
                           found ? " with '" : "", found ? m->t[s].name : "", found ? "' " : "",
                           found ? tensor_shape(&m->t[s], scale_shape) : "");
        }
        if (is_scale(t))
            return err_set(e, ERR_INPUT, "%s: tensor '%s' %s %s stands there without a quantized "
                           "weight", m->path, t->name, dtype_name(t->dtype),
                           tensor_shape(t, shape));
    }
    return 0;
}

/* All caches of a model are one group behind the weights, in the slot that pair_one works in. */
static void find_cache(const struct model *m, const json_t *config, struct grouping *out, size_t i)
{
    const struct scheme *s = out->convention->cache(config, &m->t[i]);
    struct group *g = &out->g[out->n];
    if (!s)
        return;
    *g = (struct group){.name = "KV cache", .scheme = s};
    for (int p = 0; p < PART_COUNT; p++)
        g->of[p] = NO_TENSOR;
    out->part[i] = PART_AUX;
    out->group[i] = out->n;
}

static int pair_all(struct model *m, const json_t *config, bool strict, struct grouping *out,
                    struct err *e)
{
    const struct convention *c = out->convention;
    if (c && c->check && c->check(config, e) && (strict || e->kind != ERR_INPUT))
        return err_prefix(e, "%s", m->path);
    if (c && c->mark && c->mark(m, config, out->part, e) && (strict || e->kind != ERR_INPUT))
        return err_prefix(e, "%s", m->path);
    for (size_t i = 0; c && i < m->n; i++)
        if (is_candidate(&m->t[i]) && out->part[i] == PART_PLAIN && pair_one(m, config, out, i, e)
            && (strict || e->kind != ERR_INPUT))
            return err_prefix(e, "%s", m->path);
    for (size_t i = 0; c && c->cache && i < m->n; i++)
        if (out->part[i] == PART_PLAIN)
            find_cache(m, config, out, i);
    return strict ? check_plain(m, out, e) : 0;
}

int grouping_read(struct model *m, bool strict, struct grouping *out, struct err *e)
{
    *out = (struct grouping){0};
    size_t candidates = 0;
    for (size_t i = 0; i < m->n; i++)
        candidates += is_candidate(&m->t[i]);
    /* One more group than candidates: a failed pairing leaves its slot dirty. */
    out->g = arena_array(&m->mem, candidates + 1, sizeof *out->g, e);
    out->part = arena_array(&m->mem, m->n + 1, sizeof *out->part, e);
    out->group = arena_array(&m->mem, m->n + 1, sizeof *out->group, e);
    if (!out->g || !out->part || !out->group)
        return -1;

    int r = 0;
    json_t *config = read_config(m, e);
    if (!config || find_convention(m, config, &out->convention, e))
        r = strict || e->kind != ERR_INPUT ? -1 : 0; /* `ls` must show even a bad config's model */
    else
        r = pair_all(m, config, strict, out, e);
    json_decref(config);
    bool any = out->n > 0;
    for (size_t i = 0; !any && i < m->n; i++)
        any = out->part[i] != PART_PLAIN;
    if (!any)
        out->convention = NULL;
    return r;
}

int grouping_expand(struct model *m, struct err *e)
{
    const struct convention *c;
    json_t *config = read_config(m, e);
    int r = !config || find_convention(m, config, &c, e) ? -1 : 0;
    if (!r && c && c->expand && c->expand(m, config, e))
        r = err_prefix(e, "%s", m->path);
    json_decref(config);
    return r;
}

/* ---- config.json of an output ----------------------------------------------------- */

/* What the source says of the KV cache stays true where the words for it are the same: its scales are tensors
 * of their own, which are copied. */
static void keep_cache_scheme(const json_t *source, json_t *said, const struct out_tensor *t, size_t n)
{
    json_t *scheme = json_object_get(config_section(source), "kv_cache_scheme");
    json_t *section = json_object_get(said, "quantization_config");
    bool scales = false;
    for (size_t i = 0; i < n && !scales; i++)
        scales = t[i].part == PART_PLAIN
                 && (ends_with(t[i].name, ".k_scale") || ends_with(t[i].name, "k_proj.output_scale"));
    if (!scales || !json_is_null(json_object_get(section, "kv_cache_scheme")))
        return;
    if (json_is_object(scheme))
        json_object_set(section, "kv_cache_scheme", scheme);
    else if (json_is_null(scheme) || !scheme) /* scales that were added: E4M3, one for each layer's keys and one for its values */
        json_object_set_new(section, "kv_cache_scheme", json_pack("{sn sb sn si so ss sb ss}", "actorder", "dynamic", 0, "group_size", "num_bits", 8, "observer_kwargs",
                                                                  json_object(), "strategy", "tensor", "symmetric", 1, "type", "float"));
}
int config_text(const char *source, const struct convention *c, const struct out_tensor *t, size_t n,
                const char *dtype, char **text, struct err *e)
{
    *text = NULL;
    json_t *root = config_parse(source ? source : "{}", "config.json", e);
    if (!root)
        return -1;
    /* The convention says what it wants to an empty object; its members are set in the text. */
    json_t *said = json_object();
    int r = said ? 0 : err_set(e, ERR_SYSTEM, "out of memory for config.json");
    if (!r && c)
        r = c->config(said, t, n, e);
    if (!r && c)
        keep_cache_scheme(root, said, t, n);
    struct buf out = {0};
    if (!r && (source || json_object_size(said))) {
        r = config_splice(source ? source : "{}\n", said, dtype, &out, e);
        *text = r ? NULL : out.s;
    }
    json_decref(said);
    json_decref(root);
    return r;
}
