/* Packing and unpacking elements of 4 bits.
 *
 * A byte of the packed form holds two values of the fastest digit, so the
 * lowest bit of that digit can be taken off: what is left is a layout of whole
 * bytes, for a matrix of pairs.  Where a pair is two neighbouring columns the
 * matrix of pairs is the source itself; otherwise it is made block by block in
 * a small buffer, two columns or two rows to one.  When the fastest digit has
 * an odd number of values, pairs do not exist and every nibble goes alone. */
#include "formats/layout_copy.h"

#include <string.h>

enum { PAIRS = 16384, PAIR_COLS = 256, PAIR_COLS_MAX = 4096, TABLE = 256 };

struct pairs {
    struct geom g;           /* of the matrix of pairs */
    unsigned axis;           /* of the two elements of a pair */
    uint64_t apart;          /* rows or columns between them */
    bool swapped;            /* the later element is in the low nibble */
    uint64_t extent[2];      /* of the matrix of pairs */
    uint64_t step[2];        /* of blocks */
    const struct geom_digit *top[2];
    uint64_t rows, cols;     /* of the source */
};

/* ---- one by one --------------------------------------------------------- */

static void set_nibble(unsigned char *p, uint64_t i, unsigned v)
{
    const unsigned shift = i % 2 * 4;
    p[i / 2] = (unsigned char)((p[i / 2] & ~(15u << shift)) | v << shift);
}

static unsigned get_nibble(const unsigned char *p, uint64_t i)
{
    return p[i / 2] >> i % 2 * 4 & 15;
}

static void move_each(const struct layout *l, uint64_t rows, uint64_t cols, unsigned char *plain,
                      size_t stride, unsigned char *packed, bool back)
{
    uint64_t n = 0;
    if (!back && layout_size(l, rows, cols, &n))
        memset(packed, 0, ceil_div(n, 2));
    uint64_t table[TABLE];
    for (uint64_t c0 = 0; c0 < cols; c0 += TABLE) {
        const uint64_t nc = min_u64(TABLE, cols - c0);
        for (uint64_t i = 0; i < nc; i++)
            table[i] = layout_axis_offset(l, 1, rows, cols, c0 + i);
        for (uint64_t r = 0; r < rows; r++) {
            const uint64_t base = layout_axis_offset(l, 0, rows, cols, r);
            unsigned char *row = plain + r * stride;
            for (uint64_t i = 0; i < nc; i++)
                if (!back)
                    set_nibble(packed, base + table[i], get_nibble(row, c0 + i));
                else if ((c0 + i) % 2)
                    set_nibble(row, c0 + i, get_nibble(packed, base + table[i]));
                else
                    row[(c0 + i) / 2] = (unsigned char)get_nibble(packed, base + table[i]);
        }
    }
}

/* ---- pairs -------------------------------------------------------------- */

static bool pairs_make(struct pairs *p, const struct layout *l, uint64_t rows, uint64_t cols)
{
    *p = (struct pairs){ .rows = rows, .cols = cols };
    struct geom *g = &p->g;
    geom_make(g, l, rows, cols, 1);
    unsigned fast = g->n - 1;
    while (fast > 0 && g->d[fast].n == 1)
        fast--;
    struct geom_digit *f = &g->d[fast];
    if (f->n % 2)
        return false;
    p->axis = f->axis;
    p->apart = f->weight;
    p->swapped = f->reversed;
    f->n /= 2;
    for (unsigned i = 0; i < g->n; i++) {
        struct geom_digit *d = &g->d[i];
        if (i < fast)
            d->y /= 2;
        if (d->axis == f->axis && d->index > f->index)
            d->weight /= 2;
        if (d->top)
            p->top[d->axis] = d;
    }
    p->extent[0] = rows;
    p->extent[1] = cols;
    p->extent[p->axis] = round_up(p->extent[p->axis], l->tile[p->axis]) / 2;
    return true;
}

/* Blocks of whole tiles that fit the buffer. */
static bool pairs_block(struct pairs *p)
{
    const uint64_t tr = p->top[0]->weight, tc = p->top[1]->weight << (p->axis == 0);
    if (tc > PAIR_COLS_MAX || tr > PAIRS / tc)
        return false;
    if (p->axis == 1 && p->apart % 2 && p->apart > 1)
        return false;
    uint64_t nc = tc;
    while (nc + tc <= PAIR_COLS && (nc + tc) * tr <= PAIRS)
        nc += tc;
    p->step[1] = nc;
    p->step[0] = PAIRS / nc / tr * tr;
    return true;
}

/* Bytes [c0, c0 + n) of a source row; past its end there are zeros: then a
 * copy is made in spare. */
static const unsigned char *row_read(const struct pairs *p, const unsigned char *row, uint64_t c0,
                                     uint64_t n, unsigned char *spare)
{
    const uint64_t whole = p->cols / 2;
    if (c0 + n <= whole)
        return row + c0;
    const uint64_t have = c0 < whole ? whole - c0 : 0;
    memset(spare, 0, n);
    if (have)
        memcpy(spare, row + c0, have);
    if (p->cols % 2 && c0 <= whole)
        spare[have] = row[whole] & 15;
    return spare;
}

static void row_write(const struct pairs *p, unsigned char *row, uint64_t c0, uint64_t n,
                      const unsigned char *from)
{
    const uint64_t whole = p->cols / 2;
    const uint64_t have = c0 < whole ? min_u64(n, whole - c0) : 0;
    if (have)
        memcpy(row + c0, from, have);
    if (have < n && p->cols % 2 && c0 <= whole)
        row[whole] = from[have] & 15;
}

/* One row of pairs of columns: n bytes on both sides. */
static void pair_columns(const struct pairs *p, unsigned char *row, uint64_t c0, uint64_t n,
                         unsigned char *pair, bool back)
{
    unsigned char spare[PAIR_COLS_MAX], half[PAIR_COLS_MAX];
    if (!back) {
        const unsigned char *in = row_read(p, row, c0, n, spare);
        if (p->apart > 1)
            kern_pair_row(in, p->apart / 2, pair, n);
        else
            memcpy(pair, in, n);
        if (p->swapped)
            kern_swap_nibbles(pair, pair, n);
        return;
    }
    const unsigned char *in = pair;
    if (p->swapped) {
        kern_swap_nibbles(pair, half, n);
        in = half;
    }
    const bool inside = c0 + n <= p->cols / 2;
    unsigned char *out = inside ? row + c0 : spare;
    if (p->apart > 1)
        kern_unpair_row(in, p->apart / 2, out, n);
    else
        memcpy(out, in, n);
    if (!inside)
        row_write(p, row, c0, n, out);
}

/* One row of pairs of rows: n bytes each, 2n pairs. */
static void pair_rows(const struct pairs *p, unsigned char *plain, size_t stride, uint64_t r,
                      uint64_t c0, uint64_t n, unsigned char *pair, bool back)
{
    unsigned char spare[2][PAIR_COLS_MAX / 2];
    const uint64_t first = r / p->apart * 2 * p->apart + r % p->apart;
    const uint64_t at[2] = { p->swapped ? first + p->apart : first,
                             p->swapped ? first : first + p->apart };
    if (back) {
        kern_unpair(pair, spare[0], spare[1], n);
        for (unsigned i = 0; i < 2; i++)
            if (at[i] < p->rows)
                row_write(p, plain + at[i] * stride, c0, n, spare[i]);
        return;
    }
    const unsigned char *in[2];
    for (unsigned i = 0; i < 2; i++) {
        if (at[i] < p->rows)
            in[i] = row_read(p, plain + at[i] * stride, c0, n, spare[i]);
        else
            in[i] = memset(spare[i], 0, n);
    }
    kern_pair(in[0], in[1], pair, n);
}

static void move_block(const struct pairs *p, uint64_t r0, uint64_t nr, uint64_t c0, uint64_t nc,
                       unsigned char *plain, size_t stride, unsigned char *packed, bool back)
{
    _Alignas(64) unsigned char buffer[PAIRS];
    packed += r0 / p->top[0]->weight * p->top[0]->y + c0 / p->top[1]->weight * p->top[1]->y;
    if (back)
        geom_copy(&p->g, nr, nc, buffer, p->step[1], packed, true);
    for (uint64_t r = 0; r < nr; r++) {
        unsigned char *pair = buffer + r * p->step[1];
        if (p->axis)
            pair_columns(p, plain + (r0 + r) * stride, c0, nc, pair, back);
        else
            pair_rows(p, plain, stride, r0 + r, c0 / 2, ceil_div(nc, 2), pair, back);
    }
    if (!back)
        geom_copy(&p->g, nr, nc, buffer, p->step[1], packed, false);
}

void nibble_move(const struct layout *l, uint64_t rows, uint64_t cols, unsigned char *plain,
                 size_t stride, unsigned char *packed, bool back)
{
    struct pairs p;
    if (!pairs_make(&p, l, rows, cols)) {
        move_each(l, rows, cols, plain, stride, packed, back);
        return;
    }
    const bool direct = p.axis == 1 && p.apart == 1 && !p.swapped && cols % 2 == 0;
    if (direct) {
        p.extent[1] = cols / 2;
        geom_copy(&p.g, rows, cols / 2, plain, stride, packed, back);
    } else if (pairs_block(&p)) {
        for (uint64_t r = 0; r < p.extent[0]; r += p.step[0])
            for (uint64_t c = 0; c < p.extent[1]; c += p.step[1])
                move_block(&p, r, min_u64(p.step[0], p.extent[0] - r), c,
                           min_u64(p.step[1], p.extent[1] - c), plain, stride, packed, back);
    } else {
        move_each(l, rows, cols, plain, stride, packed, back);
        return;
    }
    if (!back)
        geom_pad(&p.g, p.extent[0], p.extent[1], packed);
}
