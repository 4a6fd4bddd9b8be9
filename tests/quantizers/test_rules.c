#include "quantizers/rules.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static void add(struct rules *r, const char *pattern, enum action a)
{
    struct err e = {0};
    cr_assert_eq(rules_add(r, pattern, a, "--include", &e), 0, "%s", e.msg);
}

Test(rules, the_first_match_wins)
{
    struct rules r = {0};
    cr_assert_eq(rules_match(&r, "anything"), ACTION_DEFAULT);
    cr_assert_eq(rules_match(NULL, "anything"), ACTION_DEFAULT);
    add(&r, "*.q.weight", ACTION_KEEP);
    add(&r, "re:^l\\.[0-9]+\\.", ACTION_DROP);
    add(&r, "*", ACTION_QUANTIZE);
    cr_assert_eq(rules_match(&r, "l.0.q.weight"), ACTION_KEEP);
    cr_assert_eq(rules_match(&r, "l.10.k.weight"), ACTION_DROP);
    cr_assert_eq(rules_match(&r, "l.x.k.weight"), ACTION_QUANTIZE);
    cr_assert_eq(rules_match(&r, "m.l.1.k"), ACTION_QUANTIZE, "^ is the start of the name");
    rules_free(&r);
    cr_assert(!r.n && !r.r);
}

Test(rules, globs_and_expressions)
{
    static const struct {
        const char *pattern, *name;
        bool match;
    } v[] = {{"*", "", true},
             {"*", "a/b.c", true},
             {"a.*", "a.", true},
             {"a.*", "a", false},
             {"a?c", "abc", true},
             {"a?c", "a.c", true},
             {"a?c", "abbc", false},
             {"a[0-3].w", "a2.w", true},
             {"a[0-3].w", "a4.w", false},
             {"q_proj", "x.q_proj.weight", false},
             {"a\\*", "a*", true},
             {"a\\*", "ab", false},
             {"re:q_proj", "x.q_proj.weight", true},
             {"re:\\.(q|k)_proj\\.", "l.k_proj.weight", true},
             {"re:\\.(q|k)_proj\\.", "l.v_proj.weight", false},
             {"re:^$", "a", false},
             {"re:layers\\.1[0-9]\\.", "layers.12.w", true},
             {"re:layers\\.1[0-9]\\.", "layers.1.w", false},
             {"re:A", "a", false},
             {"re:", "x", true}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        struct rules r = {0};
        add(&r, v[i].pattern, ACTION_KEEP);
        cr_assert_eq(rules_match(&r, v[i].name) == ACTION_KEEP, v[i].match, "%s, %s", v[i].pattern,
                     v[i].name);
        rules_free(&r);
    }
}

Test(rules, a_bad_expression)
{
    struct rules r = {0};
    struct err e = {0};
    cr_assert_eq(rules_add(&r, "re:a(b", ACTION_KEEP, "--exclude", &e), -1);
    cr_assert_eq(e.kind, ERR_USAGE);
    cr_assert(strstr(e.msg, "--exclude") && strstr(e.msg, "re:a(b"), "%s", e.msg);
    cr_assert_eq(r.n, 0);
    rules_free(&r);
}

/* ---- files ------------------------------------------------------------------------------ */

static int load(struct rules *r, const char *text, const char *scheme, struct err *e)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "rules.txt");
    mk_write(path, text, strlen(text));
    *e = (struct err){0};
    const int rc = rules_file(r, path, scheme != NULL, e);
    free(path);
    mk_rmdir(dir);
    return rc;
}

Test(rules, a_file)
{
    struct rules r = {0};
    struct err e;
    cr_assert_eq(
        load(&r,
             "# a comment\n\n  *.q.weight=keep\n\t*.k.*  =  quantize  # why\r\nre:a=b$ = drop\nmine = mxfp8",
             "mxfp8", &e),
        0, "%s", e.msg);
    cr_assert_eq(r.n, 4);
    cr_assert_str_eq(r.r[0].pattern, "*.q.weight");
    cr_assert_str_eq(r.r[1].pattern, "*.k.*");
    cr_assert_eq(rules_match(&r, "l.q.weight"), ACTION_KEEP);
    cr_assert_eq(rules_match(&r, "l.k.weight"), ACTION_QUANTIZE);
    cr_assert_eq(rules_match(&r, "xa=b"), ACTION_DROP, "the last '=' divides");
    cr_assert_eq(rules_match(&r, "mine"), ACTION_QUANTIZE);
    cr_assert(strstr(r.r[0].origin, "rules.txt:3") && strstr(r.r[3].origin, "rules.txt:6"), "%s",
              r.r[3].origin);
    /* more files go on where the list ends */
    cr_assert_eq(load(&r, "*.q.weight = drop\nother = drop\n", NULL, &e), 0, "%s", e.msg);
    cr_assert_eq(r.n, 6);
    cr_assert_eq(rules_match(&r, "l.q.weight"), ACTION_KEEP);
    cr_assert_eq(rules_match(&r, "other"), ACTION_DROP);
    rules_free(&r);
    cr_assert_eq(load(&r, "", NULL, &e), 0);
    cr_assert_eq(r.n, 0);
    rules_free(&r);
}

Test(rules, mistakes_name_their_line)
{
    static const struct {
        const char *text, *scheme, *line, *word;
    } v[] = {
        {"a = keep\nb\n", "mxfp8", ":2", "'b'"},
        {"a = keep\n\n\nb = kept\n", "mxfp8", ":4", "kept"},
        {"a = fp8-tensors\n", "mxfp8", ":1", "'fp8-tensors'"},
        {"a = mxfp8 flour\n", "mxfp8", ":1", "'flour'"},
        {"a = fp8-tensor floor\n", "mxfp8", ":1", "'floor' for fp8-tensor"},
        {"a = mxfp8\n", NULL, ":1", "'mxfp8'"},
        {"a = bf16\n", NULL, ":1", "'bf16'"},
        {"a =\n", "mxfp8", ":1", "''"},
        {"# one\nre:( = keep\n", "mxfp8", ":2", "re:("},
        {" = keep\n", "mxfp8", ":1", ""},
    };
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        struct rules r = {0};
        struct err e;
        cr_assert_eq(load(&r, v[i].text, v[i].scheme, &e), -1, "'%s' is accepted", v[i].text);
        cr_assert_eq(e.kind, ERR_USAGE);
        cr_assert(strstr(e.msg, v[i].line) && strstr(e.msg, v[i].word), "'%s': %s", v[i].text, e.msg);
        rules_free(&r);
    }
    struct rules r = {0};
    struct err e = {0};
    cr_assert_eq(rules_file(&r, "/no/such/file", false, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    rules_free(&r);
}

/* ---- defaults: names of published checkpoints --------------------------------------------- */

struct tensor_name {
    const char *name;
    int rank;
};

static const struct tensor_name quantized[] = {
    /* DeepSeek-V3 */
    {"model.layers.0.self_attn.q_a_proj.weight", 2},
    {"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", 2},
    {"model.layers.0.self_attn.kv_b_proj.weight", 2},
    {"model.layers.0.self_attn.o_proj.weight", 2},
    {"model.layers.3.mlp.experts.255.down_proj.weight", 2},
    {"model.layers.3.mlp.shared_experts.up_proj.weight", 2},
    {"model.layers.1.mlp.gate_proj.weight", 2},
    /* Llama, Qwen3, Mixtral */
    {"model.layers.31.mlp.gate_proj.weight", 2},
    {"model.layers.0.self_attn.k_proj.weight", 2},
    {"model.layers.0.mlp.experts.7.gate_proj.weight", 2},
    {"model.layers.0.block_sparse_moe.experts.3.w1.weight", 2},
    {"model.layers.0.mlp.experts.gate_up_proj", 3},
    {"model.layers.0.mlp.experts.down_proj", 3},
    /* llama.cpp */
    {"blk.0.attn_q.weight", 2},
    {"blk.0.attn_output.weight", 2},
    {"blk.11.ffn_gate.weight", 2},
    {"blk.11.ffn_gate_exps.weight", 3},
    {"blk.11.ffn_down_shexp.weight", 2},
};
static const struct tensor_name kept_names[] = {
    /* DeepSeek-V3 */
    {"model.embed_tokens.weight", 2},
    {"lm_head.weight", 2},
    {"model.norm.weight", 1},
    {"model.layers.3.mlp.gate.weight", 2},
    {"model.layers.0.self_attn.q_a_layernorm.weight", 1},
    {"model.layers.0.input_layernorm.weight", 1},
    {"model.layers.3.mlp.gate.e_score_correction_bias", 1},
    {"model.layers.61.eh_proj.weight", 2},
    {"model.layers.61.shared_head.head.weight", 2},
    {"model.layers.61.embed_tokens.weight", 2},
    {"model.layers.61.enorm.weight", 1},
    {"model.layers.0.self_attn.indexer.weights_proj.weight", 2},
    /* Qwen3, Mixtral, Llama-4, gpt-oss */
    {"model.layers.0.self_attn.q_norm.weight", 1},
    {"model.layers.0.mlp.shared_expert_gate.weight", 2},
    {"model.layers.0.block_sparse_moe.gate.weight", 2},
    {"language_model.model.layers.0.feed_forward.router.weight", 2},
    {"model.layers.0.self_attn.q_proj.bias", 1},
    {"model.layers.0.mlp.experts.gate_up_proj_bias", 2},
    {"model.layers.0.mlp.experts.down_proj_bias", 2},
    {"model.layers.0.self_attn.sinks", 1},
    /* Qwen3-Next, vision towers, GPT-2 */
    {"model.layers.0.linear_attn.conv1d.weight", 3},
    {"model.layers.0.linear_attn.A_log", 1},
    {"visual.patch_embed.proj.weight", 5},
    {"transformer.wte.weight", 2},
    {"wpe.weight", 2},
    /* llama.cpp */
    {"token_embd.weight", 2},
    {"output.weight", 2},
    {"output_norm.weight", 1},
    {"blk.0.attn_norm.weight", 1},
    {"blk.0.ffn_gate_inp.weight", 2},
    {"rope_freqs.weight", 1},
    {"blk.0.ffn_gate_inp_shexp.weight", 1},
    {"blk.0.attn_q.bias", 1},
};

static bool by_default(const struct tensor_name *n, enum dtype t, const char **why)
{
    const struct tensor x = {.name = n->name, .dtype = t, .rank = (uint8_t)n->rank, .dim = {4, 4, 4, 4, 4}};
    *why = "?";
    return rules_default(&x, why);
}

Test(rules, defaults)
{
    const char *why;
    for (size_t i = 0; i < sizeof quantized / sizeof *quantized; i++) {
        cr_expect(by_default(&quantized[i], DT_BF16, &why), "%s is %s", quantized[i].name, why);
        cr_expect(!by_default(&quantized[i], DT_I32, &why) && why, "%s", quantized[i].name);
        cr_expect(!by_default(&quantized[i], DT_F64, &why) && why, "%s", quantized[i].name);
    }
    for (size_t i = 0; i < sizeof kept_names / sizeof *kept_names; i++)
        cr_expect(!by_default(&kept_names[i], DT_BF16, &why) && why && strcmp(why, "?"), "%s",
                  kept_names[i].name);
}

Test(rules, reasons)
{
    static const struct {
        struct tensor_name t;
        const char *word;
    } v[] = {{{"model.norm.weight", 1}, "vector"},
             {{"model.norm.weight", 2}, "norm"},
             {{"x.embed_tokens.weight", 2}, "embedding"},
             {{"lm_head.weight", 2}, "head"},
             {{"l.3.mlp.gate.weight", 2}, "router"},
             {{"x.conv.weight", 4}, "linear layer"},
             {{"x.table", 2}, "no weight"}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        const char *why;
        cr_assert(!by_default(&v[i].t, DT_BF16, &why));
        cr_assert(strstr(why, v[i].word), "%s: %s", v[i].t.name, why);
    }
}
