#include "formats/shards.h"

#include "formats/gguf.h"
#include "formats/io.h"
#include "formats/jscan.h"
#include "formats/stream.h"
#include "formats/torch.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One line of the weight_map. */
struct shard_entry {
    const char *tensor, *file;
    uint32_t number;          /* of the file in model.f */
};

/* ---- directories --------------------------------------------------------- */

/* Best first. Other .bin files of a directory are optimizers and the like. */
enum { KIND_INDEX, KIND_SAFETENSORS, KIND_TORCH_INDEX, KIND_TORCH, KIND_GGUF, KIND_COUNT };
static const struct {
    const char *end, *usual; /* of the name; the one that is taken where there are several */
} kinds[KIND_COUNT] = {
    {".safetensors.index.json", "model.safetensors.index.json"},
    {".safetensors", NULL},
    {".bin.index.json", "pytorch_model.bin.index.json"},
    {"pytorch_model.bin", "pytorch_model.bin"},
    {".gguf", NULL},
};

struct names {
    const char **name;
    size_t n, cap;
};

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int list_directory(const char *dir, struct names kind[KIND_COUNT], struct arena *mem,
                          struct err *e)
{
    DIR *const d = opendir(dir);
    if (!d)
        return err_sys(e, "%s: cannot list", dir);
    int rc = 0;
    for (const struct dirent *x; !rc && (x = readdir(d));) {
        const size_t n = strlen(x->d_name);
        for (int i = 0; i < KIND_COUNT && x->d_name[0] != '.'; i++) {
            const size_t k = strlen(kinds[i].end);
            if (n < k || strcmp(x->d_name + n - k, kinds[i].end))
                continue;
            struct names *const list = &kind[i];
            const char *const copy = arena_strndup(mem, x->d_name, n, e);
            rc = copy ? 0 : -1;
            if (!rc)
                rc = mem_grow((void **)&list->name, &list->cap, list->n + 1, sizeof copy, e);
            if (!rc)
                list->name[list->n++] = copy;
            break;
        }
    }
    closedir(d);
    for (int i = 0; i < KIND_COUNT; i++)
        if (kind[i].n)
            qsort(kind[i].name, kind[i].n, sizeof *kind[i].name, name_compare);
    return rc;
}

static int ambiguous(const char *dir, const struct names *list, const char *advice, struct err *e)
{
    struct buf b = {0};
    for (size_t i = 0; i < list->n && i < 8; i++)
        if (buf_printf(&b, e, "%s%s", i ? ", " : "", list->name[i]))
            goto end;
    if (list->n > 8 && buf_printf(&b, e, " and %zu more", list->n - 8))
        goto end;
    err_set(e, ERR_INPUT, "%s: which one? There are %.700s; %s", dir, b.s, advice);
end:
    buf_free(&b);
    return -1;
}

/* All files are parts of one GGUF model; that none is missing is seen when they are read. */
static bool are_parts(const struct names *list)
{
    size_t stem, first = 0;
    unsigned part, parts, count = 0;
    for (size_t i = 0; i < list->n; i++) {
        if (!gguf_part_name(list->name[i], &stem, &part, &parts))
            return false;
        if (i && (stem != first || parts != count || memcmp(list->name[i], list->name[0], stem)))
            return false;
        first = stem;
        count = parts;
    }
    return true;
}

static const char *choose(const char *dir, const struct names kind[KIND_COUNT], struct arena *mem,
                          struct err *e)
{
    for (int i = 0; i < KIND_COUNT; i++) {
        for (size_t k = 0; k < kind[i].n && kinds[i].usual; k++)
            if (!strcmp(kind[i].name[k], kinds[i].usual))
                return arena_printf(mem, e, "%s/%s", dir, kinds[i].usual);
        if (kind[i].n == 1 || (i == KIND_GGUF && kind[i].n && are_parts(&kind[i])))
            return arena_printf(mem, e, "%s/%s", dir, kind[i].name[0]);
        if (kind[i].n > 1) {
            (void)ambiguous(dir, &kind[i],
                            i == KIND_SAFETENSORS ? "without an index they are no one model"
                                                  : "name the file instead of the directory",
                            e);
            return NULL;
        }
    }
    err_set(e, ERR_INPUT, "%s: has no *.safetensors, pytorch_model.bin or *.gguf file, nor a"
            " *.safetensors.index.json or *.bin.index.json", dir);
    return NULL;
}

const char *shards_find(const char *dir, struct arena *mem, struct err *e)
{
    struct names kind[KIND_COUNT] = {{0}};
    /* "dir/" is spelled "dir" in messages and in paths made from it. */
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        n--;
    dir = arena_strndup(mem, dir, n, e);
    const char *path = NULL;
    if (dir && !list_directory(dir, kind, mem, e))
        path = choose(dir, kind, mem, e);
    for (int i = 0; i < KIND_COUNT; i++)
        free(kind[i].name);
    return path;
}

/* ---- the index ----------------------------------------------------------- */

static bool stays_inside(const char *file)
{
    if (!*file || *file == '/')
        return false;
    for (const char *s = file; s; s = strchr(s, '/')) {
        s += *s == '/';
        if (!strncmp(s, "..", 2) && (!s[2] || s[2] == '/'))
            return false;
    }
    return true;
}

static int read_weight_map(struct shards *s, struct jscan *j)
{
    bool first = true;
    int more;
    if (jscan_begin(j, '{'))
        return -1;
    while ((more = jscan_next(j, '{', &first)) > 0) {
        char *tensor, *file;
        size_t n;
        if (jscan_key(j, &tensor, &n) || jscan_string(j, &file, &n))
            return -1;
        if (!stays_inside(file))
            return err_set(j->e, ERR_INPUT,
                           "%s: tensor '%.300s': file name '%.300s' leaves the directory", s->index,
                           tensor, file);
        if (mem_grow((void **)&s->entry, &s->cap, s->n + 1, sizeof *s->entry, j->e))
            return -1;
        s->entry[s->n++] = (struct shard_entry){.tensor = tensor, .file = file};
    }
    return more;
}

static int read_index(struct shards *s, struct err *e)
{
    size_t n;
    s->text = io_read_file(s->index, SHARDS_INDEX_MAX, &n, e);
    if (!s->text)
        return -1;
    struct jscan j;
    bool first = true, seen = false;
    int more;
    if (jscan_init(&j, s->index, "index", s->text, n, e) || jscan_begin(&j, '{'))
        return -1;
    while ((more = jscan_next(&j, '{', &first)) > 0) {
        char *key;
        if (jscan_key(&j, &key, &n))
            return -1;
        if (strcmp(key, "weight_map")) {
            if (jscan_skip(&j))
                return -1;
            continue;
        }
        if (seen)
            return jscan_fail(&j, "weight_map is given twice");
        seen = true;
        if (read_weight_map(s, &j))
            return -1;
    }
    if (more || jscan_end(&j))
        return -1;
    return seen ? 0 : err_set(e, ERR_INPUT, "%s: has no weight_map", s->index);
}

/* ---- the files ----------------------------------------------------------- */

/* The different file names of the index, sorted; entry.number becomes the place in that list. */
static int number_files(struct shards *s, struct names *file, struct err *e)
{
    struct map seen = {0};
    int rc = 0;
    for (size_t i = 0; i < s->n && !rc; i++) {
        /* Entries of one file stand together as a rule: one string for them. */
        if (i && !strcmp(s->entry[i].file, s->entry[i - 1].file)) {
            s->entry[i].file = s->entry[i - 1].file;
            continue;
        }
        rc = map_add(&seen, s->entry[i].file, 0, e);
        if (!rc)
            rc = mem_grow((void **)&file->name, &file->cap, file->n + 1, sizeof *file->name, e);
        if (!rc)
            file->name[file->n++] = s->entry[i].file;
        rc = rc < 0 ? -1 : 0;
    }
    map_free(&seen);
    if (rc)
        return -1;
    if (file->n)
        qsort(file->name, file->n, sizeof *file->name, name_compare);
    for (size_t i = 0; i < s->n; i++) {
        struct shard_entry *const x = &s->entry[i];
        if (i && x->file == x[-1].file) {
            x->number = x[-1].number;
            continue;
        }
        const char *const *const at =
            bsearch(&x->file, file->name, file->n, sizeof *file->name, name_compare);
        x->number = (uint32_t)(at - (const char *const *)file->name);
    }
    return 0;
}

static const char *first_tensor_of(const struct shards *s, uint32_t number)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->entry[i].number == number)
            return s->entry[i].tensor;
    return "";
}

static int read_shard(const struct shards *s, struct model *m, uint32_t number, struct arena *mem,
                      struct table *t, bool *torch, struct err *e)
{
    struct model_file *const f = &m->f[number];
    if (!io_exists(f->path))
        return err_set(e, ERR_INPUT, "%s: is missing; %s names it for tensor '%.300s'", f->path,
                       s->index, first_tensor_of(s, number));
    f->fd = io_open(f->path, &f->size, e);
    if (f->fd < 0)
        return -1;
    if (f->size == UINT64_MAX)
        return err_set(e, ERR_INPUT, "%s: is a shard, but no regular file", f->path);
    struct head h = {.path = f->path, .fd = f->fd, .file_size = f->size, .may_be_short = m->headers_only};
    int rc = head_need(&h, min_u64(f->size, 18), e);
    if (!rc && stream_magic(h.p, h.n))
        rc = err_set(e, ERR_INPUT,
                     "%s: is compressed; shards are read at any offset and must not be", f->path);
    if (!rc)
        *torch = torch_magic(h.p, h.n);
    const size_t nkv = t->nkv;
    if (!rc)
        rc = (*torch ? torch_read : safetensors_read)(&h, number, mem, t, e);
    /* An index lists all tensors of its files; these would not be seen. */
    for (size_t i = nkv; i < t->nkv && !rc && *torch; i++)
        if (!strcmp(t->kv[i].key, "torch.left_out"))
            rc = err_set(e, ERR_INPUT, "%s: is a shard, but beside its tensors there are others: %.300s", f->path,
                         t->kv[i].value);
    free(h.p);
    return rc;
}

/* Consecutive files, read by one thread into tables of its own. */
struct part {
    const struct shards *s;
    struct model *m;
    size_t from, to;
    struct arena mem;
    struct table t;
    struct err e;
    int rc;
    pthread_t thread;
    bool started, torch;
};

static void *read_part(void *arg)
{
    struct part *const p = arg;
    for (size_t i = p->from; i < p->to && !p->rc; i++)
        p->rc = read_shard(p->s, p->m, (uint32_t)i, &p->mem, &p->t, &p->torch, &p->e);
    return NULL;
}

/* Parts are joined in order, so the sentence is that of the first bad file. */
static int join_part(struct part *p, struct table *t, struct err *e)
{
    arena_join(&p->m->mem, &p->mem);
    if (p->rc) {
        *e = p->e;
        return -1;
    }
    if (p->torch)
        p->m->container = CONTAINER_TORCH;
    if (!t->n && !t->nkv) {
        table_free(t);
        *t = p->t;
        p->t = (struct table){0};
        return 0;
    }
    for (size_t i = 0; i < p->t.nkv; i++)
        if (table_meta(t, p->t.kv[i].key, p->t.kv[i].value, e))
            return -1;
    if (mem_grow((void **)&t->t, &t->cap, t->n + p->t.n, sizeof *t->t, e))
        return -1;
    memcpy(t->t + t->n, p->t.t, p->t.n * sizeof *t->t);
    t->n += p->t.n;
    return 0;
}

enum { PARTS_MAX = 4, PART_FILES = 16 };

static int read_parts(const struct shards *s, struct model *m, struct table *t, struct err *e)
{
    struct part part[PARTS_MAX] = {{0}};
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    const size_t most = cpus > 1 ? (size_t)cpus : 1, want = 1 + m->nf / PART_FILES;
    const size_t n = min_u64(min_u64(most, want), PARTS_MAX);
    int rc = 0;
    for (size_t i = n; i-- > 0;) {
        part[i] = (struct part){.s = s, .m = m, .from = m->nf * i / n, .to = m->nf * (i + 1) / n};
        part[i].started = i && !pthread_create(&part[i].thread, NULL, read_part, &part[i]);
        if (!part[i].started)
            read_part(&part[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (part[i].started)
            pthread_join(part[i].thread, NULL);
        struct err ignored;
        if (join_part(&part[i], t, rc ? &ignored : e))
            rc = -1;
        table_free(&part[i].t);
    }
    return rc;
}

static int read_shards(const struct shards *s, struct model *m, const struct names *file,
                       struct table *t, struct err *e)
{
    if (file->n > UINT32_MAX)
        return err_set(e, ERR_INPUT, "%s: names %zu files", s->index, file->n);
    const char *const slash = strrchr(s->index, '/');
    const int dir = slash ? (int)(slash - s->index) + 1 : 0;
    m->f = arena_array(&m->mem, file->n, sizeof *m->f, e);
    if (!m->f)
        return -1;
    m->nf = file->n;
    for (size_t i = 0; i < m->nf; i++)
        m->f[i].fd = -1;
    for (size_t i = 0; i < m->nf; i++) {
        struct model_file *const f = &m->f[i];
        f->path = arena_printf(&m->mem, e, "%.*s%s", dir, s->index, file->name[i]);
        if (!f->path)
            return -1;
        f->name = strrchr(f->path, '/') ? strrchr(f->path, '/') + 1 : f->path;
    }
    return read_parts(s, m, t, e);
}

int shards_read(struct shards *s, struct model *m, const char *index, struct table *t,
                struct err *e)
{
    struct names file = {0};
    *s = (struct shards){.index = index};
    m->container = CONTAINER_SAFETENSORS;
    m->random = m->sharded = true;
    const int rc = read_index(s, e) || number_files(s, &file, e) || read_shards(s, m, &file, t, e);
    free(file.name);
    return rc ? -1 : 0;
}

int shards_check(const struct shards *s, const struct model *m, struct err *e)
{
    bool *const seen = mem_alloc(m->n, sizeof *seen, e);
    if (!seen)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < s->n && !rc; i++) {
        const struct shard_entry *const x = &s->entry[i];
        size_t k;
        if (!map_find(&m->by_name, x->tensor, &k))
            rc = err_set(e, ERR_INPUT, "%s: tensor '%.300s' is not in %s", s->index, x->tensor,
                         x->file);
        else if (m->t[k].file != x->number)
            rc = err_set(e, ERR_INPUT, "%s: tensor '%.300s' is in %s, not in %s", s->index,
                         x->tensor, m->f[m->t[k].file].name, x->file);
        else if (seen[k])
            rc = err_set(e, ERR_INPUT, "%s: tensor '%.300s' is listed twice", s->index, x->tensor);
        else
            seen[k] = true;
    }
    for (size_t k = 0; k < m->n && !rc; k++)
        if (!seen[k])
            rc = err_set(e, ERR_INPUT, "%s: tensor '%.300s' of %s is not listed", s->index,
                         m->t[k].name, m->f[m->t[k].file].name);
    free(seen);
    return rc;
}

void shards_free(struct shards *s)
{
    free(s->text);
    free(s->entry);
    *s = (struct shards){0};
}
