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
#include "quantizers/encoding.h"
#include "quantizers/values.h"

/* What happened to the values of a tensor. */
enum verdict { VERDICT_EXACT, VERDICT_ROUNDED, VERDICT_SATURATED };
const char *verdict_name(enum verdict v);

struct outcome {
    uint64_t elems;
    struct kern_count n;
};
enum verdict outcome_verdict(const struct outcome *o);

enum { OP_OUT = 4 };
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
    struct scratch in, out[OP_OUT], tmp, f32[2], row, whole[2];
    struct result result[OP_OUT];
    struct outcome n;      /* counts of this box */
    float amax;            /* of this box, in a measuring pass */
};
/* An op that is being run. */
struct active {
    const uint8_t *side[SIDE_COUNT]; /* whole and row-major; in[0] of a transform that streams nothing is side[0] */
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
extern const struct xform xform_copy, xform_encode, xform_decode, xform_rescale, xform_requant, xform_codes, xform_global,
    xform_points, xform_blocks, xform_carry, xform_zero, xform_known, xform_check_zero;

/* A block with values that changed. */
struct tile {
    uint64_t batch, row, col;
    uint32_t inexact;
};

struct op {
    const struct xform *x;
    const struct model *src;       /* the plan's, or one that has better values */
    size_t place;                  /* the tensor of the plan's source that this op is for */
    size_t in[1 + SIDE_COUNT];     /* tensors of src */
    unsigned nin;
    unsigned side[SIDE_COUNT];     /* which of in[] it is; 0: there is none */
    struct view view;              /* of in[0] */
    const struct group *from;      /* of in[0], or NULL */
    size_t out[OP_OUT];            /* indices of plan outputs */
    unsigned nout;
    float factor;                  /* not 0: rescale, encode: of every scale as it is stored; zero, check: what to fill with */
    bool joins;                    /* nout is 0, and this op fills a part of out[0], which is another one's */
    uint64_t at[3];                /* join: where the part begins, in batch, rows and columns */
    const struct encoding *to;     /* encode */
    enum dtype dtype;              /* decode: float type; rescale and encode: type of the scale as stored */
    struct view coded;             /* encode: how the codes lie in their tensor, and the type of its elements */
    enum dtype unit;
    bool divides;                  /* encode: the second-level scale is stored as its inverse; global: invert it */
    uint32_t bias;                 /* encode, codes: parts of a row of the PART_BIAS that is the last output, or 0 */
    const struct rounder *rounder; /* encode: chooses among codes once the whole matrix is encoded, or NULL */
    bool tiles;                    /* encode: count what is inexact per block (box_data) */
    struct tile *tile;             /* the blocks that were not, once the op is done (free()) */
    size_t ntiles;
    uint32_t repeat[2];            /* rescale, points: output (r, c) is input (r / repeat[0], c / repeat[1]) */
    enum dtype scale;              /* rescale: type of the scales that are read */
    int shift;                     /* rescale: 1 doubles every scale (E4M3FNUZ) */
    int times;                     /* rescale: log2 of a factor that the output wants, checked and told apart from the value */
    bool pow2;                     /* rescale: every scale must be a power of two 2^-127..2^127 */
    struct matrix m;               /* what is cut into boxes */
    uint64_t box_rows, box_cols, boxes;
    unsigned passes;
    size_t box_data;
    void *ctx;                     /* of the caller's own transforms */
    bool flat;                     /* m is the bytes of the tensor in row-major order, whatever its type: one row */
    bool exact;                    /* expected before anything is read */
    bool second;                   /* encode: rounds a second time, and measures what that costs */
    double lost, kept;             /* of such an op, once it is done: sums of (new - old value)^2 and of old^2 */
    struct outcome done;           /* filled by the run */
};

struct output {                    /* an output tensor */
    struct tensor t;               /* t.size is as it lies; t.stored its layout */
    struct out_tensor as;          /* the same, for conventions */
    const struct stored *written;  /* how boxes are written into a plain tensor; NULL: as they are */
    size_t op;
};

/* What became of a tensor of the source. */
enum fate {
    FATE_NONE,
    FATE_MAPPED,   /* converted: other bytes, or in another layout */
    FATE_COPIED,   /* the same bytes */
    FATE_MERGED,   /* read for the sake of another one, whose values it became part of */
    FATE_DROPPED,
    FATE_COUNT
};
const char *fate_name(enum fate f);
struct entry {
    const char *name;
    enum fate fate;
    const char *why;               /* why it was kept, merged or dropped; NULL: because of the rule */
    const struct rule *rule;       /* that decided, which is wanted's; NULL: none did */
    const size_t *out;             /* outputs that have something of it */
    size_t nout;
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
    struct said { enum fate fate; const char *why; } *said; /* per source tensor: its fate when no op takes it, and why */
    struct entry *ledger;          /* per tensor as the files of the source have it */
    size_t nledger, fates[FATE_COUNT];
    size_t second;                 /* weights that are rounded a second time, and the first of them */
    const char *second_name;
    size_t blocks;                 /* GGUF blocks that are rounded a second time, and the first of them */
    const char *block_name;
    size_t stay;                   /* quantized weights that a default would have kept unquantized, and the first of them */
    const char *stay_name;
    size_t caches;                 /* scales of KV caches that the output has no place for, and the first of them */
    const char *cache_name;
    size_t nleft;                  /* tensors that are dropped as left over, and the first of them */
    const char *left_name;
    const char **note;             /* one sentence each: kept, skipped and why */
    size_t nnotes, note_cap;
};

/* Codes that are chosen by something that this layer knows nothing of (calibrate/rounder.h), on the grid that it has made. */
struct rounding {
    const char *name;                     /* of the weight */
    const struct num *num;
    bool symmetric;                       /* the most negative code is not used */
    size_t rows, cols, block_rows, block_cols;
    const float *w;                       /* [rows, cols] */
    const float *scale;                   /* of blocks: value(code) * scale is what is meant */
    uint8_t *code;                        /* the nearest codes, to become better ones */
};
struct rounder {
    void *ctx;
    /* Will it have something to say about weight `name` [rows, cols]? */
    bool (*wants)(void *ctx, const char *name, uint64_t rows, uint64_t cols);
    /* One weight at a time: the run that calls it has one worker. */
    int (*round)(void *ctx, const struct rounding *r, struct err *e);
};

/* What the verbs want. */
struct wanted {
    const struct rounder *rounder;        /* or NULL: nearest */
    const struct encoding *to;            /* quantize: what rules do not say otherwise; NULL: leave quantized what is */
    const struct convention *convention;  /* names of outputs; NULL: as in the source */
    enum activation activation;           /* what is done to activations, when the user said it */
    bool activation_given;
    const struct model *activations;      /* scales of static activations, or NULL */
    const struct model *better;           /* random: weights to encode instead of codes that would be rounded again, or NULL */
    bool requantize;                      /* rounding a second time is allowed */
    bool dry_run;                         /* nothing will be written: what would be refused becomes a note */
    bool gguf;                            /* the output is GGUF: its block types stay, and vectors become F32, which
                                           * ggml wants of norms and biases (not when a GGUF source is only carried) */
    const struct target *target;          /* for messages */
    const struct target_form *fit;        /* quantize --target: its row and column multiples are honoured */
    const struct rules *rules;            /* what is quantized (to != NULL), else what is taken */
    enum dtype plain;                     /* dequantize to this type; DT_COUNT: do not */
    bool plain_all;                       /* GGUF: and so do matrices that were never quantized */
    const struct target_form *form;       /* pack */
    const struct layout *weight_layout, *scale_layout; /* pack --layout: instead of a form */
    const char *weight_sentence, *scale_sentence;
};
/* Every tensor of src is mapped, copied, merged or dropped for a reason; anything
 * else is an error. The grouping is read here. src and the rules are borrowed. */
/* Can weight g be packed in form f as it is: the same codes, scales repeated or in another type at most? */
bool plan_takes_form(const struct group *g, const struct target_form *f);
/* The same for a model without quantized weights: a form that quantizes nothing, or one of GGUF and a model that has
 * blocks. */
bool plan_takes_model(const struct model *m, const struct target_form *f);
/* The whole model from what n ranks have of it, which are random: every tensor that was cut from all its parts, any other
 * from the first rank that has it. ERR_INPUT names a rank or a part that is missing, twice there or from elsewhere.
 * digest[i]: of the payloads of rank i's tensors, so that copies of the same thing are known to be the same; or NULL. */
int plan_join(struct plan *p, struct model *rank, size_t n, uint8_t (*const *digest)[32], struct err *e) MUST_USE;
int plan_make(struct plan *p, struct model *src, const struct wanted *w, struct err *e) MUST_USE;
/* The columns and rows that a box of this op must respect. */
struct grain {
    uint64_t rows, cols;           /* boxes start at multiples of these; 0: the whole extent */
    struct view in;                /* of what is read, for sizes */
    const struct stored *from, *to;
    bool stream;                   /* in[0] comes from a pipe, box by box: full rows only */
};
/* Cuts op->m into boxes of a few MiB with few reads and writes each. */
int op_cut(struct op *op, const struct grain *g, struct err *e) MUST_USE;
/* Box i of an op, counted row of boxes by row of boxes. */
struct box op_box(const struct op *op, uint64_t i);
/* True when this op's first input is processed as it arrives on a stream (else it is held in memory). */
bool op_streams(const struct op *op);
/* The input that arrives last, of those that are tensors of src. */
size_t op_last(const struct op *op, const struct model *src);
/* A new op; the next outputs are its. */
struct op *plan_op(struct plan *p, const struct xform *x, const struct model *src, size_t place, struct err *e);
/* The matrix that an output is: tensor_matrix, but a vector of row scales [N] is the column that its encoder fills. */
struct matrix output_matrix(const struct output *o);
struct output *plan_output(struct plan *p, const struct out_tensor *as, struct err *e);
int plan_note(struct plan *p, const char *text, struct err *e) MUST_USE;
void plan_free(struct plan *p);

#endif
