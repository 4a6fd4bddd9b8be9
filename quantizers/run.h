/* Filling a plan: boxes are claimed in order, computed in parallel, and on a
 * pipe written in turn. */
#ifndef OCTAVO_RUN_H
#define OCTAVO_RUN_H

#include "quantizers/plan.h"

struct progress {
    uint64_t done, total;      /* source bytes */
    const char *name;          /* of the tensor that is being read */
};
struct run_options {
    unsigned threads;          /* at least 1 */
    const bool *skip_op;       /* ops that are done already, or NULL */
    void (*progress)(void *ctx, const struct progress *p); /* about five times a second, from the calling thread */
    void *progress_ctx;
};
/* sink may be NULL: results are thrown away (verify). slot[i] is the sink slot
 * of plan output i. On failure the sentence is that of the earliest box that
 * failed, whatever the number of threads. digest, or NULL: of a stream, the
 * SHA-256 of the bytes of every tensor as they lie in it; the end of a packed
 * stream is then left to the caller (packed_check, model_finish). */
int run_plan(struct plan *p, struct sink *sink, const size_t *slot, const struct run_options *opt,
             uint8_t (*digest)[32], struct err *e) MUST_USE;

/* SHA-256 of the logical row-major bytes of every tensor (random sources), in parallel. Of one of I4, which only packed
 * files have: of the bytes in which a checkpoint has it, two rows in each (ascend-v1). */
int run_digest(struct model *m, unsigned threads, uint8_t (*digest)[32], struct err *e) MUST_USE;
/* Both: of each tensor (free(*digest)), and of the model (model_digest). */
int run_model_digest(struct model *m, unsigned threads, uint8_t (**digest)[32], uint8_t whole[32], struct err *e) MUST_USE;
/* Of the sink's slots. */
int run_sink_digest(struct sink *s, unsigned threads, const bool *known, uint8_t (*digest)[32], struct err *e) MUST_USE;
/* More of them: whole rows of t, from an even one on. */
void digest_rows(struct sha256 *h, const struct tensor *t, const uint8_t *row, size_t rows);
/* The order-independent digest of a model: SHA-256 over the sorted lines
 * "SHA256  NAME DTYPE [SHAPE]\n", one per tensor (for which used[i] is true, unless used is NULL). */
int model_digest(const struct model *m, const uint8_t (*digest)[32], const bool *used, uint8_t out[32],
                 struct err *e) MUST_USE;

#endif
