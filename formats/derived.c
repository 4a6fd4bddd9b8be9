#include "formats/derived.h"

#include <stdlib.h>
#include <string.h>

/* The bytes [from, from + n) of one row. */
static int part_of_row(struct model *m, const struct tensor *t, uint64_t row, size_t from, void *p, size_t n,
                       struct err *e)
{
    const struct derived *d = t->derived;
    uint8_t *whole = mem_alloc(d->row_bytes, 1, e);
    int r = whole ? d->rows(d, m, row, 1, whole, e) : -1;
    if (!r)
        memcpy(p, whole + from, n);
    free(whole);
    return r;
}

int derived_read(struct model *m, const struct tensor *t, uint64_t off, void *p, size_t n, struct err *e)
{
    const uint64_t size = t->derived->row_bytes;
    uint64_t row = off / size;
    uint8_t *to = p;
    if (off % size) {
        const size_t first = (size_t)min_u64(size - off % size, n);
        if (part_of_row(m, t, row++, off % size, to, first, e))
            return -1;
        to += first;
        n -= first;
    }
    const size_t rows = n / size;
    if (rows && t->derived->rows(t->derived, m, row, rows, to, e))
        return -1;
    return n % size ? part_of_row(m, t, row + rows, 0, to + rows * size, n % size, e) : 0;
}

/* A rectangle of another one. */
struct cut {
    struct derived d;
    const struct derived *of;
    uint64_t row, byte;
};

static int cut_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out, struct err *e)
{
    const struct cut *c = (const struct cut *)d;
    uint8_t *whole = mem_alloc(n, c->of->row_bytes, e);
    int r = whole ? c->of->rows(c->of, m, c->row + row, n, whole, e) : -1;
    for (size_t i = 0; !r && i < n; i++)
        memcpy(out + i * d->row_bytes, whole + i * c->of->row_bytes + c->byte, d->row_bytes);
    free(whole);
    return r;
}

int derived_cut(struct model *m, struct tensor *t, unsigned axis, uint64_t first, uint64_t extent, struct err *e)
{
    const struct dtype_info *d = &dtype_table[t->dtype];
    struct cut *c = arena_alloc(&m->mem, sizeof *c, e);
    if (!c)
        return -1;
    if (t->rank != 2 || (axis == 1 && (first % d->block_elems || extent % d->block_elems)))
        return err_set(e, ERR_INPUT, "tensor '%s' is computed as it is read, and a part of it that does not begin and end at a "
                       "whole byte is not", t->name);
    *c = (struct cut){*t->derived, t->derived, axis ? 0 : first, axis ? first / d->block_elems * d->block_bytes : 0};
    c->d.rows = cut_rows;
    c->d.row_bytes = axis ? extent / d->block_elems * d->block_bytes : t->derived->row_bytes;
    t->derived = &c->d;
    t->dim[axis] = extent;
    t->size = t->dim[0] * c->d.row_bytes;
    return 0;
}

int derived_replace(struct model *m, const bool *gone, const struct tensor *add, const size_t *at, size_t n,
                    struct err *e)
{
    struct tensor *t = mem_alloc(m->n + n, sizeof *t, e);
    struct map by_name = {0};
    size_t count = 0, k = 0;
    const char **piece = arena_array(&m->mem, m->npieces + m->n, sizeof *piece, e);
    int bad = !t || !piece || map_reserve(&by_name, m->n + n, e);
    if (!bad && m->npieces)
        memcpy(piece, m->piece, m->npieces * sizeof *piece);
    if (!bad)
        m->piece = piece;
    for (size_t i = 0; !bad && i < m->n; i++) {
        for (; k < n && at[k] == i; k++)
            t[count++] = add[k];
        if (!gone[i])
            t[count++] = m->t[i];
        else
            m->piece[m->npieces++] = m->t[i].name;
    }
    for (size_t i = 0; !bad && i < count; i++) {
        const int there = map_add(&by_name, t[i].name, i, e);
        bad = there < 0
           || (there && err_set(e, ERR_INPUT, "tensor '%s' is there, and the pieces of one of that name, too",
                                t[i].name));
    }
    if (bad) {
        map_free(&by_name);
        free(t);
        return -1;
    }
    free(m->t);
    map_free(&m->by_name);
    m->t = t;
    m->n = count;
    m->by_name = by_name;
    return 0;
}
