#include "quantizers/parallel.h"

#include "formats/config_json.h"
#include "formats/target.h"

#include <stdlib.h>
#include <string.h>

/* ---- config.json ------------------------------------------------------------------ */
static uint64_t number(const json_t *root, const char *key)
{
    const json_int_t x = json_integer_value(json_object_get(root, key));
    return x > 0 ? (uint64_t)x : 0;
}

static uint64_t first_of(const json_t *root, const char *const *key)
{
    uint64_t x = 0;
    for (; *key && !x; key++)
        x = number(root, *key);
    return x;
}

static void read_heads(const json_t *root, struct heads *h)
{
    static const char *const experts[] = {"n_routed_experts", "num_experts", "num_local_experts", NULL};
    const uint64_t latent = number(root, "kv_lora_rank");
    *h = (struct heads){.attention = number(root, "num_attention_heads"), .kv = number(root, "num_key_value_heads"),
                        .experts = first_of(root, experts), .per_token = number(root, "num_experts_per_tok"),
                        .layers = number(root, "num_hidden_layers"), .latent = latent > 0};
    if (!h->kv)
        h->kv = h->attention;
    uint64_t size = number(root, "head_dim");
    if (!size && h->attention)
        size = number(root, "hidden_size") / h->attention;
    h->kv_elements = 2 * h->kv * size;
    if (latent) {
        h->kv = 1;
        h->kv_elements = latent + number(root, "qk_rope_head_dim");
    }
    h->index_elements = number(root, "index_head_dim");
    h->top_tokens = h->index_elements ? number(root, "index_topk") : 0;
}

int heads_read(const char *config, struct heads *h, struct err *e)
{
    *h = (struct heads){0};
    json_t *root = config ? config_parse(config, "config.json", e) : NULL;
    if (config && !root)
        return -1;
    const json_t *text = json_object_get(root, "text_config");
    read_heads(text ? text : root, h);
    json_decref(root);
    return 0;
}

/* ---- what layers keep -------------------------------------------------------------- */

/* A layer of linear attention keeps an F32 matrix per value head and the last inputs of its convolution, two bytes each. */
static int read_linear(const json_t *root, const char *path, struct heads *h, struct err *e)
{
    const uint64_t k = number(root, "linear_key_head_dim"), v = number(root, "linear_value_head_dim");
    const uint64_t nk = number(root, "linear_num_key_heads"), nv = number(root, "linear_num_value_heads");
    const uint64_t kernel = number(root, "linear_conv_kernel_dim");
    if (!k || !v || !nk || !nv || !kernel || k > 1 << 16 || v > 1 << 16 || nk > 1 << 16 || nv > 1 << 12 || kernel > 1 << 10)
        return err_set(e, ERR_INPUT, "%s: config.json has layers of linear_attention and no linear_* sizes from which "
                       "their state follows", path);
    h->state = 4 * nv * k * v + 2 * (kernel - 1) * (2 * nk * k + nv * v);
    h->state_heads = nk;
    return 0;
}

/* What do layers keep? Without layer_types all tokens, but for the two families whose window is every layer's. */
static int read_layers(const json_t *root, const char *path, struct heads *h, struct err *e)
{
    const json_t *types = json_object_get(root, "layer_types"), *x;
    const char *family = json_string_value(json_object_get(root, "model_type"));
    const uint64_t sliding = number(root, "sliding_window");
    size_t i;
    h->window = sliding;
    if (!json_array_size(types)) {
        const bool all = sliding && family && (!strcmp(family, "mistral") || !strcmp(family, "mixtral"));
        *(all ? &h->windowed : &h->full) = h->layers;
        return 0;
    }
    json_array_foreach((json_t *)types, i, x) {
        const char *t = json_string_value(x) ? json_string_value(x) : "?";
        const bool chunk = !strcmp(t, "chunked_attention");
        if (i >= h->layers)
            break;
        if (chunk && !h->windowed)
            h->window = number(root, "attention_chunk_size");
        if (!strcmp(t, "full_attention"))
            h->full++;
        else if ((chunk || !strcmp(t, "sliding_attention")) && h->window)
            h->windowed++;
        else if (!strcmp(t, "linear_attention"))
            h->linear++;
        else
            return err_set(e, ERR_INPUT, "%s: config.json has layer %zu of type '%.60s', and what its cache takes is "
                           "not known", path, i, t);
    }
    if (h->full + h->windowed + h->linear != h->layers)
        return err_set(e, ERR_INPUT, "%s: config.json has %zu layer_types for %llu layers", path, json_array_size(types),
                       (unsigned long long)h->layers);
    return h->linear ? read_linear(root, path, h, e) : 0;
}

int heads_layers(const char *config, const char *path, struct heads *h, struct err *e)
{
    json_t *root = config ? config_parse(config, path, e) : NULL;
    if (config && !root)
        return -1;
    const json_t *text = json_object_get(root, "text_config");
    int r = read_layers(text ? text : root, path, h, e);
    json_decref(root);
    return r;
}

/* ---- names ------------------------------------------------------------------------ */
enum unit { UNIT_ANY, UNIT_HEADS, UNIT_KV };
static const struct {
    const char *module; /* the last word of its name */
    enum cut cut;
    enum unit unit;
} modules[] = {
    {"q_proj", CUT_ROWS, UNIT_HEADS},    {"k_proj", CUT_ROWS, UNIT_KV},       {"v_proj", CUT_ROWS, UNIT_KV},
    {"o_proj", CUT_COLS, UNIT_HEADS},    {"q_b_proj", CUT_ROWS, UNIT_HEADS},  {"kv_b_proj", CUT_ROWS, UNIT_HEADS},
    {"gate_proj", CUT_ROWS, UNIT_ANY},   {"up_proj", CUT_ROWS, UNIT_ANY},     {"down_proj", CUT_COLS, UNIT_ANY},
    {"w1", CUT_ROWS, UNIT_ANY},          {"w3", CUT_ROWS, UNIT_ANY},          {"w2", CUT_COLS, UNIT_ANY},
    {"gate_up_proj", CUT_FUSED, UNIT_ANY}, {"qkv_proj", CUT_FUSED, UNIT_ANY},
    {"embed_tokens", CUT_ROWS, UNIT_ANY}, {"lm_head", CUT_ROWS, UNIT_ANY},    {"head", CUT_ROWS, UNIT_ANY},
};

/* The module of "X.q_proj.weight" is q_proj; that of a stack of experts, "X.experts.down_proj", the last word. */
static size_t module_of(const char *name, const char **word)
{
    const char *last = strrchr(name, '.');
    const char *from = last;
    if (!last)
        return *word = name, strlen(name);
    while (from > name && from[-1] != '.')
        from--;
    if (!strncmp(from, "experts.", 8))
        return *word = last + 1, strlen(last + 1);
    *word = from;
    return (size_t)(last - from);
}

struct cut_of cut_of(const char *name, const struct heads *h)
{
    const char *word;
    const size_t n = module_of(name, &word);
    struct cut_of c = {.expert = tensor_role(name) == ROLE_EXPERT};
    if (strstr(name, ".indexer."))
        return c;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (strlen(modules[i].module) == n && !memcmp(modules[i].module, word, n)) {
            c.cut = modules[i].cut;
            c.units = modules[i].unit == UNIT_HEADS ? h->attention : modules[i].unit == UNIT_KV ? h->kv : 0;
            c.kv = modules[i].unit == UNIT_KV;
            return c;
        }
    return c;
}

uint64_t cut_parts(const struct cut_of *c, uint64_t rows, uint64_t cols, const struct cut_units *u, uint64_t ranks)
{
    const uint64_t extent = c->cut == CUT_ROWS ? rows : cols, unit = c->cut == CUT_ROWS ? u->rows : u->cols;
    uint64_t parts = ranks;
    if (ranks == 1 || c->cut == CUT_NONE)
        return 1;
    if (c->cut == CUT_FUSED)
        return 0;
    if (c->units && ranks > c->units) {
        if (!c->kv || ranks % c->units)
            return 0;
        parts = c->units;
    } else if (c->units && c->units % ranks) {
        return 0;
    }
    return parts == 1 || (extent % parts == 0 && extent / parts % unit == 0) ? parts : 0;
}

int64_t expert_number(const char *name)
{
    const char *at = strstr(name, "experts.");
    if (!at || tensor_role(name) != ROLE_EXPERT || at[8] < '0' || at[8] > '9')
        return -1;
    return strtoll(at + 8, NULL, 10);
}
