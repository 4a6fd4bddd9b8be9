#include "calibrate/stats.h"

#include "formats/io.h"
#include "formats/names.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED "octavo.calibration.shared"
#define VERSION "octavo.calibration"

enum field { XTX, XTX_HOLDOUT, XX, XX_HOLDOUT, AMAX, HISTOGRAM, TOKENS, HITS, FIELDS };
static const struct {
    const char *suffix;
    enum dtype dtype;
} fields[FIELDS] = {{".xtx", DT_F32},  {".xtx_holdout", DT_F32}, {".xx", DT_F32},    {".xx_holdout", DT_F32},
                    {".amax", DT_F32}, {".histogram", DT_I64},   {".tokens", DT_I64}, {".hits", DT_I64}};

static int bad(const struct model *m, size_t i, const char *want, struct err *e)
{
    char shape[176];
    return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s %s, and %s is wanted", m->path, m->t[i].name, dtype_name(m->t[i].dtype),
                   tensor_shape(&m->t[i], shape), want);
}

/* Width of a full or triangular sum with so many elements; 0: it is none. */
static uint64_t width_of(const struct tensor *t)
{
    if (t->rank == 2)
        return t->dim[0] == t->dim[1] ? t->dim[0] : 0;
    const uint64_t n = t->rank == 1 ? (uint64_t)((sqrt(8 * (double)t->dim[0] + 1) - 1) / 2 + 0.5) : 0;
    return n && n * (n + 1) / 2 == t->dim[0] ? n : 0;
}

static int set_width(struct stats_point *p, const struct model *m, size_t i, uint64_t n, struct err *e)
{
    if (!n)
        return bad(m, i, "a triangle or a square", e);
    if (p->width && p->width != n) {
        char shape[176];
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s, but other sums of '%s' are of %llu channels", m->path, m->t[i].name,
                       tensor_shape(&m->t[i], shape), p->name, (unsigned long long)p->width);
    }
    p->width = n;
    return 0;
}

static int read_tokens(struct stats_point *p, struct model *m, size_t i, struct err *e)
{
    int64_t n[STATS_SETS];
    if (tensor_elems(&m->t[i]) != STATS_SETS)
        return bad(m, i, "[2]", e);
    if (model_read(m, i, 0, n, sizeof n, e))
        return -1;
    if (n[0] < 0 || n[1] < 0)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is negative", m->path, m->t[i].name);
    p->tokens[0] = (uint64_t)n[0];
    p->tokens[1] = (uint64_t)n[1];
    return 0;
}

/* Point `name`, made when it is new. */
static struct stats_point *point_of(struct stats *s, struct map *by_name, size_t model, const char *name, size_t n, struct err *e)
{
    size_t i;
    char *own = arena_strndup(&s->mem, name, n, e);
    if (!own)
        return NULL;
    const int there = map_add(by_name, own, s->n, e);
    if (there < 0 || (there && !map_find(by_name, own, &i)))
        return NULL;
    if (there)
        return &s->point[i];
    struct stats_point *p = &s->point[s->n++];
    *p = (struct stats_point){.name = own, .model = model, .xtx = {SIZE_MAX, SIZE_MAX}, .xx = {SIZE_MAX, SIZE_MAX}, .amax = SIZE_MAX,
                              .histogram = SIZE_MAX, .hits = SIZE_MAX};
    return p;
}

static int read_tensor(struct stats *s, struct map *by_name, size_t model, size_t i, struct err *e)
{
    struct model *m = &s->m[model];
    const struct tensor *t = &m->t[i];
    int f = FIELDS - 1;
    while (f >= 0 && !ends_with(t->name, fields[f].suffix))
        f--;
    if (f < 0)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is no statistics (octavo-calibration(5))", m->path, t->name);
    if (t->dtype != fields[f].dtype || !tensor_is_flat(t))
        return bad(m, i, dtype_name(fields[f].dtype), e);
    struct stats_point *p = point_of(s, by_name, model, t->name, strlen(t->name) - strlen(fields[f].suffix), e);
    if (!p)
        return -1;
    if (p->model != model)
        return err_set(e, ERR_INPUT, "%s and %s both have '%s' (octavo calibrate --merge adds them up)", s->m[p->model].path, m->path, p->name);
    switch ((enum field)f) {
    case XTX:
    case XTX_HOLDOUT:
        p->xtx[f - XTX] = i;
        return set_width(p, m, i, width_of(t), e);
    case XX:
    case XX_HOLDOUT:
        p->xx[f - XX] = i;
        return set_width(p, m, i, tensor_elems(t), e);
    case AMAX:
        p->amax = i;
        return set_width(p, m, i, tensor_elems(t), e);
    case HITS:
        p->hits = i;
        return t->rank == 2 && t->dim[0] && t->dim[1] == STATS_SETS ? 0 : bad(m, i, "[E,2]", e);
    case HISTOGRAM:
        p->histogram = i;
        return tensor_elems(t) == STATS_BINS ? 0 : bad(m, i, "[4096]", e);
    default:
        return read_tokens(p, m, i, e);
    }
}

/* What linears share: each is known by its own name, or by what the metadata say. */
static int read_shared(struct stats *s, const struct map *by_name, const struct model *m, struct err *e)
{
    const char *text = model_meta(m, SHARED), *linear;
    json_t *root = text ? json_loads(text, 0, NULL) : json_object(), *to;
    int r = json_is_object(root) ? 0 : err_set(e, ERR_INPUT, "%s: metadata " SHARED " is no JSON object", m->path);
    json_object_foreach(root, linear, to) {
        size_t i;
        if (r)
            break;
        const char *name = json_string_value(to);
        if (!name || !map_find(by_name, name, &i)) {
            r = err_set(e, ERR_INPUT, "%s: metadata " SHARED ": '%s' shares '%s', which is not there", m->path, linear, name ? name : "");
            break;
        }
        char *own = arena_strdup(&s->mem, linear, e);
        r = !own || map_add(&s->by_linear, own, i, e) < 0 ? -1 : 0;
    }
    json_decref(root);
    return r;
}

static int open_models(struct stats *s, const char *path, struct err *e)
{
    if (strcmp(path, "-") && io_is_dir(path)) {
        struct dirent **entry;
        const int found = scandir(path, &entry, NULL, alphasort);
        int r = found < 0 ? err_sys(e, "%s: cannot be read", path) : 0;
        s->m = found > 0 ? mem_alloc((size_t)found, sizeof *s->m, e) : NULL;
        r = r || !s->m ? -1 : 0;
        for (int i = 0; i < found; i++) {
            if (!r && ends_with(entry[i]->d_name, ".safetensors")) {
                const char *full = arena_printf(&s->mem, e, "%s/%s", path, entry[i]->d_name);
                r = !full || model_open(&s->m[s->nmodels], full, e) ? -1 : 0;
                s->nmodels += !r;
            }
            free(entry[i]);
        }
        if (found >= 0)
            free(entry);
        return r || s->nmodels ? r : err_set(e, ERR_INPUT, "%s: no file of statistics is in it", path);
    }
    s->m = mem_alloc(1, sizeof *s->m, e);
    if (!s->m || model_open(s->m, path, e))
        return -1;
    s->nmodels = 1;
    return s->m->random ? 0 : err_set(e, ERR_INPUT, "%s: statistics are read at any place, which a pipe does not allow", path);
}

int stats_open(struct stats *s, const char *path, struct err *e)
{
    struct map by_name = {0};
    size_t most = 0;
    *s = (struct stats){0};
    int r = open_models(s, path, e);
    for (size_t k = 0; k < s->nmodels; k++)
        most += s->m[k].n;
    s->point = r ? NULL : arena_array(&s->mem, most + 1, sizeof *s->point, e);
    r = s->point ? 0 : -1;
    for (size_t k = 0; !r && k < s->nmodels; k++) {
        if (!model_meta(&s->m[k], VERSION) || strcmp(model_meta(&s->m[k], VERSION), "1"))
            r = err_set(e, ERR_INPUT, "%s: is no file of statistics of version 1 (metadata " VERSION ")", s->m[k].path);
        for (size_t i = 0; !r && i < s->m[k].n; i++)
            r = read_tensor(s, &by_name, k, i, e);
    }
    for (size_t i = 0; !r && i < s->n; i++)
        if (!s->point[i].width)
            r = err_set(e, ERR_INPUT, "%s: '%s' has counts, and no sums or maxima that they belong to", s->m[s->point[i].model].path, s->point[i].name);
    for (size_t i = 0; !r && i < s->n; i++)
        r = map_add(&s->by_linear, s->point[i].name, i, e) < 0 ? -1 : 0;
    for (size_t k = 0; !r && k < s->nmodels; k++)
        r = read_shared(s, &by_name, &s->m[k], e);
    map_free(&by_name);
    if (r)
        stats_close(s);
    return r;
}

void stats_close(struct stats *s)
{
    for (size_t k = 0; k < s->nmodels; k++)
        model_close(&s->m[k]);
    free(s->m);
    map_free(&s->by_linear);
    arena_free(&s->mem);
    *s = (struct stats){0};
}

const struct stats_point *stats_find(const struct stats *s, const char *linear)
{
    char name[512];
    size_t i;
    const size_t n = strlen(linear) - (ends_with(linear, ".weight") ? strlen(".weight") : 0);
    if (n >= sizeof name)
        return NULL;
    memcpy(name, linear, n);
    name[n] = 0;
    if (map_find(&s->by_linear, name, &i))
        return &s->point[i];
    char other[sizeof name];
    return names_in_gguf(name, other, sizeof other) && map_find(&s->by_linear, other, &i) ? &s->point[i] : NULL;
}

/* ---- values ------------------------------------------------------------------------- */
static int value_bad(const struct model *m, size_t i, uint64_t at, float x, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: tensor '%s': element %llu is %g, which is no sum of squares", m->path, m->t[i].name,
                   (unsigned long long)at, (double)x);
}

int stats_gram(const struct stats *s, const struct stats_point *p, unsigned set, double *h, struct err *e)
{
    struct model *m = &s->m[p->model];
    const size_t i = p->xtx[set];
    const uint64_t n = p->width;
    if (i == SIZE_MAX)
        return err_set(e, ERR_USAGE, "%s has no second moments of '%s' (%s.xtx%s), only a diagonal or nothing", m->path, p->name, p->name,
                       set ? "_holdout" : "");
    const bool square = m->t[i].rank == 2;
    float *row = mem_alloc(n, sizeof *row, e);
    int r = row ? 0 : -1;
    uint64_t off = 0;
    for (uint64_t a = 0; !r && a < n; a++) {
        const uint64_t from = square ? 0 : a, count = n - from;
        r = model_read(m, i, off, row, count * sizeof *row, e);
        off += count * sizeof *row;
        for (uint64_t b = a; !r && b < n; b++) {
            const float x = row[b - from];
            if (!isfinite(x) || (a == b && x < 0))
                r = value_bad(m, i, off / sizeof *row - n + b, x, e);
            h[a * n + b] = h[b * n + a] = (double)x;
        }
    }
    free(row);
    return r;
}

int stats_diagonal(const struct stats *s, const struct stats_point *p, unsigned set, double *d, struct err *e)
{
    struct model *m = &s->m[p->model];
    const bool full = p->xtx[set] != SIZE_MAX;
    const size_t i = full ? p->xtx[set] : p->xx[set];
    const uint64_t n = p->width;
    uint64_t at = 0;
    if (i == SIZE_MAX)
        return err_set(e, ERR_INPUT, "%s has no second moments of '%s'", m->path, p->name);
    for (uint64_t k = 0; k < n; k++) {
        float x;
        if (model_read(m, i, (full ? at : k) * sizeof x, &x, sizeof x, e))
            return -1;
        if (!isfinite(x) || x < 0)
            return value_bad(m, i, full ? at : k, x, e);
        d[k] = (double)x;
        at += m->t[i].rank == 2 ? n + 1 : n - k;
    }
    return 0;
}

int stats_loud(const struct stats *s, const struct stats_point *p, double times, struct stats_loud *loud, struct err *e)
{
    const uint64_t n = p->width;
    double *d = mem_alloc(2 * n, sizeof *d, e), *one = d + n, all = 0;
    int r = d ? 0 : -1;
    *loud = (struct stats_loud){0};
    for (unsigned set = 0; !r && set < STATS_SETS; set++) {
        if (p->xtx[set] == SIZE_MAX && p->xx[set] == SIZE_MAX)
            continue;
        r = stats_diagonal(s, p, set, one, e);
        for (uint64_t k = 0; !r && k < n; k++) {
            d[k] += one[k];
            all += one[k];
        }
    }
    for (uint64_t k = 0; !r && all > 0 && k < n; k++) {
        const double ratio = d[k] / all * (double)n;
        loud->n += ratio > times;
        if (ratio > loud->ratio) {
            loud->ratio = ratio;
            loud->channel = k;
        }
    }
    free(d);
    return r;
}

int stats_amax(const struct stats *s, const struct stats_point *p, float *amax, struct err *e)
{
    struct model *m = &s->m[p->model];
    if (p->amax == SIZE_MAX)
        return err_set(e, ERR_INPUT, "%s has no maxima of '%s'", m->path, p->name);
    if (model_read(m, p->amax, 0, amax, p->width * sizeof *amax, e))
        return -1;
    for (uint64_t k = 0; k < p->width; k++)
        if (!isfinite(amax[k]) || amax[k] < 0)
            return err_set(e, ERR_INPUT, "%s: tensor '%s': element %llu is %g, which is no maximum", m->path, m->t[p->amax].name,
                           (unsigned long long)k, (double)amax[k]);
    return 0;
}

int stats_hits(const struct stats *s, const struct stats_point *p, uint64_t expert, uint64_t tokens[STATS_SETS], struct err *e)
{
    struct model *m = &s->m[p->model];
    int64_t n[STATS_SETS];
    memcpy(tokens, p->tokens, sizeof p->tokens);
    if (p->hits == SIZE_MAX || expert >= m->t[p->hits].dim[0])
        return 0;
    if (model_read(m, p->hits, expert * sizeof n, n, sizeof n, e))
        return -1;
    for (int k = 0; k < STATS_SETS; k++) {
        if (n[k] < 0)
            return err_set(e, ERR_INPUT, "%s: tensor '%s': expert %llu was chosen %lld times", m->path, m->t[p->hits].name, (unsigned long long)expert,
                           (long long)n[k]);
        tokens[k] = (uint64_t)n[k];
    }
    return 0;
}

int stats_histogram(const struct stats *s, const struct stats_point *p, int64_t *count, struct err *e)
{
    struct model *m = &s->m[p->model];
    if (p->histogram == SIZE_MAX)
        return err_set(e, ERR_INPUT, "%s has no histogram of '%s'", m->path, p->name);
    if (model_read(m, p->histogram, 0, count, STATS_BINS * sizeof *count, e))
        return -1;
    for (size_t k = 0; k < STATS_BINS; k++)
        if (count[k] < 0)
            return err_set(e, ERR_INPUT, "%s: tensor '%s': count %zu is negative", m->path, m->t[p->histogram].name, k);
    return 0;
}
