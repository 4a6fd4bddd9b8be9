/* Reads the header of a GGUF file, versions 2 and 3, and believes none of it.
 *
 *     "GGUF", u32 version, i64 tensors, i64 keys
 *     keys     string key, u32 type, value
 *     tensors  string name, u32 rank, i64 ne[rank] (fastest first), u32 type, u64 offset
 *     data     at the next multiple of general.alignment; so is each tensor in it
 *
 * Strings are a u64 length and bytes.  All is little-endian.  No count is
 * trusted: what is allocated grows with the bytes that are really there.
 * The rules are those of ggml's gguf.cpp. */
#include "formats/gguf.h"

#include "formats/gguf_keys.h"
#include "formats/jscan.h"
#include "formats/json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER_MAX = 1 << 30,     /* bytes; tokenizers of real models take 20 million */
    TEXT_MAX = 1 << 16,       /* longer strings are kept as "[123456 bytes]" */
    ARRAY_TEXT_MAX = 16,      /* longer arrays as "[32000 strings]" */
};

/* ---- tensor types -------------------------------------------------------- */

/* By ggml's number. */
static const enum dtype ggml_type[] = {
    [0] = DT_F32,         [1] = DT_F16,         [2] = DT_Q4_0,        [3] = DT_Q4_1,
    [6] = DT_Q5_0,        [7] = DT_Q5_1,        [8] = DT_Q8_0,        [9] = DT_Q8_1,
    [10] = DT_Q2_K,       [11] = DT_Q3_K,       [12] = DT_Q4_K,       [13] = DT_Q5_K,
    [14] = DT_Q6_K,       [15] = DT_Q8_K,       [16] = DT_IQ2_XXS,    [17] = DT_IQ2_XS,
    [18] = DT_IQ3_XXS,    [19] = DT_IQ1_S,      [20] = DT_IQ4_NL,     [21] = DT_IQ3_S,
    [22] = DT_IQ2_S,      [23] = DT_IQ4_XS,     [24] = DT_I8,         [25] = DT_I16,
    [26] = DT_I32,        [27] = DT_I64,        [28] = DT_F64,        [29] = DT_IQ1_M,
    [30] = DT_BF16,       [34] = DT_TQ1_0,      [35] = DT_TQ2_0,      [39] = DT_MXFP4,
    [40] = DT_NVFP4,      [41] = DT_Q1_0,       [42] = DT_Q2_0,
};
enum { GGML_TYPES = sizeof ggml_type / sizeof *ggml_type };
/* The numbers between them had these names, and are no longer in the format. */
static const char *const removed_type[GGML_TYPES] = {
    [4] = "Q4_2",        [5] = "Q4_3",        [31] = "Q4_0_4_4",    [32] = "Q4_0_4_8",
    [33] = "Q4_0_8_8",   [36] = "IQ4_NL_4_4", [37] = "IQ4_NL_4_8",  [38] = "IQ4_NL_8_8",
};

bool gguf_stores(enum dtype t, uint32_t *type)
{
    for (uint32_t id = 0; id < GGML_TYPES; id++)
        if (ggml_type[id] == t && !removed_type[id]) {
            *type = id;
            return true;
        }
    return false;
}

/* ---- bytes --------------------------------------------------------------- */

struct reader {
    struct head *h;
    uint64_t pos;
    const char *kind;      /* "key" or "tensor", for messages: what is being read */
    const char *name;      /* its name when that is known */
    struct arena *mem;
    struct table *table;
    uint32_t file;
    struct gguf_info *info;
    struct err *e;
};

static int fail(const struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(const struct reader *r, const char *fmt, ...)
{
    char message[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (!r->name)
        return err_set(r->e, ERR_INPUT, "%s: %s", r->h->path, message);
    return err_set(r->e, ERR_INPUT, "%s: %s '%.300s': %s", r->h->path, r->kind, r->name, message);
}

/* Makes the next n bytes present; r->pos stays. */
static int need(struct reader *r, uint64_t n)
{
    uint64_t end;
    if (!add_u64(r->pos, n, &end) || end > HEADER_MAX) {
        if (end > r->h->file_size || end < r->pos)
            return fail(r, "%" PRIu64 " bytes at byte %" PRIu64 " run past the end of the file", n,
                        r->pos);
        return fail(r, "the header is larger than the limit of %d bytes", HEADER_MAX);
    }
    if (!head_need(r->h, end, r->e))
        return 0;
    return r->name ? err_prefix(r->e, "%s '%.300s'", r->kind, r->name) : -1;
}

static int get_uint(struct reader *r, unsigned n, uint64_t *x)
{
    if (need(r, n))
        return -1;
    *x = 0;
    for (unsigned i = 0; i < n; i++)
        *x |= (uint64_t)r->h->p[r->pos + i] << 8 * i;
    r->pos += n;
    return 0;
}

/* A string's bytes stay at *at in the head, which can move but not shrink. */
static int get_string(struct reader *r, uint64_t *at, uint64_t *n)
{
    if (get_uint(r, 8, n) || need(r, *n))
        return -1;
    *at = r->pos;
    r->pos += *n;
    return 0;
}

/* Text that C and JSON can carry. */
static bool is_text(const void *p, size_t n)
{
    return !memchr(p, 0, n) && utf8_check(p, n) == n;
}

static int get_name(struct reader *r, const char **name, uint64_t max)
{
    uint64_t at, n;
    if (get_string(r, &at, &n))
        return -1;
    if (n > max)
        return fail(r, "a tensor name of %" PRIu64 " bytes is longer than %" PRIu64, n, max);
    if (!is_text(r->h->p + at, (size_t)n))
        return fail(r, "the %s name at byte %" PRIu64 " is not UTF-8 text", r->kind, at);
    *name = arena_strndup(r->mem, (const char *)r->h->p + at, (size_t)n, r->e);
    return *name ? 0 : -1;
}

/* ---- values -------------------------------------------------------------- */

/* Appends the next scalar as text. */
static int put_scalar(struct reader *r, enum gguf_type type, struct buf *b)
{
    uint64_t x;
    float f;
    double d;
    if (get_uint(r, gguf_type_table[type].bytes, &x))
        return -1;
    const uint32_t x32 = (uint32_t)x;
    switch (type) {
    case GGUF_I8: return buf_printf(b, r->e, "%d", (int8_t)x);
    case GGUF_I16: return buf_printf(b, r->e, "%d", (int16_t)x);
    case GGUF_I32: return buf_printf(b, r->e, "%" PRId32, (int32_t)x);
    case GGUF_I64: return buf_printf(b, r->e, "%" PRId64, (int64_t)x);
    case GGUF_F32:
        memcpy(&f, &x32, 4);
        return buf_printf(b, r->e, "%.9g", (double)f);
    case GGUF_F64:
        memcpy(&d, &x, 8);
        return buf_printf(b, r->e, "%.17g", d);
    case GGUF_BOOL: /* ggml writes 0 and 1, and reads everything but 0 as true */
        return buf_puts(b, x ? "true" : "false", r->e);
    default: return buf_printf(b, r->e, "%" PRIu64, x);
    }
}

static int put_string(struct reader *r, bool quoted, struct buf *b)
{
    uint64_t at, n;
    if (get_string(r, &at, &n))
        return -1;
    const char *const s = (const char *)r->h->p + at;
    if (n >= TEXT_MAX || !is_text(s, (size_t)n))
        return buf_printf(b, r->e, quoted ? "\"[%" PRIu64 " bytes]\"" : "[%" PRIu64 " bytes]", n);
    if (!quoted)
        return buf_put(b, s, (size_t)n, r->e);
    char *const copy = strndup(s, (size_t)n);
    const int rc = copy ? json_put_string(b, copy, r->e)
                        : err_set(r->e, ERR_SYSTEM, "out of memory");
    free(copy);
    return rc;
}

static int put_array(struct reader *r, struct buf *b)
{
    uint64_t type, count, bytes;
    if (get_uint(r, 4, &type) || get_uint(r, 8, &count))
        return -1;
    if (type >= GGUF_TYPES || type == GGUF_ARRAY)
        return fail(r, "array of type %" PRIu64 ", which %s", type,
                    type == GGUF_ARRAY ? "is an array itself" : "there is not");
    const bool shown = count <= ARRAY_TEXT_MAX;
    if (!shown && buf_printf(b, r->e, "[%" PRIu64 " %s%s]", count, gguf_type_table[type].name,
                             type == GGUF_STRING ? "s" : ""))
        return -1;
    if (!shown && type != GGUF_STRING) {
        if (!mul_u64(count, gguf_type_table[type].bytes, &bytes))
            return fail(r, "an array of %" PRIu64 " elements runs past the end of the file", count);
        if (need(r, bytes))
            return -1;
        r->pos += bytes;
        return 0;
    }
    if (shown && buf_puts(b, "[", r->e))
        return -1;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t at, n;
        if (shown && i && buf_puts(b, ",", r->e))
            return -1;
        if (!shown ? get_string(r, &at, &n)
            : type == GGUF_STRING ? put_string(r, true, b)
                                   : put_scalar(r, (enum gguf_type)type, b))
            return -1;
    }
    return shown ? buf_puts(b, "]", r->e) : 0;
}

/* Keys that say how the file is to be read. */
static int heed(struct reader *r, uint64_t type, const char *value)
{
    struct gguf_info *const info = r->info;
    const struct {
        const char *key;
        enum gguf_type type;
        int64_t *to;
    } heeded[] = {
        {"general.alignment", GGUF_U32, &info->alignment},
        {"split.no", GGUF_U16, &info->part},
        {"split.count", GGUF_U16, &info->parts},
        {"split.tensors.count", GGUF_I32, &info->tensors},
    };
    size_t i = 0;
    while (i < sizeof heeded / sizeof *heeded && strcmp(r->name, heeded[i].key))
        i++;
    if (i == sizeof heeded / sizeof *heeded)
        return 0;
    if (type != heeded[i].type)
        return fail(r, "is a %s, not a %s", gguf_type_table[type].name, gguf_type_table[heeded[i].type].name);
    const int64_t x = *heeded[i].to = strtoll(value, NULL, 10);
    if (x < 0)
        return fail(r, "%s is negative", value);
    if (heeded[i].to == &info->alignment && (!x || (x & (x - 1))))
        return fail(r, "%s is not a power of two", value);
    return 0;
}

static int read_value(struct reader *r, struct buf *b)
{
    uint64_t type;
    if (get_uint(r, 4, &type))
        return -1;
    if (type >= GGUF_TYPES)
        return fail(r, "there is no value type %" PRIu64, type);
    b->n = 0;
    if (type == GGUF_STRING ? put_string(r, false, b)
        : type == GGUF_ARRAY ? put_array(r, b)
                              : put_scalar(r, (enum gguf_type)type, b))
        return -1;
    const char *const value = b->n ? arena_strndup(r->mem, b->s, b->n, r->e) : "";
    if (!value || heed(r, type, value))
        return -1;
    return table_meta(r->table, r->name, value, r->e);
}

static int read_keys(struct reader *r, uint64_t count)
{
    struct map seen = {0};
    struct buf b = {0};
    int rc = 0;
    r->kind = "key";
    for (uint64_t i = 0; i < count && !rc; i++) {
        const char *key;
        r->name = NULL;
        rc = get_name(r, &key, UINT64_MAX);
        if (!rc && !*key)
            rc = fail(r, "key %" PRIu64 " has no name", i);
        if (rc)
            break;
        r->name = key;
        rc = map_add(&seen, key, 0, r->e);
        if (rc > 0)
            rc = fail(r, "is given twice");
        if (!rc)
            rc = read_value(r, &b);
    }
    r->name = NULL;
    buf_free(&b);
    map_free(&seen);
    return rc;
}

/* ---- tensors ------------------------------------------------------------- */

static int read_shape(struct reader *r, struct tensor *t, uint64_t *elems)
{
    uint64_t rank, ne[GGUF_RANK_MAX], extent = 1;
    if (get_uint(r, 4, &rank))
        return -1;
    if (rank > GGUF_RANK_MAX)
        return fail(r, "%" PRIu64 " dimensions, %d are the most", rank, GGUF_RANK_MAX);
    for (unsigned i = 0; i < rank; i++) {
        if (get_uint(r, 8, &ne[i]))
            return -1;
        if (ne[i] > INT64_MAX)
            return fail(r, "dimension %u is negative", i);
        /* zeros aside, so that no product of some of the dimensions can overflow later */
        if (!mul_u64(extent, max_u64(ne[i], 1), &extent) || extent > INT64_MAX)
            return fail(r, "the number of elements overflows");
        *elems *= ne[i];
    }
    t->rank = (uint8_t)rank;
    for (unsigned i = 0; i < rank; i++)
        t->dim[i] = ne[rank - 1 - i];
    return 0;
}

/* end: of the data so far, padded, in and out. */
static int read_tensor(struct reader *r, struct tensor *t, uint64_t *end)
{
    uint64_t elems = 1, id;
    if (read_shape(r, t, &elems) || get_uint(r, 4, &id) || get_uint(r, 8, &t->off))
        return -1;
    if (id >= GGML_TYPES)
        return fail(r, "there is no tensor type %" PRIu64, id);
    if (removed_type[id])
        return fail(r, "type %s was removed from GGUF", removed_type[id]);
    t->dtype = ggml_type[id];
    const struct dtype_info *const type = &dtype_table[t->dtype];
    const uint64_t row = t->rank ? t->dim[t->rank - 1] : 1;
    if (row % type->block_elems)
        return fail(r, "rows of %" PRIu64 " elements are no whole number of %s blocks of %u", row,
                    type->name, type->block_elems);
    if (!dtype_size(t->dtype, elems, &t->size))
        return fail(r, "the size in bytes overflows");
    if (t->off != *end)
        return fail(r, "begins at byte %" PRIu64 " of the data, not where the one before ends, at %"
                    PRIu64, t->off, *end);
    const uint64_t alignment = (uint64_t)r->info->alignment;
    if (!add_u64(*end, t->size, end) || *end > (uint64_t)INT64_MAX - alignment)
        return fail(r, "the size of the data overflows");
    *end = round_up(*end, alignment);
    return 0;
}

/* Reads all tensors; .off counts from the first byte of the data. */
static int read_tensors(struct reader *r, uint64_t count)
{
    struct map seen = {0};
    uint64_t end = 0;
    int rc = 0;
    r->kind = "tensor";
    for (uint64_t i = 0; i < count && !rc; i++) {
        struct tensor t = {.file = r->file};
        r->name = NULL;
        rc = get_name(r, &t.name, GGUF_NAME_MAX);
        if (rc)
            break;
        r->name = t.name;
        rc = map_add(&seen, t.name, 0, r->e);
        if (rc > 0)
            rc = fail(r, "is listed twice");
        if (!rc)
            rc = read_tensor(r, &t, &end);
        if (!rc)
            rc = table_tensor(r->table, &t, r->e);
    }
    r->name = NULL;
    map_free(&seen);
    return rc;
}

int gguf_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct gguf_info *info,
              struct err *e)
{
    struct reader r = {.h = h, .pos = 4, .mem = mem, .table = t, .file = file, .kind = "file", .info = info,
                       .e = e};
    uint64_t version, tensors, keys;
    *info = (struct gguf_info){.alignment = GGUF_ALIGNMENT, .part = -1, .parts = -1, .tensors = -1};
    if (head_need(h, 4, e))
        return -1;
    if (memcmp(h->p, "GGUF", 4))
        return fail(&r, "does not begin with GGUF");
    if (get_uint(&r, 4, &version))
        return -1;
    if (!(version & 0xffff) && version)
        return fail(&r, "is a big-endian GGUF file; only little-endian ones are read");
    if (version != 2 && version != 3)
        return fail(&r, "is GGUF version %" PRIu64 "; 2 and 3 are read", version);
    if (get_uint(&r, 8, &tensors) || get_uint(&r, 8, &keys))
        return -1;
    if (tensors > INT64_MAX || keys > INT64_MAX)
        return fail(&r, "claims %" PRId64 " tensors and %" PRId64 " keys", (int64_t)tensors,
                    (int64_t)keys);
    const size_t from = t->n;
    info->kv_at = r.pos;
    info->kv_count = keys;
    if (read_keys(&r, keys))
        return -1;
    info->kv_size = r.pos - info->kv_at;
    if (read_tensors(&r, tensors))
        return -1;
    /* A file of keys alone (a vocabulary) has no data and need not be padded. */
    const uint64_t data = tensors ? round_up(r.pos, (uint64_t)info->alignment) : r.pos;
    for (size_t i = from; i < t->n; i++)
        t->t[i].off += data;
    /* Nor need the last tensor be padded: llama.cpp loads such files. */
    const struct tensor *const last = t->n > from ? &t->t[t->n - 1] : NULL;
    return table_end(t, from, h, last ? last->off + last->size : data, false, e);
}
