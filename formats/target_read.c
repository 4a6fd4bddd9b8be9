/* Reading the description of a target: every key is known, every value is
 * checked, and an error names the file, the key and what is wrong. */
#include "formats/target.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALIGN_MIN = 64, ALIGN_MAX = 1 << 21 };

static const struct extra_row {
    const char *name;
    enum extra_rule rule;
    enum dtype dtype;
} extra_rules[] = {
    {"absmax", EXTRA_ABSMAX, DT_F32},  {"inverse", EXTRA_INVERSE, DT_F32}, {"dequant", EXTRA_DEQUANT, DT_U64},
    {"bits", EXTRA_BITS, DT_U64},      {"f16", EXTRA_F16, DT_F16},         {"bf16", EXTRA_BF16, DT_BF16},
};
static const char *const grades[] = {"vendor source", "vendor documentation", "third party", "press", "inferred",
                                     "not public"};
enum { EXTRA_RULES = sizeof extra_rules / sizeof *extra_rules, GRADES = sizeof grades / sizeof *grades };

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

static int get_flag(const struct place *p, const char *key, bool *out)
{
    const json_t *x = json_object_get(p->object, key);
    if (x && !json_is_boolean(x))
        return fail(p, key, "must be true or false");
    *out = x ? json_is_true(x) : *out;
    return 0;
}

/* One of the grades of evidence; *out keeps its value when the key is absent and may be. */
static int get_grade(const struct place *p, bool required, const char **out)
{
    const char *given = NULL;
    if (get_string(p, "evidence", required, &given))
        return -1;
    for (size_t i = 0; given && i < GRADES; i++)
        if (!strcmp(grades[i], given)) {
            *out = grades[i];
            return 0;
        }
    return given ? fail(p, "evidence", "must be 'vendor source', 'vendor documentation', 'third party', 'press', "
                        "'inferred' or 'not public'") : 0;
}

/* The length of a list of objects, 0 when it is absent; its elements get memory. */
static int get_list(const struct place *p, const char *key, bool required, size_t each, void **out, size_t *n)
{
    const json_t *list = json_object_get(p->object, key);
    *n = 0;
    if (!list && !required)
        return 0;
    if (!json_is_array(list) || !json_array_size(list))
        return fail(p, key, "must be a list with at least one element");
    *n = json_array_size(list);
    *out = arena_array(p->mem, *n, each, p->e);
    return *out ? 0 : -1;
}

/* ---- forms -------------------------------------------------------------------- */
static int get_layout(const struct place *p, const char *key, bool required, const char **text, struct layout *l)
{
    const char *given = NULL;
    if (get_string(p, key, required, &given))
        return -1;
    if (!given)
        return 0;
    *text = given;
    if (!layout_parse(l, given, p->e))
        return 0;
    p->e->kind = ERR_INPUT; /* a file says it, not the command line */
    return err_prefix(p->e, "%s: %s%s", p->origin, p->path, key);
}

/* 0 means the whole extent, which only itself divides. */
static bool divides(uint32_t part, uint32_t block)
{
    return part == block || (part && block && block % part == 0);
}

static bool is_power_of_two(double x)
{
    int e;
    return frexp(x, &e) == 0.5 && fabs(log2(x)) <= 126;
}

/* Scales as they are packed. */
static int parse_scale(const struct place *at, struct target_role *r)
{
    static const char *const known[] = {"dtype", "rows", "cols", "times", NULL};
    const char *dtype = NULL;
    struct place p;
    if (!json_object_get(at->object, "packed_scale"))
        return 0;
    if (enter(at, "packed_scale", json_object_get(at->object, "packed_scale"), &p) || check_keys(&p, known)
        || get_string(&p, "dtype", true, &dtype) || get_number(&p, "rows", 0, &r->scale_rows)
        || get_number(&p, "cols", 0, &r->scale_cols) || get_amount(&p, "times", &r->scale_times))
        return -1;
    r->scale_dtype = dtype_find(dtype, strlen(dtype));
    if (r->scale_dtype != DT_F32 && r->scale_dtype != DT_BF16 && r->scale_dtype != DT_F16 && r->scale_dtype != DT_F8_E8M0)
        return fail(&p, "dtype", "must be F32, BF16, F16 or F8_E8M0");
    if (r->scale_dtype == DT_F8_E8M0 && r->scheme->scale != DT_F8_E8M0)
        return fail(&p, "dtype", "F8_E8M0 cannot hold the scales of the scheme, which are no powers of two");
    if (!divides(r->scale_rows, r->scheme->block_rows))
        return fail(&p, "rows", "does not divide the block of the scheme");
    if (!divides(r->scale_cols, r->scheme->block_cols))
        return fail(&p, "cols", "does not divide the block of the scheme");
    if (!is_power_of_two(r->scale_times) || (r->scale_dtype == DT_F8_E8M0 && r->scale_times != 1))
        return fail(&p, "times", "must be a power of two, and 1 where scales are codes");
    return 0;
}

static int parse_extra(const struct place *p, struct target_extra *x)
{
    static const char *const known[] = {"name", "rule", "layout", NULL};
    x->sentence = "r0 c0";
    if (check_keys(p, known) || get_string(p, "name", true, &x->name) || get_string(p, "rule", true, &x->rule_name)
        || layout_parse(&x->layout, x->sentence, p->e) || get_layout(p, "layout", false, &x->sentence, &x->layout))
        return -1;
    for (size_t i = 0; i < EXTRA_RULES; i++)
        if (!strcmp(extra_rules[i].name, x->rule_name)) {
            x->rule = extra_rules[i].rule;
            x->dtype = extra_rules[i].dtype;
            return 0;
        }
    return fail(p, "rule", "must be 'absmax', 'inverse', 'dequant', 'bits', 'f16' or 'bf16'");
}

static int parse_extras(const struct place *p, struct target_role *r)
{
    void *list = NULL;
    struct place item;
    if (!json_object_get(p->object, "extra"))
        return 0;
    if (get_list(p, "extra", true, sizeof *r->extra, &list, &r->nextra))
        return -1;
    r->extra = list;
    for (size_t i = 0; i < r->nextra; i++)
        if (enter_item(p, "extra", i, &item) || parse_extra(&item, &r->extra[i]))
            return -1;
    return 0;
}

/* What a form says for both roles, or a role for itself. */
static int parse_common(const struct place *p, struct target_role *r)
{
    if (parse_scale(p, r) || get_flag(p, "unsigned", &r->is_unsigned) || parse_extras(p, r))
        return -1;
    return r->is_unsigned && !scheme_int(r->scheme) ? fail(p, "unsigned", "is for integers") : 0;
}

static void set_scheme(struct target_role *r, const struct scheme *s)
{
    r->scheme = s;
    r->scale_dtype = s->scale;
    r->scale_rows = s->block_rows;
    r->scale_cols = s->block_cols;
    r->scale_times = 1;
}

static int get_scheme(const struct place *p, const struct target_form *f, const char *name, const struct scheme **out)
{
    enum activation any;
    *out = scheme_find(name);
    if (!*out)
        return fail(p, "scheme", "there is no such scheme");
    if (!(f->activation_given ? f->convention->accepts && f->convention->accepts(*out, f->activation)
                              : convention_takes(f->convention, *out, &any)))
        return fail(p, "convention", "does not accept the scheme");
    return 0;
}

static int get_activations(const struct place *p, struct target_form *f)
{
    static const struct { const char *name; enum activation a; } words[] = {
        {"dynamic", ACTIVATION_DYNAMIC}, {"static", ACTIVATION_STATIC}, {"none", ACTIVATION_NONE}};
    const char *given = NULL;
    if (get_string(p, "activations", false, &given))
        return -1;
    for (size_t i = 0; given && i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i].name, given)) {
            f->activation = words[i].a;
            f->activation_given = true;
        }
    return given && !f->activation_given ? fail(p, "activations", "must be 'dynamic', 'static' or 'none'") : 0;
}

static int parse_role(const struct place *form, const char *key, struct target_form *f, enum role role)
{
    static const char *const known[] = {"weight", "scale", "row_multiple", "col_multiple", "scheme", "packed_scale",
                                        "unsigned", "extra", "interleave", NULL};
    struct target_role *r = &f->role[role];
    const char *scheme = NULL;
    const struct scheme *s = NULL;
    struct place p;
    if (enter(form, key, json_object_get(form->object, key), &p) || check_keys(&p, known)
        || get_string(&p, "scheme", false, &scheme)
        || (scheme && get_scheme(&p, f, scheme, &s)))
        return -1;
    if (s && s != r->scheme)
        set_scheme(r, s);
    if (parse_common(&p, r) || get_layout(&p, "weight", true, &r->weight, &r->weight_layout)
        || get_layout(&p, "scale", r->scheme->scale != DT_COUNT, &r->scale, &r->scale_layout)
        || get_number(&p, "row_multiple", 1, &r->row_multiple)
        || get_number(&p, "col_multiple", 1, &r->col_multiple) || get_number(&p, "interleave", 1, &r->interleave))
        return -1;
    return 0;
}

/* What is not quantized lies as in the checkpoint. */
static int parse_plain(const struct place *p, const struct target *t, struct target_form *f)
{
    static const char *const known[] = {"name", "note", "scheme", "serve", "evidence", "tp_max", NULL};
    (void)t;
    for (int r = 0; r < ROLE_COUNT; r++) {
        struct target_role *x = &f->role[r];
        x->weight = "r0 c0";
        if (layout_parse(&x->weight_layout, x->weight, p->e))
            return -1;
    }
    return check_keys(p, known);
}

static int parse_form(const struct place *p, const struct target *t, struct target_form *f)
{
    static const char *const known[] = {"name", "note", "scheme", "convention", "activations", "packed_scale", "unsigned",
                                        "extra", "dense", "expert", "serve", "evidence", "tp_max", NULL};
    const char *scheme = NULL, *convention = NULL;
    f->plain = DT_COUNT;
    f->serve = t->serve;
    if (get_string(p, "name", true, &f->name) || get_string(p, "note", true, &f->note)
        || get_string(p, "scheme", true, &scheme) || get_string(p, "serve", false, &f->serve)
        || get_grade(p, false, &f->evidence) || get_number(p, "tp_max", 1, &f->tp_max))
        return -1;
    for (const struct target_form *g = t->form; g < f; g++)
        if (!strcmp(g->name, f->name))
            return fail(p, "name", "another form has this name");
    for (int r = 0; r < ROLE_COUNT; r++) {
        f->role[r].row_multiple = t->row_multiple;
        f->role[r].col_multiple = t->col_multiple;
    }
    f->plain = !strcmp(scheme, "bf16") ? DT_BF16 : !strcmp(scheme, "f16") ? DT_F16 : DT_COUNT;
    if (f->plain != DT_COUNT)
        return parse_plain(p, t, f);
    if (check_keys(p, known) || get_string(p, "convention", true, &convention)
        || get_activations(p, f))
        return -1;
    f->convention = convention_find(convention);
    if (!f->convention)
        return fail(p, "convention", "there is no such convention");
    if (get_scheme(p, f, scheme, &f->scheme))
        return -1;
    if (!f->activation_given)
        (void)convention_takes(f->convention, f->scheme, &f->activation);
    struct target_role *r = f->role;
    set_scheme(&r[ROLE_DENSE], f->scheme);
    if (parse_common(p, &r[ROLE_DENSE]))
        return -1;
    const struct target_role common = r[ROLE_DENSE];
    if (parse_role(p, "dense", f, ROLE_DENSE))
        return -1;
    r[ROLE_EXPERT] = json_object_get(p->object, "expert") ? common : r[ROLE_DENSE];
    return json_object_get(p->object, "expert") ? parse_role(p, "expert", f, ROLE_EXPERT) : 0;
}

/* ---- figures -------------------------------------------------------------------- */
static int parse_card(const struct place *p, struct target_card *c)
{
    static const char *const known[] = {"name", "memory_bytes", "bandwidth", "link", "power", "node", "rates", "evidence",
                                        "source", NULL};
    static const char *const rates[] = {"bf16", "fp8", "int8", "fp4", NULL};
    struct place r;
    if (check_keys(p, known) || get_string(p, "name", true, &c->name) || get_amount(p, "memory_bytes", &c->memory_bytes)
        || get_amount(p, "bandwidth", &c->bandwidth) || get_amount(p, "link", &c->link)
        || get_amount(p, "power", &c->power) || get_number(p, "node", 1, &c->node) || get_grade(p, true, &c->evidence)
        || get_string(p, "source", true, &c->source))
        return -1;
    if (!json_object_get(p->object, "rates"))
        return 0;
    return enter(p, "rates", json_object_get(p->object, "rates"), &r) || check_keys(&r, rates)
        || get_amount(&r, "bf16", &c->rate.bf16) || get_amount(&r, "fp8", &c->rate.fp8)
        || get_amount(&r, "int8", &c->rate.int8) || get_amount(&r, "fp4", &c->rate.fp4) ? -1 : 0;
}

static int parse_fact(const struct place *p, struct target_fact *f)
{
    static const char *const known[] = {"name", "text", "evidence", "source", NULL};
    return check_keys(p, known) || get_string(p, "name", true, &f->name) || get_string(p, "text", true, &f->text)
        || get_grade(p, true, &f->evidence) || get_string(p, "source", true, &f->source) ? -1 : 0;
}

static int parse_keep(const struct place *p, struct target_keep *k)
{
    static const char *const known[] = {"pattern", "why", NULL};
    return check_keys(p, known) || get_string(p, "pattern", true, &k->pattern) || get_string(p, "why", true, &k->why)
        ? -1 : 0;
}

/* ---- the whole file -------------------------------------------------------------- */
static int parse_lists(const struct place *p, struct target *t)
{
    void *forms = NULL, *cards = NULL, *facts = NULL, *keep = NULL;
    struct place item;
    size_t n;
    if (get_list(p, "forms", true, sizeof *t->form, &forms, &n) || get_list(p, "cards", false, sizeof *t->card, &cards, &t->ncards)
        || get_list(p, "facts", false, sizeof *t->fact, &facts, &t->nfacts)
        || get_list(p, "keep", false, sizeof *t->keep, &keep, &t->nkeep))
        return -1;
    t->form = forms;
    t->card = cards;
    t->fact = facts;
    t->keep = keep;
    for (; t->nforms < n; t->nforms++)
        if (enter_item(p, "forms", t->nforms, &item) || parse_form(&item, t, &t->form[t->nforms]))
            return -1;
    for (size_t i = 0; i < t->ncards; i++)
        if (enter_item(p, "cards", i, &item) || parse_card(&item, &t->card[i]))
            return -1;
    for (size_t i = 0; i < t->nfacts; i++)
        if (enter_item(p, "facts", i, &item) || parse_fact(&item, &t->fact[i]))
            return -1;
    for (size_t i = 0; i < t->nkeep; i++)
        if (enter_item(p, "keep", i, &item) || parse_keep(&item, &t->keep[i]))
            return -1;
    return 0;
}

static int check_values(const struct place *p, const struct target *t)
{
    if (t->id[strspn(t->id, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        return fail(p, "id", "must be lower-case letters, digits and '-'");
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
        "row_multiple", "col_multiple", "serve", "flushes", "keep", "forms", "cards", "facts",
        "notes", "sources", NULL};
    t->align = 512;
    t->row_multiple = t->col_multiple = 1;
    if (check_keys(p, known) || get_string(p, "id", true, &t->id)
        || get_string(p, "title", true, &t->title) || get_string(p, "title_zh", false, &t->title_zh)
        || get_string(p, "vendor", true, &t->vendor)
        || get_string(p, "vendor_zh", false, &t->vendor_zh)
        || get_grade(p, true, &t->evidence)
        || get_string(p, "evidence_note", false, &t->evidence_note)
        || get_number(p, "align", 1, &t->align)
        || get_number(p, "row_multiple", 1, &t->row_multiple)
        || get_number(p, "col_multiple", 1, &t->col_multiple)
        || get_string(p, "serve", false, &t->serve) || get_flag(p, "flushes", &t->flushes)
        || get_strings(p, "notes", &t->note)
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
