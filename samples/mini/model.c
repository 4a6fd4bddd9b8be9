/* The tensors of DeepSeek-V3 and gpt-oss, at any size, and their values.  At full
 * size the names and shapes of the former add up to the published checkpoint:
 * 91,991 tensors, whose elements are exactly half the total_size of its index. */
#include "mini.h"

#include <stdarg.h>
#include <string.h>

/* ---- inventories ----------------------------------------------------------- */

struct walk {
    visit_fn *visit;
    void *context;
};

/* One tensor [a], [a, b] or [a, b, c]; what is 0 is not there. */
__attribute__((format(printf, 6, 7))) static void put(const struct walk *w, enum role role, uint64_t a,
                                                      uint64_t b, uint64_t c, const char *format, ...)
{
    struct tensor t = {.role = role, .rank = 1 + (b > 0) + (c > 0), .dim = {a, b, c}};
    va_list ap;

    va_start(ap, format);
    vsnprintf(t.name, sizeof t.name, format, ap);
    va_end(ap);
    w->visit(w->context, &t);
}

static void mlp(const struct walk *w, enum role role, uint64_t hidden, uint64_t width, const char *prefix)
{
    put(w, role, hidden, width, 0, "%s.down_proj.weight", prefix);
    put(w, role, width, hidden, 0, "%s.gate_proj.weight", prefix);
    put(w, role, width, hidden, 0, "%s.up_proj.weight", prefix);
}

static void deepseek_layer(const struct dims *d, const struct walk *w, unsigned i)
{
    const uint64_t h = d->hidden;
    char prefix[NAME / 2];

    put(w, KEEP, h, 0, 0, "model.layers.%u.input_layernorm.weight", i);
    if (i < d->dense_layers) {
        snprintf(prefix, sizeof prefix, "model.layers.%u.mlp", i);
        mlp(w, LINEAR, h, d->intermediate, prefix);
    } else {
        for (unsigned x = 0; x < d->experts; x++) {
            snprintf(prefix, sizeof prefix, "model.layers.%u.mlp.experts.%u", i, x);
            mlp(w, ROUTED, h, d->moe_intermediate, prefix);
        }
        put(w, KEEP, d->experts, h, 0, "model.layers.%u.mlp.gate.weight", i);
        put(w, KEEP_F32, d->experts, 0, 0, "model.layers.%u.mlp.gate.e_score_correction_bias", i);
        snprintf(prefix, sizeof prefix, "model.layers.%u.mlp.shared_experts", i);
        mlp(w, LINEAR, h, d->moe_intermediate, prefix);
    }
    put(w, KEEP, h, 0, 0, "model.layers.%u.post_attention_layernorm.weight", i);
    put(w, KEEP, d->kv_lora, 0, 0, "model.layers.%u.self_attn.kv_a_layernorm.weight", i);
    put(w, LINEAR, d->kv_lora + d->rope, h, 0, "model.layers.%u.self_attn.kv_a_proj_with_mqa.weight", i);
    put(w, LINEAR, d->heads * (d->nope + d->v_head), d->kv_lora, 0,
        "model.layers.%u.self_attn.kv_b_proj.weight", i);
    put(w, LINEAR, h, d->heads * d->v_head, 0, "model.layers.%u.self_attn.o_proj.weight", i);
    put(w, KEEP, d->q_lora, 0, 0, "model.layers.%u.self_attn.q_a_layernorm.weight", i);
    put(w, LINEAR, d->q_lora, h, 0, "model.layers.%u.self_attn.q_a_proj.weight", i);
    put(w, LINEAR, d->heads * (d->nope + d->rope), d->q_lora, 0, "model.layers.%u.self_attn.q_b_proj.weight",
        i);
}

static void walk_deepseek(const struct dims *d, visit_fn *visit, void *context)
{
    const struct walk w = {visit, context};

    put(&w, KEEP, d->vocab, d->hidden, 0, "model.embed_tokens.weight");
    for (unsigned i = 0; i < d->layers; i++)
        deepseek_layer(d, &w, i);
    put(&w, KEEP, d->hidden, 0, 0, "model.norm.weight");
    put(&w, KEEP, d->vocab, d->hidden, 0, "lm_head.weight");
    for (unsigned i = (unsigned)d->layers; i < d->layers + d->mtp; i++) {
        put(&w, KEEP, d->vocab, d->hidden, 0, "model.layers.%u.embed_tokens.weight", i);
        put(&w, KEEP, d->hidden, 0, 0, "model.layers.%u.enorm.weight", i);
        put(&w, KEEP, d->hidden, 0, 0, "model.layers.%u.hnorm.weight", i);
        put(&w, KEEP, d->hidden, 2 * d->hidden, 0, "model.layers.%u.eh_proj.weight", i);
        deepseek_layer(d, &w, i);
        put(&w, KEEP, d->hidden, 0, 0, "model.layers.%u.shared_head.norm.weight", i);
        put(&w, KEEP, d->vocab, d->hidden, 0, "model.layers.%u.shared_head.head.weight", i);
    }
}

/* A gpt-oss attention projection has a bias; nope is the size of a head. */
static void walk_gpt_oss(const struct dims *d, visit_fn *visit, void *context)
{
    const struct walk w = {visit, context};
    const uint64_t h = d->hidden, q = d->heads * d->nope, kv = d->kv_heads * d->nope;
    const struct {
        const char *name;
        uint64_t out, in;
    } proj[] = {{"k", kv, h}, {"o", h, q}, {"q", q, h}, {"v", kv, h}};

    put(&w, KEEP, d->vocab, h, 0, "model.embed_tokens.weight");
    for (unsigned i = 0; i < d->layers; i++) {
        put(&w, KEEP, h, 0, 0, "model.layers.%u.input_layernorm.weight", i);
        put(&w, ROUTED, d->experts, h, d->intermediate, "model.layers.%u.mlp.experts.down_proj", i);
        put(&w, KEEP, d->experts, h, 0, "model.layers.%u.mlp.experts.down_proj_bias", i);
        put(&w, ROUTED, d->experts, 2 * d->intermediate, h, "model.layers.%u.mlp.experts.gate_up_proj", i);
        put(&w, KEEP, d->experts, 2 * d->intermediate, 0, "model.layers.%u.mlp.experts.gate_up_proj_bias", i);
        put(&w, KEEP, d->experts, 0, 0, "model.layers.%u.mlp.router.bias", i);
        put(&w, KEEP, d->experts, h, 0, "model.layers.%u.mlp.router.weight", i);
        put(&w, KEEP, h, 0, 0, "model.layers.%u.post_attention_layernorm.weight", i);
        for (size_t k = 0; k < COUNT(proj); k++) {
            put(&w, KEEP, proj[k].out, 0, 0, "model.layers.%u.self_attn.%s_proj.bias", i, proj[k].name);
            put(&w, KEEP, proj[k].out, proj[k].in, 0, "model.layers.%u.self_attn.%s_proj.weight", i,
                proj[k].name);
        }
        put(&w, KEEP, d->heads, 0, 0, "model.layers.%u.self_attn.sinks", i);
    }
    put(&w, KEEP, h, 0, 0, "model.norm.weight");
    put(&w, KEEP, d->vocab, h, 0, "lm_head.weight");
}

const struct model deepseek_v3 = {
    {.hidden = 7168,
     .intermediate = 18432,
     .moe_intermediate = 2048,
     .layers = 61,
     .dense_layers = 3,
     .heads = 128,
     .kv_heads = 128,
     .experts = 256,
     .per_token = 8,
     .groups = 8,
     .top_groups = 4,
     .q_lora = 1536,
     .kv_lora = 512,
     .nope = 128,
     .rope = 64,
     .v_head = 128,
     .vocab = 129280,
     .mtp = 1},
    163,
    walk_deepseek,
    deepseek_config,
};

/* The same names; blocks that are cut off below, on the right and on both sides. */
const struct model deepseek_mini = {
    {.hidden = 256,
     .intermediate = 512,
     .moe_intermediate = 128,
     .layers = 3,
     .dense_layers = 1,
     .heads = 4,
     .kv_heads = 4,
     .experts = 8,
     .per_token = 2,
     .groups = 2,
     .top_groups = 1,
     .q_lora = 128,
     .kv_lora = 64,
     .nope = 32,
     .rope = 16,
     .v_head = 32,
     .vocab = 512,
     .mtp = 1},
    4,
    walk_deepseek,
    deepseek_config,
};

const struct model gpt_oss_mini = {
    {.hidden = 256,
     .intermediate = 128,
     .layers = 2,
     .heads = 4,
     .kv_heads = 2,
     .experts = 4,
     .per_token = 2,
     .nope = 64,
     .vocab = 512},
    4,
    walk_gpt_oss,
    gpt_oss_config,
};

/* ---- values ---------------------------------------------------------------- */

uint64_t tensor_elems(const struct tensor *t)
{
    uint64_t n = 1;

    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

uint64_t hash(const char *name, uint64_t seed)
{
    uint64_t h = mix(seed);

    for (; *name; name++)
        h = mix(h ^ (unsigned char)*name);
    return h;
}

/* The sum of twelve uniform numbers less its mean: near enough to a Gaussian of
 * sigma 65536, and an integer. */
static int64_t gaussian(uint64_t *s)
{
    int64_t sum = -6 * 65536;

    for (int i = 0; i < 3; i++) {
        const uint64_t x = *s = mix(*s);
        sum += (int64_t)((x & 0xffff) + (x >> 16 & 0xffff) + (x >> 32 & 0xffff) + (x >> 48));
    }
    return sum;
}

/* Rows and columns without any weight: what pruning leaves. */
struct area {
    uint64_t row, end_row, col, end_col;
};

static struct area pruned(const struct tensor *t)
{
    if (strstr(t->name, ".0.mlp.gate_proj.") || strstr(t->name, ".0.mlp.experts.gate_up_proj"))
        return (struct area){128, 256, 128, 256};
    if (strstr(t->name, ".0.mlp.up_proj."))
        return (struct area){300, 301, 0, UINT64_MAX};
    return (struct area){0};
}

void tensor_values(const struct tensor *t, uint64_t seed, float *out)
{
    const uint64_t cols = t->dim[t->rank - 1], n = tensor_elems(t), tiles = hash(t->name, ~seed);
    const struct area none = pruned(t);
    uint64_t s = hash(t->name, seed);
    uint8_t stored[4];

    for (uint64_t i = 0; i < n; i++) {
        const uint64_t row = i / cols, col = i % cols;
        /* sigma is 5/256 times 1/8 .. 8, other in every tile of 32 x 32 ... */
        const int binades = (int)(mix(tiles ^ (row / 32) << 32 ^ col / 32) % 7);
        double x = (double)gaussian(&s) * 5 * (1 << binades) * 0x1p-27;
        /* ... and one value in 1024 is an outlier. */
        if (s % 1024 == 0)
            x *= 32;
        if (t->rank == 1)
            x = t->role == KEEP_F32 ? x : 1 + x;
        else if (row >= none.row && row < none.end_row && col >= none.col && col < none.end_col)
            x = 0;
        out[i] = (float)store(t->role == KEEP_F32 ? F32 : BF16, x, stored);
    }
}
