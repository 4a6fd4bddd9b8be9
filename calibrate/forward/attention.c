/* Grouped-query attention, with biases and norms of queries and keys where the model has them (Llama, Mistral, Qwen). */
#include "calibrate/forward/parts.h"

#include "calibrate/linalg.h"

#include <stdlib.h>

struct weights_of {
    float *norm, *q, *k, *v, *o, *qb, *kb, *vb, *ob, *qn, *kn;
};

static int open_weights(struct weights_of *w, struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    const uint64_t nq = n->heads * n->head, nk = n->kv_heads * n->head;
    return !(w->norm = layer_weight(p, "input_layernorm", ".weight", 1, n->hidden, e))
        || !(w->q = layer_weight(p, "self_attn.q_proj", ".weight", nq, n->hidden, e))
        || !(w->k = layer_weight(p, "self_attn.k_proj", ".weight", nk, n->hidden, e))
        || !(w->v = layer_weight(p, "self_attn.v_proj", ".weight", nk, n->hidden, e))
        || !(w->o = layer_weight(p, "self_attn.o_proj", ".weight", n->hidden, nq, e))
        || layer_optional(p, "self_attn.q_proj", ".bias", 1, nq, &w->qb, e)
        || layer_optional(p, "self_attn.k_proj", ".bias", 1, nk, &w->kb, e)
        || layer_optional(p, "self_attn.v_proj", ".bias", 1, nk, &w->vb, e)
        || layer_optional(p, "self_attn.o_proj", ".bias", 1, n->hidden, &w->ob, e)
        || layer_optional(p, "self_attn.q_norm", ".weight", 1, n->head, &w->qn, e)
        || layer_optional(p, "self_attn.k_norm", ".weight", 1, n->head, &w->kn, e) ? -1 : 0;
}

static void close_weights(struct weights_of *w)
{
    float *const all[] = {w->norm, w->q, w->k, w->v, w->o, w->qb, w->kb, w->vb, w->ob, w->qn, w->kn};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* x and y have room for a batch: rows of the hidden size, and of queries, keys, values and results. */
static int one_batch(struct pass *p, const struct batch *b, const struct weights_of *w, struct points *at, float *x, float *y, struct err *e)
{
    const struct net *n = p->n;
    const unsigned threads = n->w.threads;
    const uint64_t nq = n->heads * n->head, nk = n->kv_heads * n->head;
    float *q = y + b->rows * n->hidden, *k = q + b->rows * nq, *v = k + b->rows * nk, *o = v + b->rows * nk;
    if (pass_get(p, b, x, e))
        return -1;
    rms_norm(x, n->hidden, b->rows, n->hidden, w->norm, n->eps, y, n->hidden);
    if (points_rows(at, p, 0, y, b->rows, b->set, e))
        return -1;
    la_linear(threads, b->rows, n->hidden, nq, y, n->hidden, w->q, q, nq);
    la_linear(threads, b->rows, n->hidden, nk, y, n->hidden, w->k, k, nk);
    la_linear(threads, b->rows, n->hidden, nk, y, n->hidden, w->v, v, nk);
    add_bias(q, b->rows, nq, w->qb);
    add_bias(k, b->rows, nk, w->kb);
    add_bias(v, b->rows, nk, w->vb);
    if (w->qn)
        rms_norm(q, n->head, b->rows * n->heads, n->head, w->qn, n->eps, q, n->head);
    if (w->kn)
        rms_norm(k, n->head, b->rows * n->kv_heads, n->head, w->kn, n->eps, k, n->head);
    for (size_t s = b->seq; s < b->seq + b->nseq; s++) {
        const size_t at_row = p->s->start[s] - b->first, rows = p->s->start[s + 1] - p->s->start[s];
        rope_apply(&n->rope, q + at_row * nq, rows, nq, n->heads, n->head);
        rope_apply(&n->rope, k + at_row * nk, rows, nk, n->kv_heads, n->head);
        const struct attend a = {q + at_row * nq, k + at_row * nk, v + at_row * nk, o + at_row * nq, rows, nq, nk, nk, nq, n->heads,
                                 n->kv_heads, n->head, n->head, p->layer >= n->window_from ? n->window : 0, n->softmax};
        if (attend(threads, &a, e))
            return -1;
    }
    if (points_rows(at, p, 1, o, b->rows, b->set, e) || points_show(at, p, 2, k, b->rows, b->set, e) || points_show(at, p, 3, v, b->rows, b->set, e))
        return -1;
    la_linear(threads, b->rows, nq, n->hidden, o, nq, w->o, y, n->hidden);
    add_bias(y, b->rows, n->hidden, w->ob);
    return pass_add(p, b, x, y, "self_attn", e);
}

int attention_run(struct pass *p, struct err *e)
{
    const struct net *n = p->n;
    const uint64_t nq = n->heads * n->head, nk = n->kv_heads * n->head;
    struct weights_of w = {0};
    struct points at = {0};
    float *x = NULL;
    int r = point_add(&at, p, n->hidden, "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", e)
         || point_add(&at, p, nq, "self_attn.o_proj", NULL, NULL, e) || point_add(&at, p, nk, "self_attn.k_cache", NULL, NULL, e)
         || point_add(&at, p, nk, "self_attn.v_cache", NULL, NULL, e) || points_begin(&at, p, e)
         || open_weights(&w, p, e)
         || (!p->list && !(x = mem_alloc(p->most, (2 * n->hidden + 2 * nq + 2 * nk) * sizeof *x, e))) ? -1 : 0;
    for (size_t i = 0; !r && i < p->batches; i++)
        r = one_batch(p, &p->batch[i], &w, &at, x, x + p->most * n->hidden, e);
    r = points_end(&at, p, r, e);
    close_weights(&w);
    free(x);
    return r;
}
