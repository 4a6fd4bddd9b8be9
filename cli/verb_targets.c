/* octavo targets: what each chip takes, and how we know. */
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/verbs.h"

#include "formats/target.h"

static void show_form(const struct target_form *f)
{
    printf("  %-12s %s, written as %s\n", f->name, f->scheme->name, f->convention->name);
    for (int r = 0; r < ROLE_COUNT; r++)
        if (r == 0 || f->role[r].weight != f->role[0].weight || f->role[r].scale != f->role[0].scale)
            printf("    %-7s weight  %-28s scale  %s\n", r == ROLE_EXPERT ? "experts" : "", f->role[r].weight,
                   f->role[r].scale);
    printf("    scale   %s, one per %u x %u%s\n", dtype_name(f->scale_dtype), f->scale_rows, f->scale_cols,
           f->scale_rows && f->scale_cols ? "" : " (0: the whole extent)");
    if (f->note)
        printf("    %s\n", f->note);
}

static void show(const struct target *t)
{
    printf("%s  %s (%s)\n  vendor      %s (%s)\n  evidence    %s%s%s\n", t->id, t->title, t->title_zh ? t->title_zh : "-",
           t->vendor, t->vendor_zh ? t->vendor_zh : "-", t->evidence, t->evidence_note ? ": " : "",
           t->evidence_note ? t->evidence_note : "");
    printf("  alignment   tensors at %u bytes; rows in multiples of %u, columns of %u\n", t->align, t->row_multiple,
           t->col_multiple);
    printf("forms, best first\n");
    for (size_t i = 0; i < t->nforms; i++)
        show_form(&t->form[i]);
    if (t->serve)
        printf("serve\n  %s\n", t->serve);
    if (t->nfacts)
        printf("figures\n");
    for (size_t i = 0; i < t->nfacts; i++)
        printf("  %-12s %s  (%s)\n", t->fact[i].name, t->fact[i].text, t->fact[i].source);
    if (t->note && t->note[0])
        printf("notes\n");
    for (size_t i = 0; t->note && t->note[i]; i++)
        printf("  %s\n", t->note[i]);
    printf("sources\n");
    for (size_t i = 0; t->source && t->source[i]; i++)
        printf("  %s\n", t->source[i]);
}

static int list_all(bool json, struct err *e)
{
    for (size_t i = 0; i < target_count(); i++) {
        struct target t;
        if (target_find(&t, target_id(i), e))
            return -1;
        if (json)
            printf("%s%s", t.json, t.json[0] && t.json[__builtin_strlen(t.json) - 1] == '\n' ? "" : "\n");
        else
            printf("%-14s %-22s %-18s %-20s %s\n", t.id, t.vendor, t.form[0].scheme->name, t.evidence, t.title);
        target_free(&t);
    }
    return 0;
}

int verb_targets(int argc, char **argv, struct err *e)
{
    const char *const *in = (const char *const *)argv;
    const char *file = NULL;
    size_t n;
    bool json = false;
    const struct opt opt[] = {{OPT_STRING, 0, "target-file", "FILE", "check and show a description of your own", &file},
                              {OPT_FLAG, 0, "json", NULL, "the target's own JSON", &json}, {0}};
    const struct usage u = {"targets", "[CHIP]...", "What each chip takes: schemes, layout, limits, evidence.", opt, 0,
                            SIZE_MAX};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    if (!n && !file)
        return list_all(json, e);
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
