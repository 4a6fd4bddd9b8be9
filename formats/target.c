#include "formats/target.h"

#include "formats/io.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 1 << 20, ALIGN_MIN = 64, ALIGN_MAX = 1 << 21 };

enum role tensor_role(const char *name)
{
    bool expert = !strncmp(name, "experts.", 8) || strstr(name, ".experts.")
               || strstr(name, "_exps.");
    return expert ? ROLE_EXPERT : ROLE_DENSE;
}

/* ---- one object of the file, and where it is, for messages ----------------- */
struct place {
    const json_t *object;
    const char *origin;   /* the file */
    const char *path;     /* "forms[1].dense." or "" */
    struct arena *mem;
    struct err *e;
};

static int fail(const struct place *p, const char *key, const char *why)
{
    size_t n = strlen(p->path);
    return err_set(p->e, ERR_INPUT, "%s: %.*s%s%s%s", p->origin, (int)(n && !*key ? n - 1 : n),
                   p->path, key, n || *key ? ": " : "", why);
}

/* Every key must be one of a list that ends in NULL. */
static int check_keys(const struct place *p, const char *const *known)
{
    const char *key;
    json_t *value;
    if (!json_is_object(p->object))
        return fail(p, "", "must be an object");
    json_object_foreach((json_t *)p->object, key, value) {
        const char *const *k = known;
        while (*k && strcmp(*k, key))
            k++;
        if (!*k)
            return fail(p, key, "unknown key");
    }
    return 0;
}

static int get_string(const struct place *p, const char *key, bool required, const char **out)
{
    const json_t *x = json_object_get(p->object, key);
    if (!x)
        return required ? fail(p, key, "missing") : 0;
    if (!json_is_string(x) || !json_string_length(x))
        return fail(p, key, "must be a string that is not empty");
    *out = arena_strdup(p->mem, json_string_value(x), p->e);
    return *out ? 0 : -1;
}

/* *out keeps its value when the key is absent. */
static int get_number(const struct place *p, const char *key, uint32_t min, uint32_t *out)
{
    const json_t *x = json_object_get(p->object, key);
    if (!x)
        return 0;
    if (!json_is_integer(x) || json_integer_value(x) < min || json_integer_value(x) > INT32_MAX) {
        char why[64];
        snprintf(why, sizeof why, "must be a whole number from %u", min);
        return fail(p, key, why);
    }
    *out = (uint32_t)json_integer_value(x);
    return 0;
}

static int get_amount(const struct place *p, const char *key, double *out)
{
    const json_t *x = json_object_get(p->object, key);
    if (!x)
        return 0;
    *out = json_number_value(x);
    if (!json_is_number(x) || !(*out > 0) || !isfinite(*out))
        return fail(p, key, "must be a positive number");
    return 0;
}

static int get_strings(const struct place *p, const char *key, const char *const **out)
{
    const json_t *list = json_object_get(p->object, key);
    size_t n = json_array_size(list);
    if (list && !json_is_array(list))
        return fail(p, key, "must be a list of strings");
    const char **s = arena_array(p->mem, n + 1, sizeof *s, p->e);
    if (!s)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text)
            return fail(p, key, "must be a list of strings");
        s[i] = arena_strdup(p->mem, text, p->e);
        if (!s[i])
            return -1;
    }
    *out = s;
    return 0;
}

/* The place of a member object, or of element i of a member list. */
static int enter(const struct place *p, const char *key, const json_t *object, struct place *out)
{
    *out = *p;
    out->object = object;
    out->path = arena_printf(p->mem, p->e, "%s%s.", p->path, key);
    return out->path ? 0 : -1;
}

static int enter_item(const struct place *p, const char *key, size_t i, struct place *out)
{
    char item[64];
    snprintf(item, sizeof item, "%s[%zu]", key, i);
    return enter(p, item, json_array_get(json_object_get(p->object, key), i), out);
}

/* ---- forms -------------------------------------------------------------------- */
static int get_layout(const struct place *p, const char *key, const char **text, struct layout *l)
{
    if (get_string(p, key, true, text))
        return -1;
    if (!layout_parse(l, *text, p->e))
        return 0;
    p->e->kind = ERR_INPUT; /* a file says it, not the command line */
    return err_prefix(p->e, "%s: %s%s", p->origin, p->path, key);
}

static int parse_role(const struct place *form, const char *key, struct target_form *f, enum role r)
{
    static const char *const known[] = {"weight", "scale", "row_multiple", "col_multiple", NULL};
    struct place p;
    if (enter(form, key, json_object_get(form->object, key), &p) || check_keys(&p, known)
        || get_layout(&p, "weight", &f->role[r].weight, &f->role[r].weight_layout)
        || get_layout(&p, "scale", &f->role[r].scale, &f->role[r].scale_layout)
        || get_number(&p, "row_multiple", 1, &f->role[r].row_multiple)
        || get_number(&p, "col_multiple", 1, &f->role[r].col_multiple))
        return -1;
    return 0;
}

/* 0 means the whole extent, which only itself divides. */
static bool divides(uint32_t part, uint32_t block)
{
    return part == block || (part && block && block % part == 0);
}

static int parse_scale(const struct place *form, struct target_form *f)
{
    static const char *const known[] = {"dtype", "rows", "cols", NULL};
    const char *dtype = NULL;
    struct place p;
    f->scale_rows = f->scheme->block_rows;
    f->scale_cols = f->scheme->block_cols;
    if (enter(form, "packed_scale", json_object_get(form->object, "packed_scale"), &p)
        || check_keys(&p, known) || get_string(&p, "dtype", true, &dtype)
        || get_number(&p, "rows", 0, &f->scale_rows) || get_number(&p, "cols", 0, &f->scale_cols))
        return -1;
    f->scale_dtype = dtype_find(dtype, strlen(dtype));
    if (f->scale_dtype != DT_F32 && f->scale_dtype != DT_F8_E8M0)
        return fail(&p, "dtype", "must be F32 or F8_E8M0");
    if (f->scale_dtype == DT_F8_E8M0 && f->scheme->scale != DT_F8_E8M0)
        return fail(&p, "dtype", "F8_E8M0 cannot hold the F32 scales of the scheme");
    if (!divides(f->scale_rows, f->scheme->block_rows))
        return fail(&p, "rows", "does not divide the block of the scheme");
    if (!divides(f->scale_cols, f->scheme->block_cols))
        return fail(&p, "cols", "does not divide the block of the scheme");
    return 0;
}

static int parse_form(const struct place *p, const struct target *t, struct target_form *f)
{
    static const char *const known[] = {"name", "note", "scheme", "convention", "packed_scale",
                                        "dense", "expert", NULL};
    const char *scheme = NULL, *convention = NULL;
    if (check_keys(p, known) || get_string(p, "name", true, &f->name)
        || get_string(p, "note", true, &f->note) || get_string(p, "scheme", true, &scheme)
        || get_string(p, "convention", true, &convention))
        return -1;
    for (const struct target_form *g = t->form; g < f; g++)
        if (!strcmp(g->name, f->name))
            return fail(p, "name", "another form has this name");
    f->scheme = scheme_find(scheme);
    if (!f->scheme)
        return fail(p, "scheme", "there is no such scheme");
    f->convention = convention_find(convention);
    if (!f->convention)
        return fail(p, "convention", "there is no such convention");
    if (!convention_takes(f->convention, f->scheme, &(enum activation){0}))
        return fail(p, "convention", "does not accept the scheme");
    for (int r = 0; r < ROLE_COUNT; r++) {
        f->role[r].row_multiple = t->row_multiple;
        f->role[r].col_multiple = t->col_multiple;
    }
    if (parse_scale(p, f) || parse_role(p, "dense", f, ROLE_DENSE))
        return -1;
    if (json_object_get(p->object, "expert"))
        return parse_role(p, "expert", f, ROLE_EXPERT);
    f->role[ROLE_EXPERT] = f->role[ROLE_DENSE];
    return 0;
}

/* ---- the whole file -------------------------------------------------------------- */
static int parse_lists(const struct place *p, struct target *t)
{
    static const char *const fact_keys[] = {"name", "text", "source", NULL};
    const json_t *forms = json_object_get(p->object, "forms");
    const json_t *facts = json_object_get(p->object, "facts");
    struct place item;
    if (!json_is_array(forms) || !json_array_size(forms))
        return fail(p, "forms", "must be a list with at least one form");
    if (facts && !json_is_array(facts))
        return fail(p, "facts", "must be a list");
    t->form = arena_array(p->mem, json_array_size(forms), sizeof *t->form, p->e);
    t->fact = arena_array(p->mem, json_array_size(facts) + 1, sizeof *t->fact, p->e);
    if (!t->form || !t->fact)
        return -1;
    for (; t->nforms < json_array_size(forms); t->nforms++)
        if (enter_item(p, "forms", t->nforms, &item) || parse_form(&item, t, &t->form[t->nforms]))
            return -1;
    for (; t->nfacts < json_array_size(facts); t->nfacts++) {
        struct target_fact *f = &t->fact[t->nfacts];
        if (enter_item(p, "facts", t->nfacts, &item) || check_keys(&item, fact_keys)
            || get_string(&item, "name", true, &f->name)
            || get_string(&item, "text", true, &f->text)
            || get_string(&item, "source", true, &f->source))
            return -1;
    }
    return 0;
}

static int check_values(const struct place *p, const struct target *t)
{
    static const char *const grades[] = {"vendor source", "vendor documentation", "third party",
                                         "press", "not public"};
    bool known = false;
    if (t->id[strspn(t->id, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        return fail(p, "id", "must be lower-case letters, digits and '-'");
    for (size_t i = 0; i < sizeof grades / sizeof *grades; i++)
        known |= !strcmp(t->evidence, grades[i]);
    if (!known)
        return fail(p, "evidence", "must be 'vendor source', 'vendor documentation', "
                    "'third party', 'press' or 'not public'");
    if (t->align < ALIGN_MIN || t->align > ALIGN_MAX || (t->align & (t->align - 1)))
        return fail(p, "align", "must be a power of two from 64 to 2097152");
    if (!t->source[0])
        return fail(p, "sources", "must name at least one source");
    return 0;
}

static int parse_root(const struct place *p, struct target *t)
{
    static const char *const known[] = {
        "id", "title", "title_zh", "vendor", "vendor_zh", "evidence", "evidence_note", "align",
        "row_multiple", "col_multiple", "serve", "memory_bytes", "bandwidth", "forms", "facts",
        "notes", "sources", NULL};
    t->align = 512;
    t->row_multiple = t->col_multiple = 1;
    if (check_keys(p, known) || get_string(p, "id", true, &t->id)
        || get_string(p, "title", true, &t->title) || get_string(p, "title_zh", false, &t->title_zh)
        || get_string(p, "vendor", true, &t->vendor)
        || get_string(p, "vendor_zh", false, &t->vendor_zh)
        || get_string(p, "evidence", true, &t->evidence)
        || get_string(p, "evidence_note", false, &t->evidence_note)
        || get_number(p, "align", 1, &t->align)
        || get_number(p, "row_multiple", 1, &t->row_multiple)
        || get_number(p, "col_multiple", 1, &t->col_multiple)
        || get_string(p, "serve", false, &t->serve)
        || get_amount(p, "memory_bytes", &t->memory_bytes)
        || get_amount(p, "bandwidth", &t->bandwidth) || get_strings(p, "notes", &t->note)
        || get_strings(p, "sources", &t->source) || check_values(p, t))
        return -1;
    return parse_lists(p, t);
}

int target_parse(struct target *t, const char *json, const char *origin, struct err *e)
{
    *t = (struct target){0};
    json_error_t je;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set(e, ERR_INPUT, "%s: line %d: %s", origin, je.line, je.text);
    struct place p = {.object = root, .origin = origin, .path = "", .mem = &t->mem, .e = e};
    t->json = arena_strdup(&t->mem, json, e);
    int r = t->json ? parse_root(&p, t) : -1;
    json_decref(root);
    if (r)
        target_free(t);
    return r;
}

void target_free(struct target *t)
{
    arena_free(&t->mem);
    *t = (struct target){0};
}

/* ---- finding one -------------------------------------------------------------------- */
size_t target_count(void)
{
    return target_file_count;
}

const char *target_id(size_t i)
{
    return target_files[i].id;
}

static size_t common_prefix(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

/* Names the targets that share the longest start with id, or all of them. */
static int no_target(const char *id, struct err *e)
{
    size_t best = 0, n = 0;
    char list[768] = "";
    for (size_t i = 0; i < target_file_count; i++) {
        size_t k = common_prefix(id, target_files[i].id);
        best = k > best ? k : best;
    }
    if (best < 3)
        best = 0;
    for (size_t i = 0; i < target_file_count && n < sizeof list; i++)
        if (common_prefix(id, target_files[i].id) >= best)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "",
                                  target_files[i].id);
    return err_set(e, ERR_USAGE, "there is no target '%s'; %s: %s", id,
                   best ? "the nearest" : "the targets", list);
}

int target_find(struct target *t, const char *id, struct err *e)
{
    for (size_t i = 0; i < target_file_count; i++)
        if (!strcmp(target_files[i].id, id))
            return target_parse(t, (const char *)target_files[i].text, id, e);
    return no_target(id, e);
}

int target_load(struct target *t, const char *path, struct err *e)
{
    size_t n;
    char *text = io_read_file(path, FILE_LIMIT, &n, e);
    if (!text)
        return -1;
    int r = strlen(text) == n ? target_parse(t, text, path, e)
                              : err_set(e, ERR_INPUT, "%s: has a NUL byte", path);
    free(text);
    return r;
}
