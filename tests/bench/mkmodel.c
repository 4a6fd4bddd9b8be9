/* Makes models to measure with; the same arguments give the same bytes.
 *
 *     mkmodel OUT.safetensors SIZE_MB [SEED]
 *         BF16 weights in the shapes of Llama, DeepSeek and a vision tower: widths that
 *         are powers of two and that are not, rows and columns that are no multiple of
 *         128, norms, one embedding, one pruned and one outlier-dominated matrix.  A
 *         small SIZE_MB takes rows away and leaves the widths as they are.
 *     mkmodel --tensor ROWS COLS OUT.safetensors [SEED]
 *         one matrix
 *     mkmodel --llama LAYERS OUT.safetensors [SEED]
 *         a whole Llama of 16 heads of 128, hidden size 2048, inner size 8192 and 32000 tokens
 *
 * Weights are Gaussian with sigma 0.02, one in 2000 eight times as large. */
#include "quantizers/num.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "bench-mkmodel: %s: %s\n", what, strerror(errno));
    exit(4);
}

static void *need(void *p)
{
    if (!p)
        die("memory");
    return p;
}

/* ---- values -------------------------------------------------------------- */

static uint64_t next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

enum { TABLE = 1 << 16 };
static uint16_t table[TABLE];

/* No function of libm: the bytes must not depend on whose it is. */
static void fill_table(uint64_t seed)
{
    uint64_t s = 0x9e3779b97f4a7c15 ^ (seed << 20);

    for (int i = 0; i < TABLE; i++) {
        double sum = -6;
        for (int k = 0; k < 12; k++)
            sum += (double)(next(&s) >> 11) * 0x1p-53;
        table[i] = bf16_encode((float)(sum * 0.02 * (i % 2000 == 77 ? 8 : 1)));
    }
}

enum kind { NORMAL, NORM, PRUNED, OUTLIERS };

/* n is a multiple of 4. */
static void fill(uint16_t *p, size_t n, enum kind kind, uint64_t *s)
{
    for (size_t i = 0; i < n; i += 4) {
        uint64_t x = next(s);
        p[i] = table[x & 0xffff];
        p[i + 1] = table[x >> 16 & 0xffff];
        p[i + 2] = table[x >> 32 & 0xffff];
        p[i + 3] = table[x >> 48];
        if (kind == PRUNED) {
            x = *s * 0x9e3779b97f4a7c15;
            for (int k = 0; k < 4; k++)
                p[i + k] = x >> (60 + k) & 1 ? p[i + k] : 0;
        }
    }
    /* Scales so large that most of what is left is subnormal in E4M3. */
    for (size_t i = 0; kind == OUTLIERS && i < n; i += 64)
        p[i] = bf16_encode(bf16_decode(p[i]) * 32768);
    for (size_t i = 0; kind == NORM && i < n; i++)
        p[i] = bf16_encode(1 + bf16_decode(p[i]));
}

/* ---- a model ------------------------------------------------------------- */

/* One of each per layer; rows 0: a norm. */
static const struct shape {
    const char *name;
    uint32_t rows, cols;
    enum kind kind;
} shapes[] = {
    { "model.layers.%d.input_layernorm.weight", 0, 4096, NORM },
    { "model.layers.%d.self_attn.q_proj.weight", 4096, 4096, NORMAL },
    { "model.layers.%d.self_attn.k_proj.weight", 1024, 4096, NORMAL },
    { "model.layers.%d.self_attn.v_proj.weight", 1024, 4096, NORMAL },
    { "model.layers.%d.self_attn.o_proj.weight", 4096, 4096, NORMAL },
    { "model.layers.%d.post_attention_layernorm.weight", 0, 4096, NORM },
    { "model.layers.%d.mlp.gate_proj.weight", 14336, 4096, NORMAL },
    { "model.layers.%d.mlp.up_proj.weight", 14336, 4096, PRUNED },
    { "model.layers.%d.mlp.down_proj.weight", 4096, 14336, NORMAL },
    { "model.deep.%d.self_attn.q_a_proj.weight", 1536, 7168, NORMAL },
    { "model.deep.%d.self_attn.q_a_layernorm.weight", 0, 1536, NORM },
    { "model.deep.%d.self_attn.q_b_proj.weight", 24576, 1536, NORMAL },
    { "model.deep.%d.self_attn.kv_a_proj_with_mqa.weight", 576, 7168, NORMAL },
    { "model.deep.%d.self_attn.kv_b_proj.weight", 32768, 512, NORMAL },
    { "model.deep.%d.mlp.gate_proj.weight", 18432, 7168, NORMAL },
    { "model.deep.%d.mlp.down_proj.weight", 7168, 18432, NORMAL },
    { "model.deep.%d.mlp.experts.0.gate_proj.weight", 2048, 7168, OUTLIERS },
    { "model.deep.%d.mlp.experts.0.down_proj.weight", 7168, 2048, NORMAL },
    { "model.odd.%d.mlp.fc1.weight", 4304, 1152, NORMAL },
    { "model.odd.%d.mlp.fc2.weight", 1152, 4304, NORMAL },
    { "model.odd.%d.mlp.down_proj.weight", 2880, 2880, NORMAL },
};
enum { SHAPES = sizeof shapes / sizeof *shapes, NAME = 96, ENTRY = 256 };

struct tensor {
    char name[NAME];
    uint64_t rows, cols;   /* rows 0: one dimension */
    enum kind kind;
};

static uint64_t bytes_of(const struct tensor *t) { return (t->rows ? t->rows : 1) * t->cols * 2; }

static void put(int fd, const void *p, size_t n, const char *path)
{
    for (const char *s = p; n;) {
        const ssize_t k = write(fd, s, n);
        if (k < 0 && errno != EINTR)
            die(path);
        s += k > 0 ? k : 0;
        n -= k > 0 ? (size_t)k : 0;
    }
}

/* "length, JSON, white space up to a multiple of 8". */
static size_t close_header(char *p, size_t n)
{
    p[n++] = '}';
    while (n % 8)
        p[n++] = ' ';
    for (int i = 0; i < 8; i++)
        p[i] = (char)((n - 8) >> 8 * i);
    return n;
}

static size_t put_entry(char *p, const char *name, const char *dtype, const uint64_t *dim, int rank,
                        uint64_t from, uint64_t to)
{
    size_t n = (size_t)sprintf(p, "\"%s\":{\"dtype\":\"%s\",\"shape\":[", name, dtype);

    for (int i = 0; i < rank; i++)
        n += (size_t)sprintf(p + n, "%s%" PRIu64, i ? "," : "", dim[i]);
    return n + (size_t)sprintf(p + n, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", from, to);
}

static void write_model(const char *path, const struct tensor *t, size_t n, uint64_t seed)
{
    enum { PIECE = 1 << 20 };
    char *const head = need(malloc(n * ENTRY + 64));
    uint16_t *const piece = need(malloc(PIECE));
    uint64_t at = 0, s = 0x2545f4914f6cdd1d + seed;
    size_t k = 8 + (size_t)sprintf(head + 8, "{\"__metadata__\":{\"format\":\"pt\"}");
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

    if (fd < 0)
        die(path);
    for (size_t i = 0; i < n; i++) {
        const uint64_t dim[2] = { t[i].rows, t[i].cols };
        head[k++] = ',';
        k += put_entry(head + k, t[i].name, "BF16", t[i].rows ? dim : dim + 1, t[i].rows ? 2 : 1, at,
                       at + bytes_of(&t[i]));
        at += bytes_of(&t[i]);
    }
    k = close_header(head, k);
    put(fd, head, k, path);
    fill_table(seed);
    for (size_t i = 0; i < n; i++)
        for (uint64_t left = bytes_of(&t[i]); left;) {
            const size_t now = left < PIECE ? (size_t)left : PIECE;
            fill(piece, (now / 2 + 3) / 4 * 4, t[i].kind, &s);
            put(fd, piece, now, path);
            left -= now;
        }
    if (close(fd))
        die(path);
    free(piece);
    free(head);
}

/* Layers of full size as long as they fit; then rows are taken away so that the
 * sum is what was asked for.  A fifteenth of it is the embedding, as in Llama 3 8B. */
static void make_model(const char *path, uint64_t size, uint64_t seed)
{
    uint64_t layer = 0, weights = size - size / 15;

    for (int i = 0; i < SHAPES; i++)
        layer += 2ull * (shapes[i].rows ? shapes[i].rows : 1) * shapes[i].cols;
    const uint64_t full = weights / layer, layers = full ? full + (weights % layer > layer / 2) : 1;
    const double part = (double)weights / (double)(layers * layer);
    struct tensor *const t = need(calloc(layers * SHAPES + 2, sizeof *t));
    size_t n = 0;

    t[n++] = (struct tensor){ "model.embed_tokens.weight", size / 15 / 8192 + 1, 4096, NORMAL };
    for (uint64_t l = 0; l < layers; l++)
        for (int i = 0; i < SHAPES; i++) {
            const struct shape *const x = &shapes[i];
            uint64_t rows = (uint64_t)(part * x->rows + 0.5), grain = x->rows % 128 ? 1 : 128;
            rows = part > 0.5 ? (rows + grain / 2) / grain * grain : rows;
            t[n] = (struct tensor){ .rows = x->rows && !rows ? 1 : rows, .cols = x->cols, .kind = x->kind };
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(t[n++].name, NAME, x->name, (int)l);
#pragma GCC diagnostic pop
        }
    t[n++] = (struct tensor){ "model.norm.weight", 0, 4096, NORM };
    write_model(path, t, n, seed);
    free(t);
}

static void make_llama(const char *path, int layers, uint64_t seed)
{
    enum { HIDDEN = 2048, INNER = 8192, VOCABULARY = 32000, EACH = 9 };
    static const struct shape part[EACH] = {{"input_layernorm", 0, HIDDEN, NORM},           {"post_attention_layernorm", 0, HIDDEN, NORM},
                                            {"self_attn.q_proj", HIDDEN, HIDDEN, NORMAL},   {"self_attn.k_proj", HIDDEN / 4, HIDDEN, NORMAL},
                                            {"self_attn.v_proj", HIDDEN / 4, HIDDEN, NORMAL}, {"self_attn.o_proj", HIDDEN, HIDDEN, NORMAL},
                                            {"mlp.gate_proj", INNER, HIDDEN, NORMAL},       {"mlp.up_proj", INNER, HIDDEN, NORMAL},
                                            {"mlp.down_proj", HIDDEN, INNER, NORMAL}};
    struct tensor *const t = need(calloc((size_t)layers * EACH + 3, sizeof *t));
    size_t n = 0;
    t[n++] = (struct tensor){"model.embed_tokens.weight", VOCABULARY, HIDDEN, NORMAL};
    t[n++] = (struct tensor){"lm_head.weight", VOCABULARY, HIDDEN, NORMAL};
    t[n++] = (struct tensor){"model.norm.weight", 0, HIDDEN, NORM};
    for (int l = 0; l < layers; l++)
        for (int i = 0; i < EACH; i++, n++) {
            t[n] = (struct tensor){.rows = part[i].rows, .cols = part[i].cols, .kind = part[i].kind};
            snprintf(t[n].name, NAME, "model.layers.%d.%s.weight", l, part[i].name);
        }
    write_model(path, t, n, seed);
    free(t);
}

int main(int argc, char **argv)
{
    if ((argc == 5 || argc == 6) && !strcmp(argv[1], "--tensor")) {
        const struct tensor t = { "model.layers.0.mlp.up_proj.weight", strtoull(argv[2], NULL, 10),
                                  strtoull(argv[3], NULL, 10), NORMAL };
        write_model(argv[4], &t, 1, argc == 6 ? strtoull(argv[5], NULL, 10) : 1);
    } else if ((argc == 4 || argc == 5) && !strcmp(argv[1], "--llama") && atoi(argv[2]) > 0) {
        make_llama(argv[3], atoi(argv[2]), argc == 5 ? strtoull(argv[4], NULL, 10) : 1);
    } else if ((argc == 3 || argc == 4) && strtoull(argv[2], NULL, 10)) {
        make_model(argv[1], strtoull(argv[2], NULL, 10) * 1000000, argc == 4 ? strtoull(argv[3], NULL, 10) : 1);
    } else {
        fprintf(stderr, "usage: bench-mkmodel OUT.safetensors SIZE_MB [SEED]\n"
                        "       bench-mkmodel --tensor ROWS COLS OUT.safetensors [SEED]\n"
                        "       bench-mkmodel --llama LAYERS OUT.safetensors [SEED]\n");
        return 2;
    }
    return 0;
}
