/* Tensors whose elements do not lie row-major: transposed, sliced or expanded
 * views, as PyTorch checkpoints have them (tensor.stride), of a model that is
 * random.  Runs of elements that lie together are read at once, with small gaps
 * between them: a transposed matrix costs one read per column of a box. */
#ifndef OCTAVO_STRIDED_H
#define OCTAVO_STRIDED_H

#include "quantizers/box.h"

/* box_read of such a tensor; turned: its rows and columns change places first. */
int strided_read(const struct source *s, bool turned, const struct box *b, void *dst, size_t stride,
                 struct scratch *tmp, struct err *e) MUST_USE;
/* n elements from the first one on, in row-major order. */
int strided_range(const struct source *s, uint64_t first, uint64_t n, void *dst, struct scratch *tmp,
                  struct err *e) MUST_USE;

/* What lies together, so that reading it should not be cut short. */
enum strided_run {
    RUN_ROWS,    /* rows, or nothing: t has no strides, or they are those of slices */
    RUN_COLUMNS, /* columns: boxes should be tall */
    RUN_BATCH    /* a leading dimension, which a box has only one of: strided_range is better */
};
enum strided_run strided_run(const struct tensor *t);

#endif
