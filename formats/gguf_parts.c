/* A GGUF model in several files, NAME-00001-of-00003.gguf and so on.
 *
 * Each part is a GGUF file of its own with the keys split.no, split.count and
 * split.tensors.count; all other keys are in the first, which may have no
 * tensors (llama.cpp, tools/gguf-split).  What makes a file a part is its keys;
 * its name is only how the others are found. */
#include "formats/gguf.h"

#include "formats/io.h"
#include "formats/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAIL = sizeof "-00001-of-00003.gguf" - 1 };

bool gguf_part_name(const char *name, size_t *stem, unsigned *part, unsigned *parts)
{
    const size_t n = strlen(name);
    unsigned number = 0, count = 0;
    if (n <= TAIL)
        return false;
    const char *const s = name + n - TAIL;
    for (int i = 0; i < 5; i++) {
        const char a = s[1 + i], b = s[10 + i];
        if (a < '0' || a > '9' || b < '0' || b > '9')
            return false;
        number = 10 * number + (unsigned)(a - '0');
        count = 10 * count + (unsigned)(b - '0');
    }
    if (*s != '-' || memcmp(s + 6, "-of-", 4) || memcmp(s + 15, ".gguf", 5) || !number || number > count)
        return false;
    *stem = n - TAIL;
    *part = number - 1;
    *parts = count;
    return true;
}

/* The path of part i, from that of the first that was opened. */
static const char *part_path(struct model *m, uint32_t i, int parts, struct err *e)
{
    const char *const path = m->f[0].path;
    return arena_printf(&m->mem, e, "%.*s-%05u-of-%05d.gguf", (int)strlen(path) - TAIL, path, i + 1, parts);
}

/* Opens part i and reads its header. */
static int read_part(struct model_file *f, uint32_t i, struct arena *mem, struct table *t,
                     struct gguf_info *info, struct err *e)
{
    f->fd = io_open(f->path, &f->size, e);
    if (f->fd < 0)
        return -1;
    if (f->size == UINT64_MAX)
        return err_set(e, ERR_INPUT, "%s: is a part of a model, but no regular file", f->path);
    struct head h = {.path = f->path, .fd = f->fd, .file_size = f->size};
    int rc = head_need(&h, min_u64(f->size, 18), e);
    if (!rc && stream_magic(h.p, h.n))
        rc = err_set(e, ERR_INPUT, "%s: is compressed; parts are read at any offset and must not be",
                     f->path);
    const size_t keys = t->nkv;
    if (!rc)
        rc = gguf_read(&h, i, mem, t, info, e);
    t->nkv = keys; /* those of the first are the model's */
    free(h.p);
    return rc;
}

/* What a key of a part says, and what it must say. */
static int agree(const struct model_file *f, const char *key, int64_t is, int64_t want, struct err *e)
{
    if (is == want)
        return 0;
    if (is < 0)
        return err_set(e, ERR_INPUT, "%s: has no key '%s', which a part must have", f->path, key);
    return err_set(e, ERR_INPUT, "%s: key '%s' is %" PRId64 ", and %" PRId64 " in this place", f->path, key,
                   is, want);
}

/* Can the others be found, and is this the first? */
static int check_first(struct model *m, int part, int parts, struct err *e)
{
    const char *const path = m->f[0].path;
    char tail[40];
    size_t stem;
    unsigned number, count;
    if (!m->random)
        return err_set(e, ERR_INPUT,
                       "%s: is part %d of %d; parts are read as files, uncompressed and by their names", path,
                       part + 1, parts);
    snprintf(tail, sizeof tail, "-%05d-of-%05d.gguf", part + 1, parts);
    if (!gguf_part_name(path, &stem, &number, &count) || strcmp(path + stem, tail))
        return err_set(e, ERR_INPUT,
                       "%s: is part %d of %d, but its name does not end in '%s', so the others are not found",
                       path, part + 1, parts, tail);
    if (!part)
        return 0;
    const char *const first = part_path(m, 0, parts, e);
    if (!first)
        return -1;
    return err_set(e, ERR_INPUT, "%s: is part %d of %d; a model is opened by its first part, %s%s", path,
                   part + 1, parts, first, io_exists(first) ? "" : ", which is missing");
}

int gguf_parts(struct model *m, const struct gguf_info *first, struct table *t, struct err *e)
{
    const int part = (int)first->part, parts = (int)first->parts; /* 16 bits each, or -1 */
    if (parts < 0 || (parts <= 1 && part <= 0))
        return 0; /* gguf-split leaves a count of 0 when it merges, and 1 when there is nothing to split */
    if (part < 0 || first->tensors < 0)
        return agree(&m->f[0], part < 0 ? "split.no" : "split.tensors.count", -1, 0, e);
    if (part >= parts)
        return err_set(e, ERR_INPUT, "%s: claims to be part %d of %d", m->f[0].path, part + 1, parts);
    if (check_first(m, part, parts, e))
        return -1;
    struct model_file *const f = arena_array(&m->mem, (size_t)parts, sizeof *f, e);
    if (!f)
        return -1;
    f[0] = m->f[0];
    m->f = f;
    m->sharded = true;
    for (uint32_t i = 1; i < (uint32_t)parts; i++) {
        struct gguf_info info;
        f[i].fd = -1;
        f[i].path = part_path(m, i, parts, e);
        if (!f[i].path)
            return -1;
        f[i].name = f[i].path + (f[0].name - f[0].path);
        m->nf = i + 1;
        if (!io_exists(f[i].path))
            return err_set(e, ERR_INPUT, "%s: is missing; %s is the first of %d parts", f[i].path, f[0].name,
                           parts);
        if (read_part(&f[i], i, &m->mem, t, &info, e) || agree(&f[i], "split.no", info.part, i, e)
            || agree(&f[i], "split.count", info.parts, parts, e)
            || agree(&f[i], "split.tensors.count", info.tensors, first->tensors, e))
            return -1;
    }
    if ((uint64_t)first->tensors == t->n)
        return 0;
    return err_set(e, ERR_INPUT, "%s: the %d parts have %zu tensors, and split.tensors.count is %" PRId64,
                   f[0].path, parts, t->n, first->tensors);
}
