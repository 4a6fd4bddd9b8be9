#include "formats/model.h"

#include "formats/derived.h"
#include "formats/fused.h"
#include "formats/gguf.h"
#include "formats/io.h"
#include "formats/llama2c.h"
#include "formats/packed.h"
#include "formats/shards.h"
#include "formats/stream.h"
#include "formats/torch.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEAD_AHEAD = 1 << 16,      /* one read serves the header of most files */
    STREAM_STEP = 1 << 20,     /* a stream's header grows as its bytes arrive, not as it claims */
    CONFIG_MAX = 16 << 20,
};

/* ---- head ---------------------------------------------------------------- */

int head_need(struct head *h, uint64_t n, struct err *e)
{
    if (n <= h->n)
        return 0;
    if (n > h->file_size || n > SIZE_MAX / 2)
        return err_set(e, ERR_INPUT, "%s: file ends at byte %" PRIu64 ", %" PRIu64 " needed",
                       h->path, h->file_size, n);
    if (h->fd >= 0) {
        /* Not above the size of the file, so a claim cannot make this large. */
        size_t want = (size_t)min_u64(h->file_size, max_u64(n, h->n + HEAD_AHEAD));
        if (mem_grow((void **)&h->p, &h->cap, want, 1, e)
            || io_pread(h->fd, h->path, h->n, h->p + h->n, want - h->n, e))
            return -1;
        h->n = want;
        return 0;
    }
    while (h->n < n) {
        const size_t step = (size_t)min_u64(n - h->n, STREAM_STEP);
        size_t got;
        if (mem_grow((void **)&h->p, &h->cap, h->n + step, 1, e)
            || stream_read(h->stream, h->p + h->n, step, &got, e))
            return -1;
        h->n += got;
        if (got < step)
            return err_set(e, ERR_INPUT, "%s: file ends at byte %zu, %" PRIu64 " needed", h->path,
                           h->n, n);
    }
    return 0;
}

/* ---- table --------------------------------------------------------------- */

int table_tensor(struct table *t, const struct tensor *x, struct err *e)
{
    if (mem_grow((void **)&t->t, &t->cap, t->n + 1, sizeof *t->t, e))
        return -1;
    t->t[t->n++] = *x;
    return 0;
}

int table_meta(struct table *t, const char *key, const char *value, struct err *e)
{
    if (mem_grow((void **)&t->kv, &t->kvcap, t->nkv + 1, sizeof *t->kv, e))
        return -1;
    t->kv[t->nkv++] = (struct meta){key, value};
    return 0;
}

void table_free(struct table *t)
{
    free(t->t);
    free(t->kv);
    *t = (struct table){0};
}

struct place {
    uint64_t off, size;
    uint32_t file;
    size_t index;
};

static int place_compare(const void *x, const void *y)
{
    const struct place *const a = x, *const b = y;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    if (a->off != b->off)
        return a->off < b->off ? -1 : 1;
    if (a->size != b->size)
        return a->size < b->size ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static struct place place_of(const struct tensor *t, size_t index)
{
    return (struct place){t[index].off, t[index].size, t[index].file, index};
}

int table_sort(struct table *t, size_t from, struct err *e)
{
    const size_t n = t->n - from;
    if (n < 2)
        return 0;
    struct tensor *const old = t->t + from;
    size_t i = 1;
    for (; i < n; i++) {
        const struct place a = place_of(old, i - 1), b = place_of(old, i);
        if (place_compare(&a, &b) > 0)
            break;
    }
    if (i >= n)
        return 0; /* the usual case: writers list tensors as they lie */
    struct place *const place = mem_alloc(n, sizeof *place, e);
    struct tensor *const copy = place ? mem_alloc(n, sizeof *copy, e) : NULL;
    if (!copy) {
        free(place);
        return -1;
    }
    for (i = 0; i < n; i++)
        place[i] = place_of(old, i);
    qsort(place, n, sizeof *place, place_compare);
    for (i = 0; i < n; i++)
        copy[i] = old[place[i].index];
    memcpy(old, copy, n * sizeof *copy);
    free(copy);
    free(place);
    return 0;
}

int table_end(struct table *t, size_t from, const struct head *h, uint64_t end, bool exact,
              struct err *e)
{
    const uint64_t size = h->file_size;
    t->end = end;
    if (size == UINT64_MAX || size == end || (size > end && !exact) || (size < end && h->may_be_short))
        return 0;
    if (size > end)
        return err_set(e, ERR_INPUT,
                       "%s: %" PRIu64 " bytes follow the last tensor, which ends at byte %" PRIu64,
                       h->path, size - end, end);
    for (size_t i = from; i < t->n; i++)
        if (t->t[i].off + t->t[i].size > size)
            return err_set(e, ERR_INPUT,
                           "%s: file ends early: it has %" PRIu64 " bytes of %" PRIu64 ", %" PRIu64
                           " are missing, from tensor '%.300s' (bytes %" PRIu64 "..%" PRIu64 ") on",
                           h->path, size, end, end - size, t->t[i].name, t->t[i].off,
                           t->t[i].off + t->t[i].size);
    return err_set(e, ERR_INPUT,
                   "%s: file ends early: it has %" PRIu64 " bytes of %" PRIu64
                   ", the end after the last tensor is missing",
                   h->path, size, end);
}

/* ---- spooling ------------------------------------------------------------ */

/* An unlinked file: it is gone when the program is, however that ends. */
static int open_spool(char *path, size_t size, struct err *e)
{
    const char *dir = getenv("TMPDIR");
    if (!dir || !*dir)
        dir = "/tmp";
    if (snprintf(path, size, "%s/octavo-spool-XXXXXX", dir) >= (int)size)
        return err_set(e, ERR_USAGE, "TMPDIR is too long: %.300s", dir);
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, "%s: cannot create a spool file", path);
    unlink(path);
    return fd;
}

/* Copies the stream and goes on with the copy. */
static int spool(struct model *m, struct err *e)
{
    char path[4096];
    uint8_t *const p = mem_alloc(STREAM_STEP, 1, e);
    const int fd = p ? open_spool(path, sizeof path, e) : -1;
    uint64_t pos = 0;
    int rc = fd < 0 ? -1 : 0;
    for (size_t got = STREAM_STEP; !rc && got == STREAM_STEP; pos += got) {
        rc = stream_read(m->stream, p, STREAM_STEP, &got, e);
        if (!rc)
            rc = io_pwrite(fd, path, pos, p, got, e);
        if (rc)
            got = 0;
    }
    free(p);
    m->f[0].fd = fd;
    m->f[0].size = pos;
    if (rc)
        return -1;
    stream_close(m->stream);
    m->stream = NULL;
    m->random = true;
    return 0;
}

/* ---- opening ------------------------------------------------------------- */

/* The keys stay where they were read to, and what follows them goes. */
static int read_gguf(struct model *m, struct head *h, struct table *t, struct err *e)
{
    struct gguf_info info;
    m->container = CONTAINER_GGUF;
    if (gguf_read(h, 0, &m->mem, t, &info, e))
        return -1;
    uint8_t *const shorter = realloc(h->p, (size_t)(info.kv_at + info.kv_size));
    m->gguf_head = shorter ? shorter : h->p;
    h->p = NULL;
    m->gguf_kv = m->gguf_head + info.kv_at;
    m->gguf_kv_size = (size_t)info.kv_size;
    m->gguf_kv_count = info.kv_count;
    return gguf_parts(m, &info, t, e);
}

static int read_container(struct model *m, struct head *h, struct table *t, struct err *e)
{
    if (head_need(h, 8, e))
        return -1;
    if (!memcmp(h->p, "GGUF", 4))
        return read_gguf(m, h, t, e);
    if (!memcmp(h->p, PACKED_MAGIC, 8)) {
        m->container = CONTAINER_PACKED;
        return packed_read(h, 0, &m->mem, t, e);
    }
    if (torch_magic(h->p, h->n)) {
        m->container = CONTAINER_TORCH;
        return torch_read(h, 0, &m->mem, t, e);
    }
    /* No header of safetensors is that long; nor does one that is shorter matter here. */
    const bool other = h->p[4] | h->p[5] | h->p[6] | h->p[7];
    if (other && h->file_size >= LLAMA2C_HEAD && !head_need(h, LLAMA2C_HEAD, e) && llama2c_magic(h->p, h->n)) {
        m->container = CONTAINER_LLAMA2C;
        return llama2c_read(h, 0, &m->mem, t, e);
    }
    m->container = CONTAINER_SAFETENSORS;
    return safetensors_read(h, 0, &m->mem, t, e);
}

/* True when the bytes of fd can be read at any offset as they are. */
static int is_random(int fd, const char *path, bool *random, struct err *e)
{
    struct stat st;
    uint8_t p[18];
    *random = false;
    if (fstat(fd, &st))
        return err_sys(e, "%s: cannot stat", path);
    /* `octavo ls - < file` is a file too, unless part of it was read before. */
    if (!S_ISREG(st.st_mode) || lseek(fd, 0, SEEK_CUR) != 0)
        return 0;
    const size_t n = (size_t)min_u64((uint64_t)st.st_size, sizeof p);
    if (io_pread(fd, path, 0, p, n, e))
        return -1;
    *random = !stream_magic(p, n);
    return 0;
}

static int open_file(struct model *m, const char *path, bool spooled, struct table *t, struct err *e)
{
    const bool standard_input = !strcmp(path, "-");
    struct model_file *const f = arena_alloc(&m->mem, sizeof *f, e);
    if (!f)
        return -1;
    f->path = standard_input ? "standard input" : arena_strdup(&m->mem, path, e);
    if (!f->path)
        return -1;
    const char *const slash = strrchr(path, '/');
    f->name = slash ? f->path + (slash - path) + 1 : standard_input ? "-" : f->path;
    f->fd = standard_input ? 0 : io_open(path, NULL, e);
    if (f->fd < 0)
        return -1;
    m->f = f;
    m->nf = 1;
    if (is_random(f->fd, f->path, &m->random, e))
        return -1;
    f->size = UINT64_MAX;
    if (m->random) {
        struct stat st;
        if (fstat(f->fd, &st))
            return err_sys(e, "%s: cannot stat", f->path);
        f->size = (uint64_t)st.st_size;
    } else {
        m->stream = stream_open(f->fd, f->path, e);
        f->fd = -1; /* the stream's */
        if (!m->stream || (spooled && spool(m, e)))
            return -1;
    }
    struct head h = {.path = f->path, .fd = f->fd, .stream = m->stream, .file_size = f->size,
                     .may_be_short = m->headers_only};
    const int rc = read_container(m, &h, t, e);
    m->stream_pos = h.n;
    m->stream_end = max_u64(t->end, h.n);
    free(h.p);
    return rc;
}

/* Metadata of shards repeat each other: of each key the first value is kept. */
static int keep_first_keys(struct table *t, struct err *e)
{
    struct map seen = {0};
    size_t n = 0;
    int rc = 0;
    for (size_t i = 0; i < t->nkv; i++) {
        rc = map_add(&seen, t->kv[i].key, i, e);
        if (rc < 0)
            break;
        if (!rc)
            t->kv[n++] = t->kv[i];
    }
    map_free(&seen);
    if (rc < 0)
        return -1;
    t->nkv = n;
    return 0;
}

static int index_names(struct model *m, struct err *e)
{
    if (map_reserve(&m->by_name, m->n, e))
        return -1;
    for (size_t i = 0; i < m->n; i++) {
        const int there = map_add(&m->by_name, m->t[i].name, i, e);
        if (there < 0)
            return -1;
        if (there) {
            size_t k = 0;
            (void)map_find(&m->by_name, m->t[i].name, &k);
            const char *const first = m->f[m->t[k].file].path;
            const char *const again = m->f[m->t[i].file].path;
            if (m->t[k].file == m->t[i].file)
                return err_set(e, ERR_INPUT, "%s: tensor '%.300s' is listed twice", first,
                               m->t[i].name);
            return err_set(e, ERR_INPUT, "tensor '%.300s' is in %s and again in %s", m->t[i].name,
                           first, again);
        }
    }
    return 0;
}

/* Where config.json is: the directory itself, or that of the file if it has one. */
static int find_config(struct model *m, const char *path, bool is_dir, struct err *e)
{
    if (strcmp(path, "-") && m->container != CONTAINER_LLAMA2C) { /* whose header says it all */
        const char *const slash = strrchr(path, '/');
        const char *dir;
        if (is_dir)
            dir = arena_strdup(&m->mem, path, e);
        else if (!slash)
            dir = ".";
        else
            dir = arena_strndup(&m->mem, path, slash == path ? 1 : (size_t)(slash - path), e);
        if (!dir)
            return -1;
        const char *const config = arena_printf(&m->mem, e, "%s/config.json", dir);
        if (!config)
            return -1;
        const bool there = io_exists(config);
        if (is_dir || there)
            m->dir = dir;
        if (there) {
            size_t n;
            char *const text = io_read_file(config, CONFIG_MAX, &n, e);
            if (!text)
                return -1;
            m->config = arena_strndup(&m->mem, text, n, e);
            free(text);
            return m->config ? 0 : -1;
        }
    }
    m->config = model_meta(m, "octavo.config");
    return 0;
}

/* What was computed for a chip is no tensor of the model. */
static int set_computed_apart(struct model *m, struct err *e)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        m->ncomputed += m->t[i].stored && m->t[i].stored->rule;
    if (!m->ncomputed)
        return 0;
    struct tensor *to = m->computed = arena_array(&m->mem, m->ncomputed, sizeof *to, e);
    if (!to)
        return -1;
    for (size_t i = 0; i < m->n; i++)
        *(m->t[i].stored && m->t[i].stored->rule ? to++ : &m->t[n++]) = m->t[i];
    m->n = n;
    return 0;
}

static int open_any(struct model *m, const char *path, bool spooled, struct err *e)
{
    m->path = arena_strdup(&m->mem, path, e);
    if (!m->path)
        return -1;
    const bool is_dir = strcmp(path, "-") && io_is_dir(path);
    const char *const source = is_dir ? shards_find(path, &m->mem, e) : path;
    if (!source)
        return -1;
    struct table t = {0};
    struct shards s = {0};
    const bool by_index = ends_with(source, ".json");
    int rc = by_index ? shards_read(&s, m, source, &t, e) : open_file(m, source, spooled, &t, e);
    if (!rc)
        rc = table_sort(&t, 0, e);
    if (!rc && m->nf > 1)
        rc = keep_first_keys(&t, e);
    /* From here on the arrays are the model's, whatever happened. */
    m->t = t.t;
    m->n = t.n;
    m->kv = t.kv;
    m->nkv = t.nkv;
    if (!rc && m->container == CONTAINER_PACKED)
        rc = set_computed_apart(m, e) || fused_split(m, e) ? -1 : 0;
    if (!rc)
        rc = index_names(m, e);
    if (!rc && by_index)
        rc = shards_check(&s, m, e);
    shards_free(&s);
    return rc ? -1 : find_config(m, path, is_dir, e);
}

static int open_model(struct model *m, const char *path, bool spooled, bool headers_only, struct err *e)
{
    *m = (struct model){.headers_only = headers_only};
    if (!open_any(m, path, spooled, e))
        return 0;
    model_close(m);
    return -1;
}

int model_open(struct model *m, const char *path, struct err *e)
{
    return open_model(m, path, false, false, e);
}

int model_open_headers(struct model *m, const char *path, struct err *e)
{
    return open_model(m, path, false, true, e);
}

int model_open_spooled(struct model *m, const char *path, struct err *e)
{
    return open_model(m, path, true, false, e);
}

void model_close(struct model *m)
{
    for (size_t i = 0; i < m->nf; i++)
        if (m->f[i].fd > 0)
            close(m->f[i].fd);
    stream_close(m->stream);
    map_free(&m->by_name);
    free(m->t);
    free(m->kv);
    free(m->gguf_head);
    arena_free(&m->mem);
    *m = (struct model){0};
}

const char *model_meta(const struct model *m, const char *key)
{
    for (size_t i = 0; i < m->nkv; i++)
        if (!strcmp(m->kv[i].key, key))
            return m->kv[i].value;
    return NULL;
}

/* ---- reading ------------------------------------------------------------- */

static int ends_early(const struct model *m, const struct tensor *t, uint64_t missing,
                      struct err *e)
{
    return err_set(e, ERR_INPUT,
                   "%s: input ends early, at byte %" PRIu64 ": %" PRIu64
                   " bytes of tensor '%.300s' are missing",
                   m->f[t->file].path, m->stream_pos, missing, t->name);
}

/* Steps a stream forward; at its end before pos, *at_end. */
static int stream_skip(struct model *m, uint64_t pos, bool *at_end, struct err *e)
{
    *at_end = false;
    if (m->stream_pos >= pos)
        return 0;
    uint8_t *const waste = mem_alloc(STREAM_STEP, 1, e);
    if (!waste)
        return -1;
    int rc = 0;
    while (!rc && !*at_end && m->stream_pos < pos) {
        const size_t step = (size_t)min_u64(pos - m->stream_pos, STREAM_STEP);
        size_t got;
        rc = stream_read(m->stream, waste, step, &got, e);
        if (!rc) {
            m->stream_pos += got;
            *at_end = got < step;
        }
    }
    free(waste);
    return rc;
}

int model_read_piece(struct model *m, const struct tensor *t, uint64_t off, void *p, size_t n, struct err *e)
{
    if (!n || !io_pread(m->f[t->file].fd, m->f[t->file].path, t->off + off, p, n, e))
        return 0;
    return err_prefix(e, "tensor '%.300s'", t->name);
}

int model_read(struct model *m, size_t i, uint64_t off, void *p, size_t n, struct err *e)
{
    const struct tensor *const t = &m->t[i];
    const uint64_t at = t->off + off;
    if (!n)
        return 0;
    if (t->derived)
        return derived_read(m, t, off, p, n, e);
    if (m->random)
        return model_read_piece(m, t, off, p, n, e);
    if (at < m->stream_pos)
        return err_set(e, ERR_USAGE,
                       "%s: tensor '%.300s' at byte %" PRIu64 " is wanted after byte %" PRIu64
                       " was read, and a pipe cannot go back",
                       m->f[t->file].path, t->name, at, m->stream_pos);
    bool at_end;
    size_t got = 0;
    if (stream_skip(m, at, &at_end, e) || (!at_end && stream_read(m->stream, p, n, &got, e)))
        return -1;
    m->stream_pos += got;
    return got < n ? ends_early(m, t, t->off + t->size - m->stream_pos, e) : 0;
}

/* The tensor that byte pos or the first one after it belongs to; NULL after the last. */
static const struct tensor *tensor_at(const struct model *m, uint64_t pos)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->t[i].off + m->t[i].size > pos)
            return &m->t[i];
    return NULL;
}

/* At the end of a stream: was it the end of the model? */
static int check_stream_end(const struct model *m, struct err *e)
{
    const struct tensor *const t = tensor_at(m, m->stream_pos);
    if (t)
        return ends_early(m, t, t->off + t->size - max_u64(t->off, m->stream_pos), e);
    /* Other containers may end in padding or, packed, in their digests. */
    const uint64_t end = m->stream_end;
    if (m->stream_pos < end)
        return err_set(e, ERR_INPUT,
                       "%s: input ends early, at byte %" PRIu64 " of %" PRIu64
                       ": the end after the last tensor is missing",
                       m->f[0].path, m->stream_pos, end);
    if ((m->container == CONTAINER_SAFETENSORS || m->container == CONTAINER_LLAMA2C) && m->stream_pos > end)
        return err_set(e, ERR_INPUT,
                       "%s: %" PRIu64 " bytes follow the last tensor, which ends at byte %" PRIu64,
                       m->f[0].path, m->stream_pos - end, end);
    return 0;
}

int model_read_end(struct model *m, void *p, size_t n, struct err *e)
{
    bool at_end;
    size_t got = 0;
    if (m->random)
        return io_pread(m->f[0].fd, m->f[0].path, m->f[0].size - n, p, n, e);
    if (stream_skip(m, m->stream_end - n, &at_end, e) || (!at_end && stream_read(m->stream, p, n, &got, e)))
        return -1;
    m->stream_pos += got;
    return got < n ? check_stream_end(m, e) : 0;
}

int model_finish(struct model *m, struct err *e)
{
    bool at_end;
    if (m->random)
        return 0;
    if (stream_skip(m, UINT64_MAX, &at_end, e))
        return -1;
    return check_stream_end(m, e);
}
