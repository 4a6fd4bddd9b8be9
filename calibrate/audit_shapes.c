/* What config.json makes of the shapes of a layer's tensors, in the families of which it is known. */
#include "calibrate/audit_shapes.h"

#include "formats/mem.h"

#include <jansson.h>
#include <string.h>

/* Sizes that config.json states or that follow from it; 0: unknown. */
enum size {
    NONE, HIDDEN, HEAD, HEADS, KV_HEADS, Q, KV, O, INNER, EXPERTS, EXPERT, SHARED, Q_LORA, KV_LORA, KV_A, KV_B, TWICE, SIZES
};

static const struct row {
    const char *name;                /* behind the layer's number, "*" for an expert's */
    uint8_t dim[2];                  /* the second is NONE: a vector */
} rows[] = {
    {"input_layernorm.weight", {HIDDEN}},
    {"post_attention_layernorm.weight", {HIDDEN}},
    {"self_attn.q_proj.weight", {Q, HIDDEN}},
    {"self_attn.k_proj.weight", {KV, HIDDEN}},
    {"self_attn.v_proj.weight", {KV, HIDDEN}},
    {"self_attn.o_proj.weight", {HIDDEN, O}},
    {"self_attn.q_proj.bias", {Q}},
    {"self_attn.k_proj.bias", {KV}},
    {"self_attn.v_proj.bias", {KV}},
    {"self_attn.q_norm.weight", {HEAD}},
    {"self_attn.k_norm.weight", {HEAD}},
    {"self_attn.q_a_proj.weight", {Q_LORA, HIDDEN}},
    {"self_attn.q_a_layernorm.weight", {Q_LORA}},
    {"self_attn.q_b_proj.weight", {Q, Q_LORA}},
    {"self_attn.kv_a_proj_with_mqa.weight", {KV_A, HIDDEN}},
    {"self_attn.kv_a_layernorm.weight", {KV_LORA}},
    {"self_attn.kv_b_proj.weight", {KV_B, KV_LORA}},
    {"mlp.gate_proj.weight", {INNER, HIDDEN}},
    {"mlp.up_proj.weight", {INNER, HIDDEN}},
    {"mlp.down_proj.weight", {HIDDEN, INNER}},
    {"mlp.gate.weight", {EXPERTS, HIDDEN}},
    {"mlp.gate.e_score_correction_bias", {EXPERTS}},
    {"mlp.experts.*.gate_proj.weight", {EXPERT, HIDDEN}},
    {"mlp.experts.*.up_proj.weight", {EXPERT, HIDDEN}},
    {"mlp.experts.*.down_proj.weight", {HIDDEN, EXPERT}},
    {"mlp.shared_experts.gate_proj.weight", {SHARED, HIDDEN}},
    {"mlp.shared_experts.up_proj.weight", {SHARED, HIDDEN}},
    {"mlp.shared_experts.down_proj.weight", {HIDDEN, SHARED}},
    {"mlp.shared_expert.gate_proj.weight", {SHARED, HIDDEN}},
    {"mlp.shared_expert.up_proj.weight", {SHARED, HIDDEN}},
    {"mlp.shared_expert.down_proj.weight", {HIDDEN, SHARED}},
    {"block_sparse_moe.gate.weight", {EXPERTS, HIDDEN}},
    {"block_sparse_moe.experts.*.w1.weight", {INNER, HIDDEN}},
    {"block_sparse_moe.experts.*.w2.weight", {HIDDEN, INNER}},
    {"block_sparse_moe.experts.*.w3.weight", {INNER, HIDDEN}},
    {"eh_proj.weight", {HIDDEN, TWICE}},
};

static uint64_t get(const json_t *c, const char *key)
{
    const json_t *x = json_object_get(c, key);
    const json_int_t n = json_is_integer(x) ? json_integer_value(x) : 0;
    return n > 0 && n < 1 << 30 ? (uint64_t)n : 0;
}

static uint64_t first_of(uint64_t a, uint64_t b) { return a ? a : b; }

/* 0 when a part is missing. */
static uint64_t sum(uint64_t a, uint64_t b) { return a && b ? a + b : 0; }

static void plain_attention(const json_t *c, uint64_t *d)
{
    d[HEAD] = first_of(get(c, "head_dim"), d[HEADS] ? d[HIDDEN] / d[HEADS] : 0);
    d[Q] = d[O] = d[HEADS] * d[HEAD];
    d[KV] = d[KV_HEADS] * d[HEAD];
}

/* Multi-head latent attention (transformers, models/deepseek_v3/modeling_deepseek_v3.py). */
static void latent_attention(const json_t *c, uint64_t *d)
{
    const uint64_t nope = get(c, "qk_nope_head_dim"), rope = get(c, "qk_rope_head_dim"), v = get(c, "v_head_dim");
    d[Q_LORA] = get(c, "q_lora_rank");
    d[KV_LORA] = get(c, "kv_lora_rank");
    d[Q] = d[HEADS] * sum(nope, rope);
    d[KV_A] = sum(d[KV_LORA], rope);
    d[KV_B] = d[HEADS] * sum(nope, v);
    d[O] = d[HEADS] * v;
}

bool shapes_of(struct shapes *s, const void *config)
{
    static const char *const plain[] = {"llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "glm4_moe", "gpt_oss", NULL};
    static const char *const latent[] = {"deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", NULL};
    const json_t *c = config;
    const char *type = json_string_value(json_object_get(c, "model_type"));
    const char *const *p = plain, *const *l = latent;
    uint64_t d[SIZES] = {0};
    *s = (struct shapes){0};
    while (type && *p && strcmp(type, *p))
        p++;
    while (type && *l && strcmp(type, *l))
        l++;
    if (!type || (!*p && !*l))
        return false;
    d[HIDDEN] = get(c, "hidden_size");
    d[HEADS] = get(c, "num_attention_heads");
    d[KV_HEADS] = first_of(get(c, "num_key_value_heads"), d[HEADS]);
    (*l ? latent_attention : plain_attention)(c, d);
    d[INNER] = get(c, "intermediate_size");
    d[EXPERTS] = first_of(first_of(get(c, "n_routed_experts"), get(c, "num_experts")), get(c, "num_local_experts"));
    d[EXPERT] = get(c, "moe_intermediate_size");
    d[SHARED] = first_of(get(c, "shared_expert_intermediate_size"), d[EXPERT] * get(c, "n_shared_experts"));
    d[TWICE] = 2 * d[HIDDEN];
    _Static_assert(sizeof d <= sizeof s->size, "room for all sizes");
    memcpy(s->size, d, sizeof d);
    return true;
}

/* Layers of the language model, alone or beside others. */
static bool is_text(const char *stem)
{
    static const char *const text[] = {"model.layers.", "language_model.model.layers.", "model.language_model.layers."};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (!strcmp(stem, text[i]))
            return true;
    return false;
}

unsigned shapes_find(const struct shapes *s, const char *stem, const char *name, uint64_t dim[2])
{
    for (size_t i = 0; is_text(stem) && i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(name, rows[i].name)) {
            const unsigned rank = rows[i].dim[1] == NONE ? 1 : 2;
            for (unsigned k = 0; k < rank; k++)
                if (!(dim[k] = s->size[rows[i].dim[k]]))
                    return 0;
            return rank;
        }
    return 0;
}
