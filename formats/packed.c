#include "formats/packed.h"

#include "formats/fused.h"
#include "formats/io.h"
#include "formats/json.h"
#include "formats/sha256.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- head: little-endian fields at fixed places ------------------------- */
enum { AT_VERSION = 8, AT_FLAGS = 12, AT_MANIFEST = 16, AT_PAYLOAD = 24, AT_TRAILER = 32,
       AT_SIZE = 40, AT_MANIFEST_SUM = 48, AT_HEAD_SUM = 56 };

static void put_le(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get_le(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

/* The first eight bytes of the SHA-256. */
static void checksum(const void *p, size_t n, uint8_t sum[8])
{
    struct sha256 s;
    uint8_t d[32];
    sha256_init(&s);
    sha256_put(&s, p, n);
    sha256_end(&s, d);
    memcpy(sum, d, 8);
}

bool stored_size(struct stored *s, uint64_t *bytes)
{
    uint64_t elems;
    return layout_size(&s->layout, s->rows, s->cols, &elems) && dtype_size(s->dtype, elems, &s->batch_bytes)
        && mul_u64(s->batch_bytes, s->batch, bytes);
}

static unsigned bits_of(enum dtype t)
{
    return dtype_table[t].block_bytes * 8u / dtype_table[t].block_elems;
}

unsigned stored_ratio(const struct stored *s, enum dtype t)
{
    const bool codes = s->dtype == DT_I4 || s->dtype == DT_F4 || s->dtype == DT_I8;
    return !s->bytes && codes && (t == DT_U8 || t == DT_I8 || t == DT_I32) ? bits_of(t) / bits_of(s->dtype) : 1;
}

/* What can be undone: the same type, values or codes for another spelling of a scale, and codes for what held them. */
bool stored_fits(const struct stored *s, enum dtype t)
{
    const bool value = s->dtype == DT_F32 || s->dtype == DT_BF16 || s->dtype == DT_F16, code = s->dtype == DT_F8_E8M0;
    const bool scale = t == DT_F32 || t == DT_BF16 || t == DT_F16 || t == DT_U8 || t == DT_F8_E8M0;
    if (s->rule)
        return s->dtype == t;
    if (s->shift && (!value || !scale))
        return false;
    if (s->high && stored_ratio(s, t) != 2)
        return false;
    if (s->flip && s->dtype != DT_I8 && s->dtype != DT_I4)
        return false;
    return s->dtype == t || ((value || code) && scale) || stored_ratio(s, t) > 1;
}

/* ---- writing --------------------------------------------------------------- */
static int put_numbers(struct buf *b, const char *key, const uint64_t *x, int n, struct err *e)
{
    if (buf_printf(b, e, "\"%s\":[", key))
        return -1;
    for (int i = 0; i < n; i++)
        if (buf_printf(b, e, "%s%llu", i ? "," : "", (unsigned long long)x[i]))
            return -1;
    return buf_puts(b, "]", e);
}

static int put_slice(struct buf *b, const struct tensor *t, struct err *e)
{
    return buf_puts(b, ",\"slice\":{", e) || put_numbers(b, "start", t->slice->start, t->rank, e) || buf_puts(b, ",", e)
        || put_numbers(b, "whole", t->slice->whole, t->rank, e) || buf_puts(b, "}", e) ? -1 : 0;
}

static int put_fused(struct buf *b, const struct fused *f, struct err *e)
{
    return buf_printf(b, e, ",\"fused\":{\"rows\":%llu,\"of\":[", (unsigned long long)f->rows) || json_put_string(b, f->of[0], e)
        || buf_puts(b, ",", e) || json_put_string(b, f->of[1], e) || buf_puts(b, "]}", e) ? -1 : 0;
}

static int put_tensor(struct buf *b, const struct tensor *t, struct err *e)
{
    if (buf_puts(b, "{\"name\":", e) || json_put_string(b, t->name, e)
        || buf_printf(b, e, ",\"dtype\":\"%s\",\"shape\":[", dtype_name(t->dtype)))
        return -1;
    for (int i = 0; i < t->rank; i++)
        if (buf_printf(b, e, "%s%llu", i ? "," : "", (unsigned long long)t->dim[i]))
            return -1;
    if (buf_printf(b, e, "],\"offset\":%llu,\"size\":%llu", (unsigned long long)t->off,
                   (unsigned long long)t->size))
        return -1;
    if ((t->slice && put_slice(b, t, e)) || (t->fused && put_fused(b, t->fused, e)))
        return -1;
    const struct stored *s = t->stored;
    if (s && (buf_printf(b, e, ",\"stored\":{\"dtype\":\"%s\",\"shape\":[%llu,%llu,%llu],\"layout\":",
                         dtype_name(s->dtype), (unsigned long long)s->batch, (unsigned long long)s->rows,
                         (unsigned long long)s->cols)
              || json_put_string(b, s->sentence, e)
              || buf_printf(b, e, ",\"repeat\":[%u,%u]", s->repeat[0], s->repeat[1])
              || (s->shift && buf_printf(b, e, ",\"shift\":%d", s->shift)) || (s->flip && buf_puts(b, ",\"unsigned\":true", e))
              || (s->high && buf_puts(b, ",\"high_first\":true", e)) || buf_puts(b, "}", e)))
        return -1;
    if (s && s->rule
        && (buf_puts(b, ",\"computed\":{\"rule\":", e) || json_put_string(b, s->rule, e) || buf_puts(b, ",\"of\":", e)
            || json_put_string(b, s->of, e) || buf_puts(b, "}", e)))
        return -1;
    return buf_puts(b, "}", e);
}

static int put_manifest(struct buf *b, const struct packed_info *info, const struct tensor *t, size_t n,
                        struct err *e)
{
    if (buf_printf(b, e, "{\"format\":\"octavo-packed\",\"align\":%u", info->align)
        || (info->ranks && buf_printf(b, e, ",\"parallel\":{\"tp\":%u,\"ep\":%u,\"ranks\":%u,\"rank\":%u}", info->tp, info->ep,
                                      info->ranks, info->rank)))
        return -1;
    const struct { const char *key, *value; } str[] = {
        {"target", info->target}, {"form", info->form}, {"scheme", info->scheme}};
    for (size_t i = 0; i < sizeof str / sizeof *str; i++)
        if (str[i].value
            && (buf_printf(b, e, ",\"%s\":", str[i].key) || json_put_string(b, str[i].value, e)))
            return -1;
    if (buf_puts(b, ",\"metadata\":{", e))
        return -1;
    for (size_t i = 0; i < info->nkv; i++)
        if (buf_puts(b, i ? "," : "", e) || json_put_string(b, info->kv[i].key, e) || buf_puts(b, ":", e)
            || json_put_string(b, info->kv[i].value, e))
            return -1;
    if (buf_puts(b, "},\"tensors\":[", e))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (buf_puts(b, i ? ",\n" : "\n", e) || put_tensor(b, &t[i], e))
            return -1;
    return buf_puts(b, "\n]}\n", e);
}

/* Offsets are part of the manifest, and the manifest's length moves the
 * payload: so offsets in the manifest count from the start of the payload. */
int packed_plan(const struct packed_info *info, struct tensor *t, size_t n, struct buf *head,
                uint64_t *file_size, size_t *tail_size, struct err *e)
{
    uint64_t pos = 0;
    *head = (struct buf){0};
    for (size_t i = 0; i < n; i++) {
        t[i].off = pos;
        if (!add_u64(pos, t[i].size, &pos) || pos > UINT64_MAX - info->align)
            return err_set(e, ERR_INPUT, "tensor '%s': the packed file would be too large", t[i].name);
        pos = round_up(pos, info->align);
    }
    uint8_t h[PACKED_HEAD] = PACKED_MAGIC;
    if (buf_put(head, h, sizeof h, e) || put_manifest(head, info, t, n, e)) {
        buf_free(head);
        return -1;
    }
    uint64_t payload = round_up(head->n, info->align);
    *tail_size = (n + 2) * 32;
    *file_size = payload + pos + *tail_size;
    put_le(h + AT_VERSION, PACKED_VERSION, 4);
    put_le(h + AT_MANIFEST, head->n - PACKED_HEAD, 8);
    put_le(h + AT_PAYLOAD, payload, 8);
    put_le(h + AT_TRAILER, payload + pos, 8);
    put_le(h + AT_SIZE, *file_size, 8);
    checksum(head->s + PACKED_HEAD, head->n - PACKED_HEAD, h + AT_MANIFEST_SUM);
    checksum(h, AT_HEAD_SUM, h + AT_HEAD_SUM);
    memcpy(head->s, h, sizeof h);
    for (size_t i = 0; i < n; i++)
        t[i].off += payload;
    return 0;
}

void packed_trailer(const uint8_t (*digest)[32], size_t n, const uint8_t source[32], uint8_t *tail)
{
    struct sha256 s;
    memcpy(tail, digest, n * 32);
    memcpy(tail + n * 32, source, 32);
    sha256_init(&s);
    sha256_put(&s, tail, (n + 1) * 32);
    sha256_end(&s, tail + (n + 1) * 32);
}

/* ---- reading --------------------------------------------------------------- */
static int bad(const struct head *h, struct err *e, const char *name, const char *what)
{
    return err_set(e, ERR_INPUT, "%s: tensor '%s': the packed manifest has a bad or missing %s", h->path,
                   name ? name : "?", what);
}

static bool get_u64(const json_t *j, uint64_t *v)
{
    if (!json_is_integer(j) || json_integer_value(j) < 0)
        return false;
    *v = (uint64_t)json_integer_value(j);
    return true;
}

static bool get_flag(const json_t *j, const char *key, bool *out)
{
    const json_t *x = json_object_get(j, key);
    *out = json_is_true(x);
    return !x || json_is_boolean(x);
}

/* Factors, signs and orders that are not the usual ones, and what was computed. */
static int read_marks(struct head *h, const json_t *j, const json_t *computed, struct tensor *t, struct stored *s,
                      struct arena *mem, struct err *e)
{
    const json_t *shift = json_object_get(j, "shift");
    if (shift && (!json_is_integer(shift) || json_integer_value(shift) < -126 || json_integer_value(shift) > 126))
        return bad(h, e, t->name, "shift");
    s->shift = (int)json_integer_value(shift);
    if (!get_flag(j, "unsigned", &s->flip) || !get_flag(j, "high_first", &s->high))
        return bad(h, e, t->name, "mark");
    if (!computed)
        return 0;
    const char *rule = json_string_value(json_object_get(computed, "rule"));
    const char *of = json_string_value(json_object_get(computed, "of"));
    if (!rule || !of)
        return bad(h, e, t->name, "rule of what was computed");
    s->rule = arena_strdup(mem, rule, e);
    s->of = arena_strdup(mem, of, e);
    return s->rule && s->of ? 0 : -1;
}

static int read_stored(struct head *h, const json_t *j, const json_t *computed, struct tensor *t, struct arena *mem,
                       struct err *e)
{
    struct stored *s = arena_alloc(mem, sizeof *s, e);
    if (!s)
        return -1;
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    const char *sentence = json_string_value(json_object_get(j, "layout"));
    const json_t *shape = json_object_get(j, "shape"), *repeat = json_object_get(j, "repeat");
    uint64_t rep[2], bytes;
    if (!dtype || (s->dtype = dtype_find(dtype, strlen(dtype))) == DT_COUNT)
        return bad(h, e, t->name, "stored dtype");
    if (read_marks(h, j, computed, t, s, mem, e))
        return -1;
    if (dtype_is_block(s->dtype) || !stored_fits(s, t->dtype))
        return bad(h, e, t->name, "stored dtype (it cannot stand for the logical one)");
    if (!sentence || layout_parse(&s->layout, sentence, e)
        || !(s->sentence = arena_strdup(mem, sentence, e)))
        return bad(h, e, t->name, "layout");
    if (!get_u64(json_array_get(shape, 0), &s->batch) || !get_u64(json_array_get(shape, 1), &s->rows)
        || !get_u64(json_array_get(shape, 2), &s->cols) || !get_u64(json_array_get(repeat, 0), &rep[0])
        || !get_u64(json_array_get(repeat, 1), &rep[1]) || !rep[0] || !rep[1] || rep[0] > UINT32_MAX
        || rep[1] > UINT32_MAX)
        return bad(h, e, t->name, "stored shape");
    struct matrix m = tensor_matrix(t);
    uint64_t cols;
    if (!mul_u64(m.cols, stored_ratio(s, t->dtype), &cols) || m.batch != s->batch || m.rows != ceil_div(s->rows, rep[0])
        || cols != ceil_div(s->cols, rep[1]))
        return bad(h, e, t->name, "stored shape (it does not fit the logical one)");
    s->repeat[0] = (uint32_t)rep[0];
    s->repeat[1] = (uint32_t)rep[1];
    if (!stored_size(s, &bytes) || bytes != t->size)
        return bad(h, e, t->name, "size");
    t->stored = s;
    return 0;
}

/* A part lies within the whole. */
static int read_slice(const json_t *j, struct tensor *t, struct arena *mem, struct err *e)
{
    const json_t *start = json_object_get(j, "start"), *whole = json_object_get(j, "whole");
    if (!j)
        return 0;
    struct slice *s = arena_alloc(mem, sizeof *s, e);
    if (!s || json_array_size(start) != t->rank || json_array_size(whole) != t->rank)
        return -1;
    for (int i = 0; i < t->rank; i++)
        if (!get_u64(json_array_get(start, (size_t)i), &s->start[i]) || !get_u64(json_array_get(whole, (size_t)i), &s->whole[i])
            || s->start[i] > s->whole[i] || t->dim[i] > s->whole[i] - s->start[i])
            return -1;
    t->slice = s;
    return 0;
}

/* Rows of two tensors in turns. */
static int read_fused(const json_t *j, struct tensor *t, struct arena *mem, struct err *e)
{
    const json_t *of = json_object_get(j, "of");
    const char *a = json_string_value(json_array_get(of, 0)), *b = json_string_value(json_array_get(of, 1));
    if (!j)
        return 0;
    struct fused *f = arena_alloc(mem, sizeof *f, e);
    if (!f || !a || !b || json_array_size(of) != 2 || !get_u64(json_object_get(j, "rows"), &f->rows) || !f->rows
        || t->rank != 2 || t->dim[0] % 2 || t->dim[0] / 2 % f->rows || !t->size || t->slice)
        return -1;
    f->of[0] = arena_strdup(mem, a, e);
    f->of[1] = arena_strdup(mem, b, e);
    t->fused = f;
    return f->of[0] && f->of[1] ? 0 : -1;
}

static int read_parallel(struct head *h, const json_t *j, struct table *t, struct arena *mem, struct err *e)
{
    static const char *const key[] = {"tp", "ep", "ranks", "rank"};
    uint64_t x[4];
    for (int i = 0; i < 4; i++)
        if (!get_u64(json_object_get(j, key[i]), &x[i]) || x[i] > 4096 || (i < 3 && !x[i]))
            return err_set(e, ERR_INPUT, "%s: the packed manifest has a bad or missing parallel.%s", h->path, key[i]);
    const char *text = arena_printf(mem, e, "%u %u %u %u", (unsigned)x[0], (unsigned)x[1], (unsigned)x[2], (unsigned)x[3]);
    return text ? table_meta(t, "octavo.parallel", text, e) : -1;
}

static int read_tensor(struct head *h, const json_t *j, uint64_t payload, uint64_t end, uint64_t *pos,
                       struct arena *mem, struct table *table, uint32_t file, struct err *e)
{
    struct tensor t = {.file = file};
    const char *name = json_string_value(json_object_get(j, "name"));
    const char *dtype = json_string_value(json_object_get(j, "dtype"));
    const json_t *shape = json_object_get(j, "shape"), *stored = json_object_get(j, "stored");
    const json_t *computed = json_object_get(j, "computed");
    if (!name || !(t.name = arena_strdup(mem, name, e)))
        return bad(h, e, name, "name");
    if (!dtype || (t.dtype = dtype_find(dtype, strlen(dtype))) == DT_COUNT || (stored && dtype_is_block(t.dtype)))
        return bad(h, e, name, "dtype"); /* GGUF's blocks lie as in the checkpoint, or not at all */
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_MAX_RANK)
        return bad(h, e, name, "shape");
    uint64_t elems = 1, bytes;
    t.rank = (uint8_t)json_array_size(shape);
    for (size_t i = 0; i < t.rank; i++)
        if (!get_u64(json_array_get(shape, i), &t.dim[i]) || !mul_u64(elems, t.dim[i], &elems))
            return bad(h, e, name, "shape");
    if (dtype_is_block(t.dtype) && (!t.rank || t.dim[t.rank - 1] % dtype_table[t.dtype].block_elems))
        return bad(h, e, name, "shape for its dtype");
    if (!get_u64(json_object_get(j, "offset"), &t.off) || !add_u64(t.off, payload, &t.off) || t.off < *pos)
        return bad(h, e, name, "offset");
    if (!get_u64(json_object_get(j, "size"), &t.size) || t.off > end || t.size > end - t.off)
        return bad(h, e, name, "size");
    if (read_slice(json_object_get(j, "slice"), &t, mem, e))
        return bad(h, e, name, "slice");
    if (read_fused(json_object_get(j, "fused"), &t, mem, e))
        return bad(h, e, name, "description of what it is fused of");
    if (computed && !stored)
        return bad(h, e, name, "layout");
    if (stored ? read_stored(h, stored, computed, &t, mem, e) : 0)
        return -1;
    if (!stored && (!dtype_size(t.dtype, elems, &bytes) || bytes != t.size))
        return bad(h, e, name, "size");
    *pos = t.off + t.size;
    return table_tensor(table, &t, e);
}

static int read_manifest(struct head *h, const json_t *root, uint64_t payload, uint64_t end, uint32_t file,
                         struct arena *mem, struct table *t, struct err *e)
{
    const json_t *v, *list = json_object_get(root, "tensors");
    const char *key;
    static const char *const known[] = {"target", "form", "scheme"};
    for (size_t i = 0; i < 3; i++) {
        const char *s = json_string_value(json_object_get(root, known[i]));
        char *k = s ? arena_printf(mem, e, "octavo.%s", known[i]) : NULL;
        char *copy = s ? arena_strdup(mem, s, e) : NULL;
        if (s && (!k || !copy || table_meta(t, k, copy, e)))
            return -1;
    }
    if (json_object_get(root, "parallel") && read_parallel(h, json_object_get(root, "parallel"), t, mem, e))
        return -1;
    json_object_foreach((json_t *)json_object_get(root, "metadata"), key, v) {
        if (!json_is_string(v))
            return err_set(e, ERR_INPUT, "%s: metadata '%s' is not a string", h->path, key);
        char *k = arena_strdup(mem, key, e);
        char *s = arena_strdup(mem, json_string_value(v), e);
        if (!k || !s || table_meta(t, k, s, e))
            return -1;
    }
    if (!json_is_array(list))
        return err_set(e, ERR_INPUT, "%s: the packed manifest has no list of tensors", h->path);
    uint64_t pos = payload;
    size_t i;
    json_array_foreach((json_t *)list, i, v)
        if (read_tensor(h, v, payload, end, &pos, mem, t, file, e))
            return -1;
    return 0;
}

int packed_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct err *e)
{
    uint8_t sum[8];
    if (head_need(h, PACKED_HEAD, e))
        return -1;
    checksum(h->p, AT_HEAD_SUM, sum);
    if (memcmp(sum, h->p + AT_HEAD_SUM, 8))
        return err_set(e, ERR_INPUT, "%s: the head of the packed file is damaged (checksum)", h->path);
    uint64_t version = get_le(h->p + AT_VERSION, 4), manifest = get_le(h->p + AT_MANIFEST, 8);
    uint64_t payload = get_le(h->p + AT_PAYLOAD, 8), trailer = get_le(h->p + AT_TRAILER, 8);
    uint64_t size = get_le(h->p + AT_SIZE, 8);
    if (version != PACKED_VERSION)
        return err_set(e, ERR_INPUT, "%s: packed file version %llu; this program reads version %d", h->path,
                       (unsigned long long)version, PACKED_VERSION);
    if (get_le(h->p + AT_FLAGS, 4))
        return err_set(e, ERR_INPUT, "%s: the packed file has flags (%llx) that this program does not know", h->path,
                       (unsigned long long)get_le(h->p + AT_FLAGS, 4));
    if (manifest > payload || payload - manifest < PACKED_HEAD || payload > trailer || trailer > size)
        return err_set(e, ERR_INPUT, "%s: the head of the packed file has impossible lengths", h->path);
    if (h->file_size != UINT64_MAX && h->file_size != size)
        return err_set(e, ERR_INPUT, "%s: the packed file should have %llu bytes and has %llu", h->path,
                       (unsigned long long)size, (unsigned long long)h->file_size);
    if (head_need(h, PACKED_HEAD + manifest, e))
        return -1;
    checksum(h->p + PACKED_HEAD, manifest, sum);
    if (memcmp(sum, h->p + AT_MANIFEST_SUM, 8))
        return err_set(e, ERR_INPUT, "%s: the manifest of the packed file is damaged (checksum)", h->path);
    json_error_t je;
    json_t *root = json_loadb((const char *)h->p + PACKED_HEAD, manifest, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set(e, ERR_INPUT, "%s: the packed manifest is not JSON: %s", h->path, je.text);
    size_t before = t->n;
    int r = read_manifest(h, root, payload, trailer, file, mem, t, e);
    json_decref(root);
    t->end = size; /* a stream must deliver the trailer too */
    if (!r && size - trailer != (t->n - before + 2) * 32)
        r = err_set(e, ERR_INPUT, "%s: the trailer of the packed file has the wrong size", h->path);
    return r;
}

/* The SHA-256 of a payload in a file. */
static int payload_digest(struct model *m, const struct tensor *t, uint8_t *p, size_t piece, uint8_t digest[32],
                          struct err *e)
{
    struct sha256 s;
    sha256_init(&s);
    for (uint64_t done = 0; done < t->size; done += piece) {
        const size_t k = (size_t)min_u64(piece, t->size - done);
        if (model_read_piece(m, t, done, p, k, e))
            return -1;
        sha256_put(&s, p, k);
    }
    sha256_end(&s, digest);
    return 0;
}

/* The next payload in the file: of a tensor, or of what is apart. */
static const struct tensor *next_payload(const struct model *m, size_t *i, size_t *c, bool *apart)
{
    while (*i < m->n && m->t[*i].derived) /* its bytes are in one that is apart */
        ++*i;
    *apart = *c < m->ncomputed && (*i == m->n || m->computed[*c].off < m->t[*i].off);
    return *apart ? &m->computed[(*c)++] : &m->t[(*i)++];
}

/* The trailer has a digest for every payload in order: of tensors, whose digests are known, and of what is apart,
 * which a stream has not kept. A tensor that is in one of those gets that one's. */
static int check_trailer(struct model *m, const uint8_t *tail, size_t n, uint8_t (*digest)[32], uint8_t *p, size_t piece,
                         struct err *e)
{
    const char *path = m->f[0].path;
    struct sha256 s;
    uint8_t d[32];
    bool apart;
    sha256_init(&s);
    sha256_put(&s, tail, (n + 1) * 32);
    sha256_end(&s, d);
    if (memcmp(d, tail + (n + 1) * 32, 32))
        return err_set(e, ERR_INPUT, "%s: the trailer of the packed file is damaged", path);
    for (size_t k = 0, i = 0, c = 0; k < n; k++, tail += 32) {
        const struct tensor *t = next_payload(m, &i, &c, &apart);
        if (apart && m->random && payload_digest(m, t, p, piece, d, e))
            return -1;
        if ((!apart || m->random) && memcmp(apart ? d : digest[i - 1], tail, 32))
            return err_set(e, ERR_INPUT, "%s: tensor '%s': the packed bytes do not match their SHA-256", path, t->name);
        for (size_t x = i; apart && t->fused && x < m->n && m->t[x].derived; x++)
            if (m->t[x].off == t->off)
                memcpy(digest[x], d, 32);
    }
    return 0;
}

int packed_check(struct model *m, uint8_t (*digest)[32], uint8_t source[32], struct err *e)
{
    size_t n = m->ncomputed;
    for (size_t i = 0; i < m->n; i++)
        n += !m->t[i].derived;
    const size_t tail_size = (n + 2) * 32, piece = 1 << 20;
    uint8_t *tail = mem_alloc(tail_size, 1, e), *p = mem_alloc(piece, 1, e);
    int r = tail && p ? model_read_end(m, tail, tail_size, e) : -1;
    for (size_t i = 0; !r && m->random && i < m->n; i++)
        r = m->t[i].derived ? 0 : payload_digest(m, &m->t[i], p, piece, digest[i], e);
    r = r || check_trailer(m, tail, n, digest, p, piece, e) ? -1 : 0;
    if (!r)
        memcpy(source, tail + 32 * n, 32);
    free(p);
    free(tail);
    return r;
}
