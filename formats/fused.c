#include "formats/fused.h"

#include "formats/derived.h"
#include "formats/packed.h"

#include <stdlib.h>
#include <string.h>

/* Modules whose outputs meet element by element, and what servers call both. */
static const struct {
    const char *of[2], *both;
} pairs[] = {{{"gate_proj", "up_proj"}, "gate_up_proj"}, {{"w1", "w3"}, "w13"}};

/* The last word between dots that is a module of a pair; NULL: there is none. */
static const char *module_in(const char *name, size_t *pair, int *member)
{
    const char *found = NULL;
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.'))
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
            for (int k = 0; k < 2; k++) {
                const size_t n = strlen(pairs[i].of[k]);
                if (strncmp(dot + 1, pairs[i].of[k], n) || dot[1 + n] != '.')
                    continue;
                found = dot + 1;
                *pair = i;
                *member = k;
            }
    return found;
}

/* ---- two become one ------------------------------------------------------------ */
struct joined {
    struct derived d;
    struct tensor of[2];
    uint64_t rows;
};

static int joined_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out, struct err *e)
{
    const struct joined *j = (const struct joined *)d;
    while (n) {
        const uint64_t chunk = row / j->rows, in = row % j->rows;
        const size_t k = (size_t)min_u64(n, j->rows - in);
        if (model_read_piece(m, &j->of[chunk % 2], (chunk / 2 * j->rows + in) * d->row_bytes, out, k * d->row_bytes, e))
            return -1;
        row += k;
        n -= k;
        out += k * d->row_bytes;
    }
    return 0;
}

static int check_pair(const struct model *m, const struct tensor *a, const struct tensor *b, uint64_t rows, struct err *e)
{
    char x[176], y[176];
    if (a->dtype != b->dtype || a->rank != 2 || b->rank != 2 || a->dim[0] != b->dim[0] || a->dim[1] != b->dim[1])
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s %s and '%s' %s %s: their rows cannot alternate", m->path, a->name,
                       dtype_name(a->dtype), tensor_shape(a, x), b->name, dtype_name(b->dtype), tensor_shape(b, y));
    if (a->dim[0] % rows || !a->size)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' has %llu rows, and they shall alternate with those of '%s' by %llu",
                       m->path, a->name, (unsigned long long)a->dim[0], b->name, (unsigned long long)rows);
    for (const struct tensor *t = a; t; t = t == a ? b : NULL)
        if (!tensor_is_flat(t) || t->derived || t->slice || !m->random)
            return err_set(e, ERR_INPUT, "%s: tensor '%s' %s, so its rows cannot alternate with others", m->path, t->name,
                           !m->random ? "comes from a pipe (--spool)" : t->slice ? "is cut (--ep deals whole experts)"
                           : m->container == CONTAINER_PACKED ? "is packed already (octavo unpack first)"
                           : "does not lie row by row");
    return 0;
}

/* How many rows of which tensors. */
struct fusing {
    uint64_t (*rows)(const void *ctx, const char *name);
    const void *ctx;
};

/* The tensor of both in the place of tensor i, unless that is the second of a pair that was made already. */
static int join_at(struct model *m, size_t i, const struct fusing *w, struct tensor *out, size_t *mate, struct err *e)
{
    size_t pair = 0, at[2];
    int member = 0;
    const char *const name = m->t[i].name, *word = module_in(name, &pair, &member);
    const uint64_t rows = word ? w->rows(w->ctx, name) : 0;
    if (!rows)
        return 0;
    const char *tail = word + strlen(pairs[pair].of[member]);
    const char *other = arena_printf(&m->mem, e, "%.*s%s%s", (int)(word - name), name, pairs[pair].of[!member], tail);
    if (!other)
        return -1;
    if (!map_find(&m->by_name, other, mate) || w->rows(w->ctx, other) != rows)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' shall lie together with '%s', which is missing or left out", m->path, name,
                       other);
    at[member] = i;
    at[!member] = *mate;
    if (*mate < i)
        return 0;
    const struct tensor *a = &m->t[at[0]], *b = &m->t[at[1]];
    if (check_pair(m, a, b, rows, e))
        return -1;
    struct joined *j = arena_alloc(&m->mem, sizeof *j, e);
    struct fused *f = arena_alloc(&m->mem, sizeof *f, e);
    *out = (struct tensor){.name = arena_printf(&m->mem, e, "%.*s%s%s", (int)(word - name), name, pairs[pair].both, tail),
                           .dtype = a->dtype, .rank = 2, .dim = {2 * a->dim[0], a->dim[1]}, .file = a->file, .off = m->t[i].off,
                           .size = 2 * a->size, .fused = f};
    if (!j || !f || !out->name)
        return -1;
    *j = (struct joined){{a->size / a->dim[0], joined_rows, false}, {*a, *b}, rows};
    *f = (struct fused){{a->name, b->name}, rows};
    out->derived = &j->d;
    return 1;
}

/* Where each of the n tensors of before is now, when gone ones are in what was added where the earlier of both was. */
static void place(const size_t *partner, size_t n, size_t *was)
{
    size_t now = 0;
    for (size_t i = 0; i < n; i++)
        was[i] = partner[i] < i ? was[partner[i]] : now++;
}

int fused_make(struct model *m, uint64_t (*rows)(const void *ctx, const char *name), const void *ctx, const size_t **was,
               struct err *e)
{
    const size_t before = m->n;
    const struct fusing w = {rows, ctx};
    bool *gone = mem_alloc(before, sizeof *gone, e);
    size_t *at = mem_alloc(before, sizeof *at, e), *partner = mem_alloc(before, sizeof *partner, e), n = 0;
    struct tensor *add = mem_alloc(before, sizeof *add, e);
    int r = gone && at && partner && add ? 0 : -1;
    *was = NULL;
    for (size_t i = 0; !r && i < before; i++)
        partner[i] = i;
    for (size_t i = 0; !r && i < before; i++) {
        size_t mate = i;
        const int made = join_at(m, i, &w, &add[n], &mate, e);
        r = made < 0 ? -1 : 0;
        if (made <= 0)
            continue;
        at[n++] = i;
        gone[i] = gone[mate] = true;
        partner[i] = mate;
        partner[mate] = i;
    }
    size_t *now = !r && n ? arena_array(&m->mem, before, sizeof *now, e) : NULL;
    if (now)
        place(partner, before, now);
    if (!r && n)
        r = now ? derived_replace(m, gone, add, at, n, e) : -1;
    *was = r ? NULL : now;
    free(gone);
    free(at);
    free(partner);
    free(add);
    return r;
}

/* ---- one becomes two ------------------------------------------------------------ */
struct half {
    struct derived d;
    struct tensor both;
    uint64_t rows;
    uint64_t member;
};

static uint64_t bytes_of_row(const struct tensor *t)
{
    uint64_t n = 0;
    (void)dtype_size(t->dtype, t->dim[1], &n); /* the whole of it was found to have a size */
    return n;
}

/* Both as row-major bytes; free(). */
static uint8_t *undo_layout(struct model *m, const struct tensor *t, struct err *e)
{
    const struct stored *s = t->stored;
    uint8_t *packed = mem_alloc(t->size, 1, e), *plain = NULL;
    const size_t row = (size_t)bytes_of_row(t);
    if (packed && !model_read_piece(m, t, 0, packed, t->size, e) && (plain = mem_alloc(t->dim[0], row, e)))
        layout_unpack(&s->layout, dtype_table[s->dtype].block_bytes * 8u / dtype_table[s->dtype].block_elems, s->rows, s->cols, packed,
                      plain, row);
    free(packed);
    return plain;
}

static int half_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out, struct err *e)
{
    const struct half *h = (const struct half *)d;
    uint8_t *plain = NULL;
    if (h->both.stored && !(plain = undo_layout(m, &h->both, e)))
        return -1;
    int r = 0;
    while (!r && n) {
        const uint64_t from = (row / h->rows * 2 + h->member) * h->rows + row % h->rows;
        const size_t k = (size_t)min_u64(n, h->rows - row % h->rows);
        if (plain)
            memcpy(out, plain + from * d->row_bytes, k * d->row_bytes);
        else
            r = model_read_piece(m, &h->both, from * d->row_bytes, out, k * d->row_bytes, e);
        row += k;
        n -= k;
        out += k * d->row_bytes;
    }
    free(plain);
    return r;
}

static int split_one(struct model *m, const struct tensor *t, struct tensor out[2], struct err *e)
{
    const struct stored *s = t->stored;
    if (!m->random)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' has rows of two in turns, which cannot be told apart as a pipe delivers "
                       "them (--spool)", m->path, t->name);
    if (s && (s->dtype != t->dtype || s->batch != 1 || s->repeat[0] != 1 || s->repeat[1] != 1 || s->shift || s->flip || s->high))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' has rows of two in turns and was changed beside, which this program does "
                       "not undo", m->path, t->name);
    for (int k = 0; k < 2; k++) {
        struct half *h = arena_alloc(&m->mem, sizeof *h, e);
        if (!h)
            return -1;
        *h = (struct half){{bytes_of_row(t), half_rows, true}, *t, t->fused->rows, (uint64_t)k};
        out[k] = *t;
        out[k].name = t->fused->of[k];
        out[k].dim[0] /= 2;
        out[k].size = h->d.row_bytes * out[k].dim[0];
        out[k].stored = NULL;
        out[k].fused = NULL;
        out[k].derived = &h->d;
    }
    return 0;
}

int fused_split(struct model *m, struct err *e)
{
    size_t n = 0, k = 0;
    for (size_t i = 0; i < m->n; i++)
        n += m->t[i].fused != NULL;
    if (!n)
        return 0;
    struct tensor *t = mem_alloc(m->n + n, sizeof *t, e), *all = t ? arena_array(&m->mem, m->ncomputed + n, sizeof *all, e) : NULL;
    int r = all ? 0 : -1;
    n = 0;
    for (size_t i = 0, c = 0; !r && (i < m->n || c < m->ncomputed);) {
        if (c < m->ncomputed && (i == m->n || m->computed[c].off < m->t[i].off)) {
            all[n++] = m->computed[c++];
            continue;
        }
        const struct tensor *x = &m->t[i++];
        if (!x->fused) {
            t[k++] = *x;
            continue;
        }
        all[n++] = *x;
        r = split_one(m, x, t + k, e);
        k += 2;
    }
    if (r) {
        free(t);
        return -1;
    }
    free(m->t);
    m->t = t;
    m->n = k;
    m->computed = all;
    m->ncomputed = n;
    return 0;
}
