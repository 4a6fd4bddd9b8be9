/* Miniature checkpoints: one model, in the clothes of many quantizers.
 *
 * mini is a program of its own: C11 and POSIX, no header of Octavo, so that what
 * it says of a format is a second opinion.  It favours the obvious over the fast:
 * numbers are rounded by searching all that a format can hold, in double.
 *
 *     model.c    the tensors of DeepSeek-V3 and gpt-oss at any size, and their values
 *     number.c   formats as lists of values, scales and codes of a matrix
 *     style.c    the table: how each style quantizes, what it calls the tensors
 *     config.c   config.json and its like
 *     out.c      safetensors files and their index
 *     matrix.c   the matrix of published results
 *     mini.c     puts them together
 *
 * Bytes depend on the seed and on nothing else.  No function of libm is called,
 * values are made of integers and powers of two, and every operation on double
 * and float is one that IEEE 754 rounds correctly: they are the same wherever
 * FLT_EVAL_METHOD is 0. */
#ifndef MINI_H
#define MINI_H

#ifndef _GNU_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#define _FILE_OFFSET_BITS 64

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { NAME = 128, RANK = 4 };

_Noreturn void die(const char *format, ...);
void *need(size_t n, size_t size);

/* ---- model.c --------------------------------------------------------------- */

/* KEEP and KEEP_F32 tensors are never quantized; ROUTED are the routed experts. */
enum role { KEEP, KEEP_F32, LINEAR, ROUTED };
struct tensor {
    char name[NAME];
    enum role role;
    int rank;
    uint64_t dim[RANK];
};

/* Sizes under the names of config.json. */
struct dims {
    uint64_t hidden, intermediate, moe_intermediate, layers, dense_layers, heads, kv_heads, experts,
        per_token, groups, top_groups, q_lora, kv_lora, nope, rope, v_head, vocab, mtp;
};
typedef void visit_fn(void *context, const struct tensor *t);
struct model {
    struct dims dims;
    unsigned shards;
    void (*walk)(const struct dims *d, visit_fn *visit, void *context);
    void (*config)(FILE *f, const struct dims *d); /* the members of config.json, config.c */
};
extern const struct model deepseek_v3, deepseek_mini, gpt_oss_mini;

uint64_t tensor_elems(const struct tensor *t);
/* 64 bits that depend on name and seed. */
uint64_t hash(const char *name, uint64_t seed);
/* The values of t: BF16 numbers, or F32 where the role says so. */
void tensor_values(const struct tensor *t, uint64_t seed, float *out);

/* ---- number.c -------------------------------------------------------------- */

/* In the order in which the safetensors library writes them, last first. */
enum dtype { U8, I8, F8_E4M3, F8_E8M0, F16, BF16, I32, F32, I64 };
extern const struct dtype_row {
    const char *name;
    unsigned size;
} dtypes[];

enum elem { E4M3, E2M1, INT8, INT4 };
enum rule {
    DIVIDE, /* amax / max */
    UP,     /* the smallest power of two s with amax <= max * s */
    FLOOR,  /* the power of two at or below amax, less emax binades (OCP MX) */
    BUMP,   /* the same, one more from 1.75 of a binade on (llm-compressor, Quark) */
};
enum global { NO_GLOBAL, DIVIDES, MULTIPLIES };

/* How a matrix is quantized.  x ~ code * scale; with a global scale, which is made
 * of the largest magnitude of all, x ~ code * scale / global or * global. */
struct scheme {
    enum elem elem;
    unsigned rows, cols; /* of a block; 0: all */
    enum dtype scale;    /* what scales are stored as: U8 and F8_E8M0 hold the exponent */
    enum rule rule;
    double max;   /* what the largest magnitude becomes */
    double least; /* amax counts as this at least */
    double zero;  /* the scale of zeros, if not 0 */
    int emax;
    bool away;       /* ties away from zero, not to even */
    bool asymmetric; /* INT4 with a zero point per block */
    enum global global;
};

struct quantized {
    uint64_t rows, cols, block_rows, block_cols; /* blocks: how many down and across */
    uint8_t *code;                               /* one per element */
    double *scale;                               /* per block, as stored */
    int8_t *zero;                                /* per block; 0 unless asymmetric */
    double global;                               /* 1 when there is none */
};
/* multiplier: of all scales; 1 but for the odd ones of DeepSeek-V3.1. */
void quantize(const struct scheme *s, double multiplier, const float *x, uint64_t rows, uint64_t cols,
              struct quantized *q);
void quantized_free(struct quantized *q);
/* Exact values, rounded once to F32. */
void dequantize(const struct scheme *s, const struct quantized *q, float *out);
/* v in a dtype, at p; the value that is there now. */
double store(enum dtype t, double v, uint8_t *p);

/* ---- style.c --------------------------------------------------------------- */

/* A tensor that a quantized weight is stored as: what is in it ... */
enum what {
    CODES,
    SCALES,
    GLOBAL,
    ZERO_POINTS,
    ZEROS,
    SHAPE,
    INPUT_SCALE,
    INPUT_OFFSET,
    QUANT_BIAS,
    DEQ_SCALE
};
/* ... and its shape, for a weight [o, i] with blocks [R, C]. */
enum shape {
    WHOLE,    /* [o, i] */
    HALF,     /* [o, i / 2], bytes of two */
    WORDS,    /* [o, i / 8], I32 of eight */
    SIXTEENS, /* [o, i / 32, 16], bytes of two */
    GRID,     /* [R, C] */
    ROWS_8,   /* [R / 8, C], I32 of eight rows */
    ROWS,     /* [o] */
    TWO,
    ONE,
    NONE
};
struct part {
    const char *suffix; /* takes the place of ".weight" */
    enum dtype dtype;
    enum what what;
    enum shape shape;
};
struct clothes {
    struct scheme scheme;
    struct part part[6]; /* ends with suffix NULL */
};
/* Texts of JSON: ' stands for ", @ for the list of Linear modules that stay. */
struct style {
    const char *name, *title;
    const struct model *model;
    const struct clothes *linear; /* NULL: they stay BF16 */
    const struct clothes *routed; /* NULL: like linear */
    bool odd_o_proj;              /* scales of o_proj are powers of two times 1.3228756189 */
    const char *section;          /* quantization_config */
    const char *more;             /* more members of config.json */
    const char *hf_quant;         /* hf_quant_config.json */
    const char *ascend;           /* the type in quant_model_description.json */
    int group_size;               /* there too */
    enum { HUGGING_FACE, DEEPSEEK, FROM_ZERO } naming; /* of files */
};
extern const struct style styles[];
extern const size_t style_count;

/* ---- config.c -------------------------------------------------------------- */

/* Writes text with its marks replaced. */
void write_text(FILE *f, const char *text, const char *kept);
void deepseek_config(FILE *f, const struct dims *d);
void gpt_oss_config(FILE *f, const struct dims *d);

/* ---- out.c ------------------------------------------------------------------ */

/* A directory of shards.  Everything is put twice: first to learn how much there
 * is, then for good.  A shard is full when its share of all bytes is there, which
 * mostly is after a large weight: its scale begins the next file. */
struct out {
    const char *dir, *stem;
    unsigned shards, first, digits; /* number of the first file, digits of the last one's */
    bool planning, sparse;          /* sparse: headers, and nothing behind them */
    size_t count;                   /* tensors, when planned */
    uint64_t bytes, elems, planned;
    unsigned shard;
    struct entry *entry; /* of the current file */
    struct place *place; /* of all tensors so far */
    size_t n, done;      /* entries, places */
};
struct place {
    char name[NAME];
    unsigned shard;
    bool plain; /* not quantized */
};
/* data: malloc'ed, becomes the writer's; NULL when planning or sparse.  plain: not quantized. */
void out_put(struct out *o, const char *name, bool plain, enum dtype dtype, int rank, const uint64_t *dim,
             void *data);
/* Everything was put once. */
void out_planned(struct out *o);
/* Everything was put twice: writes the last file and the index, sorts the places by name. */
void out_finish(struct out *o, uint64_t total_size);
/* Everything was put twice: writes one file. */
void out_single(struct out *o, const char *path);
void out_free(struct out *o);

FILE *out_create(const char *dir, const char *name);
void out_close(FILE *f, const char *name);

/* ---- matrix.c ---------------------------------------------------------------- */

void write_matrix(const char *path);

#endif
