/* The values of a tensor as FP32, whatever holds them: floating point, GGUF
 * blocks, or codes with scales. */
#ifndef OCTAVO_VALUES_H
#define OCTAVO_VALUES_H

#include "quantizers/plan.h"

struct values {
    const struct tensor *t;
    const struct scheme *scheme;  /* NULL: not quantized */
    const uint8_t *side;          /* the scale tensor, whole and row-major */
    enum dtype side_type;
};

/* False for types that are not numbers one can average (BOOL, I64, F64 ...). */
bool values_readable(enum dtype t, const struct scheme *s);

/* The scales of row r (of matrix `batch`), columns [col, col+cols): one per
 * block; *n blocks of *block columns. False when a scale is not a power of two
 * for which every product is a normal number (see values.c). Without a scheme: no scales, true. */
bool values_scales(const struct values *v, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols,
                   float *scale, size_t *block);
/* cols values of one row whose raw bytes are at in. */
void values_row(const struct values *v, const struct kern *k, const uint8_t *in, size_t cols, const float *scale,
                size_t block, float *out);

#endif
