/* The two halves of modelopt: modelopt.c reads, modelopt_write.c writes. */
#ifndef OCTAVO_CONVENTION_MODELOPT_H
#define OCTAVO_CONVENTION_MODELOPT_H

#include "formats/conventions/parts.h"

#define MODELOPT_DESCRIPTION "hf_quant_config.json"

/* What a quant_algo says of weights, and what it is written for. */
struct modelopt_algo {
    const char *name;
    enum dtype elem, scale;        /* DT_F32: whatever type of values the scale has */
    uint32_t rows, cols;           /* of a block, as in struct scheme; group_size replaces cols of 1 x cols */
    bool two_level;
    unsigned writes;               /* 1 << enum activation, for each that it is written for */
    int inputs;                    /* config_groups: bits of activations, 0: they stay as they are */
    bool grouped;                  /* config_groups is written for a whole model in it */
};
extern const struct modelopt_algo modelopt_algos[];
extern const size_t modelopt_algo_count;

/* The scheme of algorithm a, in groups of `group` when that is not 0, its scales in a tensor of type t. */
const struct scheme *modelopt_scheme(const struct modelopt_algo *a, uint32_t group, enum dtype t);

bool modelopt_accepts(const struct scheme *s, enum activation a);
int modelopt_outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                     struct err *e) MUST_USE;
int modelopt_config(void *root, const struct out_tensor *t, size_t n, struct err *e) MUST_USE;
int modelopt_description(const struct out_tensor *t, size_t n, struct buf *text, struct err *e) MUST_USE;

#endif
