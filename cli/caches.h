/* Scales of a KV cache in FP8, which quantize adds to a model from a file of activation scales. */
#ifndef OCTAVO_CLI_CACHES_H
#define OCTAVO_CLI_CACHES_H

#include "formats/convention.h"

/* Every X.k_scale and X.v_scale of `scales`, F32 [1], becomes a tensor of src beside X.k_proj.weight and X.v_proj.weight. *n: how many.
 * ERR_INPUT: no such layer, no scale, a source that is a pipe; ERR_USAGE: a convention whose software reads them from elsewhere. */
int caches_add(struct model *src, const struct model *scales, const struct convention *c, size_t *n, struct err *e) MUST_USE;

#endif
