/* What the files of forward/ share. */
#ifndef OCTAVO_FORWARD_PARTS_H
#define OCTAVO_FORWARD_PARTS_H

#include "calibrate/forward/net.h"

#include <jansson.h>

/* ---- rope.c ----------------------------------------------------------------------- */
/* From config.json: theta and rope_scaling of `dims` turned dimensions. ERR_INPUT for a rule that is not known. */
int rope_read(struct rope *r, const json_t *config, uint64_t dims, struct arena *mem, struct err *e) MUST_USE;
/* The factor of softmax that YaRN adds in DeepSeek's models (mscale_all_dim), else 1. */
double rope_softmax(const json_t *config);
/* Turns rows at positions 0, 1, ...: of each of `heads` heads that are `head` floats apart, the first 2 * r->half floats. */
void rope_apply(const struct rope *r, float *x, size_t rows, size_t stride, uint64_t heads, uint64_t head);

/* ---- run.c: one layer at a time over all batches of whole sequences -------------------- */
struct batch {
    size_t first, rows;              /* tokens */
    size_t seq, nseq;                /* sequences */
    unsigned set;
};
struct pass {
    struct net *n;
    const struct net_options *o;
    const struct sequences *s;
    struct hidden *h;
    struct batch *batch;
    size_t batches, most;            /* tokens of the largest batch */
    uint64_t layer;
    bool list;                       /* points are shown, and that is all */
};
/* Rows of batch b. */
int pass_get(struct pass *p, const struct batch *b, float *x, struct err *e) MUST_USE;
/* The same with d [rows, hidden] added; NaN or Inf in the sum is ERR_INPUT that names the layer and `what`. */
int pass_add(struct pass *p, const struct batch *b, float *x, const float *d, const char *what, struct err *e) MUST_USE;

/* Points of which inputs are gathered at the same time. */
struct points {
    const char *name[4][TAP_NAMES];
    uint64_t width[4];
    size_t n;
    struct arena mem;
};
/* One more, its linears model.layers.L.NAME; NULL: no more of them. */
int point_add(struct points *q, struct pass *p, uint64_t width, const char *a, const char *b, const char *c, struct err *e) MUST_USE;
int points_begin(struct points *q, struct pass *p, struct err *e) MUST_USE;
/* Shows rows to the tap, then does to them what is done to inputs. */
int points_rows(struct points *q, struct pass *p, size_t point, float *x, size_t rows, unsigned set, struct err *e) MUST_USE;
/* Shows rows to the tap that are no inputs of a linear layer: keys and values as a cache has them. */
int points_show(struct points *q, struct pass *p, size_t point, const float *x, size_t rows, unsigned set, struct err *e) MUST_USE;
/* Ends what was begun (failed: without asking the tap) and frees q; returns failed or -1. */
int points_end(struct points *q, struct pass *p, int failed, struct err *e) MUST_USE;

/* Weight model.layers.L.NAME.weight (or NAME with another suffix, when it has a '.'-suffix of its own: "q_proj.bias"). When points
 * are only listed it is no more than looked for and its shape checked: what comes back is to be freed and not read. */
float *layer_weight(struct pass *p, const char *name, const char *suffix, uint64_t rows, uint64_t cols, struct err *e);
/* The same into *w, which stays NULL when there is no such tensor. */
int layer_optional(struct pass *p, const char *name, const char *suffix, uint64_t rows, uint64_t cols, float **w, struct err *e) MUST_USE;

/* ---- the parts of a layer ---------------------------------------------------------------- */
int attention_run(struct pass *p, struct err *e) MUST_USE;
int mla_run(struct pass *p, struct err *e) MUST_USE;
int mlp_run(struct pass *p, struct err *e) MUST_USE;
int moe_run(struct pass *p, struct err *e) MUST_USE;
bool moe_layer(const struct net *n, uint64_t layer);

/* ---- ops.c --------------------------------------------------------------------------------- */
/* y = x / rms(x) * w of n columns, row by row; sums in double. */
void rms_norm(const float *x, size_t ldx, size_t rows, uint64_t n, const float *w, double eps, float *y, size_t ldy);
/* gate = silu(gate) * up, on several threads. */
void silu_times(unsigned threads, float *gate, const float *up, size_t n);
void add_bias(float *x, size_t rows, uint64_t n, const float *bias);
/* Causal attention of one sequence: for each of `heads` heads, out = softmax(scale * Q K^T) V, keys and values of head h
 * being those of h / (heads / kv_heads). Rows are ld* floats apart, heads of q, k, v, out are dq, dq, dv, dv floats wide and lie side by
 * side. window: only so many keys back; 0: all. ERR_SYSTEM when memory is out. */
struct attend {
    const float *q, *k, *v;
    float *out;
    size_t rows, ldq, ldk, ldv, ldo;
    uint64_t heads, kv_heads, dq, dv, window;
    double scale;
};
int attend(unsigned threads, const struct attend *a, struct err *e) MUST_USE;

#endif
