/* The whole model from the parts that ranks have of it. */
#include "quantizers/encode.h"
#include "quantizers/plan_parts.h"

#include "formats/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int join_box(const struct op *op, struct active *a, unsigned pass, uint64_t index, const struct box *b,
                    const uint8_t *in, size_t stride, struct work *w, struct err *e)
{
    (void)a, (void)pass, (void)index;
    struct box at = *b;
    at.batch += op->at[0];
    at.row += op->at[1];
    at.col += op->at[2];
    w->result[0] = (struct result){in, stride, at};
    w->n.elems = b->rows * b->cols;
    if (op->coded.packing == PACK_PLAIN)
        return 0;
    uint8_t *code = scratch_get(&w->row, b->rows * b->cols, e);
    uint8_t *out = code ? scratch_get(&w->out[0], b->rows / 2 * b->cols, e) : NULL;
    if (!out)
        return -1;
    for (size_t r = 0; r < b->rows; r++)
        values_codes(&op->view, in + r * stride, b->cols, code + r * b->cols);
    encode_pack_rows(&op->coded, code, b->cols, b->rows, b->cols, out);
    w->result[0] = (struct result){out, b->cols, encode_packed_box(&op->coded, &at, 1)};
    return 0;
}

static const struct xform xform_join = {.name = "join", .streams = true, .box = join_box};

/* ---- ranks ---------------------------------------------------------------------------- */
struct parallel {
    unsigned tp, ep, ranks, rank;
};

static int read_parallel(const struct model *m, struct parallel *p, struct err *e)
{
    const char *text = model_meta(m, "octavo.parallel");
    if (!text || sscanf(text, "%u %u %u %u", &p->tp, &p->ep, &p->ranks, &p->rank) != 4)
        return err_set(e, ERR_INPUT, "%s is no rank's part of a model (octavo pack --tp makes those)", m->path);
    return 0;
}

/* Of the same run: but for the rank they say the same. */
static int check_ranks(const struct model *m, size_t n, struct err *e)
{
    static const char *const same[] = {"octavo.target", "octavo.form", "octavo.config", "octavo.convention"};
    struct parallel first, p;
    bool seen[4096] = {false};
    if (read_parallel(&m[0], &first, e))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (read_parallel(&m[i], &p, e))
            return -1;
        if (p.tp != first.tp || p.ep != first.ep || p.ranks != first.ranks)
            return err_set(e, ERR_INPUT, "%s is a part for --tp %u --ep %u, %s for --tp %u --ep %u", m[i].path, p.tp, p.ep,
                           m[0].path, first.tp, first.ep);
        for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
            const char *a = model_meta(&m[0], same[k]), *b = model_meta(&m[i], same[k]);
            if ((a == NULL) != (b == NULL) || (a && strcmp(a, b)))
                return err_set(e, ERR_INPUT, "%s and %s are not parts of one model: %s differs", m[0].path, m[i].path,
                               same[k] + strlen("octavo."));
        }
        if (p.rank >= p.ranks || p.rank >= 4096 || seen[p.rank])
            return err_set(e, ERR_INPUT, "%s: rank %u is there twice", m[i].path, p.rank);
        seen[p.rank] = true;
    }
    for (unsigned i = 0; i < first.ranks; i++)
        if (!seen[i])
            return err_set(e, ERR_INPUT, "rank %u of %u is missing", i, first.ranks);
    return 0;
}

/* ---- tensors ---------------------------------------------------------------------------- */
struct join {
    struct plan *p;
    struct model *rank;
    size_t n;
    uint8_t (*const *digest)[32];
    bool **done;
    struct err *e;
};

static int differ(struct join *j, size_t a, size_t b, const char *name, const char *what)
{
    return err_set(j->e, ERR_INPUT, "tensor '%s' of %s and of %s %s", name, j->rank[a].path, j->rank[b].path, what);
}

static bool same_place(const struct tensor *a, const struct tensor *b)
{
    return !memcmp(a->slice->start, b->slice->start, a->rank * sizeof *a->dim);
}

/* Tensor b of rank rb belongs to tensor a of rank ra; *again: it is the same part. */
static int fits(struct join *j, size_t ra, size_t ia, size_t rb, size_t ib, bool *again)
{
    const struct tensor *a = &j->rank[ra].t[ia], *b = &j->rank[rb].t[ib];
    if (a->dtype != b->dtype || a->rank != b->rank || memcmp(a->dim, b->dim, a->rank * sizeof *a->dim)
        || (a->slice == NULL) != (b->slice == NULL)
        || (a->slice && memcmp(a->slice->whole, b->slice->whole, a->rank * sizeof *a->dim)))
        return differ(j, ra, rb, a->name, "are no parts of the same: types or shapes differ");
    *again = !a->slice || same_place(a, b);
    if (*again && j->digest && memcmp(j->digest[ra][ia], j->digest[rb][ib], 32))
        return differ(j, ra, rb, a->name, "should be the same and are not");
    return 0;
}

static int add_part(struct join *j, size_t r, size_t i, size_t out, bool first)
{
    struct plan *p = j->p;
    const struct tensor *t = &j->rank[r].t[i];
    struct op *op = plan_op(p, &xform_join, &j->rank[r], 0, j->e);
    struct out_tensor o = out_same(t, PART_PLAIN);
    if (!op)
        return -1;
    if (t->slice)
        memcpy(o.dim, t->slice->whole, t->rank * sizeof *o.dim);
    op_input(op, i);
    op->m = tensor_matrix(t);
    if (t->dtype == DT_I4) { /* as a checkpoint has it: two rows in a byte */
        op->coded = (struct view){.elem = DT_I4, .packing = PACK_ROWS, .rank = o.rank};
        memcpy(op->coded.dim, o.dim, sizeof o.dim);
        o.dtype = DT_I8;
        o.dim[0] /= 2;
    }
    if (first && !plan_output(p, &o, j->e))
        return -1;
    op->joins = !first;
    op->out[0] = out;
    if (t->slice && t->rank > 3)
        return err_set(j->e, ERR_INPUT, "%s: tensor '%s' has rank %u, and parts of up to 3 are joined", j->rank[r].path, t->name,
                       t->rank);
    for (unsigned k = 0; t->slice && k < t->rank; k++)
        op->at[k + 3 - t->rank] = t->slice->start[k];
    const struct stored *from = grain_of(t);
    struct grain g = {t->dtype == DT_I4 ? 2 : 1, dtype_table[t->dtype].block_elems, op->view, from, NULL, false};
    const unsigned ratio = from ? stored_ratio(from, t->dtype) : 1;
    if (ratio > 1) {
        g.rows = lcm_u64(g.rows, from->layout.tile[0]);
        g.cols = lcm_u64(from->layout.tile[1], ratio) / ratio;
        g.from = NULL;
    }
    return op_cut(op, &g, j->e);
}

/* The parts of the tensor that rank r has as number i cover it once. */
static int join_tensor(struct join *j, size_t r, size_t i)
{
    const struct tensor *t = &j->rank[r].t[i];
    const size_t out = j->p->nout;
    uint64_t parts = 1, need = 1;
    size_t have[2][64] = {{r}, {i}};
    if (add_part(j, r, i, out, true))
        return -1;
    for (unsigned k = 0; t->slice && k < t->rank; k++) {
        if (!t->dim[k] || t->slice->whole[k] % t->dim[k] || t->slice->start[k] % t->dim[k])
            return err_set(j->e, ERR_INPUT, "%s: tensor '%s': its part is none of equal ones", j->rank[r].path, t->name);
        need *= t->slice->whole[k] / t->dim[k];
    }
    for (size_t q = r + 1; q < j->n; q++) {
        size_t k;
        bool again = false;
        if (!map_find(&j->rank[q].by_name, t->name, &k))
            continue;
        j->done[q][k] = true;
        for (uint64_t x = 0; x < parts && x < 64 && !again; x++)
            if (fits(j, have[0][x], have[1][x], q, k, &again))
                return -1;
        if (again)
            continue;
        if (parts < 64) {
            have[0][parts] = q;
            have[1][parts] = k;
        }
        parts++;
        if (add_part(j, q, k, out, false))
            return -1;
    }
    if (parts != need)
        return err_set(j->e, ERR_INPUT, "tensor '%s' has %llu parts, and %llu make the whole", t->name,
                       (unsigned long long)parts, (unsigned long long)need);
    return 0;
}

int plan_join(struct plan *p, struct model *rank, size_t n, uint8_t (*const *digest)[32], struct err *e)
{
    *p = (struct plan){.src = rank};
    struct join j = {p, rank, n, digest, arena_array(&p->mem, n, sizeof *j.done, e), e};
    int r = !j.done || check_ranks(rank, n, e) || grouping_named(rank, false, &p->group, e) ? -1 : 0;
    for (size_t i = 0; !r && i < n; i++)
        r = (j.done[i] = arena_array(&p->mem, rank[i].n + 1, sizeof **j.done, e)) ? 0 : -1;
    for (size_t q = 0; !r && q < n; q++)
        for (size_t i = 0; !r && i < rank[q].n; i++)
            if (!j.done[q][i])
                r = join_tensor(&j, q, i);
    size_t *out = r ? NULL : arena_array(&p->mem, p->nout + 1, sizeof *out, e);
    p->ledger = out ? arena_array(&p->mem, p->nout + 1, sizeof *p->ledger, e) : NULL;
    for (size_t i = 0; p->ledger && i < p->nout; i++) {
        out[i] = i;
        p->ledger[p->nledger++] = (struct entry){.name = p->out[i].t.name, .fate = FATE_MAPPED, .out = &out[i], .nout = 1};
        p->fates[FATE_MAPPED]++;
    }
    for (size_t i = 0; !r && i < p->nops; i++) {
        const struct op *op = &p->op[i];
        p->bytes_in += op->src->t[op->in[0]].size;
        p->box_bytes = max_u64(p->box_bytes, 2 * op->box_rows * view_row_bytes(&op->view, op->box_cols));
    }
    for (size_t i = 0; !r && i < p->nout; i++)
        p->bytes_out += p->out[i].t.size;
    if (!r && p->ledger)
        return 0;
    plan_free(p);
    return -1;
}
