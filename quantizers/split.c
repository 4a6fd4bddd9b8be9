#include "quantizers/split.h"

#include "formats/derived.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int split_ranks(struct split *s, struct err *e)
{
    s->ranks = s->tp > s->ep ? s->tp : s->ep;
    if (!s->tp || !s->ep || s->ranks > 4096 || s->ranks % s->tp || s->ranks % s->ep)
        return err_set(e, ERR_USAGE, "--tp %u and --ep %u do not go together: one must be a multiple of the other, and 4096 is "
                       "the most", s->tp, s->ep);
    return 0;
}

/* ---- what a rank has ------------------------------------------------------------------ */

/* How a rank has a tensor. */
struct share {
    enum cut cut;
    uint64_t parts, index;     /* of rows or columns */
    uint64_t experts, expert;  /* of a stack of experts: groups, and which */
    bool gone;                 /* another rank's expert */
};

/* The weight that a tensor is or belongs to, and its sizes. */
struct owner {
    const char *name;
    struct matrix m;
    const struct group *g;
    struct cut_of cut;
};

static struct owner owner_of(const struct model *m, const struct grouping *g, const struct heads *h, size_t i)
{
    struct owner o = {.g = grouping_has(g, i) && !grouping_cache(g, i) ? &g->g[g->group[i]] : NULL};
    o.name = o.g ? o.g->name : m->t[i].name;
    o.m = o.g ? view_matrix(&o.g->view) : tensor_matrix(&m->t[i]);
    o.cut = cut_of(o.name, h);
    return o;
}

static struct cut_units units_of(const struct owner *o, const struct target_form *f)
{
    const struct target_role *r = f ? form_role(f, o->name) : NULL;
    const struct scheme *s = o->g ? o->g->scheme : NULL;
    if (!s)
        return (struct cut_units){1, 1};
    return (struct cut_units){lcm_u64(s->block_rows ? s->block_rows : 1, r ? r->row_multiple : 1),
                              lcm_u64(s->block_cols ? s->block_cols : 1, r ? r->col_multiple : 1)};
}

/* False, and why, when the weight cannot be shared out so. */
static bool share_of(const struct owner *o, const struct heads *h, const struct target_form *f, const struct split *s,
                     struct share *x, char *why, size_t size)
{
    const struct cut_units u = units_of(o, f);
    const uint64_t within = s->ranks / s->ep;
    const bool expert = o->cut.expert;
    const uint64_t ranks = expert ? within : s->tp, index = expert ? s->rank % within : s->rank % s->tp;
    *x = (struct share){.cut = o->cut.cut, .experts = 1};
    x->parts = cut_parts(&o->cut, o->m.rows, o->m.cols, &u, ranks);
    if (!x->parts) {
        const bool rows = o->cut.cut == CUT_ROWS;
        if (o->cut.cut == CUT_FUSED)
            snprintf(why, size, "several projections are in one tensor, which is not cut between them");
        else if (o->cut.units && (ranks > o->cut.units ? !o->cut.kv || ranks % o->cut.units : o->cut.units % ranks))
            snprintf(why, size, "its %llu heads are not shared by %llu ranks", (unsigned long long)o->cut.units,
                     (unsigned long long)ranks);
        else if ((rows ? o->m.rows : o->m.cols) % ranks)
            snprintf(why, size, "%llu %s do not divide into %llu parts", (unsigned long long)(rows ? o->m.rows : o->m.cols),
                     rows ? "rows" : "columns", (unsigned long long)ranks);
        else
            snprintf(why, size, "%llu %s in %llu parts are no multiples of %llu", (unsigned long long)(rows ? o->m.rows : o->m.cols),
                     rows ? "rows" : "columns", (unsigned long long)ranks, (unsigned long long)(rows ? u.rows : u.cols));
        return false;
    }
    x->index = index * x->parts / ranks;
    if (f && f->tp_max && x->parts > f->tp_max) {
        snprintf(why, size, "the form takes at most %u parts", f->tp_max);
        return false;
    }
    if (!expert || s->ep == 1)
        return true;
    const int64_t number = expert_number(o->name);
    const uint64_t all = number >= 0 ? h->experts : o->m.batch;
    if (!all || all % s->ep) {
        snprintf(why, size, "%llu experts are not shared by %u groups of ranks", (unsigned long long)all, s->ep);
        return false;
    }
    x->expert = s->rank / within;
    x->experts = number >= 0 ? 1 : s->ep;
    x->gone = number >= 0 && (uint64_t)number / (all / s->ep) != x->expert;
    return true;
}

static bool is_weight(const struct grouping *g, size_t i)
{
    return g->part[i] == PART_WEIGHT || g->part[i] == PART_PLAIN;
}

/* The first weight that cannot be shared out so, or n. */
static size_t first_bad(const struct model *m, const struct grouping *g, const struct heads *h, const struct target_form *f,
                        const struct split *s, char *why, size_t size)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct owner o = owner_of(m, g, h, i);
        struct share x;
        if (is_weight(g, i) && !share_of(&o, h, f, s, &x, why, size))
            return i;
    }
    return m->n;
}

int split_check(const struct model *m, const struct grouping *g, const struct heads *h, const struct target_form *f,
                const struct split *s, struct err *e)
{
    char why[160], list[256] = "";
    size_t n = 0;
    const size_t i = first_bad(m, g, h, f, s, why, sizeof why);
    if (!h->attention)
        return err_set(e, ERR_INPUT, "%s: no config.json says num_attention_heads, so nothing can be cut between heads", m->path);
    if (i == m->n)
        return 0;
    for (uint32_t tp = 1; tp <= 128 && n + 8 < sizeof list; tp++) {
        struct split other = {.tp = tp, .ep = s->ep == s->tp ? tp : s->ep};
        struct err ignored;
        char also[160];
        if (!split_ranks(&other, &ignored) && first_bad(m, g, h, f, &other, also, sizeof also) == m->n)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%u", n ? ", " : "", tp);
    }
    const struct owner o = owner_of(m, g, h, i);
    return err_set(e, ERR_INPUT, "%s: tensor '%s' [%llu,%llu] cannot be cut for --tp %u --ep %u: %s (possible --tp%s: %s)",
                   m->path, o.name, (unsigned long long)o.m.rows, (unsigned long long)o.m.cols, s->tp, s->ep, why,
                   s->ep == s->tp && s->ep > 1 ? " with the same --ep" : "", n ? list : "none");
}

/* ---- cutting ---------------------------------------------------------------------------- */

/* Leaves part `index` of `parts` along an axis. */
static int cut_axis(struct model *m, struct tensor *t, unsigned axis, uint64_t parts, uint64_t index, struct err *e)
{
    const uint32_t per = dtype_table[t->dtype].block_elems, item = dtype_table[t->dtype].block_bytes;
    uint64_t after = 1;
    if (parts == 1)
        return 0;
    for (unsigned k = axis + 1; k < t->rank; k++)
        after *= t->dim[k];
    struct slice *s = arena_alloc(&m->mem, sizeof *s, e);
    uint64_t *stride = arena_array(&m->mem, TENSOR_MAX_RANK, sizeof *stride, e);
    if (!s || !stride)
        return -1;
    for (unsigned k = 0; k < t->rank; k++) {
        s->start[k] = t->slice ? t->slice->start[k] : 0;
        s->whole[k] = t->slice ? t->slice->whole[k] : t->dim[k];
    }
    const uint64_t part = t->dim[axis] / parts, start = part * index;
    bool leading = true; /* the part lies in one piece */
    for (unsigned k = 0; k < axis; k++)
        leading &= t->dim[k] == 1;
    if (t->derived && !(t->dim[axis] % parts)) {
        s->start[axis] += start;
        t->slice = s;
        return derived_cut(m, t, axis, start, part, e);
    }
    if (t->dim[axis] % parts || t->stored || t->derived || (after % per && per > 1))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' cannot be cut into %llu parts where it lies", m->path, t->name,
                       (unsigned long long)parts);
    if (!leading && per > 1)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' has blocks or halves of bytes, which are not cut across rows", m->path,
                       t->name);
    uint64_t step = 1;
    for (int k = t->rank - 1; k >= 0; k--) {
        stride[k] = t->stride ? t->stride[k] : step;
        step *= t->dim[k];
    }
    t->off += start * stride[axis] / per * item;
    if (!leading || t->stride)
        t->stride = stride;
    s->start[axis] += start;
    t->dim[axis] = part;
    t->slice = s;
    if (!dtype_size(t->dtype, tensor_elems(t), &t->size))
        return err_set(e, ERR_INPUT, "%s: tensor '%s': its size overflows", m->path, t->name);
    return 0;
}

/* The axis of a tensor that goes with the rows (or columns) of its weight, or -1: it has all of them. */
static int axis_of(const struct tensor *t, enum part part, const struct owner *o, enum cut cut)
{
    static const char *const inputs[] = {"smooth", "in_scales", "input_scale"};
    const int rows = t->rank - 2, cols = t->rank - 1;
    const struct scheme *s = o->g ? o->g->scheme : NULL;
    const uint64_t extent = cut == CUT_ROWS ? o->m.rows : o->m.cols;
    bool input = false;
    for (int i = 0; i < 3; i++)
        input |= ends_with(t->name, inputs[i]);
    switch (part) {
    case PART_WEIGHT:
        return cut == CUT_ROWS ? rows : cols;
    case PART_SCALE:
    case PART_POINT:
    case PART_ZERO:
        if (cut == CUT_ROWS ? !s->block_rows : !s->block_cols)
            return -1;
        return t->rank == 1 ? 0 : cut == CUT_ROWS ? rows : cols;
    case PART_PLAIN:
        return t->rank >= 2 ? (cut == CUT_ROWS ? rows : cols) : cut == CUT_ROWS && t->dim[0] == o->m.cols ? 0 : -1;
    case PART_ONE:
        return cut == CUT_COLS ? 0 : -1;
    case PART_AUX:
        if (t->rank == 2 && cut == CUT_COLS && t->dim[0] == o->m.rows && t->dim[1] > 1)
            return 1; /* partial sums over the columns */
        if (!t->rank || tensor_elems(t) == 1 || t->dim[0] != extent || (o->m.rows == o->m.cols && input != (cut == CUT_COLS)))
            return -1;
        return 0;
    default:
        return -1;
    }
}

static int cut_tensor(struct model *m, const struct grouping *g, const struct heads *h, const struct split *s, size_t i,
                      bool *gone, struct err *e)
{
    char why[160];
    struct tensor *t = &m->t[i];
    const struct owner o = owner_of(m, g, h, i);
    struct share x;
    *gone = false;
    if (!share_of(&o, h, NULL, s, &x, why, sizeof why)) /* of a bias: its weight was checked */
        return g->part[i] == PART_PLAIN && t->rank < 2 ? 0 : err_set(e, ERR_INPUT, "%s: tensor '%s': %s", m->path, t->name, why);
    *gone = x.gone;
    const int axis = x.parts > 1 ? axis_of(t, g->part[i], &o, x.cut) : -1;
    if (x.gone)
        return 0;
    if ((x.parts > 1 || x.experts > 1) && (g->part[i] == PART_SHAPE || g->part[i] == PART_ORDER))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' says how the whole of '%s' lies, so that is not cut", m->path, t->name,
                       o.name);
    if (axis >= 0 && cut_axis(m, t, (unsigned)axis, x.parts, x.index, e))
        return -1;
    /* A stack of experts; what is one for the whole stack stays. */
    return x.experts > 1 && t->rank >= 2 && t->dim[0] == o.m.batch ? cut_axis(m, t, 0, x.experts, x.expert, e) : 0;
}

int split_model(struct model *m, const struct grouping *g, const struct heads *h, const struct split *s, struct err *e)
{
    size_t n = 0;
    if (!m->random)
        return err_set(e, ERR_INPUT, "%s: parts are read at any offset, which a pipe does not allow (--spool)", m->path);
    for (size_t i = 0; i < m->n; i++) {
        bool gone;
        if (cut_tensor(m, g, h, s, i, &gone, e))
            return -1;
        if (!gone)
            m->t[n++] = m->t[i];
    }
    m->n = n;
    map_free(&m->by_name);
    m->by_name = (struct map){0};
    if (map_reserve(&m->by_name, n, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (map_add(&m->by_name, m->t[i].name, i, e) < 0)
            return -1;
    return 0;
}
