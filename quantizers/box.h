/* Boxes: the rectangles of a tensor that workers read, transform and write.
 *
 * A box is always row-major in memory.  Reading undoes a packed layout and
 * writing applies one, so that no transform knows about layouts. */
#ifndef OCTAVO_BOX_H
#define OCTAVO_BOX_H

#include "formats/model.h"
#include "formats/packed.h"
#include "formats/sink.h"
#include "formats/view.h"

struct box {
    uint64_t batch, row, rows, col, cols; /* of the tensor_matrix() of the tensor */
};

/* Memory a worker reuses; grows, never shrinks. */
struct scratch {
    void *p;
    size_t cap;
};
void *scratch_get(struct scratch *s, size_t n, struct err *e) MUST_USE;
void scratch_free(struct scratch *s);

/* A source tensor: held is its whole bytes when they are in memory (pipes), else NULL; view what its rows are, NULL
 * when that is what its type and shape say. */
struct source {
    const struct model *model;
    size_t index;
    const uint8_t *held;
    const struct view *view;
};

/* Bytes of cols elements of type t (cols a whole number of blocks). */
uint64_t row_bytes(enum dtype t, uint64_t cols);

/* A plain tensor [.., K, N] as what it is to a view of it as [.., N, K]: a layout. */
struct stored box_turned(const struct view *v);
/* The layout that boxes of t must respect: NULL when t is plain, or so small (repeated scales) that it is read whole. */
const struct stored *grain_of(const struct tensor *t);
/* Reads box b (of the view's matrix) as row-major elements of the view, rows stride
 * bytes apart.  From a stream without held bytes only boxes that are one
 * contiguous piece, in order. */
int box_read(const struct source *s, const struct box *b, void *dst, size_t stride, struct scratch *tmp,
             struct err *e) MUST_USE;

/* The whole of a tensor, row-major, in memory of its own (free()). */
void *box_whole(const struct source *s, struct scratch *tmp, struct err *e) MUST_USE;

/* Where output goes: a slot of the sink, row-major when stored is NULL. m is
 * the matrix as it lies (stored rows and cols when there is a layout). */
struct drain {
    struct sink *sink;
    size_t slot;
    enum dtype dtype;
    const struct stored *stored;
    struct matrix m;
};
int box_write(const struct drain *d, const struct box *b, const void *src, size_t stride, struct scratch *tmp,
              struct err *e) MUST_USE;

/* Reads or writes that a box needs: for choosing its shape. */
uint64_t box_pieces(const struct stored *s, const struct matrix *m, const struct box *b);

#endif
