/* Reads the header of a safetensors file and believes none of it.
 *
 *     u64, little-endian   N, the length of the header
 *     N bytes              JSON: {"name": {"dtype", "shape", "data_offsets"}, ...,
 *                          "__metadata__": {string: string}}, padded with white space
 *     the rest             data; data_offsets count from its first byte
 *
 * The tensors must cover the data exactly: no hole, no overlap, no rest.  The
 * rules are those of the reference reader (huggingface/safetensors tensor.rs),
 * and stricter where it picks one of two readings: a name or field given
 * twice, white space before the first brace and a NUL inside a string are
 * refused, and so are more than TENSOR_MAX_RANK dimensions. */
#include "formats/jscan.h"
#include "formats/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { HEADER_MAX = 100000000 }; /* the reference reader's limit */

struct reader {
    struct jscan j;
    uint32_t file;
    uint64_t data;         /* where the data begins in the file */
    struct arena *mem;
    struct table *table;
    enum dtype last;       /* the type of the tensor before: mostly that of the next */
};

/* ---- one tensor ---------------------------------------------------------- */

static int bad_tensor(const struct reader *r, const char *message, const char *detail)
{
    return err_set(r->j.e, ERR_INPUT, "%s: tensor '%.300s': %s%.100s", r->j.path, r->j.tensor,
                   message, detail);
}

static int read_dtype(struct reader *r, struct tensor *t)
{
    char *s;
    size_t n;
    if (jscan_string(&r->j, &s, &n))
        return -1;
    t->dtype = r->last;
    if (strcmp(s, dtype_name(r->last)))
        t->dtype = dtype_find(s, n);
    if (t->dtype == DT_COUNT || !dtype_is_safetensors(t->dtype))
        return bad_tensor(r, "unknown dtype ", s);
    r->last = t->dtype;
    return 0;
}

static int read_shape(struct reader *r, struct tensor *t)
{
    bool first = true;
    int more;
    if (jscan_begin(&r->j, '['))
        return -1;
    while ((more = jscan_next(&r->j, '[', &first)) > 0) {
        if (t->rank == TENSOR_MAX_RANK)
            return bad_tensor(r, "more than 8 dimensions are not read by this version", "");
        if (jscan_u64(&r->j, &t->dim[t->rank++]))
            return -1;
    }
    return more;
}

/* begin goes to t->off, end to t->size: made absolute when the entry is complete. */
static int read_offsets(struct reader *r, struct tensor *t)
{
    bool first = true;
    int more, n = 0;
    if (jscan_begin(&r->j, '['))
        return -1;
    while ((more = jscan_next(&r->j, '[', &first)) > 0) {
        if (n == 2)
            return bad_tensor(r, "data_offsets has more than two numbers", "");
        if (jscan_u64(&r->j, n++ ? &t->size : &t->off))
            return -1;
    }
    if (!more && n < 2)
        return bad_tensor(r, "data_offsets has fewer than two numbers", "");
    return more;
}

/* Shape, type and data_offsets of a complete entry must tell the same size. */
static int check_size(const struct reader *r, struct tensor *t)
{
    const uint64_t begin = t->off, end = t->size;
    uint64_t elems = 1, extent = 1, bytes = 0;
    char shape[176];
    for (int i = 0; i < t->rank; i++) {
        /* extent ignores zeros, so that no product of some of the dimensions can overflow later */
        if (!mul_u64(extent, max_u64(t->dim[i], 1), &extent))
            return err_set(r->j.e, ERR_INPUT, "%s: tensor '%.300s': shape %s overflows", r->j.path,
                           t->name, tensor_shape(t, shape));
        elems *= t->dim[i];
    }
    if (end < begin)
        return err_set(r->j.e, ERR_INPUT,
                       "%s: tensor '%.300s': data_offsets %" PRIu64 "..%" PRIu64
                       " are not ascending",
                       r->j.path, t->name, begin, end);
    if (elems % dtype_table[t->dtype].block_elems)
        return err_set(r->j.e, ERR_INPUT,
                       "%s: tensor '%.300s': shape %s of %s is no whole number of bytes", r->j.path,
                       t->name, tensor_shape(t, shape), dtype_name(t->dtype));
    if (!dtype_size(t->dtype, elems, &bytes) || bytes != end - begin) {
        char size[48] = "more than 2^64";
        if (bytes)
            snprintf(size, sizeof size, "%" PRIu64, bytes);
        else if (!elems)
            snprintf(size, sizeof size, "0");
        return err_set(r->j.e, ERR_INPUT,
                       "%s: tensor '%.300s': shape %s of %s takes %s bytes, data_offsets %" PRIu64
                       "..%" PRIu64 " hold %" PRIu64,
                       r->j.path, t->name, tensor_shape(t, shape), dtype_name(t->dtype), size,
                       begin, end, end - begin);
    }
    if (!add_u64(end, r->data, &(uint64_t){0}))
        return err_set(r->j.e, ERR_INPUT,
                       "%s: tensor '%.300s': data_offsets %" PRIu64 "..%" PRIu64 " overflow",
                       r->j.path, t->name, begin, end);
    t->off = begin + r->data;
    t->size = bytes;
    return 0;
}

static int read_tensor(struct reader *r, const char *name, size_t length)
{
    static const char *const field[] = {"dtype", "shape", "data_offsets"};
    static int (*const read_field[])(struct reader *, struct tensor *) = {
        read_dtype, read_shape, read_offsets};
    struct tensor t = {.file = r->file};
    unsigned seen = 0;
    bool first = true;
    int more;
    r->j.tensor = name;
    if (jscan_begin(&r->j, '{'))
        return -1;
    while ((more = jscan_next(&r->j, '{', &first)) > 0) {
        char *key;
        size_t n;
        if (jscan_key(&r->j, &key, &n))
            return -1;
        unsigned i = 0;
        while (i < 3 && strcmp(key, field[i]))
            i++;
        if (i == 3) {
            /* Not ours to judge: the reference reader ignores it too. */
            if (jscan_skip(&r->j))
                return -1;
            continue;
        }
        if (seen & 1u << i)
            return bad_tensor(r, field[i], " is given twice");
        seen |= 1u << i;
        if (read_field[i](r, &t))
            return -1;
    }
    if (more)
        return -1;
    for (unsigned i = 0; i < 3; i++)
        if (!(seen & 1u << i))
            return bad_tensor(r, "no ", field[i]);
    t.name = arena_strndup(r->mem, name, length, r->j.e);
    if (!t.name || check_size(r, &t))
        return -1;
    r->j.tensor = NULL;
    return table_tensor(r->table, &t, r->j.e);
}

/* ---- the header ---------------------------------------------------------- */

static int read_metadata(struct reader *r)
{
    struct map keys = {0};
    bool first = true;
    int more = -1;
    if (jscan_begin(&r->j, '{'))
        return -1;
    while ((more = jscan_next(&r->j, '{', &first)) > 0) {
        char *key, *value;
        size_t nkey, nvalue;
        more = -1;
        if (jscan_key(&r->j, &key, &nkey) || jscan_string(&r->j, &value, &nvalue))
            break;
        const char *const k = arena_strndup(r->mem, key, nkey, r->j.e);
        const char *const v = arena_strndup(r->mem, value, nvalue, r->j.e);
        if (!k || !v)
            break;
        const int there = map_add(&keys, k, 0, r->j.e);
        if (there > 0)
            err_set(r->j.e, ERR_INPUT, "%s: __metadata__: key '%.300s' is given twice", r->j.path,
                    k);
        if (there || table_meta(r->table, k, v, r->j.e))
            break;
    }
    map_free(&keys);
    return more ? -1 : 0;
}

static int read_header(struct reader *r)
{
    bool first = true, metadata = false;
    int more;
    if (r->j.p == r->j.end || *r->j.p != '{')
        return jscan_fail(&r->j, "the header does not begin with '{'; is this a safetensors file?");
    if (jscan_begin(&r->j, '{'))
        return -1;
    while ((more = jscan_next(&r->j, '{', &first)) > 0) {
        char *name;
        size_t n;
        if (jscan_key(&r->j, &name, &n))
            return -1;
        if (strcmp(name, "__metadata__")) {
            if (read_tensor(r, name, n))
                return -1;
        } else {
            if (metadata)
                return jscan_fail(&r->j, "__metadata__ is given twice");
            metadata = true;
            if (read_metadata(r))
                return -1;
        }
    }
    return more ? -1 : jscan_end(&r->j);
}

/* ---- the data ------------------------------------------------------------ */

/* The tensors, sorted, must follow each other from the first byte of the data. */
static int check_cover(const struct reader *r, size_t from, uint64_t *end)
{
    uint64_t pos = r->data;
    for (size_t i = from; i < r->table->n; i++) {
        const struct tensor *const t = &r->table->t[i], *const before = i > from ? t - 1 : NULL;
        const uint64_t begin = t->off - r->data;
        if (t->off > pos)
            return err_set(r->j.e, ERR_INPUT,
                           "%s: tensor '%.300s': data_offsets %" PRIu64 "..%" PRIu64
                           " leave a hole of %" PRIu64 " bytes before them",
                           r->j.path, t->name, begin, begin + t->size, t->off - pos);
        if (t->off < pos && before && !strcmp(t->name, before->name))
            return err_set(r->j.e, ERR_INPUT, "%s: tensor '%.300s' is listed twice", r->j.path,
                           t->name);
        if (t->off < pos && before)
            return err_set(r->j.e, ERR_INPUT,
                           "%s: tensor '%.300s': data_offsets %" PRIu64 "..%" PRIu64
                           " overlap those of '%.300s', %" PRIu64 "..%" PRIu64,
                           r->j.path, t->name, begin, begin + t->size, before->name,
                           before->off - r->data, before->off - r->data + before->size);
        pos = t->off + t->size;
    }
    *end = pos;
    return 0;
}

int safetensors_read(struct head *h, uint32_t file, struct arena *mem, struct table *t,
                     struct err *e)
{
    if (head_need(h, 8, e))
        return -1;
    uint64_t n = 0;
    for (int i = 0; i < 8; i++)
        n |= (uint64_t)h->p[i] << 8 * i;
    if (n > HEADER_MAX)
        return err_set(e, ERR_INPUT,
                       "%s: header length %" PRIu64 " is above the limit of %d;"
                       " is this a safetensors file?",
                       h->path, n, HEADER_MAX);
    if (h->file_size != UINT64_MAX && 8 + n > h->file_size)
        return err_set(e, ERR_INPUT,
                       "%s: file ends early: it has %" PRIu64 " bytes, its header takes %" PRIu64,
                       h->path, h->file_size, 8 + n);
    if (head_need(h, 8 + n, e))
        return -1;
    struct reader r = {.file = file, .data = 8 + n, .mem = mem, .table = t};
    const size_t from = t->n;
    uint64_t end = 0;
    if (jscan_init(&r.j, h->path, "header", h->p + 8, (size_t)n, e) || read_header(&r)
        || table_sort(t, from, e) || check_cover(&r, from, &end))
        return -1;
    return table_end(t, from, h, end, true, e);
}
