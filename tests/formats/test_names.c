/* Which tensor is called what on the other side, what goes with it, and what is refused. */
#include "formats/names.h"
#include "formats/names_table.h"
#include "formats/packed.h"
#include "tests/hand.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A model made by hand; the table of its tensors is malloc'ed, as a reader's is. */
static void model(struct hand *h, const char *tensors, const char *config, const char *architecture)
{
    hand_make(h, tensors, config, NULL, NULL);
    struct tensor *t = malloc((h->m.n + 1) * sizeof *t);
    memcpy(t, h->m.t, h->m.n * sizeof *t);
    h->m.t = t;
    h->m.random = true;
    for (size_t i = 0; i < h->m.n; i++)
        cr_assert(dtype_size(t[i].dtype, tensor_elems(&t[i]), &t[i].size));
    if (architecture)
        h->kv[h->m.nkv++] = (struct meta){"general.architecture", architecture};
}

static void drop(struct hand *h)
{
    free(h->m.t);
    hand_drop(h);
}

static void name(struct hand *h, enum name_style to)
{
    h->m.names = to;
    h->m.naming = NULL;
    cr_assert_eq(grouping_named(&h->m, true, &h->g, &h->e), 0, "%s", h->e.msg);
}

static void refused(const char *tensors, const char *config, const char *architecture, enum name_style to,
                    const char *text1, const char *text2)
{
    struct hand h;
    model(&h, tensors, config, architecture);
    h.m.names = to;
    cr_assert_eq(grouping_named(&h.m, true, &h.g, &h.e), -1, "accepted; wanted '%s'", text1);
    cr_assert_eq(h.e.kind, ERR_INPUT);
    cr_assert(strstr(h.e.msg, text1) && strstr(h.e.msg, text2), "'%s' and '%s' in: %s", text1, text2, h.e.msg);
    drop(&h);
}

static const struct tensor *tensor(const struct hand *h, const char *name)
{
    size_t i = 0;
    cr_assert(map_find(&h->m.by_name, name, &i), "there is no '%s'", name);
    cr_assert_str_eq(h->m.t[i].name, name);
    return &h->m.t[i];
}

static const char *stored(const struct hand *h, const char *name)
{
    const struct tensor *t = tensor(h, name);
    return t->stored ? t->stored->sentence : "";
}

/* ---- names ----------------------------------------------------------------------------------- */

/* As llama.cpp's gguf-py pairs them. */
Test(names, are_those_of_gguf_py)
{
    static const struct { const char *arch, *type, *gguf, *hf; } pair[] = {
        {"llama", "llama", "token_embd.weight", "model.embed_tokens.weight"},
        {"llama", "mistral", "output.weight", "lm_head.weight"},
        {"llama", "llama", "output_norm.weight", "model.norm.weight"},
        {"llama", "llama", "blk.31.attn_norm.weight", "model.layers.31.input_layernorm.weight"},
        {"llama", "llama", "blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"},
        {"llama", "llama", "blk.3.attn_output.weight", "model.layers.3.self_attn.o_proj.weight"},
        {"llama", "llama", "blk.3.attn_v.bias", "model.layers.3.self_attn.v_proj.bias"},
        {"llama", "llama", "blk.123.ffn_down.weight", "model.layers.123.mlp.down_proj.weight"},
        {"llama", "mixtral", "blk.0.ffn_gate_inp.weight", "model.layers.0.block_sparse_moe.gate.weight"},
        {"qwen2", "qwen2", "blk.9.attn_q.bias", "model.layers.9.self_attn.q_proj.bias"},
        {"qwen3", "qwen3", "blk.9.attn_k_norm.weight", "model.layers.9.self_attn.k_norm.weight"},
        {"qwen3moe", "qwen3_moe", "blk.9.ffn_gate_inp.weight", "model.layers.9.mlp.gate.weight"},
        {"qwen2moe", "qwen2_moe", "blk.9.ffn_up_shexp.weight", "model.layers.9.mlp.shared_expert.up_proj.weight"},
        {"deepseek2", "deepseek_v3", "blk.60.exp_probs_b.bias", "model.layers.60.mlp.gate.e_score_correction_bias"},
        {"deepseek2", "deepseek_v3", "blk.60.attn_kv_a_mqa.weight", "model.layers.60.self_attn.kv_a_proj_with_mqa.weight"},
        {"deepseek2", "deepseek_v2", "blk.1.attn_q_a_norm.weight", "model.layers.1.self_attn.q_a_layernorm.weight"},
        {"deepseek2", "kimi_k2", "blk.1.ffn_down_shexp.weight", "model.layers.1.mlp.shared_experts.down_proj.weight"},
        {"glm4moe", "glm4_moe", "blk.1.post_attention_norm.weight", "model.layers.1.post_attention_layernorm.weight"},
        {"glm4moe", "glm4_moe", "blk.46.nextn.eh_proj.weight", "model.layers.46.eh_proj.weight"},
        {"gpt-oss", "gpt_oss", "blk.1.attn_sinks.weight", "model.layers.1.self_attn.sinks"},
        {"gpt-oss", "gpt_oss", "blk.1.ffn_gate_inp.bias", "model.layers.1.mlp.router.bias"},
        {"phi3", "phi3", "blk.1.attn_qkv.weight", "model.layers.1.self_attn.qkv_proj.weight"},
    };
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        struct hand h;
        char text[200], config[100];
        /* token_embd is what tells whose names these are */
        const bool first = !strcmp(pair[i].gguf, "token_embd.weight");
        snprintf(text, sizeof text, "%s%s F32 32,16", first ? "" : "token_embd.weight F32 8,4;", pair[i].gguf);
        model(&h, text, NULL, pair[i].arch);
        name(&h, NAMES_HF);
        (void)tensor(&h, pair[i].hf);
        drop(&h);
        snprintf(text, sizeof text, "%s F32 32,16", pair[i].hf);
        snprintf(config, sizeof config, "{\"model_type\":\"%s\"}", pair[i].type);
        model(&h, text, config, NULL);
        name(&h, NAMES_GGUF);
        (void)tensor(&h, pair[i].gguf);
        cr_assert_str_eq(h.m.naming->architecture, pair[i].arch);
        drop(&h);
    }
}

static void spell(char *to, const char *pattern, bool whole)
{
    for (; *pattern; pattern++)
        if (*pattern != '{') {
            *to++ = *pattern;
        } else {
            to += sprintf(to, pattern[1] == 'L' ? "12" : "0");
            pattern += 2;
        }
    strcpy(to, whole ? "" : ".weight");
}

/* Every row of every architecture goes there and comes back. */
Test(names, every_row_goes_both_ways)
{
    size_t rows = 0;
    for (size_t a = 0; a < name_arch_count; a++)
        for (int k = 0; k < ARCH_TABLES && name_arch_table[a].table[k]; k++)
            for (const struct name_row *row = name_arch_table[a].table[k]; row->gguf || row->hf; row++) {
                char gguf[200], hf[200], text[500], config[200];
                struct hand h;
                if (row->kind == NAME_DROPPED || row->kind == NAME_REFUSED)
                    continue;
                spell(gguf, row->gguf, row->whole);
                spell(hf, row->hf, row->whole);
                snprintf(config, sizeof config, "{\"model_type\":\"%s\",\"num_attention_heads\":4}",
                         name_arch_table[a].model_type[0]);
                snprintf(text, sizeof text, "%s F32 %s%s", hf, row->kind == NAME_VECTOR ? "1,64" : "32,16",
                         strcmp(gguf, "token_embd.weight") ? ";model.embed_tokens.weight F32 8,4" : "");
                if (!strstr(row->gguf, "{E}")) { /* those are read and never written */
                    model(&h, text, config, name_arch_table[a].gguf);
                    name(&h, NAMES_GGUF);
                    (void)tensor(&h, gguf);
                    if (row->kind != NAME_EXPERTS) {
                        name(&h, NAMES_HF);
                        const struct tensor *t = tensor(&h, hf);
                        cr_assert_eq(t->rank, 2);
                        cr_assert_null(t->stored, "the one order undoes the other");
                        rows++;
                    }
                    drop(&h);
                }
                if (!strstr(row->hf, "{E}"))
                    continue;
                /* a stack there is a tensor per expert here */
                snprintf(text, sizeof text, "%s F32 %s32,16", gguf, row->kind == NAME_EXPERTS ? "1," : "");
                model(&h, text, config, name_arch_table[a].gguf);
                name(&h, NAMES_HF);
                cr_assert_eq(tensor(&h, hf)->rank, 2);
                rows++;
                drop(&h);
            }
    cr_assert_gt(rows, 100);
}

Test(names, of_whom)
{
    enum name_style s;
    struct err e = {0};
    cr_assert(!names_parse("hf", &s, &e) && s == NAMES_HF);
    cr_assert(!names_parse("gguf", &s, &e) && s == NAMES_GGUF);
    cr_assert(!names_parse(NULL, &s, &e) && s == NAMES_SOURCE);
    cr_assert_eq(names_parse("GGUF", &s, &e), -1);
    cr_assert_eq(e.kind, ERR_USAGE);
    static const struct { const char *tensor; enum name_style style; } one[] = {
        {"token_embd.weight", NAMES_GGUF}, {"blk.0.x", NAMES_GGUF},  {"blk.x", NAMES_HF},
        {"model.norm.weight", NAMES_HF},   {"output.weight", NAMES_HF}, {"token_embd.bias", NAMES_HF},
    };
    for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
        struct hand h;
        char text[64];
        snprintf(text, sizeof text, "%s F32 2", one[i].tensor);
        model(&h, text, NULL, NULL);
        cr_assert_eq(names_of(&h.m), one[i].style, "%s", one[i].tensor);
        drop(&h);
    }
}

/* Nothing happens when nothing was asked, or when they are called so already. */
Test(names, may_stay)
{
    struct hand h;
    model(&h, "blk.0.attn_q.weight F32 8,8;strange F32 1", NULL, "no such thing");
    name(&h, NAMES_SOURCE);
    cr_assert_null(h.m.naming);
    name(&h, NAMES_GGUF);
    cr_assert_eq(h.m.n, 2u);
    cr_assert_eq(h.m.naming->nnotes, 0u);
    cr_assert_str_eq(stored(&h, "blk.0.attn_q.weight"), "");
    drop(&h);
}

/* ---- rows ------------------------------------------------------------------------------------ */
#define LLAMA "{\"model_type\":\"llama\",\"num_attention_heads\":4,\"num_key_value_heads\":2}"

Test(names, rows_of_llama_change_their_order)
{
    struct hand h;
    model(&h,
          "model.layers.0.self_attn.q_proj.weight F32 24,8;model.layers.0.self_attn.k_proj.weight F32 12,8;"
          "model.layers.0.self_attn.v_proj.weight F32 12,8;model.layers.0.self_attn.q_proj.bias F32 24;"
          "model.layers.0.self_attn.k_proj.bias BF16 12",
          LLAMA, NULL);
    name(&h, NAMES_GGUF);
    cr_assert_str_eq(stored(&h, "blk.0.attn_q.weight"), "r2 r0 r1 c0 | r0=2 r1=3");
    cr_assert_str_eq(stored(&h, "blk.0.attn_k.weight"), "r2 r0 r1 c0 | r0=2 r1=3");
    cr_assert_str_eq(stored(&h, "blk.0.attn_v.weight"), "");
    cr_assert_str_eq(stored(&h, "blk.0.attn_q.bias"), "r0 c2 c0 c1 | c0=2 c1=3");
    cr_assert_str_eq(stored(&h, "blk.0.attn_k.bias"), "r0 c2 c0 c1 | c0=2 c1=3");
    /* The rows that LlamaModel.permute() gives for two heads of six rows: where logical row r lies. */
    static const uint64_t llama_cpp[12] = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
    const struct stored *st = tensor(&h, "blk.0.attn_k.weight")->stored;
    for (uint64_t r = 0; r < 12; r++)
        cr_assert_eq(layout_offset(&st->layout, 12, 8, r, 5), llama_cpp[r] * 8 + 5);
    drop(&h);
    model(&h, "token_embd.weight F32 8,4;blk.0.attn_q.weight F32 24,8;blk.0.attn_k.weight F32 12,8", NULL, "llama");
    struct meta kv[] = {{"general.architecture", "llama"}, {"llama.attention.head_count", "4"},
                        {"llama.attention.head_count_kv", "2"}, {"llama.attention.key_length", "6"}};
    h.m.kv = kv;
    h.m.nkv = 4;
    name(&h, NAMES_HF);
    cr_assert_str_eq(stored(&h, "model.layers.0.self_attn.q_proj.weight"), "r2 r0 r1 c0 | r0=3 r1=2");
    st = tensor(&h, "model.layers.0.self_attn.k_proj.weight")->stored;
    for (uint64_t r = 0; r < 12; r++)
        cr_assert_eq(layout_offset(&st->layout, 12, 8, llama_cpp[r], 5), r * 8 + 5);
    cr_assert(h.m.naming->tied, "there is no output.weight");
    drop(&h);
}

Test(names, rows_of_blocks_are_bytes)
{
    struct hand h;
    model(&h, "token_embd.weight F32 8,4;blk.0.attn_q.weight Q8_0 24,64;output.weight Q8_0 8,32", NULL, "llama");
    h.m.config = LLAMA; /* where the keys of the GGUF are gone */
    name(&h, NAMES_HF);
    const struct stored *st = tensor(&h, "model.layers.0.self_attn.q_proj.weight")->stored;
    cr_assert(st && st->bytes && st->dtype == DT_U8);
    cr_assert_eq(st->cols, 68u);
    cr_assert_eq(st->batch_bytes, 24u * 68);
    cr_assert_not(h.m.naming->tied);
    drop(&h);
}

Test(names, rows_of_others_stay)
{
    static const char *const type[] = {"qwen2", "qwen3", "deepseek_v3", "glm4_moe", "gpt_oss"};
    for (size_t i = 0; i < sizeof type / sizeof *type; i++) {
        struct hand h;
        char config[64];
        snprintf(config, sizeof config, "{\"model_type\":\"%s\"}", type[i]);
        model(&h, "model.layers.0.self_attn.q_proj.weight F32 24,8", config, NULL);
        name(&h, NAMES_GGUF);
        cr_assert_str_eq(stored(&h, "blk.0.attn_q.weight"), "");
        drop(&h);
    }
}

#define Q "model.layers.0.self_attn.q_proj"
#define FP8_CONFIG(block, heads) \
    "{\"model_type\":\"llama\",\"num_attention_heads\":" heads ",\"quantization_config\":{\"quant_method\":\"fp8\"," \
    "\"weight_block_size\":" block "}}"

/* A scale goes with its weight: blocks of whole heads stay, scales of rows follow, halves of heads are refused. */
Test(names, scales_follow_rows)
{
    struct hand h;
    model(&h, Q ".weight F8_E4M3 256,256;" Q ".weight_scale_inv F32 2,2", FP8_CONFIG("[128,128]", "2"), NULL);
    name(&h, NAMES_GGUF);
    cr_assert_str_eq(stored(&h, "blk.0.attn_q.weight"), "r2 r0 r1 c0 | r0=2 r1=64");
    cr_assert_str_eq(stored(&h, "blk.0.attn_q.weight_scale_inv"), "");
    cr_assert_str_eq(hand_group(&h, "blk.0.attn_q.weight_scale_inv")->name, "blk.0.attn_q.weight");
    cr_assert_eq(hand_part(&h, "blk.0.attn_q.weight_scale_inv"), PART_SCALE);
    cr_assert_eq(hand_group(&h, "blk.0.attn_q.weight")->of[PART_WEIGHT],
                 (size_t)(tensor(&h, "blk.0.attn_q.weight") - h.m.t));
    drop(&h);
    refused(Q ".weight F8_E4M3 256,256;" Q ".weight_scale_inv F32 2,2", FP8_CONFIG("[128,128]", "1"), NULL, NAMES_GGUF,
            "'" Q ".weight_scale_inv' [2,2]", "heads have 256 of 256 rows");
    /* one scale per row */
#define CT "{\"model_type\":\"llama\",\"num_attention_heads\":4,\"quantization_config\":{\"quant_method\":" \
           "\"compressed-tensors\",\"format\":\"int-quantized\",\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"]," \
           "\"weights\":{\"num_bits\":8,\"type\":\"int\",\"symmetric\":true,\"strategy\":\"channel\"}}}}}"
    model(&h, Q ".weight I8 24,32;" Q ".weight_scale BF16 24,1", CT, NULL);
    name(&h, NAMES_GGUF);
    cr_assert_str_eq(stored(&h, "blk.0.attn_q.weight"), "r2 r0 r1 c0 | r0=2 r1=3");
    cr_assert_str_eq(stored(&h, "blk.0.attn_q.weight_scale"), "r2 r0 r1 c0 | r0=2 r1=3");
    drop(&h);
}

/* ---- experts ----------------------------------------------------------------------------------- */
#define E(n, shape) "model.layers.1.mlp.experts." n ".up_proj.weight " shape
#define QWEN "{\"model_type\":\"qwen3_moe\"}"

Test(names, experts_are_stacked)
{
    struct hand h;
    model(&h, E("10", "F32 4,8") ";" E("0", "F32 4,8") ";" E("1", "F32 4,8") ";" E("2", "F32 4,8") ";" E("3", "F32 4,8")
          ";" E("4", "F32 4,8") ";" E("5", "F32 4,8") ";" E("6", "F32 4,8") ";" E("7", "F32 4,8") ";" E("8", "F32 4,8")
          ";" E("9", "F32 4,8"), QWEN, NULL);
    name(&h, NAMES_GGUF);
    cr_assert_eq(h.m.n, 1u);
    const struct tensor *t = tensor(&h, "blk.1.ffn_up_exps.weight");
    cr_assert(t->derived && t->rank == 3 && t->dim[0] == 11 && t->dim[1] == 4 && t->dim[2] == 8);
    cr_assert_eq(t->size, 11u * 128);
    drop(&h);
    refused(E("0", "F32 4,8") ";" E("2", "F32 4,8"), QWEN, NULL, NAMES_GGUF, "expert 1 of the 3",
            "'blk.1.ffn_up_exps.weight'");
    refused(E("0", "F32 4,8") ";" E("1", "F32 4,7"), QWEN, NULL, NAMES_GGUF, "experts.1.up_proj.weight' is F32 [4,7]",
            "F32 [4,8]");
    refused(E("0", "F32 4,8") ";" E("1", "F16 4,8"), QWEN, NULL, NAMES_GGUF, "experts.1.up_proj.weight' is F16", "F32");
    refused(E("01", "F32 4,8"), QWEN, NULL, NAMES_GGUF, "experts.01.up_proj.weight", "no GGUF name");
}

Test(names, stacks_are_cut_where_they_lie)
{
    struct hand h;
    model(&h, "token_embd.weight F32 8,4;blk.1.ffn_up_exps.weight Q8_0 3,5,64;blk.1.ffn_gate_inp_shexp.weight F32 64", NULL,
          "qwen2moe");
    h.m.t[1].off = 1000;
    name(&h, NAMES_HF);
    cr_assert_eq(h.m.n, 5u);
    for (unsigned k = 0; k < 3; k++) {
        char s[100];
        snprintf(s, sizeof s, "model.layers.1.mlp.experts.%u.up_proj.weight", k);
        const struct tensor *t = tensor(&h, s);
        cr_assert(t->rank == 2 && t->dim[0] == 5 && t->dim[1] == 64 && t->size == 5 * 68 && t->off == 1000 + k * 340);
    }
    const struct tensor *t = tensor(&h, "model.layers.1.mlp.shared_expert_gate.weight");
    cr_assert(t->rank == 2 && t->dim[0] == 1 && t->dim[1] == 64);
    drop(&h);
    refused("token_embd.weight F32 8,4;blk.1.ffn_up_exps.weight F32 5,64", NULL, "qwen2moe", NAMES_HF,
            "ffn_up_exps.weight' [5,64]", "no stack of experts");
}

/* ---- what is refused ------------------------------------------------------------------------------ */
Test(names, what_nothing_maps_is_refused)
{
    refused("model.layers.0.self_attn.q_proj.lora_A F32 8,8", LLAMA, NULL, NAMES_GGUF, "q_proj.lora_A'", "no GGUF name");
    refused("model.layers.0.self_attn.qkv.weight F32 8,8", LLAMA, NULL, NAMES_GGUF, "self_attn.qkv.weight'", "llama");
    refused("model.layers.0.mlp.gate_proj.weight.extra F32 8,8", LLAMA, NULL, NAMES_GGUF, ".extra'", "no GGUF name");
    refused("token_embd.weight F32 8,4;blk.0.ffn_sub_norm.weight F32 8", NULL, "llama", NAMES_HF,
            "'blk.0.ffn_sub_norm.weight'", "no Hugging Face name");
    refused("blk.0.attn_q.weight F32 8,8", NULL, NULL, NAMES_HF, "nothing says which architecture", "model_type");
    refused("blk.0.attn_q.weight F32 8,8", NULL, "frobnicator", NAMES_HF, "no table of names", "'frobnicator'");
    refused("model.norm.weight F32 8", "{\"model_type\":\"gemma3\"}", NULL, NAMES_GGUF, "'gemma3'", "norm weights");
    refused("blk.0.attn_q.weight F32 8,8", NULL, "mamba2", NAMES_HF, "'mamba2'", "state-space");
    refused("blk.0.attn_k_b.weight F32 2,8,8", NULL, "deepseek2", NAMES_HF, "'blk.0.attn_k_b.weight'", "kv_b_proj");
    refused("model.layers.0.mlp.experts.gate_up_proj F32 2,8,8", "{\"model_type\":\"gpt_oss\"}", NULL, NAMES_GGUF,
            "'model.layers.0.mlp.experts.gate_up_proj'", "");
}

Test(names, heads_that_do_not_fit_are_refused)
{
#define TQ "token_embd.weight F32 8,4;blk.0.attn_q.weight F32 24,8"
    refused(TQ, NULL, "llama", NAMES_HF, "number of heads", "metadata");
    refused("model.layers.0.self_attn.q_proj.weight F32 24,8", "{\"model_type\":\"llama\"}", NULL, NAMES_GGUF,
            "number of heads", "config.json");
    refused(TQ, "{\"num_attention_heads\":5}", "llama", NAMES_HF, "24 rows are no 5 heads", "blk.0.attn_q.weight");
    refused(TQ, "{\"num_attention_heads\":8}", "llama", NAMES_HF, "24 rows are no 8 heads", "even number");
    refused(TQ, "{\"num_attention_heads\":4,\"head_dim\":8}", "llama", NAMES_HF, "24 rows are not 4 heads of 8", "");
    refused(TQ, "{\"num_attention_heads\":\"4\"}", "llama", NAMES_HF, "num_attention_heads is no count", "");
    refused(TQ, "{\"num_attention_heads\":-4}", "llama", NAMES_HF, "num_attention_heads is no count", "");
    struct hand h;
    struct meta kv[] = {{"general.architecture", "llama"}, {"llama.attention.head_count", "[4,4]"}};
    model(&h, TQ, NULL, NULL);
    h.m.kv = kv;
    h.m.nkv = 2;
    h.m.names = NAMES_HF;
    cr_assert_eq(grouping_named(&h.m, true, &h.g, &h.e), -1);
    cr_assert(strstr(h.e.msg, "llama.attention.head_count' is [4,4]"), "%s", h.e.msg);
    drop(&h);
}

/* ---- what is dropped ---------------------------------------------------------------------------- */
Test(names, what_one_side_computes_is_dropped_for_a_reason)
{
    struct hand h;
    model(&h, "token_embd.weight F32 8,4;rope_freqs.weight F32 4", NULL, "llama");
    h.m.random = false; /* there are no bytes to look at */
    name(&h, NAMES_HF);
    cr_assert_eq(h.m.n, 1u);
    cr_assert(h.m.naming->factors);
    cr_assert_eq(h.m.naming->n, 2u);
    const struct named *x = h.m.naming->tensor;
    cr_assert(!strcmp(x[0].was, "token_embd.weight") && !x[0].dropped && x[0].now == 0 && x[0].count == 1);
    cr_assert(!strcmp(x[1].was, "rope_freqs.weight") && strstr(x[1].dropped, "rope_scaling") && !x[1].count);
    drop(&h);
    model(&h, "model.norm.weight F32 4;model.layers.0.self_attn.rotary_emb.inv_freq F32 4", LLAMA, NULL);
    name(&h, NAMES_GGUF);
    cr_assert_eq(h.m.n, 1u);
    cr_assert_not_null(h.m.naming->tensor[1].dropped);
    drop(&h);
}
