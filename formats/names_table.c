/* Names of tensors, Hugging Face's and llama.cpp's: gguf-py/gguf/constants.py (TENSOR_NAMES,
 * MODEL_TENSORS) and tensor_mapping.py; which architectures exist and what is done to values:
 * convert_hf_to_gguf.py. */
#include "formats/names_table.h"

#define BLK "blk.{L}."
#define LAYER "model.layers.{L}."
#define SAME(gguf, hf) {gguf, hf, NAME_SAME, false, NULL}
#define WHOLE(gguf, hf) {gguf, hf, NAME_SAME, true, NULL}
#define END {NULL, NULL, NAME_SAME, false, NULL}

static const struct name_row whole_model[] = {
    SAME("token_embd", "model.embed_tokens"),
    SAME("output_norm", "model.norm"),
    SAME("output", "lm_head"),
    {"rope_freqs.weight", NULL, NAME_DROPPED, true, "what rope_scaling of config.json says is computed there"},
    {NULL, LAYER "self_attn.rotary_emb.inv_freq", NAME_DROPPED, true, "it follows from rope_theta"},
    {BLK "attn_rot_embd.weight", NULL, NAME_DROPPED, true, "it follows from rope_theta"},
    END};

static const struct name_row attention[] = {
    SAME(BLK "attn_norm", LAYER "input_layernorm"),
    {BLK "attn_q", LAYER "self_attn.q_proj", NAME_Q, false, NULL},
    {BLK "attn_k", LAYER "self_attn.k_proj", NAME_K, false, NULL},
    SAME(BLK "attn_v", LAYER "self_attn.v_proj"),
    SAME(BLK "attn_output", LAYER "self_attn.o_proj"),
    END};

static const struct name_row qk_norm[] = {
    SAME(BLK "attn_q_norm", LAYER "self_attn.q_norm"),
    SAME(BLK "attn_k_norm", LAYER "self_attn.k_norm"),
    END};

/* What comes before the second half of a layer has one name there and two here. */
static const struct name_row ffn_norm[] = {SAME(BLK "ffn_norm", LAYER "post_attention_layernorm"), END};
static const struct name_row post_norm[] = {SAME(BLK "post_attention_norm", LAYER "post_attention_layernorm"), END};

static const struct name_row ffn[] = {
    SAME(BLK "ffn_gate", LAYER "mlp.gate_proj"),
    SAME(BLK "ffn_up", LAYER "mlp.up_proj"),
    SAME(BLK "ffn_down", LAYER "mlp.down_proj"),
    END};

static const struct name_row experts[] = {
    {BLK "ffn_gate_exps", LAYER "mlp.experts.{E}.gate_proj", NAME_EXPERTS, false, NULL},
    {BLK "ffn_up_exps", LAYER "mlp.experts.{E}.up_proj", NAME_EXPERTS, false, NULL},
    {BLK "ffn_down_exps", LAYER "mlp.experts.{E}.down_proj", NAME_EXPERTS, false, NULL},
    SAME(BLK "ffn_gate_inp", LAYER "mlp.gate"),
    END};

/* The first GGUF files with experts had a tensor for each of them. */
static const struct name_row mixtral[] = {
    {BLK "ffn_gate_exps", LAYER "block_sparse_moe.experts.{E}.w1", NAME_EXPERTS, false, NULL},
    {BLK "ffn_down_exps", LAYER "block_sparse_moe.experts.{E}.w2", NAME_EXPERTS, false, NULL},
    {BLK "ffn_up_exps", LAYER "block_sparse_moe.experts.{E}.w3", NAME_EXPERTS, false, NULL},
    SAME(BLK "ffn_gate.{E}", LAYER "block_sparse_moe.experts.{E}.w1"),
    SAME(BLK "ffn_down.{E}", LAYER "block_sparse_moe.experts.{E}.w2"),
    SAME(BLK "ffn_up.{E}", LAYER "block_sparse_moe.experts.{E}.w3"),
    SAME(BLK "ffn_gate_inp", LAYER "block_sparse_moe.gate"),
    END};

static const struct name_row qwen_shared_expert[] = {
    SAME(BLK "ffn_gate_shexp", LAYER "mlp.shared_expert.gate_proj"),
    SAME(BLK "ffn_up_shexp", LAYER "mlp.shared_expert.up_proj"),
    SAME(BLK "ffn_down_shexp", LAYER "mlp.shared_expert.down_proj"),
    {BLK "ffn_gate_inp_shexp", LAYER "mlp.shared_expert_gate", NAME_VECTOR, false, NULL},
    END};

/* DeepSeek-V3's and GLM-4.5's: shared experts, a bias that only chooses experts, layers that predict further tokens. */
static const struct name_row deepseek_experts[] = {
    WHOLE(BLK "exp_probs_b.bias", LAYER "mlp.gate.e_score_correction_bias"),
    SAME(BLK "ffn_gate_shexp", LAYER "mlp.shared_experts.gate_proj"),
    SAME(BLK "ffn_up_shexp", LAYER "mlp.shared_experts.up_proj"),
    SAME(BLK "ffn_down_shexp", LAYER "mlp.shared_experts.down_proj"),
    SAME(BLK "nextn.eh_proj", LAYER "eh_proj"),
    SAME(BLK "nextn.embed_tokens", LAYER "embed_tokens"),
    SAME(BLK "nextn.enorm", LAYER "enorm"),
    SAME(BLK "nextn.hnorm", LAYER "hnorm"),
    SAME(BLK "nextn.shared_head_head", LAYER "shared_head.head"),
    SAME(BLK "nextn.shared_head_norm", LAYER "shared_head.norm"),
    END};

static const struct name_row mla[] = {
    SAME(BLK "attn_norm", LAYER "input_layernorm"),
    SAME(BLK "attn_q", LAYER "self_attn.q_proj"),
    SAME(BLK "attn_q_a", LAYER "self_attn.q_a_proj"),
    SAME(BLK "attn_q_a_norm", LAYER "self_attn.q_a_layernorm"),
    SAME(BLK "attn_q_b", LAYER "self_attn.q_b_proj"),
    SAME(BLK "attn_kv_a_mqa", LAYER "self_attn.kv_a_proj_with_mqa"),
    SAME(BLK "attn_kv_a_norm", LAYER "self_attn.kv_a_layernorm"),
    SAME(BLK "attn_kv_b", LAYER "self_attn.kv_b_proj"),
    SAME(BLK "attn_output", LAYER "self_attn.o_proj"),
    {BLK "attn_k_b", NULL, NAME_REFUSED, false, "it is a transposed half of kv_b_proj, which is not put together here"},
    {BLK "attn_v_b", NULL, NAME_REFUSED, false, "it is half of kv_b_proj, which is not put together here"},
    END};

#define GPT_OSS_EXPERTS "gate and up projections of its experts are interleaved in Hugging Face's files"
static const struct name_row gpt_oss[] = {
    WHOLE(BLK "attn_sinks.weight", LAYER "self_attn.sinks"),
    SAME(BLK "ffn_gate_inp", LAYER "mlp.router"),
    {BLK "ffn_gate_exps", LAYER "mlp.experts", NAME_REFUSED, false, GPT_OSS_EXPERTS},
    {BLK "ffn_up_exps", NULL, NAME_REFUSED, false, GPT_OSS_EXPERTS},
    {BLK "ffn_down_exps", NULL, NAME_REFUSED, false, GPT_OSS_EXPERTS},
    END};

/* One projection for Q, K and V, one for gate and up, on both sides. */
static const struct name_row phi3[] = {
    SAME(BLK "attn_norm", LAYER "input_layernorm"),
    SAME(BLK "attn_qkv", LAYER "self_attn.qkv_proj"),
    SAME(BLK "attn_output", LAYER "self_attn.o_proj"),
    SAME(BLK "ffn_up", LAYER "mlp.gate_up_proj"),
    SAME(BLK "ffn_down", LAYER "mlp.down_proj"),
    {"rope_factors_long.weight", NULL, NAME_DROPPED, true, "rope_scaling of config.json has it"},
    {"rope_factors_short.weight", NULL, NAME_DROPPED, true, "rope_scaling of config.json has it"},
    END};

const struct name_arch name_arch_table[] = {
    {"llama", {"llama", "mistral", "mixtral"}, true, {whole_model, attention, ffn_norm, ffn, mixtral}},
    {"qwen2", {"qwen2"}, false, {whole_model, attention, ffn_norm, ffn}},
    {"qwen2moe", {"qwen2_moe"}, false, {whole_model, attention, ffn_norm, ffn, experts, qwen_shared_expert}},
    {"qwen3", {"qwen3"}, false, {whole_model, attention, qk_norm, ffn_norm, ffn}},
    {"qwen3moe", {"qwen3_moe"}, false, {whole_model, attention, qk_norm, ffn_norm, ffn, experts}},
    {"deepseek2", {"deepseek_v3", "deepseek_v2", "kimi_k2"}, false,
     {whole_model, mla, ffn_norm, deepseek_experts, ffn, experts}},
    {"glm4moe", {"glm4_moe"}, false, {whole_model, attention, qk_norm, post_norm, deepseek_experts, ffn, experts}},
    {"gpt-oss", {"gpt_oss"}, false, {whole_model, attention, post_norm, gpt_oss}},
    {"phi3", {"phi3"}, false, {whole_model, phi3, ffn_norm}},
};
const size_t name_arch_count = sizeof name_arch_table / sizeof *name_arch_table;

#define NORMS "its norm weights are stored plus one in GGUF"
#define SSM "its state-space or linear-attention tensors have other values or another order in GGUF"
#define FUSED "its fused attention tensors have another order in GGUF"
const struct name_refused name_refused_table[] = {
    {"gemma*", NORMS},      {"nemotron", NORMS},   {"mamba*", SSM},       {"jamba", SSM},
    {"nemotron_h*", SSM},   {"falcon[-_]h1", SSM}, {"granite*hybrid", SSM}, {"plamo2", SSM},
    {"qwen3next", SSM},     {"qwen3_next", SSM},   {"qwen35*", SSM},      {"qwen3_5*", SSM},
    {"kimi[-_]linear", SSM}, {"rwkv*", SSM},       {"llama4*", "its experts are transposed in GGUF"},
    {"bloom", FUSED},       {"gptneox", FUSED},    {"gpt_neox", FUSED},   {"falcon", FUSED},
    {"mpt", FUSED},         {"gpt2", "its matrices are transposed in GGUF"},
};
const size_t name_refused_count = sizeof name_refused_table / sizeof *name_refused_table;
