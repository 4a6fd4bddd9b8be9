/* From a nest of loops to memory operations that run at copy speed.
 *
 * Loops that continue each other merge; a loop that is contiguous on both
 * sides makes the element longer; what is left is a copy of runs or, where one
 * loop touches in the matrix and another in the packed form, a transpose.  The
 * loops around it are cut into blocks so that both sides use whole cache
 * lines, and the blocks run in the order of the matrix, whose rows are the
 * longer streams.
 *
 * A permutation within a few bytes (as in Marlin's tiles) would be a transpose
 * of two by two.  It goes in two steps through a small buffer: the bytes
 * within each row first, then the words that this makes. */
#include "formats/layout_copy.h"

#include <string.h>

enum {
    STAGE_BYTES = 16384, /* half of a first-level cache */
    /* Contiguous bytes worth having on either side; measured, and flat around
     * these values. */
    STAGE_SPAN = 512,
    COPY_SPAN = 256,
    SWAP_SPAN = 128
};

struct plan {
    enum { PLAN_ROWS, PLAN_SWAP, PLAN_ZERO, PLAN_STAGE } kind;
    size_t unit;                /* bytes of an element or a run */
    struct dim leaf[3];         /* the kernel's loops */
    struct loop {
        struct dim dim;
        uint64_t step;          /* how many of dim.n at a time */
        uint64_t *part;         /* where that length goes, at the ends too; may be NULL */
        unsigned id;            /* index in the nest */
        bool inner;
    } loop[2 * NEST_MAX_DIMS];  /* outermost first */
    unsigned n;
    bool back;
    struct stage *stage;
};

/* The two steps of a permutation through a buffer. */
struct stage {
    struct plan first, second;
    unsigned char *mem;
};

static const struct dim once = { 1, 0, 0 };

static uint64_t distance(ptrdiff_t a)
{
    return a < 0 ? -(uint64_t)a : (uint64_t)a;
}

/* ---- simpler nests ------------------------------------------------------ */

static struct dim take(struct nest *t, unsigned i)
{
    const struct dim d = t->dim[i];
    t->n--;
    memmove(&t->dim[i], &t->dim[i + 1], (t->n - i) * sizeof t->dim[0]);
    return d;
}

/* Does loop a go on where b ends, on both sides? */
static bool continues(const struct dim *a, const struct dim *b)
{
    return a->s == (ptrdiff_t)b->n * b->s && a->d == (ptrdiff_t)b->n * b->d;
}

static bool merge_two(struct nest *t)
{
    for (unsigned i = 0; i < t->n; i++)
        for (unsigned j = 0; j < t->n; j++)
            if (i != j && continues(&t->dim[i], &t->dim[j])) {
                t->dim[j].n *= t->dim[i].n;
                (void)take(t, i);
                return true;
            }
    return false;
}

/* Merges loops and widens the element by what is contiguous on both sides. */
static void simplify(struct nest *t)
{
    for (unsigned i = t->n; i-- > 0;)
        if (t->dim[i].n == 1)
            (void)take(t, i);
    while (merge_two(t))
        ;
    for (unsigned i = 0; i < t->n; i++)
        if (t->dim[i].s == (ptrdiff_t)t->w && t->dim[i].d == (ptrdiff_t)t->w) {
            t->w *= take(t, i).n;
            return;
        }
}

/* The loop with this stride on one side, or -1. */
static int find_stride(const struct nest *t, uint64_t stride, bool packed)
{
    for (unsigned i = 0; i < t->n; i++)
        if (distance(packed ? t->dim[i].d : t->dim[i].s) == stride)
            return (int)i;
    return -1;
}

/* The pair of loops that makes a simplified nest a transpose. */
static bool find_swap(const struct nest *t, int *x, int *y)
{
    *x = find_stride(t, t->w, false);
    *y = find_stride(t, t->w, true);
    return (t->w == 1 || t->w == 2 || t->w == 4) && *x >= 0 && *y >= 0 && *x != *y &&
           t->dim[*x].s > 0 && t->dim[*y].d > 0;
}

static struct dim turned(struct dim d)
{
    return (struct dim){ d.n, d.d, d.s };
}

/* ---- plans -------------------------------------------------------------- */

/* Which loops fill `want` contiguous bytes on one side: their lengths go into
 * block[], the last one cut as needed. */
static void cover(const struct nest *t, uint64_t *block, uint64_t want, bool packed)
{
    for (uint64_t have = t->w; have < want;) {
        const int i = find_stride(t, have, packed);
        if (i < 0)
            return;
        const uint64_t n = t->dim[i].n, k = min_u64(n, ceil_div(want, have));
        block[i] = max_u64(block[i], k);
        if (k < n)
            return;
        have *= n;
    }
}

/* Keeps the loops sorted: whole blocks before what is inside a block, then by
 * stride in the matrix, longest first. */
static void add_loop(struct plan *p, struct loop l)
{
    unsigned at = p->n++;
    for (; at > 0; at--) {
        const struct loop *before = &p->loop[at - 1];
        if (before->inner < l.inner ||
            (before->inner == l.inner && distance(before->dim.s) >= distance(l.dim.s)))
            break;
        p->loop[at] = p->loop[at - 1];
    }
    p->loop[at] = l;
}

/* The loops around the leaves.  block[i] is 0 for a loop that is all outside. */
static void add_loops(struct plan *p, const struct nest *t, const uint64_t *block,
                      const int leaf[3])
{
    for (unsigned i = 0; i < t->n; i++) {
        const struct dim d = t->dim[i];
        bool is_leaf = false;
        for (unsigned k = 0; k < 3; k++)
            if (leaf[k] == (int)i) {
                p->leaf[k] = (struct dim){ block[i], d.s, d.d };
                is_leaf = true;
            }
        if (block[i] < d.n)
            add_loop(p, (struct loop){ d, block[i] ? block[i] : 1, NULL, i, false });
        if (block[i] && !is_leaf)
            add_loop(p, (struct loop){ { block[i], d.s, d.d }, 1, NULL, i, true });
    }
    for (unsigned i = 0; i < p->n; i++) {
        if (p->loop[i].inner || p->loop[i].step == 1)
            continue;
        for (unsigned k = 0; k < 3; k++)
            if (leaf[k] == (int)p->loop[i].id)
                p->loop[i].part = &p->leaf[k].n;
        for (unsigned j = 0; j < p->n; j++)
            if (p->loop[j].inner && p->loop[j].id == p->loop[i].id)
                p->loop[i].part = &p->loop[j].dim.n;
    }
}

static void turn(struct plan *p)
{
    for (unsigned i = 0; i < p->n; i++)
        p->loop[i].dim = turned(p->loop[i].dim);
    for (unsigned k = 0; k < 3; k++)
        p->leaf[k] = turned(p->leaf[k]);
}

/* The longest loop in a block that is not a leaf yet: the kernel's overhead is
 * paid once for all its steps. */
static int next_leaf(const struct nest *t, const uint64_t *block, const int leaf[3])
{
    int best = -1;
    for (unsigned i = 0; i < t->n; i++)
        if (block[i] && (int)i != leaf[0] && (int)i != leaf[1] && (int)i != leaf[2] &&
            (best < 0 || block[i] > block[best]))
            best = (int)i;
    return best;
}

/* The loop in a block that is shortest on the side that is written: its lines
 * should be used up one by one, those that are read are kept by the cache. */
static int shortest_leaf(const struct nest *t, const uint64_t *block, bool back)
{
    int best = -1;
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < t->n; i++) {
        const uint64_t stride = distance(back ? t->dim[i].s : t->dim[i].d);
        if (block[i] && stride < least) {
            best = (int)i;
            least = stride;
        }
    }
    return best;
}

/* The plan points into itself: it must stay where it is. */
static void plan_make(struct plan *p, struct nest t, bool zero, bool back)
{
    *p = (struct plan){ .leaf = { once, once, once } };
    simplify(&t);
    p->unit = t.w;
    int leaf[3] = { -1, -1, -1 };
    const bool swap = !zero && find_swap(&t, &leaf[0], &leaf[1]);
    p->kind = zero ? PLAN_ZERO : swap ? PLAN_SWAP : PLAN_ROWS;
    if (!swap)
        leaf[0] = leaf[1] = -1;

    uint64_t block[NEST_MAX_DIMS] = { 0 };
    /* Tiny transposes need many of them in a kernel call to pay for it. */
    const bool tiny = swap && t.dim[leaf[0]].n * t.dim[leaf[1]].n * t.w <= SWAP_SPAN;
    cover(&t, block, swap && !tiny ? SWAP_SPAN : COPY_SPAN, false);
    cover(&t, block, swap && !tiny ? SWAP_SPAN : 2 * COPY_SPAN, true);
    if (!swap)
        leaf[0] = shortest_leaf(&t, block, back);
    leaf[swap ? 2 : 1] = next_leaf(&t, block, leaf);
    add_loops(p, &t, block, leaf);
    p->back = back;
    if (back)
        turn(p);
}

static void plan_walk(struct plan *p, unsigned level, const unsigned char *s, unsigned char *d)
{
    if (level < p->n) {
        const struct loop *l = &p->loop[level];
        for (uint64_t i = 0; i < l->dim.n; i += l->step) {
            if (l->part)
                *l->part = min_u64(l->step, l->dim.n - i);
            plan_walk(p, level + 1, s + (ptrdiff_t)i * l->dim.s, d + (ptrdiff_t)i * l->dim.d);
        }
        return;
    }
    switch (p->kind) {
    case PLAN_ROWS:
        kern_rows(s, d, p->unit, &p->leaf[0], &p->leaf[1]);
        break;
    case PLAN_SWAP: /* turned, the first two loops have changed roles */
        kern_swap(s, d, p->unit, &p->leaf[p->back], &p->leaf[!p->back], &p->leaf[2]);
        break;
    case PLAN_ZERO:
        kern_zero(d, p->unit, &p->leaf[0], &p->leaf[1]);
        break;
    case PLAN_STAGE:
        plan_walk(&p->stage->first, 0, s, p->stage->mem);
        plan_walk(&p->stage->second, 0, p->stage->mem, d);
        break;
    }
}

/* ---- two steps ---------------------------------------------------------- */

/* The loops that make a few neighbouring bytes of the packed form and stay
 * within a few bytes of the matrix: their buffer has them in packed order.
 * Returns how many bytes that is, t->w when there are none. */
static uint64_t stage_group(const struct nest *t, uint64_t *block)
{
    uint64_t have = t->w;
    while (have < 4) {
        const int i = find_stride(t, have, true);
        if (i < 0 || t->dim[i].d < 0 || distance(t->dim[i].s) >= 64 || t->dim[i].n > 16)
            break;
        block[i] = t->dim[i].n;
        have *= t->dim[i].n;
    }
    return have;
}

/* Chooses what else goes through the buffer: enough to have long spans on both
 * sides.  At most one loop is cut: its index, or -1. */
static int stage_fill(const struct nest *t, uint64_t *block, uint64_t bytes)
{
    for (unsigned side = 0; side < 2; side++) {
        const bool packed = side == 0;
        for (uint64_t have = t->w; have < STAGE_SPAN;) {
            const int i = find_stride(t, have, packed);
            if (i < 0)
                break;
            const uint64_t n = t->dim[i].n;
            if (!block[i] && bytes * n > STAGE_BYTES && packed)
                break;
            if (!block[i] && (bytes * n > STAGE_BYTES || have * n > STAGE_SPAN)) {
                block[i] = min_u64(STAGE_BYTES / bytes, ceil_div(STAGE_SPAN, have));
                return block[i] < n ? i : -1;
            }
            if (!block[i])
                bytes *= n;
            block[i] = n;
            have *= n;
        }
    }
    return -1;
}

/* Strides in the buffer: the group as in the packed form, the rest as in the
 * matrix. */
static void stage_strides(const struct nest *t, const uint64_t *block, const uint64_t *group,
                          uint64_t have, ptrdiff_t *mem)
{
    bool done[NEST_MAX_DIMS] = { false };
    for (unsigned i = 0; i < t->n; i++)
        if (group[i]) {
            mem[i] = t->dim[i].d;
            done[i] = true;
        }
    for (;;) {
        int best = -1;
        for (unsigned i = 0; i < t->n; i++)
            if (block[i] && !done[i] &&
                (best < 0 || distance(t->dim[i].s) < distance(t->dim[best].s)))
                best = (int)i;
        if (best < 0)
            return;
        mem[best] = (ptrdiff_t)have;
        have *= block[best];
        done[best] = true;
    }
}

static void stage_make(struct stage *g, const struct nest *t, const uint64_t *block,
                       const ptrdiff_t *mem, bool back)
{
    struct nest in = { .w = t->w }, out = { .w = t->w };
    for (unsigned i = 0; i < t->n; i++)
        if (block[i]) {
            in.dim[in.n++] = (struct dim){ block[i], t->dim[i].s, mem[i] };
            out.dim[out.n++] = (struct dim){ block[i], mem[i], t->dim[i].d };
        }
    plan_make(&g->first, back ? out : in, false, back);
    plan_make(&g->second, back ? in : out, false, back);
}

/* True when the nest was done in two steps. */
static bool stage_run(struct nest t, const unsigned char *s, unsigned char *d, bool back)
{
    simplify(&t);
    int x, y;
    if (t.w > 2 || (find_swap(&t, &x, &y) && kern_swap_is_fast(t.w, &t.dim[x], &t.dim[y])))
        return false;
    uint64_t block[NEST_MAX_DIMS] = { 0 }, group[NEST_MAX_DIMS];
    const uint64_t bytes = stage_group(&t, block);
    if (bytes == t.w)
        return false;
    memcpy(group, block, sizeof group);
    const int cut = stage_fill(&t, block, bytes);
    ptrdiff_t mem[NEST_MAX_DIMS] = { 0 };
    stage_strides(&t, block, group, bytes, mem);

    _Alignas(64) unsigned char buffer[STAGE_BYTES];
    struct stage stage = { .mem = buffer };
    struct plan p = { .kind = PLAN_STAGE, .stage = &stage };
    for (unsigned i = 0; i < t.n; i++)
        if (!block[i])
            add_loop(&p, (struct loop){ t.dim[i], 1, NULL, i, false });
    struct dim step = once; /* over whole buffers along the loop that is cut */
    uint64_t rest = 0;
    if (cut >= 0) {
        const struct dim *c = &t.dim[cut];
        const ptrdiff_t k = (ptrdiff_t)block[cut];
        step = (struct dim){ c->n / block[cut], k * c->s, k * c->d };
        rest = c->n % block[cut];
        add_loop(&p, (struct loop){ step, 1, NULL, (unsigned)cut, false });
    }
    if (back)
        turn(&p);
    stage_make(&stage, &t, block, mem, back);
    plan_walk(&p, 0, s, d);
    if (!rest)
        return true;
    block[cut] = rest;
    stage_make(&stage, &t, block, mem, back);
    for (unsigned i = 0; i < p.n; i++)
        if (p.loop[i].id == (unsigned)cut)
            p.loop[i].dim.n = 1;
    if (back)
        step = turned(step);
    plan_walk(&p, 0, s + (ptrdiff_t)step.n * step.s, d + (ptrdiff_t)step.n * step.d);
    return true;
}

/* ---- nests -------------------------------------------------------------- */

void nest_copy(const struct nest *t, unsigned char *plain, unsigned char *packed, bool back)
{
    const unsigned char *s = back ? packed : plain;
    unsigned char *d = back ? plain : packed;
    for (unsigned i = 0; i < t->n; i++)
        if (!t->dim[i].n)
            return;
    if (stage_run(*t, s, d, back))
        return;
    struct plan p;
    plan_make(&p, *t, false, back);
    plan_walk(&p, 0, s, d);
}

void nest_zero(const struct nest *t, unsigned char *packed)
{
    struct nest same = *t;
    for (unsigned i = 0; i < t->n; i++) {
        if (!t->dim[i].n)
            return;
        same.dim[i].s = same.dim[i].d;
    }
    struct plan p;
    plan_make(&p, same, true, false);
    plan_walk(&p, 0, packed, packed);
}
