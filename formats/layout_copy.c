/* Packing and unpacking whole matrices.
 *
 * A sentence makes a nest of loops, one per digit, with a stride on each side.
 * Ragged edges: the part of an index below its extent is a handful of boxes of
 * digits ("the top digit below its last value and the rest free; the top digit
 * at its last value, the next one below ... and the rest free; ..."), so a
 * ragged matrix is a few nests without a test inside, and its padding a few
 * more. */
#include "formats/layout_copy.h"

#include <assert.h>
#include <string.h>

/* ---- boxes of digits ---------------------------------------------------- */

/* A range of values for each digit of one axis, by position in the geometry. */
struct span {
    uint64_t first[GEOM_MAX_DIGITS], n[GEOM_MAX_DIGITS];
};

static unsigned find_digit(const struct geom *g, unsigned axis, unsigned index)
{
    unsigned i = 0;
    while (g->d[i].axis != axis || g->d[i].index != index)
        i++;
    return i;
}

static struct span span_all(const struct geom *g)
{
    struct span s = { .n = { 0 } };
    for (unsigned i = 0; i < g->n; i++)
        s.n[i] = g->d[i].n;
    return s;
}

/* The boxes of digits for the indices below the extent, or for all others.
 * Returns how many there are: at most one per digit. */
static unsigned spans(const struct geom *g, unsigned axis, uint64_t extent, bool below,
                      struct span out[GEOM_MAX_DIGITS])
{
    unsigned count = 0, index = 0;
    uint64_t size = 1;
    for (unsigned i = 0; i < g->n; i++)
        if (g->d[i].axis == axis) {
            index++;
            size *= g->d[i].n;
        }
    if (extent >= size) {
        out[0] = span_all(g);
        return below;
    }
    struct span s = span_all(g);
    while (index-- > 0) {
        const unsigned i = find_digit(g, axis, index);
        const uint64_t value = extent / g->d[i].weight % g->d[i].n;
        /* Indices with the same higher digits as the extent, and here ... */
        s.first[i] = below ? 0 : value + (index > 0);
        s.n[i] = below ? value : g->d[i].n - s.first[i];
        if (s.n[i])
            out[count++] = s;
        s.first[i] = value;
        s.n[i] = 1;
    }
    return count;
}

/* The loops over a box of digits, and where it starts on both sides. */
static void box_nest(const struct geom *g, const struct span *row, const struct span *col,
                     size_t stride, struct nest *t, ptrdiff_t *plain, ptrdiff_t *packed)
{
    *t = (struct nest){ .w = g->w };
    *plain = *packed = 0;
    for (unsigned i = 0; i < g->n; i++) {
        const struct geom_digit *d = &g->d[i];
        const struct span *s = d->axis ? col : row;
        const ptrdiff_t x = (ptrdiff_t)(d->weight * (d->axis ? g->w : stride));
        const ptrdiff_t y = (ptrdiff_t)(d->y * g->w);
        const uint64_t place = d->reversed ? d->n - 1 - s->first[i] : s->first[i];
        *plain += (ptrdiff_t)s->first[i] * x;
        *packed += (ptrdiff_t)place * y;
        t->dim[t->n++] = (struct dim){ s->n[i], x, d->reversed ? -y : y };
    }
}

/* ---- geometries --------------------------------------------------------- */

void geom_make(struct geom *g, const struct layout *l, uint64_t rows, uint64_t cols, size_t w)
{
    *g = (struct geom){ .n = l->n, .w = w };
    uint64_t y = 1;
    for (unsigned i = l->n; i-- > 0;) {
        const struct layout_digit *d = &l->d[i];
        g->d[i] = (struct geom_digit){ d->axis, d->index, d->reversed, d->top,
                                       layout_digit_count(d, rows, cols), d->weight, y };
        y *= g->d[i].n;
    }
}

void geom_copy(const struct geom *g, uint64_t rows, uint64_t cols, unsigned char *plain,
               size_t stride, unsigned char *packed, bool back)
{
    struct span row[GEOM_MAX_DIGITS], col[GEOM_MAX_DIGITS];
    const unsigned nrow = spans(g, 0, rows, true, row), ncol = spans(g, 1, cols, true, col);
    for (unsigned i = 0; i < nrow; i++)
        for (unsigned j = 0; j < ncol; j++) {
            struct nest t;
            ptrdiff_t x, y;
            box_nest(g, &row[i], &col[j], stride, &t, &x, &y);
            nest_copy(&t, plain + x, packed + y, back);
        }
}

static void zero_box(const struct geom *g, const struct span *row, const struct span *col,
                     unsigned char *packed)
{
    struct nest t;
    ptrdiff_t x, y;
    box_nest(g, row, col, 0, &t, &x, &y);
    nest_zero(&t, packed + y);
}

void geom_pad(const struct geom *g, uint64_t rows, uint64_t cols, unsigned char *packed)
{
    const struct span all = span_all(g);
    struct span row[GEOM_MAX_DIGITS], col[GEOM_MAX_DIGITS];
    unsigned nrow = spans(g, 0, rows, false, row);
    for (unsigned i = 0; i < nrow; i++)
        zero_box(g, &row[i], &all, packed);
    nrow = spans(g, 0, rows, true, row);
    const unsigned ncol = spans(g, 1, cols, false, col);
    for (unsigned i = 0; i < nrow; i++)
        for (unsigned j = 0; j < ncol; j++)
            zero_box(g, &row[i], &col[j], packed);
}

/* ---- whole matrices ----------------------------------------------------- */

void layout_pack(const struct layout *l, unsigned bits, uint64_t rows, uint64_t cols,
                 const void *src, size_t src_stride, void *dst)
{
    uint64_t n = 0;
    const bool fits = layout_size(l, rows, cols, &n);
    assert(fits && (bits == 4 || bits == 8 || bits == 16 || bits == 32 || bits == 64));
    if (!fits || !n)
        return;
    /* Both directions share their code, which writes to the packed form only
     * when it packs. */
    unsigned char *plain = (unsigned char *)(uintptr_t)src;
    if (bits == 4) {
        nibble_move(l, rows, cols, plain, src_stride, dst, false);
        return;
    }
    struct geom g;
    geom_make(&g, l, rows, cols, bits / 8);
    geom_copy(&g, rows, cols, plain, src_stride, dst, false);
    geom_pad(&g, rows, cols, dst);
}

void layout_unpack(const struct layout *l, unsigned bits, uint64_t rows, uint64_t cols,
                   const void *src, void *dst, size_t dst_stride)
{
    uint64_t n = 0;
    const bool fits = layout_size(l, rows, cols, &n);
    assert(fits && (bits == 4 || bits == 8 || bits == 16 || bits == 32 || bits == 64));
    if (!fits || !n)
        return;
    unsigned char *packed = (unsigned char *)(uintptr_t)src;
    if (bits == 4) {
        nibble_move(l, rows, cols, dst, dst_stride, packed, true);
        return;
    }
    struct geom g;
    geom_make(&g, l, rows, cols, bits / 8);
    geom_copy(&g, rows, cols, dst, dst_stride, packed, true);
}

/* ---- padding ------------------------------------------------------------ */

uint64_t layout_axis_offset(const struct layout *l, unsigned axis, uint64_t rows, uint64_t cols,
                            uint64_t index)
{
    uint64_t offset = 0, stride = 1;
    for (unsigned i = l->n; i-- > 0;) {
        const struct layout_digit *d = &l->d[i];
        const uint64_t count = layout_digit_count(d, rows, cols);
        if (d->axis == axis) {
            const uint64_t value = index / d->weight % count;
            offset += (d->reversed ? count - 1 - value : value) * stride;
        }
        stride *= count;
    }
    return offset;
}

static bool is_zero(const unsigned char *packed, unsigned bits, uint64_t at)
{
    if (bits == 4)
        return (packed[at / 2] >> at % 2 * 4 & 15) == 0;
    const size_t w = bits / 8;
    for (size_t i = 0; i < w; i++)
        if (packed[at * w + i])
            return false;
    return true;
}

uint64_t layout_padding_nonzero(const struct layout *l, unsigned bits, uint64_t rows,
                                uint64_t cols, const void *packed)
{
    uint64_t n = 0, found = UINT64_MAX;
    if (!layout_size(l, rows, cols, &n) || !n)
        return found;
    const uint64_t all_rows = round_up(rows, l->tile[0]), all_cols = round_up(cols, l->tile[1]);
    uint64_t table[256];
    for (uint64_t c0 = 0; c0 < all_cols; c0 += 256) {
        const uint64_t nc = min_u64(256, all_cols - c0);
        for (uint64_t i = 0; i < nc; i++)
            table[i] = layout_axis_offset(l, 1, rows, cols, c0 + i);
        for (uint64_t r = c0 + nc > cols ? 0 : rows; r < all_rows; r++) {
            const uint64_t base = layout_axis_offset(l, 0, rows, cols, r);
            for (uint64_t i = r < rows && c0 < cols ? cols - c0 : 0; i < nc; i++)
                if (base + table[i] < found && !is_zero(packed, bits, base + table[i]))
                    found = base + table[i];
        }
    }
    return found;
}
