#include "formats/conventions/parts.h"
#include "formats/json.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------ */
static size_t ends_at(const char *name, const char *suffix) /* SIZE_MAX: it does not */
{
    size_t n = strlen(name), k = strlen(suffix);
    return n >= k && !memcmp(name + n - k, suffix, k) ? n - k : SIZE_MAX;
}

/* How much of a name stays before that suffix. */
static size_t stem_length(const char *name, const char *suffix)
{
    const size_t n = *suffix == '.' ? ends_at(name, ".weight") : SIZE_MAX;
    return n == SIZE_MAX ? strlen(name) : n;
}

char *part_name(const char *name, const char *suffix, struct arena *mem, struct err *e)
{
    size_t n = stem_length(name, suffix), k = strlen(suffix);
    char *s = mem ? arena_alloc(mem, n + k + 1, e) : mem_alloc(n + k + 1, 1, e);
    if (!s)
        return NULL;
    memcpy(s, name, n);
    memcpy(s + n, suffix, k + 1);
    return s;
}

/* Python's classes and groups in POSIX words; what is lazy matches the same names. */
static bool translate(const char *from, struct buf *to)
{
    static const char *const word[][2] = {{"\\d", "[0-9]"}, {"\\w", "[A-Za-z0-9_]"}, {"\\s", "[[:space:]]"},
                                          {"(?:", "("}, {"*?", "*"}, {"+?", "+"}, {"??", "?"}};
    struct err ignored;
    bool bad = buf_puts(to, "^(", &ignored);
    while (*from && !bad) {
        size_t k = 0, n = sizeof word / sizeof *word;
        while (k < n && strncmp(from, word[k][0], strlen(word[k][0])))
            k++;
        if (k < n) {
            bad = buf_puts(to, word[k][1], &ignored);
            from += strlen(word[k][0]);
        } else {
            size_t some = *from == '\\' && from[1] ? 2 : 1;
            bad = !strncmp(from, "(?", 2) || buf_put(to, from, some, &ignored);
            from += some;
        }
    }
    return !bad && !buf_puts(to, ")", &ignored);
}

bool python_match(const char *pattern, const char *name)
{
    struct buf text = {0};
    regex_t re;
    size_t n = ends_at(name, ".weight");
    char *module = strndup(name, n == SIZE_MAX ? strlen(name) : n);
    bool found = false;
    if (module && translate(pattern, &text) && !regcomp(&re, text.s, REG_EXTENDED | REG_NOSUB)) {
        found = !regexec(&re, module, 0, NULL, 0);
        regfree(&re);
    }
    free(module);
    buf_free(&text);
    return found;
}

int part_find(const struct model *m, const char *name, const char *suffix, size_t *index,
              struct err *e)
{
    char usual[512]; /* no allocation for each of 100,000 tensors */
    const size_t n = stem_length(name, suffix), k = strlen(suffix);
    char *s = n + k < sizeof usual ? usual : part_name(name, suffix, NULL, e);
    if (!s)
        return -1;
    if (s == usual) {
        memcpy(s, name, n);
        memcpy(s + n, suffix, k + 1);
    }
    bool found = map_find(&m->by_name, s, index);
    if (s != usual)
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
    const struct tensor *s = &m->t[g->of[PART_SCALE]];
    uint64_t want[TENSOR_MAX_RANK], elems = 1;
    uint8_t rank = scale_dims(g->scheme, g->view.rank, g->view.dim, want);
    for (int i = 0; i < rank; i++)
        elems *= want[i];
    /* One scale per matrix or per row has no shape to get wrong beyond its
     * count: [], [1], [1,1] and [N], [N,1] are all in use. */
    if (!g->scheme->block_cols && tensor_elems(s) == elems)
        return true;
    if (s->rank == rank + 2 && s->dim[rank - 1] == 1 && s->dim[rank + 1] == 1) /* [.., R, 1, C, 1]: ModelOpt's blocks */
        return !memcmp(s->dim, want, (rank - 1u) * sizeof *want) && s->dim[rank] == want[rank - 1];
    return s->rank == rank && !memcmp(s->dim, want, rank * sizeof *want);
}

static const char *block_text(uint32_t n, char text[16])
{
    snprintf(text, 16, n ? "%u" : "all", n);
    return text;
}

/* Can a tensor of type t hold the scales of scheme s? */
static bool scale_dtype_fits(enum dtype t, const struct scheme *s)
{
    if (s->scale == DT_F8_E4M3)
        return t == DT_F8_E4M3 || t == DT_U8;
    return scale_is_value(t) || (scale_is_code(t) && s->scale == DT_F8_E8M0);
}

static int check_part(const struct model *m, const struct group *g, enum part p, uint64_t elems, const char *what,
                      struct err *e)
{
    char shape[176];
    const struct tensor *t = &m->t[g->of[p]];
    if (tensor_elems(t) == elems)
        return 0;
    return err_set(e, ERR_INPUT, "tensor '%s' is %s, but '%s' needs %llu %s", t->name, tensor_shape(t, shape), g->name,
                   (unsigned long long)elems, what);
}

/* Zero points: one for each scale, or codes packed along the rows in I32 words. */
static int check_points(const struct model *m, const struct group *g, struct err *e)
{
    const struct tensor *t = &m->t[g->of[PART_POINT]];
    const struct matrix x = view_matrix(&g->view);
    const unsigned bits = g->scheme->bits;
    uint64_t rows, cols;
    scheme_scale_shape(g->scheme, x.rows, x.cols, &rows, &cols);
    const bool words = t->dtype == DT_I32 && (g->view.packing == PACK_WORDS || g->view.packing == PACK_SLOTS);
    if (!words && t->dtype != DT_I8 && t->dtype != DT_U8 && t->dtype != DT_F32)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, which is no dtype for the zero points of '%s'", t->name,
                       dtype_name(t->dtype), g->name);
    if (!words)
        return check_part(m, g, PART_POINT, x.batch * rows * cols, "zero points", e);
    if (x.batch != 1)
        return err_set(e, ERR_INPUT, "tensor '%s' is packed, and '%s' is a stack of %llu matrices", t->name,
                       g->name, (unsigned long long)x.batch);
    rows = g->view.packing == PACK_SLOTS ? ceil_div(rows, 32 / bits) : ceil_div(rows * bits, 32);
    return check_part(m, g, PART_POINT, x.batch * rows * cols, "words of zero points", e);
}

int group_check(const struct model *m, const struct group *g, struct err *e)
{
    char ws[176], ss[176], need[176], r[16], c[16];
    struct matrix x = view_matrix(&g->view);
    if (g->of[PART_GLOBAL] != NO_TENSOR && check_part(m, g, PART_GLOBAL, x.batch, "second-level scales", e))
        return -1;
    if (g->of[PART_ORDER] != NO_TENSOR && check_part(m, g, PART_ORDER, x.cols, "block numbers", e))
        return -1;
    if (g->of[PART_POINT] != NO_TENSOR && check_points(m, g, e))
        return -1;
    if (g->of[PART_SCALE] == NO_TENSOR)
        return 0;
    const struct tensor *s = &m->t[g->of[PART_SCALE]];
    if (!group_fits(m, g)) {
        struct tensor want = {.rank = 0};
        want.rank = scale_dims(g->scheme, g->view.rank, g->view.dim, want.dim);
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but '%s' %s with a scale per %s x %s "
                       "block needs %s", s->name, tensor_shape(s, ss), g->name,
                       view_shape(&g->view, ws), block_text(g->scheme->block_rows, r),
                       block_text(g->scheme->block_cols, c), tensor_shape(&want, need));
    }
    const bool hidden =
        g->global_divides && !g->scheme->two_level && s->dtype == DT_I64; /* the bits of an F32 (ascend-v1) */
    if (!hidden && !scale_dtype_fits(s->dtype, g->scheme))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, which is no dtype for the scale of '%s' "
                       "(%s)", s->name, dtype_name(s->dtype), g->name, g->scheme->name);
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

int group_find(const struct model *m, struct group *g, enum part part, const char *suffix, struct err *e)
{
    size_t i;
    int r = part_find(m, g->name, suffix, &i, e);
    if (r > 0)
        g->of[part] = i;
    return r;
}

int group_find_any(const struct model *m, struct group *g, enum part part, const char *const *suffix, struct err *e)
{
    int r = 0;
    for (; *suffix && !r; suffix++)
        r = group_find(m, g, part, *suffix, e);
    return r;
}

int group_aux(const struct model *m, struct group *g, const char *const *suffix, struct err *e)
{
    for (; *suffix; suffix++) {
        size_t i;
        int r = part_find(m, g->name, *suffix, &i, e);
        if (r < 0)
            return -1;
        if (r && g->naux == GROUP_AUX)
            return err_set(e, ERR_INPUT, "tensor '%s' has more than %d tensors beside it", g->name, GROUP_AUX);
        if (r)
            g->aux[g->naux++] = i;
    }
    return 0;
}

int group_packed(const struct model *m, struct group *g, enum dtype elem, enum packing p, uint8_t bits, uint64_t cols,
                 struct err *e)
{
    const struct tensor *t = &m->t[g->of[PART_WEIGHT]];
    char shape[176];
    g->view = (struct view){.elem = elem, .packing = p, .bits = bits, .rank = t->rank};
    memcpy(g->view.dim, t->dim, sizeof t->dim);
    uint64_t *last = &g->view.dim[t->rank - 1];
    if (p == PACK_BYTES || p == PACK_HIGH) {
        if (!mul_u64(*last, 2, last))
            return err_set(e, ERR_INPUT, "tensor '%s' %s: its size overflows", t->name, tensor_shape(t, shape));
        return 0;
    }
    *last = cols;
    if (view_row_bytes(&g->view, cols) == t->dim[t->rank - 1] * 4)
        return 0;
    return err_set(e, ERR_INPUT, "tensor '%s' is %s, which does not hold rows of %llu codes of %u bits", t->name,
                   tensor_shape(t, shape), (unsigned long long)cols, bits);
}

/* ---- writing ------------------------------------------------------------------- */
static struct out_tensor *put(struct outputs *o, enum part part, const char *suffix, enum dtype dtype)
{
    const struct weight *w = o->w;
    if (w->rank < 2 || w->rank > TENSOR_MAX_RANK || *o->n == OUT_PARTS) {
        (void)err_set(o->e, ERR_USAGE, "tensor '%s' has rank %u: only matrices are quantized", w->name, w->rank);
        return NULL;
    }
    struct out_tensor *t = &o->out[*o->n];
    *t = (struct out_tensor){.dtype = dtype, .part = part, .scheme = w->scheme, .activation = w->activation};
    t->weight = arena_strdup(o->mem, w->name, o->e);
    t->name = t->weight && suffix ? part_name(w->name, suffix, o->mem, o->e) : t->weight;
    if (!t->name)
        return NULL;
    ++*o->n;
    return t;
}

int put_weight(struct outputs *o, const char *suffix, enum packing p, enum dtype dtype)
{
    const struct weight *w = o->w;
    struct out_tensor *t = put(o, PART_WEIGHT, suffix, dtype);
    if (!t)
        return -1;
    t->rank = w->rank;
    memcpy(t->dim, w->dim, w->rank * sizeof *w->dim);
    t->view = (struct view){.elem = w->scheme->elem, .packing = p, .bits = w->scheme->bits, .rank = w->rank};
    memcpy(t->view.dim, w->dim, w->rank * sizeof *w->dim);
    uint64_t *last = &t->dim[t->rank - 1];
    if (p == PACK_WORDS)
        *last = view_row_bytes(&t->view, *last) / 4;
    const bool bytes = p == PACK_BYTES || p == PACK_HIGH;
    if (bytes && *last % 2)
        return err_set(o->e, ERR_INPUT, "tensor '%s' has %llu columns, an odd number, and two codes go into a byte",
                       w->name, (unsigned long long)*last);
    if (bytes)
        *last /= 2;
    uint64_t *rows = &t->dim[t->rank - 2];
    if (p == PACK_ROWS && *rows % 2)
        return err_set(o->e, ERR_INPUT, "tensor '%s' has %llu rows, an odd number, and codes of two rows go into a byte",
                       w->name, (unsigned long long)*rows);
    if (p == PACK_ROWS)
        *rows /= 2;
    return 0;
}

int put_scale(struct outputs *o, const char *suffix, enum dtype dtype)
{
    struct out_tensor *t = put(o, PART_SCALE, suffix, dtype);
    if (!t)
        return -1;
    t->rank = scale_dims(o->w->scheme, o->w->rank, o->w->dim, t->dim);
    return 0;
}

int put_row_scale(struct outputs *o, const char *suffix)
{
    if (put_scale(o, suffix, DT_F32))
        return -1;
    struct out_tensor *t = &o->out[*o->n - 1];
    t->rank--; /* the one column */
    return 0;
}

int put_global(struct outputs *o, const char *suffix, bool divides)
{
    struct out_tensor *t = put(o, PART_GLOBAL, suffix, DT_F32);
    if (!t)
        return -1;
    t->divides = divides;
    t->rank = o->w->rank > 2 ? o->w->rank - 2 : 1;
    t->dim[0] = 1;
    if (o->w->rank > 2)
        memcpy(t->dim, o->w->dim, t->rank * sizeof *t->dim);
    return 0;
}

int put_part(struct outputs *o, enum part part, const char *suffix, enum dtype dtype, uint8_t rank, const uint64_t *dim)
{
    struct out_tensor *t = put(o, part, suffix, dtype);
    if (!t)
        return -1;
    t->rank = rank;
    if (rank)
        memcpy(t->dim, dim, rank * sizeof *dim);
    return 0;
}

enum dtype plain_dtype(const struct scheme *s) { return s->elem == DT_HIF8 ? DT_U8 : s->elem; }

int one_scheme(const struct out_tensor *t, size_t n, const char *convention, const struct scheme **s, struct err *e)
{
    const struct out_tensor *first = NULL;
    *s = NULL;
    for (size_t i = 0; i < n; i++) {
        if (t[i].part != PART_WEIGHT)
            continue;
        if (first && first->scheme != t[i].scheme)
            return err_set(e, ERR_USAGE, "%s declares one scheme for the whole model, and '%s' is to be %s, '%s' %s",
                           convention, first->name, first->scheme->name, t[i].name, t[i].scheme->name);
        first = &t[i];
        *s = t[i].scheme;
    }
    return 0;
}

int kinds_of(const struct out_tensor *t, size_t n, struct kind kind[KINDS], size_t *kinds, size_t *most, struct err *e)
{
    *kinds = *most = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        if (t[i].part != PART_WEIGHT)
            continue;
        while (k < *kinds && (kind[k].s != t[i].scheme || kind[k].a != t[i].activation))
            k++;
        if (k == KINDS)
            return err_set(e, ERR_USAGE, "more than %d schemes in one model", KINDS);
        if (k == *kinds)
            kind[(*kinds)++] = (struct kind){t[i].scheme, t[i].activation, 0};
        kind[k].n++;
    }
    for (size_t k = 0; k < *kinds; k++)
        *most = kind[k].n > kind[*most].n ? k : *most;
    return 0;
}

json_t *module_string(const char *weight)
{
    size_t n = ends_at(weight, ".weight");
    return json_stringn(weight, n == SIZE_MAX ? strlen(weight) : n);
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

static int compare_names(const void *a, const void *b)
{
    const struct out_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

int describe_each(const struct out_tensor *t, size_t n, const char *(*word)(const struct out_tensor *t),
                  const char *first, struct buf *text, struct err *e)
{
    const struct out_tensor **sorted = mem_alloc(n, sizeof *sorted, e);
    size_t k = 0;
    int r = 0;
    if (!sorted)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (word(&t[i]))
            sorted[k++] = &t[i];
    qsort(sorted, k, sizeof *sorted, compare_names);
    for (size_t i = 0; !r && i < k; i++)
        if (buf_printf(text, e, "%s\n  ", i ? "," : first) || json_put_string(text, sorted[i]->name, e)
            || buf_printf(text, e, ": \"%s\"", word(sorted[i])))
            r = -1;
    free(sorted);
    return r;
}
