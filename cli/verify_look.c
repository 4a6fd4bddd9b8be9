#include "cli/verify_look.h"

#include "cli/out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int worst_first(const void *a, const void *b)
{
    const struct look_line *x = a, *y = b;
    return x->s != y->s ? (x->s > y->s ? -1 : 1) : x->n != y->n ? (x->n > y->n ? -1 : 1) : strcmp(x->text, y->text);
}

int look_lines(const struct error_report *r, bool zh, struct look_line **line, size_t *count, struct err *e)
{
    struct look_line *all = mem_alloc(r->n + 1, sizeof *all, e);
    struct map by_text = {0};
    size_t n = 0, at;
    int bad = all ? 0 : -1;
    uint64_t common = UINT64_MAX;    /* rules that explain all tensors of which any rule explains all */
    for (size_t i = 0; i < r->n; i++)
        if (r->t[i].look && r->t[i].look->rules & common)
            common &= r->t[i].look->rules;
    for (size_t i = 0; !bad && i < r->n; i++) {
        struct look_line *x = &all[n];
        struct tensor_error t = r->t[i];
        struct inspection look;
        struct place where;
        if (t.look) {
            look = *t.look;
            look.rules = look.rules & common ? look.rules & common : look.rules;
            t.look = &look;
        }
        x->s = signature_of(&t, zh, x->text, sizeof x->text, &where);
        if (x->s == SIGN_NONE)
            continue;
        if (map_find(&by_text, x->text, &at)) {
            all[at].n++;
            continue;
        }
        x->first = r->t[i].name;
        x->n = 1;
        bad = map_add(&by_text, x->text, n++, e) < 0 ? -1 : 0;
    }
    map_free(&by_text);
    if (!bad && n)
        qsort(all, n, sizeof *all, worst_first);
    if (bad)
        free(all);
    *line = bad ? NULL : all;
    *count = n;
    return bad;
}

int look_print(const struct error_report *r, struct err *e)
{
    static const char *const word[] = {"", "good", "odd", "BAD"};
    struct look_line *all;
    size_t n;
    if (look_lines(r, false, &all, &n, e))
        return -1;
    if (n)
        printf("\n");
    for (size_t i = 0; i < n; i++) {
        printf("%-5s %5zu tensor%s  %s", word[all[i].s], all[i].n, all[i].n == 1 ? " " : "s", all[i].text);
        if (all[i].s != SIGN_GOOD) {
            printf(" (%s", all[i].n == 1 ? "" : "the first: ");
            out_text(stdout, all[i].first);
            printf(")");
        }
        printf("\n");
    }
    free(all);
    return 0;
}

static void counts(const char *name, const uint64_t *x, size_t n)
{
    while (n && !x[n - 1])
        n--;
    printf(",\"%s\":[", name);
    for (size_t i = 0; i < n; i++)
        printf("%s%" PRIu64, i ? "," : "", x[i]);
    printf("]");
}

static void place(const char *name, const struct place *p)
{
    if (place_is(p))
        printf(",\"%s\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64 "]", name, p->batch, p->row, p->col);
}

/* The exponents from the first that occurs: {"-9":12,...} */
static void exponents(const struct inspection *l)
{
    bool any = false;
    printf(",\"scale_exponents\":{");
    for (int i = 0; i < 256; i++)
        if (l->exponent[i]) {
            printf("%s\"%d\":%" PRIu64, any ? "," : "", i - 127, l->exponent[i]);
            any = true;
        }
    printf("}");
}

static void json_rules(const struct inspection *l)
{
    const char *name, *last = "";
    bool bf16, any = false;
    printf(",\"scale_rules\":[");
    for (size_t k = 0; k < 64 && (name = inspect_rule_name(l->elem, k, &bf16)); k++)
        if (l->rules >> k & 1 && strcmp(name, last)) {
            printf("%s\"%s%s\"", any ? "," : "", name, bf16 && !strstr(name, "bf16") ? " in bf16" : "");
            any = true;
            last = name;
        }
    printf("],\"roundings\":[");
    any = false;
    for (int k = 0; k < ROUNDINGS; k++)
        if (l->roundings >> k & 1) {
            printf("%s\"%s\"", any ? "," : "", rounding_name((enum round_mode)k));
            any = true;
        }
    printf("]");
}

void look_json(const struct tensor_error *t)
{
    static const char *const word[] = {"", "good", "odd", "bad"};
    const struct inspection *l = t->look;
    char text[LOOK_SENTENCE];
    struct place at;
    const enum signature s = signature_of(t, false, text, sizeof text, &at);
    if (s != SIGN_NONE) {
        printf(",\"made\":\"%s\",\"signature\":", word[s]);
        out_json(stdout, text);
    }
    if (!l || !l->codes)
        return;
    printf(",\"zero_codes\":%" PRIu64 ",\"subnormal_codes\":%" PRIu64 ",\"largest_codes\":%" PRIu64 ",\"nan_codes\":%" PRIu64, l->zero, l->subnormal,
           l->largest, l->nan);
    printf(",\"blocks\":%" PRIu64 ",\"zero_blocks\":%" PRIu64 ",\"lost_blocks\":%" PRIu64 ",\"bad_scales\":%" PRIu64 ",\"odd_scales\":%" PRIu64,
           l->blocks, l->zero_blocks, l->lost_blocks, l->bad_scales, l->odd_scales);
    counts("steps_from_nearest", l->steps, INSPECT_STEPS);
    exponents(l);
    json_rules(l);
    place("first_nan", &l->first_nan);
    place("first_bad_scale", &l->first_bad);
    place("first_odd_scale", &l->first_off);
}
