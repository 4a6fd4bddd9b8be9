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
#include "formats/model.h"
#include "formats/scheme.h"

/* One quantized weight of a model and what belongs to it. */
struct group {
    size_t weight, scale;         /* indices into model.t */
    size_t zero;                  /* an all-zero offset tensor (ascend-v1 weight_offset), or SIZE_MAX */
    const struct scheme *scheme;
};

enum part { PART_PLAIN, PART_WEIGHT, PART_SCALE, PART_ZERO };

struct grouping {
    const struct convention *convention; /* NULL: nothing quantized was found */
    struct group *g;
    size_t n;
    enum part *part;              /* per tensor of the model */
    size_t *group;                /* per tensor: its group (when part != PART_PLAIN) */
};
/* Recognises the convention of m and pairs weights with scales; arrays live in
 * m->mem.  In strict mode a quantized weight without a scale, a scale without a
 * weight, a scale whose shape does not fit, a block size that nothing states
 * (never inferred from shapes alone), FP8 tensors that no config describes and
 * formats this version does not read are ERR_INPUT naming the tensor and the
 * shapes; else such tensors stay PART_PLAIN (`ls` must list them), and only
 * ERR_SYSTEM fails. */
int grouping_read(struct model *m, bool strict, struct grouping *out, struct err *e) MUST_USE;

/* ---- writing -------------------------------------------------------------- */
struct out_tensor {
    const char *name;
    enum dtype dtype;
    uint8_t rank;
    uint64_t dim[TENSOR_MAX_RANK];
    enum part part;
};

struct convention {
    const char *name;         /* "deepseek" */
    const char *title;
    const char *stem;         /* weight files are STEM.safetensors or STEM-00001-of-00002.safetensors */
    /* Looks at the tensor table and config: the parsed config.json (an empty object when there is none) in which every
     * description file that was found is a member under its file name. */
    bool (*detect)(const struct model *m, const void *config /* json_t */);
    /* May be NULL. ERR_INPUT when config declares what this version cannot read; asked in strict mode. */
    int (*check)(const void *config, struct err *e);
    /* Scheme of the weight tensor i (a candidate: 8-bit, rank >= 2), its scale and zero tensor by name; *scheme = NULL when i
     * is not quantized under this convention. */
    int (*pair)(struct model *m, const void *config, size_t i, struct group *g, struct err *e);
    bool (*accepts)(const struct scheme *s);
    /* Output tensors of weight name [dims] under s: [0] the weight, [1] its scale, [2] maybe zeros. */
    int (*outputs)(const struct scheme *s, const char *name, uint8_t rank, const uint64_t *dim,
                   struct arena *mem, struct out_tensor out[3], size_t *n, struct err *e);
    /* Edits config.json (json_t *, may be an empty object) for tensors t[0..n): t[i].part says what was quantized. */
    int (*config)(void *config, const struct scheme *s, const struct out_tensor *t, size_t n, struct err *e);
    /* Optional description file: its name and text. */
    const char *description_name;
    int (*description)(const struct scheme *s, const struct out_tensor *t, size_t n, struct buf *text, struct err *e);
};
extern const struct convention *const convention_table[];
extern const size_t convention_count;
const struct convention *convention_find(const char *name);
/* The convention to write scheme s in when the user names none. */
const struct convention *convention_default(const struct scheme *s);

/* config.json for an output: source text (or NULL), the quantization part
 * removed, then rewritten by the convention (c NULL: not quantized; then
 * dtype, e.g. "bfloat16", replaces torch_dtype when not NULL). The result is
 * malloc'ed text (free()), or NULL when there is no source config and nothing to say. */
int config_text(const char *source, const struct convention *c, const struct scheme *s,
                const struct out_tensor *t, size_t n, const char *dtype, char **text, struct err *e) MUST_USE;

#endif
