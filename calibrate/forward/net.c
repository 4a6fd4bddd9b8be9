/* What a model is: config.json, or the keys of a GGUF that say the same. */
#include "calibrate/forward/parts.h"

#include "formats/config_json.h"
#include "formats/config_keys.h"
#include "formats/conventions/parts.h"

#include <math.h>
#include <string.h>

struct reading {
    struct net *n;
    const json_t *config;            /* of the text model */
    struct err *e;
};

static int whole(struct reading *r, const char *key, uint64_t otherwise, uint64_t *out)
{
    const json_t *x = json_object_get(r->config, key);
    const json_int_t v = json_integer_value(x);
    *out = otherwise;
    if (!x || json_is_null(x))
        return otherwise != UINT64_MAX ? 0 : err_set(r->e, ERR_INPUT, "%s: config.json has no '%s'", r->n->w.m->path, key);
    if (!json_is_integer(x) || v < 0 || v > 1 << 30)
        return err_set(r->e, ERR_INPUT, "%s: config.json: '%s' is no size", r->n->w.m->path, key);
    *out = (uint64_t)v;
    return 0;
}

/* The first of two names that is there. */
static int either(struct reading *r, const char *a, const char *b, uint64_t *out)
{
    return whole(r, json_object_get(r->config, a) ? a : b, UINT64_MAX, out);
}

static int positive(struct reading *r, const char *key, double otherwise, double *out)
{
    const json_t *x = json_object_get(r->config, key);
    *out = !x || json_is_null(x) ? otherwise : json_number_value(x); /* 0 when it is none; NaN reads as 0 */
    return *out > 0 ? 0 : err_set(r->e, ERR_INPUT, "%s: config.json: '%s' is no number above 0", r->n->w.m->path, key);
}

static int yes(struct reading *r, const char *key, bool *out)
{
    const json_t *x = json_object_get(r->config, key);
    *out = json_is_true(x);
    return !x || json_is_null(x) || json_is_boolean(x) ? 0 : err_set(r->e, ERR_INPUT, "%s: config.json: '%s' is neither true nor false", r->n->w.m->path, key);
}

/* Architectures, by model_type. */
enum family { KIND_LLAMA, KIND_MIXTRAL, KIND_QWEN_MOE, KIND_DEEPSEEK2, KIND_DEEPSEEK3 };
static const struct {
    const char *type;
    enum family kind;
} kinds[] = {{"llama", KIND_LLAMA},       {"mistral", KIND_LLAMA},        {"qwen2", KIND_LLAMA},           {"qwen3", KIND_LLAMA},
             {"mixtral", KIND_MIXTRAL},   {"qwen3_moe", KIND_QWEN_MOE},   {"deepseek_v2", KIND_DEEPSEEK2}, {"deepseek_v3", KIND_DEEPSEEK3}};

static int read_window(struct reading *r)
{
    struct net *n = r->n;
    if (whole(r, "sliding_window", 0, &n->window))
        return -1;
    if (!strncmp(n->type, "qwen", 4)) { /* configuration_qwen2.py */
        bool used;
        if (yes(r, "use_sliding_window", &used))
            return -1;
        n->window = used ? n->window : 0;
        return whole(r, "max_window_layers", 0, &n->window_from);
    }
    n->window = strcmp(n->type, "mistral") && strcmp(n->type, "mixtral") ? 0 : n->window;
    return 0;
}

static int read_mla(struct reading *r)
{
    struct net *n = r->n;
    struct mla *m = &n->mla;
    if (whole(r, "kv_lora_rank", UINT64_MAX, &m->kv_rank) || whole(r, "q_lora_rank", 0, &m->q_rank)
        || whole(r, "qk_nope_head_dim", UINT64_MAX, &m->nope) || whole(r, "qk_rope_head_dim", UINT64_MAX, &m->rope)
        || whole(r, "v_head_dim", UINT64_MAX, &m->v))
        return -1;
    n->head = m->nope + m->rope;
    return m->kv_rank && m->rope && m->rope % 2 == 0 && m->v
             ? 0 : err_set(r->e, ERR_INPUT, "%s: config.json: kv_lora_rank %llu, qk_rope_head_dim %llu, v_head_dim %llu: none is 0, and the second is even",
                           n->w.m->path, (unsigned long long)m->kv_rank, (unsigned long long)m->rope, (unsigned long long)m->v);
}

static int read_moe(struct reading *r, enum family kind)
{
    struct moe *m = &r->n->moe;
    uint64_t shared;
    *m = (struct moe){.step = 1, .scale = 1, .block = "mlp", .gate = "gate_proj", .up = "up_proj", .down = "down_proj"};
    if (whole(r, "num_experts_per_tok", UINT64_MAX, &m->top))
        return -1;
    if (kind == KIND_MIXTRAL) {
        m->block = "block_sparse_moe";
        m->gate = "w1";
        m->up = "w3";
        m->down = "w2";
        m->norm = true;
        m->ffn = r->n->ffn;
        return either(r, "num_local_experts", "num_experts", &m->experts);
    }
    if (yes(r, "norm_topk_prob", &m->norm) || whole(r, "moe_intermediate_size", UINT64_MAX, &m->ffn))
        return -1;
    if (kind == KIND_QWEN_MOE)
        return either(r, "num_experts", "num_local_experts", &m->experts) || whole(r, "decoder_sparse_step", 1, &m->step) ? -1 : 0;
    if (either(r, "n_routed_experts", "num_local_experts", &m->experts) || whole(r, "n_shared_experts", 0, &shared)
        || whole(r, "first_k_dense_replace", 0, &m->dense_first) || whole(r, "moe_layer_freq", 1, &m->step)
        || whole(r, "n_group", 1, &m->groups) || whole(r, "topk_group", 1, &m->top_groups))
        return -1;
    if (!m->groups || m->experts % m->groups || m->groups > 256 || m->top_groups > m->groups)
        return err_set(r->e, ERR_INPUT, "%s: config.json: %llu experts in %llu groups", r->n->w.m->path, (unsigned long long)m->experts,
                       (unsigned long long)m->groups);
    if (kind == KIND_DEEPSEEK2 && m->norm)
        return err_set(r->e, ERR_INPUT, "%s: config.json: norm_topk_prob is not known of deepseek_v2", r->n->w.m->path);
    m->shared = shared * m->ffn;
    if (positive(r, "routed_scaling_factor", 1, &m->scale))
        return -1;
    m->sigmoid = kind == KIND_DEEPSEEK3;
    m->best_pairs = m->bias = m->sigmoid;
    const char *how = config_string(r->config, "topk_method");
    if (kind == KIND_DEEPSEEK2 && strcmp(how, "group_limited_greedy"))
        m->groups = m->top_groups = 1;
    if (m->groups > 1 && m->top > m->top_groups * (m->experts / m->groups))
        return err_set(r->e, ERR_INPUT, "%s: config.json: the best %llu experts, of %llu groups of %llu", r->n->w.m->path, (unsigned long long)m->top,
                       (unsigned long long)m->top_groups, (unsigned long long)(m->experts / m->groups));
    return 0;
}

/* A layer, and each of its experts, takes three weights at least: numbers that the file cannot hold stop here, before anything
 * is made for each. */
static int enough_tensors(struct reading *r)
{
    const struct net *n = r->n;
    uint64_t routed = 0;
    if (n->layers > n->w.m->n / 3)
        return err_set(r->e, ERR_INPUT, "%s: config.json: %llu layers, and the model has %zu tensors", n->w.m->path, (unsigned long long)n->layers,
                       n->w.m->n);
    for (uint64_t i = 0; i < n->layers; i++)
        routed += moe_layer(n, i);
    if (routed && n->moe.experts > n->w.m->n / 3 / routed)
        return err_set(r->e, ERR_INPUT, "%s: config.json: %llu layers with %llu experts, and the model has %zu tensors", n->w.m->path, (unsigned long long)routed,
                       (unsigned long long)n->moe.experts, n->w.m->n);
    return 0;
}

static int read_config(struct reading *r)
{
    struct net *n = r->n;
    const json_t *c = r->config;
    const char *type = config_string(c, "model_type");
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].type, type))
        k++;
    if (k == sizeof kinds / sizeof *kinds)
        return err_set(r->e, ERR_INPUT, "%s: there is no forward pass for model_type '%s' (llama, mistral, qwen2, qwen3, mixtral, "
                       "qwen3_moe, deepseek_v2, deepseek_v3 are there)", n->w.m->path, type);
    const enum family kind = kinds[k].kind;
    n->type = kinds[k].type;
    uint64_t head = 0;
    if (whole(r, "hidden_size", UINT64_MAX, &n->hidden) || whole(r, "num_hidden_layers", UINT64_MAX, &n->layers)
        || whole(r, "num_attention_heads", UINT64_MAX, &n->heads) || whole(r, "num_key_value_heads", n->heads, &n->kv_heads)
        || whole(r, "intermediate_size", UINT64_MAX, &n->ffn) || whole(r, "vocab_size", UINT64_MAX, &n->vocab)
        || whole(r, "head_dim", 0, &head) || read_window(r))
        return -1;
    if (!n->hidden || !n->layers || !n->heads || !n->kv_heads || n->heads % n->kv_heads || !n->ffn || !n->vocab)
        return err_set(r->e, ERR_INPUT, "%s: config.json: %llu layers, %llu heads, %llu of keys, hidden sizes %llu and %llu, %llu tokens are no model", n->w.m->path,
                       (unsigned long long)n->layers, (unsigned long long)n->heads, (unsigned long long)n->kv_heads, (unsigned long long)n->hidden,
                       (unsigned long long)n->ffn, (unsigned long long)n->vocab);
    const char *act = config_string(c, "hidden_act");
    const json_t *given = json_object_get(c, "hidden_act");
    if (given && !json_is_null(given) && strcmp(act, "silu"))
        return err_set(r->e, ERR_INPUT, "%s: config.json: hidden_act '%s' is not known here, only silu", n->w.m->path, act);
    const bool latent = kind == KIND_DEEPSEEK2 || kind == KIND_DEEPSEEK3;
    n->head = head ? head : n->hidden / n->heads;
    if (!latent && !head && n->hidden % n->heads)
        return err_set(r->e, ERR_INPUT, "%s: config.json: hidden size %llu is no whole number of %llu heads, and there is no head_dim", n->w.m->path,
                       (unsigned long long)n->hidden, (unsigned long long)n->heads);
    if (latent ? read_mla(r) : n->head % 2 ? err_set(r->e, ERR_INPUT, "%s: heads of %llu, an odd number", n->w.m->path, (unsigned long long)n->head) : 0)
        return -1;
    if (positive(r, "rms_norm_eps", 1e-6, &n->eps) || yes(r, "tie_word_embeddings", &n->tied))
        return -1;
    n->tied |= !weights_have(&n->w, "lm_head.weight");
    if (kind != KIND_LLAMA && read_moe(r, kind))
        return -1;
    if (kind != KIND_LLAMA && (!n->moe.top || n->moe.top > n->moe.experts || !n->moe.ffn || !n->moe.step))
        return err_set(r->e, ERR_INPUT, "%s: config.json: the best %llu of %llu experts", n->w.m->path, (unsigned long long)n->moe.top,
                       (unsigned long long)n->moe.experts);
    if (json_array_size(json_object_get(c, "mlp_only_layers")))
        return err_set(r->e, ERR_INPUT, "%s: config.json: mlp_only_layers is not known here", n->w.m->path);
    return enough_tensors(r);
}

/* After the shapes: for each dimension of a head there is a number. */
static int read_rope(struct reading *r)
{
    struct net *n = r->n;
    const bool latent = n->mla.kv_rank > 0;
    const json_t *c = r->config;
    if (rope_read(&n->rope, c, latent ? n->mla.rope : n->head, &n->mem, r->e))
        return err_prefix(r->e, "%s", n->w.m->path);
    n->rope.pairs = latent;
    n->softmax = 1 / sqrt((double)n->head) * (latent ? rope_softmax(c) : 1);
    return isfinite(n->softmax) ? 0 : err_set(r->e, ERR_INPUT, "%s: config.json: rope_scaling makes products of queries and keys %g", n->w.m->path, n->softmax);
}

static int open_config(struct net *n, struct err *e)
{
    struct model *m = n->w.m;
    const char *text = m->config, *why = NULL;
    if (m->container == CONTAINER_GGUF && config_from_keys(m, "float32", &text, &why, e))
        return -1;
    if (!text)
        return err_set(e, ERR_INPUT, "%s: %s", m->path, why ? why : "there is no config.json, which says how its layers go together");
    json_t *root = config_parse(text, "config.json", e);
    if (!root)
        return -1;
    const json_t *inner = json_object_get(root, "text_config");
    struct reading r = {n, json_is_object(inner) ? inner : root, e};
    int bad = read_config(&r) || weight_check(&n->w, "model.embed_tokens.weight", n->vocab, n->hidden, e) ? -1 : 0;
    for (uint64_t i = 0; !bad && i < n->layers; i++) /* what is missing is said now, not after hours */
        bad = net_list(n, NULL, i, e);
    bad = bad || read_rope(&r) ? -1 : 0;
    json_decref(root);
    return bad;
}

int net_open(struct net *n, struct model *m, unsigned threads, struct err *e)
{
    *n = (struct net){0};
    if (weights_open(&n->w, m, threads, e))
        return -1;
    const int bad = open_config(n, e);
    if (bad)
        net_close(n);
    return bad;
}

void net_close(struct net *n)
{
    weights_close(&n->w);
    arena_free(&n->mem);
    *n = (struct net){0};
}

bool moe_layer(const struct net *n, uint64_t layer)
{
    const struct moe *m = &n->moe;
    return m->experts && layer >= m->dense_first && (n->mla.kv_rank ? layer % m->step == 0 : (layer + 1) % m->step == 0);
}
