/* octavo ls: what is in a model. Stable order, no volatile columns: it diffs well. */
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/verbs.h"

#include "formats/names.h"
#include "quantizers/rules.h"
#include "cli/job.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct line {
    const struct tensor *t;
    const char *scheme;   /* or "-" */
    const char *part;
    char *pattern;        /* --tree: the name with its numbers as * */
    size_t length;        /* of the name, or of the pattern */
    size_t count;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->t->name, ((const struct line *)b)->t->name);
}

enum { RADIX_FROM = 256 };

/* While sorting: eight bytes of the name, and whose it is. */
struct key {
    uint64_t part;
    const struct line *l;
};

static int by_part(const void *a, const void *b)
{
    uint64_t x = ((const struct key *)a)->part, y = ((const struct key *)b)->part;
    return x < y ? -1 : x > y;
}

/* By part, byte by byte from the last; tmp has room for n, bytes that are all alike are passed over. */
static void radix_sort(struct key *k, struct key *tmp, size_t n)
{
    for (unsigned shift = 0; shift < 64; shift += 8) {
        size_t at[256] = {0}, sum = 0;
        for (size_t i = 0; i < n; i++)
            at[k[i].part >> shift & 0xff]++;
        if (at[k[0].part >> shift & 0xff] == n)
            continue;
        for (size_t b = 0; b < 256; b++) {
            const size_t count = at[b];
            at[b] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++)
            tmp[at[k[i].part >> shift & 0xff]++] = k[i];
        memcpy(k, tmp, n * sizeof *k);
    }
}

/* By name, eight bytes at a time: names share long beginnings, which strcmp
 * would read over and over. The first depth bytes are equal. */
static void sort_keys(struct key *k, struct key *tmp, size_t n, size_t depth)
{
    for (bool differ = false; n > 1 && !differ; depth += 8) {
        for (size_t i = 0; i < n; i++) {
            const size_t left = k[i].l->length - depth;
            unsigned char s[8] = {0};
            memcpy(s, k[i].l->t->name + depth, left < 8 ? left : 8);
            k[i].part = (uint64_t)s[0] << 56 | (uint64_t)s[1] << 48 | (uint64_t)s[2] << 40 | (uint64_t)s[3] << 32
                      | (uint64_t)s[4] << 24 | (uint64_t)s[5] << 16 | (uint64_t)s[6] << 8 | s[7];
            differ |= k[i].part != k[0].part;
        }
        if (!differ && !(k[0].part & 0xff))
            return; /* the names end here */
    }
    if (n > RADIX_FROM)
        radix_sort(k, tmp, n);
    else if (n > 1)
        qsort(k, n, sizeof *k, by_part);
    for (size_t i = 0, end; i < n && n > 1; i = end) {
        for (end = i + 1; end < n && k[end].part == k[i].part; end++)
            ;
        if (end - i > 1 && (k[i].part & 0xff))
            sort_keys(k + i, tmp, end - i, depth);
    }
}

/* The lines by name, in memory of their own. */
static struct line *sort_names(const struct line *l, size_t n, struct err *e)
{
    struct key *k = mem_alloc(n, 2 * sizeof *k, e);
    struct line *sorted = k ? mem_alloc(n, sizeof *sorted, e) : NULL;
    for (size_t i = 0; sorted && i < n; i++)
        k[i].l = &l[i];
    if (sorted)
        sort_keys(k, k + n, n, 0);
    for (size_t i = 0; sorted && i < n; i++)
        sorted[i] = *k[i].l;
    free(k);
    return sorted;
}

static void print_json(const struct line *l, const struct model *m)
{
    char shape[256];
    printf("{\"name\":");
    out_json(stdout, l->t->name);
    printf(",\"dtype\":\"%s\",\"shape\":%s,\"bytes\":%" PRIu64 ",\"scheme\":", dtype_name(l->t->dtype),
           tensor_shape(l->t, shape), l->t->size);
    out_json(stdout, l->scheme);
    printf(",\"part\":\"%s\",\"file\":", l->part);
    out_json(stdout, m->f[l->t->file].name);
    if (l->t->stored)
        printf(",\"layout\":\"%s\"", l->t->stored->sentence);
    printf("}\n");
}

static char *pattern_of(const char *name, struct arena *mem, struct err *e)
{
    char *p = arena_alloc(mem, strlen(name) + 1, e), *q = p;
    for (const char *s = name; p && *s;) {
        bool number = isdigit((unsigned char)*s) && (s == name || s[-1] == '.');
        size_t n = strspn(s, "0123456789");
        if (number && (s[n] == '.' || !s[n])) {
            *q++ = '*';
            s += n;
        } else {
            *q++ = *s++;
        }
    }
    return p;
}

static bool alike(const struct line *a, const struct line *b)
{
    return !strcmp(a->pattern, b->pattern) && a->t->dtype == b->t->dtype && a->t->rank == b->t->rank
        && !memcmp(a->t->dim, b->t->dim, a->t->rank * sizeof *a->t->dim) && !strcmp(a->scheme, b->scheme);
}

static int by_pattern(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int r = strcmp(x->pattern, y->pattern);
    if (!r)
        r = (int)x->t->dtype - (int)y->t->dtype;
    for (int i = 0; !r && i < x->t->rank && i < y->t->rank; i++)
        r = x->t->dim[i] < y->t->dim[i] ? -1 : x->t->dim[i] > y->t->dim[i];
    return r ? r : by_name(a, b);
}

/* No printf: 92,000 lines are a large part of the time. */
static int print_table(const struct line *l, size_t n, struct err *e)
{
    enum { TYPE = 9 };
    size_t width = 4, shapes = 5, digits = 12;
    char shape[256];
    for (size_t i = 0; i < n; i++) {
        size_t k = strlen(tensor_shape(l[i].t, shape));
        width = l[i].length > width ? l[i].length : width;
        shapes = k > shapes ? k : shapes;
        if (l[i].t->size >= 1000000000000)
            digits = 20;
    }
    const size_t type = width + 2, dims = type + TYPE, bytes = dims + shapes + 1, end = bytes + digits + 2;
    char *row = mem_alloc(end, 1, e);
    if (!row)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *name = dtype_name(l[i].t->dtype);
        char *p = row + end - 2;
        uint64_t v = l[i].t->size;
        memset(row, ' ', end);
        out_copy(row, l[i].pattern ? l[i].pattern : l[i].t->name, l[i].length);
        memcpy(row + type, name, strlen(name));
        tensor_shape(l[i].t, shape);
        memcpy(row + dims, shape, strlen(shape));
        do
            *--p = (char)('0' + v % 10);
        while (v /= 10);
        fwrite_unlocked(row, 1, end, stdout);
        fputs_unlocked(l[i].scheme, stdout);
        if (l[i].count > 1)
            printf("  x %zu", l[i].count);
        if (l[i].t->stored)
            printf("  %s", l[i].t->stored->sentence);
        putchar_unlocked('\n');
    }
    free(row);
    return 0;
}

/* What a model holds as it lies: t[n], paired as g says; and as the other verbs see it, where a convention puts two
 * tensors into one or writes them as something else: m, paired as whole says. */
struct held {
    struct tensor *t;
    size_t n;
    bool apart;              /* t is memory of its own */
    struct grouping g, whole;
};

static int held_by(struct held *h, struct model *m, struct err *e)
{
    if (grouping_named(m, false, &h->g, e))
        return -1;
    h->t = m->t;
    h->n = m->n;
    h->whole = h->g;
    if (!h->g.convention || !h->g.convention->expand || !m->random)
        return 0;
    struct err no = {0};
    if (!(h->t = mem_alloc(h->n + 1, sizeof *h->t, e)))
        return -1;
    h->apart = true;
    memcpy(h->t, m->t, h->n * sizeof *h->t);
    return !grouping_expand(m, &no) && grouping_named(m, false, &h->whole, e) ? -1 : 0;
}

/* What tensor i belongs to, and where it is in *of. */
static const struct grouping *place_of(const struct held *h, const struct model *m, size_t i, size_t *of)
{
    if (!grouping_has(&h->g, i) && h->apart && map_find(&m->by_name, h->t[i].name, of) && grouping_has(&h->whole, *of))
        return &h->whole;
    *of = i;
    return &h->g;
}

static void print_sum(const struct model *m, const struct held *h)
{
    const struct grouping *g = &h->whole;
    uint64_t count[DT_COUNT] = {0}, bytes[DT_COUNT] = {0}, all = 0, elems = 0;
    char s[32];
    for (size_t i = 0; i < h->n; i++) {
        count[h->t[i].dtype]++;
        bytes[h->t[i].dtype] += h->t[i].size;
        all += h->t[i].size;
    }
    for (size_t i = 0; i < m->n; i++) {
        if (g->part[i] == PART_PLAIN)
            elems += tensor_elems(&m->t[i]);
        if (g->part[i] == PART_WEIGHT) {
            struct matrix x = view_matrix(&g->g[g->group[i]].view);
            elems += x.batch * x.rows * x.cols;
        }
    }
    fprintf(stderr, "%s: %zu tensors in %zu file%s, %" PRIu64 " weights, %s", m->path, h->n, m->nf,
            m->nf == 1 ? "" : "s", elems, out_bytes(all, s));
    if (g->convention)
        fprintf(stderr, ", %zu quantized (%s, %s)", g->n, g->n ? g->g[0].scheme->name : "-", g->convention->name);
    fputc('\n', stderr);
    for (size_t i = 0; m->naming && i < m->naming->nnotes; i++)
        fprintf(stderr, "  %s\n", m->naming->note[i]);
    const char *left = m->container == CONTAINER_TORCH ? model_meta(m, "torch.left_out") : NULL;
    if (left) {
        fprintf(stderr, "  left out: ");
        out_text(stderr, left);
        fputc('\n', stderr);
    }
    for (int t = DT_COUNT; t-- > 0;)
        if (count[t])
            fprintf(stderr, "  %-8s %8" PRIu64 " tensors  %s\n", dtype_name((enum dtype)t), count[t], out_bytes(bytes[t], s));
}

static void print_meta(const struct meta *kv)
{
    printf("# ");
    out_text(stdout, kv->key);
    printf(" = ");
    for (const char *s = kv->value; *s; s++) /* texts such as config.json have lines */
        putchar(((unsigned char)*s < 0x20 && *s != '\n' && *s != '\t') || *s == 0x7f ? '?' : *s);
    putchar('\n');
}

static int list(struct model *m, const struct held *h, const struct common *c, bool tree, bool meta, struct rules *rules, struct err *e)
{
    static const char *const part[PART_COUNT] = {
        [PART_PLAIN] = "plain", [PART_WEIGHT] = "weight",   [PART_SCALE] = "scale",    [PART_GLOBAL] = "global",
        [PART_POINT] = "zero point", [PART_ORDER] = "order", [PART_ZERO] = "offset",   [PART_ONE] = "factor",
        [PART_SHAPE] = "shape", [PART_AUX] = "activation",  [PART_LEFT] = "left over", [PART_PIECE] = "piece",
        [PART_BIAS] = "sums"};
    struct line *l = NULL;
    size_t n = 0;
    if (!(l = mem_alloc(h->n, sizeof *l, e)))
        return -1;
    for (size_t i = 0; i < h->n; i++) {
        const char *name = h->t[i].name;
        rules_note(rules, name);
        if (rules_match(rules, name) == ACTION_DROP)
            continue;
        size_t k;
        const struct grouping *g = place_of(h, m, i, &k);
        l[n] = (struct line){&h->t[i], grouping_has(g, k) ? g->g[g->group[k]].scheme->name : "-", part[g->part[k]], NULL, strlen(name), 1};
        if (tree && !(l[n].pattern = pattern_of(name, &m->mem, e))) {
            free(l);
            return -1;
        }
        if (tree)
            l[n].length = strlen(l[n].pattern);
        n++;
    }
    if (tree)
        qsort(l, n, sizeof *l, by_pattern);
    else {
        struct line *sorted = sort_names(l, n, e);
        free(l);
        if (!(l = sorted))
            return -1;
    }
    if (tree) {
        size_t k = 0;
        for (size_t i = 0; i < n; i++)
            if (i && alike(&l[k - 1], &l[i]))
                l[k - 1].count++;
            else
                l[k++] = l[i];
        n = k;
    }
    for (size_t i = 0; meta && i < m->nkv; i++)
        print_meta(&m->kv[i]);
    if (c->json)
        for (size_t i = 0; i < n; i++)
            print_json(&l[i], m);
    else if (print_table(l, n, e)) {
        free(l);
        return -1;
    }
    if (!c->quiet && !c->json) {
        fflush(stdout);
        print_sum(m, h);
    }
    free(l);
    return 0;
}

int verb_ls(int argc, char **argv, struct err *e)
{
    struct common c;
    const char *const *in = (const char *const *)argv;
    size_t n;
    bool tree = false, meta = false;
    common_init(&c);
    const struct opt opt[] = {{OPT_FLAG, 0, "tree", NULL, "one line for tensors that differ only in their numbers", &tree},
                              {OPT_FLAG, 0, "metadata", NULL, "the metadata of the header first", &meta},
                              OPTS_NAMES(&c), OPTS_RULES(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"ls", "MODEL...", "What is in a model: names, types, shapes, bytes, schemes.", opt, 1, SIZE_MAX};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct rules rules = {0};
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    r = rules_from(&rules, &c, ACTION_KEEP, ACTION_DROP, false, e);
    for (size_t i = 0; !r && i < n; i++) {
        struct model m;
        struct held h = {0};
        r = model_open(&m, in[i], e);
        if (r)
            break;
        /* A pipe is read to its end: who writes it should not fail, and it should be whole. */
        r = names_parse(c.names, &m.names, e) || held_by(&h, &m, e) || list(&m, &h, &c, tree, meta, &rules, e) || model_finish(&m, e) ? -1 : 0;
        if (h.apart)
            free(h.t);
        model_close(&m);
    }
    if (!r)
        rules_warn(&rules, "ls", &c);
    rules_free(&rules);
    return r;
}
