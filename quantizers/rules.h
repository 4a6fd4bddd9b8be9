/* Which tensors a run touches.  An ordered list, first match wins, then the
 * defaults: norms, embeddings, routers, heads, and everything that is no
 * matrix of a linear layer stays as it is. */
#ifndef OCTAVO_RULES_H
#define OCTAVO_RULES_H

#include "formats/err.h"
#include "formats/mem.h"
#include "formats/model.h"

#include <stdbool.h>

enum action { ACTION_DEFAULT, ACTION_QUANTIZE, ACTION_KEEP, ACTION_DROP };

struct rule {
    const char *pattern;   /* a glob, or re:EXTENDED-REGEX matched anywhere */
    enum action action;
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
/* A file of lines "PATTERN = quantize|keep|drop|SCHEME", # comments.  SCHEME
 * must be the run's scheme (scheme may be NULL: then only the three words). */
int rules_file(struct rules *r, const char *path, const char *scheme, struct err *e) MUST_USE;
/* The first match, or ACTION_DEFAULT. */
enum action rules_match(const struct rules *r, const char *name);
/* What is quantized by default: true for matrices of linear layers. *why names the reason when not. */
bool rules_default(const struct tensor *t, const char **why);
void rules_free(struct rules *r);

#endif
