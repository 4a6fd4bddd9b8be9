/* octavo targets: what each chip takes, and how we know. */
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/tables.h"
#include "cli/verbs.h"

#include "formats/target.h"

#include <string.h>

static void show_scale(const struct target_role *r)
{
    if (r->scheme->scale == DT_COUNT)
        return;
    printf("            scale   %s  %s, one per ", r->scale, dtype_name(r->scale_dtype));
    if (r->scale_rows && r->scale_cols)
        printf("%u x %u", r->scale_rows, r->scale_cols);
    else
        printf(r->scale_rows == 1 ? "row" : "matrix");
    if (r->scale_times != 1)
        printf(", times %g", r->scale_times);
    putchar('\n');
}

static void show_role(const char *name, const struct target_role *r, bool scheme)
{
    printf("    %-7s weight  %s%s%s%s\n", name, r->weight, r->is_unsigned ? "  unsigned codes" : "", scheme ? "  " : "",
           scheme ? r->scheme->name : "");
    show_scale(r);
    for (size_t i = 0; i < r->nextra; i++)
        printf("            beside it  %s: %s of the scales, %s, %s\n", r->extra[i].name, r->extra[i].rule_name,
               dtype_name(r->extra[i].dtype), r->extra[i].sentence);
    if (r->interleave)
        printf("            gate and up in one tensor, %u rows of each in turns\n", r->interleave);
    if (r->row_multiple > 1 || r->col_multiple > 1)
        printf("            rows in multiples of %u, columns of %u\n", r->row_multiple, r->col_multiple);
}

static void show_form(const struct target *t, const struct target_form *f)
{
    if (f->scheme)
        printf("  %-12s %s, written as %s%s\n", f->name, f->scheme->name, f->convention->name,
               f->activation == ACTIVATION_STATIC ? ", fixed activation scales"
               : f->activation == ACTIVATION_NONE ? ", activations as they are" : "");
    else
        printf("  %-12s %s, not quantized\n", f->name, dtype_name(f->plain));
    if (f->scheme)
        show_role("", &f->role[ROLE_DENSE], false);
    if (f->scheme && !target_same_role(&f->role[ROLE_DENSE], &f->role[ROLE_EXPERT]))
        show_role("experts", &f->role[ROLE_EXPERT], f->role[ROLE_EXPERT].scheme != f->scheme);
    if (f->note)
        printf("    %s\n", f->note);
    if (f->evidence)
        printf("    evidence: %s\n", f->evidence);
    if (f->tp_max)
        printf("    at most %u parts of a weight (tensor parallel)\n", f->tp_max);
    if (f->serve && f->serve != t->serve)
        printf("    %s\n", f->serve);
}

static void show_amount(const char *what, double x, double unit, const char *name)
{
    if (x > 0)
        printf("  %s %g %s", what, x / unit, name);
}

static void show_card(const struct target_card *c)
{
    printf("  %-10s", c->name);
    show_amount("", c->memory_bytes, 1e9, "GB");
    show_amount("", c->bandwidth, 1e9, "GB/s");
    show_amount("bf16", c->rate.bf16, 1e12, "T");
    show_amount("fp8", c->rate.fp8, 1e12, "T");
    show_amount("int8", c->rate.int8, 1e12, "T");
    show_amount("fp4", c->rate.fp4, 1e12, "T");
    show_amount("link", c->link, 1e9, "GB/s");
    show_amount("", c->power, 1, "W");
    if (c->node)
        printf("  %u in a server", c->node);
    printf("  (%s: %s)\n", c->evidence, c->source);
}

static void show_words(const char *title, const char *const *s)
{
    if (s && *s)
        printf("%s\n", title);
    for (; s && *s; s++)
        printf("  %s\n", *s);
}

static void show(const struct target *t)
{
    printf("%s  %s (%s)\n  vendor      %s (%s)\n  evidence    %s%s%s\n", t->id, t->title, t->title_zh ? t->title_zh : "-",
           t->vendor, t->vendor_zh ? t->vendor_zh : "-", t->evidence, t->evidence_note ? ": " : "",
           t->evidence_note ? t->evidence_note : "");
    printf("  alignment   tensors at %u bytes; rows in multiples of %u, columns of %u\n", t->align, t->row_multiple,
           t->col_multiple);
    if (t->flushes)
        printf("  subnormals  codes that are subnormal read as 0 (octavo verify --flush-subnormals)\n");
    printf("forms, best first\n");
    for (size_t i = 0; i < t->nforms; i++)
        show_form(t, &t->form[i]);
    if (t->nkeep)
        printf("not quantized\n");
    for (size_t i = 0; i < t->nkeep; i++)
        printf("  %s  %s\n", t->keep[i].pattern, t->keep[i].why);
    if (t->serve)
        printf("serve\n  %s\n", t->serve);
    if (t->ncards)
        printf("cards\n");
    for (size_t i = 0; i < t->ncards; i++)
        show_card(&t->card[i]);
    if (t->nfacts)
        printf("figures\n");
    for (size_t i = 0; i < t->nfacts; i++)
        printf("  %-12s %s  (%s: %s)\n", t->fact[i].name, t->fact[i].text, t->fact[i].evidence, t->fact[i].source);
    show_words("notes", t->note);
    show_words("sources", t->source);
}

enum listing { LIST_LINES, LIST_JSON, LIST_MDOC, LIST_MARKDOWN };

static int list_all(enum listing as, struct err *e)
{
    if (as == LIST_MARKDOWN)
        table_markdown(NULL);
    for (size_t i = 0; i < target_count(); i++) {
        struct target t;
        if (target_find(&t, target_id(i), e))
            return -1;
        if (as == LIST_MDOC)
            table_mdoc(&t);
        else if (as == LIST_MARKDOWN)
            table_markdown(&t);
        else if (as == LIST_JSON)
            printf("%s%s", t.json, t.json[0] && t.json[__builtin_strlen(t.json) - 1] == '\n' ? "" : "\n");
        else
            printf("%-19s %-20s %-18s %-20s %s\n", t.id, t.vendor,
                   t.form[0].scheme ? t.form[0].scheme->name : dtype_name(t.form[0].plain), t.evidence, t.title);
        target_free(&t);
    }
    return 0;
}

int verb_targets(int argc, char **argv, struct err *e)
{
    const char *const *in = (const char *const *)argv;
    const char *file = NULL, *table = NULL;
    size_t n;
    bool json = false;
    const struct opt opt[] = {{OPT_STRING, 0, "target-file", "FILE", "check and show a description of your own", &file},
                              {OPT_STRING, 0, "table", "KIND", "all chips as the table of the manual (mdoc) or of the "
                               "README (markdown)", &table},
                              {OPT_FLAG, 0, "json", NULL, "the target's own JSON", &json}, {0}};
    const struct usage u = {"targets", "[CHIP]...", "What each chip takes: schemes, layout, limits, evidence.", opt, 0,
                            SIZE_MAX};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    if (table && strcmp(table, "mdoc") && strcmp(table, "markdown"))
        return err_set(e, ERR_USAGE, "--table takes mdoc or markdown, not '%s'", table);
    if (table && (n || file))
        return err_set(e, ERR_USAGE, "--table is of all chips, not of '%s'", n ? in[0] : file);
    if (!n && !file)
        return list_all(table ? *table == 'm' && table[1] == 'd' ? LIST_MDOC : LIST_MARKDOWN : json ? LIST_JSON : LIST_LINES, e);
    for (size_t i = 0; i < n + (file != NULL); i++) {
        struct target t;
        if (i < n ? target_find(&t, in[i], e) : target_load(&t, file, e))
            return -1;
        if (json)
            fputs(t.json, stdout);
        else
            show(&t);
        target_free(&t);
    }
    return 0;
}
