/* The two halves of compressed-tensors: compressed_tensors.c reads, compressed_write.c writes. */
#ifndef OCTAVO_CONVENTION_COMPRESSED_H
#define OCTAVO_CONVENTION_COMPRESSED_H

#include "formats/conventions/parts.h"

/* The two numbers of an X.weight_shape tensor (I64 or I32 [2]); the model must be random, or the sentence says so. */
int compressed_shape(struct model *m, size_t i, uint64_t shape[2], struct err *e) MUST_USE;

bool compressed_accepts(const struct scheme *s, enum activation a);
int compressed_outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                       struct err *e) MUST_USE;
int compressed_config(void *root, const struct out_tensor *t, size_t n, struct err *e) MUST_USE;

#endif
