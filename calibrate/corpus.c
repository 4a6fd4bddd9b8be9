#include "calibrate/corpus.h"

#include "calibrate/npy.h"
#include "calibrate/tokenizer.h"
#include "formats/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    struct npy x = {.item = 4, .kind = 'u', .rank = 1};
    *c = (struct corpus){0};
    char *b = io_read_file(path, (size_t)1 << 36, &n, e);
    int r = b ? 0 : -1;
    if (b && npy_is((const uint8_t *)b, n)) {
        r = npy_header(&x, path, (const uint8_t *)b, n, n, e);
        if (!r && ((x.kind != 'i' && x.kind != 'u') || x.item < 2 || x.rank > 2))
            r = err_set(e, ERR_INPUT, "%s: holds no integers of 16, 32 or 64 bits in a row or a table, which token ids are", path);
    } else if (b) {
        x.dim[0] = n / 4;
        r = n % 4 ? err_set(e, ERR_INPUT, "%s: has %zu bytes, which are no ids of 4", path, n) : 0;
    }
    c->tokens = r ? 0 : x.rank == 2 ? x.dim[0] * x.dim[1] : x.dim[0];
    c->length = x.rank == 2 && x.dim[0] > 1 ? x.dim[1] : 0;
    if (!r && !c->tokens)
        r = err_set(e, ERR_INPUT, "%s: has no ids", path);
    c->id = r ? NULL : mem_alloc(c->tokens, sizeof *c->id, e);
    r = c->id ? 0 : -1;
    for (size_t i = 0; !r && i < c->tokens; i++) {
        uint64_t v = 0;
        memcpy(&v, b + x.data + i * x.item, x.item);
        if (x.kind == 'i' && x.item < 8 && v >> (8 * x.item - 1))
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
