/* config.json and the keys of a GGUF: what one says, the other one says. */
#include "formats/config_keys.h"
#include "tests/hand.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct naming naming;

static void model(struct hand *h, const char *tensors, const char *config, const char *architecture)
{
    hand_make(h, tensors, config, NULL, NULL);
    naming = (struct naming){.architecture = architecture};
    h->m.naming = &naming;
}

static const char *text_of(const struct gguf_keys *k, const char *key, char s[64])
{
    struct gguf_value v;
    uint64_t u;
    double d;
    const char *p;
    size_t n;
    strcpy(s, "none");
    if (!gguf_keys_find((const uint8_t *)k->bytes.s, k->bytes.n, k->count, key, &v))
        return s;
    if (v.type == GGUF_U32 && gguf_as_u64(&v, &u))
        snprintf(s, 64, "u32 %lu", u);
    else if (v.type == GGUF_F32 && gguf_as_f64(&v, &d))
        snprintf(s, 64, "f32 %g", d);
    else if (gguf_as_str(&v, &p, &n))
        snprintf(s, 64, "%.*s", (int)n, p);
    else
        strcpy(s, "another type");
    return s;
}

#define LLAMA \
    "\"model_type\":\"llama\",\"hidden_size\":64,\"intermediate_size\":172,\"num_hidden_layers\":5," \
    "\"num_attention_heads\":8,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-05"

Test(config_keys, of_a_llama)
{
    struct hand h;
    struct gguf_keys k = {0};
    const char *note;
    char s[64];
    model(&h, "token_embd.weight F32 512,64",
          "{" LLAMA ",\"num_key_value_heads\":4,\"vocab_size\":512,\"rope_theta\":5e5,\"_name_or_path\":\"me\","
          "\"head_dim\":null,\"rope_scaling\":null,\"tie_word_embeddings\":true}", "llama");
    cr_assert_eq(config_to_keys(&h.m, &k, &note, &h.e), 0, "%s", h.e.msg);
    cr_assert_null(note);
    static const char *const want[][2] = {
        {"general.architecture", "llama"},          {"general.name", "me"},
        {"llama.block_count", "u32 5"},             {"llama.context_length", "u32 512"},
        {"llama.embedding_length", "u32 64"},       {"llama.feed_forward_length", "u32 172"},
        {"llama.attention.head_count", "u32 8"},    {"llama.attention.head_count_kv", "u32 4"},
        {"llama.rope.freq_base", "f32 500000"},     {"llama.attention.layer_norm_rms_epsilon", "f32 1e-05"},
        {"llama.vocab_size", "u32 512"},            {"llama.rope.dimension_count", "u32 8"},
        {"llama.attention.key_length", "none"},     {"llama.expert_count", "none"},
        {"llama.rope.scaling.type", "none"},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        cr_assert_str_eq(text_of(&k, want[i][0], s), want[i][1], "%s", want[i][0]);
    cr_assert_eq(k.count, 12u);
    gguf_keys_free(&k);
    hand_drop(&h);
}

static void keys(const char *config, const char *architecture, const char *key, const char *value)
{
    struct hand h;
    struct gguf_keys k = {0};
    const char *note;
    char s[64];
    model(&h, "token_embd.weight F32 512,64", config, architecture);
    cr_assert_eq(config_to_keys(&h.m, &k, &note, &h.e), 0, "%s", h.e.msg);
    cr_assert_str_eq(text_of(&k, key, s), value, "%s", key);
    gguf_keys_free(&k);
    hand_drop(&h);
}

Test(config_keys, other_members)
{
    keys("{" LLAMA ",\"head_dim\":24}", "llama", "llama.attention.key_length", "u32 24");
    keys("{" LLAMA ",\"head_dim\":24}", "llama", "llama.attention.value_length", "u32 24");
    keys("{" LLAMA ",\"head_dim\":24}", "llama", "llama.rope.dimension_count", "u32 24");
    keys("{" LLAMA "}", "llama", "llama.rope.freq_base", "f32 10000");
    keys("{" LLAMA ",\"rope_parameters\":{\"rope_theta\":7.5,\"rope_type\":\"default\"}}", "llama", "llama.rope.freq_base",
         "f32 7.5");
    keys("{" LLAMA ",\"num_local_experts\":8,\"num_experts_per_tok\":2}", "llama", "llama.expert_used_count", "u32 2");
    keys("{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", "llama", "llama.rope.scaling.factor", "f32 2");
    keys("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":4096}}",
         "qwen3", "qwen3.rope.scaling.original_context_length", "u32 4096");
    keys("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0}}", "llama", "llama.rope.scaling.type", "none");
    keys("{" LLAMA ",\"num_local_experts\":4,\"num_experts_per_tok\":2,\"moe_intermediate_size\":7}", "qwen3moe",
         "qwen3moe.expert_count", "u32 4");
}

static void refused(const char *config, const char *architecture, const char *text1, const char *text2)
{
    struct hand h;
    struct gguf_keys k = {0};
    const char *note;
    model(&h, "token_embd.weight F32 512,64", config, architecture);
    cr_assert_eq(config_to_keys(&h.m, &k, &note, &h.e), -1, "accepted; wanted '%s'", text1);
    cr_assert_eq(h.e.kind, ERR_INPUT);
    cr_assert(strstr(h.e.msg, text1) && strstr(h.e.msg, text2), "'%s' and '%s' in: %s", text1, text2, h.e.msg);
    gguf_keys_free(&k);
    hand_drop(&h);
}

Test(config_keys, what_cannot_be_said_is_refused)
{
    refused("{\"hidden_size\":64}", "llama", "no num_hidden_layers", "llama.block_count");
    refused("{" LLAMA ",\"vocab_size\":\"512\"}", "llama", "vocab_size is no number", "llama.vocab_size");
    refused("{" LLAMA ",\"vocab_size\":-1}", "llama", "vocab_size is no number", "");
    refused("{" LLAMA ",\"vocab_size\":5000000000}", "llama", "vocab_size is no number", "");
    refused("{" LLAMA ",\"vocab_size\":1.5}", "llama", "vocab_size is no number", "");
    refused("{" LLAMA ",\"rope_theta\":\"x\"}", "llama", "rope_theta is no number", "");
    refused("{" LLAMA ",\"rope_theta\":1e300}", "llama", "rope_theta is no number", "");
    refused("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"longrope\",\"factor\":2.0}}", "llama", "type 'longrope'", "rope_scaling");
    refused("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2.0}}", "qwen2", "type 'llama3'", "rope_scaling");
    refused("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2.0}}", "llama", "type 'yarn'", "rope_scaling");
    refused("{" LLAMA ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}}", "llama", "type 'dynamic'", "rope_scaling");
    refused("{" LLAMA "}", "qwen3moe", "no num_experts", "qwen3moe.expert_count");
    refused("{" LLAMA, "llama", "config.json", "");
}

Test(config_keys, what_llama_cpp_takes_for_granted_is_told)
{
    struct hand h;
    struct gguf_keys k = {0};
    const char *note;
    model(&h, "token_embd.weight F32 512,64", "{" LLAMA ",\"hidden_act\":\"gelu\"}", "llama");
    cr_assert_eq(config_to_keys(&h.m, &k, &note, &h.e), 0, "%s", h.e.msg);
    cr_assert(note && strstr(note, "hidden_act is \"gelu\"") && strstr(note, "\"silu\""), "%s", note);
    gguf_keys_free(&k);
    hand_drop(&h);
}

/* ---- back -------------------------------------------------------------------------------------- */
struct said {
    struct hand h;
    struct meta kv[24];
};

static void say(struct said *x, const char *architecture, const char *const kv[][2], size_t n)
{
    model(&x->h, "model.embed_tokens.weight F32 300,64", NULL, architecture);
    for (size_t i = 0; i < n; i++)
        x->kv[i] = (struct meta){kv[i][0], kv[i][1]};
    x->h.m.kv = x->kv;
    x->h.m.nkv = n;
}

static json_t *config(struct said *x, const char *dtype)
{
    const char *text, *why;
    cr_assert_eq(config_from_keys(&x->h.m, dtype, &text, &why, &x->h.e), 0, "%s", x->h.e.msg);
    cr_assert(text && !why, "%s", why);
    json_t *json = json_loads(text, 0, NULL);
    cr_assert_not_null(json, "%s", text);
    return json;
}

static void unknown(struct said *x, const char *text1)
{
    const char *text, *why;
    cr_assert_eq(config_from_keys(&x->h.m, "float32", &text, &why, &x->h.e), 0, "%s", x->h.e.msg);
    cr_assert(!text && why && strstr(why, "no config.json") && strstr(why, text1), "'%s' in: %s", text1, why ? why : text);
    hand_drop(&x->h);
}

static void is(const json_t *config, const char *member, const char *json)
{
    char *s = json_dumps(json_object_get(config, member), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    cr_assert_str_eq(s ? s : "none", json, "%s", member);
    free(s);
}

#define KEYS \
    {"llama.block_count", "5"}, {"llama.context_length", "512"}, {"llama.embedding_length", "64"}, \
    {"llama.feed_forward_length", "172"}, {"llama.attention.head_count", "8"}, \
    {"llama.attention.layer_norm_rms_epsilon", "9.99999975e-06"}

Test(config_keys, make_a_config)
{
    static const char *const kv[][2] = {KEYS, {"llama.attention.head_count_kv", "4"}, {"llama.rope.freq_base", "500000"}};
    struct said x;
    say(&x, "llama", kv, sizeof kv / sizeof *kv);
    naming.tied = true;
    json_t *c = config(&x, "float16");
    is(c, "architectures", "[\"LlamaForCausalLM\"]");
    is(c, "model_type", "\"llama\"");
    is(c, "num_hidden_layers", "5");
    is(c, "num_key_value_heads", "4");
    is(c, "rms_norm_eps", "1e-5"); /* as json_dumps has it */
    is(c, "rope_theta", "500000.0");
    is(c, "vocab_size", "300"); /* of the embedding, where no key says it */
    is(c, "tie_word_embeddings", "true");
    is(c, "torch_dtype", "\"float16\"");
    is(c, "head_dim", "none");
    is(c, "num_local_experts", "none");
    is(c, "rope_scaling", "none");
    json_decref(c);
    hand_drop(&x.h);
}

Test(config_keys, make_other_configs)
{
    static const char *const kv[][2] = {KEYS, {"llama.expert_count", "8"}, {"llama.expert_used_count", "2"},
                                        {"llama.attention.key_length", "24"}, {"llama.attention.value_length", "24"},
                                        {"llama.vocab_size", "301"}, {"llama.rope.scaling.type", "linear"},
                                        {"llama.rope.scaling.factor", "2.5"}};
    struct said x;
    say(&x, "llama", kv, sizeof kv / sizeof *kv);
    json_t *c = config(&x, "float32");
    is(c, "architectures", "[\"MixtralForCausalLM\"]");
    is(c, "num_local_experts", "8");
    is(c, "num_key_value_heads", "8"); /* as many as heads */
    is(c, "head_dim", "24");
    is(c, "vocab_size", "301");
    is(c, "rope_theta", "10000.0");
    is(c, "tie_word_embeddings", "false");
    is(c, "rope_scaling", "{\"factor\":2.5,\"rope_type\":\"linear\"}");
    json_decref(c);
    hand_drop(&x.h);
    say(&x, "llama", kv, 6);
    naming.factors = true;
    naming.rope_factor = 32;
    c = config(&x, "float32");
    is(json_object_get(c, "rope_scaling"), "rope_type", "\"llama3\"");
    is(json_object_get(c, "rope_scaling"), "factor", "32.0");
    json_decref(c);
    hand_drop(&x.h);
}

Test(config_keys, no_config_is_made_of_what_is_not_known)
{
    static const char *const kv[][2] = {KEYS, {"llama.attention.key_length", "24"}, {"llama.attention.value_length", "16"}};
    static const char *const arrays[][2] = {KEYS, {"llama.attention.head_count_kv", "[4,4,2]"}};
    static const char *const longrope[][2] = {KEYS, {"llama.rope.scaling.type", "longrope"}};
    struct said x;
    say(&x, "llama", kv, 5);
    unknown(&x, "llama.attention.layer_norm_rms_epsilon is missing");
    say(&x, "llama", kv, 8);
    unknown(&x, "llama.attention.value_length");
    say(&x, "llama", arrays, 7);
    unknown(&x, "llama.attention.head_count_kv is not one number");
    say(&x, "llama", longrope, 7);
    unknown(&x, "llama.rope.scaling.type");
    say(&x, "llama", kv, 6);
    naming.factors = true;
    unknown(&x, "rope_freqs.weight");
    say(&x, "deepseek2", kv, 6);
    unknown(&x, "deepseek2");
}

/* A float is written as the shortest text that is it again. */
Test(config_keys, floats)
{
    static const char *const f[][2] = {{"9.99999997e-07", "1e-06"}, {"1e+09", "1000000000.0"}, {"150000", "150000.0"},
                                       {"0.100000001", "0.1"}, {"1.25", "1.25"}};
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
        const char *const kv[][2] = {KEYS, {"llama.rope.freq_base", f[i][0]}};
        struct said x;
        const char *text, *why;
        char want[64];
        say(&x, "llama", kv, 7);
        cr_assert_eq(config_from_keys(&x.h.m, "float32", &text, &why, &x.h.e), 0);
        snprintf(want, sizeof want, "\"rope_theta\": %s,", f[i][1]);
        cr_assert(text && strstr(text, want), "%s in %s", want, text);
        hand_drop(&x.h);
    }
}
