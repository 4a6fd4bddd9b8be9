/* A language model that runs layer by layer.
 *
 * Sequences of tokens go through one layer after the other, so that each weight is read once, and the input of each linear
 * layer is shown to whoever wants statistics of it.  Everything is F32, products are la_*'s; the result does not depend on
 * the number of threads.
 *
 *     net.c        what a model is, from config.json or the keys of a GGUF, and whether its tensors are all there
 *     rope.c       rotary embedding and its scalings
 *     attention.c  grouped-query attention; mla.c: DeepSeek's multi-head latent attention
 *     mlp.c        gated MLP; moe.c: routed and shared experts
 *     run.c        sequences, hidden states, logits
 *
 * Sources: transformers models/llama, mistral, qwen2, qwen3, mixtral, qwen3_moe, deepseek_v2, deepseek_v3
 * (modeling_*.py) and modeling_rope_utils.py. */
#ifndef OCTAVO_FORWARD_NET_H
#define OCTAVO_FORWARD_NET_H

#include "calibrate/forward/weights.h"

enum { TAP_NAMES = 3 };

/* How positions turn queries and keys. */
struct rope {
    float *inverse;                  /* half of the turned dimensions of a head */
    uint64_t half;
    double factor;                   /* of cos and sin (YaRN) */
    bool pairs;                      /* elements 2i and 2i + 1 are turned together, else i and i + half */
};

struct mla {
    uint64_t q_rank;                 /* 0: q_proj is one matrix */
    uint64_t kv_rank, nope, rope, v;
};

struct moe {
    uint64_t experts;                /* 0: none */
    uint64_t top, ffn, shared;       /* shared: experts' widths together, 0: none */
    uint64_t dense_first, step;      /* layers below dense_first have an MLP; of the others each step-th is routed */
    uint64_t groups, top_groups;
    bool sigmoid, bias, norm, best_pairs; /* scores; e_score_correction_bias; top weights sum to 1; groups by their two best */
    double scale;
    const char *block, *gate, *up, *down; /* names of tensors: "mlp", "gate_proj" ... */
};

struct net {
    struct weights w;
    const char *type;                /* model_type */
    uint64_t hidden, layers, heads, kv_heads, head, ffn, vocab;
    uint64_t window, window_from;    /* sliding window of layers from there on; 0: none */
    double eps;
    double softmax;                  /* queries times keys is multiplied with it */
    bool tied;
    struct rope rope;
    struct mla mla;                  /* kv_rank 0: none */
    struct moe moe;
    struct arena mem;
};
/* m: as of weights_open, which is called. ERR_INPUT for an architecture that is not known, by its name, and for tensors that
 * are missing or have other shapes. */
int net_open(struct net *n, struct model *m, unsigned threads, struct err *e) MUST_USE;
void net_close(struct net *n);

/* ---- running -------------------------------------------------------------------- */

/* Token ids, sequence after sequence; those of one set come together, sets ascend. */
struct sequences {
    const uint32_t *id;
    const size_t *start;             /* n + 1 */
    const uint8_t *set;              /* n, or NULL: one set */
    size_t n;
};

/* Who wants inputs of linear layers. A point is one input and the linears (names without ".weight") that share it. */
struct tap {
    void *ctx;
    /* Before the first rows of points that are gathered at once, n of them; they end together. */
    int (*begin)(void *ctx, const char *const *name /* [n][TAP_NAMES] */, const uint64_t *width, size_t n, struct err *e);
    int (*rows)(void *ctx, size_t point, const float *x, size_t rows, uint64_t width, unsigned set, struct err *e);
    int (*end)(void *ctx, struct err *e);
};
struct net_options {
    const struct tap *tap;           /* or NULL */
    /* What is done to the inputs of linear layers, as low-precision activations would, or NULL. */
    void (*inputs)(float *x, size_t rows, uint64_t width);
    size_t batch;                    /* tokens that are worked on together, at least one sequence; 0: 1024 */
    bool spill;                      /* hidden states in an unlinked temporary file instead of memory */
};
/* The hidden states behind the last layer, [tokens, hidden]. */
struct hidden {
    uint64_t tokens, width;
    float *p;                        /* NULL: in fd */
    int fd;
};
/* Makes h (hidden_free) the embeddings of the tokens; ERR_INPUT for a token beyond the vocabulary. */
int net_embed(struct net *n, const struct sequences *s, const struct net_options *o, struct hidden *h, struct err *e) MUST_USE;
/* One layer; they must come in order. ERR_INPUT for NaN or Inf in hidden states, by layer. */
int net_layer(struct net *n, const struct sequences *s, const struct net_options *o, struct hidden *h, uint64_t layer,
              struct err *e) MUST_USE;
/* All of it: the embeddings, then layer after layer. */
int net_run(struct net *n, const struct sequences *s, const struct net_options *o, struct hidden *h, struct err *e) MUST_USE;
/* Shows the tap (or nobody) the points of a layer, begin and end without rows: nothing is read, and shapes are checked. */
int net_list(struct net *n, const struct tap *t, uint64_t layer, struct err *e) MUST_USE;
/* Room for hidden states, zeroed. */
int hidden_open(struct hidden *h, uint64_t tokens, uint64_t width, bool spill, struct err *e) MUST_USE;
int hidden_get(const struct hidden *h, uint64_t first, size_t rows, float *x, struct err *e) MUST_USE;
int hidden_put(struct hidden *h, uint64_t first, size_t rows, const float *x, struct err *e) MUST_USE;
void hidden_free(struct hidden *h);
/* Logits [rows, vocab] of tokens [first, first + rows). */
int net_logits(struct net *n, const struct hidden *h, uint64_t first, size_t rows, float *logits, struct err *e) MUST_USE;

/* Memory and work of a run before anything is read. */
struct net_cost {
    uint64_t weights;                /* bytes of F32 that are held at once */
    uint64_t hidden, batch;          /* bytes of hidden states, and of what a batch needs */
    double flop;                     /* of products, for all tokens */
};
void net_cost(const struct net *n, const struct sequences *s, const struct net_options *o, struct net_cost *c);

#endif
