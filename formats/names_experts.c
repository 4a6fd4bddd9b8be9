/* Experts: a tensor for each of them in Hugging Face's files, a stack [E, out, in] in a GGUF. */
#include "formats/names_parts.h"

#include "formats/derived.h"

#include <stdlib.h>
#include <string.h>

int names_split(struct renaming *r, size_t i, const char *hf, const struct name_match *hit)
{
    const struct tensor *stack = &r->m->t[i];
    char shape[256];
    if (stack->rank != 3 || part_of(r, i) != PART_PLAIN || stack->stored || stack->derived || !stack->dim[0])
        return err_set(r->e, ERR_INPUT, "%s: tensor '%s' %s is no stack of experts that can be taken apart", r->m->path,
                       stack->name, tensor_shape(stack, shape));
    const uint64_t n = stack->dim[0];
    for (uint64_t k = 0; k < n; k++) {
        struct tensor t = *stack;
        t.rank = 2;
        memmove(t.dim, t.dim + 1, 2 * sizeof *t.dim);
        t.size = stack->size / n; /* rows are whole blocks, so matrices are */
        t.off += t.stride ? k * t.stride[0] * dtype_table[t.dtype].block_bytes : k * t.size;
        t.stride = t.stride ? t.stride + 1 : NULL;
        t.name = names_build(r, hf, hit, (size_t)k);
        if (!t.name || names_put(r, &t))
            return -1;
    }
    r->split++;
    return 0;
}

/* ---- stacks -------------------------------------------------------------------------------- */
struct stacked {
    struct derived d;
    uint64_t rows;                  /* of an expert */
    const struct tensor *piece;
};

static int stacked_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out, struct err *e)
{
    const struct stacked *s = (const struct stacked *)d;
    while (n) {
        const uint64_t in = row % s->rows;
        const size_t k = (size_t)min_u64(n, s->rows - in);
        if (model_read_piece(m, &s->piece[row / s->rows], in * d->row_bytes, out, k * d->row_bytes, e))
            return -1;
        row += k;
        n -= k;
        out += k * d->row_bytes;
    }
    return 0;
}

int names_collect(struct renaming *r, size_t i, const char *name, const struct name_match *hit)
{
    const struct tensor *t = &r->m->t[i];
    size_t s, expert = strtoul(hit->expert, NULL, 10); /* at most 6 digits */
    if (part_of(r, i) != PART_PLAIN)
        return err_set(r->e, ERR_INPUT,
                       "%s: tensor '%s': experts that are quantized are not put into one tensor (octavo dequantize into "
                       "safetensors first)", r->m->path, t->name);
    if (!r->m->random)
        return err_set(r->e, ERR_INPUT,
                       "%s: tensor '%s': experts cannot be put into one tensor as a pipe delivers them (--spool)",
                       r->m->path, t->name);
    if (!tensor_is_flat(t) || t->derived || t->rank != 2)
        return err_set(r->e, ERR_INPUT, "%s: tensor '%s' does not lie row by row, so it cannot become part of '%s'",
                       r->m->path, t->name, name);
    if (!map_find(&r->stack_of, name, &s)) {
        s = r->nstacks;
        if (mem_grow((void **)&r->stack, &r->stack_cap, s + 1, sizeof *r->stack, r->e)
            || map_add(&r->stack_of, name, s, r->e) < 0)
            return -1;
        r->stack[r->nstacks++] = (struct stack){.at = r->n};
        struct tensor first = *t;
        first.name = name;
        if (names_put(r, &first))
            return -1;
    }
    struct stack *x = &r->stack[s];
    if (mem_grow((void **)&x->piece, &x->cap, expert + 1, sizeof *x->piece, r->e))
        return -1;
    while (x->n <= expert)
        x->piece[x->n++] = NO_TENSOR;
    if (x->piece[expert] != NO_TENSOR)
        return err_set(r->e, ERR_INPUT, "%s: expert %zu of '%s' is there twice", r->m->path, expert, name);
    x->piece[expert] = i;
    r->moved[i] = x->at;
    return 0;
}

static int finish(struct renaming *r, const struct stack *x)
{
    struct tensor *t = &r->t[x->at];
    char shape[256], other[256];
    struct stacked *s = arena_alloc(&r->m->mem, sizeof *s, r->e);
    struct tensor *piece = arena_array(&r->m->mem, x->n, sizeof *piece, r->e);
    if (!s || !piece)
        return -1;
    for (size_t k = 0; k < x->n; k++) {
        if (x->piece[k] == NO_TENSOR)
            return err_set(r->e, ERR_INPUT, "%s: expert %zu of the %zu of '%s' is missing", r->m->path, k, x->n, t->name);
        piece[k] = r->m->t[x->piece[k]];
        if (piece[k].dtype != t->dtype || memcmp(piece[k].dim, t->dim, 2 * sizeof *t->dim))
            return err_set(r->e, ERR_INPUT, "%s: tensor '%s' is %s %s, and another expert of '%s' %s %s", r->m->path,
                           piece[k].name, dtype_name(piece[k].dtype), tensor_shape(&piece[k], shape), t->name,
                           dtype_name(t->dtype), tensor_shape(t, other));
    }
    *s = (struct stacked){{t->dim[0] ? t->size / t->dim[0] : 0, stacked_rows, false}, t->dim[0], piece};
    if (!t->size || !mul_u64(t->size, x->n, &t->size))
        return err_set(r->e, ERR_INPUT, "%s: experts of '%s' have no elements, or too many", r->m->path, t->name);
    t->rank = 3;
    memmove(t->dim + 1, t->dim, 2 * sizeof *t->dim);
    t->dim[0] = x->n;
    t->derived = &s->d;
    return 0;
}

int names_stack(struct renaming *r)
{
    for (size_t i = 0; i < r->nstacks; i++)
        if (finish(r, &r->stack[i]))
            return -1;
    r->stacked = r->nstacks;
    return 0;
}
