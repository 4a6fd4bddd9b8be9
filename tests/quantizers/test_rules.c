#include "quantizers/rules.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <fnmatch.h>
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

/* The short way for globs of '*' alone agrees with fnmatch. */
Test(rules, stars)
{
    static const char letter[] = {'a', 'b', '*', '.'};
    enum { LONG = 5, COUNT = 1365 }; /* (4^6 - 1) / 3: all words of up to five letters */
    static char word[COUNT][LONG + 1];
    size_t n = 1;
    for (size_t i = 0; n < COUNT; i++)
        for (size_t k = 0; k < sizeof letter; k++, n++) {
            memcpy(word[n], word[i], LONG + 1);
            word[n][strlen(word[i])] = letter[k];
        }
    for (size_t p = 0; p < COUNT; p++) {
        struct rules r = {0};
        add(&r, word[p], ACTION_KEEP);
        for (size_t i = 0; i < COUNT; i += i < 85 ? 1 : 7)
            cr_assert_eq(rules_match(&r, word[i]) == ACTION_KEEP, !fnmatch(word[p], word[i], 0), "'%s', '%s'", word[p],
                         word[i]);
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

Test(rules, defaults_come_last)
{
    struct rules r = {0};
    struct err e;
    cr_assert_eq(load(&r,
                      "* ?= keep # the rest\n*.q.weight ?= drop\n*.k.weight = quantize\n*.v.* ?= mxfp8 floor\n"
                      "a? = drop\nb?=drop\nre:c[0-9]?=x$ ?= drop\n",
                      "mxfp8", &e),
                 0, "%s", e.msg);
    cr_assert_eq(r.n, 7);
    cr_assert_eq(rules_match(&r, "l.q.weight"), ACTION_KEEP, "of defaults, too, the first one wins");
    cr_assert_eq(rules_match(&r, "l.k.weight"), ACTION_QUANTIZE, "a rule is before all of them");
    cr_assert(r.r[0].is_default && !r.r[2].is_default && r.r[3].is_default && r.r[3].to);
    cr_assert_str_eq(encoding_rule(r.r[3].to), "floor");
    cr_assert(!r.r[4].is_default && !r.r[5].is_default, "a '?' without a blank before it is the pattern's");
    cr_assert_str_eq(r.r[4].pattern, "a?");
    cr_assert_str_eq(r.r[5].pattern, "b?");
    cr_assert_str_eq(r.r[6].pattern, "re:c[0-9]?=x$");
    cr_assert(r.r[6].is_default);
    struct encoding run;
    cr_assert(!rules_take_run(&r, &run) && r.n == 7, "'* ?= keep' says no scheme");
    rules_free(&r);
    cr_assert_eq(load(&r, "*.q.weight ?= int8-channel\n* ?= mxfp8 ceil\n* = keep\n* ?= fp8-tensor\n"
                          "* ?= quantize\n", "mxfp8", &e), 0);
    cr_assert(rules_take_run(&r, &run) && r.n == 2, "%zu", r.n);
    cr_assert_str_eq(run.scheme->name, "mxfp8");
    cr_assert_str_eq(encoding_rule(&run), "ceil");
    cr_assert(r.r[0].is_default && !r.r[1].is_default);
    rules_free(&r);
}

Test(rules, options_and_comments)
{
    struct rules r = {0};
    struct err e;
    cr_assert_eq(load(&r, "--target ascend-950\n  --convention=deepseek # why\n--allow-requantize\na#b = keep\n#a = drop\n",
                      "mxfp8", &e), 0, "%s", e.msg);
    cr_assert_eq(r.noptions, 3);
    cr_assert_str_eq(r.option[0].name, "target");
    cr_assert_str_eq(r.option[0].value, "ascend-950");
    cr_assert_str_eq(r.option[1].value, "deepseek");
    cr_assert(strstr(r.option[1].origin, "rules.txt:2"), "%s", r.option[1].origin);
    cr_assert_null(r.option[2].value);
    cr_assert_eq(r.n, 1);
    cr_assert_eq(rules_match(&r, "a#b"), ACTION_KEEP, "a comment has a blank before it");
    rules_free(&r);
}

Test(rules, what_matches_nothing)
{
    struct rules r = {0};
    add(&r, "a", ACTION_KEEP);
    add(&r, "*", ACTION_KEEP);
    add(&r, "b", ACTION_KEEP);
    add(&r, "re:^c", ACTION_KEEP);
    struct err e;
    cr_assert_eq(rules_add_default(&r, "d", ACTION_KEEP, "preset", "why", &e), 0);
    rules_note(&r, "b");
    cr_assert(!r.r[0].used && r.r[1].used && r.r[2].used && !r.r[3].used);
    cr_assert(r.r[4].used, "a default is for tensors that may be there");
    rules_free(&r);
}

Test(rules, printed_and_read_again)
{
    static const char text[] = "a* = keep\nre:a=b = drop\nb = mxfp8 floor\nc = nvfp4\nd = f16\ne ?= int4-g32-asym\n"
                               "f ?= int8-channel ct-int8\n";
    struct rules r = {0}, again = {0};
    struct buf one = {0}, two = {0};
    struct err e;
    const struct encoding run = encoding_of(scheme_find("fp8-tensor"));
    cr_assert_eq(load(&r, text, "mxfp8", &e), 0, "%s", e.msg);
    add(&r, "g", ACTION_QUANTIZE);
    cr_assert_eq(rules_add_default(&r, "h", ACTION_KEEP, "preset x", "a reason", &e), 0);
    cr_assert_eq(rules_print(&r, &run, &one, &e), 0, "%s", e.msg);
    cr_assert(strstr(one.s, "c = nvfp4\n") && strstr(one.s, "g = fp8-tensor absmax\n")
                  && strstr(one.s, "# preset x\nh ?= keep  # a reason\n"), "%s", one.s);
    cr_assert_eq(load(&again, one.s, "mxfp8", &e), 0, "%s", e.msg);
    for (size_t i = 0; i < again.n; i++) /* where they come from is another place */
        again.r[i].origin = r.r[i].origin, again.r[i].why = r.r[i].why;
    cr_assert_eq(again.n, r.n);
    cr_assert_eq(rules_print(&again, &run, &two, &e), 0);
    cr_assert_str_eq(one.s, two.s);
    buf_free(&one);
    buf_free(&two);
    rules_free(&again);
    rules_free(&r);
    /* What a line cannot say is no line. */
    static const char *const bad[] = {"", " a", "a ", "#a", "a #b", "--a", "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        add(&r, bad[i], ACTION_KEEP);
        cr_assert_eq(rules_print(&r, &run, &one, &e), -1, "'%s'", bad[i]);
        cr_assert_eq(e.kind, ERR_USAGE);
        buf_free(&one);
        rules_free(&r);
    }
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
        {"?= keep\n", "mxfp8", ":1", "without a pattern"},
        {"a ?= kept\n", "mxfp8", ":1", "kept"},
        {"a ?= mxfp8\n", NULL, ":1", "'mxfp8'"},
        {"\n--scheme mxfp8\n", NULL, ":2", "--scheme"},
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
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "zero");
    mk_write(path, "a = keep\n\0b = keep\n", 20);
    cr_assert_eq(rules_file(&r, path, false, &e), -1, "nothing after a zero byte is read");
    cr_assert(strstr(e.msg, "byte 9"), "%s", e.msg);
    free(path);
    mk_rmdir(dir);
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
