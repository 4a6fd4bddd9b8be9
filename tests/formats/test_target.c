/* Every target file parses and keeps the rules; every rule is broken once. */
#include "formats/target.h"

#include "formats/io.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct err err;

static void check_form(const struct target_form *f)
{
    char text[256];
    cr_assert((f->scheme == NULL) == (f->convention == NULL) && (f->scheme == NULL) == (f->plain != DT_COUNT));
    for (int i = 0; i < ROLE_COUNT; i++) {
        const struct target_role *r = &f->role[i];
        cr_assert_str_eq(layout_print(&r->weight_layout, text), r->weight);
        cr_assert(r->row_multiple && r->col_multiple);
        cr_assert((r->scheme == NULL) == (f->scheme == NULL));
        if (!r->scheme)
            continue;
        cr_assert(f->activation_given ? f->convention->accepts(r->scheme, f->activation)
                                      : convention_takes(f->convention, r->scheme, &(enum activation){0}),
                  "%s: %s", f->name, r->scheme->name);
        if (r->scheme->scale != DT_COUNT)
            cr_assert_str_eq(layout_print(&r->scale_layout, text), r->scale);
        for (size_t k = 0; k < r->nextra; k++)
            cr_assert_str_eq(layout_print(&r->extra[k].layout, text), r->extra[k].sentence);
    }
}

Test(target, embedded_files_parse)
{
    cr_assert_geq(target_count(), 6);
    for (size_t i = 0; i < target_count(); i++) {
        struct target t;
        cr_assert(!i || strcmp(target_id(i - 1), target_id(i)) < 0, "sorted");
        cr_assert_eq(target_find(&t, target_id(i), &err), 0, "%s", err.msg);
        cr_assert_str_eq(t.id, target_id(i), "the file is called like its id");
        cr_assert(t.nforms > 0 && t.source[0] && t.title && t.vendor && t.title_zh && t.vendor_zh);
        for (size_t f = 0; f < t.nforms; f++)
            check_form(&t.form[f]);
        target_free(&t);
    }
}

/* What is embedded is what lies in the tree. */
Test(target, embedded_files_are_the_files)
{
    for (size_t i = 0; i < target_count(); i++) {
        char path[128];
        size_t n;
        struct target a;
        snprintf(path, sizeof path, "formats/targets/%s.json", target_id(i));
        if (access(path, R_OK)) {
            fprintf(stderr, "skipped: %s is not here\n", path);
            return;
        }
        char *text = io_read_file(path, 1 << 20, &n, &err);
        cr_assert_not_null(text, "%s", err.msg);
        cr_assert_eq(n, target_files[i].n);
        cr_assert_eq(memcmp(text, target_files[i].text, n + 1), 0, "%s", path);
        cr_assert_eq(target_load(&a, path, &err), 0, "%s", err.msg);
        cr_assert_str_eq(a.json, text);
        target_free(&a);
        free(text);
    }
}

static struct target get(const char *id)
{
    struct target t;
    cr_assert_eq(target_find(&t, id, &err), 0, "%s", err.msg);
    return t;
}

static const struct target_form *form_of(const struct target *t, const char *name)
{
    for (size_t i = 0; i < t->nforms; i++)
        if (!strcmp(t->form[i].name, name))
            return &t->form[i];
    cr_assert_fail("%s has no form %s", t->id, name);
    return NULL;
}

/* The sentences against the index formulas of the makers, at every place of a
 * small matrix with ragged edges. */
static void check_formula(const char *id, const char *form, enum role role, bool scale,
                          uint64_t rows, uint64_t cols,
                          uint64_t (*formula)(uint64_t r, uint64_t c, uint64_t rows, uint64_t cols))
{
    struct target t = get(id);
    const struct target_form *f = form_of(&t, form);
    const struct layout *l = scale ? &f->role[role].scale_layout : &f->role[role].weight_layout;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++)
            cr_assert_eq(layout_offset(l, rows, cols, r, c), formula(r, c, rows, cols),
                         "%s %s (%d,%d)", id, form, (int)r, (int)c);
    target_free(&t);
}

static uint64_t up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b * b;
}
static uint64_t ascend_dense_weight(uint64_t n, uint64_t k, uint64_t rows, uint64_t cols)
{
    (void)cols;
    return k * rows + n;
}
static uint64_t ascend_dense_scale(uint64_t n, uint64_t g, uint64_t rows, uint64_t cols)
{
    (void)cols;
    return g / 2 * 2 * rows + 2 * n + g % 2;
}
static uint64_t ascend_expert_scale(uint64_t n, uint64_t g, uint64_t rows, uint64_t cols)
{
    (void)rows;
    return n * up(cols, 2) + g;
}
static uint64_t ascend_nz_int8(uint64_t n, uint64_t k, uint64_t rows, uint64_t cols)
{
    (void)rows;
    return n / 32 * (up(cols, 16) * 32) + k / 16 * 512 + k % 16 * 32 + n % 32;
}
static uint64_t ascend_nz_fp8(uint64_t n, uint64_t k, uint64_t rows, uint64_t cols)
{
    (void)cols;
    return k / 32 * (up(rows, 16) * 32) + n / 16 * 512 + n % 16 * 32 + k % 32;
}
static uint64_t deepgemm(uint64_t r, uint64_t g, uint64_t rows, uint64_t cols)
{
    (void)cols;
    return 4 * (g / 4 * up(rows, 4) + r) + g % 4;
}
static uint64_t tiles(uint64_t r, uint64_t g, uint64_t rows, uint64_t cols)
{
    (void)rows;
    return (r / 128 * (up(cols, 4) / 4) + g / 4) * 512 + r % 32 * 16 + r % 128 / 32 * 4 + g % 4;
}
static uint64_t cublaslt(uint64_t r, uint64_t c, uint64_t rows, uint64_t cols)
{
    (void)rows;
    return r * up(cols, 4) + c;
}
static uint64_t biren(uint64_t r, uint64_t g, uint64_t rows, uint64_t cols)
{
    (void)rows;
    return r / 16 * 16 * cols + g * 16 + r % 16;
}

Test(target, sentences_are_the_makers_formulas)
{
    check_formula("ascend-950", "mx", ROLE_DENSE, false, 50, 70, ascend_dense_weight);
    check_formula("ascend-950", "mx", ROLE_DENSE, true, 37, 13, ascend_dense_scale);
    check_formula("ascend-950", "mx", ROLE_EXPERT, true, 37, 13, ascend_expert_scale);
    check_formula("ascend-950", "mx-nz", ROLE_DENSE, false, 50, 70, ascend_nz_fp8);
    check_formula("ascend-910b", "int8-nz", ROLE_DENSE, false, 50, 70, ascend_nz_int8);
    check_formula("nvidia-sm100", "deepgemm", ROLE_DENSE, true, 130, 13, deepgemm);
    check_formula("nvidia-sm100", "deepgemm-mx", ROLE_EXPERT, true, 130, 13, deepgemm);
    check_formula("nvidia-sm100", "tiles", ROLE_DENSE, true, 300, 13, tiles);
    check_formula("nvidia-sm90", "cublaslt", ROLE_DENSE, true, 9, 7, cublaslt);
    check_formula("biren-br288", "mx", ROLE_DENSE, true, 40, 12, biren);
}

Test(target, roles)
{
    cr_assert_eq(tensor_role("model.layers.3.mlp.experts.7.up_proj.weight"), ROLE_EXPERT);
    cr_assert_eq(tensor_role("model.layers.3.mlp.experts.gate_up_proj"), ROLE_EXPERT);
    cr_assert_eq(tensor_role("experts.0.w1.weight"), ROLE_EXPERT);
    cr_assert_eq(tensor_role("blk.3.ffn_gate_exps.weight"), ROLE_EXPERT);
    cr_assert_eq(tensor_role("model.layers.3.mlp.shared_experts.up_proj.weight"), ROLE_DENSE);
    cr_assert_eq(tensor_role("blk.3.ffn_gate_shexp.weight"), ROLE_DENSE);
    cr_assert_eq(tensor_role("lm_head.weight"), ROLE_DENSE);

    struct target t = get("ascend-950");
    cr_assert_eq(t.form->role[ROLE_EXPERT].col_multiple, 64);
    cr_assert_eq(t.form->role[ROLE_DENSE].col_multiple, 1);
    target_free(&t);
    t = get("nvidia-sm100");
    cr_assert(t.form->role->scale_rows == 1 && t.form->role->scale_cols == 128);
    cr_assert_eq(t.form->role->scale_dtype, DT_F8_E8M0);
    target_free(&t);
}

Test(target, unknown_ids_are_told_the_near_ones)
{
    struct target t;
    cr_assert_eq(target_find(&t, "ascend-960", &err), -1);
    cr_assert_eq(err.kind, ERR_USAGE);
    cr_assert(strstr(err.msg, "ascend-950") && !strstr(err.msg, "nvidia"), "%s", err.msg);
    cr_assert_eq(target_find(&t, "tpu", &err), -1);
    for (size_t i = 0; i < target_count(); i++)
        cr_assert(strstr(err.msg, target_id(i)), "%s", err.msg);
}

/* The example of octavo-targets(7) is a target; its tables are compared with the program by make check-lists. */
Test(target, manual_has_an_example)
{
    const char *path = "man/octavo-targets.7";
    struct target t;
    size_t n;
    if (access(path, R_OK)) {
        fprintf(stderr, "skipped: %s is not here\n", path);
        return;
    }
    char *page = io_read_file(path, 1 << 20, &n, &err);
    cr_assert_not_null(page, "%s", err.msg);
    char *example = strstr(page, ".Sh EXAMPLES");
    cr_assert_not_null(example);
    example = strchr(example, '{');
    *strstr(example, ".Ed") = 0;
    cr_assert_eq(target_parse(&t, example, path, &err), 0, "%s", err.msg);
    cr_assert(t.align == 512 && t.row_multiple == 1 && t.ncards == 0);
    target_free(&t);
    free(page);
}

/* ---- one rule broken at a time ------------------------------------------------------ */
static const char good[] =
    "{\"id\": \"x-1\", \"title\": \"X\", \"vendor\": \"V\", \"evidence\": \"press\",\n"
    " \"align\": 256, \"row_multiple\": 1, \"col_multiple\": 16,\n"
    " \"cards\": [{\"name\": \"c\", \"memory_bytes\": 1e9, \"node\": 8, \"rates\": {\"fp8\": 1e15}, \"evidence\": \"press\", \"source\": \"q\"}],\n"
    " \"keep\": [{\"pattern\": \"*.kv\", \"why\": \"w\"}], \"flushes\": true, \"notes\": [\"n\"], \"sources\": [\"s\"],\n"
    " \"facts\": [{\"name\": \"memory\", \"text\": \"1 GB\", \"evidence\": \"press\", \"source\": \"q\"}],\n"
    " \"forms\": [{\"name\": \"a\", \"tp_max\": 4, \"note\": \"n\", \"scheme\": \"fp8-ue8m0-128x128\",\n"
    "  \"convention\": \"deepseek\",\n"
    "  \"packed_scale\": {\"dtype\": \"F8_E8M0\", \"rows\": 1, \"cols\": 128},\n"
    "  \"dense\": {\"weight\": \"r0 c0\", \"scale\": \"r0 c1 c0 | c0=4\"}}]}";

static const struct {
    const char *from, *to, *part1, *part2;
} mutations[] = {
    {"\"title\"", "\"titel\"", "titel", "unknown key"},
    {"\"id\": \"x-1\", ", "", "id", "missing"},
    {"\"x-1\"", "\"X 1\"", "id", "lower-case"},
    {"\"x-1\"", "\"\"", "id", "not empty"},
    {"\"press\",\n", "\"hearsay\",\n", "evidence", "third party"},
    {"\"evidence\": \"press\", \"source\": \"q\"}],\n", "\"source\": \"q\"}],\n", "cards[0].evidence", "missing"},
    {"\"node\": 8", "\"node\": 0", "cards[0].node", "from 1"},
    {"{\"fp8\"", "{\"fp9\"", "cards[0].rates.fp9", "unknown key"},
    {"\"cards\": [", "\"cards\": [], \"x\": [", "x", "unknown key"},
    {"\"cards\": [{", "\"cards\": {", "line", "x.json"},
    {"\"why\": \"w\"", "\"wy\": \"w\"", "keep[0].wy", "unknown key"},
    {"\"flushes\": true", "\"flushes\": 1", "flushes", "true or false"},
    {"\"tp_max\": 4", "\"tp_max\": 0", "forms[0].tp_max", "from 1"},
    {"\"note\": \"n\", \"scheme\"", "\"note\": \"n\", \"activations\": \"often\", \"scheme\"", "forms[0].activations", "static"},
    {"\"note\": \"n\", \"scheme\"", "\"note\": \"n\", \"activations\": \"static\", \"scheme\"", "forms[0].convention", "does not accept"},
    {"\"note\": \"n\", \"scheme\"", "\"note\": \"n\", \"unsigned\": true, \"scheme\"", "forms[0].unsigned", "integers"},
    {"\"note\": \"n\", \"scheme\"", "\"note\": \"n\", \"extra\": [], \"scheme\"", "forms[0].extra", "at least one"},
    {"\"note\": \"n\", \"scheme\"", "\"note\": \"n\", \"extra\": [{\"name\": \"x\", \"rule\": \"y\"}], \"scheme\"",
     "forms[0].extra[0].rule", "absmax"},
    {"\"weight\": \"r0 c0\", ", "\"weight\": \"r0 c0\", \"scheme\": \"int8-channel\", ", "forms[0].dense.convention", "does not accept"},
    {"fp8-ue8m0-128x128", "bf16", "forms[0].convention", "unknown key"},
    {"\"cols\": 128}", "\"cols\": 128, \"times\": 3}", "packed_scale.times", "power of two"},
    {"\"cols\": 128}", "\"cols\": 128, \"times\": 2}", "packed_scale.times", "codes"},
    {"256", "100", "align", "power of two"},
    {"256", "32", "align", "power of two"},
    {"\"col_multiple\": 16", "\"col_multiple\": 0", "col_multiple", "from 1"},
    {"\"col_multiple\": 16", "\"col_multiple\": 1.5", "col_multiple", "whole number"},
    {"1e9", "0", "cards[0].memory_bytes", "positive"},
    {"1e9", "\"1e9\"", "memory_bytes", "positive"},
    {"[\"n\"]", "\"n\"", "notes", "list of strings"},
    {"[\"s\"]", "[1]", "sources", "list of strings"},
    {"[\"s\"]", "[]", "sources", "at least one"},
    {"\"text\": \"1 GB\", ", "", "facts[0].text", "missing"},
    {"\"text\"", "\"txt\"", "facts[0].txt", "unknown key"},
    {"\"facts\": [", "\"facts\": [3, ", "facts[0]", "must be an object"},
    {"\"forms\": [", "\"forms\": [], \"notes\": [", "duplicate", "notes"},
    {"\"name\": \"a\", ", "", "forms[0].name", "missing"},
    {"fp8-ue8m0-128x128", "fp9", "forms[0].scheme", "no such scheme"},
    {"\"deepseek\"", "\"deepsea\"", "forms[0].convention", "no such convention"},
    {"\"deepseek\"", "\"ascend-v1\"", "forms[0].convention", "does not accept"},
    {"F8_E8M0", "I8", "forms[0].packed_scale.dtype", "F32, BF16, F16"},
    {"fp8-ue8m0-128x128", "fp8-f32-128x128", "packed_scale.dtype", "cannot hold"},
    {"\"rows\": 1,", "\"rows\": 3,", "packed_scale.rows", "does not divide"},
    {"\"cols\": 128", "\"cols\": 0", "packed_scale.cols", "does not divide"},
    {"\"cols\": 128", "\"cols\": 256", "packed_scale.cols", "does not divide"},
    {"\"cols\": 128", "\"columns\": 128", "packed_scale.columns", "unknown key"},
    {"\"dense\"", "\"expert\"", "forms[0].dense", "must be an object"},
    {"\"weight\": \"r0 c0\", ", "", "forms[0].dense.weight", "missing"},
    {"r0 c1 c0 | c0=4", "r0 c1 c0", "forms[0].dense.scale", "c"},
    {"r0 c1 c0 | c0=4", "r0 q0", "forms[0].dense.scale", "q0"},
    {"}}]}", "}},", "line", "x.json"},
};

Test(target, broken_files_are_refused)
{
    struct target t;
    cr_assert_eq(target_parse(&t, good, "x.json", &err), 0, "%s", err.msg);
    cr_assert_eq(t.form->role[ROLE_EXPERT].col_multiple, 16);
    cr_assert_str_eq(t.fact->text, "1 GB");
    target_free(&t);
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        char text[4096];
        const char *at = strstr(good, mutations[i].from);
        cr_assert_not_null(at, "mutation %zu", i);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, mutations[i].to,
                 at + strlen(mutations[i].from));
        err = (struct err){0};
        cr_assert_eq(target_parse(&t, text, "x.json", &err), -1, "mutation %zu was accepted", i);
        cr_assert_eq(err.kind, ERR_INPUT);
        cr_assert_eq(strncmp(err.msg, "x.json: ", 8), 0, "%s", err.msg);
        cr_assert(strstr(err.msg, mutations[i].part1) && strstr(err.msg, mutations[i].part2),
                  "mutation %zu: %s", i, err.msg);
    }
    /* two forms of one name */
    const char *list = strstr(good, "\"forms\": [") + strlen("\"forms\": [");
    size_t n = strlen(list) - 2;
    char text[4096];
    snprintf(text, sizeof text, "%.*s%.*s, %s", (int)(list - good), good, (int)n, list, list);
    cr_assert_eq(target_parse(&t, text, "x.json", &err), -1);
    cr_assert(strstr(err.msg, "forms[1].name") && strstr(err.msg, "another form"), "%s", err.msg);
}
