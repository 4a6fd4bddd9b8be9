#include "quantizers/strided.h"

#include <string.h>

enum {
    WINDOW = 1 << 18, /* bytes that are read before they are sorted: half of a second-level cache */
    GAP = 1 << 12,    /* bytes worth reading rather than begin another read: a page */
    LINES = 64,       /* so many short lines are sorted together: a cache line of bytes */
    SPREAD = 64,      /* lines begin this far from multiples of large powers of two */
};

enum strided_run strided_run(const struct tensor *t)
{
    int least = t->rank - 1;
    if (!t->stride)
        return RUN_ROWS;
    for (int i = t->rank - 1; i >= 0; i--)
        if (t->dim[i] > 1 && (t->dim[least] < 2 || t->stride[i] < t->stride[least]))
            least = i;
    return least == t->rank - 1 ? RUN_ROWS : least == t->rank - 2 ? RUN_COLUMNS : RUN_BATCH;
}

/* A direction: n elements, so many bytes apart there and here. */
struct axis {
    uint64_t n, from, to;
};

/* Elements (i, j), j being the direction in which they are written together. */
#define SORT(type) \
    for (size_t i = 0; i < ni; i++) \
        for (size_t j = 0; j < nj; j++) { \
            type x; \
            memcpy(&x, from + i * si + j * sj, sizeof x); \
            memcpy(to + i * ti + j * tj, &x, sizeof x); \
        } \
    break

static void sort(const uint8_t *from, size_t si, size_t sj, uint8_t *to, size_t ti, size_t tj, size_t ni,
                 size_t nj, size_t item)
{
    if (sj == item && tj == item) {
        for (size_t i = 0; i < ni; i++)
            memcpy(to + i * ti, from + i * si, nj * item);
        return;
    }
    switch (item) {
    case 1:
        SORT(uint8_t);
    case 2:
        SORT(uint16_t);
    case 4:
        SORT(uint32_t);
    default:
        SORT(uint64_t);
    }
}

/* Lines of elements: near is the direction in which they lie closest. */
struct plane {
    const struct source *s;
    uint64_t off; /* bytes, of its first element, from that of the tensor */
    struct axis near, far;
    size_t item;
    uint8_t *dst;
};

/* lines lines of n elements each, from element j of line i on. */
static int read_lines(const struct plane *p, uint64_t i, uint64_t lines, uint64_t j, uint64_t n,
                      uint8_t *window, struct err *e)
{
    struct model *const m = (struct model *)p->s->model;
    const struct axis near = p->near, far = p->far;
    const uint64_t off = p->off + i * far.from + j * near.from;
    const size_t length = (size_t)((n - 1) * near.from + p->item);
    uint8_t *const to = p->dst + i * far.to + j * near.to;
    size_t pitch = (size_t)far.from;
    if (lines == 1 || (far.from < length + GAP && (lines - 1) * far.from + length <= WINDOW)) {
        /* All in one, with what is between them; they may overlap. */
        if (model_read(m, p->s->index, off, window, (size_t)((lines - 1) * far.from) + length, e))
            return -1;
    } else {
        pitch = length + SPREAD;
        for (uint64_t k = 0; k < lines; k++)
            if (model_read(m, p->s->index, off + k * far.from, window + k * pitch, length, e))
                return -1;
    }
    if (far.to < near.to)
        sort(window, near.from, pitch, to, near.to, far.to, n, lines, p->item);
    else
        sort(window, pitch, near.from, to, far.to, near.to, lines, n, p->item);
    return 0;
}

static int read_plane(const struct plane *p, uint8_t *window, struct err *e)
{
    const struct axis near = p->near, far = p->far;
    /* Elements of a line that one read takes, and lines that one window takes. */
    uint64_t n = near.n, lines = 1;
    if (near.from > GAP)
        n = 1;
    else if (near.from)
        n = min_u64(n, 1 + (WINDOW - p->item) / near.from);
    const uint64_t length = (n - 1) * near.from + p->item;
    if (n == near.n && far.from < length + GAP)
        lines = far.from ? 1 + (WINDOW - length) / far.from : far.n;
    else if (length <= WINDOW / 4)
        lines = min_u64(LINES, WINDOW / length);
    for (uint64_t i = 0; i < far.n; i += lines)
        for (uint64_t j = 0; j < near.n; j += n)
            if (read_lines(p, i, min_u64(lines, far.n - i), j, min_u64(n, near.n - j), window, e))
                return -1;
    return 0;
}

static void swap(struct axis *a, struct axis *b)
{
    const struct axis x = *a;
    *a = *b;
    *b = x;
}

/* Moves near and far to the front: what lies closest together; then what can be
 * read with it, else what is written together. */
static void order_axes(struct axis *a, int n, size_t item)
{
    for (int i = 1; i < n; i++)
        if (a[i].from < a[0].from)
            swap(&a[0], &a[i]);
    const uint64_t length = (a[0].n - 1) * a[0].from + item;
    for (int i = 2; i < n; i++) {
        const bool with = a[1].from < length + GAP, better = a[i].from < length + GAP;
        if (with ? a[i].from < a[1].from : better || a[i].to < a[1].to)
            swap(&a[1], &a[i]);
    }
}

/* A box of up to TENSOR_MAX_RANK directions, as planes. */
static int read_axes(const struct source *s, uint64_t off, struct axis *a, int n, size_t item, uint8_t *dst,
                     struct scratch *tmp, struct err *e)
{
    uint64_t planes = 1;
    int k = 0;
    for (int i = 0; i < n; i++)
        if (a[i].n > 1)
            a[k++] = a[i];
    while (k < 2)
        a[k++] = (struct axis){1, UINT64_MAX, UINT64_MAX}; /* is never moved in */
    order_axes(a, k, item);
    for (int i = 2; i < k; i++)
        planes *= a[i].n;
    uint8_t *const window = scratch_get(tmp, WINDOW + LINES * SPREAD, e);
    if (!window)
        return -1;
    for (uint64_t x = 0; x < planes; x++) {
        struct plane p = {s, off, a[0], a[1], item, dst};
        uint64_t at = x;
        for (int i = 2; i < k; at /= a[i++].n) {
            p.off += at % a[i].n * a[i].from;
            p.dst += at % a[i].n * a[i].to;
        }
        if (read_plane(&p, window, e))
            return -1;
    }
    return 0;
}

/* The reader has checked that the last element lies in the file, so no sum below overflows. */

int strided_read(const struct source *s, bool turned, const struct box *b, void *dst, size_t stride,
                 struct scratch *tmp, struct err *e)
{
    const struct tensor *const t = &s->model->t[s->index];
    const size_t item = row_bytes(t->dtype, 1);
    const uint64_t last = t->stride[t->rank - 1], before = t->rank > 1 ? t->stride[t->rank - 2] : 0;
    const uint64_t row = turned ? last : before, col = turned ? before : last;
    uint64_t at = b->row * row + b->col * col, batch = b->batch;
    for (int i = t->rank - 3; i >= 0; batch /= t->dim[i--])
        at += batch % t->dim[i] * t->stride[i];
    struct axis a[2] = {{b->rows, row * item, stride}, {b->cols, col * item, item}};
    return read_axes(s, at * item, a, 2, item, dst, tmp, e);
}

int strided_range(const struct source *s, uint64_t first, uint64_t n, void *dst, struct scratch *tmp,
                  struct err *e)
{
    const struct tensor *const t = &s->model->t[s->index];
    const size_t item = row_bytes(t->dtype, 1);
    uint8_t *to = dst;
    while (n) {
        /* The largest block that begins here: m steps of dimension k, and all of those after it. */
        struct axis a[TENSOR_MAX_RANK];
        uint64_t inner = 1, off = 0, at = first;
        int k = t->rank - 1;
        while (k > 0 && first % (inner * t->dim[k]) == 0 && n >= inner * t->dim[k]) {
            a[k] = (struct axis){t->dim[k], t->stride[k] * item, inner * item};
            inner *= t->dim[k--];
        }
        const uint64_t m = min_u64(n / inner, t->dim[k] - first / inner % t->dim[k]);
        a[k] = (struct axis){m, t->stride[k] * item, inner * item};
        for (int i = t->rank - 1; i >= 0; at /= t->dim[i--])
            off += at % t->dim[i] * t->stride[i];
        if (read_axes(s, off * item, a + k, t->rank - k, item, to, tmp, e))
            return -1;
        first += m * inner;
        n -= m * inner;
        to += m * inner * item;
    }
    return 0;
}
