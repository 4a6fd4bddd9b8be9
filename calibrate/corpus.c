#include "calibrate/corpus.h"

#include "calibrate/tokenizer.h"
#include "formats/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* numpy/lib/format.py: "\x93NUMPY", version, length of the header, a Python dict. */
struct npy {
    size_t data, item, rows, cols;
    bool is_signed;
};

static int npy_header(const char *path, const uint8_t *p, size_t have, struct npy *x, struct err *e)
{
    const bool wide = have >= 12 && p[6] > 1;
    const size_t at = wide ? 12 : 10, n = have < at ? 0 : wide ? p[8] | (size_t)p[9] << 8 | (size_t)p[10] << 16 | (size_t)p[11] << 24
                                                               : p[8] | (size_t)p[9] << 8;
    if (have < at || n > have - at || n > 65536)
        return err_set(e, ERR_INPUT, "%s: the header of the .npy is cut", path);
    char *text = strndup((const char *)p + at, n);
    const char *descr = text ? strstr(text, "'descr':") : NULL, *shape = text ? strstr(text, "'shape':") : NULL;
    int bad = !text ? err_set(e, ERR_SYSTEM, "out of memory") : 0;
    *x = (struct npy){.data = at + n, .rows = 1};
    if (!bad && text && strstr(text, "'fortran_order': True"))
        bad = err_set(e, ERR_INPUT, "%s: is in Fortran's order; numpy.ascontiguousarray makes it C's", path);
    char kind = 0, order = 0;
    unsigned size = 0;
    if (!bad && (!descr || sscanf(descr, "'descr': '%c%c%u'", &order, &kind, &size) != 3 || (order != '<' && order != '|')
                 || (kind != 'i' && kind != 'u') || (size != 2 && size != 4 && size != 8)))
        bad = err_set(e, ERR_INPUT, "%s: holds no integers of 16, 32 or 64 bits, which token ids are", path);
    unsigned long long a = 0, c = 0;
    const int dims = !bad && shape ? sscanf(shape, "'shape': (%llu, %llu", &a, &c) : 0;
    if (!bad && (dims < 1 || a > have || c > have))
        bad = err_set(e, ERR_INPUT, "%s: has a shape that is neither [ids] nor [sequences, ids]", path);
    if (!bad) {
        x->item = size;
        x->is_signed = kind == 'i';
        x->rows = dims == 2 ? a : 1;
        x->cols = dims == 2 ? c : a;
        if (x->rows * x->cols * size != have - x->data)
            bad = err_set(e, ERR_INPUT, "%s: has %zu bytes of ids, and its header says %llu", path, have - x->data,
                          (unsigned long long)(x->rows * x->cols * size));
    }
    free(text);
    return bad;
}

static int take_id(const char *path, uint64_t v, size_t i, uint32_t *id, struct err *e)
{
    if (v > UINT32_MAX)
        return err_set(e, ERR_INPUT, "%s: id %zu is %lld, which is no token", path, i, (long long)v);
    *id = (uint32_t)v;
    return 0;
}

int corpus_read(struct corpus *c, const char *path, struct err *e)
{
    size_t n;
    struct npy x = {.item = 4};
    *c = (struct corpus){0};
    char *b = io_read_file(path, (size_t)1 << 36, &n, e);
    int r = b ? 0 : -1;
    const bool is_npy = b && n > 6 && !memcmp(b, "\x93NUMPY", 6);
    if (!r && is_npy)
        r = npy_header(path, (const uint8_t *)b, n, &x, e);
    else if (!r) {
        x.cols = n / 4;
        x.rows = 1;
        r = n % 4 ? err_set(e, ERR_INPUT, "%s: has %zu bytes, which are no ids of 4", path, n) : 0;
    }
    c->tokens = r ? 0 : x.rows * x.cols;
    c->length = x.rows > 1 ? x.cols : 0;
    if (!r && !c->tokens)
        r = err_set(e, ERR_INPUT, "%s: has no ids", path);
    c->id = r ? NULL : mem_alloc(c->tokens, sizeof *c->id, e);
    r = c->id ? 0 : -1;
    for (size_t i = 0; !r && i < c->tokens; i++) {
        uint64_t v = 0;
        memcpy(&v, b + x.data + i * x.item, x.item);
        if (x.is_signed && x.item < 8 && v >> (8 * x.item - 1))
            v |= ~(uint64_t)0 << (8 * x.item);
        r = take_id(path, v, i, &c->id[i], e);
    }
    free(b);
    if (r)
        corpus_free(c);
    return r;
}

int corpus_text(struct corpus *c, const char *path, const char *tokenizer, struct err *e)
{
    struct tokenizer *t;
    size_t n;
    *c = (struct corpus){0};
    if (tokenizer_open(&t, tokenizer, e))
        return -1;
    char *text = io_read_file(path, (size_t)1 << 32, &n, e);
    int r = text ? tokenizer_encode(t, text, n, &c->id, &c->tokens, e) : -1;
    if (text && r)
        r = err_prefix(e, "%s", path);
    if (!r && !c->tokens)
        r = err_set(e, ERR_INPUT, "%s: has no text", path);
    c->bos = tokenizer_bos(t);
    c->begins = c->bos != UINT32_MAX;
    free(text);
    tokenizer_close(t);
    if (r)
        corpus_free(c);
    return r;
}

int corpus_of_model(struct corpus *c, const char *text, const char *tokenizer, const struct model *m, uint64_t vocab, struct err *e)
{
    char json[4096];
    const bool beside = m->dir && snprintf(json, sizeof json, "%s/tokenizer.json", m->dir) < (int)sizeof json && io_exists(json);
    if (!tokenizer && m->container != CONTAINER_GGUF && !beside && vocab == 256)
        tokenizer = "bytes";
    return corpus_text(c, text, tokenizer ? tokenizer : m->path, e);
}

int corpus_cut(struct corpus *c, size_t length, size_t limit, size_t every, struct err *e)
{
    const size_t extra = c->begins, full = length ? length : c->length ? c->length : 512, want = full > extra + 1 ? full - extra : 1;
    const size_t tokens = limit && limit < c->tokens ? limit : c->tokens, n = ceil_div(tokens, want);
    uint32_t *id = mem_alloc(tokens + n + 1, sizeof *id, e);
    c->start = id ? mem_alloc(n + 1, sizeof *c->start, e) : NULL;
    c->set = c->start ? mem_alloc(n + 1, 1, e) : NULL;
    if (!c->set) {
        free(id);
        return -1;
    }
    c->n = 0;
    size_t at = 0, in[2] = {0};
    for (unsigned set = 0; set < 2; set++)
        for (size_t i = 0; i < n; i++) {
            if ((every && i % every == every - 1) != set)
                continue;
            const size_t k = i + 1 < n ? want : tokens - i * want;
            id[at] = c->bos;
            memcpy(id + at + extra, c->id + i * want, k * sizeof *id);
            c->set[c->n++] = (uint8_t)set;
            c->start[c->n] = at += k + extra;
            in[set]++;
        }
    free(c->id);
    c->id = id;
    c->tokens = at;
    if (every && (!in[0] || !in[1]))
        return err_set(e, ERR_INPUT, "%zu tokens make %zu sequences of %zu, and one of every %zu is to be held out: shorter ones, or more text",
                       tokens, n, want, every);
    return 0;
}

struct sequences corpus_sequences(const struct corpus *c) { return (struct sequences){c->id, c->start, c->set, c->n}; }

void corpus_free(struct corpus *c)
{
    free(c->id);
    free(c->start);
    free(c->set);
    *c = (struct corpus){0};
}
