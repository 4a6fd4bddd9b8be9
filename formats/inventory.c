#include "formats/inventory.h"

#include "formats/config_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sizes -------------------------------------------------------------------------- */
enum size {
    ONE, HIDDEN, INNER, VOCAB, HEADS, KV, HEAD, EXPERTS, EXPERT_INNER, SHARED_INNER, Q_LORA, KV_LORA, ROPE, NOPE, V_HEAD,
    INDEX_HEADS, INDEX_HEAD, /* derived: */ Q_ROWS, KV_ROWS, O_COLS, MLA_Q, MLA_KV_A, MLA_KV_B, MLA_O, INDEX_Q, TWO_HIDDEN, SIZES
};
struct sizes {
    uint64_t n[SIZES];
    uint64_t layers, dense_layers, extra_layers, moe_step;
    bool tied, bias, head_norms, sigmoid;
};

/* One tensor of a part: rows ONE and cols: a vector. */
struct line {
    const char *name;
    enum size rows, cols;
    enum dtype dtype; /* DT_COUNT: that of the model */
};
#define W DT_COUNT
static const struct line head[] = {{"model.embed_tokens.weight", VOCAB, HIDDEN, W}, {NULL, ONE, ONE, W}};
static const struct line tail[] = {{"model.norm.weight", ONE, HIDDEN, W}, {NULL, ONE, ONE, W}};
static const struct line classifier[] = {{"lm_head.weight", VOCAB, HIDDEN, W}, {NULL, ONE, ONE, W}};
static const struct line norms[] = {{"input_layernorm.weight", ONE, HIDDEN, W},
                                    {"post_attention_layernorm.weight", ONE, HIDDEN, W}, {NULL, ONE, ONE, W}};
static const struct line attention[] = {{"self_attn.q_proj.weight", Q_ROWS, HIDDEN, W},
                                        {"self_attn.k_proj.weight", KV_ROWS, HIDDEN, W},
                                        {"self_attn.v_proj.weight", KV_ROWS, HIDDEN, W},
                                        {"self_attn.o_proj.weight", HIDDEN, Q_ROWS, W}, {NULL, ONE, ONE, W}};
static const struct line biases[] = {{"self_attn.q_proj.bias", ONE, Q_ROWS, W}, {"self_attn.k_proj.bias", ONE, KV_ROWS, W},
                                     {"self_attn.v_proj.bias", ONE, KV_ROWS, W}, {NULL, ONE, ONE, W}};
static const struct line head_norms[] = {{"self_attn.q_norm.weight", ONE, HEAD, W}, {"self_attn.k_norm.weight", ONE, HEAD, W},
                                         {NULL, ONE, ONE, W}};
static const struct line latent_q[] = {{"self_attn.q_a_proj.weight", Q_LORA, HIDDEN, W},
                                       {"self_attn.q_a_layernorm.weight", ONE, Q_LORA, W},
                                       {"self_attn.q_b_proj.weight", MLA_Q, Q_LORA, W}, {NULL, ONE, ONE, W}};
static const struct line plain_q[] = {{"self_attn.q_proj.weight", MLA_Q, HIDDEN, W}, {NULL, ONE, ONE, W}};
static const struct line latent_kv[] = {{"self_attn.kv_a_proj_with_mqa.weight", MLA_KV_A, HIDDEN, W},
                                        {"self_attn.kv_a_layernorm.weight", ONE, KV_LORA, W},
                                        {"self_attn.kv_b_proj.weight", MLA_KV_B, KV_LORA, W},
                                        {"self_attn.o_proj.weight", HIDDEN, MLA_O, W}, {NULL, ONE, ONE, W}};
static const struct line indexer[] = {{"self_attn.indexer.wq_b.weight", INDEX_Q, Q_LORA, W},
                                      {"self_attn.indexer.wk.weight", INDEX_HEAD, HIDDEN, W},
                                      {"self_attn.indexer.k_norm.weight", ONE, INDEX_HEAD, DT_F32},
                                      {"self_attn.indexer.k_norm.bias", ONE, INDEX_HEAD, DT_F32},
                                      {"self_attn.indexer.weights_proj.weight", INDEX_HEADS, HIDDEN, W}, {NULL, ONE, ONE, W}};
static const struct line mlp[] = {{"mlp.gate_proj.weight", INNER, HIDDEN, W}, {"mlp.up_proj.weight", INNER, HIDDEN, W},
                                  {"mlp.down_proj.weight", HIDDEN, INNER, W}, {NULL, ONE, ONE, W}};
static const struct line router[] = {{"mlp.gate.weight", EXPERTS, HIDDEN, W}, {NULL, ONE, ONE, W}};
static const struct line router_bias[] = {{"mlp.gate.e_score_correction_bias", ONE, EXPERTS, DT_F32}, {NULL, ONE, ONE, W}};
static const struct line expert[] = {{"mlp.experts.%u.gate_proj.weight", EXPERT_INNER, HIDDEN, W},
                                     {"mlp.experts.%u.up_proj.weight", EXPERT_INNER, HIDDEN, W},
                                     {"mlp.experts.%u.down_proj.weight", HIDDEN, EXPERT_INNER, W}, {NULL, ONE, ONE, W}};
static const struct line shared[] = {{"mlp.shared_experts.gate_proj.weight", SHARED_INNER, HIDDEN, W},
                                     {"mlp.shared_experts.up_proj.weight", SHARED_INNER, HIDDEN, W},
                                     {"mlp.shared_experts.down_proj.weight", HIDDEN, SHARED_INNER, W}, {NULL, ONE, ONE, W}};
static const struct line mixtral_router[] = {{"block_sparse_moe.gate.weight", EXPERTS, HIDDEN, W}, {NULL, ONE, ONE, W}};
static const struct line mixtral_expert[] = {{"block_sparse_moe.experts.%u.w1.weight", EXPERT_INNER, HIDDEN, W},
                                             {"block_sparse_moe.experts.%u.w3.weight", EXPERT_INNER, HIDDEN, W},
                                             {"block_sparse_moe.experts.%u.w2.weight", HIDDEN, EXPERT_INNER, W},
                                             {NULL, ONE, ONE, W}};
/* Of a layer that predicts one more token, beside what every layer has. */
static const struct line predictor[] = {{"embed_tokens.weight", VOCAB, HIDDEN, W}, {"enorm.weight", ONE, HIDDEN, W},
                                        {"hnorm.weight", ONE, HIDDEN, W}, {"eh_proj.weight", HIDDEN, TWO_HIDDEN, W},
                                        {"shared_head.norm.weight", ONE, HIDDEN, W},
                                        {"shared_head.head.weight", VOCAB, HIDDEN, W}, {NULL, ONE, ONE, W}};
#undef W

enum moe { MOE_NONE, MOE_MIXTRAL, MOE_QWEN, MOE_DEEPSEEK };
static const struct family {
    const char *type;
    enum moe moe;
    bool latent, bias, head_norms;
} families[] = {
    {"llama", MOE_NONE, false, false, false},        {"mistral", MOE_NONE, false, false, false},
    {"qwen2", MOE_NONE, false, true, false},         {"qwen3", MOE_NONE, false, false, true},
    {"mixtral", MOE_MIXTRAL, false, false, false},   {"qwen3_moe", MOE_QWEN, false, false, true},
    {"deepseek_v2", MOE_DEEPSEEK, true, false, false}, {"deepseek_v3", MOE_DEEPSEEK, true, false, false},
    {"deepseek_v32", MOE_DEEPSEEK, true, false, false}, {"kimi_k2", MOE_DEEPSEEK, true, false, false},
};
enum { FAMILIES = sizeof families / sizeof *families };

/* ---- reading config.json ------------------------------------------------------------ */
struct maker {
    struct model *m;
    struct table t;
    struct sizes s;
    enum dtype dtype;
    const json_t *root;
    struct err *e;
    uint64_t pos;
};

static uint64_t number(const json_t *root, const char *key)
{
    const json_int_t x = json_integer_value(json_object_get(root, key));
    return x > 0 && x < 1 << 30 ? (uint64_t)x : 0;
}

/* A size that must be there. */
static int need(struct maker *k, enum size i, const char *key)
{
    k->s.n[i] = number(k->root, key);
    return k->s.n[i] ? 0 : err_set(k->e, ERR_INPUT, "%s: config.json has no '%s' that is a size", k->m->path, key);
}

static int read_attention(struct maker *k, const struct family *f)
{
    uint64_t *n = k->s.n;
    if (need(k, HEADS, "num_attention_heads"))
        return -1;
    n[KV] = number(k->root, "num_key_value_heads") ? number(k->root, "num_key_value_heads") : n[HEADS];
    n[HEAD] = number(k->root, "head_dim") ? number(k->root, "head_dim") : n[HIDDEN] / n[HEADS];
    n[Q_ROWS] = n[HEADS] * n[HEAD];
    n[KV_ROWS] = n[KV] * n[HEAD];
    k->s.bias = f->bias || json_is_true(json_object_get(k->root, "attention_bias"));
    k->s.head_norms = f->head_norms;
    if (!f->latent)
        return 0;
    if (need(k, KV_LORA, "kv_lora_rank") || need(k, ROPE, "qk_rope_head_dim") || need(k, NOPE, "qk_nope_head_dim")
        || need(k, V_HEAD, "v_head_dim"))
        return -1;
    n[Q_LORA] = number(k->root, "q_lora_rank");
    n[INDEX_HEADS] = number(k->root, "index_n_heads");
    n[INDEX_HEAD] = number(k->root, "index_head_dim");
    n[MLA_Q] = n[HEADS] * (n[NOPE] + n[ROPE]);
    n[MLA_KV_A] = n[KV_LORA] + n[ROPE];
    n[MLA_KV_B] = n[HEADS] * (n[NOPE] + n[V_HEAD]);
    n[MLA_O] = n[HEADS] * n[V_HEAD];
    n[INDEX_Q] = n[INDEX_HEADS] * n[INDEX_HEAD];
    return 0;
}

static int read_sizes(struct maker *k, const struct family *f)
{
    struct sizes *s = &k->s;
    if (need(k, HIDDEN, "hidden_size") || need(k, VOCAB, "vocab_size")
        || need(k, INNER, "intermediate_size") || read_attention(k, f))
        return -1;
    s->n[ONE] = 1;
    s->n[TWO_HIDDEN] = 2 * s->n[HIDDEN];
    s->layers = number(k->root, "num_hidden_layers");
    if (!s->layers || s->layers > 1000)
        return err_set(k->e, ERR_INPUT, "%s: config.json has no 'num_hidden_layers' from 1 to 1000", k->m->path);
    s->dense_layers = number(k->root, "first_k_dense_replace");
    s->extra_layers = number(k->root, "num_nextn_predict_layers");
    if (s->extra_layers > 100)
        return err_set(k->e, ERR_INPUT, "%s: config.json has %llu num_nextn_predict_layers, and 100 are the most", k->m->path,
                       (unsigned long long)s->extra_layers);
    s->moe_step = number(k->root, "decoder_sparse_step");
    if (!s->moe_step)
        s->moe_step = number(k->root, "moe_layer_freq");
    s->moe_step = s->moe_step ? s->moe_step : 1;
    s->tied = json_is_true(json_object_get(k->root, "tie_word_embeddings"));
    const char *method = json_string_value(json_object_get(k->root, "topk_method"));
    s->sigmoid = method && !strcmp(method, "noaux_tc");
    if (f->moe == MOE_NONE)
        return 0;
    if (f->moe == MOE_MIXTRAL)
        s->n[EXPERT_INNER] = s->n[INNER];
    else if (need(k, EXPERT_INNER, "moe_intermediate_size"))
        return -1;
    if (need(k, EXPERTS, f->moe == MOE_MIXTRAL ? "num_local_experts" : f->moe == MOE_QWEN ? "num_experts" : "n_routed_experts"))
        return -1;
    if (s->n[EXPERTS] > 4096 || s->n[EXPERTS] * (s->layers + s->extra_layers) > 1 << 18)
        return err_set(k->e, ERR_INPUT, "%s: config.json has %llu experts in %llu layers, and 4096 a layer and 262144 in all are "
                       "the most", k->m->path, (unsigned long long)s->n[EXPERTS],
                       (unsigned long long)(s->layers + s->extra_layers));
    s->n[SHARED_INNER] = number(k->root, "n_shared_experts") * s->n[EXPERT_INNER];
    return 0;
}

/* ---- putting tensors ------------------------------------------------------------------ */
static int put(struct maker *k, const char *prefix, const struct line *l, unsigned expert_number)
{
    for (; l->name; l++) {
        char name[160];
        const uint64_t rows = k->s.n[l->rows], cols = k->s.n[l->cols];
        int at = snprintf(name, sizeof name, "%s", prefix);
        if (strchr(l->name, '%'))
            snprintf(name + at, sizeof name - (size_t)at, l->name, expert_number);
        else
            snprintf(name + at, sizeof name - (size_t)at, "%s", l->name);
        struct tensor t = {.name = arena_strdup(&k->m->mem, name, k->e), .dtype = l->dtype == DT_COUNT ? k->dtype : l->dtype,
                           .rank = l->rows == ONE ? 1 : 2, .dim = {rows, cols}, .off = k->pos};
        if (l->rows == ONE)
            t.dim[0] = cols;
        if (!t.name)
            return -1;
        if (rows >> 24 || cols >> 24 || !dtype_size(t.dtype, rows * cols, &t.size) || t.size > UINT64_MAX / 4 - k->pos)
            return err_set(k->e, ERR_INPUT, "%s: config.json makes '%s' [%llu,%llu], and sizes below 2^24 are taken",
                           k->m->path, name, (unsigned long long)rows, (unsigned long long)cols);
        if (table_tensor(&k->t, &t, k->e))
            return -1;
        k->pos += t.size;
    }
    return 0;
}

static bool has_experts(const struct maker *k, const struct family *f, uint64_t layer)
{
    if (f->moe == MOE_NONE)
        return false;
    size_t i;
    const json_t *x;
    json_array_foreach((json_t *)json_object_get(k->root, "mlp_only_layers"), i, x)
        if ((uint64_t)json_integer_value(x) == layer)
            return false;
    return f->moe == MOE_DEEPSEEK ? layer >= k->s.dense_layers && layer % k->s.moe_step == 0 : (layer + 1) % k->s.moe_step == 0;
}

static int put_layer(struct maker *k, const struct family *f, uint64_t layer)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "model.layers.%u.", (unsigned)layer);
    const bool extra = layer >= k->s.layers;
    if (put(k, prefix, norms, 0) || (extra && put(k, prefix, predictor, 0)))
        return -1;
    if (f->latent ? put(k, prefix, k->s.n[Q_LORA] ? latent_q : plain_q, 0) || put(k, prefix, latent_kv, 0)
                  : put(k, prefix, attention, 0))
        return -1;
    if ((k->s.n[INDEX_HEAD] && put(k, prefix, indexer, 0)) || (!f->latent && k->s.bias && put(k, prefix, biases, 0))
        || (k->s.head_norms && put(k, prefix, head_norms, 0)))
        return -1;
    if (!has_experts(k, f, layer) && !extra)
        return put(k, prefix, mlp, 0);
    if (put(k, prefix, f->moe == MOE_MIXTRAL ? mixtral_router : router, 0) || (k->s.sigmoid && put(k, prefix, router_bias, 0))
        || (k->s.n[SHARED_INNER] && put(k, prefix, shared, 0)))
        return -1;
    for (unsigned i = 0; i < k->s.n[EXPERTS]; i++)
        if (put(k, prefix, f->moe == MOE_MIXTRAL ? mixtral_expert : expert, i))
            return -1;
    return 0;
}

static const struct family *family_of(const char *type)
{
    for (int i = 0; type && i < FAMILIES; i++)
        if (!strcmp(families[i].type, type))
            return &families[i];
    return NULL;
}

static int make(struct maker *k, const json_t *root)
{
    const json_t *text = json_object_get(root, "text_config");
    k->root = text ? text : root;
    const char *type = json_string_value(json_object_get(k->root, "model_type"));
    const struct family *f = family_of(type);
    const char *dtype = json_string_value(json_object_get(k->root, "torch_dtype"));
    if (!f)
        return err_set(k->e, ERR_INPUT, "%s: of model_type '%.100s' no list of tensors follows from config.json alone (give "
                       "the weights, or their headers)", k->m->path, type ? type : "?");
    k->dtype = dtype && !strcmp(dtype, "float16") ? DT_F16 : dtype && !strcmp(dtype, "float32") ? DT_F32 : DT_BF16;
    if (read_sizes(k, f) || put(k, "", head, 0))
        return -1;
    for (uint64_t i = 0; i < k->s.layers + (f->moe == MOE_DEEPSEEK ? k->s.extra_layers : 0); i++)
        if (put_layer(k, f, i))
            return -1;
    return put(k, "", tail, 0) || (!k->s.tied && put(k, "", classifier, 0)) ? -1 : 0;
}

int inventory_open(struct model *m, const char *path, const char *text, struct err *e)
{
    *m = (struct model){.random = true, .headers_only = true};
    struct maker k = {.m = m, .e = e};
    m->path = arena_strdup(&m->mem, path, e);
    m->config = arena_strdup(&m->mem, text, e);
    json_t *root = m->path && m->config ? config_parse(text, path, e) : NULL;
    int r = root ? make(&k, root) : -1;
    json_decref(root);
    m->t = k.t.t;
    m->n = k.t.n;
    if (!r && map_reserve(&m->by_name, m->n, e))
        r = -1;
    for (size_t i = 0; !r && i < m->n; i++)
        r = map_add(&m->by_name, m->t[i].name, i, e) < 0 ? -1 : 0;
    if (r)
        model_close(m);
    return r;
}
