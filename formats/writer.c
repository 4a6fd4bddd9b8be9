#include "formats/writer.h"

#include "formats/json.h"

#include <stdlib.h>
#include <string.h>

struct place {
    const struct tensor *t;
    uint32_t file;
    size_t index;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* As the reference writer lays a file out (huggingface/safetensors tensor.rs, prepare). */
static int by_dtype(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->t->dtype != y->t->dtype)
        return x->t->dtype > y->t->dtype ? -1 : 1;
    return strcmp(x->t->name, y->t->name);
}

static int put_entry(struct buf *b, const struct tensor *t, uint64_t begin, struct err *e)
{
    if (json_put_string(b, t->name, e) || buf_printf(b, e, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(t->dtype)))
        return -1;
    for (int i = 0; i < t->rank; i++)
        if (buf_printf(b, e, i ? ",%llu" : "%llu", (unsigned long long)t->dim[i]))
            return -1;
    return buf_printf(b, e, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                      (unsigned long long)(begin + t->size));
}

static int put_metadata(struct buf *b, const struct meta *kv, size_t nkv, struct err *e)
{
    if (buf_puts(b, "\"__metadata__\":{", e))
        return -1;
    for (size_t i = 0; i < nkv; i++)
        if (buf_puts(b, i ? "," : "", e) || json_put_string(b, kv[i].key, e) || buf_puts(b, ":", e)
            || json_put_string(b, kv[i].value, e))
            return -1;
    return buf_puts(b, "}", e);
}

/* The head of one file: places p[0..n) in order. The data starts at a multiple of 8. */
static int put_head(struct buf *b, struct place *p, size_t n, const struct meta *kv, size_t nkv, uint64_t *data,
                    struct err *e)
{
    static const char length[8];
    uint64_t pos = 0;
    if (buf_put(b, length, 8, e) || buf_puts(b, "{", e) || (nkv && put_metadata(b, kv, nkv, e)))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (buf_puts(b, i || nkv ? "," : "", e) || put_entry(b, p[i].t, pos, e))
            return -1;
        if (!add_u64(pos, p[i].t->size, &pos))
            return err_set(e, ERR_INPUT, "tensor '%s': the file would be too large", p[i].t->name);
    }
    if (buf_puts(b, "}", e))
        return -1;
    while (b->n % 8)
        if (buf_puts(b, " ", e))
            return -1;
    if (b->n - 8 > 100000000)
        return err_set(e, ERR_INPUT, "the safetensors header would have %zu bytes; readers take 100000000 (use "
                       "shards: --shard-size)", b->n - 8);
    for (int i = 0; i < 8; i++)
        b->s[i] = (char)((uint64_t)(b->n - 8) >> 8 * i);
    *data = pos;
    return 0;
}

int writer_allocate(struct writer *w, size_t n, size_t nfiles, struct err *e)
{
    *w = (struct writer){.nfiles = nfiles, .nslots = n};
    w->file = arena_array(&w->mem, nfiles, sizeof *w->file, e);
    w->slot = arena_array(&w->mem, n, sizeof *w->slot, e);
    w->slot_of = arena_array(&w->mem, n, sizeof *w->slot_of, e);
    w->head = arena_array(&w->mem, nfiles, sizeof *w->head, e);
    return w->file && w->slot && w->slot_of && w->head ? 0 : -1;
}

int writer_safetensors(struct writer *w, const struct tensor *t, size_t n, const uint32_t *shard,
                       const char *const *path, size_t nfiles, const struct meta *kv, size_t nkv, bool arrival,
                       struct err *e)
{
    struct place *p = mem_alloc(n, sizeof *p, e);
    if (writer_allocate(w, n, nfiles, e) || !p)
        goto fail;
    for (size_t i = 0; i < n; i++)
        p[i] = (struct place){&t[i], shard[i], i};
    qsort(p, n, sizeof *p, arrival ? by_place : by_dtype);
    for (size_t f = 0, at = 0; f < nfiles; f++) {
        uint64_t data;
        size_t first = at;
        while (at < n && p[at].file == f)
            at++;
        if (put_head(&w->head[f], p + first, at - first, kv, nkv, &data, e))
            goto fail;
        uint64_t pos = w->head[f].n;
        for (size_t i = first; i < at; i++) {
            w->slot[i] = (struct sink_slot){(uint32_t)f, pos, p[i].t->size};
            w->slot_of[p[i].index] = i;
            pos += p[i].t->size;
        }
        w->file[f] = (struct sink_file){.path = path[f], .head = w->head[f].s, .head_size = w->head[f].n, .size = pos};
        w->bytes += pos;
    }
    free(p);
    return 0;
fail:
    free(p);
    writer_free(w);
    return -1;
}

int writer_packed(struct writer *w, struct tensor *t, size_t n, const char *path, const struct packed_info *info,
                  struct err *e)
{
    if (writer_allocate(w, n, 1, e)
        || packed_plan(info, t, n, &w->head[0], &w->file[0].size, &w->file[0].tail_size, e)) {
        writer_free(w);
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        w->slot[i] = (struct sink_slot){0, t[i].off, t[i].size};
        w->slot_of[i] = i;
    }
    w->file[0].path = path;
    w->file[0].head = w->head[0].s;
    w->file[0].head_size = w->head[0].n;
    w->bytes = w->file[0].size;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct tensor *const *)a)->name, (*(const struct tensor *const *)b)->name);
}

int writer_index(const struct writer *w, const struct tensor *t, size_t n, struct buf *text, struct err *e)
{
    uint64_t total = 0;
    const struct tensor **p = mem_alloc(n, sizeof *p, e);
    if (!p)
        return -1;
    for (size_t i = 0; i < n; i++) {
        total += t[i].size;
        p[i] = &t[i];
    }
    qsort(p, n, sizeof *p, by_name);
    int r = buf_printf(text, e, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
                       (unsigned long long)total);
    for (size_t i = 0; !r && i < n; i++) {
        const char *path = w->file[w->slot[w->slot_of[p[i] - t]].file].path, *slash = strrchr(path, '/');
        r = buf_puts(text, i ? ",\n    " : "\n    ", e) || json_put_string(text, p[i]->name, e)
         || buf_puts(text, ": ", e) || json_put_string(text, slash ? slash + 1 : path, e) ? -1 : 0;
    }
    free(p);
    return r ? -1 : buf_puts(text, "\n  }\n}\n", e);
}

void writer_free(struct writer *w)
{
    for (size_t i = 0; w->head && i < w->nfiles; i++)
        buf_free(&w->head[i]);
    arena_free(&w->mem);
    *w = (struct writer){0};
}
