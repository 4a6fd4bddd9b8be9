/* How servers share out a model: which way each weight is cut for tensor
 * parallelism, by its name, and in what units, so that no head is cut.
 *
 * Sources: vllm-project/vllm ColumnParallelLinear, RowParallelLinear,
 * QKVParallelLinear, MergedColumnParallelLinear, ReplicatedLinear and
 * VocabParallelEmbedding as the models llama.py, qwen2.py, qwen3.py, mixtral.py,
 * qwen3_moe.py and deepseek_v2.py use them. */
#ifndef OCTAVO_PARALLEL_H
#define OCTAVO_PARALLEL_H

#include "formats/err.h"
#include "formats/mem.h"

#include <stdbool.h>

/* What of config.json decides; 0 where it says nothing. */
struct heads {
    uint64_t attention;          /* num_attention_heads */
    uint64_t kv;                 /* num_key_value_heads, or attention; 1 with a latent KV cache (MLA) */
    uint64_t experts, per_token; /* routed ones: in all, and how many a token meets */
    uint64_t layers;
    uint64_t kv_elements;        /* of the KV cache, per token and layer, all heads together */
    bool latent;                 /* the KV cache is latent, and every rank has all of it */
    uint64_t index_elements;     /* keys of the indexer of sparse attention, beside those (index_head_dim) */
    uint64_t top_tokens;         /* with an indexer: tokens of which a step reads the cache; 0: all */
    /* From heads_layers. Layers by what they keep: of all tokens; of the last `window`; a state of fixed size (linear attention). */
    uint64_t full, windowed, window, linear;
    uint64_t state;              /* bytes per sequence and linear layer, all heads together */
    uint64_t state_heads;        /* into how many parts it can be cut */
};
/* config: text of config.json, or NULL. ERR_INPUT when it is not JSON. */
int heads_read(const char *config, struct heads *h, struct err *e) MUST_USE;
/* Fills in what the layers keep, after heads_read of the same text. path: for messages. ERR_INPUT for a kind of layer
 * whose cache is not known. The state of linear attention: vllm-project/vllm mamba_utils.py
 * gated_delta_net_state_shape. */
int heads_layers(const char *config, const char *path, struct heads *h, struct err *e) MUST_USE;

enum cut {
    CUT_NONE,    /* every rank has all of it */
    CUT_ROWS,    /* of the output: column parallel */
    CUT_COLS,    /* of the input: row parallel */
    CUT_FUSED    /* several of the first kind in one tensor: not cut by this version */
};
struct cut_of {
    enum cut cut;
    uint64_t units;  /* into how many parts at most: heads; 0: any number that the sizes allow */
    bool kv;         /* more ranks than units share a part */
    bool expert;     /* a routed expert: expert parallelism gives it to one rank whole */
};
/* name: of a weight, as Hugging Face has it ("model.layers.0.self_attn.q_proj.weight"), or of what belongs to it. */
struct cut_of cut_of(const char *name, const struct heads *h);
/* What a part of a weight must be a multiple of: whole blocks of scales, whole tiles. */
struct cut_units {
    uint64_t rows, cols;
};
/* Into how many parts ranks share a weight [rows, cols]: as many as there are ranks, fewer where they share a KV head, 1
 * where all have all of it; 0 when it cannot be cut so. */
uint64_t cut_parts(const struct cut_of *c, uint64_t rows, uint64_t cols, const struct cut_units *u, uint64_t ranks);
/* The number of a routed expert in its layer, or -1. */
int64_t expert_number(const char *name);

#endif
