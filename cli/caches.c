#include "cli/caches.h"

#include "formats/derived.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct cache_scale {
    struct derived d;
    float value;
};

static int scale_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out, struct err *e)
{
    (void)m;
    (void)row;
    (void)e;
    if (n)
        memcpy(out, &((const struct cache_scale *)d)->value, sizeof(float));
    return 0;
}

static bool of_cache(const char *name) { return ends_with(name, ".k_scale") || ends_with(name, ".v_scale"); }

/* The weight beside which tensor i of the scales belongs. */
static int beside(struct model *src, const struct model *scales, size_t i, size_t *at, struct err *e)
{
    const char *name = scales->t[i].name;
    const size_t n = strlen(name) - strlen("k_scale");
    const char *weight = arena_printf(&src->mem, e, "%.*s%c_proj.weight", (int)n, name, name[n]);
    if (!weight)
        return -1;
    if (map_find(&src->by_name, weight, at))
        return 0;
    return err_set(e, ERR_INPUT, "%s: '%s' is of a cache, and %s has no '%s'", scales->path, name, src->path, weight);
}

static int one_scale(struct model *src, const struct model *scales, size_t i, struct tensor *t, struct err *e)
{
    const struct tensor *from = &scales->t[i];
    struct cache_scale *s = arena_alloc(&src->mem, sizeof *s, e);
    const char *name = s ? arena_strdup(&src->mem, from->name, e) : NULL;
    if (!name)
        return -1;
    if (from->dtype != DT_F32 || tensor_elems(from) != 1)
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %s with %llu elements, and one F32 is wanted", scales->path, from->name, dtype_name(from->dtype),
                       (unsigned long long)tensor_elems(from));
    if (model_read((struct model *)scales, i, 0, &s->value, sizeof s->value, e))
        return -1;
    if (!(s->value > 0) || isinf(s->value))
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is %g, which is no scale", scales->path, from->name, (double)s->value);
    s->d = (struct derived){sizeof s->value, scale_rows, true};
    *t = (struct tensor){.name = name, .dtype = DT_F32, .rank = 1, .dim = {1}, .size = 4, .derived = &s->d};
    return 0;
}

struct placed {
    size_t at;
    struct tensor t;
};

static int by_place(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    return x->at != y->at ? (x->at > y->at ? 1 : -1) : strcmp(x->t.name, y->t.name);
}

int caches_add(struct model *src, const struct model *scales, const struct convention *c, size_t *n, struct err *e)
{
    *n = 0;
    for (size_t i = 0; i < scales->n; i++)
        *n += of_cache(scales->t[i].name);
    if (!*n)
        return 0;
    if (!c || (strcmp(c->name, "deepseek") && strcmp(c->name, "compressed-tensors")))
        return err_set(e, ERR_USAGE, "%s has scales of a KV cache, which are written in the conventions deepseek and compressed-tensors, not in %s", scales->path,
                       c ? c->name : "none");
    if (!src->random)
        return err_set(e, ERR_INPUT, "%s: scales of a KV cache need a file, not a pipe (--spool)", src->path);
    struct placed *p = mem_alloc(*n, sizeof *p, e);
    struct tensor *t = p ? mem_alloc(*n, sizeof *t, e) : NULL;
    size_t *at = t ? mem_alloc(*n, sizeof *at, e) : NULL, k = 0;
    bool *gone = at ? mem_alloc(src->n + 1, sizeof *gone, e) : NULL;
    int r = gone ? 0 : -1;
    for (size_t i = 0; !r && i < scales->n; i++)
        if (of_cache(scales->t[i].name)) {
            r = beside(src, scales, i, &p[k].at, e) || one_scale(src, scales, i, &p[k].t, e) ? -1 : 0;
            k++;
        }
    if (!r) {
        qsort(p, k, sizeof *p, by_place);
        for (size_t i = 0; i < k; i++) {
            t[i] = p[i].t;
            at[i] = p[i].at;
        }
        r = derived_replace(src, gone, t, at, k, e);
    }
    free(p);
    free(t);
    free(at);
    free(gone);
    return r;
}
