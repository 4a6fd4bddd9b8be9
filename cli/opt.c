#include "cli/opt.h"

#include "formats/mem.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void common_init(struct common *c)
{
    *c = (struct common){.sync = true, .progress = true};
    long n = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    c->threads = n > 0 ? (unsigned)n : 1;
    c->memory = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 2 : UINT64_MAX;
}

static struct arena lists; /* of OPT_LIST */

void opt_release(void) { arena_free(&lists); }

static int help_width(const struct opt *o)
{
    return (int)strlen(o->name) + (o->arg ? (int)strlen(o->arg) + 1 : 0);
}

static void print_help(const struct usage *u)
{
    int width = 4;
    for (const struct opt *o = u->opt; o->type; o++)
        width = help_width(o) > width ? help_width(o) : width;
    printf("octavo %s [OPTION]... %s\n%s\n\n", u->verb, u->operands, u->title);
    for (const struct opt *o = u->opt; o->type; o++) {
        printf(o->letter ? "  -%c, " : "      ", o->letter);
        printf("--%s%s%s%*s  %s\n", o->name, o->arg ? "=" : "", o->arg ? o->arg : "", width - help_width(o), "",
               o->help);
    }
    printf("      --help%*s  this text; 'octavo help %s' opens the manual\n", width - 4, "", u->verb);
}

static int parse_size(const char *s, uint64_t *out)
{
    static const struct { const char *unit; uint64_t bytes; } units[] = {
        {"", 1}, {"B", 1}, {"K", 1 << 10}, {"KiB", 1 << 10}, {"KB", 1000}, {"M", 1 << 20}, {"MiB", 1 << 20},
        {"MB", 1000000}, {"G", 1 << 30}, {"GiB", 1 << 30}, {"GB", 1000000000}, {"T", 1ull << 40},
        {"TiB", 1ull << 40}, {"TB", 1000000000000}};
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (end == s || errno || *s == '-')
        return -1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit))
            return mul_u64(v, units[i].bytes, out) ? 0 : -1;
    return -1;
}

static int bad_value(const struct opt *o, const char *v, const char *want, struct err *e)
{
    return err_set(e, ERR_USAGE, "--%s takes %s, not '%s'", o->name, want, v);
}

static int store(const struct opt *o, const char *v, struct err *e)
{
    char *end;
    unsigned long n;
    switch (o->type) {
    case OPT_FLAG: *(bool *)o->to = true; return 0;
    case OPT_OFF: *(bool *)o->to = false; return 0;
    case OPT_COUNT: ++*(int *)o->to; return 0;
    case OPT_STRING: *(const char **)o->to = v; return 0;
    case OPT_LIST: {
        struct opt_list *l = o->to;
        if (l->n == l->cap) {
            struct opt_list_item *more = arena_array(&lists, 2 * l->cap + 8, sizeof *more, e);
            if (!more)
                return -1;
            if (l->n)
                memcpy(more, l->item, l->n * sizeof *more);
            l->item = more;
            l->cap = 2 * l->cap + 8;
        }
        l->item[l->n++] = (struct opt_list_item){v, o->name};
        return 0;
    }
    case OPT_THREADS:
        errno = 0;
        n = strtoul(v, &end, 10);
        if (end == v || *end || errno || *v == '-' || n > 1024)
            return bad_value(o, v, "a number from 0 to 1024", e);
        if (n)
            *(unsigned *)o->to = (unsigned)n;
        return 0;
    case OPT_SIZE:
        return parse_size(v, o->to) || !*(uint64_t *)o->to ? bad_value(o, v, "a size such as 512MiB or 5GB", e) : 0;
    case OPT_REAL: {
        double x = strtod(v, &end);
        if (end == v || *end || !isfinite(x))
            return bad_value(o, v, "a number", e);
        *(double *)o->to = x;
        return 0;
    }
    default: return 0;
    }
}

static const struct opt *by_name(const struct usage *u, const char *name, size_t n, struct err *e)
{
    const struct opt *found = NULL;
    for (const struct opt *o = u->opt; o->type; o++) {
        if (strncmp(o->name, name, n))
            continue;
        if (!o->name[n])
            return o;
        if (found) {
            (void)err_set(e, ERR_USAGE, "--%.*s is ambiguous: --%s or --%s?", (int)n, name, found->name, o->name);
            return NULL;
        }
        found = o;
    }
    if (!found)
        (void)err_set(e, ERR_USAGE, "octavo %s has no option --%.*s (see octavo %s --help)", u->verb, (int)n, name,
                      u->verb);
    return found;
}

static int long_option(const struct usage *u, int argc, char **argv, int *i, struct err *e)
{
    const char *s = argv[*i] + 2, *eq = strchr(s, '=');
    if (!strcmp(s, "help")) {
        print_help(u);
        return 1;
    }
    if (!strcmp(s, "list-options")) { /* for completion */
        for (const struct opt *o = u->opt; o->type; o++)
            printf("--%s\n", o->name);
        return 1;
    }
    const struct opt *o = by_name(u, s, eq ? (size_t)(eq - s) : strlen(s), e);
    if (!o)
        return -1;
    if (!o->arg)
        return eq ? err_set(e, ERR_USAGE, "--%s takes no value", o->name) : store(o, NULL, e);
    if (!eq && *i + 1 >= argc)
        return err_set(e, ERR_USAGE, "--%s needs a value (%s)", o->name, o->arg);
    return store(o, eq ? eq + 1 : argv[++*i], e);
}

static int letters(const struct usage *u, int argc, char **argv, int *i, struct err *e)
{
    for (const char *s = argv[*i] + 1; *s; s++) {
        const struct opt *o = u->opt;
        while (o->type && o->letter != *s)
            o++;
        if (*s == 'h' && !o->type) {
            print_help(u);
            return 1;
        }
        if (!o->type)
            return err_set(e, ERR_USAGE, "octavo %s has no option -%c (see octavo %s --help)", u->verb, *s, u->verb);
        if (!o->arg) {
            if (store(o, NULL, e))
                return -1;
            continue;
        }
        if (s[1])
            return store(o, s + 1, e);
        if (*i + 1 >= argc)
            return err_set(e, ERR_USAGE, "-%c needs a value (%s)", *s, o->arg);
        return store(o, argv[++*i], e);
    }
    return 0;
}

int opt_parse(const struct usage *u, int argc, char **argv, size_t *n, struct err *e)
{
    bool only_operands = false;
    *n = 0;
    for (int i = 1; i < argc; i++) {
        int r = 0;
        if (only_operands || argv[i][0] != '-' || !argv[i][1])
            argv[(*n)++] = argv[i]; /* behind i, which counts from 1 */
        else if (!strcmp(argv[i], "--"))
            only_operands = true;
        else
            r = argv[i][1] == '-' ? long_option(u, argc, argv, &i, e) : letters(u, argc, argv, &i, e);
        if (r)
            return r;
    }
    if (*n < u->min || *n > u->max)
        return err_set(e, ERR_USAGE, "usage: octavo %s [OPTION]... %s", u->verb, u->operands);
    return 0;
}
