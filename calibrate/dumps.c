#include "calibrate/dumps.h"

#include "calibrate/npy.h"
#include "formats/io.h"
#include "formats/jscan.h"
#include "formats/zip.h"
#include "quantizers/values.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One matrix of rows, wherever it lies. */
struct dump {
    const char *name;                /* of the linear layer */
    const char *path, *what;         /* for messages */
    size_t model, tensor;            /* of a model file; or */
    int fd;                          /* of a .npy */
    uint64_t off;
    enum dtype dtype;
    uint64_t sequences, rows, cols;  /* sequences of rows; 1: they are not told apart */
};
struct dumps {
    struct model *m;
    size_t models;
    int *fd;
    size_t fds;
    struct dump *d;
    size_t n, cap;
    struct map by_name;
    struct arena mem;
};

static int add_dump(struct dumps *x, struct dump d, const char *name, struct err *e)
{
    static const char *const ends[] = {".weight", ".input", ".npy"};
    size_t n = strlen(name), other;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && !strncmp(name + n - strlen(ends[i]), ends[i], strlen(ends[i])))
            n -= strlen(ends[i]);
    d.name = arena_strndup(&x->mem, name, n, e);
    d.what = arena_strdup(&x->mem, name, e);
    if (!d.name || !d.what || mem_grow((void **)&x->d, &x->cap, x->n + 1, sizeof *x->d, e))
        return -1;
    if (!*d.name || utf8_check(d.name, strlen(d.name)) != strlen(d.name))
        return err_set(e, ERR_INPUT, "%s: '%s' is no name of a linear layer: it is empty, or not UTF-8 text", d.path, name);
    if (!d.rows || !d.cols || !d.sequences)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' has no rows", d.path, name);
    if (map_find(&x->by_name, d.name, &other))
        return err_set(e, ERR_INPUT, "%s and %s both have inputs of '%s'", x->d[other].path, d.path, d.name);
    x->d[x->n] = d;
    return map_add(&x->by_name, d.name, x->n++, e) < 0 ? -1 : 0;
}

/* `size` bytes at `at` of an open file. */
static int add_array(struct dumps *x, const char *path, int fd, uint64_t at, uint64_t size, const char *name, struct err *e)
{
    uint8_t head[1 << 12];
    struct npy y;
    const size_t have = (size_t)min_u64(size, sizeof head);
    if (io_pread(fd, path, at, head, have, e) || npy_header(&y, path, head, have, size, e))
        return -1;
    if (y.kind != 'f' || (y.item != 2 && y.item != 4) || y.rank < 2)
        return err_set(e, ERR_INPUT, "%s: '%s' is no float16 or float32 of [rows, channels] or [sequences, rows, channels]", path, name);
    const struct dump d = {.path = path, .fd = fd, .off = at + y.data, .dtype = y.item == 4 ? DT_F32 : DT_F16,
                           .sequences = y.rank == 3 ? y.dim[0] : 1, .rows = y.dim[y.rank - 2], .cols = y.dim[y.rank - 1]};
    return add_dump(x, d, name, e);
}

/* A .npy, or the arrays of a .npz, which lie in it as they are. */
static int add_numpy(struct dumps *x, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    uint64_t size;
    struct zip z = {0};
    const int fd = io_open(path, &size, e);
    if (fd < 0)
        return -1;
    x->fd[x->fds++] = fd;
    if (size == UINT64_MAX)
        return err_set(e, ERR_INPUT, "%s: is read twice, which a pipe does not allow", path);
    if (ends_with(path, ".npy"))
        return add_array(x, path, fd, 0, size, slash ? slash + 1 : path, e);
    int r = zip_open(&z, fd, path, size, false, &x->mem, e);
    for (size_t i = 0; !r && i < z.n; i++)
        r = add_array(x, path, fd, z.m[i].off, z.m[i].size, z.m[i].name, e);
    zip_close(&z);
    return r;
}

static int add_model(struct dumps *x, const char *path, struct err *e)
{
    struct model *m = &x->m[x->models];
    char shape[176];
    if (model_open(m, path, e))
        return -1;
    const size_t at = x->models++;
    if (!m->random)
        return err_set(e, ERR_INPUT, "%s: is read twice, which a pipe does not allow", path);
    for (size_t i = 0; i < m->n; i++) {
        const struct tensor *t = &m->t[i];
        if ((t->dtype != DT_F32 && t->dtype != DT_F16 && t->dtype != DT_BF16) || t->rank < 2 || t->rank > 3 || !tensor_is_flat(t) || t->derived)
            return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s %s, and inputs are F32, F16 or BF16 of [rows, channels] or [sequences, rows, channels]",
                           path, t->name, dtype_name(t->dtype), tensor_shape(t, shape));
        const struct dump d = {.path = path, .model = at, .tensor = i, .fd = -1, .dtype = t->dtype, .sequences = t->rank == 3 ? t->dim[0] : 1,
                               .rows = t->dim[t->rank - 2], .cols = t->dim[t->rank - 1]};
        if (add_dump(x, d, t->name, e))
            return -1;
    }
    return 0;
}

/* Rows [first, first + n) of all, as F32. */
static int read_rows(struct dumps *x, const struct dump *d, uint64_t first, size_t n, uint8_t *raw, float *out, struct err *e)
{
    const uint64_t item = d->dtype == DT_F32 ? 4 : 2, off = first * d->cols * item, bytes = n * d->cols * item;
    if (d->fd >= 0 ? io_pread(d->fd, d->path, d->off + off, raw, bytes, e) : model_read(&x->m[d->model], d->tensor, off, raw, bytes, e))
        return -1;
    for (size_t i = 0; i < n * d->cols; i++)
        out[i] = scale_value(raw, d->dtype, i);
    return 0;
}

/* The rows of one set: whole sequences, or blocks of rows where they are not told apart. */
static int one_set(struct dumps *x, const struct dump *d, const struct tap *t, const struct dump_options *o, unsigned set, uint8_t *raw, float *out,
                   size_t piece, struct err *e)
{
    const bool apart = d->sequences > 1;
    const uint64_t length = apart ? d->rows : o->rows, all = d->sequences * d->rows;
    for (uint64_t s = 0; s * length < all; s++) {
        if ((o->every && s % o->every == o->every - 1) != set)
            continue;
        const uint64_t end = min_u64((s + 1) * length, all);
        for (uint64_t r = s * length; r < end; r += piece) {
            const size_t n = (size_t)min_u64(piece, end - r);
            if (read_rows(x, d, r, n, raw, out, e) || t->rows(t->ctx, 0, out, n, d->cols, set, e))
                return err_prefix(e, "%s: tensor '%s'", d->path, d->what);
        }
    }
    return 0;
}

enum { PIECE_BYTES = 64 << 20 };

/* Rows that are read at once. */
static size_t piece_of(const struct dump *d) { return (size_t)max_u64(1, min_u64(1024, PIECE_BYTES / (8 * d->cols))); }

/* What the sums over so many channels need, beside the rows themselves: their number is from a file. */
static int check_memory(const struct dump *d, const struct dump_options *o, struct err *e)
{
    const double n = (double)d->cols, bins = (n / 64 + 1) * STATS_BINS * 4;
    const double need = 8 * n * (o->how.diagonal ? 1 : n) + bins + 8 * n * (double)piece_of(d);
    return !o->memory || need <= (double)o->memory ? 0
         : err_set(e, ERR_INPUT, "%s: tensor '%s' has %llu channels, of which sums need %.0f MiB of memory and the limit is %.0f MiB (%sa larger -M)", d->path,
                   d->what, (unsigned long long)d->cols, need / 0x1p20, (double)o->memory / 0x1p20, o->how.diagonal ? "" : "--diagonal, or ");
}

static int one_dump(struct dumps *x, const struct dump *d, struct gather *g, const struct dump_options *o, struct err *e)
{
    const struct tap *t = gather_tap(g);
    const char *const name[TAP_NAMES] = {d->name};
    const size_t piece = piece_of(d);
    float *out = mem_alloc(piece, d->cols * sizeof *out, e);
    uint8_t *raw = out ? mem_alloc(piece, d->cols * 4, e) : NULL;
    int r = !raw || t->begin(t->ctx, name, &d->cols, 1, e) || one_set(x, d, t, o, STATS_FIT, raw, out, piece, e)
         || one_set(x, d, t, o, STATS_HOLDOUT, raw, out, piece, e) ? -1 : 0;
    if (!r && t->end(t->ctx, e))
        r = err_prefix(e, "%s: tensor '%s'", d->path, d->what);
    free(raw);
    free(out);
    return r;
}

/* The point of a dump, and the layers that get the same input and have no dump of their own. */
static int plan_point(struct dumps *x, const struct dump *d, struct gather *g, struct err *e)
{
    static const char *const same[][3] = {{"q_proj", "k_proj", "v_proj"}, {"query", "key", "value"}, {"gate_proj", "up_proj"}, {"w1", "w3"}, {"q_a_proj", "kv_a_proj_with_mqa"}};
    const char *linear[3] = {d->name}, *last = strrchr(d->name, '.');
    size_t n = 1, other;
    for (size_t i = 0; last && i < sizeof same / sizeof *same; i++)
        for (size_t k = 1; !strcmp(last + 1, same[i][0]) && k < 3 && same[i][k]; k++) {
            const char *name = arena_printf(&x->mem, e, "%.*s.%s", (int)(last - d->name), d->name, same[i][k]);
            if (!name)
                return -1;
            if (!map_find(&x->by_name, name, &other))
                linear[n++] = name;
        }
    return gather_plan_add(g, linear, n, d->cols, e);
}

int dumps_gather(const char *const *path, size_t files, const char *output, const struct dump_options *o, const struct meta *kv, size_t nkv,
                 struct sink_options sink, size_t *n, struct err *e)
{
    struct dumps x = {.m = mem_alloc(files + 1, sizeof *x.m, e), .fd = mem_alloc(files + 1, sizeof *x.fd, e)};
    struct gather *g = NULL;
    int r = x.m && x.fd ? 0 : -1;
    for (size_t i = 0; !r && i < files; i++)
        r = ends_with(path[i], ".npy") || ends_with(path[i], ".npz") ? add_numpy(&x, path[i], e) : add_model(&x, path[i], e);
    r = r ? r : gather_plan_empty(&g, o->how, e);
    for (size_t i = 0; !r && i < x.n; i++)
        r = check_memory(&x.d[i], o, e) || plan_point(&x, &x.d[i], g, e) ? -1 : 0;
    r = r ? r : gather_create(g, output, kv, nkv, sink, e);
    for (size_t i = 0; !r && i < x.n; i++)
        r = one_dump(&x, &x.d[i], g, o, e);
    r = r ? r : gather_commit(g, e);
    *n = x.n;
    gather_free(g);
    for (size_t i = 0; i < x.models; i++)
        model_close(&x.m[i]);
    for (size_t i = 0; i < x.fds; i++)
        close(x.fd[i]);
    free(x.m);
    free(x.fd);
    free(x.d);
    map_free(&x.by_name);
    arena_free(&x.mem);
    return r;
}
