/* The formats of compressed-tensors that keep a weight apart (releases up to
 * 0.14; later ones neither write nor read them).
 *
 *     sparse-bitmask     P.compressed [n] the values that are not zero, P.bitmask U8 [N, ceil(K/8)] a bit per
 *                        column, lowest first, P.row_offsets I64 [N] where each row begins, P.shape
 *     sparse-24-bitmask  P.compressed [N, K/2], P.bitmask, P.shape: two of each four columns
 *     marlin-24          P.weight_packed I32 [K/32, N*b/2], P.scale_packed F16 [G, N], P.meta I16 [K/32, 2N]: codes of 4
 *                        or 8 bits in the order of a GPU kernel
 *
 * They become one tensor P.weight (and P.weight_scale), which is computed as it
 * is read.  A value of sparse-bitmask may be FP8 or INT8 and have a scale beside
 * it, like any other.  Releases before 0.9 kept every tensor so, under its own
 * name: P is "X.weight" or "X.bias" then. */
#include "formats/conventions/compressed.h"
#include "formats/derived.h"

#include <stdlib.h>
#include <string.h>

enum apart_kind { KIND_NONE, KIND_BITMASK, KIND_BITMASK_24, KIND_MARLIN };
enum { PIECES = 4 };
static const char *const piece_name[][PIECES] = {
    [KIND_BITMASK] = {".compressed", ".bitmask", ".shape", ".row_offsets"},
    [KIND_BITMASK_24] = {".compressed", ".bitmask", ".shape"},
    [KIND_MARLIN] = {".weight_packed", ".scale_packed", ".meta"},
};
static const char *const kind_name[] = {
    [KIND_BITMASK] = "sparse-bitmask", [KIND_BITMASK_24] = "sparse-24-bitmask", [KIND_MARLIN] = "marlin-24"};

static bool is_format(const json_t *section, const char *format)
{
    const char *name;
    json_t *group;
    if (!strcmp(config_string(section, "format"), format)
        || !strcmp(config_string(json_object_get(section, "sparsity_config"), "format"), format))
        return true;
    json_object_foreach(json_object_get(section, "config_groups"), name, group)
        if (!strcmp(config_string(group, "format"), format))
            return true;
    return false;
}

bool compressed_is_sparse(const char *format)
{
    for (int k = KIND_BITMASK; k <= KIND_MARLIN; k++)
        if (!strcmp(format, kind_name[k]))
            return true;
    return false;
}

/* A weight whose first piece is a certain tensor. */
struct apart {
    enum apart_kind kind;
    size_t of[PIECES];
    char *stem;              /* P */
};

static int find_apart(struct model *m, const json_t *section, size_t i, struct apart *a, struct err *e)
{
    const struct tensor *t = &m->t[i];
    *a = (struct apart){.of = {i, NO_TENSOR, NO_TENSOR, NO_TENSOR}};
    for (int k = KIND_BITMASK; k <= KIND_MARLIN && !a->kind; k++)
        if (ends_with(t->name, piece_name[k][0]) && is_format(section, kind_name[k]))
            a->kind = (enum apart_kind)k;
    if (!a->kind)
        return 0;
    a->stem = arena_strndup(&m->mem, t->name, strlen(t->name) - strlen(piece_name[a->kind][0]), e);
    for (int k = 1; a->stem && k < PIECES && piece_name[a->kind][k]; k++) {
        char *name = arena_printf(&m->mem, e, "%s%s", a->stem, piece_name[a->kind][k]);
        if (!name)
            return -1;
        if (!map_find(&m->by_name, name, &a->of[k]))
            return err_set(e, ERR_INPUT, "tensor '%s' is a piece of a %s weight, and '%s' is missing",
                           t->name, kind_name[a->kind], name);
    }
    for (int k = 0; k < PIECES; k++)
        if (a->of[k] != NO_TENSOR && !tensor_is_flat(&m->t[a->of[k]]))
            return err_set(e, ERR_INPUT, "tensor '%s' is a piece of a %s weight, and not contiguous",
                           m->t[a->of[k]].name, kind_name[a->kind]);
    return a->stem ? 0 : -1;
}

/* Before 0.9 P is the name of the tensor; from then on that of the module. */
static char *weight_name(struct model *m, const json_t *section, const struct apart *a, struct err *e)
{
    unsigned major, minor;
    const bool old = compressed_version(section, &major, &minor) && !major && minor < 9;
    return old || ends_with(a->stem, ".weight") || ends_with(a->stem, ".bias") ? a->stem
         : arena_printf(&m->mem, e, "%s.weight", a->stem);
}

/* The pieces, and what stands beside the weight that they are. */
int compressed_mark(struct model *m, const void *config, enum part *part, struct err *e)
{
    static const char *const beside[] = {"_scale", "_zero_point", ".input_scale", ".input_zero_point"};
    const json_t *section = config_section(config);
    struct apart a;
    for (size_t i = 0; i < m->n; i++) {
        if (find_apart(m, section, i, &a, e))
            return -1;
        for (int k = 0; a.kind && k < PIECES; k++)
            if (a.of[k] != NO_TENSOR)
                part[a.of[k]] = PART_PIECE;
        const char *name = a.kind ? weight_name(m, section, &a, e) : NULL;
        for (size_t k = 0; a.kind && k < sizeof beside / sizeof *beside; k++) {
            size_t found;
            const int r = name ? part_find(m, name, beside[k], &found, e) : -1;
            if (r < 0)
                return -1;
            if (r)
                part[found] = PART_PIECE;
        }
    }
    return 0;
}

static int bad_piece(const struct tensor *t, const char *what, struct err *e)
{
    char shape[176];
    return err_set(e, ERR_INPUT, "tensor '%s' is %s %s, %s", t->name, dtype_name(t->dtype),
                   tensor_shape(t, shape), what);
}

/* ---- bit masks ---------------------------------------------------------------- */
struct bitmask {
    struct derived d;
    struct tensor value, mask, offset;
    uint64_t rows, cols;
    size_t size;             /* of a value */
    bool two_of_four;
};

/* Where the values of rows [row, row + n] begin. */
static int row_offsets(const struct bitmask *b, struct model *m, uint64_t row, size_t n, uint64_t *first,
                       struct err *e)
{
    const uint64_t all = tensor_elems(&b->value);
    const bool to_end = row + n == b->rows;
    if (b->two_of_four) {
        for (size_t i = 0; i <= n; i++)
            first[i] = (row + i) * (b->cols / 2);
        return 0;
    }
    first[n] = all;
    if (model_read_piece(m, &b->offset, row * 8, first, (n + !to_end) * 8, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (first[i] > first[i + 1] || first[i + 1] > all || (!row && first[0]))
            return err_set(e, ERR_INPUT, "tensor '%s': row %llu has the values from %llu to %llu of %llu",
                           b->offset.name, (unsigned long long)(row + i), (unsigned long long)first[i],
                           (unsigned long long)first[i + 1], (unsigned long long)all);
    return 0;
}

static int spread_row(const struct bitmask *b, uint64_t row, const uint8_t *mask, const uint8_t *value,
                      uint64_t n, uint8_t *out, struct err *e)
{
    uint64_t k = 0;
    memset(out, 0, b->d.row_bytes);
    for (uint64_t c = 0; c < b->cols; c++)
        if (mask[c / 8] >> c % 8 & 1) {
            if (k < n)
                memcpy(out + c * b->size, value + k * b->size, b->size);
            k++;
        }
    return k == n ? 0
         : err_set(e, ERR_INPUT, "tensor '%s': row %llu has %llu bits set, and %llu values", b->mask.name,
                   (unsigned long long)row, (unsigned long long)k, (unsigned long long)n);
}

static int bitmask_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out,
                        struct err *e)
{
    const struct bitmask *b = (const struct bitmask *)d;
    const size_t pitch = (size_t)ceil_div(b->cols, 8);
    uint64_t *first = mem_alloc(n + 1, sizeof *first, e);
    uint8_t *mask = mem_alloc(n, pitch, e), *value = NULL;
    int bad = !first || !mask || row_offsets(b, m, row, n, first, e)
           || model_read_piece(m, &b->mask, row * pitch, mask, n * pitch, e);
    if (!bad && !(value = mem_alloc(first[n] - first[0], b->size, e)))
        bad = -1;
    bad = bad
       || model_read_piece(m, &b->value, first[0] * b->size, value, (first[n] - first[0]) * b->size, e);
    for (size_t r = 0; !bad && r < n; r++)
        bad = spread_row(b, row + r, mask + r * pitch, value + (first[r] - first[0]) * b->size,
                         first[r + 1] - first[r], out + r * d->row_bytes, e);
    free(first);
    free(mask);
    free(value);
    return bad ? -1 : 0;
}

/* P.shape, I64 [2] or [2,1]; [1] for vectors, which only old releases kept so. */
static int read_shape(struct model *m, const struct tensor *t, uint64_t dim[2], uint8_t *rank, struct err *e)
{
    int64_t x[2];
    *rank = (uint8_t)tensor_elems(t);
    if (t->dtype != DT_I64 || tensor_elems(t) < 1 || tensor_elems(t) > 2)
        return bad_piece(t, "not the shape of a matrix", e);
    if (model_read_piece(m, t, 0, x, *rank * 8u, e))
        return -1;
    for (int k = 0; k < *rank; k++) {
        if (x[k] < 0)
            return err_set(e, ERR_INPUT, "tensor '%s' holds the negative size %lld", t->name,
                           (long long)x[k]);
        dim[k] = (uint64_t)x[k];
    }
    return 0;
}

static int expand_bitmask(struct model *m, const json_t *section, const struct apart *a, struct tensor *out,
                          struct err *e)
{
    struct bitmask *b = arena_alloc(&m->mem, sizeof *b, e);
    uint64_t dim[2] = {1, 1};
    uint8_t rank;
    if (!b || read_shape(m, &m->t[a->of[2]], dim, &rank, e))
        return -1;
    b->two_of_four = a->kind == KIND_BITMASK_24;
    b->value = m->t[a->of[0]];
    b->mask = m->t[a->of[1]];
    b->offset = b->two_of_four ? b->value : m->t[a->of[3]];
    b->rows = rank == 2 ? dim[0] : 1;
    b->cols = dim[rank - 1];
    b->size = dtype_table[b->value.dtype].block_bytes;
    b->d.rows = bitmask_rows;
    *out = (struct tensor){.dtype = b->value.dtype, .rank = rank, .dim = {dim[0], dim[1]}, .file = b->value.file,
                           .derived = &b->d};
    if (rank == 1)
        out->dim[1] = 0;
    if (!(out->name = weight_name(m, section, a, e)))
        return -1;
    uint64_t bits;
    if (!mul_u64(b->rows, b->cols, &bits) || !mul_u64(bits, b->size, &out->size)
        || dtype_table[b->value.dtype].block_elems != 1)
        return bad_piece(&b->value, "whose weight has no size", e);
    b->d.row_bytes = b->cols * b->size;
    if (b->mask.dtype != DT_U8 || tensor_elems(&b->mask) != b->rows * ceil_div(b->cols, 8))
        return bad_piece(&b->mask, "which is no mask of that shape", e);
    if (!b->two_of_four && (b->offset.dtype != DT_I64 || tensor_elems(&b->offset) != b->rows))
        return bad_piece(&b->offset, "and an I64 for each row was expected", e);
    if (b->two_of_four && (b->cols % 4 || tensor_elems(&b->value) != b->rows * (b->cols / 2)))
        return bad_piece(&b->value, "and half of all values was expected", e);
    return 0;
}

/* ---- marlin-24 ---------------------------------------------------------------- */

/* The kernel takes weights as tiles of 16 rows of K (after two of four were left out: K/2 in all) and 64
 * columns of N, 1024 codes in an order of its own; the two bits that say which column a code is of are in the
 * order of CUTLASS. (compressed-tensors 0.14 marlin_24.py, permutations_24.py,
 * semi_structured_conversions.py) */
enum { TILE = 1024, TILE_N = 64 };
struct marlin {
    struct derived d;
    struct tensor packed, scale, meta;
    uint64_t n, k, groups;
    unsigned bits;
};

/* Code j of a tile is that of (k, n). */
static void tile_place(unsigned j, unsigned bits, unsigned *k, unsigned *n)
{
    static const uint8_t four[8] = {0, 2, 4, 6, 1, 3, 5, 7}, eight[4] = {0, 2, 1, 3};
    const unsigned i = bits == 4 ? j / 8 * 8 + four[j % 8] : j / 4 * 4 + eight[j % 4];
    const unsigned lane = i / 32, copy = i / 8 % 4, block = i / 4 % 2, r = i % 4, col = lane / 4;
    *k = 2 * (lane % 4) + r % 2 + r / 2 * 8;
    *n = col / 2 * 16 + 8 * (col % 2) + 4 * block + copy;
}

/* Metadata of row r of 64 and 16 columns of an even or odd number: where it is among the 128 of a pair of
 * columns. */
static unsigned meta_place(unsigned r, unsigned odd)
{
    unsigned to = r % 2 * 2 + r % 8 / 4 + r % 4 / 2 * 32 + r / 8 * 4;
    if (to % 2 == 0 && odd)
        return (to + 1) * 2;
    if (to % 2 == 1 && !odd)
        return (to - 1) * 2 + 1;
    return to * 2 + odd;
}

/* The codes of K/2 columns of 64 rows: code[k][n], as numbers. */
static int read_tiles(const struct marlin *x, struct model *m, uint64_t group, int8_t *code, struct err *e)
{
    const unsigned bits = x->bits, middle = 1u << (bits - 1);
    uint8_t tile[TILE];
    for (uint64_t t = 0; t < x->k / 32; t++) {
        const uint64_t at = (t * x->n * 16 + group * TILE) * bits / 8;
        if (model_read_piece(m, &x->packed, at, tile, TILE * bits / 8, e))
            return -1;
        for (unsigned j = 0; j < TILE; j++) {
            unsigned k, n;
            tile_place(j, bits, &k, &n);
            const unsigned u = bits == 8 ? tile[j] : tile[j / 2] >> 4 * (j % 2) & 15;
            code[(t * 16 + k) * TILE_N + n] = (int8_t)((int)u - (int)middle);
        }
    }
    return 0;
}

/* The same rows with zeros where there is no code: all[n][k]. */
static int read_group(const struct marlin *x, struct model *m, uint64_t group, int8_t *code, int8_t *all,
                      struct err *e)
{
    uint8_t pair[TILE_N * 4];
    if (read_tiles(x, m, group, code, e))
        return -1;
    memset(all, 0, TILE_N * x->k);
    for (uint64_t c = 0; c < x->k / 16; c++) {
        if (c % 2 == 0
            && model_read_piece(m, &x->meta, (c / 2 * x->n + group * TILE_N) * 4, pair, sizeof pair, e))
            return -1;
        for (unsigned r = 0; r < TILE_N; r++) {
            const uint8_t *p = pair + 2 * meta_place(r, c % 2);
            const unsigned where = p[0] | (unsigned)p[1] << 8;
            for (unsigned q = 0; q < 4; q++) {
                const unsigned a = where >> 4 * q & 3, b = where >> (4 * q + 2) & 3;
                if (a >= b)
                    return err_set(e, ERR_INPUT,
                                   "tensor '%s': row %llu, columns %llu: %u and %u are no two of four",
                                   x->meta.name, (unsigned long long)(group * TILE_N + r),
                                   (unsigned long long)(c * 16 + q * 4), a, b);
                int8_t *to = all + r * x->k + c * 16 + q * 4;
                const int8_t *from = code + (c * 8 + q * 2) * TILE_N + r;
                to[a] = from[0];
                to[b] = from[TILE_N];
            }
        }
    }
    return 0;
}

static int marlin_rows(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out,
                       struct err *e)
{
    const struct marlin *x = (const struct marlin *)d;
    int8_t *code = mem_alloc(TILE_N * x->k, 2, e), *all = code ? code + TILE_N * x->k : NULL;
    uint64_t have = UINT64_MAX;
    int bad = !code;
    for (size_t i = 0; !bad && i < n; i++, row++, out += d->row_bytes) {
        if (row / TILE_N != have)
            bad = read_group(x, m, have = row / TILE_N, code, all, e);
        const int8_t *from = all + row % TILE_N * x->k;
        for (uint64_t k = 0; !bad && k < d->row_bytes; k++)
            out[k] = x->bits == 8 ? (uint8_t)from[k]
                                  : (uint8_t)((from[2 * k] & 15) | (from[2 * k + 1] & 15) << 4);
    }
    free(code);
    return bad ? -1 : 0;
}

/* Scales of groups are shuffled among 8 columns, unless one group spans all that is kept. */
static int marlin_scales(const struct derived *d, struct model *m, uint64_t row, size_t n, uint8_t *out,
                         struct err *e)
{
    static const uint8_t place[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* the inverse of 0 4 1 5 2 6 3 7 */
    const struct marlin *x = (const struct marlin *)d;
    const bool shuffled = x->groups > 1 && x->k / x->groups < x->k / 2;
    const uint64_t from = row / 8 * 8, to = min_u64(ceil_div(row + n, 8) * 8, x->n);
    uint8_t *in = mem_alloc(to - from, 2, e);
    int bad = !in;
    for (uint64_t g = 0; !bad && g < x->groups; g++) {
        bad = model_read_piece(m, &x->scale, (g * x->n + from) * 2, in, (to - from) * 2, e);
        for (size_t i = 0; !bad && i < n; i++) {
            const uint64_t r = row + i, at = shuffled ? r / 8 * 8 + place[r % 8] : r;
            memcpy(out + i * d->row_bytes + 2 * g, in + 2 * (at - from), 2);
        }
    }
    free(in);
    return bad ? -1 : 0;
}

static int expand_marlin(struct model *m, const struct apart *a, struct tensor out[2], struct err *e)
{
    struct marlin *x = arena_array(&m->mem, 2, sizeof *x, e);
    if (!x)
        return -1;
    x->packed = m->t[a->of[0]];
    x->scale = m->t[a->of[1]];
    x->meta = m->t[a->of[2]];
    const struct tensor *w = &x->packed, *s = &x->scale, *meta = &x->meta;
    if (meta->dtype != DT_I16 || meta->rank != 2 || meta->dim[1] % (2 * TILE_N) || !meta->dim[0]
        || meta->dim[0] > UINT32_MAX || meta->dim[1] > UINT32_MAX || !meta->dim[1])
        return bad_piece(meta, "not I16 [K/32, 2N] with a multiple of 64 for N", e);
    x->n = meta->dim[1] / 2;
    x->k = meta->dim[0] * 32;
    x->bits = w->rank == 2 && w->dim[1] == 4 * x->n ? 8 : 4;
    if (w->dtype != DT_I32 || w->rank != 2 || w->dim[0] != x->k / 32 || w->dim[1] != x->n * x->bits / 2)
        return bad_piece(w, "which does not fit its '.meta'", e);
    x->groups = s->rank == 2 ? s->dim[0] : 0;
    if (s->dtype != DT_F16 || !x->groups || s->dim[1] != x->n || (x->groups > 1 && x->k % x->groups))
        return bad_piece(s, "which does not fit its '.meta'", e);
    x[1] = x[0];
    x[0].d = (struct derived){x->k * x->bits / 8, marlin_rows, false};
    x[1].d = (struct derived){x->groups * 2, marlin_scales, false};
    out[0] = (struct tensor){.dtype = x->bits == 8 ? DT_I8 : DT_I4, .rank = 2, .dim = {x->n, x->k},
                             .file = w->file, .size = x->n * x[0].d.row_bytes, .derived = &x[0].d};
    out[1] = (struct tensor){.dtype = DT_F16, .rank = 2, .dim = {x->n, x->groups}, .file = s->file,
                             .size = x->n * x[1].d.row_bytes, .derived = &x[1].d};
    out[0].name = arena_printf(&m->mem, e, "%s.weight", a->stem);
    out[1].name = arena_printf(&m->mem, e, "%s.weight_scale", a->stem);
    return out[0].name && out[1].name ? 0 : -1;
}

/* ---- all of a model ---------------------------------------------------------- */
int compressed_expand(struct model *m, const void *config, struct err *e)
{
    const json_t *section = config_section(config);
    struct tensor *add = mem_alloc(2 * m->n, sizeof *add, e);
    size_t *at = mem_alloc(2 * m->n, sizeof *at, e), n = 0;
    bool *gone = mem_alloc(m->n, sizeof *gone, e);
    int bad = !add || !at || !gone;
    for (size_t i = 0; !bad && i < m->n; i++) {
        struct apart a;
        bad = find_apart(m, section, i, &a, e);
        if (bad || !a.kind)
            continue;
        if (!m->random)
            bad = err_set(e, ERR_INPUT, "tensor '%s' is a piece of a %s weight, whose pieces must be read "
                          "together, which a pipe does not allow (--spool)", m->t[i].name, kind_name[a.kind]);
        bad = bad || (a.kind == KIND_MARLIN ? expand_marlin(m, &a, &add[n], e)
                                            : expand_bitmask(m, section, &a, &add[n], e));
        at[n] = at[n + 1] = i;
        n += a.kind == KIND_MARLIN ? 2 : 1;
        for (int k = 0; k < PIECES; k++)
            if (a.of[k] != NO_TENSOR)
                gone[a.of[k]] = true;
    }
    bad = bad || (n && derived_replace(m, gone, add, at, n, e));
    free(add);
    free(at);
    free(gone);
    return bad ? -1 : 0;
}
