/* Does a model fit on cards of a target, on how many, cut in which way, and how
 * fast can it be at most?  Arithmetic on headers: no byte of a weight is read.
 *
 * The bound is that of memory bandwidth while text is generated: every step
 * reads each weight that a batch meets once, and the KV cache of every token so
 * far.  Whatever computes or communicates makes it slower, never faster. */
#ifndef OCTAVO_FIT_H
#define OCTAVO_FIT_H

#include "formats/convention.h"
#include "formats/target.h"
#include "quantizers/parallel.h"
#include "quantizers/rules.h"

enum { FIT_POWERS = 11 }; /* 1, 2, 4 ... 1024 parts */

/* Bytes of a model in a form, by how they are shared out. */
struct fit_weights {
    double expert, cut, whole;              /* routed experts; cut by tensor parallelism; on every card */
    double cut_read, whole_read;            /* what a step reads of them: no embedding, and no layer that predicts more */
    double expert_read;                     /* if a token met all experts */
    double codes, scales, plain;            /* the same bytes by what they are */
    uint64_t quantized, kept;               /* weights */
    bool cuts[FIT_POWERS], cuts_experts[FIT_POWERS]; /* can every weight be cut into 2^i parts? */
    const char *uncut[FIT_POWERS];          /* if not: the first that cannot be */
};
/* rules: what quantize would do by default (presets), target's own included. g: of m, from grouping_named. */
int fit_measure(const struct model *m, const struct grouping *g, const struct rules *rules,
                const struct target_form *f, const struct heads *h, struct fit_weights *w, struct err *e) MUST_USE;

struct fit_options {
    double context, batch;      /* tokens per sequence, sequences */
    double kv_bytes;            /* of an element of the KV cache */
    double overhead, usable;    /* bytes per card that the server takes, out of the share of its memory that may be used */
    double memory, bandwidth, power; /* per card; 0: not known */
    uint32_t cards, tp;         /* 0: find them; tp a power of two */
};
struct fit_result {
    bool fits;
    uint32_t cards, tp, dp;     /* tp * dp == cards; experts are spread over all */
    bool experts_cut;           /* they do not divide among the cards: each is cut, too */
    uint64_t experts_most;      /* they do not divide and stay whole: how many of a layer the fullest card has; else 0 */
    double kv_token;            /* bytes of KV cache per token, of all layers that keep tokens */
    double state;               /* bytes per sequence of layers that keep a state */
    double weights, kv, overhead; /* bytes on the fullest card; kv with state */
    double room;                /* bytes on a card that may be used, the overhead taken off */
    double read;                /* bytes that a card reads per step */
    double tokens;              /* per second, all sequences; 0: bandwidth unknown */
    double per_joule;           /* 0: unknown */
    const char *why;            /* it does not fit: what stands in the way */
    /* It fits, on as few cards as possible: what the best plan for half of them needs; why_more NULL for one card. */
    const char *why_more;
    double fewer_weights, fewer_kv;
};
/* The smallest number of cards, of 1, 2, 4 ... 1024, unless o->cards says it; among ways to cut, the fastest.
 * A batch of B meets E (1 - (1 - k/E)^B) of E experts on average when each token meets k, all alike. */
void fit_solve(const struct fit_weights *w, const struct heads *h, const struct fit_options *o, uint32_t tp_max,
               struct fit_result *r);

#endif
