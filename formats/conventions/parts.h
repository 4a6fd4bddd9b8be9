/* What the conventions share: names that belong together, shapes that must
 * fit, and reading and rewriting config.json.  Only formats/convention.c and
 * formats/conventions/ include this. */
#ifndef OCTAVO_CONVENTION_PARTS_H
#define OCTAVO_CONVENTION_PARTS_H

#include "formats/config_json.h"
#include "formats/convention.h"

#include <jansson.h>

extern const struct convention convention_ascend_v1;
extern const struct convention convention_compressed_tensors;
extern const struct convention convention_deepseek;
extern const struct convention convention_deepseek_v4;
extern const struct convention convention_gcu_w8a8;
extern const struct convention convention_gguf;
extern const struct convention convention_gpt_oss;
extern const struct convention convention_mlu_fp8;
extern const struct convention convention_mlu_smoothquant;
extern const struct convention convention_modelopt;
extern const struct convention convention_octavo;
extern const struct convention convention_quark;
extern const struct convention convention_slimquant;
extern const struct convention convention_tim_vx;

/* ---- names (parts.c) ------------------------------------------------------ */
/* The name of a part of weight `name`.  A suffix that starts with '.' takes
 * the place of ".weight" ("X.weight" + ".scale" is "X.scale"), any other is
 * appended ("X.weight" + "_scale_inv").  In the arena when mem is given, else
 * malloc'ed; NULL on error. */
char *part_name(const char *name, const char *suffix, struct arena *mem, struct err *e) MUST_USE;
/* Does the module of weight `name` match a Python regular expression from its beginning on (re.match)? False, too,
 * for what the C library cannot express: lookaround, back references. */
bool python_match(const char *pattern, const char *name);
/* Looks for such a tensor: 1 and its index, 0 when there is none, -1 on error. */
int part_find(const struct model *m, const char *name, const char *suffix, size_t *index,
              struct err *e) MUST_USE;
/* The first of several suffixes (NULL-terminated) for which there is a tensor. */
int part_find_any(const struct model *m, const char *name, const char *const *suffix,
                  size_t *index, struct err *e) MUST_USE;

/* Is this a dtype of a scale's value, or of an E8M0 code? */
bool scale_is_value(enum dtype t);
bool scale_is_code(enum dtype t);
/* Finds a part by suffix and makes it g's; 1 found, 0 not, -1. */
int group_find(const struct model *m, struct group *g, enum part part, const char *suffix, struct err *e) MUST_USE;
int group_find_any(const struct model *m, struct group *g, enum part part, const char *const *suffix,
                   struct err *e) MUST_USE;
/* The same for tensors that stand beside the weight (PART_AUX): each of the suffixes that is there. */
int group_aux(const struct model *m, struct group *g, const char *const *suffix, struct err *e) MUST_USE;
/* The weight is codes of 4 (PACK_BYTES) or `bits` (PACK_WORDS or PACK_SLOTS, of cols columns) bits in its
 * tensor. */
int group_packed(const struct model *m, struct group *g, enum dtype elem, enum packing p, uint8_t bits, uint64_t cols,
                 struct err *e) MUST_USE;
/* ERR_INPUT with both shapes when the scale of g does not fit its weight, or
 * when its dtype cannot be what the scheme says. */
int group_check(const struct model *m, const struct group *g, struct err *e) MUST_USE;
/* The shape alone. */
bool group_fits(const struct model *m, const struct group *g);
/* ERR_INPUT: a quantized weight, but no tensor called like one of the suffixes. */
int group_no_scale(const struct model *m, size_t weight, const char *const *suffix, struct err *e);

/* ---- writing (parts.c) ------------------------------------------------------- */

/* The output tensors of a weight, put one by one. */
struct outputs {
    const struct weight *w;
    struct arena *mem;
    struct out_tensor *out;
    size_t *n;
    struct err *e;
};
/* Its codes: under its own name (suffix NULL) or with a suffix; dtype is that of the tensor. */
int put_weight(struct outputs *o, const char *suffix, enum packing p, enum dtype dtype) MUST_USE;
/* Its scales [.., rows, cols] of scheme_scale_shape, [1] per matrix when there is one for all. */
int put_scale(struct outputs *o, const char *suffix, enum dtype dtype) MUST_USE;
/* The same as a vector [.., rows], one per row. */
int put_row_scale(struct outputs *o, const char *suffix) MUST_USE;
/* Its second-level scale, an F32 per matrix. */
int put_global(struct outputs *o, const char *suffix, bool divides) MUST_USE;
/* Another part. */
int put_part(struct outputs *o, enum part part, const char *suffix, enum dtype dtype, uint8_t rank,
             const uint64_t *dim) MUST_USE;
/* The type of a weight's tensor when nothing is packed: the element's own, U8 for HiFloat8. */
enum dtype plain_dtype(const struct scheme *s);
/* The one scheme of all weights; ERR_USAGE naming two that differ; *s NULL when nothing is quantized. */
int one_scheme(const struct out_tensor *t, size_t n, const char *convention, const struct scheme **s,
               struct err *e) MUST_USE;

/* Weights that one entry of a config can describe: one scheme, one way with activations. */
struct kind {
    const struct scheme *s;
    enum activation a;
    size_t n;                     /* how many */
};
enum { KINDS = 64 };
/* The kinds among tensors, in order of appearance, and which of them has most weights. */
int kinds_of(const struct out_tensor *t, size_t n, struct kind kind[KINDS], size_t *kinds, size_t *most,
             struct err *e) MUST_USE;
/* The name of the module of a weight: without ".weight". NULL when memory is out. */
json_t *module_string(const char *weight);

/* The modules that stayed in high precision, sorted: what "ignore" and
 * "modules_to_not_convert" list.  A module is a matrix called "X.weight" (then
 * X) or a stack of expert matrices "X.experts.P" (then X.experts).  Norms and
 * biases are vectors and never listed.  NULL on error. */
json_t *modules_kept(const struct out_tensor *t, size_t n, struct err *e) MUST_USE;

/* Members `"name": "word"` of a JSON object, a line for each tensor that word() has one for, in the order of names;
 * before the first comes `first`: "," or nothing. */
int describe_each(const struct out_tensor *t, size_t n, const char *(*word)(const struct out_tensor *t),
                  const char *first, struct buf *text, struct err *e) MUST_USE;

/* ---- config.json (config.c) ------------------------------------------------ */

/* quantization_config or compression_config, of the model or of its
 * text_config; NULL when there is none. */
json_t *config_section(const json_t *config);
/* A string member, or "" */
const char *config_string(const json_t *object, const char *key);
/* Rewrites config.json as text, so that every byte that is not about
 * quantization stays: the members named above are removed, those of members (a
 * new quantization_config among them) are set, dtype (may be NULL) replaces torch_dtype. */
int config_splice(const char *source, const json_t *members, const char *dtype, struct buf *out,
                  struct err *e) MUST_USE;

/* Moves a json_t that json_pack() made into object under key; false is out of memory. */
int config_set(json_t *object, const char *key, json_t *value, struct err *e) MUST_USE;

#endif
