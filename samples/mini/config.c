/* The JSON beside the weights. */
#include "mini.h"

#include <inttypes.h>

void write_text(FILE *f, const char *text, const char *kept)
{
    for (; *text; text++)
        if (*text == '@')
            fputs(kept, f);
        else
            putc(*text == '\'' ? '"' : *text, f);
}

struct member {
    const char *name;
    uint64_t value;
};

static void write_members(FILE *f, const struct member *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(f, ",\n  \"%s\": %" PRIu64, m[i].name, m[i].value);
}

void deepseek_config(FILE *f, const struct dims *d)
{
    const struct member m[] = {
        {"first_k_dense_replace", d->dense_layers},
        {"hidden_size", d->hidden},
        {"intermediate_size", d->intermediate},
        {"kv_lora_rank", d->kv_lora},
        {"moe_intermediate_size", d->moe_intermediate},
        {"n_group", d->groups},
        {"n_routed_experts", d->experts},
        {"n_shared_experts", 1},
        {"num_attention_heads", d->heads},
        {"num_experts_per_tok", d->per_token},
        {"num_hidden_layers", d->layers},
        {"num_key_value_heads", d->kv_heads},
        {"num_nextn_predict_layers", d->mtp},
        {"q_lora_rank", d->q_lora},
        {"qk_nope_head_dim", d->nope},
        {"qk_rope_head_dim", d->rope},
        {"topk_group", d->top_groups},
        {"v_head_dim", d->v_head},
        {"vocab_size", d->vocab},
    };

    write_text(
        f,
        "  'architectures': ['DeepseekV3ForCausalLM'],\n  'attention_bias': false,\n  'attention_dropout': "
        "0.0,\n"
        "  'bos_token_id': 0,\n  'eos_token_id': 1,\n  'ep_size': 1,\n  'hidden_act': 'silu',\n"
        "  'initializer_range': 0.02,\n  'max_position_embeddings': 163840,\n  'model_type': 'deepseek_v3',\n"
        "  'moe_layer_freq': 1,\n  'norm_topk_prob': true,\n  'rms_norm_eps': 1e-06,\n"
        "  'rope_scaling': {'beta_fast': 32, 'beta_slow': 1, 'factor': 40, 'mscale': 1.0, 'mscale_all_dim': "
        "1.0, "
        "'original_max_position_embeddings': 4096, 'type': 'yarn'},\n  'rope_theta': 10000,\n"
        "  'routed_scaling_factor': 2.5,\n  'scoring_func': 'sigmoid',\n  'tie_word_embeddings': false,\n"
        "  'topk_method': 'noaux_tc',\n  'torch_dtype': 'bfloat16',\n  'transformers_version': '4.33.1',\n"
        "  'use_cache': true",
        "");
    write_members(f, m, COUNT(m));
}

void gpt_oss_config(FILE *f, const struct dims *d)
{
    const struct member m[] = {
        {"head_dim", d->nope},
        {"hidden_size", d->hidden},
        {"intermediate_size", d->intermediate},
        {"num_attention_heads", d->heads},
        {"num_experts_per_tok", d->per_token},
        {"num_hidden_layers", d->layers},
        {"num_key_value_heads", d->kv_heads},
        {"num_local_experts", d->experts},
        {"vocab_size", d->vocab},
    };

    write_text(
        f,
        "  'architectures': ['GptOssForCausalLM'],\n  'attention_bias': true,\n  'attention_dropout': 0.0,\n"
        "  'eos_token_id': 200002,\n  'hidden_act': 'silu',\n  'initial_context_length': 4096,\n"
        "  'initializer_range': 0.02,\n  'layer_types': [",
        "");
    for (uint64_t i = 0; i < d->layers; i++)
        fprintf(f, "%s\"%s_attention\"", i ? ", " : "", i % 2 ? "full" : "sliding");
    write_text(
        f,
        "],\n  'max_position_embeddings': 131072,\n  'model_type': 'gpt_oss',\n  'output_router_logits': "
        "false,\n"
        "  'pad_token_id': 199999,\n  'rms_norm_eps': 1e-05,\n  'rope_scaling': {'beta_fast': 32.0, "
        "'beta_slow': 1.0, 'factor': 32.0, 'original_max_position_embeddings': 4096, 'rope_type': 'yarn', "
        "'truncate': false},\n  'rope_theta': 150000,\n  'router_aux_loss_coef': 0.9,\n  'sliding_window': "
        "128,\n"
        "  'swiglu_limit': 7.0,\n  'tie_word_embeddings': false,\n  'transformers_version': '4.55.0.dev0',\n"
        "  'use_cache': true",
        "");
    write_members(f, m, COUNT(m));
}
