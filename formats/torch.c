/* A checkpoint is a pickle of the dict, whose tensors are views of storages
 * outside it: (storage, offset, size, stride).
 *
 *     zip     PREFIX/data.pkl      the pickle
 *             PREFIX/data/KEY      the bytes of storage KEY, stored
 *             PREFIX/version, PREFIX/byteorder
 *     legacy  five pickles, one after the other: the number 0x1950a86a20f9469cfc6c,
 *             1001, a dict about the machine, the dict, the list of keys
 *             then for each key: u64 number of elements, the bytes
 *
 * (pytorch/pytorch torch/serialization.py.)  Storages are shared by tied
 * weights, so tensors may overlap. */
#include "formats/torch.h"

#include "formats/io.h"
#include "formats/torch_objects.h"
#include "formats/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    VERSION_MAX = 10, /* of the zip format, in torch 2.15; 3 is what is written */
    LEGACY_PROTOCOL = 1001,
};

static const uint8_t legacy_magic[15] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                         0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

bool torch_magic(const uint8_t *p, size_t n)
{
    return n >= 8 && (!memcmp(p, "PK\3\4", 4) || !memcmp(p, legacy_magic, 8));
}

/* ---- before 1.6 ---------------------------------------------------------- */

/* The storages, each behind the number of its elements, in the order of the list. */
static int place_legacy(struct torch_reader *r, const struct pickle_value *keys, uint64_t pos, size_t from)
{
    size_t n = 0;
    if (keys->kind != PICKLE_LIST)
        return torch_fail(r, "the list of storages is none");
    for (size_t i = 0; i < keys->n; i++) {
        size_t at = 0;
        uint8_t b[8];
        uint64_t numel = 0, end;
        if (keys->v[i]->kind != PICKLE_STRING || strlen(keys->v[i]->s) != keys->v[i]->length
            || !map_find(&r->by_key, keys->v[i]->s, &at) || r->storage[at]->found)
            return torch_fail(r, "storage %zu of %zu is of no tensor, or listed twice", i + 1, keys->n);
        struct torch_storage *const s = r->storage[at];
        if (!add_u64(pos + 8, s->bytes, &end) || end > r->h->file_size)
            return torch_fail(r, "file ends early: it has %" PRIu64 " bytes, storage '%.300s' of %" PRIu64
                              " bytes begins at byte %" PRIu64, r->h->file_size, s->key, s->bytes, pos + 8);
        if (io_pread(r->h->fd, r->h->path, pos, b, 8, r->e))
            return -1;
        for (int k = 0; k < 8; k++)
            numel |= (uint64_t)b[k] << 8 * k;
        if (numel != s->numel)
            return torch_fail(r, "storage '%.300s' has %" PRIu64 " elements at byte %" PRIu64 ", and %" PRIu64
                              " by the pickle", s->key, numel, pos, s->numel);
        s->found = true;
        s->off = pos + 8;
        pos = end;
        n++;
    }
    if (n < r->n)
        return torch_fail(r, "%zu of %zu storages are not listed", r->n - n, r->n);
    return table_end(r->table, from, r->h, pos, true, r->e);
}

static int read_legacy(struct torch_reader *r)
{
    const size_t from = r->table->n;
    const struct pickle_value *v;
    r->legacy = true;
    if (head_need(r->h, sizeof legacy_magic, r->e))
        return -1;
    if (memcmp(r->h->p, legacy_magic, sizeof legacy_magic))
        return torch_fail(r, "begins like a PyTorch checkpoint from before 1.6, with another magic number");
    struct pickle p = torch_machine(r, r->h, sizeof legacy_magic, "pickle of the version");
    if (!(v = pickle_run(&p)))
        return -1;
    if (v->kind != PICKLE_INT || v->i != LEGACY_PROTOCOL)
        return torch_fail(r, "is a PyTorch checkpoint of another version than %d", LEGACY_PROTOCOL);
    p = torch_machine(r, r->h, p.pos, "pickle of the machine");
    if (!(v = pickle_run(&p)))
        return -1;
    const struct pickle_value *const little = v->kind == PICKLE_DICT ? pickle_get(v, "little_endian") : NULL;
    if (!little || little->kind != PICKLE_BOOL || !little->i)
        return torch_fail(r, "was written on a big-endian machine, or does not say; only little-endian"
                          " checkpoints are read");
    p = torch_machine_for_tensors(r, r->h, p.pos, "pickle of the tensors");
    struct pickle_value *const root = pickle_run(&p);
    if (!root)
        return -1;
    p = torch_machine(r, r->h, p.pos, "pickle of the storages");
    v = pickle_run(&p);
    return v && !place_legacy(r, v, p.pos, from) ? torch_read_dict(r, root) : -1;
}

/* ---- zip ----------------------------------------------------------------- */

/* The directory of the zip file that holds data.pkl, with its slash. */
static const char *find_prefix(struct torch_reader *r, const struct zip *z)
{
    static const char pickle[] = "data.pkl";
    const char *found = NULL;
    for (size_t i = 0; i < z->n; i++) {
        const char *const slash = strchr(z->m[i].name, '/');
        if (!slash || strcmp(slash + 1, pickle))
            continue;
        if (found) {
            (void)torch_fail(r, "is a zip file with %s in several directories", pickle);
            return NULL;
        }
        found = arena_strndup(&r->tmp, z->m[i].name, (size_t)(slash + 1 - z->m[i].name), r->e);
        if (!found)
            return NULL;
    }
    if (!found)
        (void)torch_fail(r, "is a zip file without DIRECTORY/%s, so no PyTorch checkpoint", pickle);
    return found;
}

static const struct zip_member *find_in(struct torch_reader *r, const struct zip *z, const char *prefix,
                                        const char *name)
{
    const char *const path = arena_printf(&r->tmp, r->e, "%s%s", prefix, name);
    return path ? zip_find(z, path) : NULL;
}

static int check_about(struct torch_reader *r, const struct zip *z, const char *prefix)
{
    const struct zip_member *const version = find_in(r, z, prefix, "version");
    const struct zip_member *const order = find_in(r, z, prefix, "byteorder");
    if (find_in(r, z, prefix, "constants.pkl"))
        return torch_fail(r, "is a TorchScript program and no checkpoint; save its state_dict()");
    if (!version)
        return torch_fail(r, "is a zip file without %sversion, so no PyTorch checkpoint", prefix);
    char *const v = zip_read(z, version, 64, r->e), *end;
    if (!v)
        return -1;
    const unsigned long number = strtoul(v, &end, 10);
    const bool good = *v >= '0' && *v <= '9' && number >= 1 && number <= VERSION_MAX
                   && (!*end || !strcmp(end, "\n"));
    free(v);
    if (!good)
        return torch_fail(r, "%sversion is none of 1 to %d", prefix, VERSION_MAX);
    if (!order) /* before 2.1 there was none but little */
        return 0;
    char *const o = zip_read(z, order, 64, r->e);
    if (!o)
        return -1;
    const bool little = !strcmp(o, "little");
    free(o);
    if (little)
        return 0;
    return torch_fail(r, "%sbyteorder is not 'little'; only little-endian checkpoints are read", prefix);
}

static int place_zip(struct torch_reader *r, const struct zip *z, const char *prefix)
{
    for (size_t i = 0; i < r->n; i++) {
        struct torch_storage *const s = r->storage[i];
        const char *const path = arena_printf(&r->tmp, r->e, "%sdata/%s", prefix, s->key);
        if (!path)
            return -1;
        const struct zip_member *const m = zip_find(z, path);
        if (!m)
            return torch_fail(r, "member '%.300s' of a tensor is missing", path);
        if (m->size != s->bytes)
            return torch_fail(r, "member '%.300s' has %" PRIu64 " bytes; its storage has %" PRIu64, path,
                              m->size, s->bytes);
        s->off = m->off;
    }
    return 0;
}

static int read_zip(struct torch_reader *r, struct zip *z)
{
    if (zip_open(z, r->h->fd, r->h->path, r->h->file_size, false, &r->tmp, r->e))
        return -1;
    const char *const prefix = find_prefix(r, z);
    if (!prefix || check_about(r, z, prefix))
        return -1;
    const struct zip_member *const m = find_in(r, z, prefix, "data.pkl");
    void *const text = m ? zip_read(z, m, PICKLE_BYTES_MAX, r->e) : NULL;
    if (!text)
        return -1;
    const size_t n = (size_t)m->size;
    struct head h = {.path = r->h->path, .fd = -1, .file_size = n, .p = text, .n = n, .cap = n};
    struct pickle p = torch_machine_for_tensors(r, &h, 0, "data.pkl");
    struct pickle_value *const root = pickle_run(&p);
    int rc = root ? 0 : -1;
    if (!rc && p.pos != m->size)
        rc = pickle_fail(&p, "%" PRIu64 " bytes follow the end of the pickle", m->size - p.pos);
    free(text);
    r->table->end = r->h->file_size;
    return rc || place_zip(r, z, prefix) ? -1 : torch_read_dict(r, root);
}

int torch_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct err *e)
{
    struct torch_reader r = {.h = h, .file = file, .mem = mem, .table = t, .e = e};
    struct zip z = {0};
    if (h->fd < 0)
        return torch_fail(&r, "is a PyTorch checkpoint, which is not read in one pass: a pipe or compressed"
                          " input needs --spool");
    const size_t from = t->n;
    int rc = head_need(h, 8, e);
    if (!rc)
        rc = memcmp(h->p, "PK\3\4", 4) ? read_legacy(&r) : read_zip(&r, &z);
    if (!rc)
        rc = table_sort(t, from, e);
    zip_close(&z);
    map_free(&r.by_key);
    free(r.storage);
    buf_free(&r.left_out);
    arena_free(&r.tmp);
    return rc;
}
