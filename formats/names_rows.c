/* The order in which llama.cpp keeps the rows of Q and K, as a layout. */
#include "formats/names_parts.h"

#include "formats/packed.h"

#include <inttypes.h>
#include <string.h>

static int heads_of(struct renaming *r, uint64_t heads[2])
{
    if (!r->heads[0]) {
        if (names_number(r, "attention.head_count", "num_attention_heads", &r->heads[0])
            || names_number(r, "attention.head_count_kv", "num_key_value_heads", &r->heads[1])
            || names_number(r, "attention.key_length", "head_dim", &r->head_dim))
            return -1;
        if (!r->heads[0])
            return err_set(r->e, ERR_INPUT,
                           "%s: the order of rows of Q and K depends on the number of heads, which %s does not say",
                           r->m->path, r->from == NAMES_GGUF ? "its metadata" : "config.json");
        if (!r->heads[1])
            r->heads[1] = r->heads[0];
    }
    memcpy(heads, r->heads, sizeof r->heads);
    return 0;
}

/* What a part of a quantized weight has to do with its rows. */
enum follows { FOLLOWS, STAYS, CANNOT };

static bool name_is(const char *name, const char *part)
{
    const char *dot = strrchr(name, '.');
    return dot && !strcmp(dot + 1, part);
}

/* rows: of the weight; dim: of a head. */
static enum follows follows(const struct renaming *r, const struct tensor *t, size_t i, uint64_t rows, uint64_t dim)
{
    const struct group *g = grouping_has(r->g, i) ? &r->g->g[r->g->group[i]] : NULL;
    const uint64_t own = t->rank > 1 ? t->dim[t->rank - 2] : t->rank ? t->dim[0] : 1;
    switch (part_of(r, i)) {
    case PART_PLAIN:
    case PART_LEFT:
        return FOLLOWS;
    case PART_WEIGHT:
        return g->view.inputs_first || own != rows ? CANNOT : FOLLOWS;
    case PART_SCALE:
    case PART_POINT:
    case PART_ZERO:
        if (own == rows)
            return FOLLOWS;
        if (tensor_elems(t) == 1)
            return STAYS;
        /* Blocks of rows: a head that lies in one of them keeps it. Points that are packed along the rows do not. */
        return g->scheme->block_rows > 1 && g->scheme->block_rows % dim == 0
                       && own == ceil_div(rows, g->scheme->block_rows) && t->dtype != DT_I32
                   ? STAYS
                   : CANNOT;
    case PART_GLOBAL:
    case PART_ONE:
    case PART_ORDER:
    case PART_SHAPE:
        return STAYS;
    case PART_AUX:
        if (name_is(t->name, "deq_scale") || name_is(t->name, "quant_bias"))
            return FOLLOWS;
        return tensor_elems(t) == 1 ? STAYS : CANNOT;
    default:
        return CANNOT;
    }
}

/* Logical row digits, and the order in which memory has them: see names.h. A vector has columns only. */
static int sentence(bool pairs, bool vector, uint64_t half, struct stored *st, struct arena *mem, struct err *e)
{
    const char *fmt = vector ? "r0 c2 c0 c1 | c0=%" PRIu64 " c1=%" PRIu64 : "r2 r0 r1 c0 | r0=%" PRIu64 " r1=%" PRIu64;
    st->sentence = arena_printf(mem, e, fmt, pairs ? half : (uint64_t)2, pairs ? (uint64_t)2 : half);
    return st->sentence ? layout_parse(&st->layout, st->sentence, e) : -1;
}

static bool has_elements(enum dtype t)
{
    const struct dtype_info *d = &dtype_table[t];
    return d->block_elems == 1 || (d->block_elems == 2 && d->block_bytes == 1);
}

/* pairs: memory has them; else it has halves, and t pairs. */
static struct stored *lies(const struct tensor *t, bool pairs, uint64_t half, struct arena *mem, struct err *e)
{
    const struct matrix x = tensor_matrix(t);
    const struct dtype_info *d = &dtype_table[t->dtype];
    const bool vector = t->rank == 1, elements = has_elements(t->dtype);
    struct stored *st = arena_alloc(mem, sizeof *st, e);
    uint64_t bytes;
    if (!st || sentence(pairs, vector, half, st, mem, e))
        return NULL;
    st->dtype = elements ? t->dtype : DT_U8;
    st->bytes = !elements;
    st->batch = 1;
    st->rows = x.rows;
    st->cols = elements ? x.cols : x.cols / d->block_elems * d->block_bytes;
    st->repeat[0] = st->repeat[1] = 1;
    if (stored_size(st, &bytes) && bytes == t->size && (!vector || elements))
        return st;
    (void)err_set(e, ERR_INPUT, "tensor '%s': the order of its elements cannot be changed in %s", t->name, d->name);
    return NULL;
}

const struct stored *names_pairs(const struct tensor *t, uint64_t half, struct arena *mem, struct err *e)
{
    return lies(t, true, half, mem, e);
}

static bool same_layout(const struct layout *a, const struct layout *b)
{
    char x[256], y[256];
    return !strcmp(layout_print(a, x), layout_print(b, y));
}

static int store(struct renaming *r, struct tensor *t, uint64_t half)
{
    const struct stored *old = t->stored;
    struct arena *mem = &r->m->mem;
    struct stored inverse;
    if (!old)
        return (t->stored = lies(t, r->to == NAMES_HF, half, mem, r->e)) ? 0 : err_prefix(r->e, "%s", r->m->path);
    if (sentence(r->to != NAMES_HF, t->rank == 1, half, &inverse, mem, r->e))
        return -1;
    if (!same_layout(&inverse.layout, &old->layout) || old->repeat[0] != 1 || old->repeat[1] != 1)
        return err_set(r->e, ERR_INPUT,
                       "%s: tensor '%s' lies as '%s', and the order of its rows would have to change: octavo unpack it "
                       "first", r->m->path, t->name, old->sentence);
    t->stored = NULL; /* the one order undoes the other */
    return 0;
}

int names_permute(struct renaming *r, struct tensor *t, size_t i, enum name_kind kind)
{
    uint64_t heads[2];
    char shape[256];
    const struct group *g = grouping_has(r->g, i) ? &r->g->g[r->g->group[i]] : NULL;
    if (!r->arch->permutes)
        return 0;
    if (heads_of(r, heads))
        return -1;
    const uint64_t n = heads[kind == NAME_K];
    const uint64_t rows = g ? view_matrix(&g->view).rows : t->rank > 1 ? t->dim[t->rank - 2] : t->rank ? t->dim[0] : 1;
    const uint64_t dim = rows / n;
    if (rows % n || dim % 2 || !dim || t->rank > 2)
        return err_set(r->e, ERR_INPUT, "%s: tensor '%s' %s: %" PRIu64 " rows are no %" PRIu64
                       " heads of an even number of rows", r->m->path, t->name, tensor_shape(t, shape), rows, n);
    if (r->head_dim && r->head_dim != dim)
        return err_set(r->e, ERR_INPUT, "%s: tensor '%s' %s: %" PRIu64 " rows are not %" PRIu64 " heads of %" PRIu64,
                       r->m->path, t->name, tensor_shape(t, shape), rows, n, r->head_dim);
    switch (follows(r, t, i, rows, dim)) {
    case STAYS:
        return 0;
    case CANNOT:
        return err_set(r->e, ERR_INPUT,
                       "%s: tensor '%s' %s cannot follow the rows of its weight into the other order: heads have "
                       "%" PRIu64 " of %" PRIu64 " rows%s",
                       r->m->path, t->name, tensor_shape(t, shape), dim, rows,
                       part_of(r, i) == PART_SCALE ? ", and blocks do not hold whole heads" : "");
    default:
        break;
    }
    if (dim == 2)
        return 0;
    if (t->stride)
        return err_set(r->e, ERR_INPUT,
                       "%s: tensor '%s': its elements lie in another order already (octavo convert it to safetensors "
                       "first)", r->m->path, t->name);
    r->permuted += t->rank > 1 && (part_of(r, i) == PART_PLAIN || part_of(r, i) == PART_WEIGHT);
    return store(r, t, dim / 2);
}
