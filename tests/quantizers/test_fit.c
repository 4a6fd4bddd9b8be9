/* Plans against arithmetic written out here: which number of cards, which way to cut, what a card keeps and reads. */
#include "quantizers/fit.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static struct err err;

/* A model of 64 GB that is cut, 1 GB that is not, and 256 GB of 256 experts, 8 a token; GQA with 8 KV heads of 128. */
static struct fit_weights weights(double expert, int cuts, int cuts_experts)
{
    struct fit_weights w = {.expert = expert, .expert_read = expert, .cut = 64e9, .cut_read = 60e9, .whole = 1e9, .whole_read = 1e9};
    for (int i = 0; i < FIT_POWERS; i++) {
        w.cuts[i] = i <= cuts;
        w.cuts_experts[i] = i <= cuts_experts;
    }
    return w;
}
static const struct heads gqa = {.attention = 64, .kv = 8, .layers = 10, .full = 10, .kv_elements = 2 * 8 * 128,
                                 .experts = 256, .per_token = 8};
static const struct fit_options usual = {.context = 1000, .batch = 4, .kv_bytes = 2, .overhead = 2e9, .usable = 0.5,
                                         .memory = 44e9, .bandwidth = 1e12, .power = 500};

static void near(double a, double b, const char *what)
{
    cr_expect(fabs(a - b) <= 1e-9 * fabs(b), "%s: %.17g and not %.17g", what, a, b);
}

Test(fit, dense_on_one_and_on_more)
{
    struct fit_weights w = weights(0, 10, 10);
    struct fit_options o = usual;
    struct fit_result r;
    /* Room 44 / 2 - 2 = 20 GB; 64 / 2 + 1 = 33 and 64 / 4 + 1 = 17. */
    fit_solve(&w, &gqa, &o, 0, &r);
    cr_assert(r.fits && r.cards == 4 && r.tp == 4 && r.dp == 1 && !r.why);
    near(r.room, 20e9, "room");
    near(r.weights, 17e9, "weights");
    near(r.kv_token, 2 * 8 * 128 * 10 * 2, "a token");
    near(r.kv, 40960.0 * 1000 * 4 / 4, "cache of a card");
    near(r.read, 60e9 / 4 + 1e9 + 40960e3, "a step");
    near(r.tokens, 4 / (r.read / 1e12), "tokens");
    near(r.per_joule, r.tokens / 2000, "tokens per joule");
    cr_expect_str_eq(r.why_more, "weights");
    near(r.fewer_weights, 33e9, "on two");
    o.memory = 1e12;
    fit_solve(&w, &gqa, &o, 0, &r);
    cr_expect(r.fits && r.cards == 1 && !r.why_more);
}

Test(fit, what_stands_in_the_way)
{
    struct fit_weights w = weights(0, 1, 10);
    struct fit_options o = usual;
    struct fit_result r;
    fit_solve(&w, &gqa, &o, 0, &r); /* two parts at most */
    cr_expect(!r.fits && r.cards == 2);
    cr_expect_str_eq(r.why, "weights");
    w = weights(0, 10, 10);
    fit_solve(&w, &gqa, &o, 2, &r); /* the target says so */
    cr_expect(!r.fits && r.cards == 2);
    o.context = 1e6;
    o.memory = 200e9;
    fit_solve(&w, &gqa, &o, 0, &r); /* 41 GB of cache for each sequence: 65 + 164, 33 + 82, 17 + 41 of 98 */
    cr_expect(r.fits && r.cards == 4, "%u cards", r.cards);
    cr_expect_str_eq(r.why_more, "the KV cache");
    o.cards = 3;
    fit_solve(&w, &gqa, &o, 0, &r);
    cr_expect(!r.fits && !r.cards);
    cr_expect_str_eq(r.why, "no way to cut the weights");
}

/* KV heads are shared out as far as there are any; more cards have copies. A latent cache is on all. */
Test(fit, caches_of_more_cards_than_heads)
{
    struct fit_weights w = weights(0, 10, 10);
    struct fit_options o = usual;
    struct fit_result r;
    struct heads h = gqa;
    o.cards = 16;
    fit_solve(&w, &h, &o, 0, &r);
    near(r.kv, 40960.0 * 1000 * 4 / 8, "16 cards, 8 heads");
    h.latent = true;
    h.kv = 1;
    h.kv_elements = 512 + 64;
    fit_solve(&w, &h, &o, 0, &r);
    near(r.kv, 576.0 * 10 * 2 * 1000 * 4, "latent");
    near(r.read, 60e9 / 16 + 1e9 + r.kv, "all of it is read");
    /* Sparse attention: all keys of the indexer, and 100 tokens of the cache. */
    h.index_elements = 128;
    h.top_tokens = 100;
    fit_solve(&w, &h, &o, 0, &r);
    near(r.kv, (576.0 + 128) * 10 * 2 * 1000 * 4, "with the keys of the indexer");
    near(r.read, 60e9 / 16 + 1e9 + (576.0 * 100 + 128.0 * 1000) * 10 * 2 * 4, "the best tokens only");
}

Test(fit, experts)
{
    struct fit_weights w = weights(256e9, 3, 0);
    struct fit_options o = usual;
    struct fit_result r;
    /* 16 cards: 16 + 64 / tp + 1 of 20 GB is too much for 8 parts, 32: 8 + 8 + 1. */
    fit_solve(&w, &gqa, &o, 0, &r);
    cr_assert(r.fits && r.cards == 32 && r.tp == 8 && r.dp == 4, "%u cards, %u x %u", r.cards, r.tp, r.dp);
    near(r.weights, 17e9, "weights");
    /* Four sequences on four groups; of 256 experts they meet 256 (1 - (248/256)^4) on average. */
    near(r.kv, 40960.0 * 1000 / 8, "one sequence a group");
    near(r.read, 8e9 * (1 - pow(248.0 / 256, 4)) + 60e9 / 8 + 1e9 + r.kv, "a step");
    /* Five sequences on four groups: one group has two. */
    o.batch = 5;
    o.cards = 32;
    fit_solve(&w, &gqa, &o, 0, &r);
    cr_expect(r.dp == 4);
    near(r.kv, 2 * 40960.0 * 1000 / 8, "two sequences on the fullest group");
    o.batch = 4;
    /* 24 cards: 11 experts on some, 10 on others, and no more than 8 parts of the rest. */
    o.cards = 24;
    o.memory = 48e9; /* room for 22 */
    fit_solve(&w, &gqa, &o, 0, &r);
    cr_assert(r.fits && r.tp == 8 && r.dp == 3 && r.experts_most == 11 && !r.experts_cut);
    near(r.weights, 11e9 + 8e9 + 1e9, "the fullest card");
    /* Eight experts on sixteen cards must be cut. */
    struct heads few = gqa;
    few.experts = 8;
    few.per_token = 2;
    o.cards = 16;
    o.memory = 1e12;
    fit_solve(&w, &few, &o, 0, &r);
    cr_expect(!r.cards);
    w = weights(256e9, 3, 4);
    fit_solve(&w, &few, &o, 0, &r);
    cr_expect(r.fits && r.experts_cut);
    near(r.weights, 16e9 + 8e9 + 1e9, "experts in parts");
}

/* Nothing that is not known gets a number. */
Test(fit, unknown_figures)
{
    struct fit_weights w = weights(0, 10, 10);
    struct fit_options o = usual;
    struct fit_result r;
    o.power = 0;
    fit_solve(&w, &gqa, &o, 0, &r);
    cr_expect(r.tokens > 0 && r.per_joule == 0);
    o.bandwidth = 0;
    fit_solve(&w, &gqa, &o, 0, &r);
    cr_expect(r.fits && r.tokens == 0 && r.per_joule == 0);
}

/* ---- what layers keep ------------------------------------------------------------------ */
static struct heads layers(const char *config)
{
    struct heads h;
    cr_assert_eq(heads_read(config, &h, &err) || heads_layers(config, "config.json", &h, &err), 0, "%s", err.msg);
    return h;
}
#define BASE "\"num_hidden_layers\": 4, \"num_attention_heads\": 8, \"num_key_value_heads\": 2, \"head_dim\": 64"

Test(fit, layers_by_what_they_keep)
{
    struct heads h = layers("{" BASE "}");
    cr_expect(h.full == 4 && !h.windowed && !h.linear && h.kv_elements == 2 * 2 * 64);
    h = layers("{\"model_type\": \"mistral\", \"sliding_window\": 4096, " BASE "}");
    cr_expect(h.windowed == 4 && h.window == 4096 && !h.full);
    h = layers("{\"model_type\": \"mistral\", \"sliding_window\": null, " BASE "}");
    cr_expect(h.full == 4);
    h = layers("{\"model_type\": \"qwen2\", \"sliding_window\": 4096, \"use_sliding_window\": false, " BASE "}");
    cr_expect(h.full == 4);
    h = layers("{\"sliding_window\": 128, \"layer_types\": [\"sliding_attention\", \"full_attention\", \"sliding_attention\", "
               "\"full_attention\"], " BASE "}");
    cr_expect(h.full == 2 && h.windowed == 2 && h.window == 128);
    /* Qwen3.5: 32 value heads, 16 key heads of 128: a matrix of 128 x 128 F32 each, and three inputs of 8192 channels. */
    h = layers("{\"layer_types\": [\"linear_attention\", \"linear_attention\", \"linear_attention\", \"full_attention\"], "
               "\"linear_conv_kernel_dim\": 4, \"linear_key_head_dim\": 128, \"linear_num_key_heads\": 16, "
               "\"linear_num_value_heads\": 32, \"linear_value_head_dim\": 128, " BASE "}");
    cr_expect(h.full == 1 && h.linear == 3 && h.state == 32 * 128 * 128 * 4 + 3 * 8192 * 2 && h.state_heads == 16);

    struct fit_weights w = weights(0, 10, 10);
    struct fit_options o = usual;
    struct fit_result r;
    o.cards = 4;
    h.kv = 4;
    fit_solve(&w, &h, &o, 0, &r);
    near(r.kv_token, 2 * 2 * 64 * 2, "one layer of four");
    near(r.state, 3.0 * (double)h.state, "state");
    near(r.kv, 4 * (256.0 * 1000 * 2 / 4 + 3.0 * (double)h.state / 4), "cache and state");
    h = layers("{\"model_type\": \"mistral\", \"sliding_window\": 100, " BASE "}");
    fit_solve(&w, &h, &o, 0, &r);
    near(r.kv, 4 * 256.0 * 2 * 4 * 100 / 2, "the last 100 tokens");
}

Test(fit, layers_that_are_not_known)
{
    static const struct { const char *config, *says; } bad[] = {
        {"{\"layer_types\": [\"full_attention\", \"mamba\", \"mamba\", \"mamba\"], " BASE "}", "mamba"},
        {"{\"layer_types\": [\"full_attention\"], " BASE "}", "layer_types"},
        {"{\"layer_types\": [\"sliding_attention\", 1, 2, 3], " BASE "}", "sliding_attention"},
        {"{\"layer_types\": [\"linear_attention\", \"linear_attention\", \"linear_attention\", \"linear_attention\"], " BASE "}",
         "linear_"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct heads h;
        cr_assert_eq(heads_read(bad[i].config, &h, &err), 0);
        err = (struct err){0};
        cr_expect_eq(heads_layers(bad[i].config, "config.json", &h, &err), -1, "%s", bad[i].config);
        cr_expect_eq(err.kind, ERR_INPUT);
        cr_expect(strstr(err.msg, bad[i].says), "%s", err.msg);
    }
}
