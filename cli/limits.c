#include "cli/limits.h"

#include "formats/io.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double figure_max(const struct error_sums *s) { return (double)s->m.max; }
static double figure_saturated(const struct error_sums *s) { return (double)s->m.saturated; }
static double figure_flushed(const struct error_sums *s) { return s->n ? (double)s->m.flushed / (double)s->n : 0; }

/* A limit: the figure it looks at, and on which side it must stay. */
static const struct { const char *name; size_t at; bool least; double (*figure)(const struct error_sums *); } checks[] = {
    {"max-rel", offsetof(struct limit_set, max_rel), false, error_rel},
    {"max-mse", offsetof(struct limit_set, max_mse), false, error_mse},
    {"min-sqnr", offsetof(struct limit_set, min_sqnr), true, error_sqnr},
    {"min-cosine", offsetof(struct limit_set, min_cosine), true, error_cosine},
    {"max-abs", offsetof(struct limit_set, max_abs), false, figure_max},
    {"max-saturated", offsetof(struct limit_set, max_saturated), false, figure_saturated},
    {"max-flushed", offsetof(struct limit_set, max_flushed), false, figure_flushed},
};
enum { CHECKS = sizeof checks / sizeof *checks };

static double *value_of(struct limit_set *s, size_t k) { return (double *)(void *)((char *)s + checks[k].at); }

/* ---- the file ------------------------------------------------------------------------------- */
static int one_word(struct limit_set *s, const char *word, const char *path, size_t line, struct err *e)
{
    const char *equals = strchr(word, '=');
    char *end;
    if (!strcmp(word, "exact")) {
        s->exact = true;
        return 0;
    }
    for (size_t k = 0; equals && k < CHECKS; k++)
        if (strlen(checks[k].name) == (size_t)(equals - word) && !strncmp(word, checks[k].name, (size_t)(equals - word))) {
            const double x = strtod(equals + 1, &end);
            if (end == equals + 1 || *end || isnan(x))
                return err_set(e, ERR_USAGE, "%s:%zu: '%s' is no number", path, line, equals + 1);
            *value_of(s, k) = x;
            return 0;
        }
    return err_set(e, ERR_USAGE, "%s:%zu: '%s' is no limit; there are max-rel, max-mse, max-abs, min-sqnr, min-cosine, max-saturated, max-flushed (each =X) and exact",
                   path, line, word);
}

static int one_line(struct limits *l, char *text, const char *path, size_t line, struct err *e)
{
    char *save, origin[64], *pattern = strtok_r(text, " \t\r", &save);
    if (!pattern || *pattern == '#')
        return 0;
    snprintf(origin, sizeof origin, "line %zu", line);
    if (rules_add(&l->patterns, pattern, ACTION_KEEP, origin, e) || mem_grow((void **)&l->of, &l->cap, l->n + 1, sizeof *l->of, e))
        return -1;
    struct limit_set *s = &l->of[l->n++];
    *s = (struct limit_set)NO_LIMITS;
    size_t words = 0;
    for (char *word; (word = strtok_r(NULL, " \t\r", &save)) && *word != '#'; words++)
        if (one_word(s, word, path, line, e))
            return -1;
    return words ? 0 : err_set(e, ERR_USAGE, "%s:%zu: '%s' without a limit", path, line, pattern);
}

int limits_file(struct limits *l, const char *path, struct err *e)
{
    size_t n, line = 1;
    char *text = io_read_file(path, 1 << 24, &n, e);
    int r = text ? 0 : -1;
    for (char *at = text; !r && *at; line++) {
        char *end = strchr(at, '\n'), *next = end ? end + 1 : at + strlen(at);
        if (end)
            *end = 0;
        r = one_line(l, at, path, line, e);
        at = next;
    }
    free(text);
    return r;
}

void limits_free(struct limits *l)
{
    rules_free(&l->patterns);
    free(l->of);
}

/* ---- one tensor ------------------------------------------------------------------------------- */

/* What a weight of its scheme should reach (--strict). */
static struct limit_set strict_of(const struct limits *l, const struct tensor_error *t)
{
    struct limit_set s = NO_LIMITS;
    if (!t->scheme)
        return s;
    if (t->scheme->elem == DT_F8_E4M3 || t->scheme->elem == DT_F8_E4M3FNUZ)
        s.min_sqnr = l->calibrated ? 24 : 31;
    else if (t->scheme->elem == DT_F8_E5M2 || t->scheme->elem == DT_F8_E5M2FNUZ)
        s.min_sqnr = l->calibrated ? 20 : 25;
    s.max_saturated = t->scheme->elem == DT_F4 ? NAN : 0;
    s.max_flushed = t->scheme->elem == DT_F4 || scheme_int(t->scheme) ? NAN : 0.05;
    return s;
}

static bool keeps(const struct limit_set *s, const struct tensor_error *t, char *text, size_t n)
{
    const bool exact = t->sums.m.equal == t->sums.n;
    for (size_t k = 0; !t->bytes && k < CHECKS; k++) {
        const double limit = *value_of((struct limit_set *)s, k), x = checks[k].figure(&t->sums);
        if (!isnan(limit) && !(checks[k].least ? x >= limit : x <= limit)) { /* written so that NaN fails */
            snprintf(text, n, "fails --%s: %.6g", checks[k].name, x);
            return false;
        }
    }
    if (exact || (!t->bytes && !s->exact))
        return true;
    snprintf(text, n, "has %" PRIu64 " of %" PRIu64 " %s that differ", t->sums.n - t->sums.m.equal, t->sums.n, t->bytes ? "bytes" : "values");
    return false;
}

bool limits_keep(const struct limits *l, const struct tensor_error *t, char *text, size_t n)
{
    const struct rule *r = l->n ? rules_find(&l->patterns, t->name) : NULL;
    const struct limit_set strict = strict_of(l, t);
    return keeps(&l->all, t, text, n) && (!r || keeps(&l->of[r - l->patterns.r], t, text, n)) && (!l->strict || keeps(&strict, t, text, n));
}
