/* Targets: what each chip takes.  One JSON file per chip in formats/targets/,
 * embedded in the binary at build time; --target-file loads one at run time. */
#ifndef OCTAVO_TARGET_H
#define OCTAVO_TARGET_H

#include "formats/convention.h"
#include "formats/layout.h"

enum role { ROLE_DENSE, ROLE_EXPERT, ROLE_COUNT };
/* The role of a quantized weight, by its name (".experts." and GGUF "_exps"). */
enum role tensor_role(const char *name);

/* A tensor that is computed for the chip from the scales of a weight and lies beside them in the packed file. It is no
 * part of the model: unpacking leaves it out, so a rule need not be one that can be undone. */
enum extra_rule {
    EXTRA_ABSMAX,     /* F32: 127 * scale, the largest magnitude of a row (Kunlunxin: baidu/vLLM-Kunlun scale_mm.py) */
    EXTRA_INVERSE,    /* F32: 1 / scale (Cambricon's plain matmul of INT8: torch_mlu_ops) */
    EXTRA_DEQUANT,    /* U64: 2^46 + the upper 19 bits of the F32 (Ascend: hicann/ops-nn quant/trans_quant_param_v2) */
    EXTRA_BITS,       /* U64: the bits of the F32 (Ascend grouped matmul: vllm-ascend W4A8_DYNAMIC) */
    EXTRA_F16,        /* F16, rounded to nearest; refused where that is infinite or off by more than 1/256 */
    EXTRA_BF16        /* BF16, the same */
};
struct target_extra {
    const char *name;                 /* "absmax": the tensor is called WEIGHT.absmax */
    enum extra_rule rule;
    const char *rule_name;
    enum dtype dtype;                 /* what the rule makes */
    const char *sentence;             /* how the matrix of scales lies */
    struct layout layout;
};

/* How the weights of a role and what belongs to them lie in memory. */
struct target_role {
    const struct scheme *scheme;      /* what they must be, or become exactly; NULL: not quantized (form->plain) */
    const char *weight, *scale;       /* layout sentences */
    struct layout weight_layout, scale_layout; /* the same, parsed */
    uint32_t row_multiple, col_multiple; /* what N and K must be multiples of; 1 when free */
    enum dtype scale_dtype;           /* F32, BF16, F16, or F8_E8M0 (bytes) */
    uint32_t scale_rows, scale_cols;  /* granularity of the packed scale: divides the scheme's block; e.g. 1 x 128; 0: all */
    double scale_times;               /* a power of two that multiplies every packed scale */
    uint32_t interleave;              /* rows of gate and up that lie in turns in one tensor; 0: each lies for itself */
    bool is_unsigned;                 /* codes of integers are stored as code + 2^(bits - 1) */
    struct target_extra *extra;
    size_t nextra;
};

struct target_form {
    const char *name;                 /* "mx", "deepgemm", "tiles": unique in the target */
    const char *note;                 /* one line */
    const struct scheme *scheme;      /* of dense weights, and the name of the form; NULL: plain */
    enum dtype plain;                 /* BF16 or F16: nothing is quantized; else DT_COUNT */
    const struct convention *convention; /* for the directory that the chip's server loads; NULL: plain */
    enum activation activation;       /* what the server does to them; of dense weights unless it was given */
    bool activation_given;
    struct target_role role[ROLE_COUNT];
    const char *serve;                /* the command that loads the directory, or NULL */
    uint32_t tp_max;                  /* largest number of parts of a weight; 0: no limit */
    const char *evidence;             /* when it is not the target's, else NULL */
};

struct target_fact { const char *name, *text, *evidence, *source; }; /* figures: memory, bandwidth, rates ... */

/* A product, for planning; 0: not known. Bytes, bytes per second, operations per second, watts. */
struct target_card {
    const char *name;
    double memory_bytes, bandwidth, link, power;
    uint32_t node;                    /* cards in a server */
    struct { double bf16, fp8, int8, fp4; } rate; /* dense */
    const char *evidence, *source;
};

/* A weight that the server does not want quantized. */
struct target_keep { const char *pattern, *why; };

struct target {
    const char *id, *title, *title_zh, *vendor, *vendor_zh;
    const char *evidence;             /* "vendor source", "vendor documentation", "third party", "press", "inferred", "not public" */
    const char *evidence_note;
    struct target_form *form;         /* best first */
    size_t nforms;
    uint32_t align;                   /* of each tensor in the packed file, bytes */
    uint32_t row_multiple, col_multiple; /* the same for roles that do not say */
    const char *serve;                /* for forms that do not say */
    bool flushes;                     /* subnormal codes read as 0 (octavo verify --flush-subnormals) */
    struct target_keep *keep;
    size_t nkeep;
    const char *const *note;          /* NULL-terminated */
    const char *const *source;        /* NULL-terminated */
    struct target_card *card;         /* the first one is planned with when none is named */
    size_t ncards;
    struct target_fact *fact;
    size_t nfacts;
    const char *json;                 /* the text it was read from */
    struct arena mem;
};

/* The role of `name` in form f. */
const struct target_role *form_role(const struct target_form *f, const char *name);

/* The embedded files: what formats/targets/embed.sh writes, sorted by id (the
 * file's name without .json).  text is n bytes and a NUL. */
struct target_file {
    const char *id;
    const unsigned char *text;
    size_t n;
};
extern const struct target_file target_files[];
extern const size_t target_file_count;

size_t target_count(void);            /* embedded ones, sorted by id */
const char *target_id(size_t i);
/* Parses and validates: unknown keys, bad sentences, unknown schemes are errors naming origin and key. */
int target_parse(struct target *t, const char *json, const char *origin, struct err *e) MUST_USE;
/* An embedded target by id (ERR_USAGE lists the near ones), or a file. */
int target_find(struct target *t, const char *id, struct err *e) MUST_USE;
int target_load(struct target *t, const char *path, struct err *e) MUST_USE;
void target_free(struct target *t);

#endif
