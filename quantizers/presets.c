#include "quantizers/presets.h"

#include "formats/config_json.h"

#include <string.h>

/* Names of the field for what every published FP8 checkpoint leaves alone
 * (DeepSeek-V3, Qwen3 and Llama on Hugging Face; llama.cpp's tensor names). */
static const struct preset_line generic[] = {
    {"*norm*", ACTION_KEEP, "a norm"},
    {"*embed*", ACTION_KEEP, "an embedding"},
    {"*token_types*", ACTION_KEEP, "an embedding"},
    {"token_embd*", ACTION_KEEP, "an embedding"},
    {"embed.weight", ACTION_KEEP, "an embedding"},
    {"*wte.weight", ACTION_KEEP, "an embedding"},
    {"*wpe.weight", ACTION_KEEP, "an embedding"},
    {"*lm_head*", ACTION_KEEP, "the output head"},
    {"*shared_head*", ACTION_KEEP, "the output head"},
    {"head.weight", ACTION_KEEP, "the output head"},
    {"*predictions.decoder*", ACTION_KEEP, "the output head"},
    {"output.weight", ACTION_KEEP, "the output head"},
    {"*.mlp.gate.weight", ACTION_KEEP, "a router"},
    {"*.ffn.gate.weight", ACTION_KEEP, "a router"},
    {"*block_sparse_moe.gate.weight", ACTION_KEEP, "a router"},
    {"*shared_expert_gate*", ACTION_KEEP, "a router"},
    {"*router*", ACTION_KEEP, "a router"},
    {"*ffn_gate_inp*", ACTION_KEEP, "a router"},
    {"*.indexer.weights_proj*", ACTION_KEEP, "an indexer's weighting"},
    {"*eh_proj*", ACTION_KEEP, "a multi-token-prediction projection"},
    {"*conv1d*", ACTION_KEEP, "a convolution"},
    {"*rotary*", ACTION_KEEP, "rotary frequencies"},
    {"*rope_freqs*", ACTION_KEEP, "rotary frequencies"},
    {"*vision_tower.*", ACTION_KEEP, "a vision tower"},
    {"*vision_model.*", ACTION_KEEP, "a vision tower"},
    {"*visual.*", ACTION_KEEP, "a vision tower"},
    {"*mm_projector.*", ACTION_KEEP, "from a vision tower to the model"},
    {"*multi_modal_projector.*", ACTION_KEEP, "from a vision tower to the model"},
    {0}};
static const struct preset_line none[] = {{0}};

/* The weights of DeepSeek-V3 by type, as its index and headers have them (numbers-and-checkpoints D.1 of the project's
 * references): all that is not F8_E4M3.  Layer 61 predicts the next token; its experts and attention are F8_E4M3. */
#define DEEPSEEK_KEPT \
    {"*embed_tokens.weight", ACTION_KEEP, "embeddings, also of the MTP layer, are BF16"}, \
    {"lm_head.weight", ACTION_KEEP, "the output head is BF16"}, \
    {"*norm.weight", ACTION_KEEP, "norms are BF16"}, \
    {"*.mlp.gate.weight", ACTION_KEEP, "routers are BF16"}, \
    {"*.eh_proj.weight", ACTION_KEEP, "the projection of the MTP layer is BF16"}, \
    {"*.shared_head.head.weight", ACTION_KEEP, "the head of the MTP layer is BF16"}, \
    {"*.indexer.weights_proj.weight", ACTION_KEEP, "V3.2: BF16, while wq_b and wk of the indexer are FP8"}

static const struct preset_line deepseek_v3[] = {DEEPSEEK_KEPT, {0}};
/* Types of the tensors in deepseek-ai/DeepSeek-V4-Flash, by names with and without "model.": wq_b of the indexer,
 * e_proj and h_proj of MTP layers are FP8; hc_*, ape and attn_sink are F32 and no X.weight. */
static const struct preset_line deepseek_v4[] = {
    {"*embed.weight", ACTION_KEEP, "the embedding is BF16"},
    {"*embed_tokens.weight", ACTION_KEEP, "the embedding is BF16"},
    {"*head.weight", ACTION_KEEP, "the output head is BF16"},
    {"*norm.weight", ACTION_KEEP, "norms are BF16"},
    {"*.ffn.gate.weight", ACTION_KEEP, "routers are BF16"},
    {"*.mlp.gate.weight", ACTION_KEEP, "routers are BF16"},
    {"*.compressor.*", ACTION_KEEP, "compressors, also the indexer's, are BF16"},
    {"*.indexer.weights_proj.weight", ACTION_KEEP, "the weighting of the indexer is BF16"},
    {0}};
/* quant_method mxfp4, modules_to_not_convert of openai/gpt-oss-20b and 120b. */
static const struct preset_line gpt_oss[] = {
    {"*.self_attn.*", ACTION_KEEP, "model.layers.*.self_attn"},
    {"*.mlp.router.*", ACTION_KEEP, "model.layers.*.mlp.router"},
    {"*embed_tokens.weight", ACTION_KEEP, "model.embed_tokens"},
    {"lm_head.weight", ACTION_KEEP, "lm_head"},
    {"*norm.weight", ACTION_KEEP, "norms are BF16"},
    {0}};
/* modules_to_not_convert of Qwen/Qwen3-8B-FP8 and its like. */
static const struct preset_line qwen3[] = {
    {"lm_head.weight", ACTION_KEEP, "lm_head"},
    {"*embed_tokens.weight", ACTION_KEEP, "an embedding, which is no linear layer"},
    {"*norm.weight", ACTION_KEEP, "model.layers.*.input_layernorm, post_attention_layernorm"},
    {0}};
/* The same of Qwen/Qwen3-30B-A3B-FP8 and Qwen3-235B-A22B-FP8. */
static const struct preset_line qwen3_moe[] = {
    {"lm_head.weight", ACTION_KEEP, "lm_head"},
    {"*embed_tokens.weight", ACTION_KEEP, "an embedding, which is no linear layer"},
    {"*norm.weight", ACTION_KEEP, "model.layers.*.input_layernorm, post_attention_layernorm"},
    {"*.mlp.gate.weight", ACTION_KEEP, "model.layers.*.mlp.gate"},
    {0}};
/* Qwen/Qwen3-Next-80B-A3B-Instruct-FP8: in_proj_ba is BF16 (HabanaAI/vllm-fork pull 2071), and mtp.fc has no scale
 * (ROCm/ATOM pull 755); Qwen3.5 has in_proj_a and in_proj_b in its place. */
static const struct preset_line qwen3_next[] = {
    {"lm_head.weight", ACTION_KEEP, "lm_head"},
    {"*embed_tokens.weight", ACTION_KEEP, "an embedding, which is no linear layer"},
    {"*norm.weight", ACTION_KEEP, "norms"},
    {"*.mlp.gate.weight", ACTION_KEEP, "routers"},
    {"*.mlp.shared_expert_gate.weight", ACTION_KEEP, "gates of shared experts"},
    {"*.linear_attn.conv1d.weight", ACTION_KEEP, "a convolution"},
    {"*.linear_attn.in_proj_ba.weight", ACTION_KEEP, "decays and gates of linear attention are BF16"},
    {"*.linear_attn.in_proj_a.weight", ACTION_KEEP, "decays of linear attention are BF16"},
    {"*.linear_attn.in_proj_b.weight", ACTION_KEEP, "gates of linear attention are BF16"},
    {"mtp.fc.weight", ACTION_KEEP, "the projection of the MTP layer is BF16"},
    {0}};
/* ignore of RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8 and nvidia/Llama-3.1-8B-Instruct-FP8; Meta published FP8 of the
 * 405B only, which is another list. */
static const struct preset_line llama[] = {
    {"lm_head.weight", ACTION_KEEP, "lm_head"},
    {"*embed_tokens.weight", ACTION_KEEP, "an embedding, which is no linear layer"},
    {"*norm.weight", ACTION_KEEP, "norms, which are no linear layers"},
    {0}};
/* quant_method fbgemm_fp8, modules_to_not_convert of meta-llama/Llama-3.1-405B-FP8. */
static const struct preset_line llama_405b[] = {
    {"lm_head.weight", ACTION_KEEP, "lm_head"},
    {"*embed_tokens.weight", ACTION_KEEP, "an embedding, which is no linear layer"},
    {"*norm.weight", ACTION_KEEP, "norms, which are no linear layers"},
    {"*.self_attn.*", ACTION_KEEP, "model.layers.*.self_attn.*_proj"},
    {"model.layers.0.mlp.*", ACTION_KEEP, "model.layers.0.mlp.*_proj, the first layer"},
    {"model.layers.125.mlp.*", ACTION_KEEP, "model.layers.125.mlp.*_proj, the last layer"},
    {0}};
/* moonshotai/Kimi-K2-Instruct has the modules, names and FP8 of DeepSeek-V3, without a layer for MTP. */
static const struct preset_line kimi_k2[] = {DEEPSEEK_KEPT, {0}};
/* INT4 of moonshotai/Kimi-K2.6 and K2-Thinking: ignore of their compressed-tensors, which leaves the routed experts. */
static const struct preset_line kimi_k25[] = {
    {"*self_attn*", ACTION_KEEP, "re:.*self_attn.*"},
    {"*shared_experts*", ACTION_KEEP, "re:.*shared_experts.*"},
    {"re:mlp\\.(gate|up|gate_up|down)_proj", ACTION_KEEP, "re:.*mlp\\.(gate|up|gate_up|down)_proj.*, dense layers"},
    {"*lm_head*", ACTION_KEEP, "re:.*lm_head.*"},
    {"*vision_tower*", ACTION_KEEP, "re:vision_tower.*"},
    {"*mm_projector*", ACTION_KEEP, "re:mm_projector.*"},
    {"*embed_tokens.weight", ACTION_KEEP, "an embedding, which is no linear layer"},
    {"*norm.weight", ACTION_KEEP, "norms, which are no linear layers"},
    {"*.mlp.gate.weight", ACTION_KEEP, "routers are BF16"},
    {0}};
/* ignore of zai-org/GLM-4.5-Air-FP8 (compressed-tensors, by channel).  It names shared_head.norm and not
 * shared_head.head, the output head of the MTP layer, which is kept here as everywhere. */
static const struct preset_line glm4_moe[] = {
    {"lm_head.weight", ACTION_KEEP, "lm_head"},
    {"*embed_tokens.weight", ACTION_KEEP, "model.embed_tokens, also of the MTP layer"},
    {"*norm.weight", ACTION_KEEP, "model.layers.*.input_layernorm and the like, model.norm"},
    {"*.mlp.gate.weight", ACTION_KEEP, "model.layers.*.mlp.gate"},
    {"*.eh_proj.weight", ACTION_KEEP, "model.layers.*.eh_proj, of the MTP layer"},
    {"*.shared_head.head.weight", ACTION_KEEP, "the head of the MTP layer"},
    {0}};

const struct preset preset_table[] = {
    {"deepseek-v3", "DeepSeek-V3, V3.1, V3.2, R1", "deepseek_v3 deepseek_v32", "deepseek-ai/DeepSeek-V3, V3.2-Exp",
     deepseek_v3},
    {"deepseek-v4", "DeepSeek-V4", "deepseek_v4", "deepseek-ai/DeepSeek-V4-Flash", deepseek_v4},
    {"qwen3", "Qwen3", "qwen3", "Qwen/Qwen3-8B-FP8", qwen3},
    {"qwen3-moe", "Qwen3-MoE", "qwen3_moe", "Qwen/Qwen3-30B-A3B-FP8", qwen3_moe},
    {"qwen3-next", "Qwen3-Next, Qwen3.5", "qwen3_next qwen3_5 qwen3_5_moe qwen3_5_text qwen3_5_moe_text",
     "Qwen/Qwen3-Next-80B-A3B-Instruct-FP8", qwen3_next},
    {"llama", "Llama 2 and 3", "llama", "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8", llama},
    {"llama-405b", "Llama 3.1 405B as Meta has it", "", "meta-llama/Llama-3.1-405B-FP8", llama_405b},
    {"gpt-oss", "gpt-oss", "gpt_oss", "openai/gpt-oss-120b", gpt_oss},
    {"kimi-k2", "Kimi-K2", "kimi_k2", "moonshotai/Kimi-K2-Instruct", kimi_k2},
    {"kimi-k2.5", "Kimi-K2.5, K2.6: routed experts only", "kimi_k25", "moonshotai/Kimi-K2.6", kimi_k25},
    {"glm-4.5", "GLM-4.5, GLM-4.6, GLM-4.7", "glm4_moe", "zai-org/GLM-4.5-Air-FP8", glm4_moe},
    {"generic", "what every family keeps", "", "names of the field", generic},
    {"none", "nothing but what is no matrix of a linear layer", "", "", none},
};
const size_t preset_count = sizeof preset_table / sizeof *preset_table;

const struct preset *preset_find(const char *name)
{
    for (size_t i = 0; i < preset_count; i++)
        if (!strcmp(preset_table[i].name, name))
            return &preset_table[i];
    return NULL;
}

static bool has_word(const char *words, const char *word)
{
    const size_t n = strlen(word);
    for (const char *s = words; n && !strchr(word, ' ') && (s = strstr(s, word)); s += n)
        if ((s == words || s[-1] == ' ') && (s[n] == ' ' || !s[n]))
            return true;
    return false;
}

static const struct preset *of_type(const json_t *config)
{
    const char *type = json_string_value(json_object_get(config, "model_type"));
    for (size_t i = 0; type && i < preset_count; i++)
        if (has_word(preset_table[i].model_types, type))
            return &preset_table[i];
    return NULL;
}

const struct preset *preset_of(const char *config)
{
    struct err ignored; /* what a bad one means is said by those who need it */
    json_t *root = config ? config_parse(config, "config.json", &ignored) : NULL;
    const struct preset *p = of_type(root);
    if (!p)
        p = of_type(json_object_get(root, "text_config"));
    json_decref(root);
    return p ? p : preset_find("generic");
}

static int add_lines(struct rules *r, const struct preset *p, const char *origin, struct err *e)
{
    for (const struct preset_line *l = p->line; l->pattern; l++)
        if (rules_add_default(r, l->pattern, l->action, origin, l->why, e))
            return -1;
    return 0;
}

int preset_add(struct rules *r, const struct preset *p, struct err *e)
{
    const struct preset *rest = preset_find("generic");
    char *origin = arena_printf(&r->mem, e, "preset %s", p->name);
    if (!origin || add_lines(r, p, origin, e))
        return -1;
    return p == rest || p->line == none ? 0 : add_lines(r, rest, "preset generic", e);
}

static bool has_default(const struct rules *r, const char *pattern)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->r[i].is_default && !strcmp(r->r[i].pattern, pattern))
            return true;
    return false;
}

int preset_add_target(struct rules *r, const struct target *t, const struct target_form *f, bool saturate, struct err *e)
{
    static const char *const experts[] = {"experts.*", "*.experts.*", "*_exps.*"}; /* tensor_role() */
    const struct scheme *const of_experts = f ? f->role[ROLE_EXPERT].scheme : NULL;
    const char *origin = t ? arena_printf(&r->mem, e, "target %s", t->id) : NULL;
    if (t && !origin)
        return -1;
    for (size_t i = 0; t && i < t->nkeep; i++) {
        if (has_default(r, t->keep[i].pattern))
            continue; /* a file of --print-rules */
        if (rules_add_default(r, t->keep[i].pattern, ACTION_DECODE, origin, t->keep[i].why, e))
            return -1;
        r->r[r->n - 1].dtype = DT_BF16; /* what is quantized already does not stay so */
    }
    for (size_t i = 0; t && of_experts != f->role[ROLE_DENSE].scheme && i < sizeof experts / sizeof *experts; i++) {
        if (has_default(r, experts[i]))
            continue;
        struct encoding *to = arena_alloc(&r->mem, sizeof *to, e);
        if (!to || encoding_make(to, of_experts, NULL, e)
            || rules_add_default(r, experts[i], ACTION_QUANTIZE, origin, "experts", e))
            return -1;
        to->saturate_nonfinite = saturate;
        r->r[r->n - 1].to = to;
    }
    return 0;
}
