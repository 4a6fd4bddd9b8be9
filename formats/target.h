/* Targets: what each chip takes.  One JSON file per chip in formats/targets/,
 * embedded in the binary at build time; --target-file loads one at run time. */
#ifndef OCTAVO_TARGET_H
#define OCTAVO_TARGET_H

#include "formats/convention.h"
#include "formats/layout.h"

enum role { ROLE_DENSE, ROLE_EXPERT, ROLE_COUNT };
/* The role of a quantized weight, by its name (".experts." and GGUF "_exps"). */
enum role tensor_role(const char *name);

/* How a weight and its scale lie in memory for one scheme. */
struct target_form {
    const char *name;                 /* "mx", "deepgemm", "tiles": unique in the target */
    const char *note;                 /* one line */
    const struct scheme *scheme;      /* what the weight must be, or become exactly */
    const struct convention *convention; /* for the directory that the chip's server loads */
    struct {
        const char *weight, *scale;   /* layout sentences */
        struct layout weight_layout, scale_layout; /* the same, parsed */
        uint32_t row_multiple, col_multiple; /* what N and K must be multiples of; 1 when free */
    } role[ROLE_COUNT];
    enum dtype scale_dtype;           /* F32, or F8_E8M0 (bytes) */
    uint32_t scale_rows, scale_cols;  /* granularity of the packed scale: divides the scheme's block; e.g. 1 x 128; 0: all */
};

struct target_fact { const char *name; const char *text; const char *source; }; /* figures: memory, bandwidth, rates ... */

struct target {
    const char *id, *title, *title_zh, *vendor, *vendor_zh;
    const char *evidence;             /* "vendor source", "vendor documentation", "third party", "press", "not public" */
    const char *evidence_note;
    struct target_form *form;         /* best first */
    size_t nforms;
    uint32_t align;                   /* of each tensor in the packed file, bytes */
    uint32_t row_multiple, col_multiple; /* the same for roles that do not say */
    const char *serve;                /* the command that loads the directory */
    const char *const *note;          /* NULL-terminated */
    const char *const *source;        /* NULL-terminated */
    double memory_bytes, bandwidth;   /* per card; 0 when unknown */
    struct target_fact *fact;
    size_t nfacts;
    const char *json;                 /* the text it was read from */
    struct arena mem;
};

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
