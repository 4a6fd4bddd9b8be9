/* Which tensors a run touches, and how.
 *
 * One list: rules (PATTERN = WHAT), then defaults (PATTERN ?= WHAT), which are for
 * tensors that no rule matches.  Of each kind the first match wins.  What a verb
 * does by itself are defaults too, so that a list can say all of it. */
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
    struct encoding *to;   /* of ACTION_QUANTIZE: how, or NULL: as the run says */
    enum dtype dtype;      /* of ACTION_DECODE */
    bool is_default;       /* only for tensors that no rule matches */
    bool used;             /* it matched a name, see rules_note */
    const char *origin;    /* "--include", "rules.txt:3", "preset qwen3" */
    const char *why;       /* of a preset: the reason, or NULL */
    void *regex;
    bool only_stars;       /* a glob without other wildcards and backslashes */
};
/* A line "--NAME VALUE" of a file: an option of the run, for when the command line does not give it. */
struct rule_option { const char *name, *value, *origin; /* value: NULL when there is none */ };
struct rules {
    struct rule *r;
    size_t n, cap;
    struct rule_option *option;
    size_t noptions, option_cap;
    struct arena mem;
};
/* --include and --exclude of quantize and dequantize: quantize or keep; of the
 * other verbs: only tensors that match an include are taken (see rules_take). */
int rules_add(struct rules *r, const char *pattern, enum action a, const char *origin, struct err *e) MUST_USE;
/* The same as a default, with a reason or NULL. */
int rules_add_default(struct rules *r, const char *pattern, enum action a, const char *origin, const char *why,
                      struct err *e) MUST_USE;
/* A file of lines "PATTERN = WHAT" and "PATTERN ?= WHAT", # comments; WHAT is quantize, keep, drop or, where schemes is
 * true, a type (bf16, f16, f32: not quantized) or a scheme, which may be followed by a scale rule ("mxfp8 floor"). Lines
 * "--NAME [VALUE]" are options, also only where schemes is true; the caller knows which there are. */
int rules_file(struct rules *r, const char *path, bool schemes, struct err *e) MUST_USE;
/* The first rule that matches, else the first default that does, else NULL. */
const struct rule *rules_find(const struct rules *r, const char *name);
/* Its action, or ACTION_DEFAULT. */
enum action rules_match(const struct rules *r, const char *name);
/* Marks every rule that matches a name of the model, whether or not it is the first. */
void rules_note(struct rules *r, const char *name);
/* Takes the defaults "* ?= SCHEME [RULE]" and "* ?= quantize" out of the list: they say what the run does with what
 * nothing else is said about, so they are last wherever they stand. True, and *to, when one of them names a scheme. */
bool rules_take_run(struct rules *r, struct encoding *to);
/* The list as rules_file would read it; `run` is what quantize means. ERR_USAGE for a pattern that no line can hold. */
int rules_print(const struct rules *r, const struct encoding *run, struct buf *text, struct err *e) MUST_USE;
/* Can t be quantized without anybody asking for it? True for matrices of linear layers: floating point, X.weight of two
 * dimensions, experts alone or stacked. *why names the reason when not. */
bool rules_linear(const struct tensor *t, const char **why);
/* The same, without what the preset `generic` keeps: what holds when there is no list. */
bool rules_default(const struct tensor *t, const char **why);
void rules_free(struct rules *r);

#endif
