/* How a tensor is cut into boxes: whole block rows, a few MiB, few pieces. */
#include "quantizers/plan.h"
#include "quantizers/strided.h"

/* 128 rows of the widest common matrix, 18432 columns of BF16, are one contiguous
 * read; with the codes that come out a worker stays below 8 MiB. */
enum { BOX_BYTES = 9 << 19, BOX_GOOD = 2 << 20 };

/* Boxes start at multiples of the grain and of the layouts' tiles. */
static void alignment(const struct op *op, const struct grain *g, uint64_t *rows, uint64_t *cols)
{
    *rows = g->rows ? g->rows : max_u64(op->m.rows, 1);
    *cols = g->cols ? lcm_u64(g->cols, view_step(&g->in)) : max_u64(op->m.cols, 1);
    const struct stored *s[2] = {g->from, g->to};
    for (int i = 0; i < 2; i++)
        if (s[i]) {
            *rows = lcm_u64(*rows, s[i]->layout.tile[0]);
            *cols = g->cols ? lcm_u64(*cols, s[i]->layout.tile[1]) : *cols;
        }
}

static uint64_t clamp_down(uint64_t x, uint64_t align, uint64_t extent)
{
    x = x / align * align;
    return x < align ? min_u64(align, extent) : min_u64(x, extent);
}

/* Its columns are what is read at once. */
static bool is_tall(const struct op *op)
{
    return op->nin && op->x->streams && !op->flat && strided_run(&op->src->t[op->in[0]]) == RUN_COLUMNS;
}

static double cost(const struct op *op, const struct grain *g, uint64_t rows, uint64_t cols)
{
    struct box b = {0, 0, rows, 0, cols};
    double pieces = 0;
    if (op->x->streams)
        pieces += (double)(is_tall(op) ? cols : box_pieces(g->from, &op->m, &b));
    pieces += (double)box_pieces(g->to, &op->m, &b);
    /* A piece costs about as much as moving 4 KiB. */
    double bytes = (double)rows * (double)view_row_bytes(&g->in, cols);
    return pieces * 4096 / (bytes ? bytes : 1);
}

int op_cut(struct op *op, const struct grain *g, struct err *e)
{
    struct matrix *m = &op->m;
    uint64_t ra, ca, cells;
    alignment(op, g, &ra, &ca);
    op->passes = op->passes ? op->passes : 1;
    if (!m->batch || !m->rows || !m->cols) {
        op->box_rows = op->box_cols = 1;
        op->boxes = 0;
        return 0;
    }
    uint64_t width = max_u64(view_row_bytes(&g->in, m->cols), 1), stripe = width * min_u64(ra, m->rows);
    op->box_cols = m->cols;
    op->box_rows = stripe > BOX_GOOD ? min_u64(ra, m->rows) : clamp_down(BOX_GOOD / width, ra, m->rows);
    if (op->flat) /* one row; short pieces, since a file that is written keeps others waiting */
        op->box_cols = min_u64(m->cols, BOX_GOOD / 2);
    else if (stripe > BOX_BYTES && (!g->stream || m->rows == 1) && g->cols)
        op->box_cols = clamp_down(m->cols * (BOX_BYTES / 1024) / (stripe / 1024), ca, m->cols);
    if ((g->from || g->to || is_tall(op)) && !g->stream && g->cols) {
        /* Layouts and strides that put rows next to each other want tall boxes. */
        uint64_t best_r = op->box_rows, best_c = op->box_cols;
        double least = cost(op, g, best_r, best_c);
        uint64_t elems = BOX_BYTES * m->cols / width;
        for (uint64_t c = ca; c < m->cols; c *= 2) {
            uint64_t cols = clamp_down(c, ca, m->cols), rows = clamp_down(elems / cols, ra, m->rows);
            if (rows * view_row_bytes(&g->in, cols) > BOX_BYTES)
                continue;
            double x = cost(op, g, rows, cols);
            if (x < least) {
                least = x;
                best_r = rows;
                best_c = cols;
            }
        }
        op->box_rows = best_r;
        op->box_cols = best_c;
    }
    if (!mul_u64(ceil_div(m->rows, op->box_rows) * ceil_div(m->cols, op->box_cols), m->batch, &cells))
        return err_set(e, ERR_INPUT, "a tensor is too large to be cut into boxes");
    op->boxes = cells;
    return 0;
}

struct box op_box(const struct op *op, uint64_t i)
{
    uint64_t nc = ceil_div(op->m.cols, op->box_cols), nr = ceil_div(op->m.rows, op->box_rows);
    struct box b = {.batch = i / nc / nr, .row = i / nc % nr * op->box_rows, .col = i % nc * op->box_cols};
    b.rows = min_u64(op->box_rows, op->m.rows - b.row);
    b.cols = min_u64(op->box_cols, op->m.cols - b.col);
    return b;
}

bool op_streams(const struct op *op)
{
    return op->x->streams && op->passes == 1 && !op->src->t[op->in[0]].stored && !op->view.inputs_first
        && op_last(op, op->src) == op->in[0];
}

size_t op_last(const struct op *op, const struct model *src)
{
    if (!op->nin || op->src != src)
        return op->place;
    size_t last = op->in[0];
    for (unsigned i = 0; i < op->nin; i++)
        last = op->in[i] > last ? op->in[i] : last;
    return last;
}
