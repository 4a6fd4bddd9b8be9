/* safetensors files and their index. */
#include "mini.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

struct entry {
    char name[NAME];
    enum dtype dtype;
    int rank;
    uint64_t dim[RANK], size;
    void *data;
};

void die(const char *format, ...)
{
    va_list ap;

    fputs("mini: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputs(errno ? ": " : "\n", stderr);
    if (errno)
        fprintf(stderr, "%s\n", strerror(errno));
    exit(4);
}

void *need(size_t n, size_t size)
{
    void *const p = calloc(n ? n : 1, size);

    if (!p)
        die("memory");
    return p;
}

FILE *out_create(const char *dir, const char *name)
{
    char path[4096];

    if ((size_t)snprintf(path, sizeof path, "%s%s%s", dir ? dir : "", dir ? "/" : "", name) >= sizeof path)
        die("%s: the name is too long", name);
    FILE *const f = fopen(path, "wb");
    if (!f)
        die("%s", path);
    return f;
}

void out_close(FILE *f, const char *name)
{
    const bool bad = ferror(f);

    if (fclose(f) || bad)
        die("%s", name);
}

/* ---- one file --------------------------------------------------------------- */

/* The order of the safetensors library: wide types first, then by name. */
static int compare_entries(const void *a, const void *b)
{
    const struct entry *const x = a, *const y = b;

    return x->dtype != y->dtype ? (int)y->dtype - (int)x->dtype : strcmp(x->name, y->name);
}

static void write_file(struct out *o, const char *dir, const char *name)
{
    char *head = NULL;
    size_t length = 0;
    uint64_t at = 0;
    FILE *const f = out_create(dir, name), *const h = open_memstream(&head, &length);

    if (!h)
        die("memory");
    qsort(o->entry, o->n, sizeof *o->entry, compare_entries);
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", h);
    for (size_t i = 0; i < o->n; i++) {
        const struct entry *const e = &o->entry[i];
        fprintf(h, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", e->name, dtypes[e->dtype].name);
        for (int k = 0; k < e->rank; k++)
            fprintf(h, "%s%" PRIu64, k ? "," : "", e->dim[k]);
        fprintf(h, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + e->size);
        at += e->size;
    }
    putc('}', h);
    out_close(h, "memory");
    const uint64_t padded = (length + 7) / 8 * 8;
    for (int i = 0; i < 8; i++)
        putc((int)(padded >> 8 * i & 0xff), f);
    fprintf(f, "%-*s", (int)padded, head);
    free(head);
    for (size_t i = 0; i < o->n && !o->sparse; i++)
        fwrite(o->entry[i].data, 1, o->entry[i].size, f);
    if (fflush(f) || (o->sparse && ftruncate(fileno(f), (off_t)(8 + padded + at))))
        die("%s", name);
    out_close(f, name);
    for (size_t i = 0; i < o->n; i++)
        free(o->entry[i].data);
    o->n = 0;
}

/* ---- shards ------------------------------------------------------------------ */

static const char *shard_name(const struct out *o, unsigned shard, char name[NAME])
{
    snprintf(name, NAME, "%s-%05u-of-%0*u.safetensors", o->stem, o->first + shard, (int)o->digits,
             o->first + o->shards - 1);
    return name;
}

static void end_shard(struct out *o)
{
    char name[NAME];

    write_file(o, o->dir, shard_name(o, o->shard, name));
    o->shard++;
}

void out_put(struct out *o, const char *name, bool plain, enum dtype dtype, int rank, const uint64_t *dim,
             void *data)
{
    struct entry e = {.dtype = dtype, .rank = rank, .size = dtypes[dtype].size, .data = data};

    for (int i = 0; i < rank; i++)
        e.size *= e.dim[i] = dim[i];
    o->bytes += e.size;
    o->elems += e.size / dtypes[dtype].size;
    if (o->planning) {
        o->count++;
        return;
    }
    snprintf(e.name, sizeof e.name, "%s", name);
    struct place *const p = &o->place[o->done++];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->shard = o->shard;
    p->plain = plain;
    o->entry[o->n++] = e;
    if (o->shard + 1 < o->shards && o->bytes >= o->planned / o->shards * (o->shard + 1))
        end_shard(o);
}

void out_planned(struct out *o)
{
    o->planned = o->bytes;
    o->bytes = o->elems = 0;
    o->planning = false;
    o->place = need(o->count, sizeof *o->place);
    o->entry = need(o->count, sizeof *o->entry);
}

static int compare_places(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->name, ((const struct place *)b)->name);
}

void out_finish(struct out *o, uint64_t total_size)
{
    char name[NAME], shard[NAME];

    end_shard(o);
    if (o->shard != o->shards)
        die("%u files instead of %u", o->shard, o->shards);
    qsort(o->place, o->done, sizeof *o->place, compare_places);
    snprintf(name, sizeof name, "%s.safetensors.index.json", o->stem);
    FILE *const f = out_create(o->dir, name);
    fprintf(f, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {",
            total_size);
    for (size_t i = 0; i < o->done; i++)
        fprintf(f, "%s\n    \"%s\": \"%s\"", i ? "," : "", o->place[i].name,
                shard_name(o, o->place[i].shard, shard));
    fputs("\n  }\n}\n", f);
    out_close(f, name);
}

void out_single(struct out *o, const char *path) { write_file(o, NULL, path); }

void out_free(struct out *o)
{
    free(o->entry);
    free(o->place);
}
