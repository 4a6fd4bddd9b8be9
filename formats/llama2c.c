#include "formats/llama2c.h"

#include "formats/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAGIC = 0x616b3432, VERSION_1_HEAD = 256 };
/* Larger than any model of this kind, and small enough that no product of two overflows. */
enum { DIM_MAX = 1 << 20, LAYERS_MAX = 1 << 12, COUNT_MAX = 1 << 28 };

struct header {
    int version;
    uint64_t dim, hidden, layers, heads, kv_heads, vocab, seq;
    bool shared;   /* the classifier is the embedding */
};

static int64_t number(const uint8_t *p)
{
    return (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

/* Seven numbers that a model can have. */
static bool plausible(const uint8_t *p, struct header *x)
{
    int64_t v[7];
    for (int i = 0; i < 7; i++)
        v[i] = number(p + 4 * i);
    x->shared = v[5] > 0;
    v[5] = v[5] < 0 ? -v[5] : v[5];
    for (int i = 0; i < 7; i++)
        if (v[i] < 1 || v[i] > COUNT_MAX)
            return false;
    x->dim = (uint64_t)v[0];
    x->hidden = (uint64_t)v[1];
    x->layers = (uint64_t)v[2];
    x->heads = (uint64_t)v[3];
    x->kv_heads = (uint64_t)v[4];
    x->vocab = (uint64_t)v[5];
    x->seq = (uint64_t)v[6];
    return x->dim <= DIM_MAX && x->layers <= LAYERS_MAX && x->dim % x->heads == 0 && x->dim / x->heads % 2 == 0
        && x->heads % x->kv_heads == 0;
}

bool llama2c_magic(const uint8_t *p, size_t n)
{
    struct header x;
    return n >= LLAMA2C_HEAD && (number(p) == MAGIC || plausible(p, &x));
}

/* ---- arrays ---------------------------------------------------------------------------------- */
enum extent { ONE, DIM, KV_DIM, HIDDEN, VOCAB };
struct array {
    const char *name;            /* %u is a layer; NULL: a table of the rotary embedding, not listed */
    enum extent rows, cols;      /* rows ONE: a vector */
    bool pairs;                  /* rows of heads lie in pairs */
    bool classifier;             /* there only when it is not the embedding */
};
#define LAYER "model.layers.%u."
#define ATTENTION \
    {LAYER "self_attn.q_proj.weight", DIM, DIM, true, false}, {LAYER "self_attn.k_proj.weight", KV_DIM, DIM, true, false}, \
    {LAYER "self_attn.v_proj.weight", KV_DIM, DIM, false, false}, {LAYER "self_attn.o_proj.weight", DIM, DIM, false, false}
#define FFN \
    {LAYER "mlp.gate_proj.weight", HIDDEN, DIM, false, false}, {LAYER "mlp.down_proj.weight", DIM, HIDDEN, false, false}, \
    {LAYER "mlp.up_proj.weight", HIDDEN, DIM, false, false}
#define EMBEDDING {"model.embed_tokens.weight", VOCAB, DIM, false, false}
#define ATTENTION_NORM {LAYER "input_layernorm.weight", ONE, DIM, false, false}
#define FFN_NORM {LAYER "post_attention_layernorm.weight", ONE, DIM, false, false}
#define FINAL_NORM {"model.norm.weight", ONE, DIM, false, false}
#define CLASSIFIER {"lm_head.weight", VOCAB, DIM, false, true}
#define ROPE {NULL, ONE, ONE, false, false}

/* w1 is the gate, w2 comes down and w3 goes up. */
static const struct array version_0[] = {EMBEDDING, ATTENTION_NORM, ATTENTION, FFN_NORM, FFN, FINAL_NORM, ROPE, ROPE,
                                         CLASSIFIER};
static const struct array version_1[] = {ATTENTION_NORM, FFN_NORM, FINAL_NORM, EMBEDDING, ATTENTION, FFN, CLASSIFIER};

static uint64_t extent_of(const struct header *x, enum extent n)
{
    const uint64_t size[] = {1, x->dim, x->dim / x->heads * x->kv_heads, x->hidden, x->vocab};
    return size[n];
}

struct reader {
    struct header x;
    struct arena *mem;
    struct table *t;
    uint32_t file;
    uint64_t pos;
    struct err *e;
};

static int put(struct reader *r, const struct array *a, unsigned layer)
{
    const uint64_t rows = extent_of(&r->x, a->rows), cols = extent_of(&r->x, a->cols), half = r->x.dim / r->x.heads / 2;
    char name[64];
    if (!a->name) {
        r->pos += r->x.seq * half * 4;
        return 0;
    }
    snprintf(name, sizeof name, a->name, layer);
    struct tensor t = {.name = arena_strdup(r->mem, name, r->e), .dtype = DT_F32, .rank = a->rows == ONE ? 1 : 2,
                       .dim = {rows, cols}, .file = r->file, .off = r->pos, .size = rows * cols * 4};
    if (a->rows == ONE)
        t.dim[0] = cols;
    if (!t.name || (a->pairs && half > 1 && !(t.stored = names_pairs(&t, half, r->mem, r->e))))
        return -1;
    r->pos += t.size;
    return table_tensor(r->t, &t, r->e);
}

static int arrays(struct reader *r, const struct array *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i].classifier && r->x.shared)
            continue;
        const unsigned layers = a[i].name && strchr(a[i].name, '%') ? (unsigned)r->x.layers : 1;
        for (unsigned l = 0; l < layers; l++)
            if (put(r, &a[i], l))
                return -1;
    }
    return 0;
}

/* ---- the whole --------------------------------------------------------------------------------- */
static int read_header(struct head *h, struct header *x, uint64_t *start, struct err *e)
{
    *x = (struct header){0};
    *start = LLAMA2C_HEAD;
    if (number(h->p) != MAGIC)
        return plausible(h->p, x) ? 0 : err_set(e, ERR_INPUT, "%s: its header is none of llama2.c", h->path);
    if (head_need(h, VERSION_1_HEAD, e))
        return -1;
    *start = VERSION_1_HEAD;
    const int64_t version = number(h->p + 4);
    if (version == 2)
        return err_set(e, ERR_INPUT, "%s: is a quantized file of llama2.c (version 2); versions 0 and 1 are read", h->path);
    if (version != 1)
        return err_set(e, ERR_INPUT, "%s: is version %" PRId64 " of llama2.c's files; 0 and 1 are read", h->path, version);
    x->version = 1;
    if (!plausible(h->p + 8, x) || !x->shared || h->p[36] > 1)
        return err_set(e, ERR_INPUT, "%s: the header of llama2.c has numbers that no model has: dim %" PRId64 ", hidden %"
                       PRId64 ", %" PRId64 " layers, %" PRId64 " heads, %" PRId64 " of keys, %" PRId64 " words",
                       h->path, number(h->p + 8), number(h->p + 12), number(h->p + 16), number(h->p + 20),
                       number(h->p + 24), number(h->p + 28));
    x->shared = h->p[36];
    return 0;
}

static int put_config(struct reader *r)
{
    const struct header *x = &r->x;
    const char *text = arena_printf(r->mem, r->e,
        "{\n  \"architectures\": [\n    \"LlamaForCausalLM\"\n  ],\n  \"hidden_act\": \"silu\",\n"
        "  \"hidden_size\": %" PRIu64 ",\n  \"intermediate_size\": %" PRIu64 ",\n  \"max_position_embeddings\": %" PRIu64 ",\n"
        "  \"model_type\": \"llama\",\n  \"num_attention_heads\": %" PRIu64 ",\n  \"num_hidden_layers\": %" PRIu64 ",\n"
        "  \"num_key_value_heads\": %" PRIu64 ",\n  \"rms_norm_eps\": 1e-05,\n  \"rope_theta\": 10000.0,\n"
        "  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"float32\",\n  \"vocab_size\": %" PRIu64 "\n}\n",
        x->dim, x->hidden, x->seq, x->heads, x->layers, x->kv_heads, x->shared ? "true" : "false", x->vocab);
    return text ? table_meta(r->t, "octavo.config", text, r->e) : -1;
}

int llama2c_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct err *e)
{
    struct reader r = {.mem = mem, .t = t, .file = file, .e = e};
    const size_t from = t->n;
    if (head_need(h, LLAMA2C_HEAD, e) || read_header(h, &r.x, &r.pos, e))
        return -1;
    if (r.x.version ? arrays(&r, version_1, sizeof version_1 / sizeof *version_1)
                    : arrays(&r, version_0, sizeof version_0 / sizeof *version_0))
        return -1;
    if (h->file_size != UINT64_MAX && h->file_size != r.pos)
        return err_set(e, ERR_INPUT, "%s: as a file of llama2.c (dim %" PRIu64 ", %" PRIu64 " layers, %" PRIu64
                       " words) it would have %" PRIu64 " bytes, and it has %" PRIu64, h->path, r.x.dim, r.x.layers,
                       r.x.vocab, r.pos, h->file_size);
    return put_config(&r) ? -1 : table_end(t, from, h, r.pos, true, e);
}
