#include "calibrate/rounder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void calibrated_init(struct calibrated *c, const struct stats *s, unsigned threads, unsigned passes)
{
    *c = (struct calibrated){.stats = s, .threads = threads, .passes = passes};
}

void calibrated_free(struct calibrated *c)
{
    free(c->done);
    free(c->h);
    free(c->hold);
    arena_free(&c->mem);
}

static bool has_both(const struct stats_point *p)
{
    return p && p->xtx[STATS_FIT] != SIZE_MAX && p->xtx[STATS_HOLDOUT] != SIZE_MAX && p->tokens[STATS_FIT] && p->tokens[STATS_HOLDOUT];
}

/* What stands for the experts of a layer together: the router's input, or the sum over their down projections. */
static const struct stats_point *pooled(const struct stats *s, const char *name)
{
    char other[512];
    const char *p = strstr(name, ".experts."), *last = strrchr(name, '.');
    const bool weight = last && !strcmp(last, ".weight");
    if (!p)
        return NULL;
    const int stem = (int)(p - name);
    const char *end = weight ? last : name + strlen(name), *part = end;
    while (part > name && part[-1] != '.')
        part--;
    const bool down = !strncmp(part, "down_proj", 9) || !strncmp(part, "w2", 2);
    if (down)
        snprintf(other, sizeof other, "%.*s.experts.%.*s", stem, name, (int)(end - part), part);
    else
        snprintf(other, sizeof other, "%.*s.gate", stem, name);
    return stats_find(s, other);
}

static const struct stats_point *point_of(const struct calibrated *c, const char *name, uint64_t cols)
{
    const struct stats_point *own = stats_find(c->stats, name), *all = pooled(c->stats, name);
    const bool enough = has_both(own) && (!all || own->tokens[STATS_FIT] >= 4 * own->width);
    const struct stats_point *p = enough || !has_both(all) ? own : all;
    return has_both(p) && p->width == cols ? p : NULL;
}

static bool wants(void *ctx, const char *name, uint64_t rows, uint64_t cols)
{
    struct calibrated *c = ctx;
    const bool yes = rows && point_of(c, name, cols) != NULL;
    if (yes)
        c->widest = max_u64(c->widest, cols);
    return yes;
}

static int read_moments(struct calibrated *c, const struct stats_point *p, struct err *e)
{
    if (c->point == p)
        return 0;
    free(c->h);
    free(c->hold);
    c->point = NULL;
    c->h = mem_alloc(p->width, p->width * sizeof *c->h, e);
    c->hold = c->h ? mem_alloc(p->width, p->width * sizeof *c->hold, e) : NULL;
    if (!c->hold || stats_gram(c->stats, p, STATS_FIT, c->h, e) || stats_gram(c->stats, p, STATS_HOLDOUT, c->hold, e))
        return -1;
    c->point = p;
    return 0;
}

static int round_one(void *ctx, const struct rounding *x, struct err *e)
{
    struct calibrated *c = ctx;
    struct grid g;
    const struct stats_point *p = point_of(c, x->name, x->cols);
    struct round_job j = {&g, x->rows, x->cols, x->w, x->scale, x->block_rows, x->block_cols, x->code, NULL, NULL, c->threads, 0, c->passes};
    if (read_moments(c, p, e) || mem_grow((void **)&c->done, &c->cap, c->n + 1, sizeof *c->done, e))
        return -1;
    struct rounded *r = &c->done[c->n];
    *r = (struct rounded){.name = arena_strdup(&c->mem, x->name, e), .point = p->name, .rows = x->rows, .cols = x->cols,
                          .tokens = {p->tokens[0], p->tokens[1]}};
    j.h = c->h;
    j.hold = c->hold;
    grid_init(&g, x->num, x->symmetric);
    if (!r->name)
        return -1;
    if (round_layer(&j, &r->r, e))
        return err_prefix(e, "tensor '%s'", x->name);
    c->n++;
    return 0;
}

struct rounder calibrated_rounder(struct calibrated *c) { return (struct rounder){c, wants, round_one}; }

uint64_t calibrated_memory(const struct calibrated *c)
{
    return c->widest * c->widest * 4 * sizeof(double) + (uint64_t)c->threads * 64 * 6 * c->widest * sizeof(double);
}

double rounded_gain(const struct rounded *r)
{
    return r->r.kept && r->r.chosen > 0 ? 10 * log10(r->r.nearest / r->r.chosen) : 0;
}
