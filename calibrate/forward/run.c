/* Sequences through the layers: hidden states, batches, what taps see, logits. */
#include "calibrate/forward/parts.h"

#include "calibrate/linalg.h"
#include "formats/io.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- hidden states ------------------------------------------------------------------- */
int hidden_open(struct hidden *h, uint64_t tokens, uint64_t width, bool spill, struct err *e)
{
    *h = (struct hidden){.tokens = tokens, .width = width, .fd = -1};
    if (!spill)
        return (h->p = mem_alloc(tokens, width * sizeof *h->p, e)) ? 0 : -1;
    const char *dir = getenv("TMPDIR");
    char path[4096];
    if (snprintf(path, sizeof path, "%s/octavo-hidden-XXXXXX", dir && *dir ? dir : "/tmp") >= (int)sizeof path)
        return err_set(e, ERR_USAGE, "TMPDIR is too long");
    h->fd = mkostemp(path, O_CLOEXEC);
    if (h->fd < 0)
        return err_sys(e, "%s: cannot make a temporary file", path);
    unlink(path);
    return 0;
}

void hidden_free(struct hidden *h)
{
    free(h->p);
    if (!h->p && h->fd >= 0)
        close(h->fd);
    *h = (struct hidden){.fd = -1};
}

int hidden_get(const struct hidden *h, uint64_t first, size_t rows, float *x, struct err *e)
{
    const uint64_t width = h->width * sizeof *x;
    if (!h->p)
        return io_pread(h->fd, "hidden states", first * width, x, rows * width, e);
    memcpy(x, h->p + first * h->width, rows * width);
    return 0;
}

int hidden_put(struct hidden *h, uint64_t first, size_t rows, const float *x, struct err *e)
{
    const uint64_t width = h->width * sizeof *x;
    if (!h->p)
        return io_pwrite(h->fd, "hidden states", first * width, x, rows * width, e);
    memcpy(h->p + first * h->width, x, rows * width);
    return 0;
}

/* ---- a pass ---------------------------------------------------------------------------- */
int pass_get(struct pass *p, const struct batch *b, float *x, struct err *e) { return hidden_get(p->h, b->first, b->rows, x, e); }

int pass_add(struct pass *p, const struct batch *b, float *x, const float *d, const char *what, struct err *e)
{
    const uint64_t n = p->n->hidden;
    for (size_t i = 0; i < b->rows * n; i++) {
        x[i] += d[i];
        if (!isfinite(x[i]))
            return err_set(e, ERR_INPUT, "%s: layer %llu: what %s adds to token %zu makes channel %llu of the hidden states %g",
                           p->n->w.m->path, (unsigned long long)p->layer, what, b->first + i / n, (unsigned long long)(i % n), (double)x[i]);
    }
    return hidden_put(p->h, b->first, b->rows, x, e);
}

int point_add(struct points *q, struct pass *p, uint64_t width, const char *a, const char *b, const char *c, struct err *e)
{
    const char *const name[TAP_NAMES] = {a, b, c};
    q->width[q->n] = width;
    for (int i = 0; i < TAP_NAMES && name[i]; i++)
        if (!(q->name[q->n][i] = arena_printf(&q->mem, e, "model.layers.%llu.%s", (unsigned long long)p->layer, name[i])))
            return -1;
    q->n++;
    return 0;
}

int points_begin(struct points *q, struct pass *p, struct err *e)
{
    const struct tap *t = p->o->tap;
    return t ? t->begin(t->ctx, &q->name[0][0], q->width, q->n, e) : 0;
}

int points_rows(struct points *q, struct pass *p, size_t point, float *x, size_t rows, unsigned set, struct err *e)
{
    const struct tap *t = p->o->tap;
    if (t && t->rows(t->ctx, point, x, rows, q->width[point], set, e))
        return -1;
    if (p->o->inputs)
        p->o->inputs(x, rows, q->width[point]);
    return 0;
}

int points_show(struct points *q, struct pass *p, size_t point, const float *x, size_t rows, unsigned set, struct err *e)
{
    const struct tap *t = p->o->tap;
    return t ? t->rows(t->ctx, point, x, rows, q->width[point], set, e) : 0;
}

int points_end(struct points *q, struct pass *p, int failed, struct err *e)
{
    const struct tap *t = p->o->tap;
    const int r = failed || (t && t->end(t->ctx, e)) ? -1 : 0;
    arena_free(&q->mem);
    return r;
}

static void layer_name(const struct pass *p, const char *name, const char *suffix, char full[256])
{
    snprintf(full, 256, "model.layers.%llu.%s%s", (unsigned long long)p->layer, name, suffix);
}

static bool layer_has(struct pass *p, const char *name, const char *suffix, char full[256])
{
    layer_name(p, name, suffix, full);
    uint64_t rows, cols;
    return weights_shape(&p->n->w, full, &rows, &cols);
}

float *layer_weight(struct pass *p, const char *name, const char *suffix, uint64_t rows, uint64_t cols, struct err *e)
{
    char full[256];
    layer_name(p, name, suffix, full);
    if (p->list)
        return weight_check(&p->n->w, full, rows, cols, e) ? NULL : mem_alloc(1, sizeof(float), e);
    return weight_whole(&p->n->w, full, rows, cols, e);
}

int layer_optional(struct pass *p, const char *name, const char *suffix, uint64_t rows, uint64_t cols, float **w, struct err *e)
{
    char full[256];
    *w = NULL;
    return !layer_has(p, name, suffix, full) || (*w = layer_weight(p, name, suffix, rows, cols, e)) ? 0 : -1;
}

/* ---- running ------------------------------------------------------------------------------ */

/* Whole sequences of one set, until there are enough tokens. */
static int make_batches(struct pass *p, struct err *e)
{
    const struct sequences *s = p->s;
    const size_t want = p->o->batch ? p->o->batch : 1024;
    p->batch = mem_alloc(s->n + 1, sizeof *p->batch, e);
    if (!p->batch)
        return -1;
    for (size_t i = 0; i < s->n; i++) {
        const size_t rows = s->start[i + 1] - s->start[i];
        const unsigned set = s->set ? s->set[i] : 0;
        struct batch *b = p->batches ? &p->batch[p->batches - 1] : NULL;
        if (!b || b->set != set || b->rows + rows > want) {
            b = &p->batch[p->batches++];
            *b = (struct batch){.first = s->start[i], .seq = i, .set = set};
        }
        b->rows += rows;
        b->nseq++;
        p->most = max_u64(p->most, b->rows);
    }
    return 0;
}

/* Rows of the embedding. */
static int embed(struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    struct layer_matrix w;
    float *x = mem_alloc(p->most, n->hidden * sizeof *x, e);
    if (!x)
        return -1;
    if (weight_open(&n->w, "model.embed_tokens.weight", n->vocab, n->hidden, &w, e)) {
        free(x);
        return -1;
    }
    int r = 0;
    for (size_t i = 0; !r && i < p->batches; i++) {
        const struct batch *b = &p->batch[i];
        for (size_t k = 0; !r && k < b->rows; k++) {
            const uint32_t id = p->s->id[b->first + k];
            r = id < n->vocab ? weight_rows(&w, id, 1, x + k * n->hidden, e)
              : err_set(e, ERR_INPUT, "token %zu is %u, and the vocabulary of %s has %llu", b->first + k, id, n->w.m->path,
                        (unsigned long long)n->vocab);
        }
        r = r ? r : hidden_put(p->h, b->first, b->rows, x, e);
    }
    weight_close(&w);
    free(x);
    return r;
}

static int one_layer(struct pass *p, struct err *e)
{
    return (p->n->mla.kv_rank ? mla_run(p, e) : attention_run(p, e)) || (moe_layer(p->n, p->layer) ? moe_run(p, e) : mlp_run(p, e)) ? -1 : 0;
}

int net_list(struct net *n, const struct tap *t, uint64_t layer, struct err *e)
{
    const struct net_options o = {.tap = t};
    struct pass p = {.n = n, .o = &o, .layer = layer, .list = true};
    return one_layer(&p, e);
}

int net_embed(struct net *n, const struct sequences *s, const struct net_options *o, struct hidden *h, struct err *e)
{
    struct pass p = {.n = n, .o = o, .s = s, .h = h};
    const uint64_t tokens = s->n ? s->start[s->n] : 0;
    *h = (struct hidden){.fd = -1};
    if (!tokens)
        return err_set(e, ERR_INPUT, "there are no tokens");
    const int r = make_batches(&p, e) || hidden_open(h, tokens, n->hidden, o->spill, e) || embed(&p, e) ? -1 : 0;
    free(p.batch);
    if (r)
        hidden_free(h);
    return r;
}

int net_layer(struct net *n, const struct sequences *s, const struct net_options *o, struct hidden *h, uint64_t layer, struct err *e)
{
    struct pass p = {.n = n, .o = o, .s = s, .h = h, .layer = layer};
    const int r = make_batches(&p, e) || one_layer(&p, e) ? -1 : 0;
    free(p.batch);
    return r;
}

int net_run(struct net *n, const struct sequences *s, const struct net_options *o, struct hidden *h, struct err *e)
{
    int r = net_embed(n, s, o, h, e);
    if (r)
        return -1;
    for (uint64_t i = 0; !r && i < n->layers; i++)
        r = net_layer(n, s, o, h, i, e);
    if (r)
        hidden_free(h);
    return r;
}

/* ---- logits --------------------------------------------------------------------------------- */
enum { BAND_BYTES = 64 << 20 };

int net_logits(struct net *n, const struct hidden *h, uint64_t first, size_t rows, float *logits, struct err *e)
{
    const char *head = n->tied ? "model.embed_tokens.weight" : "lm_head.weight";
    const size_t band = (size_t)min_u64(max_u64(BAND_BYTES / (n->hidden * sizeof(float)), 1), n->vocab);
    struct layer_matrix w;
    float *norm = weight_whole(&n->w, "model.norm.weight", 1, n->hidden, e);
    float *x = norm ? mem_alloc(rows, n->hidden * sizeof *x, e) : NULL, *part = x ? mem_alloc(band, n->hidden * sizeof *part, e) : NULL;
    int r = part ? hidden_get(h, first, rows, x, e) : -1;
    if (!r && !(r = weight_open(&n->w, head, n->vocab, n->hidden, &w, e))) {
        rms_norm(x, n->hidden, rows, n->hidden, norm, n->eps, x, n->hidden);
        for (uint64_t v = 0; !r && v < n->vocab; v += band) {
            const uint64_t k = min_u64(band, n->vocab - v);
            if (!(r = weight_rows(&w, v, k, part, e)))
                la_linear(n->w.threads, rows, n->hidden, k, x, n->hidden, part, logits + v, n->vocab);
        }
        weight_close(&w);
    }
    free(part);
    free(x);
    free(norm);
    return r;
}
