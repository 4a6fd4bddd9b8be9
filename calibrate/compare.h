/* What quantizing a model costs where it counts: the outputs of its layers, and its words.
 *
 * Sums are taken in a fixed order: the same figures for any number of threads. */
#ifndef OCTAVO_CALIBRATE_COMPARE_H
#define OCTAVO_CALIBRATE_COMPARE_H

#include "calibrate/corpus.h"
#include "calibrate/stats.h"

/* ---- outputs of layers: ||X (W - V)^T||^2 / ||X W^T||^2 from the second moments of X ------- */
struct output_error {
    const char *name;
    uint64_t rows, cols, tokens[STATS_SETS];
    double error[STATS_SETS];        /* NaN: there are no moments of that set */
    bool diagonal;                   /* of the squares of each channel alone */
};
struct output_errors {
    struct output_error *e;
    size_t n, cap;
    struct arena mem;
};
/* Every weight of a that has second moments (all, or a diagonal) in s, and is in b, in the order of a. Both models are open and fresh; their tensors get Hugging Face's
 * names. */
int output_errors(struct output_errors *out, struct model *a, struct model *b, const struct stats *s, unsigned threads, struct err *e) MUST_USE;
void output_errors_free(struct output_errors *o);

/* ---- words ---------------------------------------------------------------------------------- */
struct words {
    uint64_t predicted;              /* tokens that have a next one */
    double nll[2];                   /* mean -log p of the next token, in nats: of a and of b; perplexity is exp of it */
    double kl, kl99, kl_max;         /* KL(a || b) in nats per token: mean, 99 %, maximum */
    double same_top;                 /* share of tokens whose likeliest next token is the same */
    uint64_t greedy, diverged;       /* sequences that were continued, and how many of them differ at some word, */
    double until;                    /* and after how many words in the mean (of those that do not: all of them) */
};
struct words_options {
    struct net_options run;          /* of both */
    void (*inputs)(float *x, size_t rows, uint64_t width); /* what is done to inputs of linear layers of b, or NULL */
    size_t greedy;                   /* words to go on with, 0: none */
    void (*progress)(void *ctx, uint64_t done, uint64_t all);
    void *progress_ctx;
};
/* The same sequences through both. ERR_INPUT when their vocabularies differ. */
int words_compare(struct words *w, struct net *a, struct net *b, const struct corpus *c, const struct words_options *o, struct err *e) MUST_USE;
/* FP8 activations as servers make them: E4M3 with a power-of-two scale for 128 columns of a row. */
void inputs_e4m3(float *x, size_t rows, uint64_t width);

#endif
