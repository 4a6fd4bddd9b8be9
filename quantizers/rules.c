#include "quantizers/rules.h"

#include "formats/io.h"
#include "quantizers/presets.h"

#include <ctype.h>
#include <fnmatch.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int rules_add(struct rules *r, const char *pattern, enum action a, const char *origin, struct err *e)
{
    struct rule x = {.action = a, .only_stars = !strpbrk(pattern, "?[\\")};
    x.pattern = arena_strdup(&r->mem, pattern, e);
    x.origin = arena_strdup(&r->mem, origin, e);
    if (!x.pattern || !x.origin || mem_grow((void **)&r->r, &r->cap, r->n + 1, sizeof x, e))
        return -1;
    if (!strncmp(pattern, "re:", 3)) {
        regex_t *re = arena_alloc(&r->mem, sizeof *re, e);
        if (!re)
            return -1;
        int bad = regcomp(re, pattern + 3, REG_EXTENDED | REG_NOSUB);
        if (bad) {
            char why[128];
            regerror(bad, re, why, sizeof why);
            return err_set(e, ERR_USAGE, "%s: '%s' is no regular expression: %s", origin, pattern, why);
        }
        x.regex = re;
    }
    r->r[r->n++] = x;
    return 0;
}

int rules_add_default(struct rules *r, const char *pattern, enum action a, const char *origin, const char *why,
                      struct err *e)
{
    if (rules_add(r, pattern, a, origin, e))
        return -1;
    r->r[r->n - 1].is_default = true;
    r->r[r->n - 1].why = why;
    return 0;
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    for (char *end = s + strlen(s); end > s && isspace((unsigned char)end[-1]);)
        *--end = 0;
    return s;
}

static const struct { const char *word; enum action action; enum dtype dtype; } words[] = {
    {"quantize", ACTION_QUANTIZE, DT_COUNT}, {"keep", ACTION_KEEP, DT_COUNT}, {"drop", ACTION_DROP, DT_COUNT},
    {"bf16", ACTION_DECODE, DT_BF16},        {"f16", ACTION_DECODE, DT_F16},  {"f32", ACTION_DECODE, DT_F32},
};
enum { WORDS = sizeof words / sizeof *words };

/* "mxfp8 floor": a scheme and perhaps a rule. */
static struct encoding *read_encoding(struct rules *r, const char *origin, char *what, struct err *e)
{
    char *rule = what + strcspn(what, " \t");
    if (*rule)
        *rule++ = 0;
    rule = trim(rule);
    const struct scheme *s = scheme_find(what);
    if (!s) {
        (void)err_set(e, ERR_USAGE, "%s: '%s' is neither quantize, keep, drop, bf16, f16, f32 nor a scheme", origin, what);
        return NULL;
    }
    struct encoding *to = arena_alloc(&r->mem, sizeof *to, e);
    if (to && !encoding_make(to, s, *rule ? rule : NULL, e))
        return to;
    if (to)
        err_prefix(e, "%s", origin);
    return NULL;
}

/* "--NAME VALUE" or "--NAME=VALUE" */
static int read_option(struct rules *r, const char *origin, char *line, bool options, struct err *e)
{
    char *value = line + strcspn(line, " \t=");
    if (!options)
        return err_set(e, ERR_USAGE, "%s: '%s' is an option, and only octavo quantize takes options from a file", origin,
                       line);
    if (mem_grow((void **)&r->option, &r->option_cap, r->noptions + 1, sizeof *r->option, e))
        return -1;
    if (*value)
        *value++ = 0;
    value = trim(value);
    struct rule_option x = {arena_strdup(&r->mem, line + 2, e), NULL, arena_strdup(&r->mem, origin, e)};
    if (*value)
        x.value = arena_strdup(&r->mem, value, e);
    if (!x.name || !x.origin || (*value && !x.value))
        return -1;
    r->option[r->noptions++] = x;
    return 0;
}

static int add_read(struct rules *r, const char *pattern, enum action a, bool is_default, const char *origin,
                    struct err *e)
{
    return is_default ? rules_add_default(r, pattern, a, origin, NULL, e) : rules_add(r, pattern, a, origin, e);
}

static int read_rule(struct rules *r, const char *origin, char *line, bool schemes, struct err *e)
{
    char *eq = strrchr(line, '=');
    if (!eq)
        return err_set(e, ERR_USAGE, "%s: '%s' is no rule (PATTERN = quantize|keep|drop%s, or with ?=)", origin, line,
                       schemes ? "|bf16|f16|f32|SCHEME [RULE]" : "");
    *eq = 0;
    /* A '?' right before the '=' belongs to it when a blank is before both: "a? = keep" and "a?=keep" are rules for a?. */
    const bool is_default = eq > line && eq[-1] == '?' && (eq - 1 == line || isspace((unsigned char)eq[-2]));
    if (is_default)
        eq[-1] = 0;
    const char *pattern = trim(line);
    char *what = trim(eq + 1);
    if (!*pattern)
        return err_set(e, ERR_USAGE, "%s: a rule without a pattern", origin);
    for (size_t i = 0; i < WORDS; i++)
        if (!strcmp(what, words[i].word) && (schemes || words[i].action != ACTION_DECODE)) {
            if (add_read(r, pattern, words[i].action, is_default, origin, e))
                return -1;
            r->r[r->n - 1].dtype = words[i].dtype;
            return 0;
        }
    if (!schemes)
        return err_set(e, ERR_USAGE, "%s: '%s' is neither quantize, keep nor drop", origin, what);
    struct encoding *to = read_encoding(r, origin, what, e);
    if (!to || add_read(r, pattern, ACTION_QUANTIZE, is_default, origin, e))
        return -1;
    r->r[r->n - 1].to = to;
    return 0;
}

/* A comment begins with '#' at the start of a line or after a blank. */
static void cut_comment(char *line)
{
    for (char *hash = line; (hash = strchr(hash, '#')); hash++)
        if (hash == line || isspace((unsigned char)hash[-1])) {
            *hash = 0;
            return;
        }
}

int rules_file(struct rules *r, const char *path, bool schemes, struct err *e)
{
    size_t n;
    char *text = io_read_file(path, 1 << 24, &n, e);
    if (!text)
        return -1;
    int result = 0, number = 0;
    if (strlen(text) != n)
        result = err_set(e, ERR_INPUT, "%s: byte %zu is zero, so this is no file of rules", path, strlen(text));
    for (char *line = text, *next; !result && line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        number++;
        cut_comment(line);
        line = trim(line);
        char origin[512];
        snprintf(origin, sizeof origin, "%s:%d", path, number);
        if (*line)
            result = !strncmp(line, "--", 2) ? read_option(r, origin, line, schemes, e)
                                             : read_rule(r, origin, line, schemes, e);
    }
    free(text);
    return result;
}

/* Most patterns have no wildcard but '*', and a model has 100,000 names: fnmatch takes seconds for them. */
static bool stars_match(const char *p, const char *s)
{
    const char *star = NULL, *from = NULL;
    while (*s) {
        if (*p == '*') {
            star = ++p;
            from = s;
        } else if (*p == *s) {
            p++;
            s++;
        } else if (star) { /* what the last '*' takes ends a byte later */
            p = star;
            s = ++from;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return !*p;
}

static bool matches(const struct rule *x, const char *name)
{
    return x->regex ? !regexec(x->regex, name, 0, NULL, 0)
         : x->only_stars ? stars_match(x->pattern, name) : !fnmatch(x->pattern, name, 0);
}

const struct rule *rules_find(const struct rules *r, const char *name)
{
    for (int defaults = 0; r && defaults < 2; defaults++)
        for (size_t i = 0; i < r->n; i++)
            if (r->r[i].is_default == defaults && matches(&r->r[i], name))
                return &r->r[i];
    return NULL;
}

void rules_note(struct rules *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        r->r[i].used = r->r[i].used || r->r[i].is_default || matches(&r->r[i], name);
}

bool rules_take_run(struct rules *r, struct encoding *to)
{
    bool found = false;
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        const struct rule *x = &r->r[i];
        if (!x->is_default || x->action != ACTION_QUANTIZE || strcmp(x->pattern, "*")) {
            r->r[n++] = *x;
            continue;
        }
        if (x->to && !found)
            *to = *x->to;
        found |= x->to != NULL;
    }
    r->n = n;
    return found;
}

enum action rules_match(const struct rules *r, const char *name)
{
    const struct rule *x = rules_find(r, name);
    return x ? x->action : ACTION_DEFAULT;
}

/* Would a line of a file give this pattern back? */
static bool can_say(const char *p)
{
    const size_t n = strlen(p);
    if (!n || *p == '#' || !strncmp(p, "--", 2) || isspace((unsigned char)*p) || isspace((unsigned char)p[n - 1]))
        return false;
    for (; *p; p++)
        if (*p == '\n' || (isspace((unsigned char)*p) && p[1] == '#'))
            return false;
    return true;
}

int rules_print(const struct rules *r, const struct encoding *run, struct buf *text, struct err *e)
{
    const char *from = "";
    for (size_t i = 0; i < r->n; i++) {
        const struct rule *x = &r->r[i];
        const struct encoding *to = x->to ? x->to : x->action == ACTION_QUANTIZE ? run : NULL;
        const char *what = to ? to->scheme->name : "", *rule = to ? encoding_word(to) : "";
        for (size_t k = 0; !to && k < WORDS; k++)
            if (words[k].action == x->action && (x->action != ACTION_DECODE || words[k].dtype == x->dtype))
                what = words[k].word;
        if (!can_say(x->pattern))
            return err_set(e, ERR_USAGE, "%s: no line of a file can hold the pattern '%s'", x->origin, x->pattern);
        if (x->is_default && strcmp(x->origin, from) && buf_printf(text, e, "# %s\n", x->origin))
            return -1;
        if (x->is_default)
            from = x->origin;
        if (buf_printf(text, e, "%s %s %s%s%s%s%s\n", x->pattern, x->is_default ? "?=" : "=", what, *rule ? " " : "", rule,
                       x->why ? "  # " : "", x->why ? x->why : ""))
            return -1;
    }
    return 0;
}

bool rules_linear(const struct tensor *t, const char **why)
{
    size_t n = strlen(t->name);
    bool weight = n > 7 && !strcmp(t->name + n - 7, ".weight");
    bool experts = strstr(t->name, "experts") || strstr(t->name, "_exps");
    *why = NULL;
    if (!dtype_table[t->dtype].is_float || t->dtype == DT_F64)
        *why = "of a type that is not quantized";
    else if (t->rank < 2)
        *why = "a vector";
    else if (t->rank > 2 && !experts)
        *why = "no matrix of a linear layer";
    else if (!weight && (!experts || t->rank < 3))
        *why = "no weight of a linear layer";
    return !*why;
}

bool rules_default(const struct tensor *t, const char **why)
{
    const struct preset *p = preset_find("generic");
    bool yes = rules_linear(t, why);
    for (const struct preset_line *l = p->line; yes && l->pattern; l++)
        if (!fnmatch(l->pattern, t->name, 0)) {
            *why = l->why;
            yes = false;
        }
    return yes;
}

void rules_free(struct rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->r[i].regex)
            regfree(r->r[i].regex);
    free(r->r);
    free(r->option);
    arena_free(&r->mem);
    *r = (struct rules){0};
}
