/* The forward pass against what others computed: the text that llama2.c's own test expects of stories260K, from three
 * containers, and logits of small models. */
#include "calibrate/forward/net.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    cr_assert(f, "%s", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *s = malloc(*n + 1);
    cr_assert_eq(fread(s, 1, *n, f), *n);
    s[*n] = 0;
    fclose(f);
    return s;
}

/* The ids with the largest logits, one after the other. */
static void greedy(struct net *n, uint32_t *id, size_t have, size_t want)
{
    struct err e = {0};
    float *logits = malloc(n->vocab * sizeof *logits);
    for (; have < want; have++) {
        const size_t start[2] = {0, have};
        const struct sequences s = {id, start, NULL, 1};
        struct hidden h;
        cr_assert_eq(net_run(n, &s, &(struct net_options){0}, &h, &e), 0, "%s", e.msg);
        cr_assert_eq(net_logits(n, &h, have - 1, 1, logits, &e), 0, "%s", e.msg);
        hidden_free(&h);
        id[have] = 0;
        for (uint32_t v = 1; v < n->vocab; v++)
            if (logits[v] > logits[id[have]])
                id[have] = v;
    }
    free(logits);
}

/* A vocabulary of llama2.c: longest word, then score, length and bytes of each. decode() of run.c: a space behind BOS goes. */
static char *text_of(const char *vocabulary, const uint32_t *id, size_t n)
{
    size_t size;
    char *v = slurp(vocabulary, &size), *out = calloc(n, 64), *to = out;
    for (size_t i = 1; i < n; i++) {
        const char *p = v + 4;
        int32_t length;
        for (uint32_t k = 0; k < id[i]; k++) {
            memcpy(&length, p + 4, 4);
            p += 8 + length;
        }
        memcpy(&length, p + 4, 4);
        p += 8;
        unsigned byte;
        if (id[i - 1] == 1 && *p == ' ')
            p++, length--;
        if (length == 6 && sscanf(p, "<0x%02X>", &byte) == 1)
            *to++ = (char)byte;
        else
            to = (char *)memcpy(to, p, (size_t)length) + length;
    }
    *to = 0;
    free(v);
    return out;
}

Test(forward, stories260k_tells_the_published_story)
{
    static const char *const container[] = {"models/stories260K-hf", "models/stories260K.f32.gguf", "models/stories260K.bin"};
    char *vocabulary = mk_data("models/tok512.bin"), *expected = mk_data("models/stories260K.expected_stdout.txt");
    if (!vocabulary || !expected)
        return;
    size_t size;
    char *want = slurp(expected, &size);
    while (size && want[size - 1] == '\n')
        want[--size] = 0;
    for (size_t i = 0; i < sizeof container / sizeof *container; i++) {
        char *path = mk_data(container[i]);
        struct model m;
        struct net n;
        struct err e = {0};
        enum { WORDS = 200 };
        uint32_t id[WORDS + 1] = {1};
        cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
        cr_assert_eq(net_open(&n, &m, 2, &e), 0, "%s", e.msg);
        greedy(&n, id, 1, WORDS + 1);
        char *got = text_of(vocabulary, id, WORDS + 1);
        cr_assert_str_eq(got, want, "%s", container[i]);
        free(got);
        net_close(&n);
        model_close(&m);
        free(path);
    }
    free(want);
    free(vocabulary);
    free(expected);
}

/* ---- logits of the bundled model -------------------------------------------------------- */
enum { IDS = 20 };
static void some_ids(uint32_t *id, uint32_t vocab)
{
    for (uint32_t i = 0; i < IDS; i++)
        id[i] = (i * i * 7 + i * 3 + 1) % vocab;
}

static float *logits_of(const char *path, unsigned threads, struct net_options o, const size_t *start, size_t n)
{
    struct model m;
    struct net net;
    struct hidden h;
    struct err e = {0};
    uint32_t id[IDS];
    cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
    cr_assert_eq(net_open(&net, &m, threads, &e), 0, "%s", e.msg);
    some_ids(id, (uint32_t)net.vocab);
    const struct sequences s = {id, start, NULL, n};
    cr_assert_eq(net_run(&net, &s, &o, &h, &e), 0, "%s", e.msg);
    float *logits = malloc(start[n] * net.vocab * sizeof *logits);
    cr_assert_eq(net_logits(&net, &h, 0, start[n], logits, &e), 0, "%s", e.msg);
    hidden_free(&h);
    net_close(&net);
    model_close(&m);
    return logits;
}

/* What transformers 5.24 makes of the same ids in F32 (eager attention): tests/clients/forward.py compares all of them. */
Test(forward, the_sample_has_the_logits_of_transformers)
{
    static const struct {
        size_t token, id;
        float logit;
    } want[] = {{0, 0, -26.146622f},  {0, 1, -26.287888f},  {0, 85, -7.5717688f},   {0, 128, -26.086943f}, {0, 254, -26.142389f},
                {0, 255, -26.130161f}, {7, 0, -19.817673f},  {7, 1, -19.877267f},    {7, 85, -6.0868411f},  {7, 128, -19.631357f},
                {7, 254, -19.506264f}, {7, 255, -19.739489f}, {19, 0, -24.529600f},  {19, 1, -24.568783f},  {19, 85, -3.9262931f},
                {19, 128, -24.374264f}, {19, 254, -24.156010f}, {19, 255, -24.480661f}};
    static const size_t start[] = {0, IDS}, parts[] = {0, 7, 8, IDS};
    enum { VOCAB = 256 };
    float *one = logits_of("samples/model", 1, (struct net_options){0}, start, 1);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        cr_assert_float_eq(one[want[i].token * VOCAB + want[i].id], want[i].logit, 2e-4, "%zu: %g", i,
                           (double)one[want[i].token * VOCAB + want[i].id]);
    /* Threads and where hidden states are kept change no bit. */
    float *other = logits_of("samples/model", 3, (struct net_options){.spill = true}, start, 1);
    cr_assert_arr_eq(one, other, IDS * VOCAB * sizeof *one);
    free(other);
    /* A sequence knows nothing of the ones before it. */
    other = logits_of("samples/model", 2, (struct net_options){.batch = 3}, parts, 3);
    for (size_t i = 0; i < 7 * VOCAB; i++)
        cr_assert_float_eq(one[i], other[i], 1e-4);
    float most = 0;
    for (size_t i = 8 * VOCAB; i < 9 * VOCAB; i++)
        most = fmaxf(most, fabsf(one[i] - other[i]));
    cr_assert_gt(most, 0.1f);
    free(one);
    free(other);
}

/* ---- what is refused ---------------------------------------------------------------------- */
static float ones[4 * 8 * 8];

static void refused(const char *config, const struct mk_tensor *t, size_t n, const uint32_t *id, const char *says)
{
    struct buf meta = {0};
    struct err e = {0};
    struct model m;
    struct net net;
    struct hidden h;
    char path[] = "/tmp/octavo-test-forward-XXXXXX";
    const size_t start[] = {0, 2};
    cr_assert_eq(buf_printf(&meta, &e, "{\"octavo.config\":\"%s\"}", config), 0);
    struct buf image = mk_safetensors(t, n, meta.s);
    const int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
    mk_write(path, image.s, image.n);
    cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
    int r = net_open(&net, &m, 1, &e);
    if (!r) {
        const struct sequences s = {id, start, NULL, 1};
        r = net_run(&net, &s, &(struct net_options){0}, &h, &e);
        net_close(&net);
    }
    cr_assert_eq(r, -1, "%s", says);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, says), "%s", e.msg);
    model_close(&m);
    unlink(path);
    buf_free(&image);
    buf_free(&meta);
}

#define CONFIG(type, more) \
    "{\\\"model_type\\\":\\\"" type "\\\",\\\"hidden_size\\\":8,\\\"num_hidden_layers\\\":1,\\\"num_attention_heads\\\":2," \
    "\\\"intermediate_size\\\":8,\\\"vocab_size\\\":4" more "}"
#define MLA(rope)                                                                                                  \
    "\\\"kv_lora_rank\\\":4,\\\"qk_nope_head_dim\\\":2,\\\"qk_rope_head_dim\\\":" rope ",\\\"v_head_dim\\\":4," \
    "\\\"moe_intermediate_size\\\":8"
#define LAYER "model.layers.0."

Test(forward, what_is_refused_and_why)
{
    float bad[64];
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
        ones[i] = 1;
    memcpy(bad, ones, sizeof bad);
    struct mk_tensor t[] = {{"model.embed_tokens.weight", "F32", "[4,8]", ones, 4 * 8 * 4},
                            {"model.norm.weight", "F32", "[8]", ones, 32},
                            {LAYER "input_layernorm.weight", "F32", "[8]", ones, 32},
                            {LAYER "post_attention_layernorm.weight", "F32", "[8]", ones, 32},
                            {LAYER "self_attn.q_proj.weight", "F32", "[8,8]", ones, 256},
                            {LAYER "self_attn.k_proj.weight", "F32", "[8,8]", ones, 256},
                            {LAYER "self_attn.v_proj.weight", "F32", "[8,8]", bad, 256},
                            {LAYER "self_attn.o_proj.weight", "F32", "[8,8]", ones, 256},
                            {LAYER "mlp.gate_proj.weight", "F32", "[8,8]", ones, 256},
                            {LAYER "mlp.up_proj.weight", "F32", "[8,8]", ones, 256},
                            {LAYER "mlp.down_proj.weight", "F32", "[8,8]", ones, 256}};
    const size_t n = sizeof t / sizeof *t;
    const uint32_t id[2] = {1, 3}, beyond[2] = {1, 4};
    refused(CONFIG("gpt2", ""), t, n, id, "'gpt2'");
    refused(CONFIG("llama", ",\\\"rope_scaling\\\":{\\\"type\\\":\\\"longrope\\\"}"), t, n, id, "'longrope'");
    refused(CONFIG("llama", ",\\\"hidden_act\\\":\\\"gelu\\\""), t, n, id, "'gelu'");
    refused(CONFIG("llama", ",\\\"num_key_value_heads\\\":3"), t, n, id, "2 heads, 3 of keys");
    refused(CONFIG("llama", ",\\\"head_dim\\\":5"), t, n, id, "heads of 5");
    refused(CONFIG("llama", ""), t, n, beyond, "token 1 is 4");
    static const struct {
        const char *key, *value, *says;
    } odd[] = {{"num_hidden_layers", "1000000000", "1000000000 layers, and the model has"},
               {"num_hidden_layers", "0", "0 layers"},
               {"num_hidden_layers", "2", "'model.layers.1."},
               {"num_attention_heads", "3", "8 is no whole number of 3 heads"},
               {"num_attention_heads", "1073741824", "no whole number"},
               {"head_dim", "1073741824", "asks for [2147483648,8]"},
               {"hidden_size", "1073741824", "asks for [4,1073741824]"},
               {"intermediate_size", "1073741824", "asks for [1073741824,8]"},
               {"vocab_size", "5", "asks for [5,8]"},
               {"vocab_size", "4.5", "'vocab_size' is no size"},
               {"hidden_size", "-8", "'hidden_size' is no size"},
               {"hidden_act", "7", "hidden_act"},
               {"rms_norm_eps", "-1", "'rms_norm_eps'"},
               {"rms_norm_eps", "NaN", "'rms_norm_eps'"},
               {"rms_norm_eps", "\\\"1e-6\\\"", "'rms_norm_eps'"},
               {"rope_theta", "0", "'rope_theta' is 0"},
               {"rope_theta", "NaN", "'rope_theta' is 0"},
               {"rope_theta", "\\\"10000\\\"", "'rope_theta' is no number"},
               {"rope_scaling", "\\\"linear\\\"", "'rope_scaling' is no object"},
               {"rope_scaling", "{\\\"type\\\":\\\"linear\\\",\\\"factor\\\":0}", "'factor' is 0"},
               {"rope_scaling", "{\\\"type\\\":\\\"linear\\\",\\\"factor\\\":\\\"8\\\"}", "'factor' is no number"},
               {"rope_scaling", "{\\\"type\\\":\\\"yarn\\\",\\\"factor\\\":-4}", "'factor' is -4"},
               {"rope_scaling", "{\\\"type\\\":\\\"llama3\\\",\\\"low_freq_factor\\\":4,\\\"high_freq_factor\\\":4,\\\"original_max_position_embeddings\\\":25}",
                "'high_freq_factor' is 4, and 'low_freq_factor' 4"},
               {"partial_rotary_factor", "0.5", "partial_rotary_factor 0.5"},
               {"tie_word_embeddings", "\\\"yes\\\"", "'tie_word_embeddings'"}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        static const char base[] = CONFIG("llama", "");
        char key[64], config[1024];
        snprintf(key, sizeof key, "\\\"%s\\\":", odd[i].key);
        const char *there = strstr(base, key), *behind = there ? there + strcspn(there, ",}") : base + strlen(base) - 1;
        snprintf(config, sizeof config, "%.*s%s%s%s%s", (int)((there ? there : behind) - base), base, there ? "" : ",", key, odd[i].value, behind);
        refused(config, t, n, id, odd[i].says);
    }
    static const struct {
        const char *type, *more, *says;
    } routed[] = {
        {"mixtral", "\\\"num_local_experts\\\":0,\\\"num_experts_per_tok\\\":2", "best 2 of 0 experts"},
        {"mixtral", "\\\"num_local_experts\\\":2,\\\"num_experts_per_tok\\\":3", "best 3 of 2 experts"},
        {"mixtral", "\\\"num_local_experts\\\":1073741824,\\\"num_experts_per_tok\\\":2", "1 layers with 1073741824 experts"},
        {"mixtral", "\\\"num_local_experts\\\":2,\\\"num_experts_per_tok\\\":2", "'" LAYER "block_sparse_moe.gate.weight'"},
        {"deepseek_v3", MLA("2") ",\\\"n_routed_experts\\\":4,\\\"num_experts_per_tok\\\":3,\\\"n_group\\\":2,\\\"topk_group\\\":1", "best 3 experts, of 1 groups of 2"},
        {"deepseek_v3", MLA("2") ",\\\"n_routed_experts\\\":4,\\\"num_experts_per_tok\\\":1,\\\"n_group\\\":2,\\\"topk_group\\\":0", "of 0 groups"},
        {"deepseek_v3", MLA("2") ",\\\"n_routed_experts\\\":4,\\\"num_experts_per_tok\\\":1,\\\"routed_scaling_factor\\\":-2", "'routed_scaling_factor'"},
        {"deepseek_v3", MLA("3"), "qk_rope_head_dim 3"}};
    for (size_t i = 0; i < sizeof routed / sizeof *routed; i++) {
        char config[1024];
        snprintf(config, sizeof config, CONFIG("%s", ",%s"), routed[i].type, routed[i].more);
        refused(config, t, n, id, routed[i].says);
    }
    refused(CONFIG("llama", ""), t, n - 1, id, "'" LAYER "mlp.down_proj.weight'");
    t[5].shape = "[4,16]";
    refused(CONFIG("llama", ""), t, n, id, "[4,16]");
    t[5].shape = "[8,8]";
    bad[13] = NAN;
    refused(CONFIG("llama", ""), t, n, id, "'" LAYER "self_attn.v_proj.weight': element [1,5] is nan");
    for (int i = 0; i < 64; i++)
        bad[i] = 3e38f;
    refused(CONFIG("llama", ""), t, n, id, "layer 0");
}
