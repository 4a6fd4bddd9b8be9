/* Writing statistics, and adding up files of them. */
#include "calibrate/stats.h"

#include "formats/json.h"
#include "formats/jscan.h"
#include "formats/writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOT_XTX, SLOT_REST = SLOT_XTX + STATS_SETS, SLOT_HISTOGRAM, SLOT_TOKENS, SLOT_HITS, SLOTS };
struct stats_writer {
    struct writer w;
    struct sink s;
    struct stats_shape *p;
    size_t n, *first;                /* point i has tensors from first[i] on */
    bool open;
    struct arena mem;
};

static uint64_t sum_elems(const struct stats_shape *p) { return p->full ? p->width * (p->width + 1) / 2 : p->width; }

uint64_t stats_size(const struct stats_shape *p, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += p[i].bare ? 4 * p[i].width + 8 * STATS_SETS
                           : STATS_SETS * 4 * sum_elems(&p[i]) + 4 * p[i].width + 8 * (STATS_BINS + STATS_SETS * (1 + p[i].experts));
    return bytes;
}

static bool has_slot(const struct stats_shape *p, int slot)
{
    return p->bare ? slot == SLOT_XTX || slot == SLOT_TOKENS : slot != SLOT_HITS || p->experts;
}

/* Tensors of a point before that of a slot. */
static size_t tensors_before(const struct stats_shape *p, int slot)
{
    size_t n = 0;
    for (int k = 0; k < slot; k++)
        n += has_slot(p, k);
    return n;
}

/* The tensors of a point, in the order of the slots. */
static int tensors_of(struct stats_writer *w, const struct stats_shape *p, struct tensor *t, struct err *e)
{
    static const char *const full[] = {".xtx", ".xtx_holdout", ".amax", ".histogram", ".tokens", ".hits"};
    static const char *const diagonal[] = {".xx", ".xx_holdout"};
    const uint64_t elems[SLOTS] = {sum_elems(p), sum_elems(p), p->width, STATS_BINS, STATS_SETS, p->experts * STATS_SETS};
    for (int k = 0; k < SLOTS; k++) {
        const enum dtype d = k < SLOT_HISTOGRAM ? DT_F32 : DT_I64;
        if (!has_slot(p, k))
            continue;
        *t = (struct tensor){.dtype = d, .rank = 1, .dim = {elems[k]}, .size = elems[k] * (d == DT_F32 ? 4 : 8)};
        if (k == SLOT_HITS) {
            t->rank = 2;
            t->dim[0] = p->experts;
            t->dim[1] = STATS_SETS;
        }
        t->name = arena_printf(&w->mem, e, "%s%s", p->name, k < STATS_SETS && !p->full ? diagonal[k] : full[k]);
        if (!t++->name)
            return -1;
    }
    return 0;
}

static int put_shared(struct buf *b, const struct stats_shape *p, const char *const *linear, const size_t *of, size_t n, struct err *e)
{
    int r = buf_puts(b, "{", e);
    bool any = false;
    for (size_t i = 0; !r && i < n; i++) {
        if (!strcmp(linear[i], p[of[i]].name))
            continue;
        r = (any && buf_puts(b, ",", e)) || json_put_string(b, linear[i], e) || buf_puts(b, ":", e) || json_put_string(b, p[of[i]].name, e) ? -1 : 0;
        any = true;
    }
    return r || buf_puts(b, "}", e) ? -1 : 0;
}

int stats_create(struct stats_writer **out, const char *path, const struct stats_shape *p, size_t n, const char *const *linear,
                 const size_t *of, size_t nlinear, const struct meta *kv, size_t nkv, struct sink_options o, struct err *e)
{
    struct stats_writer *w = mem_alloc(1, sizeof *w, e);
    struct tensor *t = mem_alloc(n * SLOTS + 1, sizeof *t, e);
    uint32_t *shard = mem_alloc(n * SLOTS + 1, sizeof *shard, e);
    struct meta *all = mem_alloc(nkv + 2, sizeof *all, e);
    struct buf shared = {0};
    int r = !w || !t || !shard || !all || !(w->p = arena_array(&w->mem, n + 1, sizeof *w->p, e))
         || !(w->first = arena_array(&w->mem, n + 1, sizeof *w->first, e)) || put_shared(&shared, p, linear, of, nlinear, e) ? -1 : 0;
    for (size_t i = 0; !r && i < nkv; i++)
        if (utf8_check(kv[i].value, strlen(kv[i].value)) != strlen(kv[i].value))
            r = err_set(e, ERR_INPUT, "'%s', which the metadata %s of %s would say, is not UTF-8 text", kv[i].value, kv[i].key, path);
    for (size_t i = 0; !r && i < n; i++) {
        if (!*p[i].name || utf8_check(p[i].name, strlen(p[i].name)) != strlen(p[i].name)) {
            r = err_set(e, ERR_INPUT, "'%s' is no name for statistics: it is empty, or not UTF-8 text", p[i].name);
            break;
        }
        w->p[i] = p[i];
        w->n++;
        r = !(w->p[i].name = arena_strdup(&w->mem, p[i].name, e)) || tensors_of(w, &w->p[i], &t[w->first[i]], e) ? -1 : 0;
        w->first[i + 1] = w->first[i] + tensors_before(&p[i], SLOTS);
    }
    if (!r) {
        all[0] = (struct meta){"octavo.calibration", "1"};
        all[1] = (struct meta){"octavo.calibration.shared", shared.s};
        if (nkv)
            memcpy(all + 2, kv, nkv * sizeof *kv);
        r = writer_safetensors(&w->w, t, w->first[n], shard, &path, 1, all, nkv + 2, false, e)
         || sink_open(&w->s, w->w.file, w->w.nfiles, w->w.slot, w->w.nslots, NULL, o, e) ? -1 : 0;
        if (w)
            w->open = !r;
    }
    free(t);
    free(shard);
    free(all);
    buf_free(&shared);
    if (r)
        stats_abort(w);
    *out = r ? NULL : w;
    return r;
}

static int put(struct stats_writer *w, size_t i, int slot, uint64_t off, const void *p, size_t n, struct err *e)
{
    return sink_put(&w->s, w->w.slot_of[w->first[i] + tensors_before(&w->p[i], slot)], off, p, n, e);
}

/* One F32 of a sum; what is no number stops here. */
static int narrow(const struct stats_writer *w, size_t i, double x, float *y, struct err *e)
{
    *y = (float)x;
    return isfinite(*y) ? 0 : err_set(e, ERR_INPUT, "a sum of '%s' is %g: its inputs are too large, or no numbers", w->p[i].name, x);
}

int stats_put_gram(struct stats_writer *w, size_t i, unsigned set, const double *h, struct err *e)
{
    const uint64_t n = w->p[i].width;
    float *row = mem_alloc(n, sizeof *row, e);
    int r = row ? 0 : -1;
    uint64_t off = 0;
    for (uint64_t a = 0; !r && a < n; a++) {
        for (uint64_t b = a; !r && b < n; b++)
            r = narrow(w, i, h[a * n + b], &row[b - a], e);
        r = r ? r : put(w, i, SLOT_XTX + (int)set, off, row, (n - a) * sizeof *row, e);
        off += (n - a) * sizeof *row;
    }
    free(row);
    return r;
}

int stats_put_diagonal(struct stats_writer *w, size_t i, unsigned set, const double *d, struct err *e)
{
    const uint64_t n = w->p[i].width;
    float *row = mem_alloc(n, sizeof *row, e);
    int r = row ? 0 : -1;
    for (uint64_t a = 0; !r && a < n; a++)
        r = narrow(w, i, d[a], &row[a], e);
    r = r ? r : put(w, i, SLOT_XTX + (int)set, 0, row, n * sizeof *row, e);
    free(row);
    return r;
}

int stats_put_rest(struct stats_writer *w, size_t i, const float *amax, const int64_t *histogram, const uint64_t tokens[STATS_SETS], struct err *e)
{
    const int64_t count[STATS_SETS] = {(int64_t)tokens[0], (int64_t)tokens[1]};
    return put(w, i, SLOT_REST, 0, amax, w->p[i].width * sizeof *amax, e)
        || put(w, i, SLOT_HISTOGRAM, 0, histogram, STATS_BINS * sizeof *histogram, e)
        || put(w, i, SLOT_TOKENS, 0, count, sizeof count, e) ? -1 : 0;
}

int stats_put_tokens(struct stats_writer *w, size_t i, const uint64_t tokens[STATS_SETS], struct err *e)
{
    return put(w, i, SLOT_TOKENS, 0, tokens, STATS_SETS * sizeof *tokens, e);
}

int stats_put_hits(struct stats_writer *w, size_t i, const uint64_t (*tokens)[STATS_SETS], struct err *e)
{
    return put(w, i, SLOT_HITS, 0, tokens, w->p[i].experts * sizeof *tokens, e);
}

static void drop(struct stats_writer *w)
{
    writer_free(&w->w);
    arena_free(&w->mem);
    free(w);
}

int stats_commit(struct stats_writer *w, struct err *e)
{
    const int r = sink_commit(&w->s, e);
    if (r)
        sink_abort(&w->s);
    drop(w);
    return r;
}

void stats_abort(struct stats_writer *w)
{
    if (!w)
        return;
    if (w->open)
        sink_abort(&w->s);
    drop(w);
}

/* ---- adding up ------------------------------------------------------------------------ */
struct merging {
    struct stats *s;
    size_t n;
    struct stats_shape *p;           /* of the result, and the file that has each first */
    size_t np, *first;
    const char **linear;
    size_t *of, nlinear;
    struct map by_name;
    struct arena mem;
};

static const struct stats_point *own_point(const struct stats *s, const char *name)
{
    const struct stats_point *p = stats_find(s, name);
    return p && !strcmp(p->name, name) ? p : NULL;
}

static int add_shapes(struct merging *m, size_t k, struct err *e)
{
    const struct stats *s = &m->s[k];
    for (size_t i = 0; i < s->n; i++) {
        const struct stats_point *p = &s->point[i];
        size_t at;
        const bool full = p->xtx[STATS_FIT] != SIZE_MAX && p->xtx[STATS_HOLDOUT] != SIZE_MAX;
        const bool bare = !full && p->xx[STATS_FIT] != SIZE_MAX && p->xx[STATS_HOLDOUT] == SIZE_MAX && p->amax == SIZE_MAX
                       && p->histogram == SIZE_MAX && p->hits == SIZE_MAX;
        if (!bare && (p->amax == SIZE_MAX || p->histogram == SIZE_MAX
                      || (!full && (p->xx[STATS_FIT] == SIZE_MAX || p->xx[STATS_HOLDOUT] == SIZE_MAX))))
            return err_set(e, ERR_INPUT, "%s: '%s' is not complete (octavo-calibration(5))", s->m[p->model].path, p->name);
        const uint64_t experts = p->hits == SIZE_MAX ? 0 : s->m[p->model].t[p->hits].dim[0];
        if (!map_find(&m->by_name, p->name, &at)) {
            at = m->np++;
            m->p[at] = (struct stats_shape){p->name, p->width, full, experts, bare};
            m->first[at] = k;
            if (map_add(&m->by_name, p->name, at, e) < 0)
                return -1;
        }
        if (m->p[at].width != p->width)
            return err_set(e, ERR_INPUT, "'%s' has %llu channels in %s and %llu in %s", p->name, (unsigned long long)m->p[at].width,
                           m->s[m->first[at]].m->path, (unsigned long long)p->width, s->m[p->model].path);
        if (m->p[at].experts != experts)
            return err_set(e, ERR_INPUT, "'%s' is a sum over %llu experts in %s and over %llu in %s", p->name, (unsigned long long)m->p[at].experts,
                           m->s[m->first[at]].m->path, (unsigned long long)experts, s->m[p->model].path);
        if (m->p[at].bare != bare)
            return err_set(e, ERR_INPUT, "'%s' is a sum of squares alone in %s, and more in %s", p->name, (bare ? s : &m->s[m->first[at]])->m->path,
                           (bare ? &m->s[m->first[at]] : s)->m->path);
        m->p[at].full &= full;
    }
    for (size_t i = 0; i < s->by_linear.n; i++) {
        const char *linear = map_name(&s->by_linear, i);
        const struct stats_point *p = stats_find(s, linear);
        size_t at = 0;
        if (!p || !map_find(&m->by_name, p->name, &at))
            continue;
        for (size_t q = 0; q < k; q++) {
            const struct stats_point *other = stats_find(&m->s[q], linear);
            if (other && strcmp(other->name, p->name))
                return err_set(e, ERR_INPUT, "'%s' shares '%s' in %s and '%s' in %s", linear, other->name, m->s[q].m->path, p->name, s->m->path);
        }
        m->linear[m->nlinear] = linear;
        m->of[m->nlinear++] = at;
    }
    return 0;
}

/* One set of a point: what all files have of it. */
static int merge_set(struct merging *m, struct stats_writer *w, size_t i, unsigned set, struct err *e)
{
    const struct stats_shape *p = &m->p[i];
    const uint64_t n = p->full ? p->width * p->width : p->width;
    double *sum = mem_alloc(n, sizeof *sum, e), *one = mem_alloc(n, sizeof *one, e);
    int r = sum && one ? 0 : -1;
    for (size_t k = 0; !r && k < m->n; k++) {
        const struct stats_point *x = own_point(&m->s[k], p->name);
        if (!x)
            continue;
        r = p->full ? stats_gram(&m->s[k], x, set, one, e) : stats_diagonal(&m->s[k], x, set, one, e);
        for (uint64_t a = 0; !r && a < n; a++)
            sum[a] += one[a];
    }
    r = r ? r : p->full ? stats_put_gram(w, i, set, sum, e) : stats_put_diagonal(w, i, set, sum, e);
    free(sum);
    free(one);
    return r;
}

/* False: more than an I64 holds. */
static bool add_tokens(uint64_t to[STATS_SETS], const uint64_t more[STATS_SETS])
{
    bool fits = true;
    for (int set = 0; set < STATS_SETS; set++)
        fits &= add_u64(to[set], more[set], &to[set]) && to[set] <= INT64_MAX;
    return fits;
}

static int merge_rest(struct merging *m, struct stats_writer *w, size_t i, struct err *e)
{
    const struct stats_shape *p = &m->p[i];
    float *amax = mem_alloc(p->width, 2 * sizeof *amax, e), *one = amax ? amax + p->width : NULL;
    int64_t *count = mem_alloc(2 * STATS_BINS, sizeof *count, e);
    uint64_t tokens[STATS_SETS] = {0}, (*hits)[STATS_SETS] = mem_alloc(p->experts + 1, sizeof *hits, e);
    int r = amax && count && hits ? 0 : -1;
    for (size_t k = 0; !r && k < m->n; k++) {
        const struct stats_point *x = own_point(&m->s[k], p->name);
        if (!x)
            continue;
        r = p->bare ? 0 : stats_amax(&m->s[k], x, one, e) || stats_histogram(&m->s[k], x, count + STATS_BINS, e) ? -1 : 0;
        for (uint64_t a = 0; !r && a < p->width; a++)
            amax[a] = fmaxf(amax[a], one[a]);
        bool fits = true;
        for (size_t a = 0; !r && !p->bare && a < STATS_BINS; a++)
            fits &= !__builtin_add_overflow(count[a], count[STATS_BINS + a], &count[a]);
        fits &= add_tokens(tokens, x->tokens);
        for (uint64_t a = 0; !r && a < p->experts; a++) {
            uint64_t some[STATS_SETS];
            r = stats_hits(&m->s[k], x, a, some, e);
            fits &= r || add_tokens(hits[a], some);
        }
        if (!r && !fits)
            r = err_set(e, ERR_INPUT, "%s: counts of '%s' and those of the files before it add up to more than 64 bits hold", m->s[k].m->path, p->name);
    }
    r = r || (p->bare ? stats_put_tokens(w, i, tokens, e) : stats_put_rest(w, i, amax, count, tokens, e)) || (p->experts && stats_put_hits(w, i, (const uint64_t (*)[STATS_SETS])hits, e)) ? -1 : 0;
    free(hits);
    free(amax);
    free(count);
    return r;
}

int stats_merge(const char *const *path, size_t n, const char *output, struct sink_options o, struct err *e)
{
    struct merging m = {.s = mem_alloc(n, sizeof *m.s, e)};
    struct stats_writer *w = NULL;
    size_t most = 0, linears = 0;
    int r = m.s ? 0 : -1;
    for (; !r && m.n < n; m.n += !r)
        r = stats_open(&m.s[m.n], path[m.n], e);
    for (size_t k = 0; k < m.n; k++) {
        most += m.s[k].n;
        linears += m.s[k].by_linear.n;
    }
    r = r || !(m.p = arena_array(&m.mem, most + 1, sizeof *m.p, e)) || !(m.first = arena_array(&m.mem, most + 1, sizeof *m.first, e))
     || !(m.linear = arena_array(&m.mem, linears + 1, sizeof *m.linear, e)) || !(m.of = arena_array(&m.mem, linears + 1, sizeof *m.of, e)) ? -1 : 0;
    for (size_t k = 0; !r && k < n; k++)
        r = add_shapes(&m, k, e);
    /* Of several files of one model the metadata of the first speak for all. */
    struct meta kv[64];
    size_t nkv = 0;
    for (size_t i = 0; !r && i < m.s->m->nkv && nkv < 64; i++)
        if (!strncmp(m.s->m->kv[i].key, "octavo.calibration.", 19) && strcmp(m.s->m->kv[i].key, "octavo.calibration.shared"))
            kv[nkv++] = m.s->m->kv[i];
    r = r || stats_create(&w, output, m.p, m.np, m.linear, m.of, m.nlinear, kv, nkv, o, e) ? -1 : 0;
    for (size_t i = 0; !r && i < m.np; i++)
        r = merge_set(&m, w, i, STATS_FIT, e) || (!m.p[i].bare && merge_set(&m, w, i, STATS_HOLDOUT, e)) || merge_rest(&m, w, i, e) ? -1 : 0;
    if (r)
        stats_abort(w);
    else
        r = stats_commit(w, e);
    for (size_t k = 0; k < m.n; k++)
        stats_close(&m.s[k]);
    free(m.s);
    map_free(&m.by_name);
    arena_free(&m.mem);
    return r;
}
