/* The parts of compressed-tensors: compressed_tensors.c reads, compressed_sparse.c reads the sparse formats
 * of old, compressed_write.c writes. */
#ifndef OCTAVO_CONVENTION_COMPRESSED_H
#define OCTAVO_CONVENTION_COMPRESSED_H

#include "formats/conventions/parts.h"

/* The release whose files are written. */
#define COMPRESSED_VERSION "0.20.0"

/* The two numbers of an X.weight_shape tensor (I64 or I32 [2]); the model must be random, or the sentence says so. */
int compressed_shape(struct model *m, size_t i, uint64_t shape[2], struct err *e) MUST_USE;

/* The release that wrote the model, by "version"; false when it does not say. */
bool compressed_version(const json_t *section, unsigned *major, unsigned *minor);

/* Is this the name of a format that keeps a weight in pieces? */
bool compressed_is_sparse(const char *format);
/* Marks the pieces in part. */
int compressed_mark(struct model *m, const void *config, enum part *part, struct err *e) MUST_USE;
/* Puts tensors of whole weights in their place. */
int compressed_expand(struct model *m, const void *config, struct err *e) MUST_USE;

bool compressed_accepts(const struct scheme *s, enum activation a);
int compressed_outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                       struct err *e) MUST_USE;
int compressed_config(void *root, const struct out_tensor *t, size_t n, struct err *e) MUST_USE;

#endif
