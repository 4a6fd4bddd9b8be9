#include "calibrate/imatrix.h"

#include "formats/io.h"
#include "formats/jscan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MOST = 512 };

/* The values of one weight: of one matrix, or of a stack of experts one after the other. */
struct entry {
    const char *name;                /* without ".weight" */
    uint64_t values, experts;        /* 1: no stack */
    uint64_t off;                    /* .dat: of the values */
    float chunks;                    /* .dat */
    size_t sums, counts;             /* GGUF: tensors */
};
struct source_file {
    const char *path;
    int fd;                          /* .dat */
    struct model m;                  /* GGUF */
    bool gguf;
    struct entry *e;
    size_t n, cap;
    struct map by_name;
    struct arena mem;
};

static int add(struct source_file *f, struct entry x, const char *name, size_t n, struct err *e)
{
    if (n > 7 && !strncmp(name + n - 7, ".weight", 7))
        n -= 7;
    if (!n || utf8_check(name, n) != n)
        return err_set(e, ERR_INPUT, "%s: '%.*s' is no name of a weight: it is empty, or not UTF-8 text", f->path, (int)n, name);
    x.name = arena_strndup(&f->mem, name, n, e);
    if (!x.name || mem_grow((void **)&f->e, &f->cap, f->n + 1, sizeof *f->e, e))
        return -1;
    const int there = map_add(&f->by_name, x.name, f->n, e);
    if (there > 0)
        return err_set(e, ERR_INPUT, "%s: '%s' is there twice", f->path, x.name);
    f->e[f->n++] = x;
    return there;
}

/* ---- the older form -------------------------------------------------------------------------- */
struct cursor {
    const struct source_file *f;
    uint64_t at, size;
};

static int take(struct cursor *c, void *p, uint64_t n, const char *what, struct err *e)
{
    if (n > c->size - c->at)
        return err_set(e, ERR_INPUT, "%s: is cut at byte %" PRIu64 ", in %s of an entry", c->f->path, c->at, what);
    if (p && io_pread(c->f->fd, c->f->path, c->at, p, n, e))
        return -1;
    c->at += n;
    return 0;
}

static int read_entry(struct source_file *f, struct cursor *c, int32_t index, struct err *e)
{
    char name[NAME_MOST];
    int32_t length, number[2];
    if (take(c, &length, 4, "the name", e))
        return -1;
    if (length <= 0 || length >= NAME_MOST)
        return err_set(e, ERR_INPUT, "%s: the name of entry %d has %d bytes; this is no importance matrix", f->path, index, length);
    if (take(c, name, (uint64_t)length, "the name", e) || take(c, number, 8, "the counts", e))
        return -1;
    name[length] = 0;
    if (strlen(name) != (size_t)length || number[0] < 0 || number[1] <= 0)
        return err_set(e, ERR_INPUT, "%s: entry %d ('%s') has %d values of %d chunks; this is no importance matrix", f->path, index, name, number[1],
                       number[0]);
    const struct entry x = {.values = (uint64_t)number[1], .experts = 1, .off = c->at, .chunks = (float)number[0]};
    return take(c, NULL, 4 * x.values, "the values", e) || add(f, x, name, (size_t)length, e) ? -1 : 0;
}

static bool width_of(const struct source_file *f, const char *name, size_t stem, const char *other, uint64_t *width)
{
    char full[NAME_MOST + 32];
    size_t i;
    snprintf(full, sizeof full, "%.*s%s", (int)stem, name, other);
    if (!map_find(&f->by_name, full, &i))
        return false;
    *width = f->e[i].values;
    return true;
}

/* How many experts a stack has is not written down: gate and up projections see what the router sees. */
static int count_experts(struct source_file *f, struct entry *x, struct err *e)
{
    const char *last = strrchr(x->name, '.');
    uint64_t stack, router;
    if (!last || !ends_with(x->name, "_exps"))
        return 0;
    const size_t stem = (size_t)(last - x->name) + 1;
    if (!width_of(f, x->name, stem, "ffn_gate_exps", &stack) && !width_of(f, x->name, stem, "ffn_up_exps", &stack))
        stack = 0;
    if (!stack || !width_of(f, x->name, stem, "ffn_gate_inp", &router) || stack % router || x->values % (stack / router))
        return err_set(e, ERR_INPUT, "%s: '%s' is a stack of experts, and how many is not told by entries of the gate projection and the router",
                       f->path, x->name);
    x->experts = stack / router;
    return 0;
}

static int read_dat(struct source_file *f, uint64_t size, struct err *e)
{
    struct cursor c = {f, 0, size};
    int32_t n;
    if (take(&c, &n, 4, "the number", e))
        return -1;
    if (n <= 0)
        return err_set(e, ERR_INPUT, "%s: has %d entries; this is no importance matrix", f->path, n);
    for (int32_t i = 0; i < n; i++)
        if (read_entry(f, &c, i, e))
            return -1;
    for (size_t i = 0; i < f->n; i++)
        if (count_experts(f, &f->e[i], e))
            return -1;
    return 0;
}

/* ---- GGUF ---------------------------------------------------------------------------------------- */
static int read_gguf(struct source_file *f, struct err *e)
{
    static const char sums[] = ".in_sum2", counts[] = ".counts";
    for (size_t i = 0; i < f->m.n; i++) {
        const struct tensor *t = &f->m.t[i];
        char other[NAME_MOST], shape[176];
        size_t k;
        if (!ends_with(t->name, sums))
            continue;
        const size_t n = strlen(t->name) - strlen(sums);
        snprintf(other, sizeof other, "%.*s%s", (int)n, t->name, counts);
        if (!map_find(&f->m.by_name, other, &k))
            return err_set(e, ERR_INPUT, "%s: tensor '%s' has no '%s'", f->path, t->name, other);
        const struct matrix x = tensor_matrix(t), c = tensor_matrix(&f->m.t[k]);
        const uint64_t experts = x.batch * x.rows;
        if (t->dtype != DT_F32 || f->m.t[k].dtype != DT_F32 || !experts || !x.cols || c.batch * c.rows * c.cols != experts)
            return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s %s, which does not go with '%s'", f->path, t->name, dtype_name(t->dtype),
                           tensor_shape(t, shape), other);
        if (add(f, (struct entry){.values = experts * x.cols, .experts = experts, .sums = i, .counts = k}, t->name, n, e))
            return -1;
    }
    return f->n ? 0 : err_set(e, ERR_INPUT, "%s: is a GGUF file without .in_sum2 of any weight; this is no importance matrix", f->path);
}

static int open_file(struct source_file *f, struct err *e)
{
    uint64_t size;
    char magic[4] = "";
    f->fd = io_open(f->path, &size, e);
    if (f->fd < 0)
        return -1;
    if (size == UINT64_MAX)
        return err_set(e, ERR_INPUT, "%s: is read twice, which a pipe does not allow", f->path);
    if (size >= 4 && io_pread(f->fd, f->path, 0, magic, 4, e))
        return -1;
    if (memcmp(magic, "GGUF", 4))
        return read_dat(f, size, e);
    f->gguf = !model_open(&f->m, f->path, e);
    return f->gguf ? read_gguf(f, e) : -1;
}

/* ---- values ---------------------------------------------------------------------------------------- */
static int rows_of(struct source_file *f, const struct entry *x, uint64_t expert, float *rows, struct err *e)
{
    *rows = x->chunks;
    if (f->gguf && model_read(&f->m, x->counts, expert * 4, rows, 4, e))
        return -1;
    return isfinite(*rows) && *rows >= 0 && *rows < 0x1p62f
             ? 0 : err_set(e, ERR_INPUT, "%s: '%s' was counted %g times", f->path, x->name, (double)*rows);
}

static int values_of(struct source_file *f, const struct entry *x, uint64_t expert, float *v, struct err *e)
{
    const uint64_t n = x->values / x->experts, off = 4 * expert * n;
    if (f->gguf ? model_read(&f->m, x->sums, off, v, 4 * n, e) : io_pread(f->fd, f->path, x->off + off, v, 4 * n, e))
        return -1;
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(v[i]) || v[i] < 0)
            return err_set(e, ERR_INPUT, "%s: '%s': value %" PRIu64 " is %g, which is no sum of squares", f->path, x->name, expert * n + i, (double)v[i]);
    return 0;
}

/* The points: a stack has one for each expert that had rows. */
static int list_points(struct source_file *f, struct stats_shape **p, uint64_t **tokens, struct imatrix *out, struct err *e)
{
    size_t cap = 0, tcap = 0;
    for (size_t i = 0; i < f->n; i++)
        for (uint64_t k = 0; k < f->e[i].experts; k++) {
            float rows;
            if (rows_of(f, &f->e[i], k, &rows, e))
                return -1;
            if (rows < 1) {
                out->unseen++;
                continue;
            }
            if (mem_grow((void **)p, &cap, out->points + 1, sizeof **p, e) || mem_grow((void **)tokens, &tcap, out->points + 1, sizeof **tokens, e))
                return -1;
            const char *name = f->e[i].experts == 1 ? f->e[i].name : arena_printf(&f->mem, e, "%s.%" PRIu64, f->e[i].name, k);
            if (!name)
                return -1;
            (*tokens)[out->points] = (uint64_t)rows;
            (*p)[out->points++] = (struct stats_shape){.name = name, .width = f->e[i].values / f->e[i].experts, .bare = true};
        }
    return out->points ? 0 : err_set(e, ERR_INPUT, "%s: no weight had any rows", f->path);
}

static int put_points(struct source_file *f, struct stats_writer *w, const uint64_t *tokens, struct err *e)
{
    uint64_t most = 0;
    size_t at = 0;
    for (size_t i = 0; i < f->n; i++)
        most = max_u64(most, f->e[i].values / f->e[i].experts);
    float *v = mem_alloc(most, sizeof *v, e);
    double *d = v ? mem_alloc(most, sizeof *d, e) : NULL;
    int r = d ? 0 : -1;
    for (size_t i = 0; !r && i < f->n; i++)
        for (uint64_t k = 0; !r && k < f->e[i].experts; k++) {
            float rows;
            r = rows_of(f, &f->e[i], k, &rows, e);
            if (r || rows < 1)
                continue;
            r = values_of(f, &f->e[i], k, v, e);
            for (uint64_t c = 0; !r && c < f->e[i].values / f->e[i].experts; c++)
                d[c] = (double)v[c];
            r = r || stats_put_diagonal(w, at, STATS_FIT, d, e) || stats_put_tokens(w, at, (const uint64_t[STATS_SETS]){tokens[at]}, e) ? -1 : 0;
            at++;
        }
    free(v);
    free(d);
    return r;
}

int imatrix_import(struct imatrix *x, const char *path, const char *output, const struct meta *kv, size_t nkv, struct sink_options o, struct err *e)
{
    struct source_file f = {.path = path, .fd = -1};
    struct stats_writer *w = NULL;
    struct stats_shape *p = NULL;
    uint64_t *tokens = NULL;
    *x = (struct imatrix){0};
    int r = open_file(&f, e) || list_points(&f, &p, &tokens, x, e) || stats_create(&w, output, p, x->points, NULL, NULL, 0, kv, nkv, o, e)
         || put_points(&f, w, tokens, e) ? -1 : 0;
    if (r)
        stats_abort(w);
    else
        r = stats_commit(w, e);
    if (f.gguf)
        model_close(&f.m);
    if (f.fd >= 0)
        close(f.fd);
    free(f.e);
    free(p);
    free(tokens);
    map_free(&f.by_name);
    arena_free(&f.mem);
    return r;
}
