#include "validate.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int findings;

void say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    putchar('\n');
    findings++;
}

static uint64_t up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/* Has tensor t the shape that goes with a weight [.., n, k]? */
static bool has_shape(const struct tensor *t, enum shape s, const struct tensor *w, uint64_t per)
{
    const uint64_t n = w->dim[w->rank - 2], k = w->dim[w->rank - 1] * per;
    const int lead = w->rank - 2; /* of stacked experts */
    const uint64_t last = t->rank > 0 ? t->dim[t->rank - 1] : 1, before = t->rank > 1 ? t->dim[t->rank - 2] : 1;
    switch (s) {
    case ONE: return t->rank == 0 || (t->rank == 1 && last == 1);
    case TWO: return t->rank == 1 && last == 2;
    case ROWS: return t->rank == lead + 1 && last == n;
    case COLS: return t->rank == 1 && last == k;
    case ROWS_1: return t->rank == lead + 2 && before == n && last == 1;
    case PAIRS_1: return t->rank == lead + 2 && before == 2 * n && last == 1; /* two rows in a byte */
    case BIAS: return t->rank == lead + 2 && before == 2 * n && last == (strstr(w->name, ".down_proj.") ? 16 : 1);
    case OSS_SCALES: return t->rank == 3 && w->rank == 4 && !memcmp(t->dim, w->dim, 3 * sizeof *w->dim) && w->dim[3] == 16;
    case OSS_BIAS: return t->rank == 2 && w->rank == 4 && t->dim[0] == w->dim[0] && t->dim[1] == w->dim[1];
    case BLOCKS: return t->rank == lead + 2 && before == up(n, 128) && last == up(k, 128);
    case GROUPS_32: return t->rank == lead + 2 && before == n && last == up(k, 32) && k % 32 == 0;
    case GROUPS_16: return t->rank == lead + 2 && before == n && last == up(k, 16) && k % 16 == 0;
    case GROUPS_ANY: return t->rank == lead + 2 && before == n && last && k % last == 0;
    }
    return false;
}

static void part_name(const struct tensor *w, const struct rule *r, const char *suffix, char out[NAME])
{
    char module[NAME];
    module_of(w->name, r->suffix, module);
    snprintf(out, NAME, "%.150s%s%s", module, *suffix == '.' || *r->suffix != '.' ? "" : ".weight", suffix);
}

/* All parts of a weight are there, in type and shape. */
static void check_weight(const struct model *m, const struct tensor *w, const struct rule *r)
{
    for (const struct part *p = r->part; p < r->part + 5 && p->suffix; p++) {
        char name[NAME], dtype[24];
        part_name(w, r, p->suffix, name);
        const struct tensor *t = find(m, name);
        if (!t) {
            if (!p->optional)
                say("%s: there is no %s", w->name, name);
            continue;
        }
        snprintf(dtype, sizeof dtype, " %s ", t->dtype);
        if (!strstr(p->dtypes, dtype))
            say("%s is %s, the loader takes%s", name, t->dtype, p->dtypes);
        if (!has_shape(t, p->shape, w, r->per))
            say("%s: its shape does not go with that of %s", name, w->name);
    }
}

/* Names that only parts of quantized weights have. */
static void check_strays(const struct model *m, const char *convention)
{
    for (size_t i = 0; i < m->n; i++) {
        const char *name = m->t[i].name;
        bool part = false, owned = false;
        for (size_t k = 0; k < rule_count; k++)
            for (const struct part *p = rules[k].part; !strcmp(rules[k].convention, convention) && p < rules[k].part + 5 && p->suffix; p++) {
                char end[64];
                snprintf(end, sizeof end, "%s%s", *p->suffix == '.' || *rules[k].suffix != '.' ? "" : ".weight", p->suffix);
                const size_t n = strlen(name), e = strlen(end);
                if (n <= e || strcmp(name + n - e, end))
                    continue;
                part = true;
                char weight[NAME];
                snprintf(weight, NAME, "%.*s%s", (int)(n - e), name, rules[k].suffix);
                const struct tensor *w = find(m, weight);
                owned |= w && rule_of(convention, w);
            }
        if (part && !owned)
            say("%s belongs to no quantized weight", name);
    }
}

/* ---- what is loaded as one must be quantized as one ------------------------------------ */
static const char *const fused[][4] = {
    {"q_proj", "k_proj", "v_proj", NULL}, {"gate_proj", "up_proj", NULL}, {"q_a_proj", "kv_a_proj_with_mqa", NULL}};

static const struct rule *kind_of(const struct model *m, const char *convention, const char *prefix, const char *part, bool *there)
{
    static const char *const suffix[] = {".weight", ".qweight", ".weight_packed"};
    for (int i = 0; i < 3; i++) {
        char name[NAME];
        snprintf(name, NAME, "%.120s%.40s%s", prefix, part, suffix[i]);
        const struct tensor *t = find(m, name);
        if (t) {
            *there = true;
            return rule_of(convention, t);
        }
    }
    *there = false;
    return NULL;
}

static void check_fused(const struct model *m, const char *convention)
{
    for (size_t i = 0; i < m->n; i++)
        for (size_t f = 0; f < sizeof fused / sizeof *fused; f++) {
            char *at = strstr(m->t[i].name, fused[f][0]);
            if (!at || at == m->t[i].name || at[-1] != '.' || !strstr(at, "eight") || strstr(at, "scale") || strstr(at, "offset"))
                continue;
            char prefix[NAME];
            bool a, b;
            snprintf(prefix, NAME, "%.*s", (int)(at - m->t[i].name), m->t[i].name);
            const struct rule *first = kind_of(m, convention, prefix, fused[f][0], &a);
            for (int k = 1; fused[f][k]; k++)
                if (kind_of(m, convention, prefix, fused[f][k], &b) != first && b)
                    say("%s%s and %s%s are loaded as one and quantized in two ways", prefix, fused[f][0], prefix, fused[f][k]);
        }
    /* All routed experts of a layer are one tensor. */
    const char *layer = "";
    const struct rule *kind = NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        const char *at = strstr(m->t[i].name, ".experts.");
        if (!at || !(strstr(at, "_proj.weight") || strstr(at, "_proj.qweight")) || strstr(at, "_scale") || strstr(at, "_offset") || strstr(at, "_shape"))
            continue;
        const struct rule *r = rule_of(convention, &m->t[i]);
        if (n && !strncmp(layer, m->t[i].name, (size_t)(at - m->t[i].name)) && r != kind)
            say("%s and other experts of its layer are quantized in two ways", m->t[i].name);
        if (!n || strncmp(layer, m->t[i].name, (size_t)(at - m->t[i].name)))
            kind = r;
        layer = m->t[i].name;
        n++;
    }
}

int main(int argc, char **argv)
{
    struct model m;
    struct found f = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: validate CONVENTION DIR\n");
        return 2;
    }
    load(&m, argv[2]);
    f.quantized = calloc(m.n + 1, NAME);
    f.plain = calloc(m.n + 1, NAME);
    for (size_t i = 0; i < m.n; i++) {
        const struct rule *r = m.t[i].rank >= 2 ? rule_of(argv[1], &m.t[i]) : NULL;
        const size_t len = strlen(m.t[i].name);
        if (r) {
            size_t k = 0;
            while (k < f.kinds && f.kind[k] != r)
                k++;
            if (k == f.kinds && k < 8)
                f.kind[f.kinds++] = r;
            check_weight(&m, &m.t[i], r);
            module_of(m.t[i].name, r->suffix, f.quantized[f.nquantized++]);
        } else if (m.t[i].rank == 2 && len > 7 && !strcmp(m.t[i].name + len - 7, ".weight")) {
            if (strcmp(m.t[i].dtype, "F32") && strcmp(m.t[i].dtype, "BF16") && strcmp(m.t[i].dtype, "F16"))
                say("%s is %s, which nothing in this convention is", m.t[i].name, m.t[i].dtype);
            module_of(m.t[i].name, ".weight", f.plain[f.nplain++]);
        }
    }
    if (m.n && !f.nquantized)
        say("nothing in it is quantized");
    check_strays(&m, argv[1]);
    check_fused(&m, argv[1]);
    if (!check_config(argv[1], &m, &f)) {
        fprintf(stderr, "validate: no rules for '%s'\n", argv[1]);
        return 2;
    }
    json_decref(m.config);
    free(f.quantized);
    free(f.plain);
    free(m.t);
    return findings ? 1 : 0;
}
