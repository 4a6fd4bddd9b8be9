/* The ledger of a plan: every tensor of the source has a fate, and every output comes from somewhere. */
#include "formats/packed.h"
#include "tests/flow.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct run {
    char *dir;
    struct model m;
    struct plan p;
    struct rules rules;
    struct encoding to;
    struct wanted w;
    struct err e;
};

static void open_run(struct run *r, const struct mk_tensor *t, size_t n, const char *config, const char *scheme)
{
    struct buf b = mk_safetensors(t, n, NULL);
    *r = (struct run){.dir = mk_tmpdir()};
    char *const path = mk_path(r->dir, "in"), *const c = mk_path(r->dir, "config.json");
    mk_write(path, b.s, b.n);
    mk_write(c, config, strlen(config));
    cr_assert_eq(model_open(&r->m, path, &r->e), 0, "%s", r->e.msg);
    flow_wanted(&r->w, &r->to, scheme);
    r->w.rules = &r->rules;
    buf_free(&b);
    free(path);
    free(c);
}

static void close_run(struct run *r)
{
    plan_free(&r->p);
    rules_free(&r->rules);
    model_close(&r->m);
    mk_rmdir(r->dir);
}

static const struct entry *entry_of(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->nledger; i++)
        if (!strcmp(p->ledger[i].name, name))
            return &p->ledger[i];
    cr_assert_fail("%s is not in the ledger", name);
    return NULL;
}

static bool leads_to(const struct plan *p, const struct entry *x, const char *output)
{
    for (size_t i = 0; i < x->nout; i++)
        if (!strcmp(p->out[x->out[i]].t.name, output))
            return true;
    return false;
}

/* As many entries as tensors, the sum of the fates, and no output out of nothing. */
static void check_sums(const struct plan *p, size_t n)
{
    bool *seen = calloc(p->nout + 1, 1);
    size_t sum = 0;
    cr_assert_eq(p->nledger, n);
    for (int f = FATE_NONE; f < FATE_COUNT; f++)
        sum += p->fates[f];
    cr_assert_eq(sum, n);
    cr_assert_eq(p->fates[FATE_NONE], 0);
    for (size_t i = 0; i < p->nledger; i++)
        for (size_t o = 0; o < p->ledger[i].nout; o++)
            seen[p->ledger[i].out[o]] = true;
    for (size_t o = 0; o < p->nout; o++)
        cr_assert(seen[o], "%s comes from nothing", p->out[o].t.name);
    free(seen);
}

struct expected { const char *name; enum fate fate; const char *why, *output; };

static void check(struct run *r, const struct expected *x, size_t n)
{
    cr_assert_eq(plan_make(&r->p, &r->m, &r->w, &r->e), 0, "%s", r->e.msg);
    check_sums(&r->p, n);
    for (size_t i = 0; i < n; i++) {
        const struct entry *y = entry_of(&r->p, x[i].name);
        cr_expect_str_eq(fate_name(y->fate), fate_name(x[i].fate), "%s is %s", x[i].name, fate_name(y->fate));
        cr_expect(!x[i].why == !y->why && (!x[i].why || strstr(y->why, x[i].why)), "%s: %s", x[i].name, y->why ? y->why : "-");
        cr_expect(x[i].output ? leads_to(&r->p, y, x[i].output) : !y->nout, "%s to %s", x[i].name,
                  x[i].output ? x[i].output : "nothing");
    }
}

static const char fp8[] = "{\"num_hidden_layers\":1,\"num_nextn_predict_layers\":1,\"quantization_config\":{\"quant_algo\":"
                          "\"FP8\",\"quant_method\":\"modelopt\",\"kv_cache_scheme\":{\"num_bits\":8,\"type\":\"float\"}}}";
enum { N = 9 };
static const struct mk_tensor source[N] = {{"layers.0.k_proj.weight", "F8_E4M3", "[4,8]", NULL, 32},
                                           {"layers.0.k_proj.weight_scale", "F32", "[]", NULL, 4},
                                           {"layers.0.k_proj.input_scale", "F32", "[]", NULL, 4},
                                           {"layers.0.k_proj.k_scale", "F32", "[]", NULL, 4},
                                           {"norm.weight", "BF16", "[4]", NULL, 8},
                                           {"layers.1.u.weight", "BF16", "[4,8]", NULL, 64},
                                           {"lm_head.weight", "BF16", "[4,8]", NULL, 64},
                                           {"gone.weight", "F8_E4M3", "[4,8]", NULL, 32},
                                           {"gone.weight_scale", "F32", "[]", NULL, 4}};

/* One of each, and why. */
Test(ledger, every_fate)
{
    static const struct expected x[N] = {
        {"layers.0.k_proj.weight", FATE_COPIED, NULL, "layers.0.k_proj.weight"},
        {"layers.0.k_proj.weight_scale", FATE_MAPPED, NULL, "layers.0.k_proj.weight_scale"},
        {"layers.0.k_proj.input_scale", FATE_DROPPED, "activations", NULL},
        {"layers.0.k_proj.k_scale", FATE_DROPPED, "KV cache", NULL},
        {"norm.weight", FATE_COPIED, "a vector", "norm.weight"},
        {"layers.1.u.weight", FATE_MAPPED, NULL, "layers.1.u.weight_scale"},
        {"lm_head.weight", FATE_COPIED, "output head", "lm_head.weight"},
        {"gone.weight", FATE_DROPPED, NULL, NULL},
        {"gone.weight_scale", FATE_DROPPED, NULL, NULL}};
    struct run r;
    open_run(&r, source, N, fp8, "fp8-tensor");
    cr_assert_eq(rules_add(&r.rules, "gone.*", ACTION_DROP, "rules:7", &r.e), 0);
    check(&r, x, N);
    cr_assert_str_eq(entry_of(&r.p, "gone.weight_scale")->rule->origin, "rules:7", "it goes with its weight");
    cr_assert_null(entry_of(&r.p, "norm.weight")->rule);
    cr_assert_eq(r.p.nnotes, 2);
    cr_assert(strstr(r.p.note[0], "KV cache"), "%s", r.p.note[0]);
    cr_assert(strstr(r.p.note[1], "1 tensor") && strstr(r.p.note[1], "'layers.1.u.weight'")
                  && strstr(r.p.note[1], "1 mapped, 0 copied, 0 merged, 0 dropped"), "%s", r.p.note[1]);
    close_run(&r);
}

Test(ledger, of_a_decoded_weight)
{
    static const struct expected x[N] = {
        {"layers.0.k_proj.weight", FATE_MAPPED, NULL, "layers.0.k_proj.weight"},
        {"layers.0.k_proj.weight_scale", FATE_MERGED, "into its weight", "layers.0.k_proj.weight"},
        {"layers.0.k_proj.input_scale", FATE_DROPPED, "activations", NULL},
        {"layers.0.k_proj.k_scale", FATE_DROPPED, "KV cache", NULL},
        {"norm.weight", FATE_COPIED, NULL, "norm.weight"},
        {"layers.1.u.weight", FATE_COPIED, NULL, "layers.1.u.weight"},
        {"lm_head.weight", FATE_COPIED, NULL, "lm_head.weight"},
        {"gone.weight", FATE_MAPPED, NULL, "gone.weight"},
        {"gone.weight_scale", FATE_MERGED, "into its weight", "gone.weight"}};
    struct run r;
    open_run(&r, source, N, fp8, NULL);
    r.w.plain = DT_BF16;
    check(&r, x, N);
    close_run(&r);
    /* And where nothing happens to them. */
    open_run(&r, source, N, fp8, NULL);
    cr_assert_eq(plan_make(&r.p, &r.m, &r.w, &r.e), 0, "%s", r.e.msg);
    check_sums(&r.p, N);
    cr_assert_eq(r.p.fates[FATE_COPIED], N);
    close_run(&r);
}

Test(ledger, what_calibration_left)
{
    static const char config[] =
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"quantization_status\":"
        "\"frozen\",\"format\":\"int-quantized\",\"config_groups\":{}}}";
    static const struct mk_tensor t[3] = {{"x.weight", "BF16", "[4,64]", NULL, 512},
                                          {"x.weight_scale", "BF16", "[4,1]", NULL, 8},
                                          {"b.weight", "BF16", "[4]", NULL, 8}};
    static const struct expected x[3] = {{"x.weight", FATE_MAPPED, NULL, "x.weight"},
                                         {"x.weight_scale", FATE_DROPPED, "left over", NULL},
                                         {"b.weight", FATE_COPIED, "a vector", "b.weight"}};
    struct run r;
    open_run(&r, t, 3, config, "int8-channel");
    check(&r, x, 3);
    close_run(&r);
}

/* The pieces of a weight are the tensors of the source, not what they are put together to. */
Test(ledger, pieces)
{
    static const char config[] = "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":"
                                 "{\"format\":\"sparse-bitmask\",\"targets\":[\"Linear\"]}}}";
    static const uint8_t mask[4] = {1};
    static const int64_t shape[2] = {4, 8}, first[4] = {0, 1, 1, 1};
    static const float value = 1;
    static const struct mk_tensor t[5] = {{"a.compressed", "F32", "[1]", &value, 4},
                                          {"a.bitmask", "U8", "[4,1]", mask, 4},
                                          {"a.shape", "I64", "[2]", shape, 16},
                                          {"a.row_offsets", "I64", "[4]", first, 32},
                                          {"b", "F32", "[1]", &value, 4}};
    static const struct expected x[5] = {{"a.compressed", FATE_MERGED, "a piece", "a.weight_scale_inv"},
                                         {"a.bitmask", FATE_MERGED, "a piece", "a.weight"},
                                         {"a.shape", FATE_MERGED, "a piece", "a.weight"},
                                         {"a.row_offsets", FATE_MERGED, "a piece", "a.weight"},
                                         {"b", FATE_COPIED, "a vector", "b"}};
    struct run r;
    open_run(&r, t, 5, config, SCHEME_DEFAULT);
    check(&r, x, 5);
    close_run(&r);
    open_run(&r, t, 5, config, SCHEME_DEFAULT);
    cr_assert_eq(rules_add(&r.rules, "a.weight", ACTION_DROP, "--exclude", &r.e), 0);
    cr_assert_eq(plan_make(&r.p, &r.m, &r.w, &r.e), 0, "%s", r.e.msg);
    check_sums(&r.p, 5);
    cr_assert_eq(r.p.fates[FATE_DROPPED], 4);
    cr_assert_str_eq(entry_of(&r.p, "a.bitmask")->rule->origin, "--exclude");
    close_run(&r);
}

/* Laid out for a chip: the bytes are the same ones elsewhere. */
Test(ledger, packed)
{
    static const struct mk_tensor t[3] = {{"a.weight", "F8_E4M3", "[4,8]", NULL, 32},
                                          {"a.weight_scale", "F32", "[]", NULL, 4},
                                          {"b", "F32", "[1]", NULL, 4}};
    static const struct expected x[3] = {{"a.weight", FATE_MAPPED, NULL, "a.weight"},
                                         {"a.weight_scale", FATE_COPIED, NULL, "a.weight_scale"},
                                         {"b", FATE_COPIED, NULL, "b"}};
    struct run r;
    struct layout l;
    open_run(&r, t, 3, fp8, NULL);
    cr_assert_eq(layout_parse(&l, "c0 r0", &r.e), 0);
    r.w.weight_layout = &l;
    r.w.weight_sentence = "c0 r0";
    check(&r, x, 3);
    close_run(&r);
}

/* Which tensors predict further tokens. */
Test(ledger, multi_token_prediction)
{
    static const struct mk_tensor t[6] = {{"model.layers.3.a", "F32", "[1]", NULL, 4},
                                          {"model.layers.4.a", "F32", "[1]", NULL, 4},
                                          {"model.layers.5.a", "F32", "[1]", NULL, 4},
                                          {"model.layers.40.a", "F32", "[1]", NULL, 4},
                                          {"xlayers.4.a", "F32", "[1]", NULL, 4},
                                          {"mtp.0.a", "F32", "[1]", NULL, 4}};
    static const struct { const char *config, *count; } v[] = {
        {"{\"num_hidden_layers\":4,\"num_nextn_predict_layers\":1}", "2 tensors"},
        {"{\"num_hidden_layers\":4,\"num_nextn_predict_layers\":2}", "3 tensors"},
        {"{\"text_config\":{\"num_hidden_layers\":3,\"num_nextn_predict_layers\":2}}", "3 tensors"},
        {"{\"num_hidden_layers\":4}", "1 tensor "},
        {"{\"num_nextn_predict_layers\":1}", "1 tensor "},
        {"{\"num_hidden_layers\":\"4\",\"num_nextn_predict_layers\":[1]}", "1 tensor "}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        struct run r;
        open_run(&r, t, 6, v[i].config, NULL);
        cr_assert_eq(plan_make(&r.p, &r.m, &r.w, &r.e), 0, "%s", r.e.msg);
        cr_assert_eq(r.p.nnotes, 1);
        cr_assert(!strncmp(r.p.note[0], v[i].count, strlen(v[i].count)), "%s", r.p.note[0]);
        close_run(&r);
    }
    struct run r;
    open_run(&r, t, 1, "{}", NULL);
    cr_assert_eq(plan_make(&r.p, &r.m, &r.w, &r.e), 0, "%s", r.e.msg);
    cr_assert_eq(r.p.nnotes, 0);
    close_run(&r);
}
