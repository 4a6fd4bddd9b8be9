/* The plan: which source tensors become which output tensors, by which
 * transform, cut into which boxes.  It is complete (names, types, shapes,
 * sizes) before a tensor byte is read; run.h fills it. */
#ifndef OCTAVO_PLAN_H
#define OCTAVO_PLAN_H

#include "formats/convention.h"
#include "formats/target.h"
#include "quantizers/box.h"
#include "quantizers/kern.h"
#include "quantizers/rules.h"
#include "quantizers/scale.h"

/* What happened to the values of a tensor. */
enum verdict { VERDICT_EXACT, VERDICT_ROUNDED, VERDICT_SATURATED };
const char *verdict_name(enum verdict v);

struct outcome {
    uint64_t elems;
    struct kern_count n;
};
enum verdict outcome_verdict(const struct outcome *o);

/* How to encode. */
struct encoding {
    const struct scheme *scheme;
    const struct scale_rule *rule;          /* scheme->scale is F8_E8M0 */
    const struct scale_rule_f32 *rule_f32;  /* scheme->scale is F32 */
    bool saturate_nonfinite;                /* else NaN or Inf in a weight is an error */
};

struct op;
/* Results of one box, written by the caller at its turn. */
struct result {
    const void *p;
    size_t stride;
    struct box box; /* rows 0: nothing */
};
/* A worker's memory. */
struct work {
    const struct kern *k;
    struct scratch in, out[3], tmp, f32[2];
    struct result result[3];
    struct outcome n;      /* counts of this box */
    float amax;            /* of this box, in a measuring pass */
};
/* An op that is being run. */
struct active {
    const uint8_t *side;   /* in[1] (or in[0] of a transform that streams nothing), whole, row-major */
    float amax;            /* over the tensor, once the measuring pass is over */
    void *box_data;        /* op->box_data bytes per box, zeroed: for sums that must combine in box order */
};

struct xform {
    const char *name;
    bool streams;          /* in[0] arrives box by box; else it is held as side */
    int (*box)(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
               const uint8_t *in, size_t stride, struct work *w, struct err *e);
    /* After the last box; may be NULL. */
    int (*finish)(struct op *op, struct active *a, struct err *e);
};
extern const struct xform xform_copy, xform_encode, xform_decode, xform_rescale, xform_zero, xform_check_zero;

struct op {
    const struct xform *x;
    const struct model *src;
    size_t in[2];
    unsigned nin;
    size_t out[3];                 /* indices of plan outputs */
    unsigned nout;
    const struct scheme *from;     /* of in[0], or NULL */
    const struct encoding *to;     /* encode */
    enum dtype dtype;              /* decode: float type; rescale and encode: type of the scale as stored */
    uint32_t repeat[2];            /* rescale: output (r, c) is input (r / repeat[0], c / repeat[1]) */
    bool pow2;                     /* rescale: every scale must be a power of two 2^-126..2^127 */
    struct matrix m;               /* what is cut into boxes */
    uint64_t box_rows, box_cols, boxes;
    unsigned passes;
    size_t box_data;
    void *ctx;                     /* of the caller's own transforms */
    bool flat;                     /* m is the bytes of the tensor in row-major order, whatever its type: one row */
    bool exact;                    /* expected before anything is read */
    struct outcome done;           /* filled by the run */
};

struct output {                    /* an output tensor */
    struct tensor t;               /* t.size is as it lies; t.stored its layout */
    enum part part;
    size_t op;
    const struct scheme *scheme;   /* of a weight or scale */
};

struct plan {
    struct model *src;
    struct grouping group;
    struct op *op;
    size_t nops, op_cap;
    struct output *out;
    size_t nout, out_cap;
    struct arena mem;
    uint64_t bytes_in, bytes_out;
    uint64_t held;                 /* peak bytes of source tensors that a stream makes us hold */
    uint64_t box_bytes;            /* largest memory one worker needs */
    const char **note;             /* one sentence each: kept, skipped and why */
    size_t nnotes, note_cap;
};

/* What the verbs want. */
struct wanted {
    const struct encoding *to;            /* quantize; NULL: leave quantized what is */
    const struct convention *convention;  /* names of outputs; NULL: as in the source */
    const struct target *target;          /* for messages */
    const struct target_form *fit;        /* quantize --target: its row and column multiples are honoured */
    const struct rules *rules;            /* what is quantized (to != NULL), else what is taken */
    enum dtype plain;                     /* dequantize to this type; DT_COUNT: do not */
    const struct target_form *form;       /* pack */
    const struct layout *weight_layout, *scale_layout; /* pack --layout: instead of a form */
    const char *weight_sentence, *scale_sentence;
};
/* Every tensor of src is mapped, copied, or dropped by a rule; anything else
 * is an error. The grouping is read here. src is borrowed. */
int plan_make(struct plan *p, struct model *src, const struct wanted *w, struct err *e) MUST_USE;
/* The columns and rows that a box of this op must respect. */
struct grain {
    uint64_t rows, cols;           /* boxes start at multiples of these; 0: the whole extent */
    enum dtype in;                 /* type read, for sizes */
    const struct stored *from, *to;
    bool stream;                   /* in[0] comes from a pipe, box by box: full rows only */
};
/* The layout that boxes of t must respect: NULL when t is plain, or so small (repeated scales) that it is read whole. */
const struct stored *grain_of(const struct tensor *t);
/* Cuts op->m into boxes of a few MiB with few reads and writes each. */
int op_cut(struct op *op, const struct grain *g, struct err *e) MUST_USE;
/* True when this op's first input is processed as it arrives on a stream (else it is held in memory). */
bool op_streams(const struct op *op);
/* The input that arrives last. */
size_t op_last(const struct op *op);
struct op *plan_op(struct plan *p, const struct xform *x, struct err *e);
struct output *plan_output(struct plan *p, size_t op, const struct out_tensor *t, struct err *e);
int plan_note(struct plan *p, const char *text, struct err *e) MUST_USE;
void plan_free(struct plan *p);

/* Value i of a scale tensor (F32, BF16, F16 values; U8, F8_E8M0 codes). */
float scale_value(const uint8_t *p, enum dtype t, uint64_t i);

#endif
