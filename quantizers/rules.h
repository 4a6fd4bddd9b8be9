/* Which tensors a run touches.  An ordered list, first match wins, then the
 * defaults: norms, embeddings, routers, heads, and everything that is no
 * matrix of a linear layer stays as it is. */
#ifndef OCTAVO_RULES_H
#define OCTAVO_RULES_H

#include "formats/err.h"
#include "formats/mem.h"
#include "formats/model.h"
#include "quantizers/encoding.h"

#include <stdbool.h>

enum action {
    ACTION_DEFAULT,
    ACTION_QUANTIZE,
    ACTION_KEEP,      /* as it is; quantized weights in their own scheme */
    ACTION_DROP,
    ACTION_DECODE     /* to a floating-point type */
};

struct rule {
    const char *pattern;   /* a glob, or re:EXTENDED-REGEX matched anywhere */
    enum action action;
    const struct encoding *to; /* of ACTION_QUANTIZE: how, or NULL: as the run says */
    enum dtype dtype;      /* of ACTION_DECODE */
    const char *origin;    /* "--include", "rules.txt:3" */
    void *regex;
};
struct rules {
    struct rule *r;
    size_t n, cap;
    struct arena mem;
};
/* --include and --exclude of quantize and dequantize: quantize or keep; of the
 * other verbs: only tensors that match an include are taken (see rules_take). */
int rules_add(struct rules *r, const char *pattern, enum action a, const char *origin, struct err *e) MUST_USE;
/* A file of lines "PATTERN = WHAT", # comments; WHAT is quantize, keep, drop or, where schemes is true, a type (bf16,
 * f16, f32: not quantized) or a scheme, which may be followed by a scale rule ("mxfp8 floor"). */
int rules_file(struct rules *r, const char *path, bool schemes, struct err *e) MUST_USE;
/* The first rule that matches, or NULL. */
const struct rule *rules_find(const struct rules *r, const char *name);
/* Its action, or ACTION_DEFAULT. */
enum action rules_match(const struct rules *r, const char *name);
/* The list as rules_file would read it. */
int rules_print(const struct rules *r, struct buf *text, struct err *e) MUST_USE;
/* What follows when none of them matches, in the same form. */
int rules_print_defaults(const struct encoding *to, struct buf *text, struct err *e) MUST_USE;
/* What is quantized by default: true for matrices of linear layers. *why names the reason when not. */
bool rules_default(const struct tensor *t, const char **why);
void rules_free(struct rules *r);

#endif
