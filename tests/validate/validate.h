/* validate CONVENTION DIR: would the serving software take this directory?
 *
 * Written from the rules of the loaders (vLLM, SGLang, vllm-ascend, vllm-mlu,
 * vllm-gcu, sglang-das; chips-1, 1.6, 1.7, 2.3, 4.2 and chips-2, section 1, of the
 * project's references), without a line of Octavo: it has a reader of its own for
 * headers of safetensors.  One line per finding, exit 1 when there is any.
 *
 *     model.c      a directory: tensors, index, JSON files
 *     rules.c      the table: what belongs to a quantized weight in each convention
 *     config.c     what each convention has to say in its JSON files
 *     validate.c   puts them together, and what holds for all
 *
 * A new convention is a row in rules.c and a function in config.c. */
#ifndef VALIDATE_H
#define VALIDATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { NAME = 192, RANK = 4 };

struct tensor {
    char name[NAME], dtype[16], file[256];
    int rank;
    uint64_t dim[RANK], size;
};
struct model {
    const char *dir;
    struct tensor *t;
    size_t n;
    json_t *config;                 /* config.json */
    bool sharded;
};

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern int findings;
void load(struct model *m, const char *dir);
/* A JSON file of the directory, or NULL. */
json_t *side_file(const struct model *m, const char *name);
const struct tensor *find(const struct model *m, const char *name);

/* ---- rules.c ------------------------------------------------------------------- */
enum shape { ONE, ROWS, ROWS_1, PAIRS_1, BIAS, OSS_SCALES, OSS_BIAS, COLS, BLOCKS, GROUPS_32, GROUPS_16, TWO, GROUPS_ANY };
struct part {
    const char *suffix;             /* takes the place of the weight's, when it begins with '.', else of ".weight" + suffix */
    const char *dtypes;             /* " F32 BF16 " */
    enum shape shape;
    bool optional;
};
struct rule {
    const char *convention;
    const char *kind;               /* of weight, for config.c */
    const char *suffix, *dtypes;    /* of the weight */
    uint64_t per;                   /* columns of the weight in one element of its tensor, */
    bool expert_only, not_expert;
    struct part part[5];
};
extern const struct rule rules[];
extern const size_t rule_count;
/* The rule of a tensor that is a quantized weight, or NULL. */
const struct rule *rule_of(const char *convention, const struct tensor *t);
bool is_expert(const char *name);
/* The module: "x.y" of "x.y.weight". */
void module_of(const char *name, const char *suffix, char out[NAME]);

/* ---- config.c -------------------------------------------------------------------- */
/* What kinds of weights the model has ("fp8-block" ...), and which modules: quantized ones, and the other matrices. */
struct found {
    const struct rule *kind[8];
    size_t kinds;
    char (*quantized)[NAME], (*plain)[NAME];
    size_t nquantized, nplain;
};
/* False: no such convention. */
bool check_config(const char *convention, const struct model *m, const struct found *f);

#endif
