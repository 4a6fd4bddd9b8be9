/* Tensors that follow from a config.json alone, against what published checkpoints have: how many elements in
 * all, and for one model every name. */
#include "formats/inventory.h"
#include "formats/io.h"
#include "formats/json.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static struct err err;

static uint64_t elements(const struct model *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        n += tensor_elems(&m->t[i]);
    return n;
}

static bool has(const struct model *m, const char *name, uint64_t rows, uint64_t cols)
{
    size_t i;
    return map_find(&m->by_name, name, &i) && m->t[i].dim[0] == rows && (m->t[i].rank == 1 || m->t[i].dim[1] == cols);
}

/* ---- published sizes ------------------------------------------------------------------ */
#define SIZES(hidden, inner, layers, heads, kv, vocab) "\"hidden_size\": " #hidden ", \"intermediate_size\": " #inner \
    ", \"num_hidden_layers\": " #layers ", \"num_attention_heads\": " #heads ", \"num_key_value_heads\": " #kv \
    ", \"vocab_size\": " #vocab
#define TIED ", \"tie_word_embeddings\": true"
#define MLA ", \"kv_lora_rank\": 512, \"qk_rope_head_dim\": 64, \"qk_nope_head_dim\": 128, \"v_head_dim\": 128"
#define V3 SIZES(7168, 18432, 61, 128, 128, 129280) MLA ", \"q_lora_rank\": 1536, \"first_k_dense_replace\": 3, " \
    "\"moe_intermediate_size\": 2048, \"n_routed_experts\": 256, \"n_shared_experts\": 1, \"num_experts_per_tok\": 8, " \
    "\"topk_method\": \"noaux_tc\", \"num_nextn_predict_layers\": 1"

/* Elements as the hub counts them in the headers of the safetensors files; DeepSeek-V3's from its index and headers, scales
 * left out. V3.2's indexer is that of its reference code: no headers were compared. */
static const struct {
    const char *name, *config;
    uint64_t elements;
    size_t tensors; /* 0: not compared */
} published[] = {
    {"Llama-2-7B", "\"model_type\": \"llama\", " SIZES(4096, 11008, 32, 32, 32, 32000), 6738415616, 291},
    {"Llama-3.1-8B", "\"model_type\": \"llama\", " SIZES(4096, 14336, 32, 32, 8, 128256), 8030261248, 291},
    {"Llama-3.1-70B", "\"model_type\": \"llama\", " SIZES(8192, 28672, 80, 64, 8, 128256), 70553706496, 723},
    {"Llama-3.2-1B", "\"model_type\": \"llama\", \"head_dim\": 64, " SIZES(2048, 8192, 16, 32, 8, 128256) TIED, 1235814400, 146},
    {"Mistral-7B-v0.1", "\"model_type\": \"mistral\", " SIZES(4096, 14336, 32, 32, 8, 32000), 7241732096, 291},
    {"Qwen2.5-0.5B", "\"model_type\": \"qwen2\", " SIZES(896, 4864, 24, 14, 2, 151936) TIED, 494032768, 290},
    {"Qwen2.5-7B", "\"model_type\": \"qwen2\", " SIZES(3584, 18944, 28, 28, 4, 152064), 7615616512, 339},
    {"Qwen2.5-72B", "\"model_type\": \"qwen2\", " SIZES(8192, 29568, 80, 64, 8, 152064), 72706203648, 963},
    {"Qwen3-8B", "\"model_type\": \"qwen3\", \"head_dim\": 128, " SIZES(4096, 12288, 36, 32, 8, 151936), 8190735360, 399},
    {"Qwen3-30B-A3B", "\"model_type\": \"qwen3_moe\", \"head_dim\": 128, \"num_experts\": 128, \"num_experts_per_tok\": 8, "
     "\"moe_intermediate_size\": 768, \"decoder_sparse_step\": 1, \"mlp_only_layers\": [], "
     SIZES(2048, 6144, 48, 32, 4, 151936), 30532122624, 18867},
    {"Qwen3-235B-A22B", "\"model_type\": \"qwen3_moe\", \"head_dim\": 128, \"num_experts\": 128, \"num_experts_per_tok\": 8, "
     "\"moe_intermediate_size\": 1536, \"decoder_sparse_step\": 1, " SIZES(4096, 12288, 94, 64, 4, 151936), 235093634560, 0},
    {"Mixtral-8x7B", "\"model_type\": \"mixtral\", \"num_local_experts\": 8, \"num_experts_per_tok\": 2, "
     SIZES(4096, 14336, 32, 32, 8, 32000), 46702792704, 995},
    {"DeepSeek-V2-Lite", "\"model_type\": \"deepseek_v2\", \"q_lora_rank\": null, \"first_k_dense_replace\": 1, "
     "\"moe_intermediate_size\": 1408, \"n_routed_experts\": 64, \"n_shared_experts\": 2, \"moe_layer_freq\": 1, "
     SIZES(2048, 10944, 27, 16, 16, 102400) MLA, 15706484224, 0},
    {"DeepSeek-V2", "\"model_type\": \"deepseek_v2\", \"q_lora_rank\": 1536, \"first_k_dense_replace\": 1, "
     "\"moe_intermediate_size\": 1536, \"n_routed_experts\": 160, \"n_shared_experts\": 2, \"moe_layer_freq\": 1, "
     SIZES(5120, 12288, 60, 128, 128, 102400) MLA, 235741434880, 0},
    {"DeepSeek-V3", "\"model_type\": \"deepseek_v3\", " V3, 680571043840 + 3918786560 + 15104, 91991 - 45808},
    {"DeepSeek-V3.2-Exp", "\"model_type\": \"deepseek_v32\", \"index_n_heads\": 64, \"index_head_dim\": 128, " V3,
     680571043840 + 3918786560 + 15104 + 62 * (8192 * 1536 + 128 * 7168 + 64 * 7168 + 2 * 128), 92425 - 45932},
};

Test(inventory, counts_what_published_checkpoints_have)
{
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        struct model m;
        char text[2048];
        snprintf(text, sizeof text, "{%s}", published[i].config);
        cr_assert_eq(inventory_open(&m, "config.json", text, &err), 0, "%s: %s", published[i].name, err.msg);
        cr_expect_eq(elements(&m), published[i].elements, "%s: %llu elements, not %llu", published[i].name,
                     (unsigned long long)elements(&m), (unsigned long long)published[i].elements);
        if (published[i].tensors)
            cr_expect_eq(m.n, published[i].tensors, "%s: %zu tensors, not %zu", published[i].name, m.n, published[i].tensors);
        model_close(&m);
    }
}

/* ---- names ------------------------------------------------------------------------------ */
Test(inventory, names_are_those_of_the_families)
{
    struct model m;
    cr_assert_eq(inventory_open(&m, "config.json", "{\"model_type\": \"deepseek_v3\", " V3 "}", &err), 0, "%s", err.msg);
    cr_expect(has(&m, "model.layers.0.self_attn.q_a_proj.weight", 1536, 7168));
    cr_expect(has(&m, "model.layers.60.self_attn.kv_a_proj_with_mqa.weight", 576, 7168));
    cr_expect(has(&m, "model.layers.60.self_attn.kv_b_proj.weight", 32768, 512));
    cr_expect(has(&m, "model.layers.2.mlp.down_proj.weight", 7168, 18432));
    cr_expect(!has(&m, "model.layers.3.mlp.down_proj.weight", 7168, 18432), "layer 3 has experts");
    cr_expect(has(&m, "model.layers.3.mlp.experts.255.up_proj.weight", 2048, 7168));
    cr_expect(has(&m, "model.layers.3.mlp.gate.e_score_correction_bias", 256, 1));
    cr_expect(has(&m, "model.layers.61.eh_proj.weight", 7168, 14336));
    cr_expect(has(&m, "model.layers.61.shared_head.head.weight", 129280, 7168));
    cr_expect(has(&m, "lm_head.weight", 129280, 7168));
    model_close(&m);
    cr_assert_eq(inventory_open(&m, "config.json", "{\"model_type\": \"mixtral\", \"num_local_experts\": 8, "
                                SIZES(4096, 14336, 32, 32, 8, 32000) "}", &err), 0, "%s", err.msg);
    cr_expect(has(&m, "model.layers.31.block_sparse_moe.experts.7.w2.weight", 4096, 14336));
    cr_expect(has(&m, "model.layers.31.self_attn.k_proj.weight", 1024, 4096));
    model_close(&m);
}

/* Name by name against the index of a real model. */
Test(inventory, every_name_of_a_real_index)
{
    char *config = mk_data("index/devstral-small-2507/config.json");
    char *index = mk_data("index/devstral-small-2507/model.safetensors.index.json");
    struct model m;
    size_t n;
    if (config && index) {
        char *text = io_read_file(config, 1 << 20, &n, &err);
        json_t *root = json_load_file(index, 0, NULL);
        const json_t *map = json_object_get(root, "weight_map");
        cr_assert(text && map, "%s", err.msg);
        cr_assert_eq(inventory_open(&m, config, text, &err), 0, "%s", err.msg);
        cr_expect_eq(m.n, json_object_size(map));
        for (size_t i = 0; i < m.n; i++)
            cr_expect(json_object_get(map, m.t[i].name), "%s", m.t[i].name);
        cr_expect_eq(elements(&m), (uint64_t)json_integer_value(json_object_get(json_object_get(root, "metadata"), "total_parameters")));
        model_close(&m);
        json_decref(root);
        free(text);
    }
    free(config);
    free(index);
}

Test(inventory, refuses_what_it_does_not_know)
{
    static const struct { const char *text, *says; } bad[] = {
        {"{\"model_type\": \"gpt_neo\", " SIZES(1, 1, 1, 1, 1, 1) "}", "gpt_neo"},
        {"{" SIZES(1, 1, 1, 1, 1, 1) "}", "model_type"},
        {"{\"model_type\": \"llama\"}", "hidden_size"},
        {"{\"model_type\": \"llama\", " SIZES(4096, 11008, 0, 32, 32, 32000) "}", "num_hidden_layers"},
        {"{\"model_type\": \"llama\", " SIZES(4096, 11008, 99999, 32, 32, 32000) "}", "num_hidden_layers"},
        {"{\"model_type\": \"llama\", " SIZES(-4096, 11008, 32, 32, 32, 32000) "}", "hidden_size"},
        {"{\"model_type\": \"llama\", " SIZES("4096", 11008, 32, 32, 32, 32000) "}", "hidden_size"},
        {"{\"model_type\": \"mixtral\", " SIZES(4096, 14336, 32, 32, 8, 32000) "}", "num_local_experts"},
        {"{\"model_type\": \"mixtral\", \"num_local_experts\": 100000000, " SIZES(4096, 14336, 32, 32, 8, 32000) "}", "experts"},
        {"{\"model_type\": \"qwen3_moe\", \"num_experts\": 8, " SIZES(4096, 14336, 32, 32, 8, 32000) "}", "moe_intermediate_size"},
        {"{\"model_type\": \"deepseek_v3\", " SIZES(7168, 18432, 61, 128, 128, 129280) "}", "kv_lora_rank"},
        {"{\"model_type\": \"mixtral\", \"num_local_experts\": 4096, " SIZES(4096, 14336, 1000, 32, 8, 32000) "}", "experts"},
        {"{\"model_type\": \"llama\", \"head_dim\": 99999999, " SIZES(4096, 14336, 32, 32, 8, 32000) "}", "q_proj"},
        {"{\"model_type\": \"deepseek_v3\", \"num_nextn_predict_layers\": 99999, " SIZES(7168, 18432, 61, 128, 128, 1) MLA "}",
         "num_nextn_predict_layers"},
        {"[]", "config.json"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct model m;
        err = (struct err){0};
        cr_expect_eq(inventory_open(&m, "config.json", bad[i].text, &err), -1, "%s", bad[i].text);
        cr_expect_eq(err.kind, ERR_INPUT);
        cr_expect(strstr(err.msg, bad[i].says), "%s", err.msg);
    }
}
