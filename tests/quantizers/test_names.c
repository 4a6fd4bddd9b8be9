/* One model in Hugging Face's files and in a GGUF: the same bytes, whoever's names are asked for. */
#include "formats/names.h"
#include "quantizers/run.h"
#include "tests/mk.h"
#include "tests/mk_gguf.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the model --------------------------------------------------------------------------------- */
enum { LAYERS = 2, HEADS = 4, KEYS = 2, DIM = 6, WIDE = 64, INNER = 96, WORDS = 40, EXPERTS = 3, MOST = 64 };

struct one {
    char hf[96], gguf[64];
    uint64_t rows, cols;  /* rows 0: a vector */
    int heads;            /* of rows that llama.cpp keeps in pairs; 0: none */
    int stack;            /* tensors here for one there */
    struct buf data;      /* in the order of Hugging Face */
};
struct type {
    const char *name;
    unsigned ggml, elems, bytes;  /* of a block */
};
static const struct type f32 = {"F32", 0, 1, 4}, bf16 = {"BF16", 30, 1, 2}, q8_0 = {"Q8_0", 8, 32, 34};

static struct one *put(struct one *x, const char *hf, const char *gguf, int layer, uint64_t rows, uint64_t cols, int heads)
{
    *x = (struct one){.rows = rows, .cols = cols, .heads = heads, .stack = 1};
    const char *before = layer < 0 ? "" : "model.layers.", *dot = layer < 0 ? "" : ".";
    char number[16] = "";
    if (layer >= 0)
        snprintf(number, sizeof number, "%d", layer);
    snprintf(x->hf, sizeof x->hf, "%s%s%s%s", before, number, dot, hf);
    snprintf(x->gguf, sizeof x->gguf, "%s%s%s%s", layer < 0 ? "" : "blk.", number, dot, gguf);
    return x + 1;
}

static size_t list(struct one *x, bool moe)
{
    struct one *p = x;
    p = put(p, "model.embed_tokens.weight", "token_embd.weight", -1, WORDS, WIDE, 0);
    p = put(p, "model.norm.weight", "output_norm.weight", -1, 0, WIDE, 0);
    for (int l = 0; l < LAYERS; l++) {
        p = put(p, "input_layernorm.weight", "attn_norm.weight", l, 0, WIDE, 0);
        p = put(p, "self_attn.q_proj.weight", "attn_q.weight", l, HEADS * DIM, WIDE, HEADS);
        p = put(p, "self_attn.k_proj.weight", "attn_k.weight", l, KEYS * DIM, WIDE, KEYS);
        p = put(p, "self_attn.v_proj.weight", "attn_v.weight", l, KEYS * DIM, WIDE, 0);
        p = put(p, "self_attn.o_proj.weight", "attn_output.weight", l, WIDE, WIDE, 0);
        p = put(p, "self_attn.q_proj.bias", "attn_q.bias", l, 0, HEADS * DIM, HEADS);
        p = put(p, "post_attention_layernorm.weight", "ffn_norm.weight", l, 0, WIDE, 0);
        for (int e = 0; e < EXPERTS && moe; e++) {
            char name[64];
            snprintf(name, sizeof name, "block_sparse_moe.experts.%d.w1.weight", e);
            p = put(p, name, "ffn_gate_exps.weight", l, INNER, WIDE, 0);
            p[-1].stack = EXPERTS;
        }
        if (moe)
            p = put(p, "block_sparse_moe.gate.weight", "ffn_gate_inp.weight", l, EXPERTS, WIDE, 0);
        else
            p = put(p, "mlp.up_proj.weight", "ffn_up.weight", l, INNER, WIDE, 0);
    }
    cr_assert_leq((size_t)(p - x), (size_t)MOST);
    return (size_t)(p - x);
}

static const struct type *type_of(const struct one *x, const struct type *t) { return x->rows ? t : &f32; }
static uint64_t row_of(const struct one *x, const struct type *t) { return x->cols / t->elems * t->bytes; }

static void fill(struct one *x, size_t n, const struct type *t, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        for (uint64_t k = 0; k < (x[i].rows ? x[i].rows : 1) * row_of(&x[i], type_of(&x[i], t)); k++)
            mk_le(&x[i].data, oracle_random(&seed) >> 20 & 0x7f, 1);
}

/* Which row of Hugging Face is row p of llama.cpp: h heads, whose pairs lie together. Written down as
 * convert_hf_to_gguf.py says it, reshape(heads, 2, rows / heads / 2).swapaxes(1, 2), and not as a formula for p. */
static void order(int heads, uint64_t rows, uint64_t *row)
{
    const uint64_t half = rows / (uint64_t)heads / 2;
    size_t p = 0;
    for (uint64_t h = 0; h < (uint64_t)heads; h++)
        for (uint64_t i = 0; i < half; i++)
            for (uint64_t j = 0; j < 2; j++)
                row[p++] = (h * 2 + j) * half + i;
}

static void put_gguf_data(struct buf *b, const struct one *x, const struct type *t)
{
    uint64_t row[256];
    const uint64_t n = x->rows ? x->rows : x->cols, bytes = x->rows ? row_of(x, t) : 4;
    cr_assert_leq(n, 256u);
    for (uint64_t p = 0; p < n; p++)
        row[p] = p;
    if (x->heads)
        order(x->heads, n, row);
    for (uint64_t p = 0; p < n; p++)
        mk_put(b, x->data.s + row[p] * bytes, bytes);
}

static struct buf gguf(const struct one *x, size_t n, const struct type *t, bool hf_names)
{
    size_t tensors = 0;
    uint64_t off = 0;
    for (size_t i = 0; i < n; i += (size_t)(hf_names ? 1 : x[i].stack))
        tensors++;
    struct buf b = gg_head(3, tensors, 3);
    gg_key(&b, "general.architecture", 8);
    gg_str(&b, "llama");
    gg_key(&b, "llama.attention.head_count", 4);
    mk_le(&b, HEADS, 4);
    gg_key(&b, "llama.attention.head_count_kv", 4);
    mk_le(&b, KEYS, 4);
    for (size_t i = 0; i < n; i += (size_t)(hf_names ? 1 : x[i].stack)) {
        const int stack = hf_names ? 1 : x[i].stack;
        const uint64_t ne[3] = {x[i].cols, x[i].rows, (uint64_t)stack};
        gg_tensor(&b, hf_names ? x[i].hf : x[i].gguf, stack > 1 ? 3 : x[i].rows ? 2 : 1, ne, type_of(&x[i], t)->ggml, off);
        off = (off + x[i].data.n * (size_t)stack + 31) / 32 * 32;
    }
    for (size_t i = 0; i < n; i++) {
        if (hf_names || i == 0 || x[i].stack == 1 || strcmp(x[i].gguf, x[i - 1].gguf))
            gg_pad(&b, 32);
        if (hf_names)
            mk_put(&b, x[i].data.s, x[i].data.n);
        else
            put_gguf_data(&b, &x[i], type_of(&x[i], t));
    }
    gg_pad(&b, 32);
    return b;
}

static struct buf safetensors(const struct one *x, size_t n, const struct type *t, const char *metadata)
{
    struct mk_tensor m[MOST];
    char shape[MOST][64];
    for (size_t i = 0; i < n; i++) {
        if (x[i].rows)
            snprintf(shape[i], sizeof *shape, "[%lu,%lu]", x[i].rows, x[i].cols);
        else
            snprintf(shape[i], sizeof *shape, "[%lu]", x[i].cols);
        m[i] = (struct mk_tensor){x[i].hf, type_of(&x[i], t)->name, shape[i], x[i].data.s, x[i].data.n};
    }
    return mk_safetensors(m, n, metadata);
}

#define CONFIG(type) "{\\\"model_type\\\":\\\"" type "\\\",\\\"num_attention_heads\\\":4,\\\"num_key_value_heads\\\":2}"
static const char *const metadata[2] = {"{\"octavo.config\":\"" CONFIG("llama") "\"}",
                                        "{\"octavo.config\":\"" CONFIG("mixtral") "\"}"};

/* ---- digests ----------------------------------------------------------------------------------- */
static void digest(const struct buf *image, enum name_style names, bool stream, unsigned threads, uint8_t out[32])
{
    struct model m;
    struct grouping g;
    struct err e = {0};
    char *dir = mk_tmpdir(), *path = mk_path(dir, "m");
    const struct buf packed = stream ? mk_gzip(image->s, image->n) : (struct buf){0};
    mk_write(path, stream ? packed.s : image->s, stream ? packed.n : image->n);
    cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
    cr_assert_neq(m.random, stream);
    m.names = names;
    cr_assert_eq(grouping_named(&m, true, &g, &e), 0, "%s", e.msg);
    uint8_t (*d)[32] = calloc(m.n, sizeof *d);
    cr_assert_eq(run_digest(&m, threads, d, &e), 0, "%s", e.msg);
    cr_assert_eq(model_digest(&m, (const uint8_t (*)[32])d, NULL, out, &e), 0);
    free(d);
    model_close(&m);
    free(path);
    mk_rmdir(dir);
    free(packed.s);
}

static void same(const struct buf *a, const struct buf *b, enum name_style names, bool stream)
{
    uint8_t x[32], y[32];
    digest(a, names, false, 1, x);
    digest(b, names, stream, 3, y);
    cr_assert_arr_eq(x, y, 32);
}

static void discard(struct one *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_free(&x[i].data);
}

Test(names_bytes, one_digest_for_both_containers)
{
    const struct type *type[] = {&f32, &bf16};
    for (size_t k = 0; k < 2; k++)
        for (int moe = 0; moe < 2; moe++) {
            struct one x[MOST];
            const size_t n = list(x, moe);
            fill(x, n, type[k], 77 + k);
            struct buf hf = safetensors(x, n, type[k], metadata[moe]), gg = gguf(x, n, type[k], false);
            same(&hf, &gg, NAMES_HF, false);
            same(&hf, &gg, NAMES_GGUF, false);
            same(&hf, &gg, NAMES_HF, true);      /* the GGUF from a pipe */
            if (!moe)
                same(&gg, &hf, NAMES_GGUF, true); /* experts are not put together there */
            uint8_t a[32], b[32];
            digest(&hf, NAMES_HF, false, 1, a);
            digest(&hf, NAMES_SOURCE, false, 1, b);
            cr_assert_arr_eq(a, b, 32);
            digest(&gg, NAMES_SOURCE, false, 1, b);
            cr_assert_arr_neq(a, b, 32);
            buf_free(&hf);
            buf_free(&gg);
            discard(x, n);
        }
}

/* Rows of blocks are moved as they are: the same GGUF with the other names and order. */
Test(names_bytes, blocks)
{
    struct one x[MOST];
    const size_t n = list(x, false);
    fill(x, n, &q8_0, 5);
    struct buf hf = gguf(x, n, &q8_0, true), gg = gguf(x, n, &q8_0, false);
    same(&hf, &gg, NAMES_HF, false);
    same(&hf, &gg, NAMES_HF, true);
    same(&hf, &gg, NAMES_GGUF, false);
    buf_free(&hf);
    buf_free(&gg);
    discard(x, n);
}

/* The order matters: with other numbers of heads the digest is another one. */
Test(names_bytes, wrong_heads_are_seen)
{
    struct one x[MOST];
    const size_t n = list(x, false);
    fill(x, n, &f32, 9);
    struct buf hf = safetensors(x, n, &f32, metadata[0]);
    for (size_t i = 0; i < n; i++)
        if (x[i].heads == KEYS)
            x[i].heads = 1;
    struct buf gg = gguf(x, n, &f32, false);
    uint8_t a[32], b[32];
    digest(&hf, NAMES_HF, false, 1, a);
    digest(&gg, NAMES_HF, false, 1, b);
    cr_assert_arr_neq(a, b, 32);
    buf_free(&hf);
    buf_free(&gg);
    discard(x, n);
}

/* ---- llama2.c ------------------------------------------------------------------------------------ */

/* A model whose attention is as wide as the rest, in the order of the arrays of a .bin. */
static size_t list_llama2c(struct one *x, bool shared)
{
    enum { W = HEADS * DIM, KV = KEYS * DIM };
    static const struct { const char *name; uint64_t rows, cols; int heads; } each[] = {
        {"input_layernorm.weight", 0, W, 0},          {"self_attn.q_proj.weight", W, W, HEADS},
        {"self_attn.k_proj.weight", KV, W, KEYS},     {"self_attn.v_proj.weight", KV, W, 0},
        {"self_attn.o_proj.weight", W, W, 0},         {"post_attention_layernorm.weight", 0, W, 0},
        {"mlp.gate_proj.weight", INNER, W, 0},        {"mlp.down_proj.weight", W, INNER, 0},
        {"mlp.up_proj.weight", INNER, W, 0},
    };
    struct one *p = put(x, "model.embed_tokens.weight", "", -1, WORDS, W, 0);
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        for (int l = 0; l < LAYERS; l++)
            p = put(p, each[i].name, "", l, each[i].rows, each[i].cols, each[i].heads);
    p = put(p, "model.norm.weight", "", -1, 0, W, 0);
    if (!shared)
        p = put(p, "lm_head.weight", "", -1, WORDS, W, 0);
    return (size_t)(p - x);
}

static struct buf llama2c(const struct one *x, size_t n, bool shared)
{
    enum { LENGTH = 7 };
    const int32_t head[7] = {HEADS * DIM, INNER, LAYERS, HEADS, KEYS, shared ? WORDS : -WORDS, LENGTH};
    struct buf b = {0};
    for (int i = 0; i < 7; i++)
        mk_le(&b, (uint32_t)head[i], 4);
    for (size_t i = 0; i < n; i++) {
        put_gguf_data(&b, &x[i], &f32);
        for (int k = 0; k < LENGTH * DIM && !strcmp(x[i].hf, "model.norm.weight"); k++)
            mk_le(&b, 0x3f800000, 4); /* two tables of cosines and sines */
    }
    return b;
}

Test(names_bytes, llama2c_has_the_same_digest)
{
    for (int shared = 0; shared < 2; shared++) {
        struct one x[MOST];
        const size_t n = list_llama2c(x, shared);
        fill(x, n, &f32, 31);
        struct buf hf = safetensors(x, n, &f32, metadata[0]), bin = llama2c(x, n, shared);
        same(&hf, &bin, NAMES_SOURCE, false);
        same(&hf, &bin, NAMES_HF, false);
        same(&hf, &bin, NAMES_SOURCE, true);
        same(&hf, &bin, NAMES_GGUF, false);
        same(&hf, &bin, NAMES_GGUF, true);
        buf_free(&hf);
        buf_free(&bin);
        discard(x, n);
    }
}

/* ---- a classifier that is the embedding --------------------------------------------------------- */
#define TIED "{\"octavo.config\":\"{\\\"model_type\\\":\\\"qwen3\\\",\\\"tie_word_embeddings\\\":%s}\"}"

static int tied(const char *word, uint8_t last, enum name_style names, bool stream, size_t *n, struct err *e)
{
    char meta[200];
    uint8_t a[16] = {1, 2, 3}, b[16] = {1, 2, 3};
    struct model m;
    struct grouping g;
    b[15] = last;
    snprintf(meta, sizeof meta, TIED, word);
    const struct mk_tensor t[] = {{"lm_head.weight", "F32", "[2,2]", a, 16}, {"model.embed_tokens.weight", "F32", "[2,2]", b, 16}};
    struct buf image = mk_safetensors(t, 2, meta), gz = mk_gzip(image.s, image.n);
    char *dir = mk_tmpdir(), *path = mk_path(dir, "m");
    mk_write(path, stream ? gz.s : image.s, stream ? gz.n : image.n);
    *e = (struct err){0};
    cr_assert_eq(model_open(&m, path, e), 0, "%s", e->msg);
    m.names = names;
    const int r = grouping_named(&m, true, &g, e);
    *n = m.n;
    model_close(&m);
    free(path);
    mk_rmdir(dir);
    buf_free(&image);
    buf_free(&gz);
    return r;
}

Test(names_bytes, a_copy_of_the_embedding_is_dropped)
{
    struct err e;
    size_t n;
    for (enum name_style s = NAMES_HF; s <= NAMES_GGUF; s++) {
        cr_assert_eq(tied("true", 0, s, false, &n, &e), 0, "%s", e.msg);
        cr_assert_eq(n, 1u);
        cr_assert_eq(tied("false", 0, s, false, &n, &e), 0, "%s", e.msg);
        cr_assert_eq(n, 2u);
        cr_assert_eq(tied("false", 1, s, true, &n, &e), 0, "%s", e.msg);
        cr_assert_eq(n, 2u);
        cr_assert_eq(tied("true", 1, s, false, &n, &e), -1);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "lm_head.weight") && strstr(e.msg, "tie_word_embeddings"), "%s", e.msg);
        cr_assert_eq(tied("true", 0, s, true, &n, &e), -1);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "--spool"), "%s", e.msg);
    }
    cr_assert_eq(tied("true", 0, NAMES_SOURCE, false, &n, &e), 0, "%s", e.msg);
    cr_assert_eq(n, 2u);
}

/* ---- factors of the rotary embedding ------------------------------------------------------------ */

/* As convert_hf_to_gguf.py computes them, of frequencies. */
static void llama3(double base, double factor, int n, float *out)
{
    for (int i = 0; i < n; i++) {
        const double freq = 1 / pow(base, 2 * i / (2.0 * n)), wave = 2 * M_PI / freq;
        const double smooth = (8192 / wave - 1) / (4 - 1);
        out[i] = (float)(wave < 8192 / 4.0 ? 1 : wave > 8192 / 1.0 ? factor : 1 / ((1 - smooth) / factor + smooth));
    }
}

/* A GGUF with factors, as Hugging Face's: what the run says of them. */
static double recognised(const float *factors, unsigned n, float base)
{
    struct model m;
    struct grouping g;
    struct err e = {0};
    struct buf b = gg_head(3, 2, 2);
    uint32_t bits;
    memcpy(&bits, &base, 4);
    gg_key(&b, "general.architecture", 8);
    gg_str(&b, "llama");
    gg_key(&b, "llama.rope.freq_base", 6);
    mk_le(&b, bits, 4);
    gg_tensor(&b, "token_embd.weight", 2, (uint64_t[]){2, 2}, 0, 0);
    gg_tensor(&b, "rope_freqs.weight", 1, (uint64_t[]){n}, 0, 32);
    gg_pad(&b, 32);
    gg_data(&b, 32);
    mk_put(&b, factors, n * 4);
    gg_pad(&b, 32);
    char *dir = mk_tmpdir(), *path = mk_path(dir, "m.gguf");
    mk_write(path, b.s, b.n);
    cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
    m.names = NAMES_HF;
    cr_assert_eq(grouping_named(&m, true, &g, &e), 0, "%s", e.msg);
    cr_assert(m.n == 1 && m.naming->factors);
    const double factor = m.naming->rope_factor;
    model_close(&m);
    free(path);
    mk_rmdir(dir);
    buf_free(&b);
    return factor;
}

Test(names_bytes, factors_of_llama_3_are_recognised)
{
    float f[64];
    static const struct { double base, factor; int n; } rule[] = {{5e5, 8, 64}, {5e5, 32, 32}, {1e4, 4, 48}};
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++) {
        const int n = rule[i].n;
        llama3(rule[i].base, rule[i].factor, n, f);
        cr_assert_float_eq(recognised(f, (unsigned)n, (float)rule[i].base), rule[i].factor, 0);
        cr_assert_float_eq(recognised(f, (unsigned)n, (float)rule[i].base * 2), 0, 0, "another base");
        f[n / 2] *= 1.01f;
        cr_assert_float_eq(recognised(f, (unsigned)n, (float)rule[i].base), 0, 0, "one of them is another");
        llama3(rule[i].base, rule[i].factor, n, f);
        f[n - 1] = NAN;
        cr_assert_float_eq(recognised(f, (unsigned)n, (float)rule[i].base), 0, 0);
    }
    for (int i = 0; i < 64; i++)
        f[i] = 1;
    cr_assert_float_eq(recognised(f, 64, 1e4f), 0, 0, "none at all are no rule of Llama 3");
}

Test(names_bytes, factors_of_llama_3_are_made)
{
#define RULE "{\\\"rope_type\\\":\\\"llama3\\\",\\\"factor\\\":8.0,\\\"low_freq_factor\\\":1.0," \
             "\\\"high_freq_factor\\\":4.0,\\\"original_max_position_embeddings\\\":8192}"
    const char *meta = "{\"octavo.config\":\"{\\\"model_type\\\":\\\"llama\\\",\\\"num_attention_heads\\\":4,"
                       "\\\"hidden_size\\\":512,\\\"rope_theta\\\":500000.0,\\\"rope_scaling\\\":" RULE "}\"}";
    for (int stream = 0; stream < 2; stream++) {
        struct model m;
        struct grouping g;
        struct err e = {0};
        float want[64], got[64];
        const struct mk_tensor t = {"model.norm.weight", "F32", "[2]", NULL, 8};
        struct buf b = mk_safetensors(&t, 1, meta), gz = mk_gzip(b.s, b.n);
        char *dir = mk_tmpdir(), *path = mk_path(dir, "m");
        mk_write(path, stream ? gz.s : b.s, stream ? gz.n : b.n);
        cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
        m.names = NAMES_GGUF;
        cr_assert_eq(grouping_named(&m, true, &g, &e), 0, "%s", e.msg);
        cr_assert(m.n == 2 && !strcmp(m.t[1].name, "rope_freqs.weight") && m.t[1].rank == 1 && m.t[1].dim[0] == 64);
        cr_assert_eq(model_read(&m, 1, 0, got, sizeof got, &e), 0, "%s", e.msg);
        llama3(5e5, 8, 64, want);
        for (int i = 0; i < 64; i++)
            cr_assert_float_eq(got[i], want[i], 1e-6, "%d", i);
        cr_assert_eq(model_finish(&m, &e), 0, "%s", e.msg);
        model_close(&m);
        free(path);
        mk_rmdir(dir);
        buf_free(&b);
        buf_free(&gz);
    }
}

/* ---- the real model ------------------------------------------------------------------------------ */
Test(names_bytes, stories)
{
    static const char *const file[] = {"models/stories260K-hf", "models/stories260K.f32.gguf", "models/stories260K.bin"};
    for (enum name_style s = NAMES_HF; s <= NAMES_GGUF; s++) {
        uint8_t out[3][32];
        for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
            char *path = mk_data(file[i]);
            if (!path)
                return;
            struct model m;
            struct grouping g;
            struct err e = {0};
            cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
            m.names = s;
            cr_assert_eq(grouping_named(&m, true, &g, &e), 0, "%s", e.msg);
            uint8_t (*d)[32] = calloc(m.n, sizeof *d);
            cr_assert_eq(run_digest(&m, 2, d, &e), 0, "%s", e.msg);
            cr_assert_eq(model_digest(&m, (const uint8_t (*)[32])d, NULL, out[i], &e), 0);
            free(d);
            model_close(&m);
            free(path);
            cr_assert_arr_eq(out[i], out[0], 32, "%s", file[i]);
        }
    }
}
