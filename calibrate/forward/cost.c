/* What a run needs, from config.json alone. */
#include "calibrate/forward/parts.h"

static double attention_weights(const struct net *n)
{
    const struct mla *m = &n->mla;
    const double h = (double)n->hidden, heads = (double)n->heads, head = (double)n->head;
    if (!m->kv_rank)
        return h * head * (2 * heads + 2 * (double)n->kv_heads);
    const double q = m->q_rank ? (double)m->q_rank * (h + heads * head) : h * heads * head;
    return q + h * (double)(m->kv_rank + m->rope) + (double)m->kv_rank * heads * (double)(m->nope + m->v) + heads * (double)m->v * h;
}

void net_cost(const struct net *n, const struct sequences *s, const struct net_options *o, struct net_cost *c)
{
    const struct moe *m = &n->moe;
    const double tokens = s->n ? (double)s->start[s->n] : 0, mlp = 3 * (double)n->hidden * (double)n->ffn;
    const double expert = 3 * (double)n->hidden * (double)m->ffn, shared = 3 * (double)n->hidden * (double)m->shared;
    const double attention = attention_weights(n);
    size_t batch = o->batch ? o->batch : 1024;
    double scores = 0, held = attention;
    for (size_t i = 0; i < s->n; i++) {
        const size_t rows = s->start[i + 1] - s->start[i];
        batch = rows > batch ? rows : batch;
        scores += (double)rows * (double)rows;
    }
    *c = (struct net_cost){0};
    for (uint64_t i = 0; i < n->layers; i++) {
        const bool routed = moe_layer(n, i);
        c->flop += 2 * tokens * (attention + (routed ? (double)m->top * expert + shared : mlp))
                 + 2 * scores * (double)n->heads * (double)(n->head + (n->mla.kv_rank ? n->mla.v : n->head));
        const double part = routed ? shared > expert ? shared : expert : mlp;
        held = part > held ? part : held;
    }
    const uint64_t heads = n->heads * n->head + n->kv_heads * n->head;
    const uint64_t wide = max_u64(max_u64(n->ffn, m->ffn) * 2, 2 * heads + (n->mla.kv_rank ? 4 * heads : 0)) + 3 * n->hidden;
    const bool moe = m->experts > 0;
    c->weights = (uint64_t)(held * 4);
    c->hidden = o->spill ? 0 : (uint64_t)tokens * ((moe ? 2 : 1) * n->hidden * 4 + (moe ? m->top * 16 : 0));
    c->batch = batch * wide * 4 + (uint64_t)n->w.threads * 256 * batch * 4;
}
