/* Statistics of the inputs of linear layers: octavo-calibration(5).
 *
 * A safetensors file (or a directory of them).  A point is one input that one or more linears share; it has the name of the
 * first of them, and the tensors
 *
 *     NAME.xtx          F32 [n (n + 1) / 2] or [n, n]   sum of x^T x over the tokens to fit to: the upper triangle by rows
 *     NAME.xtx_holdout  the same over the sequences that are kept apart for choosing
 *     NAME.xx, NAME.xx_holdout   F32 [n]   the diagonal alone, where that is all that was asked for
 *     NAME.amax         F32 [n]      largest magnitude of each channel
 *     NAME.histogram    I64 [4096]   counts of |x| by the upper 12 bits of its F32 magnitude
 *     NAME.tokens       I64 [2]      how many rows went into each sum
 *     NAME.hits         I64 [E, 2]   the same for each of E experts, where NAME is the sum over all of them
 *
 * The metadata say which linears share a point (octavo.calibration.shared, a JSON object of linear: NAME), and where it all
 * comes from.  Sums of disjoint texts add up: files can be merged. */
#ifndef OCTAVO_CALIBRATE_STATS_H
#define OCTAVO_CALIBRATE_STATS_H

#include "formats/model.h"
#include "formats/sink.h"

enum { STATS_SETS = 2, STATS_BINS = 4096 };
enum { STATS_FIT, STATS_HOLDOUT };

/* ---- reading ---------------------------------------------------------------------- */
struct stats_point {
    const char *name;
    uint64_t width;
    uint64_t tokens[STATS_SETS];
    size_t xtx[STATS_SETS], xx[STATS_SETS], amax, histogram, hits; /* tensors of their model, or SIZE_MAX */
    size_t model;
};
struct stats {
    struct model *m;
    size_t nmodels;
    struct stats_point *point;
    size_t n;
    struct map by_linear;            /* linear (without ".weight") -> point */
    struct arena mem;
};
/* A file, or a directory of files of different points. Shapes are checked; ERR_INPUT names file and tensor. */
int stats_open(struct stats *s, const char *path, struct err *e) MUST_USE;
void stats_close(struct stats *s);
/* The point of a linear (with or without ".weight"), or NULL. Where its own name is not there that of llama.cpp is looked up, with
 * ".E" behind it for an expert of a stack. */
const struct stats_point *stats_find(const struct stats *s, const char *linear);
/* The whole symmetric sum into h [n, n], divided by nothing. ERR_INPUT for NaN, Inf or a negative diagonal; ERR_USAGE when there
 * is only a diagonal. */
int stats_gram(const struct stats *s, const struct stats_point *p, unsigned set, double *h, struct err *e) MUST_USE;
/* [n]: the diagonal, whichever way it is there. */
int stats_diagonal(const struct stats *s, const struct stats_point *p, unsigned set, double *d, struct err *e) MUST_USE;
/* Channels whose energy (the diagonal of both sets) is above `times` the mean of all: how many, the largest of them, and how many
 * times the mean that is. Massive activations: a layer in which a few channels decide over everything. */
struct stats_loud {
    uint64_t n, channel;
    double ratio;
};
int stats_loud(const struct stats *s, const struct stats_point *p, double times, struct stats_loud *loud, struct err *e) MUST_USE;
int stats_amax(const struct stats *s, const struct stats_point *p, float *amax, struct err *e) MUST_USE;
/* Rows that expert number `expert` had in each set: of all, when the point is not one of several experts. */
int stats_hits(const struct stats *s, const struct stats_point *p, uint64_t expert, uint64_t tokens[STATS_SETS], struct err *e) MUST_USE;
int stats_histogram(const struct stats *s, const struct stats_point *p, int64_t *count, struct err *e) MUST_USE;

/* ---- writing ---------------------------------------------------------------------- */
struct stats_shape {                 /* of a point that will be written */
    const char *name;
    uint64_t width;
    bool full;                       /* xtx, not only xx */
    uint64_t experts;                /* of which it is the sum; 0: none */
    bool bare;                       /* no more than xx and tokens */
};
struct stats_writer;
/* The points and what each linear shares (linear[i] shares point of[i]); kv: provenance, more metadata. Names are copied. */
int stats_create(struct stats_writer **w, const char *path, const struct stats_shape *p, size_t n, const char *const *linear,
                 const size_t *of, size_t nlinear, const struct meta *kv, size_t nkv, struct sink_options o, struct err *e) MUST_USE;
/* The tensors of point i, one after the other in any order: sums of a set (h [n, n], of which the upper triangle counts; or d [n]
 * when it is a diagonal), and what belongs to both sets. */
int stats_put_gram(struct stats_writer *w, size_t i, unsigned set, const double *h, struct err *e) MUST_USE;
int stats_put_diagonal(struct stats_writer *w, size_t i, unsigned set, const double *d, struct err *e) MUST_USE;
int stats_put_rest(struct stats_writer *w, size_t i, const float *amax, const int64_t *histogram, const uint64_t tokens[STATS_SETS],
                   struct err *e) MUST_USE;
int stats_put_tokens(struct stats_writer *w, size_t i, const uint64_t tokens[STATS_SETS], struct err *e) MUST_USE; /* of a bare point */
int stats_put_hits(struct stats_writer *w, size_t i, const uint64_t (*tokens)[STATS_SETS], struct err *e) MUST_USE;
int stats_commit(struct stats_writer *w, struct err *e) MUST_USE; /* frees w, whether it works or not */
void stats_abort(struct stats_writer *w);                         /* frees w; NULL is nothing */
/* Bytes of the file's tensors. */
uint64_t stats_size(const struct stats_shape *p, size_t n);

/* The sums of several files, which must have the same points where they have any in common. */
int stats_merge(const char *const *path, size_t n, const char *output, struct sink_options o, struct err *e) MUST_USE;

#endif
