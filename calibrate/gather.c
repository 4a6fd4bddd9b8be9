#include "calibrate/gather.h"

#include "calibrate/each.h"
#include "calibrate/linalg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sums of one point, while rows come. */
struct sums {
    bool open, pooled;
    size_t point;
    uint64_t width;
    double *h[STATS_SETS];           /* [n, n], or [n] of a diagonal; of the sets that are not written yet */
    float *amax;
    int64_t *count;
    uint64_t tokens[STATS_SETS], (*hits)[STATS_SETS];
    uint32_t (*piece)[STATS_BINS];   /* counts of each piece of columns, */
    uint8_t *odd;                    /* and whether it had a value that is no number */
    unsigned set;                    /* that rows come of: those below are written */
};

enum { AT_ONCE = 4 };
struct gather {
    struct gather_options o;
    struct stats_shape *p;
    size_t n, cap;
    const char **linear;
    size_t *of, nlinear, linear_cap, of_cap;
    struct map by_name;
    struct stats_writer *w;
    struct tap tap;
    struct sums sum[AT_ONCE];        /* of the points that are gathered now: own ones, */
    struct sums all;                 /* and over the experts of the layer */
    size_t points;
    struct { size_t own, pooled; uint64_t expert; } at[AT_ONCE]; /* SIZE_MAX: none */
    uint64_t most;                   /* bytes of sums that are held at once, from the plan */
    bool planning, given;            /* given: points are named by gather_plan_add, experts' like all others */
    struct arena mem;
};

/* ---- names ---------------------------------------------------------------------------- */

/* "P.experts.7.down_proj": the number, and "P.experts." in *n characters; -1: no routed expert's. */
static int64_t expert_of(const char *name, size_t *n)
{
    const char *p = strstr(name, ".experts.");
    char *end;
    if (!p)
        return -1;
    p += strlen(".experts.");
    const long x = strtol(p, &end, 10);
    *n = (size_t)(p - name);
    return end != p && *end == '.' ? x : -1;
}

static bool is_cache(const char *name) { return ends_with(name, ".k_cache") || ends_with(name, ".v_cache"); }
static bool is_down(const char *name) { return ends_with(name, ".down_proj") || ends_with(name, ".w2"); }

static int add_linear(struct gather *g, const char *linear, size_t of, struct err *e)
{
    const char *own = arena_strdup(&g->mem, linear, e);
    if (!own || mem_grow((void **)&g->linear, &g->linear_cap, g->nlinear + 1, sizeof *g->linear, e)
        || mem_grow((void **)&g->of, &g->of_cap, g->nlinear + 1, sizeof *g->of, e))
        return -1;
    g->linear[g->nlinear] = own;
    g->of[g->nlinear++] = of;
    return 0;
}

/* Point `name`, made when it is new. */
static int add_point(struct gather *g, const char *name, uint64_t width, size_t *i, struct err *e)
{
    if (map_find(&g->by_name, name, i))
        return g->p[*i].width == width ? 0 : err_set(e, ERR_INPUT, "'%s' has %llu channels, and %llu before", name, (unsigned long long)width,
                                                     (unsigned long long)g->p[*i].width);
    const char *own = arena_strdup(&g->mem, name, e);
    if (!own || mem_grow((void **)&g->p, &g->cap, g->n + 1, sizeof *g->p, e) || map_add(&g->by_name, own, g->n, e) < 0)
        return -1;
    *i = g->n;
    g->p[g->n++] = (struct stats_shape){.name = own, .width = width, .full = !g->o.diagonal && !is_cache(name)};
    return 0;
}

/* Where the rows of a point go; when it is planned, its linears get known. */
static int resolve(struct gather *g, const char *const name[TAP_NAMES], uint64_t width, size_t k, struct err *e)
{
    size_t n = 0, router;
    const int64_t expert = g->given ? -1 : expert_of(name[0], &n);
    char pooled[512];
    g->at[k].own = g->at[k].pooled = SIZE_MAX;
    g->at[k].expert = expert < 0 ? 0 : (uint64_t)expert;
    if (is_cache(name[0]) && !g->o.caches)
        return 0;
    if (expert < 0 || g->o.each) {
        if (add_point(g, name[0], width, &g->at[k].own, e))
            return -1;
        for (int i = 0; g->planning && i < TAP_NAMES && name[i]; i++)
            if (add_linear(g, name[i], g->at[k].own, e))
                return -1;
    }
    if (expert < 0)
        return 0;
    if (is_down(name[0])) {
        snprintf(pooled, sizeof pooled, "%.*s%s", (int)n, name[0], strrchr(name[0], '.') + 1);
        if (add_point(g, pooled, width, &g->at[k].pooled, e))
            return -1;
        struct stats_shape *p = &g->p[g->at[k].pooled];
        p->experts = max_u64(p->experts, g->at[k].expert + 1);
        return g->planning && !g->o.each ? add_linear(g, name[0], g->at[k].pooled, e) : 0;
    }
    /* What all tokens look like before they are dealt out: the router's input. */
    snprintf(pooled, sizeof pooled, "%.*sgate", (int)(n - strlen("experts.")), name[0]);
    if (!map_find(&g->by_name, pooled, &router))
        return err_set(e, ERR_INPUT, "'%s' has no router '%s'", name[0], pooled);
    for (int i = 0; g->planning && !g->o.each && i < TAP_NAMES && name[i]; i++)
        if (add_linear(g, name[i], router, e))
            return -1;
    return 0;
}

/* Columns of X that threads measure on their own. */
enum { COLUMNS = 64 };

/* ---- sums ------------------------------------------------------------------------------- */
static uint64_t elems_of(const struct stats_shape *p) { return p->full ? p->width * p->width : p->width; }

static void sums_free(struct sums *s)
{
    free(s->h[0]);
    free(s->h[1]);
    free(s->amax);
    free(s->count);
    free(s->hits);
    free(s->piece);
    free(s->odd);
    *s = (struct sums){0};
}

static int sums_open(struct gather *g, struct sums *s, size_t point, bool pooled, struct err *e)
{
    const struct stats_shape *p = &g->p[point];
    *s = (struct sums){.open = true, .pooled = pooled, .point = point, .width = p->width};
    s->amax = mem_alloc(p->width, sizeof *s->amax, e);
    s->count = s->amax ? mem_alloc(STATS_BINS, sizeof *s->count, e) : NULL;
    s->hits = s->count ? mem_alloc(p->experts + 1, sizeof *s->hits, e) : NULL;
    const size_t pieces = ceil_div(p->width, COLUMNS);
    s->piece = s->hits ? mem_alloc(pieces, sizeof *s->piece, e) : NULL;
    s->odd = s->piece ? mem_alloc(pieces, 1, e) : NULL;
    for (int k = 0; s->odd && k < (pooled ? 2 : 1); k++) {
        if (!(s->h[k] = mem_alloc(elems_of(p), sizeof(double), e)))
            return -1;
        memset(s->h[k], 0, elems_of(p) * sizeof(double)); /* pages that are read first are mapped twice */
    }
    return s->odd ? 0 : -1;
}

static int put_set(struct gather *g, struct sums *s, unsigned set, const double *h, struct err *e)
{
    return g->p[s->point].full ? stats_put_gram(g->w, s->point, set, h, e) : stats_put_diagonal(g->w, s->point, set, h, e);
}

/* Rows of a later set: what was summed of this one is complete. */
static int next_set(struct gather *g, struct sums *s, struct err *e)
{
    if (put_set(g, s, s->set, s->h[s->set], e))
        return -1;
    s->h[s->set + 1] = s->h[s->set];
    s->h[s->set++] = NULL;
    memset(s->h[s->set], 0, elems_of(&g->p[s->point]) * sizeof(double));
    return 0;
}

static int sums_close(struct gather *g, struct sums *s, struct err *e)
{
    int r = 0;
    if (!s->open)
        return 0;
    while (!r && !s->pooled && s->set + 1 < STATS_SETS)
        r = next_set(g, s, e);
    for (unsigned k = s->set; !r && k < STATS_SETS; k++)
        r = put_set(g, s, k, s->h[k], e);
    r = r || stats_put_rest(g->w, s->point, s->amax, s->count, s->tokens, e)
     || (g->p[s->point].experts && stats_put_hits(g->w, s->point, (const uint64_t (*)[STATS_SETS])s->hits, e)) ? -1 : 0;
    sums_free(s);
    return r;
}

struct measuring {
    const float *x;
    size_t rows;
    uint64_t width;
    float *amax;
    double *diagonal;                /* or NULL */
    uint32_t (*count)[STATS_BINS];   /* of each piece */
    uint8_t *odd;                    /* of each piece: a value that is no number */
};

static void measure_columns(void *ctx, size_t i)
{
    struct measuring *m = ctx;
    const uint64_t from = i * COLUMNS;
    const size_t n = (size_t)min_u64(COLUMNS, m->width - from);
    uint32_t most[COLUMNS], bits[COLUMNS];
    memcpy(most, m->amax + from, n * sizeof *most); /* magnitudes are in the order of their bits */
    for (size_t r = 0; r < m->rows; r++) {
        const float *x = m->x + r * m->width + from;
        memcpy(bits, x, n * sizeof *bits);
        for (size_t c = 0; c < n; c++) {
            bits[c] &= 0x7fffffff;
            most[c] = bits[c] > most[c] ? bits[c] : most[c];
        }
        for (size_t c = 0; c < n; c++)
            m->count[i][bits[c] >> 19]++;
        for (size_t c = 0; m->diagonal && c < n; c++)
            m->diagonal[from + c] += (double)x[c] * (double)x[c];
    }
    memcpy(m->amax + from, most, n * sizeof *most);
    for (size_t c = 0; c < n; c++)
        m->odd[i] |= most[c] >= 0x7f800000;
}

static int say_odd(const struct gather *g, const struct sums *s, const float *x, size_t rows, struct err *e)
{
    size_t i = 0;
    while (i < rows * s->width && isfinite(x[i]))
        i++;
    return err_set(e, ERR_INPUT, "the input of '%s' is %g in channel %llu of row %llu: nothing is calibrated with it", g->p[s->point].name,
                   (double)x[i], (unsigned long long)(i % s->width), (unsigned long long)(s->tokens[0] + s->tokens[1] + i / s->width));
}

static int sums_add(struct gather *g, struct sums *s, const float *x, size_t rows, unsigned set, uint64_t expert, struct err *e)
{
    const size_t pieces = ceil_div(s->width, COLUMNS);
    while (!s->pooled && s->set < set)
        if (next_set(g, s, e))
            return -1;
    const bool full = g->p[s->point].full;
    struct measuring m = {x, rows, s->width, s->amax, full ? NULL : s->h[set], s->piece, s->odd};
    int r = 0;
    memset(m.count, 0, pieces * sizeof *m.count);
    each(g->o.threads, pieces, measure_columns, &m);
    for (size_t i = 0; !r && i < pieces; i++) {
        r = m.odd[i] ? say_odd(g, s, x, rows, e) : 0;
        for (size_t b = 0; b < STATS_BINS; b++)
            s->count[b] += m.count[i][b];
    }
    if (!r && full)
        la_gram(g->o.threads, rows, s->width, x, s->width, s->h[set]);
    s->tokens[set] += rows;
    if (g->p[s->point].experts)
        s->hits[expert][set] += rows;
    return r;
}

/* ---- the tap ------------------------------------------------------------------------------ */
static int begin(void *ctx, const char *const *name, const uint64_t *width, size_t n, struct err *e)
{
    struct gather *g = ctx;
    uint64_t bytes = 0;
    g->points = n;
    for (size_t k = 0; k < n; k++) {
        if (resolve(g, name + k * TAP_NAMES, width[k], k, e))
            return -1;
        const size_t own = g->at[k].own, pooled = g->at[k].pooled;
        if (g->planning) {
            bytes += 8 * ((own == SIZE_MAX ? 0 : elems_of(&g->p[own])) + (pooled == SIZE_MAX ? 0 : 2 * elems_of(&g->p[pooled])));
            g->most = max_u64(g->most, bytes);
            continue;
        }
        if (own != SIZE_MAX && sums_open(g, &g->sum[k], own, false, e))
            return -1;
        if (pooled != SIZE_MAX && !g->all.open && sums_open(g, &g->all, pooled, true, e))
            return -1;
    }
    return 0;
}

static int rows_of(void *ctx, size_t point, const float *x, size_t rows, uint64_t width, unsigned set, struct err *e)
{
    struct gather *g = ctx;
    (void)width;
    if (set >= STATS_SETS)
        return err_set(e, ERR_USAGE, "there are %d sets of sequences", STATS_SETS);
    if (g->at[point].own != SIZE_MAX && sums_add(g, &g->sum[point], x, rows, set, 0, e))
        return -1;
    return g->at[point].pooled != SIZE_MAX ? sums_add(g, &g->all, x, rows, set, g->at[point].expert, e) : 0;
}

static int end(void *ctx, struct err *e)
{
    struct gather *g = ctx;
    int r = 0;
    for (size_t k = 0; !r && k < g->points; k++)
        r = sums_close(g, &g->sum[k], e);
    return r;
}

int gather_layer(struct gather *g, struct err *e) { return sums_close(g, &g->all, e); }

/* ---- plans and files -------------------------------------------------------------------- */
int gather_plan_empty(struct gather **out, struct gather_options o, struct err *e)
{
    struct gather *g = *out = mem_alloc(1, sizeof *g, e);
    if (!g)
        return -1;
    g->o = o;
    g->planning = true;
    g->tap = (struct tap){g, begin, rows_of, end};
    return 0;
}

int gather_plan_add(struct gather *g, const char *const *linear, size_t n, uint64_t width, struct err *e)
{
    size_t i;
    g->given = true;
    if (add_point(g, linear[0], width, &i, e))
        return -1;
    g->most = max_u64(g->most, 8 * elems_of(&g->p[i]));
    for (size_t k = 0; k < n; k++)
        if (add_linear(g, linear[k], i, e))
            return -1;
    return 0;
}

int gather_plan(struct gather **out, struct net *n, uint64_t from, uint64_t to, struct gather_options o, struct err *e)
{
    if (gather_plan_empty(out, o, e))
        return -1;
    for (uint64_t i = from; i < to; i++)
        if (net_list(n, &(*out)->tap, i, e)) {
            gather_free(*out);
            *out = NULL;
            return -1;
        }
    return 0;
}

void gather_cost(const struct gather *g, uint64_t *file, uint64_t *memory)
{
    *file = stats_size(g->p, g->n);
    *memory = g->most;
}

double gather_flop(const struct gather *g)
{
    double sum = 0;
    for (size_t i = 0; i < g->n; i++)
        if (!g->p[i].experts && g->p[i].full)
            sum += (double)g->p[i].width * (double)(g->p[i].width + 1);
    return sum;
}

int gather_create(struct gather *g, const char *path, const struct meta *kv, size_t nkv, struct sink_options o, struct err *e)
{
    g->planning = false;
    return stats_create(&g->w, path, g->p, g->n, g->linear, g->of, g->nlinear, kv, nkv, o, e);
}

const struct tap *gather_tap(struct gather *g) { return &g->tap; }

int gather_commit(struct gather *g, struct err *e)
{
    struct stats_writer *w = g->w;
    g->w = NULL;
    return stats_commit(w, e);
}

void gather_free(struct gather *g)
{
    if (!g)
        return;
    stats_abort(g->w);
    for (size_t k = 0; k < AT_ONCE; k++)
        sums_free(&g->sum[k]);
    sums_free(&g->all);
    map_free(&g->by_name);
    free(g->p);
    free(g->linear);
    free(g->of);
    arena_free(&g->mem);
    free(g);
}
