#include "formats/config_keys.h"

#include "formats/conventions/parts.h"
#include "formats/names.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows ------------------------------------------------------------------------------------ */
enum row_flags {
    REAL = 1,       /* f32; else u32 */
    NEEDED = 2,     /* neither side does without it */
    SECOND = 4,     /* another key for a member that an earlier row has */
};
struct row {
    const char *key;       /* behind "ARCHITECTURE." */
    const char *member;    /* of config.json */
    unsigned flags;
    const char *of;        /* architectures that have it, NULL: all */
    double otherwise;      /* what both sides take where nothing is said; 0: nothing */
};
#define MOE "qwen2moe qwen3moe"
static const struct row rows[] = {
    {"block_count", "num_hidden_layers", NEEDED, NULL, 0},
    {"context_length", "max_position_embeddings", NEEDED, NULL, 0},
    {"embedding_length", "hidden_size", NEEDED, NULL, 0},
    {"feed_forward_length", "intermediate_size", NEEDED, NULL, 0},
    {"attention.head_count", "num_attention_heads", NEEDED, NULL, 0},
    {"attention.head_count_kv", "num_key_value_heads", 0, NULL, 0},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", REAL | NEEDED, NULL, 0},
    {"rope.freq_base", "rope_theta", REAL, NULL, 10000},
    {"attention.key_length", "head_dim", 0, NULL, 0},
    {"attention.value_length", "head_dim", SECOND, NULL, 0},
    {"vocab_size", "vocab_size", 0, NULL, 0},
    {"expert_count", "num_local_experts", 0, "llama", 0},
    {"expert_count", "num_experts", NEEDED, MOE, 0},
    {"expert_used_count", "num_experts_per_tok", 0, "llama", 0},
    {"expert_used_count", "num_experts_per_tok", NEEDED, MOE, 0},
    {"expert_feed_forward_length", "moe_intermediate_size", NEEDED, MOE, 0},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", NEEDED, "qwen2moe", 0},
};
enum { ROWS = sizeof rows / sizeof *rows };

/* What llama.cpp does not ask, because it takes it for granted. */
static const struct { const char *member, *json, *of; } granted[] = {
    {"hidden_act", "\"silu\"", NULL},
    {"attention_bias", "false", "qwen3 qwen3moe"},
    {"norm_topk_prob", "true", "qwen3moe"},
    {"norm_topk_prob", "false", "qwen2moe"},
    {"decoder_sparse_step", "1", MOE},
    {"mlp_only_layers", "[]", MOE},
    {"use_sliding_window", "false", "qwen2 qwen2moe qwen3 qwen3moe"},
};
enum { GRANTED = sizeof granted / sizeof *granted };

static const struct { const char *architecture, *type, *class; bool experts; } classes[] = {
    {"llama", "llama", "LlamaForCausalLM", false},         {"llama", "mixtral", "MixtralForCausalLM", true},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false},         {"qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM", true},
    {"qwen3", "qwen3", "Qwen3ForCausalLM", false},         {"qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM", true},
};
enum { CLASSES = sizeof classes / sizeof *classes };

static bool has_word(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *s = words; s && (s = strstr(s, word)); s += n)
        if ((s == words || s[-1] == ' ') && (!s[n] || s[n] == ' '))
            return true;
    return !words;
}

bool config_keys_complete(const char *architecture)
{
    for (size_t i = 0; i < CLASSES; i++)
        if (!strcmp(classes[i].architecture, architecture))
            return true;
    return false;
}

/* ---- to keys --------------------------------------------------------------------------------- */

/* Newer files have what belongs to the rotary embedding in an object of its own, and one name for the number of experts. */
static const json_t *find_member(const json_t *config, const char *member)
{
    const json_t *v = json_object_get(config, member);
    if (!v && !strcmp(member, "rope_theta"))
        v = json_object_get(json_object_get(config, "rope_parameters"), member);
    if (!v && !strcmp(member, "num_experts"))
        v = json_object_get(config, "num_local_experts");
    return json_is_null(v) ? NULL : v;
}

struct keys {
    struct model *m;
    const char *arch;
    const json_t *config;
    struct gguf_keys *k;
    struct err *e;
};

static int put(const struct keys *x, const char *key, bool real, double v)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", x->arch, key);
    return real ? gguf_keys_f32(x->k, name, (float)v, x->e) : gguf_keys_u32(x->k, name, (uint32_t)v, x->e);
}

static int put_row(const struct keys *x, const struct row *row)
{
    const json_t *v = find_member(x->config, row->member);
    const double value = v ? json_number_value(v) : row->otherwise;
    if (!v && (row->flags & NEEDED))
        return err_set(x->e, ERR_INPUT, "%s: config.json has no %s, which key %s.%s of a GGUF must have", x->m->path,
                       row->member, x->arch, row->key);
    if (!v && value == 0)
        return 0;
    const bool fits = row->flags & REAL ? v == NULL || json_is_number(v) : json_is_integer(v) && value >= 0 && value <= UINT32_MAX;
    if (!fits || !isfinite((float)value))
        return err_set(x->e, ERR_INPUT, "%s: config.json: %s is no number that key %s.%s can have", x->m->path, row->member,
                       x->arch, row->key);
    return put(x, row->key, row->flags & REAL, value);
}

static const char *scaling_type(const json_t *scaling)
{
    const char *type = config_string(scaling, "rope_type");
    return *type ? type : config_string(scaling, "type");
}

/* rope_scaling: what llama.cpp has keys for. That of Llama 3 is a tensor (names.h). */
static int put_scaling(const struct keys *x)
{
    const json_t *scaling = find_member(x->config, "rope_scaling");
    if (!scaling)
        scaling = find_member(x->config, "rope_parameters");
    const char *type = scaling_type(scaling);
    char name[128];
    if (!scaling || !strcmp(type, "default") || (!*type && !json_object_get(scaling, "factor")))
        return 0;
    if (!strcmp(type, "llama3") && !strcmp(x->arch, "llama"))
        return 0;
    const json_t *factor = json_object_get(scaling, "factor"),
                 *length = json_object_get(scaling, "original_max_position_embeddings");
    const bool yarn = !strcmp(type, "yarn");
    if ((strcmp(type, "linear") && !yarn) || !json_is_number(factor) || (yarn && !json_is_integer(length)))
        return err_set(x->e, ERR_INPUT, "%s: config.json: no keys of a GGUF say what rope_scaling of type '%.40s' does",
                       x->m->path, type);
    snprintf(name, sizeof name, "%s.rope.scaling.type", x->arch);
    return gguf_keys_str(x->k, name, type, x->e) || put(x, "rope.scaling.factor", true, json_number_value(factor))
                   || (yarn && put(x, "rope.scaling.original_context_length", false, json_number_value(length)))
               ? -1
               : 0;
}

static int put_head_size(const struct keys *x)
{
    const double dim = json_number_value(find_member(x->config, "head_dim")),
                 heads = json_number_value(find_member(x->config, "num_attention_heads")),
                 size = json_number_value(find_member(x->config, "hidden_size"));
    if (strcmp(x->arch, "llama") || (dim == 0 && heads == 0))
        return 0;
    return put(x, "rope.dimension_count", false, dim > 0 ? dim : floor(size / heads));
}

static int tell_granted(const struct keys *x, const char **note)
{
    struct buf b = {0};
    int bad = 0;
    for (size_t i = 0; !bad && i < GRANTED; i++) {
        const json_t *v = has_word(granted[i].of, x->arch) ? find_member(x->config, granted[i].member) : NULL;
        char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
        if (text && strcmp(text, granted[i].json))
            bad = buf_printf(&b, x->e, "%s%s is %.60s and llama.cpp takes it to be %s", b.n ? ", " : "config.json: ",
                             granted[i].member, text, granted[i].json);
        free(text);
    }
    if (!bad && b.n)
        bad = (*note = arena_strdup(&x->m->mem, b.s, x->e)) ? 0 : -1;
    buf_free(&b);
    return bad;
}

int config_to_keys(struct model *m, struct gguf_keys *k, const char **note, struct err *e)
{
    *note = NULL;
    json_t *config = config_parse(m->config, "config.json", e);
    if (!config)
        return err_prefix(e, "%s", m->path);
    const struct keys x = {m, m->naming->architecture, config, k, e};
    const char *name = model_meta(m, "general.name");
    if (!name)
        name = config_string(config, "_name_or_path");
    int bad = gguf_keys_str(k, "general.architecture", x.arch, e)
           || (*name && gguf_keys_str(k, "general.name", name, e));
    for (size_t i = 0; !bad && i < ROWS; i++)
        if (has_word(rows[i].of, x.arch))
            bad = put_row(&x, &rows[i]);
    bad = bad || put_scaling(&x) || put_head_size(&x) || tell_granted(&x, note);
    json_decref(config);
    return bad ? -1 : 0;
}

/* ---- from keys ------------------------------------------------------------------------------- */
struct from {
    struct model *m;
    const char *arch;
    struct buf b;
    const char **why;
    struct err *e;
};

static const char *key_text(const struct from *x, const char *key)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", x->arch, key);
    return model_meta(x->m, name);
}

/* A sentence instead of a config; 1. */
static int unknown(struct from *x, const char *key, const char *what)
{
    *x->why = arena_printf(&x->m->mem, x->e, "no config.json is made: key %s.%s %s", x->arch, key, what);
    return *x->why ? 1 : -1;
}

static int add(struct from *x, const char *member, const char *json)
{
    return buf_printf(&x->b, x->e, ",\n  \"%s\": %s", member, json);
}

/* The shortest text that is this float, with a point or an exponent, as Python writes it. */
static void real_text(float v, char s[32])
{
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(s, 32, "%.*g", digits, (double)v);
        if (strtof(s, NULL) == v)
            break;
    }
    if (v == floorf(v) && fabsf(v) < 1e16f)
        snprintf(s, 32, "%.1f", (double)v);
}

/* 0 when it is a number, in v; 1 when there is no such key or it is none. */
static int key_number(const struct from *x, const char *key, double *v)
{
    char *end;
    const char *text = key_text(x, key);
    *v = text ? strtod(text, &end) : 0;
    return !text || !*text || *end || !isfinite(*v);
}

static int add_number(struct from *x, const char *member, bool real, double v)
{
    char s[32];
    if (real)
        real_text((float)v, s);
    else
        snprintf(s, sizeof s, "%.0f", v);
    return add(x, member, s);
}

static int add_row(struct from *x, const struct row *row)
{
    double v;
    const bool none = key_number(x, row->key, &v);
    if (none && key_text(x, row->key))
        return unknown(x, row->key, "is not one number");
    if (row->flags & SECOND) {
        double first;
        return !none && (key_number(x, "attention.key_length", &first) || first != v)
                   ? unknown(x, row->key, "is not that of the keys") : 0;
    }
    size_t i;
    if (none && !strcmp(row->member, "vocab_size") && map_find(&x->m->by_name, "model.embed_tokens.weight", &i)
        && x->m->t[i].rank == 2)
        v = (double)x->m->t[i].dim[0];
    else if (none && row->otherwise > 0)
        v = row->otherwise;
    else if (none && !strcmp(row->member, "num_key_value_heads") && !key_number(x, "attention.head_count", &v))
        ; /* as many as heads */
    else if (none)
        return row->flags & NEEDED ? unknown(x, row->key, "is missing") : 0;
    return add_number(x, row->member, row->flags & REAL, v);
}

static int add_scaling(struct from *x)
{
    const char *type = key_text(x, "rope.scaling.type");
    const struct naming *n = x->m->naming;
    double factor, length;
    if (n->factors && n->rope_factor <= 0)
        return unknown(x, "rope.scaling", "is missing, and rope_freqs.weight has factors that are not those of Llama 3");
    if (n->rope_factor > 0)
        return buf_printf(&x->b, x->e, ",\n  \"rope_scaling\": {\n    \"factor\": %.1f,\n    \"high_freq_factor\": 4.0,\n"
                          "    \"low_freq_factor\": 1.0,\n    \"original_max_position_embeddings\": 8192,\n"
                          "    \"rope_type\": \"llama3\"\n  }", n->rope_factor);
    if (!type || !strcmp(type, "none"))
        return 0;
    const bool yarn = !strcmp(type, "yarn");
    if ((!yarn && strcmp(type, "linear")) || key_number(x, "rope.scaling.factor", &factor)
        || (yarn && key_number(x, "rope.scaling.original_context_length", &length)))
        return unknown(x, "rope.scaling.type", "says what is not known here");
    char s[32];
    real_text((float)factor, s);
    if (buf_printf(&x->b, x->e, ",\n  \"rope_scaling\": {\n    \"factor\": %s,\n", s)
        || (yarn && buf_printf(&x->b, x->e, "    \"original_max_position_embeddings\": %.0f,\n", length)))
        return -1;
    return buf_printf(&x->b, x->e, "    \"rope_type\": \"%s\"\n  }", type);
}

/* Of an architecture that has biases in some models only. */
static int add_bias(struct from *x)
{
    size_t i;
    const bool q = map_find(&x->m->by_name, "model.layers.0.self_attn.q_proj.bias", &i),
               o = map_find(&x->m->by_name, "model.layers.0.self_attn.o_proj.bias", &i),
               mlp = map_find(&x->m->by_name, "model.layers.0.mlp.up_proj.bias", &i);
    if (strcmp(x->arch, "llama") || (!q && !o && !mlp))
        return 0;
    if (q != o)
        return unknown(x, "attention", "cannot say that Q, K and V have biases and the output has none, or the other way "
                                       "round");
    return (q && add(x, "attention_bias", "true")) || (mlp && add(x, "mlp_bias", "true")) ? -1 : 0;
}

int config_from_keys(struct model *m, const char *dtype, const char **text, const char **why, struct err *e)
{
    struct from x = {.m = m, .arch = m->naming->architecture, .why = why, .e = e};
    double experts = 0;
    size_t c = 0;
    *text = *why = NULL;
    (void)key_number(&x, "expert_count", &experts);
    while (c < CLASSES && (strcmp(classes[c].architecture, x.arch) || (!strcmp(x.arch, "llama") && classes[c].experts != (experts > 0))))
        c++;
    if (c == CLASSES) {
        *why = arena_printf(&m->mem, e, "no config.json is made: for architecture %s it is not known which keys say what", x.arch);
        return *why ? 0 : -1;
    }
    int r = buf_printf(&x.b, e, "{\n  \"architectures\": [\n    \"%s\"\n  ],\n  \"model_type\": \"%s\"", classes[c].class,
                       classes[c].type);
    for (size_t i = 0; !r && i < ROWS; i++)
        if (has_word(rows[i].of, x.arch) && !(experts == 0 && rows[i].of && !strcmp(rows[i].of, "llama")))
            r = add_row(&x, &rows[i]);
    if (!r)
        r = add_scaling(&x);
    if (!r)
        r = add_bias(&x);
    for (size_t i = 0; !r && i < GRANTED; i++)
        if (has_word(granted[i].of, x.arch))
            r = add(&x, granted[i].member, granted[i].json);
    if (!r)
        r = add(&x, "tie_word_embeddings", m->naming->tied ? "true" : "false")
         || buf_printf(&x.b, e, ",\n  \"torch_dtype\": \"%s\"\n}\n", dtype) ? -1 : 0;
    if (!r && !(*text = arena_strdup(&m->mem, x.b.s, e)))
        r = -1;
    buf_free(&x.b);
    return r < 0 ? -1 : 0;
}
