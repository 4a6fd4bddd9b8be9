/* What each preset keeps is what the maker of the family kept: names and shapes of published checkpoints. */
#include "quantizers/presets.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct name {
    const char *name;
    int rank;
    bool quantized;
};
struct family {
    const char *config, *preset;
    const struct name *name;
};
enum { Q = true, K = false };

/* F8_E4M3 or not in deepseek-ai/DeepSeek-V3 (index and headers) and V3.2-Exp. */
static const struct name deepseek_v3[] = {
    {"model.embed_tokens.weight", 2, K},
    {"lm_head.weight", 2, K},
    {"model.norm.weight", 1, K},
    {"model.layers.0.input_layernorm.weight", 1, K},
    {"model.layers.0.self_attn.q_a_proj.weight", 2, Q},
    {"model.layers.0.self_attn.q_a_layernorm.weight", 1, K},
    {"model.layers.0.self_attn.q_b_proj.weight", 2, Q},
    {"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", 2, Q},
    {"model.layers.0.self_attn.kv_b_proj.weight", 2, Q},
    {"model.layers.0.self_attn.o_proj.weight", 2, Q},
    {"model.layers.0.mlp.gate_proj.weight", 2, Q},
    {"model.layers.3.mlp.gate.weight", 2, K},
    {"model.layers.3.mlp.gate.e_score_correction_bias", 1, K},
    {"model.layers.3.mlp.experts.255.down_proj.weight", 2, Q},
    {"model.layers.3.mlp.shared_experts.up_proj.weight", 2, Q},
    {"model.layers.61.eh_proj.weight", 2, K},
    {"model.layers.61.embed_tokens.weight", 2, K},
    {"model.layers.61.enorm.weight", 1, K},
    {"model.layers.61.shared_head.head.weight", 2, K},
    {"model.layers.61.shared_head.norm.weight", 1, K},
    {"model.layers.61.mlp.gate.weight", 2, K},
    {"model.layers.61.mlp.experts.0.gate_proj.weight", 2, Q},
    {"model.layers.61.self_attn.o_proj.weight", 2, Q},
    {"model.layers.7.self_attn.indexer.wq_b.weight", 2, Q},
    {"model.layers.7.self_attn.indexer.wk.weight", 2, Q},
    {"model.layers.7.self_attn.indexer.k_norm.weight", 1, K},
    {"model.layers.7.self_attn.indexer.weights_proj.weight", 2, K},
    {0}};
/* Headers of deepseek-ai/DeepSeek-V4-Flash and V4-Pro (mtp.0). */
static const struct name deepseek_v4[] = {
    {"embed.weight", 2, K},
    {"head.weight", 2, K},
    {"norm.weight", 1, K},
    {"hc_head_fn", 2, K},
    {"layers.2.attn.wq_a.weight", 2, Q},
    {"layers.2.attn.wq_b.weight", 2, Q},
    {"layers.2.attn.wkv.weight", 2, Q},
    {"layers.2.attn.wo_a.weight", 2, Q},
    {"layers.2.attn.wo_b.weight", 2, Q},
    {"layers.2.attn.q_norm.weight", 1, K},
    {"layers.2.attn.attn_sink", 1, K},
    {"layers.2.attn.compressor.wkv.weight", 2, K},
    {"layers.2.attn.compressor.wgate.weight", 2, K},
    {"layers.2.attn.compressor.ape", 2, K},
    {"layers.2.attn.indexer.wq_b.weight", 2, Q},
    {"layers.2.attn.indexer.weights_proj.weight", 2, K},
    {"layers.2.attn.indexer.compressor.wkv.weight", 2, K},
    {"layers.2.attn.indexer.compressor.wgate.weight", 2, K},
    {"layers.2.hc_attn_fn", 2, K},
    {"layers.2.ffn.gate.weight", 2, K},
    {"layers.2.ffn.experts.0.w1.weight", 2, Q},
    {"layers.2.ffn.shared_experts.w2.weight", 2, Q},
    {"mtp.0.e_proj.weight", 2, Q},
    {"mtp.0.h_proj.weight", 2, Q},
    {"mtp.0.enorm.weight", 1, K},
    {"mtp.0.attn.wq_b.weight", 2, Q},
    {0}};
/* modules_to_not_convert of Qwen/Qwen3-30B-A3B-FP8; the dense models have no mlp.gate. */
static const struct name qwen3[] = {
    {"lm_head.weight", 2, K},
    {"model.embed_tokens.weight", 2, K},
    {"model.norm.weight", 1, K},
    {"model.layers.0.input_layernorm.weight", 1, K},
    {"model.layers.0.post_attention_layernorm.weight", 1, K},
    {"model.layers.0.self_attn.q_norm.weight", 1, K},
    {"model.layers.0.self_attn.q_proj.weight", 2, Q},
    {"model.layers.0.self_attn.k_proj.weight", 2, Q},
    {"model.layers.0.self_attn.v_proj.weight", 2, Q},
    {"model.layers.0.self_attn.o_proj.weight", 2, Q},
    {"model.layers.0.mlp.gate_proj.weight", 2, Q},
    {"model.layers.0.mlp.down_proj.weight", 2, Q},
    {0}};
static const struct name qwen3_moe[] = {
    {"lm_head.weight", 2, K},
    {"model.embed_tokens.weight", 2, K},
    {"model.layers.0.input_layernorm.weight", 1, K},
    {"model.layers.0.self_attn.q_proj.weight", 2, Q},
    {"model.layers.0.mlp.gate.weight", 2, K},
    {"model.layers.0.mlp.experts.127.gate_proj.weight", 2, Q},
    {"model.layers.47.mlp.experts.0.down_proj.weight", 2, Q},
    {0}};
/* Names of the index of a Qwen3.5 MoE; kept are what qwen3_next in presets.c has sources for. */
static const struct name qwen3_5[] = {
    {"lm_head.weight", 2, K},
    {"model.language_model.embed_tokens.weight", 2, K},
    {"model.language_model.layers.0.linear_attn.A_log", 1, K},
    {"model.language_model.layers.0.linear_attn.conv1d.weight", 3, K},
    {"model.language_model.layers.0.linear_attn.in_proj_a.weight", 2, K},
    {"model.language_model.layers.0.linear_attn.in_proj_b.weight", 2, K},
    {"model.language_model.layers.0.linear_attn.in_proj_qkv.weight", 2, Q},
    {"model.language_model.layers.0.linear_attn.in_proj_z.weight", 2, Q},
    {"model.language_model.layers.0.linear_attn.out_proj.weight", 2, Q},
    {"model.language_model.layers.0.mlp.experts.3.up_proj.weight", 2, Q},
    {"model.language_model.layers.0.mlp.gate.weight", 2, K},
    {"model.language_model.layers.0.mlp.shared_expert.up_proj.weight", 2, Q},
    {"model.language_model.layers.0.mlp.shared_expert_gate.weight", 2, K},
    {"model.language_model.layers.3.self_attn.q_proj.weight", 2, Q},
    {"model.visual.blocks.0.attn.qkv.weight", 2, K},
    {"mtp.fc.weight", 2, K},
    {"mtp.layers.0.self_attn.q_proj.weight", 2, Q},
    {0}};
static const struct name llama[] = {
    {"lm_head.weight", 2, K},
    {"model.embed_tokens.weight", 2, K},
    {"model.norm.weight", 1, K},
    {"model.layers.0.self_attn.q_proj.weight", 2, Q},
    {"model.layers.0.mlp.gate_proj.weight", 2, Q},
    {"model.layers.31.mlp.down_proj.weight", 2, Q},
    {0}};
/* modules_to_not_convert of meta-llama/Llama-3.1-405B-FP8. */
static const struct name llama_405b[] = {
    {"lm_head.weight", 2, K},
    {"model.layers.0.mlp.down_proj.weight", 2, K},
    {"model.layers.1.mlp.down_proj.weight", 2, Q},
    {"model.layers.12.mlp.up_proj.weight", 2, Q},
    {"model.layers.125.mlp.gate_proj.weight", 2, K},
    {"model.layers.7.self_attn.o_proj.weight", 2, K},
    {0}};
/* modules_to_not_convert of openai/gpt-oss-120b: experts alone are MXFP4. */
static const struct name gpt_oss[] = {
    {"lm_head.weight", 2, K},
    {"model.embed_tokens.weight", 2, K},
    {"model.layers.0.self_attn.q_proj.weight", 2, K},
    {"model.layers.0.self_attn.o_proj.weight", 2, K},
    {"model.layers.0.self_attn.sinks", 1, K},
    {"model.layers.0.mlp.router.weight", 2, K},
    {"model.layers.0.mlp.experts.gate_up_proj", 3, Q},
    {"model.layers.0.mlp.experts.gate_up_proj_bias", 2, K},
    {"model.layers.0.mlp.experts.down_proj", 3, Q},
    {0}};
/* Kimi-K2 FP8 is DeepSeek-V3's; ignore of Kimi-K2.6. */
static const struct name kimi_k25[] = {
    {"language_model.lm_head.weight", 2, K},
    {"language_model.model.embed_tokens.weight", 2, K},
    {"language_model.model.layers.0.self_attn.o_proj.weight", 2, K},
    {"language_model.model.layers.0.mlp.down_proj.weight", 2, K},
    {"language_model.model.layers.1.mlp.gate.weight", 2, K},
    {"language_model.model.layers.1.mlp.shared_experts.up_proj.weight", 2, K},
    {"language_model.model.layers.1.mlp.experts.0.gate_proj.weight", 2, Q},
    {"vision_tower.encoder.blocks.0.mlp.fc0.weight", 2, K},
    {"mm_projector.linear_1.weight", 2, K},
    {0}};
/* ignore of zai-org/GLM-4.5-Air-FP8. */
static const struct name glm4_moe[] = {
    {"lm_head.weight", 2, K},
    {"model.embed_tokens.weight", 2, K},
    {"model.layers.0.mlp.gate_proj.weight", 2, Q},
    {"model.layers.9.mlp.gate.weight", 2, K},
    {"model.layers.9.mlp.gate.e_score_correction_bias", 1, K},
    {"model.layers.9.mlp.experts.127.down_proj.weight", 2, Q},
    {"model.layers.9.mlp.shared_experts.down_proj.weight", 2, Q},
    {"model.layers.9.self_attn.q_proj.weight", 2, Q},
    {"model.layers.9.self_attn.q_proj.bias", 1, K},
    {"model.layers.46.eh_proj.weight", 2, K},
    {"model.layers.46.embed_tokens.weight", 2, K},
    {"model.layers.46.enorm.weight", 1, K},
    {"model.layers.46.shared_head.norm.weight", 1, K},
    {"model.layers.46.self_attn.o_proj.weight", 2, Q},
    {0}};

static const struct family families[] = {
    {"{\"model_type\":\"deepseek_v3\"}", "deepseek-v3", deepseek_v3},
    {"{\"model_type\":\"deepseek_v32\"}", "deepseek-v3", deepseek_v3},
    {"{\"model_type\":\"deepseek_v4\"}", "deepseek-v4", deepseek_v4},
    {"{\"model_type\":\"qwen3\"}", "qwen3", qwen3},
    {"{\"model_type\":\"qwen3_moe\"}", "qwen3-moe", qwen3_moe},
    {"{\"model_type\":\"qwen3_5_moe\",\"text_config\":{\"model_type\":\"qwen3_5_moe_text\"}}", "qwen3-next", qwen3_5},
    {"{\"model_type\":\"unheard_of\",\"text_config\":{\"model_type\":\"qwen3_moe\"}}", "qwen3-moe", qwen3_moe},
    {"{\"model_type\":\"llama\"}", "llama", llama},
    {NULL, "llama-405b", llama_405b},
    {"{\"model_type\":\"gpt_oss\"}", "gpt-oss", gpt_oss},
    {"{\"model_type\":\"kimi_k2\"}", "kimi-k2", deepseek_v3},
    {"{\"model_type\":\"kimi_k25\",\"text_config\":{\"model_type\":\"kimi_k2\"}}", "kimi-k2.5", kimi_k25},
    {"{\"model_type\":\"glm4_moe\"}", "glm-4.5", glm4_moe},
};

/* As the plan decides. */
static bool quantized(const struct rules *r, const struct name *n, enum dtype dtype)
{
    const struct tensor t = {.name = n->name, .dtype = dtype, .rank = (uint8_t)n->rank, .dim = {4, 4, 4}};
    const struct rule *x = rules_find(r, n->name);
    const char *why;
    return x && x->action == ACTION_QUANTIZE && rules_linear(&t, &why);
}

Test(presets, are_what_was_published)
{
    bool tested[32] = {false};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        const struct family *f = &families[i];
        const struct preset *p = f->config ? preset_of(f->config) : preset_find(f->preset);
        struct rules r = {0};
        struct err e = {0};
        cr_assert_str_eq(p->name, f->preset);
        tested[p - preset_table] = true;
        cr_assert_eq(preset_add(&r, p, &e), 0, "%s", e.msg);
        cr_assert_eq(rules_add_default(&r, "*", ACTION_QUANTIZE, "the rest", NULL, &e), 0);
        for (const struct name *n = f->name; n->name; n++)
            cr_expect_eq(quantized(&r, n, DT_BF16), n->quantized, "%s: %s", f->preset, n->name);
        rules_free(&r);
    }
    for (size_t i = 0; i < preset_count; i++)
        cr_expect(tested[i] || !strcmp(preset_table[i].name, "generic") || !strcmp(preset_table[i].name, "none"),
                  "the preset %s has no list of names here", preset_table[i].name);
}

Test(presets, of_a_config)
{
    static const char *const generic[] = {NULL, "", "no JSON", "[]", "{}", "{\"model_type\":\"\"}", "{\"model_type\":3}",
                                          "{\"model_type\":\"qwen\"}", "{\"model_type\":\"deepseek\"}",
                                          "{\"model_type\":\"deepseek_v3 deepseek_v32\"}"};
    for (size_t i = 0; i < sizeof generic / sizeof *generic; i++)
        cr_expect_str_eq(preset_of(generic[i])->name, "generic", "%s", generic[i] ? generic[i] : "NULL");
    cr_assert_null(preset_find("?"));
    /* as Python writes it */
    cr_expect_str_eq(preset_of("{\"model_type\":\"qwen3\",\"x\":[-Infinity,NaN]}")->name, "qwen3");
}

/* Every line must be one that a file can hold, with its reason behind it, and none is named twice. */
Test(presets, are_files_of_rules)
{
    for (size_t i = 0; i < preset_count; i++) {
        struct rules r = {0};
        struct buf text = {0};
        struct err e = {0};
        cr_assert_eq(preset_find(preset_table[i].name), &preset_table[i]);
        cr_assert_eq(preset_add(&r, &preset_table[i], &e), 0, "%s", e.msg);
        cr_assert_eq(rules_print(&r, NULL, &text, &e), 0, "%s", e.msg);
        for (size_t k = 0; k < r.n; k++)
            cr_expect(r.r[k].is_default && r.r[k].why && *r.r[k].why && !strchr(r.r[k].why, '\n'));
        buf_free(&text);
        rules_free(&r);
    }
}
