#include "quantizers/box.h"

#include "quantizers/strided.h"
#include "quantizers/values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void *scratch_get(struct scratch *s, size_t n, struct err *e)
{
    if (n > s->cap) {
        free(s->p);
        s->cap = 0;
        s->p = aligned_alloc(64, round_up(n, 4096));
        if (!s->p) {
            (void)err_set(e, ERR_SYSTEM, "out of memory (%zu bytes wanted)", n);
            return NULL;
        }
        s->cap = n;
    }
    return s->p ? s->p : (s->p = malloc(64));
}

void scratch_free(struct scratch *s)
{
    free(s->p);
    *s = (struct scratch){0};
}

uint64_t row_bytes(enum dtype t, uint64_t cols)
{
    const struct dtype_info *d = &dtype_table[t];
    return ceil_div(cols, d->block_elems) * d->block_bytes;
}

const struct stored *grain_of(const struct tensor *t)
{
    const struct stored *s = t->stored;
    return s && (s->bytes || s->dtype == t->dtype || stored_ratio(s, t->dtype) > 1) && s->repeat[0] == 1
        && s->repeat[1] == 1 && !s->shift ? s : NULL;
}

/* ---- reading --------------------------------------------------------------- */
static int raw_read(const struct source *s, uint64_t off, void *p, size_t n, struct err *e)
{
    if (s->held) {
        memcpy(p, s->held + off, n);
        return 0;
    }
    return model_read((struct model *)s->model, s->index, off, p, n, e);
}

static int read_plain(const struct source *s, const struct view *v, const struct box *b, uint8_t *dst,
                      size_t stride, struct err *e)
{
    const struct matrix m = view_matrix(v);
    uint64_t pitch = view_row_bytes(v, m.cols), width = view_row_bytes(v, b->cols);
    uint64_t off = (b->batch * m.rows + b->row) * pitch + view_row_bytes(v, b->col);
    if (width == pitch && stride == width)
        return raw_read(s, off, dst, (size_t)(b->rows * width), e);
    for (uint64_t r = 0; r < b->rows; r++, off += pitch, dst += stride)
        if (raw_read(s, off, dst, (size_t)width, e))
            return -1;
    return 0;
}

struct gather {
    const struct source *s;
    uint64_t base;
    unsigned bits;
    uint8_t *local;
    struct err *e;
};

static int gather_run(void *ctx, uint64_t global, uint64_t local, uint64_t n)
{
    struct gather *g = ctx;
    return raw_read(g->s, g->base + global * g->bits / 8, g->local + local * g->bits / 8,
                    (size_t)(n * g->bits / 8), g->e);
}

static unsigned stored_bits(const struct stored *s)
{
    return dtype_table[s->dtype].block_bytes * 8 / dtype_table[s->dtype].block_elems;
}

/* What a chip wants otherwise than the checkpoint has it: the sign bit of codes, halves of bytes. The same both ways. */
static void turn(const struct stored *st, uint64_t rows, uint64_t cols, uint8_t *p, size_t stride)
{
    const unsigned bits = stored_bits(st);
    const uint8_t mask = !st->flip ? 0 : bits == 4 ? 0x88 : 0x80;
    const size_t n = (size_t)(cols * bits / 8);
    if (!st->flip && !st->high)
        return;
    for (uint64_t r = 0; r < rows; r++, p += stride)
        for (size_t i = 0; i < n; i++) {
            const uint8_t x = p[i] ^ mask;
            p[i] = st->high ? (uint8_t)(x << 4 | x >> 4) : x;
        }
}

/* The box of the stored matrix, row-major in dst. */
static int read_stored(const struct source *s, const struct stored *st, const struct box *b, void *dst,
                       size_t stride, struct scratch *tmp, struct err *e)
{
    uint64_t elems;
    if (!layout_size(&st->layout, b->rows, b->cols, &elems))
        return err_set(e, ERR_INPUT, "tensor '%s': the layout is too large", s->model->t[s->index].name);
    struct gather g = {s, b->batch * st->batch_bytes, stored_bits(st), NULL, e};
    g.local = scratch_get(tmp, (size_t)(elems * g.bits / 8), e);
    if (!g.local
        || layout_runs(&st->layout, st->rows, st->cols, b->row, b->rows, b->col, b->cols, gather_run, &g))
        return -1;
    layout_unpack(&st->layout, g.bits, b->rows, b->cols, g.local, dst, stride);
    turn(st, b->rows, b->cols, dst, stride);
    return 0;
}

/* A stored scale, 2^shift times too big, as the logical type; exact, since it was exact the other way. */
static int put_scale(uint8_t *y, enum dtype t, const uint8_t *x, enum dtype from, int shift)
{
    if (t == from && !shift) {
        memcpy(y, x, row_bytes(t, 1));
        return 0;
    }
    float v = ldexpf(scale_value(x, from, 0), -shift);
    uint16_t h = t == DT_BF16 ? bf16_encode(v) : f16_encode(v);
    if (t == DT_F32)
        memcpy(y, &v, 4);
    else if (t == DT_BF16 || t == DT_F16)
        memcpy(y, &h, 2);
    else
        *y = from == DT_F8_E8M0 ? *x : (uint8_t)ue8m0_exact(v);
    return from == DT_F8_E8M0 || t == DT_F32 || scale_value(y, t, 0) == v ? 0 : -1;
}

/* Scales that were repeated or turned into bytes: they are small, so the whole
 * matrix is read and one of each repeated element taken. */
static int read_repeated(const struct source *s, const struct stored *st, const struct box *b, uint8_t *dst,
                         size_t stride, struct scratch *tmp, struct err *e)
{
    enum dtype t = s->model->t[s->index].dtype;
    size_t from = row_bytes(st->dtype, 1), to = row_bytes(t, 1), pitch = row_bytes(st->dtype, st->cols);
    uint8_t *all = malloc(st->rows * pitch + 1);
    struct box whole = {b->batch, 0, st->rows, 0, st->cols};
    if (!all)
        return err_set(e, ERR_SYSTEM, "out of memory");
    int r = read_stored(s, st, &whole, all, pitch, tmp, e);
    for (uint64_t i = 0; !r && i < b->rows; i++)
        for (uint64_t j = 0; j < b->cols; j++) {
            const uint8_t *x = all + (b->row + i) * st->repeat[0] * pitch
                             + (b->col + j) * st->repeat[1] * from;
            uint8_t *y = dst + i * stride + j * to;
            if (!r && put_scale(y, t, x, st->dtype, st->shift))
                r = err_set(e, ERR_INPUT, "%s: tensor '%s': packed scale [%llu,%llu] is no %s", s->model->path,
                            s->model->t[s->index].name, (unsigned long long)(b->row + i),
                            (unsigned long long)(b->col + j), dtype_name(t));
        }
    free(all);
    return r;
}

/* A box of a view in units of the elements of its tensor: codes that are packed share them. */
static int stored_box(const struct tensor *t, const struct view *v, const struct box *b, struct box *out, struct err *e)
{
    *out = *b;
    if (t->stored->bytes) {
        out->col = view_row_bytes(v, b->col);
        out->cols = view_row_bytes(v, b->cols);
    }
    const unsigned ratio = stored_ratio(t->stored, t->dtype);
    const uint64_t unit = dtype_table[t->dtype].block_bytes;
    if (!t->stored->bytes && (v->packing != PACK_PLAIN || ratio > 1)) {
        out->col = view_row_bytes(v, b->col) / unit * ratio;
        out->cols = view_row_bytes(v, b->cols) / unit * ratio;
    }
    if (v->packing == PACK_PLAIN || t->stored->bytes || t->rank == v->rank)
        return 0;
    return err_set(e, ERR_INPUT, "tensor '%s': codes that are packed across dimensions are not read from a packed layout",
                   t->name);
}

struct stored box_turned(const struct view *v)
{
    const struct matrix m = view_matrix(v);
    struct stored st = {.dtype = v->elem, .sentence = "c0 r0", .batch = m.batch, .rows = m.rows, .cols = m.cols,
                        .repeat = {1, 1}};
    struct err never;
    uint64_t bytes;
    if (layout_parse(&st.layout, st.sentence, &never) || !stored_size(&st, &bytes))
        st.batch = 0; /* sizes of a tensor that exists do not overflow */
    return st;
}

/* The strides of a tensor are those of the view when it has the same rows of the
 * same elements; else it is rows of bytes, which are cut from the tensor's own. */
static int read_strided(const struct source *s, const struct view *v, const struct box *b, uint8_t *dst, size_t stride,
                        struct scratch *tmp, struct err *e)
{
    const struct tensor *t = &s->model->t[s->index];
    const struct matrix m = view_matrix(v), own = tensor_matrix(t);
    const size_t item = row_bytes(t->dtype, 1);
    if (v->inputs_first)
        return strided_read(s, true, b, dst, stride, tmp, e);
    if (m.batch == own.batch && m.rows == own.rows && m.cols == own.cols && view_row_bytes(v, 1) == item)
        return strided_read(s, false, b, dst, stride, tmp, e);
    const uint64_t pitch = view_row_bytes(v, m.cols) / item, width = view_row_bytes(v, b->cols) / item;
    uint64_t first = (b->batch * m.rows + b->row) * pitch + view_row_bytes(v, b->col) / item;
    if (width == pitch && stride == width * item)
        return strided_range(s, first, b->rows * width, dst, tmp, e);
    for (uint64_t r = 0; r < b->rows; r++, first += pitch, dst += stride)
        if (strided_range(s, first, width, dst, tmp, e))
            return -1;
    return 0;
}

int box_read(const struct source *s, const struct box *b, void *dst, size_t stride, struct scratch *tmp,
             struct err *e)
{
    const struct tensor *t = &s->model->t[s->index];
    const struct view own = view_of(t), *v = s->view ? s->view : &own;
    struct box units;
    if (!b->rows || !b->cols)
        return 0;
    if (v->inputs_first && t->stored)
        return err_set(e, ERR_INPUT, "tensor '%s': experts with their inputs first are not read from a packed layout",
                       t->name);
    if (v->inputs_first && !t->stride) {
        const struct stored turned = box_turned(v);
        return read_stored(s, &turned, b, dst, stride, tmp, e);
    }
    if (t->stride)
        return read_strided(s, v, b, dst, stride, tmp, e);
    if (!t->stored)
        return read_plain(s, v, b, dst, stride, e);
    if (stored_box(t, v, b, &units, e))
        return -1;
    if (grain_of(t))
        return read_stored(s, t->stored, &units, dst, stride, tmp, e);
    return read_repeated(s, t->stored, &units, dst, stride, tmp, e);
}

void *box_whole(const struct source *s, struct scratch *tmp, struct err *e)
{
    const struct tensor *t = &s->model->t[s->index];
    struct matrix m = tensor_matrix(t);
    size_t width = row_bytes(t->dtype, m.cols);
    uint8_t *p = mem_alloc(m.batch * m.rows, width, e);
    for (uint64_t i = 0; p && i < m.batch; i++) {
        struct box b = {i, 0, m.rows, 0, m.cols};
        if (box_read(s, &b, p + i * m.rows * width, width, tmp, e)) {
            free(p);
            return NULL;
        }
    }
    return p;
}

/* ---- writing --------------------------------------------------------------- */
struct scatter {
    const struct drain *d;
    uint64_t base;
    unsigned bits;
    const uint8_t *local;
    struct err *e;
};

static int scatter_run(void *ctx, uint64_t global, uint64_t local, uint64_t n)
{
    struct scatter *g = ctx;
    return sink_put(g->d->sink, g->d->slot, g->base + global * g->bits / 8, g->local + local * g->bits / 8,
                    (size_t)(n * g->bits / 8), g->e);
}

int box_write(const struct drain *d, const struct box *b, const void *src, size_t stride, struct scratch *tmp,
              struct err *e)
{
    if (!b->rows || !b->cols)
        return 0;
    if (d->stored) {
        uint64_t elems;
        const struct stored *st = d->stored;
        if (!layout_size(&st->layout, b->rows, b->cols, &elems))
            return err_set(e, ERR_INPUT, "the layout '%s' is too large", st->sentence);
        struct scatter g = {d, b->batch * st->batch_bytes, stored_bits(st), NULL, e};
        const size_t size = (size_t)(elems * g.bits + 7) / 8, width = row_bytes(st->dtype, b->cols);
        const bool turned = st->flip || st->high;
        uint8_t *local = scratch_get(tmp, size + (turned ? b->rows * width : 0), e);
        if (!local)
            return -1;
        if (turned) {
            for (uint64_t r = 0; r < b->rows; r++)
                memcpy(local + size + r * width, (const uint8_t *)src + r * stride, width);
            turn(st, b->rows, b->cols, local + size, width);
            src = local + size;
            stride = width;
        }
        layout_pack(&st->layout, g.bits, b->rows, b->cols, src, stride, local);
        g.local = local;
        return layout_runs(&st->layout, st->rows, st->cols, b->row, b->rows, b->col, b->cols, scatter_run,
                           &g);
    }
    uint64_t pitch = row_bytes(d->dtype, d->m.cols), width = row_bytes(d->dtype, b->cols);
    uint64_t off = (b->batch * d->m.rows + b->row) * pitch + row_bytes(d->dtype, b->col);
    if (width == pitch && stride == width)
        return sink_put(d->sink, d->slot, off, src, (size_t)(b->rows * width), e);
    for (uint64_t r = 0; r < b->rows; r++, off += pitch)
        if (sink_put(d->sink, d->slot, off, (const uint8_t *)src + r * stride, (size_t)width, e))
            return -1;
    return 0;
}

uint64_t box_pieces(const struct stored *s, const struct matrix *m, const struct box *b)
{
    if (s && s->bytes)
        return layout_run_count(&s->layout, s->rows, s->cols, b->row, b->rows, 0, s->cols);
    if (s)
        return layout_run_count(&s->layout, s->rows, s->cols, b->row, b->rows, b->col, b->cols);
    return b->cols == m->cols ? 1 : b->rows;
}
