/* mini: writes a small checkpoint of DeepSeek-V3 or gpt-oss in one of many styles,
 * or all headers of the big one.
 *
 *     mini --list
 *         the styles: a name and what it is, one a line
 *     mini [--seed N] [--reference FILE] STYLE DIR
 *         a new directory: shards, index, config.json and what belongs to the style.
 *         FILE, a safetensors file, gets what a perfect dequantization gives: weights
 *         that are quantized in F32, rounded once, everything else as it is in DIR.
 *     mini inventory DIR
 *         the 91,991 tensors of DeepSeek-V3 in 163 files: 689 GB that take up no
 *         room, since there is nothing but holes behind the headers
 *     mini matrix FILE
 *         one BF16 tensor m.weight (matrix.c) */
#include "mini.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct run {
    const struct style *style;
    uint64_t seed;
    const char *path; /* of the reference, or NULL */
    struct out out, reference;
    FILE *kept; /* the modules that stay, as a list in JSON */
    size_t nkept;
};

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);

    return n >= k && !strcmp(s + n - k, end);
}

/* ---- the parts of a weight --------------------------------------------------- */

static uint64_t ceil_div(uint64_t a, uint64_t b) { return b ? (a + b - 1) / b : 1; }

static int part_shape(enum shape shape, const struct scheme *s, const struct tensor *t, uint64_t dim[RANK])
{
    const uint64_t o = t->dim[t->rank - 2], i = t->dim[t->rank - 1];
    const int n = t->rank - 2;

    for (int k = 0; k < n; k++)
        dim[k] = t->dim[k];
    dim[n] = o;
    switch (shape) {
    case NONE:
        return 0;
    case ONE:
        dim[0] = 1;
        return 1;
    case TWO:
        dim[0] = 2;
        return 1;
    case ROWS:
        return n + 1;
    case WHOLE:
        dim[n + 1] = i;
        return n + 2;
    case HALF:
        dim[n + 1] = i / 2;
        return n + 2;
    case WORDS:
        dim[n + 1] = i / 8;
        return n + 2;
    case SIXTEENS:
        dim[n + 1] = i / 32;
        dim[n + 2] = 16;
        return n + 3;
    case GRID:
        dim[n] = ceil_div(o, s->rows);
        break;
    case ROWS_8:
        dim[n] = ceil_div(o, 8 * s->rows);
        break;
    }
    dim[n + 1] = ceil_div(i, s->cols);
    return n + 2;
}

/* A power of two, so that a weight's scale can be found again in deq_scale exactly. */
static double input_scale(const struct tensor *t) { return 1.0 / (8 << hash(t->name, 1) % 4); }
static double input_offset(const struct tensor *t) { return (double)(hash(t->name, 2) % 33) - 16; }

/* Two to a byte, the first in the low half; eight to an I32 is the same thing. */
static void pack(const struct scheme *s, const struct quantized *q, uint8_t *p)
{
    const uint64_t n = q->rows * q->cols;

    if (s->elem == E4M3 || s->elem == INT8) {
        memcpy(p, q->code, n);
        return;
    }
    const unsigned bias = s->elem == INT4 ? 8 : 0;
    for (uint64_t i = 0; i < n; i++)
        p[i / 2] |= (uint8_t)(((q->code[i] + bias) & 15) << 4 * (i % 2));
}

/* Eight rows to an I32. */
static void pack_zero_points(const struct quantized *q, uint8_t *p)
{
    for (uint64_t r = 0; r < q->block_rows; r++)
        for (uint64_t c = 0; c < q->block_cols; c++)
            p[4 * (r / 8 * q->block_cols + c) + r % 8 / 2] |=
                (uint8_t)(((q->zero[r * q->block_cols + c] + 8) & 15) << 4 * (r % 2));
}

static double row_sum(const struct quantized *q, uint64_t row)
{
    double sum = 0;

    for (uint64_t c = 0; c < q->cols; c++)
        sum += (int8_t)q->code[row * q->cols + c];
    return sum;
}

static void *part_data(const struct part *p, const struct scheme *s, const struct tensor *t,
                       const struct quantized *q, uint64_t n)
{
    const unsigned size = dtypes[p->dtype].size;
    uint8_t *const data = need(n, size);

    for (uint64_t i = 0; i < n; i++)
        switch (p->what) {
        case CODES:
            pack(s, q, data);
            return data;
        case ZERO_POINTS:
            pack_zero_points(q, data);
            return data;
        case ZEROS:
            return data;
        case SCALES:
            store(p->dtype, q->scale[i], data + size * i);
            break;
        case GLOBAL:
            store(p->dtype, q->global, data);
            break;
        case SHAPE:
            store(p->dtype, (double)t->dim[i], data + size * i);
            break;
        case INPUT_SCALE:
            store(p->dtype, input_scale(t), data);
            break;
        case INPUT_OFFSET:
            store(p->dtype, input_offset(t), data);
            break;
        case QUANT_BIAS:
            store(p->dtype, -row_sum(q, i) * input_offset(t), data + size * i);
            break;
        case DEQ_SCALE:
            store(p->dtype, q->scale[i] * input_scale(t), data + size * i);
            break;
        }
    return data;
}

/* ---- tensors ----------------------------------------------------------------- */

static void *plain_data(enum dtype dtype, const float *x, uint64_t n)
{
    const unsigned size = dtypes[dtype].size;
    uint8_t *const data = need(n, size);

    for (uint64_t i = 0; i < n; i++)
        store(dtype, x[i], data + size * i);
    return data;
}

/* x NULL: there are no values yet, or none wanted. */
static void put_plain(struct out *o, const struct tensor *t, enum dtype dtype, const float *x)
{
    out_put(o, t->name, true, dtype, t->rank, t->dim, x ? plain_data(dtype, x, tensor_elems(t)) : NULL);
}

/* Stacks of experts of gpt-oss have their inputs first where they are not quantized: [E, K, N]. */
static void put_turned(struct out *o, const struct tensor *t, const float *x)
{
    struct tensor turned = *t;
    const uint64_t rows = t->dim[t->rank - 2], cols = t->dim[t->rank - 1], n = tensor_elems(t);
    float *const y = x ? need(n, sizeof *y) : NULL;

    turned.dim[t->rank - 2] = cols;
    turned.dim[t->rank - 1] = rows;
    for (uint64_t i = 0; x && i < n; i++)
        y[i / (rows * cols) * (rows * cols) + i % cols * rows + i / cols % rows] = x[i];
    put_plain(o, &turned, F32, y);
    free(y);
}

static void keep(struct run *r, const struct tensor *t, const float *x)
{
    const enum dtype dtype = t->role == KEEP_F32 ? F32 : BF16;
    const size_t n = strlen(t->name);

    if (r->out.planning && t->rank == 2 && ends_with(t->name, ".weight") && !strstr(t->name, "embed_tokens"))
        fprintf(r->kept, "%s\"%.*s\"", r->nkept++ ? ", " : "", (int)n - 7, t->name);
    put_plain(&r->out, t, dtype, x);
    if (r->path)
        put_plain(&r->reference, t, dtype, x);
}

static void quantize_tensor(struct run *r, const struct clothes *c, const struct tensor *t, float *x)
{
    /* FP32 mantissa 0x2953FD: the one odd factor of all o_proj scales of DeepSeek-V3.1. */
    const double multiplier = r->style->odd_o_proj && strstr(t->name, ".o_proj.") ? 0x1.52a7fap0 : 1;
    const uint64_t cols = t->dim[t->rank - 1];
    const int module = (int)strlen(t->name) - (ends_with(t->name, ".weight") ? 7 : 0);
    struct quantized q;

    if (x)
        quantize(&c->scheme, multiplier, x, tensor_elems(t) / cols, cols, &q);
    for (const struct part *p = c->part; p->suffix; p++) {
        uint64_t dim[RANK], elems = 1;
        char name[NAME];
        const int rank = part_shape(p->shape, &c->scheme, t, dim);
        for (int i = 0; i < rank; i++)
            elems *= dim[i];
        snprintf(name, sizeof name, "%.*s%s", module, t->name, p->suffix);
        out_put(&r->out, name, false, p->dtype, rank, dim, x ? part_data(p, &c->scheme, t, &q, elems) : NULL);
    }
    if (x) {
        dequantize(&c->scheme, &q, x);
        quantized_free(&q);
    }
    if (r->path && t->rank > 2)
        put_turned(&r->reference, t, x);
    else if (r->path)
        put_plain(&r->reference, t, F32, x);
}

static void visit(void *context, const struct tensor *t)
{
    struct run *const r = context;
    const struct style *const s = r->style;
    const struct clothes *const c = t->role == ROUTED && s->routed ? s->routed
                                    : t->role >= LINEAR            ? s->linear
                                                                   : NULL;
    float *x = NULL;

    if (!r->out.planning && !r->out.sparse) {
        x = need(tensor_elems(t), sizeof *x);
        tensor_values(t, r->seed, x);
    }
    if (c)
        quantize_tensor(r, c, t, x);
    else
        keep(r, t, x);
    free(x);
}

/* ---- files beside the weights -------------------------------------------------- */

static void write_ascend(const struct run *r)
{
    static const char name[] = "quant_model_description.json";
    const struct style *const s = r->style;
    FILE *const f = out_create(r->out.dir, name);

    for (size_t i = 0; i < r->out.done; i++)
        fprintf(f, "%s\n  \"%s\": \"%s\"", i ? "," : "{", r->out.place[i].name,
                r->out.place[i].plain ? "FLOAT" : s->ascend);
    fprintf(f,
            ",\n  \"version\": \"1.0.0\",\n  \"model_quant_type\": \"%s\",\n  \"metadata\": {},\n"
            "  \"group_size\": %d,\n  \"optional\": {}\n}\n",
            s->ascend, s->group_size);
    out_close(f, name);
}

static void write_configs(const struct run *r, const struct model *m, const char *kept)
{
    const struct style *const s = r->style;
    FILE *const f = out_create(r->out.dir, "config.json");

    fputs("{\n", f);
    m->config(f, &m->dims);
    if (s->more) {
        fputs(",\n  ", f);
        write_text(f, s->more, kept);
    }
    if (s->section) {
        fputs(",\n  \"quantization_config\": ", f);
        write_text(f, s->section, kept);
    }
    fputs("\n}\n", f);
    out_close(f, "config.json");
    if (s->hf_quant) {
        FILE *const h = out_create(r->out.dir, "hf_quant_config.json");
        write_text(h, s->hf_quant, kept);
        out_close(h, "hf_quant_config.json");
    }
    if (s->ascend)
        write_ascend(r);
}

static void write_model(const struct style *s, const struct model *m, uint64_t seed, bool sparse,
                        const char *reference, const char *dir)
{
    char *kept = NULL;
    size_t length = 0;
    struct run r = {.style = s, .seed = seed, .path = reference, .kept = open_memstream(&kept, &length)};

    if (!r.kept)
        die("memory");
    r.out = (struct out){.dir = dir,
                         .stem = s->ascend ? "quant_model_weights" : "model",
                         .shards = m->shards,
                         .first = s->naming != FROM_ZERO,
                         .digits = s->naming == DEEPSEEK ? 6 : 5,
                         .planning = true,
                         .sparse = sparse};
    r.reference = (struct out){.shards = 1, .planning = true};
    if (mkdir(dir, 0777))
        die("%s", dir);
    putc('[', r.kept);
    m->walk(&m->dims, visit, &r);
    putc(']', r.kept);
    out_close(r.kept, "memory");
    out_planned(&r.out);
    out_planned(&r.reference);
    m->walk(&m->dims, visit, &r);
    /* DeepSeek's index counts two bytes for every element, whatever its type. */
    out_finish(&r.out, s->naming == DEEPSEEK ? 2 * r.out.elems : r.out.bytes);
    if (reference)
        out_single(&r.reference, reference);
    write_configs(&r, m, kept);
    free(kept);
    out_free(&r.out);
    out_free(&r.reference);
}

static const struct style *find_style(const char *name)
{
    for (size_t i = 0; i < style_count; i++)
        if (!strcmp(styles[i].name, name))
            return &styles[i];
    return NULL;
}

int main(int argc, char **argv)
{
    const char *reference = NULL;
    uint64_t seed = 1;
    int i = 1;

    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (size_t k = 0; k < style_count; k++)
            printf("%-20s %s\n", styles[k].name, styles[k].title);
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "matrix")) {
        write_matrix(argv[2]);
        return 0;
    }
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2)
        if (!strcmp(argv[i], "--reference"))
            reference = argv[i + 1];
        else if (!strcmp(argv[i], "--seed"))
            seed = strtoull(argv[i + 1], NULL, 10);
        else
            break;
    const bool inventory = i + 2 == argc && !strcmp(argv[i], "inventory");
    const struct style *const s = i + 2 != argc ? NULL : find_style(inventory ? "v3" : argv[i]);
    if (!s || (inventory && reference)) {
        fputs("usage: mini [--seed N] [--reference FILE] STYLE DIR\n"
              "       mini inventory DIR\n"
              "       mini matrix FILE\n"
              "       mini --list\n",
              stderr);
        return 2;
    }
    write_model(s, inventory ? &deepseek_v3 : s->model, seed, inventory, reference, argv[i + 1]);
    return 0;
}
