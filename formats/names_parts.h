/* What the files of names.h share: names.c (which tensor is called what), names_rows.c (the
 * order of rows) and names_experts.c (stacks).  Only they include this. */
#ifndef OCTAVO_NAMES_PARTS_H
#define OCTAVO_NAMES_PARTS_H

#include "formats/names.h"
#include "formats/names_table.h"

#include <jansson.h>

/* The parts of a name that a pattern found. */
struct name_match {
    const char *layer, *expert, *rest;   /* in the name; rest: "." and what follows a module, or "" */
    size_t layer_n, expert_n;
};

/* A stack of experts that is being collected. */
struct stack {
    size_t at;                           /* its place in the new table */
    size_t *piece, n, cap;               /* source tensor of each expert, NO_TENSOR where none was seen */
};

/* A run: from the tensors of m to a new table. */
struct renaming {
    struct model *m;
    const struct grouping *g;
    enum name_style from, to;
    const struct name_arch *arch;
    struct naming *done;
    uint64_t heads[2];                   /* of queries, of keys; 0: not looked up yet */
    uint64_t head_dim;                   /* as declared, or 0 */
    struct tensor *t;
    size_t n, cap;
    size_t *moved;                       /* per source tensor: where it is now, or NO_TENSOR */
    struct map stack_of;                 /* name -> stack */
    struct stack *stack;
    size_t nstacks, stack_cap;
    size_t renamed, permuted, split, stacked, added;
    struct err *e;
};

static inline enum part part_of(const struct renaming *r, size_t i) { return r->g->part[i]; }

/* A number that the model declares: the key {architecture}.KEY of a GGUF, else member of config.json; 0 when there is
 * none, -1 when it is not a number. */
int names_number(struct renaming *r, const char *key, const char *member, uint64_t *x) MUST_USE;

/* The parsed config.json, an empty object when there is none (json_decref). */
int names_config(struct renaming *r, json_t **config) MUST_USE;

/* Factors of the rotary embedding that config.json has as a rule become a tensor; source tensor i, which holds such
 * factors, is looked at before it is dropped. */
int names_add_factors(struct renaming *r) MUST_USE;
int names_read_factors(struct renaming *r, size_t i) MUST_USE;

/* t is to be source tensor i in the other order of rows, of all heads or of the key heads. */
int names_permute(struct renaming *r, struct tensor *t, size_t i, enum name_kind kind) MUST_USE;

/* Source tensor i, a stack, as a tensor per expert; hf with hit names them. */
int names_split(struct renaming *r, size_t i, const char *hf, const struct name_match *hit) MUST_USE;
/* Source tensor i as a piece of stack `name`. */
int names_collect(struct renaming *r, size_t i, const char *name, const struct name_match *hit) MUST_USE;
/* All stacks are whole: they become tensors. */
int names_stack(struct renaming *r) MUST_USE;

/* Appends to the new table. */
int names_put(struct renaming *r, const struct tensor *t) MUST_USE;
/* Pattern with the layer and expert of a match, and the rest; expert is a number when hit has none. */
const char *names_build(struct renaming *r, const char *pattern, const struct name_match *hit, size_t expert);

#endif
