#include "formats/conventions/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------ */
static size_t ends_at(const char *name, const char *suffix) /* SIZE_MAX: it does not */
{
    size_t n = strlen(name), k = strlen(suffix);
    return n >= k && !memcmp(name + n - k, suffix, k) ? n - k : SIZE_MAX;
}

bool name_ends(const char *name, const char *suffix)
{
    return ends_at(name, suffix) != SIZE_MAX;
}

char *part_name(const char *name, const char *suffix, struct arena *mem, struct err *e)
{
    size_t n = strlen(name), k = strlen(suffix);
    if (*suffix == '.' && name_ends(name, ".weight"))
        n = ends_at(name, ".weight");
    char *s = mem ? arena_alloc(mem, n + k + 1, e) : mem_alloc(n + k + 1, 1, e);
    if (!s)
        return NULL;
    memcpy(s, name, n);
    memcpy(s + n, suffix, k + 1);
    return s;
}

int part_find(const struct model *m, const char *name, const char *suffix, size_t *index,
              struct err *e)
{
    char *s = part_name(name, suffix, NULL, e);
    if (!s)
        return -1;
    bool found = map_find(&m->by_name, s, index);
    free(s);
    return found;
}

int part_find_any(const struct model *m, const char *name, const char *const *suffix,
                  size_t *index, struct err *e)
{
    for (; *suffix; suffix++) {
        int r = part_find(m, name, *suffix, index, e);
        if (r)
            return r;
    }
    return 0;
}

/* ---- shapes ----------------------------------------------------------------- */
bool scale_is_value(enum dtype t)
{
    return t == DT_F32 || t == DT_BF16 || t == DT_F16;
}

bool scale_is_code(enum dtype t)
{
    return t == DT_F8_E8M0 || t == DT_U8;
}

/* The dims of the scale of a weight; returns the rank. */
static uint8_t scale_dims(const struct scheme *s, uint8_t rank, const uint64_t *dim,
                          uint64_t out[TENSOR_MAX_RANK])
{
    uint8_t n = 0;
    while (n + 2 < rank) {
        out[n] = dim[n];
        n++;
    }
    uint64_t rows, cols;
    scheme_scale_shape(s, dim[rank - 2], dim[rank - 1], &rows, &cols);
    if (!s->block_rows && !s->block_cols) {
        out[n++] = 1;
    } else {
        out[n++] = rows;
        out[n++] = cols;
    }
    return n;
}

bool group_fits(const struct model *m, const struct group *g)
{
    const struct tensor *w = &m->t[g->weight], *s = &m->t[g->scale];
    uint64_t want[TENSOR_MAX_RANK], elems = 1;
    uint8_t rank = scale_dims(g->scheme, w->rank, w->dim, want);
    for (int i = 0; i < rank; i++)
        elems *= want[i];
    /* One scale per matrix or per row has no shape to get wrong beyond its
     * count: [], [1], [1,1] and [N], [N,1] are all in use. */
    if (!g->scheme->block_cols && tensor_elems(s) == elems)
        return true;
    return s->rank == rank && !memcmp(s->dim, want, rank * sizeof *want);
}

static const char *block_text(uint32_t n, char text[16])
{
    snprintf(text, 16, n ? "%u" : "all", n);
    return text;
}

int group_check(const struct model *m, const struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[g->weight], *s = &m->t[g->scale];
    char ws[176], ss[176], need[176], r[16], c[16];
    if (!group_fits(m, g)) {
        struct tensor want = {.rank = 0};
        want.rank = scale_dims(g->scheme, w->rank, w->dim, want.dim);
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but '%s' %s with a scale per %s x %s "
                       "block needs %s", s->name, tensor_shape(s, ss), w->name,
                       tensor_shape(w, ws), block_text(g->scheme->block_rows, r),
                       block_text(g->scheme->block_cols, c), tensor_shape(&want, need));
    }
    bool code = scale_is_code(s->dtype) && g->scheme->scale == DT_F8_E8M0;
    if (!code && !scale_is_value(s->dtype))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, which is no dtype for the scale of '%s' "
                       "(%s)", s->name, dtype_name(s->dtype), w->name, g->scheme->name);
    return 0;
}

int group_no_scale(const struct model *m, size_t weight, const char *const *suffix, struct err *e)
{
    const struct tensor *w = &m->t[weight];
    char shape[176], list[256];
    size_t n = 0;
    for (; *suffix && n < sizeof list; suffix++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", *suffix);
    return err_set(e, ERR_INPUT, "tensor '%s' %s %s has no scale tensor (looked for its name with "
                   "%s)", w->name, dtype_name(w->dtype), tensor_shape(w, shape), list);
}

int part_outputs(const struct scheme *s, const char *name, uint8_t rank, const uint64_t *dim,
                 const char *suffix, enum dtype scale, struct arena *mem, struct out_tensor out[3],
                 size_t *n, struct err *e)
{
    if (rank < 2 || rank > TENSOR_MAX_RANK)
        return err_set(e, ERR_USAGE, "tensor '%s' has rank %u: only matrices are quantized",
                       name, rank);
    char *weight = arena_strdup(mem, name, e);
    char *scale_name = weight ? part_name(name, suffix, mem, e) : NULL;
    if (!scale_name)
        return -1;
    out[0] = (struct out_tensor){.name = weight, .dtype = s->elem, .rank = rank,
                                 .part = PART_WEIGHT};
    memcpy(out[0].dim, dim, rank * sizeof *dim);
    out[1] = (struct out_tensor){.name = scale_name, .dtype = scale, .part = PART_SCALE};
    out[1].rank = scale_dims(s, rank, dim, out[1].dim);
    *n = 2;
    return 0;
}

/* ---- modules that were kept --------------------------------------------------- */
struct span {
    const char *s;
    size_t n;
};

static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    int r = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return r ? r : (x->n > y->n) - (x->n < y->n);
}

static bool module_of(const struct out_tensor *t, struct span *out)
{
    if (t->part != PART_PLAIN || t->rank < 2 || !dtype_table[t->dtype].is_float)
        return false;
    out->s = t->name;
    out->n = ends_at(t->name, ".weight");
    if (out->n != SIZE_MAX)
        return true;
    const char *last = strrchr(t->name, '.');
    if (t->rank < 3 || !last || last - t->name < 8 || memcmp(last - 8, ".experts", 8))
        return false;
    out->n = (size_t)(last - t->name);
    return true;
}

json_t *modules_kept(const struct out_tensor *t, size_t n, struct err *e)
{
    json_t *list = json_array();
    struct span *span = mem_alloc(n, sizeof *span, e);
    size_t k = 0;
    for (size_t i = 0; span && i < n; i++)
        k += module_of(&t[i], &span[k]);
    if (span)
        qsort(span, k, sizeof *span, compare_spans);
    bool ok = list && span;
    for (size_t i = 0; ok && i < k; i++)
        if (!i || compare_spans(&span[i - 1], &span[i]))
            ok = !json_array_append_new(list, json_stringn(span[i].s, span[i].n));
    free(span);
    if (ok)
        return list;
    json_decref(list);
    (void)err_set(e, ERR_SYSTEM, "out of memory for the list of modules that stay unquantized");
    return NULL;
}
