#include "cli/tables.h"

#include <stdio.h>
#include <string.h>

bool target_same_role(const struct target_role *a, const struct target_role *b)
{
    return a->scheme == b->scheme && a->weight == b->weight && a->scale == b->scale && a->extra == b->extra
        && a->row_multiple == b->row_multiple && a->col_multiple == b->col_multiple && a->interleave == b->interleave;
}

static void mdoc_role(const char *name, const struct target_role *r, bool scheme)
{
    const char *space = *name ? " " : "";
    printf("    %s%sweight  %s%s%s%s\n", name, space, r->weight, r->is_unsigned ? "  (unsigned)" : "", scheme ? "  " : "",
           scheme ? r->scheme->name : "");
    if (r->scheme->scale != DT_COUNT)
        printf("    %s%sscale   %s\n", name, space, r->scale);
    for (size_t i = 0; i < r->nextra; i++)
        printf("    %s%sbeside  %s: %s, %s\n", name, space, r->extra[i].name, r->extra[i].rule_name, r->extra[i].sentence);
}

void table_mdoc(const struct target *t)
{
    printf(".It Cm %s\n%s.\nEvidence: %s.\n.Bd -literal -compact\n", t->id, t->title, t->evidence);
    for (size_t i = 0; i < t->nforms; i++) {
        const struct target_form *f = &t->form[i];
        const struct target_role *dense = &f->role[ROLE_DENSE], *expert = &f->role[ROLE_EXPERT];
        if (!f->scheme) {
            printf("%s: %s, not quantized\n", f->name, dtype_name(f->plain));
            continue;
        }
        const bool same = target_same_role(dense, expert);
        printf("%s: %s, %s%s\n", f->name, f->scheme->name, f->convention->name,
               f->activation == ACTIVATION_STATIC ? ", static activations" : "");
        mdoc_role(same ? "" : "dense", dense, false);
        if (!same)
            mdoc_role("expert", expert, expert->scheme != dense->scheme);
    }
    printf(".Ed\n");
}

/* A sentence as code in a table, where | ends a cell. */
static void code(const char *s)
{
    putchar('`');
    for (; *s; s++)
        printf(*s == '|' ? "\\|" : "%c", *s);
    putchar('`');
}

static void schemes(const struct target *t)
{
    const char *last = "";
    for (size_t i = 0; i < t->nforms; i++) {
        const struct target_form *f = &t->form[i];
        const char *name = f->scheme ? f->scheme->name : f->plain == DT_F16 ? "f16" : "bf16";
        bool seen = false;
        for (size_t k = 0; k < i; k++)
            seen |= f->scheme ? t->form[k].scheme == f->scheme : !t->form[k].scheme && t->form[k].plain == f->plain;
        if (!seen)
            printf("%s%s", *last ? ", " : "", name);
        last = name;
    }
}

void table_markdown(const struct target *t)
{
    if (!t) {
        puts("| target | chip | schemes, best first | layout of weights; scales | convention; server | evidence |\n"
             "|---|---|---|---|---|---|");
        return;
    }
    const struct target_form *f = &t->form[0];
    printf("| `%s` | %s<br>%s | ", t->id, t->title, t->title_zh ? t->title_zh : t->title);
    schemes(t);
    printf(" | ");
    code(f->role->weight);
    if (f->role->scale) {
        printf("; ");
        code(f->role->scale);
    }
    /* What experts have for themselves, where it is a layout. */
    if (f->scheme && f->role[ROLE_EXPERT].weight != f->role->weight && strcmp(f->role[ROLE_EXPERT].weight, f->role->weight)) {
        printf("; experts ");
        code(f->role[ROLE_EXPERT].weight);
    }
    printf(" | %s%s", f->convention ? f->convention->name : "safetensors", f->serve ? "; " : "");
    if (f->serve)
        code(f->serve);
    printf(" | %s |\n", t->evidence);
}
