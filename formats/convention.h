/* Conventions: how checkpoints name and declare a scheme.
 *
 * Reading: a convention recognises itself in config.json and tensor names and
 * pairs every quantized weight with its scale.  Writing: it names the output
 * tensors of a weight and writes config.json and description files, so that
 * serving software loads the directory as it is.
 *
 * Sources: numbers-and-checkpoints C.2 to C.6 of the project's references,
 * i.e. deepseek-ai/DeepSeek-V3 README_WEIGHTS.md, vllm-project/compressed-tensors,
 * Ascend/msmodelslim modelslim_v1 save. */
#ifndef OCTAVO_CONVENTION_H
#define OCTAVO_CONVENTION_H

#include "formats/err.h"
#include "formats/mem.h"
#include "formats/scheme.h"
#include "formats/view.h"

/* What a tensor is to a quantized weight. */
enum part {
    PART_PLAIN,   /* nothing */
    PART_WEIGHT,  /* its codes */
    PART_SCALE,
    PART_GLOBAL,  /* one F32 per matrix that multiplies (or divides) every scale */
    PART_POINT,   /* the codes that stand for zero, like the weight's */
    PART_ORDER,   /* I32 per column: the block it belongs to (actorder) */
    PART_ZERO,    /* an offset that must be all zeros (ascend-v1 weight_offset) */
    PART_ONE,     /* a factor of the inputs that must be all ones, F32 (mlu-smoothquant smooth) */
    PART_SHAPE,   /* I64[2], the shape of a packed weight */
    PART_AUX,     /* of the activations (input_scale ...): it stands beside the weight and changes none of its values */
    PART_LEFT,    /* no quantized weight's: calibration left it beside one that is still floating point */
    PART_PIECE,   /* of a weight that is kept apart in several tensors: grouping_expand() puts it together */
    PART_BIAS,    /* only written: F32 [N, P], 8 times the scale times the sum of the codes of each of the P parts of a
                   * row (ascend-v1 scale_bias) */
    PART_COUNT
};
#define NO_TENSOR SIZE_MAX

/* One quantized weight of a model and what belongs to it. */
enum { GROUP_AUX = 6 };
struct group {
    const char *name;             /* of the weight: "X.weight", whatever its codes are called */
    const struct scheme *scheme;
    struct view view;             /* of the weight */
    size_t of[PART_COUNT];        /* PART_WEIGHT .. PART_SHAPE: indices into model.t, or NO_TENSOR */
    size_t aux[GROUP_AUX];
    unsigned naux;
    bool global_divides;          /* scales are divided by the global one */
    float constant;               /* not 0: every scale is multiplied by it; a power of two */
    bool inputs_first;            /* unquantized, this weight is [.., K, N] */
};

struct grouping {
    const struct convention *convention; /* NULL: nothing quantized was found */
    struct group *g;              /* n weights, and g[n]: the KV cache, when tensors belong to it */
    size_t n;
    enum part *part;              /* per tensor of the model */
    size_t *group;                /* per tensor: its group (when part is PART_WEIGHT .. PART_AUX) */
};
/* Is tensor i the scale of a KV cache, which belongs to no weight? Then it is PART_AUX and its group, g[n], has no tensors. */
static inline bool grouping_cache(const struct grouping *g, size_t i)
{
    return g->part[i] == PART_AUX && g->group[i] == g->n;
}
/* Does tensor i belong to a quantized weight? */
static inline bool grouping_has(const struct grouping *g, size_t i)
{
    return g->part[i] >= PART_WEIGHT && g->part[i] <= PART_AUX;
}
/* Before grouping_read, where values are wanted: weights that are kept apart take the place of their pieces in
 * m's table (derived.h). Nothing happens to other models. */
int grouping_expand(struct model *m, struct err *e) MUST_USE;
/* Recognises the convention of m and pairs weights with scales; arrays live in
 * m->mem.  In strict mode a quantized weight without a scale, a scale without a
 * weight, a scale whose shape does not fit, a block size that nothing states
 * (never inferred from shapes alone), FP8 tensors that no config describes and
 * formats this version does not read are ERR_INPUT naming the tensor and the
 * shapes; else such tensors stay PART_PLAIN (`ls` must list them), and only
 * ERR_SYSTEM fails. */
int grouping_read(struct model *m, bool strict, struct grouping *out, struct err *e) MUST_USE;

/* ---- writing -------------------------------------------------------------- */

/* What a server does to the activations that meet a weight. */
enum activation { ACTIVATION_DYNAMIC, ACTIVATION_STATIC, ACTIVATION_NONE };

/* A weight that is to be written. */
struct weight {
    const char *name;
    uint8_t rank;                 /* at least 2 */
    const uint64_t *dim;
    const struct scheme *scheme;
    enum activation activation;
};

struct out_tensor {
    const char *name;
    enum dtype dtype;
    uint8_t rank;
    uint64_t dim[TENSOR_MAX_RANK];
    enum part part;
    const struct scheme *scheme;  /* of every part of a quantized weight */
    enum activation activation;   /* of a weight */
    struct view view;             /* of a weight */
    bool divides;                 /* a global scale that divides */
    float times;                  /* not 0: of scales, what is stored is the scale times this */
    const char *weight;           /* of a part: the name of the weight it belongs to; NULL: a KV cache's */
};
enum { OUT_PARTS = 8 };

struct convention {
    const char *name;         /* "deepseek" */
    const char *title;
    const char *stem;         /* weight files are STEM.safetensors or STEM-00001-of-00002.safetensors */
    /* Looks at the tensor table and config: the parsed config.json (an empty object when there is none) in which every
     * description file that was found is a member under its file name. */
    bool (*detect)(const struct model *m, const void *config /* json_t */);
    /* May be NULL. ERR_INPUT when config declares what this version cannot read; asked in strict mode. */
    int (*check)(const void *config, struct err *e);
    /* May be NULL. Marks what is no weight and no part of a quantized one: PART_LEFT, PART_PIECE. */
    int (*mark)(struct model *m, const void *config, enum part *part, struct err *e);
    /* May be NULL. See grouping_expand. */
    int (*expand)(struct model *m, const void *config, struct err *e);
    /* Is tensor i the codes of a quantized weight? Then g gets its scheme, view, name and all that belongs to it;
     * g->scheme stays NULL when it is not. g comes with the view and name of tensor i and no other tensor. */
    int (*pair)(struct model *m, const void *config, size_t i, struct group *g, struct err *e);
    /* May be NULL. Is weight `name` [.., K, N] where it is not quantized? Its codes are [.., N, K] all the same. */
    bool (*inputs_first)(const char *name);
    /* May be NULL. Is t, which belongs to no weight, the scale of a KV cache? Then the scheme of that cache, else NULL. */
    const struct scheme *(*cache)(const void *config, const struct tensor *t);
    bool keeps_cache;         /* config has a place for them: they come with PART_AUX, that scheme and no weight */
    /* NULL: read only. */
    bool (*accepts)(const struct scheme *s, enum activation a);
    /* Output tensors of a weight: [0] its codes, then its scale and the other parts, *n in all. */
    int (*outputs)(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n, struct err *e);
    /* Edits config.json (json_t *, may be an empty object) for tensors t[0..n). Conventions that know one scheme per model
     * refuse two. */
    int (*config)(void *config, const struct out_tensor *t, size_t n, struct err *e);
    /* Optional description file: its name and text. */
    const char *description_name;
    int (*description)(const struct out_tensor *t, size_t n, struct buf *text, struct err *e);
};
extern const struct convention *const convention_table[];
extern const size_t convention_count;
const struct convention *convention_find(const char *name);
/* Can c hold weights of scheme s? Then what is done to their activations when nobody says: dynamic, else
 * nothing; the other way round for weights of less than 8 bits. */
bool convention_takes(const struct convention *c, const struct scheme *s, enum activation *a);
/* The convention to write scheme s in when the user names none; NULL: no convention has a place for it. */
const struct convention *convention_default(const struct scheme *s);

/* config.json for an output: source text (or NULL), the quantization part
 * removed, then rewritten by the convention (c NULL: not quantized; then
 * dtype, e.g. "bfloat16", replaces torch_dtype when not NULL). The result is
 * malloc'ed text (free()), or NULL when there is no source config and nothing to say. */
int config_text(const char *source, const struct convention *c, const struct out_tensor *t, size_t n,
                const char *dtype, char **text, struct err *e) MUST_USE;

#endif
