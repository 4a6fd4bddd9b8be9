#include "formats/zip.h"

#include "formats/io.h"
#include "formats/jscan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    LOCAL_SIZE = 30,
    ENTRY_SIZE = 46,
    END_SIZE = 22,
    COMMENT_MAX = 65535,
    END64_SIZE = 56,
    LOCATOR_SIZE = 20,
    EXTRA_ZIP64 = 1,
    FLAG_ENCRYPTED = 1 << 0,
    FLAG_DESCRIPTOR = 1 << 3, /* CRC and sizes follow the contents; the local header need not know them */
    FLAG_PATCH = 1 << 5,
    FLAG_STRONG = 1 << 6,
    FLAG_MASKED = 1 << 13,
};

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t x = 0;
    for (unsigned i = 0; i < bytes; i++)
        x |= (uint64_t)p[i] << 8 * i;
    return x;
}

static int damaged(const struct zip *z, const char *what, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: the zip file %s", z->path, what);
}

/* ---- the end ------------------------------------------------------------- */

struct end {
    uint64_t entries, off, size; /* of the directory */
    uint64_t at;                 /* where it must end */
};

/* The last 64 KiB of the file hold the end record, and only one. */
static int find_end(const struct zip *z, uint64_t file_size, uint8_t record[END_SIZE], uint64_t *at,
                    struct err *e)
{
    const size_t n = (size_t)min_u64(file_size, END_SIZE + COMMENT_MAX);
    uint8_t *const tail = mem_alloc(n, 1, e);
    size_t found = 0;
    if (!tail)
        return -1;
    int rc = io_pread(z->fd, z->path, file_size - n, tail, n, e);
    for (size_t i = 0; i + END_SIZE <= n && !rc; i++) {
        if (memcmp(tail + i, "PK\5\6", 4) || get(tail + i + 20, 2) != n - END_SIZE - i)
            continue;
        if (found++)
            rc = damaged(z, "has two end records, one in the comment of the other", e);
        memcpy(record, tail + i, END_SIZE);
        *at = file_size - n + i;
    }
    free(tail);
    return rc || found ? rc : damaged(z, "has no end record: it ends early, or bytes follow it", e);
}

/* The ZIP64 record, when its locator is before the byte end->at: *there. */
static int read_end64(const struct zip *z, struct end *end, bool *there, struct err *e)
{
    uint8_t locator[LOCATOR_SIZE], p[END64_SIZE];
    *there = false;
    if (end->at < LOCATOR_SIZE)
        return 0;
    const uint64_t room = end->at - LOCATOR_SIZE;
    if (io_pread(z->fd, z->path, room, locator, LOCATOR_SIZE, e))
        return -1;
    if (memcmp(locator, "PK\6\7", 4))
        return 0;
    const uint64_t at = get(locator + 8, 8);
    if (at > room || room - at < END64_SIZE)
        return damaged(z, "has a ZIP64 locator that points to no record", e);
    if (io_pread(z->fd, z->path, at, p, END64_SIZE, e))
        return -1;
    if (memcmp(p, "PK\6\6", 4) || get(p + 4, 8) != room - at - 12)
        return damaged(z, "has a ZIP64 locator that points to no record", e);
    if (get(locator + 4, 4) || get(locator + 16, 4) > 1 || get(p + 16, 4) || get(p + 20, 4)
        || get(p + 24, 8) != get(p + 32, 8))
        return damaged(z, "is one of several disks", e);
    *end = (struct end){.entries = get(p + 32, 8), .size = get(p + 40, 8), .off = get(p + 48, 8), .at = at};
    *there = true;
    return 0;
}

/* A number of the end record; what does not fit there stands in the ZIP64 record. */
static bool agrees(const uint8_t *p, unsigned bytes, uint64_t x, bool zip64)
{
    const uint64_t y = get(p, bytes), full = bytes == 2 ? 0xffff : 0xffffffff;
    return y == x || (zip64 && y == full);
}

static int read_end(const struct zip *z, uint64_t file_size, struct end *end, struct err *e)
{
    uint8_t p[END_SIZE] = {0};
    bool zip64;
    *end = (struct end){0};
    if (find_end(z, file_size, p, &end->at, e))
        return -1;
    end->entries = get(p + 10, 2);
    end->size = get(p + 12, 4);
    end->off = get(p + 16, 4);
    if (read_end64(z, end, &zip64, e))
        return -1;
    if (!agrees(p + 4, 2, 0, zip64) || !agrees(p + 6, 2, 0, zip64) || !agrees(p + 8, 2, end->entries, zip64))
        return damaged(z, "is one of several disks", e);
    if (!agrees(p + 10, 2, end->entries, zip64) || !agrees(p + 12, 4, end->size, zip64)
        || !agrees(p + 16, 4, end->off, zip64))
        return damaged(z, "has two end records that contradict each other", e);
    if (end->off > end->at || end->at - end->off != end->size)
        return damaged(z, "has a directory that does not end where its end record begins", e);
    if (end->size > ZIP_DIRECTORY_MAX)
        return err_set(e, ERR_INPUT, "%s: the zip directory takes %" PRIu64 " bytes; the limit is %d",
                       z->path, end->size, ZIP_DIRECTORY_MAX);
    if (end->entries > end->size / ENTRY_SIZE)
        return damaged(z, "has a directory too small for its entries", e);
    return 0;
}

/* ---- the directory ------------------------------------------------------- */

static int bad_member(const struct zip *z, const char *name, const char *what, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: member '%.300s' %s", z->path, name, what);
}

/* No member is unpacked under its name, but what is refused here was made to. */
static bool good_name(const char *s, size_t n)
{
    if (!n || s[0] == '/' || memchr(s, 0, n) || utf8_check(s, n) != n)
        return false;
    for (const char *p = s; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (!strncmp(p, "..", 2) && (!p[2] || p[2] == '/'))
            return false;
    }
    return true;
}

/* The ZIP64 field of n bytes of extra fields; *found is NULL when there is none. */
static bool find_zip64(const uint8_t *p, size_t n, const uint8_t **found, size_t *length)
{
    *found = NULL;
    for (size_t k; n; p += 4 + k, n -= 4 + k) {
        if (n < 4 || (k = (size_t)get(p + 2, 2)) > n - 4)
            return false;
        if (get(p, 2) != EXTRA_ZIP64)
            continue;
        if (*found)
            return false;
        *found = p + 4;
        *length = k;
    }
    return true;
}

/* The next number of the ZIP64 field in place of one that is all ones. */
static bool take64(uint64_t *x, unsigned bytes, uint64_t full, const uint8_t **p, size_t *n)
{
    if (*x != full)
        return true;
    if (!*p || *n < bytes)
        return false;
    *x = get(*p, bytes);
    *p += bytes;
    *n -= bytes;
    return true;
}

/* An entry of the directory at p, of which n bytes are left; *length is what it takes. */
static int read_entry(struct zip *z, const uint8_t *p, size_t n, bool deflate, struct arena *mem,
                      size_t *length, struct err *e)
{
    struct zip_member *const m = &z->m[z->n];
    if (n < ENTRY_SIZE || memcmp(p, "PK\1\2", 4))
        return damaged(z, "has a directory that is cut or damaged", e);
    const size_t name = (size_t)get(p + 28, 2), extra = (size_t)get(p + 30, 2),
                 comment = (size_t)get(p + 32, 2);
    *length = ENTRY_SIZE + name + extra + comment;
    if (*length > n)
        return damaged(z, "has a directory that is cut or damaged", e);
    m->name = arena_strndup(mem, (const char *)p + ENTRY_SIZE, name, e);
    if (!m->name)
        return -1;
    if (!good_name(m->name, name))
        return bad_member(z, m->name, "has a name that is empty, absolute, no UTF-8, or leaves its directory",
                          e);
    const uint64_t flags = get(p + 8, 2), method = get(p + 10, 2);
    if (flags & (FLAG_ENCRYPTED | FLAG_STRONG | FLAG_MASKED))
        return bad_member(z, m->name, "is encrypted", e);
    if (flags & FLAG_PATCH)
        return bad_member(z, m->name, "is a patch of another file", e);
    if (method != ZIP_STORED && !(deflate && method == ZIP_DEFLATED))
        return err_set(e, ERR_INPUT,
                       "%s: member '%.300s' is compressed (method %" PRIu64 "); only stored ones are read",
                       z->path, m->name, method);
    uint64_t disk = get(p + 34, 2);
    const uint8_t *p64;
    size_t n64 = 0;
    m->method = (enum zip_method)method;
    m->crc = (uint32_t)get(p + 16, 4);
    m->packed = get(p + 20, 4);
    m->size = get(p + 24, 4);
    m->header = get(p + 42, 4);
    if (!find_zip64(p + ENTRY_SIZE + name, extra, &p64, &n64) || !take64(&m->size, 8, 0xffffffff, &p64, &n64)
        || !take64(&m->packed, 8, 0xffffffff, &p64, &n64) || !take64(&m->header, 8, 0xffffffff, &p64, &n64)
        || !take64(&disk, 4, 0xffff, &p64, &n64))
        return bad_member(z, m->name, "has damaged extra fields", e);
    if (disk)
        return bad_member(z, m->name, "is on another disk", e);
    if (method == ZIP_STORED && m->packed != m->size)
        return bad_member(z, m->name, "is stored, but has two sizes", e);
    const int there = map_add(&z->by_name, m->name, z->n, e);
    if (there)
        return there < 0 ? -1 : bad_member(z, m->name, "is there twice", e);
    z->n++;
    return 0;
}

static int read_directory(struct zip *z, const struct end *end, bool deflate, struct arena *mem,
                          struct err *e)
{
    uint8_t *const p = mem_alloc((size_t)end->size, 1, e);
    if (!p)
        return -1;
    z->m = arena_array(mem, (size_t)end->entries, sizeof *z->m, e);
    int rc = z->m ? io_pread(z->fd, z->path, end->off, p, (size_t)end->size, e) : -1;
    size_t at = 0, length = 0;
    for (uint64_t i = 0; i < end->entries && !rc; i++, at += length)
        rc = read_entry(z, p + at, (size_t)end->size - at, deflate, mem, &length, e);
    free(p);
    if (!rc && at != end->size)
        return damaged(z, "has a directory with more than its entries", e);
    return rc;
}

/* ---- the local headers --------------------------------------------------- */

/* What a local header says of a size or the CRC; one that is written before the
 * contents may not know. */
static bool local_agrees(uint64_t x, uint64_t known, bool later)
{
    return x == known || (later && !x);
}

static int read_local(const struct zip *z, struct zip_member *m, uint64_t end, struct err *e)
{
    const size_t name = strlen(m->name);
    uint8_t p[LOCAL_SIZE];
    if (m->header > end || end - m->header < LOCAL_SIZE + name)
        return bad_member(z, m->name, "begins past the end of the members", e);
    if (io_pread(z->fd, z->path, m->header, p, LOCAL_SIZE, e))
        return -1;
    const size_t extra = (size_t)get(p + 28, 2), rest = name + extra;
    const uint64_t flags = get(p + 6, 2), room = end - m->header - LOCAL_SIZE;
    if (memcmp(p, "PK\3\4", 4) || get(p + 26, 2) != name)
        return bad_member(z, m->name, "has another local header than the directory says", e);
    if (rest > room || m->packed > room - rest)
        return bad_member(z, m->name, "runs past the end of the members", e);
    uint8_t *const q = mem_alloc(rest, 1, e);
    if (!q)
        return -1;
    const uint8_t *p64;
    size_t n64 = 0;
    uint64_t packed = get(p + 18, 4), size = get(p + 22, 4);
    const bool later = m->descriptor = flags & FLAG_DESCRIPTOR;
    int rc = io_pread(z->fd, z->path, m->header + LOCAL_SIZE, q, rest, e);
    if (!rc) {
        bool good = !memcmp(q, m->name, name) && get(p + 8, 2) == m->method
                    && !(flags & (FLAG_ENCRYPTED | FLAG_STRONG | FLAG_PATCH | FLAG_MASKED));
        if (good && (packed == 0xffffffff || size == 0xffffffff))
            good = find_zip64(q + name, extra, &p64, &n64) && take64(&size, 8, 0xffffffff, &p64, &n64)
                   && take64(&packed, 8, 0xffffffff, &p64, &n64);
        good = good && local_agrees(packed, m->packed, later) && local_agrees(size, m->size, later)
               && local_agrees(get(p + 14, 4), m->crc, later);
        if (!good)
            rc = bad_member(z, m->name, "has another local header than the directory says", e);
    }
    free(q);
    m->off = m->header + LOCAL_SIZE + rest;
    return rc;
}

static int by_header(const void *a, const void *b)
{
    const uint64_t x = (*(const struct zip_member *const *)a)->header;
    const uint64_t y = (*(const struct zip_member *const *)b)->header;
    return x < y ? -1 : x > y;
}

/* The descriptor between the contents of m and the byte end: CRC and two sizes
 * of four bytes or of eight.  The signature before them is optional, but without
 * it contents that lie four bytes further would be in order too; nobody omits it. */
static int check_descriptor(const struct zip *z, const struct zip_member *m, uint64_t end, struct err *e)
{
    const uint64_t at = m->off + m->packed, n = end - at;
    const unsigned bytes = n == 16 ? 4 : 8;
    uint8_t p[24];
    if (n != 16 && n != 24)
        return bad_member(z, m->name, "is followed by something else than its descriptor", e);
    if (io_pread(z->fd, z->path, at, p, (size_t)n, e))
        return -1;
    const bool good = !memcmp(p, "PK\7\10", 4) && get(p + 4, 4) == m->crc && get(p + 8, bytes) == m->packed
                      && get(p + 8 + bytes, bytes) == m->size;
    return good ? 0 : bad_member(z, m->name, "is followed by something else than its descriptor", e);
}

/* Members follow each other from the first byte of the file to the directory, at byte end. */
static int check_cover(const struct zip *z, uint64_t end, struct err *e)
{
    const struct zip_member **const order = mem_alloc(z->n, sizeof *order, e);
    int rc = 0;
    if (!order)
        return -1;
    for (size_t i = 0; i < z->n; i++)
        order[i] = &z->m[i];
    qsort(order, z->n, sizeof *order, by_header);
    if ((z->n ? order[0]->header : end) != 0)
        rc = damaged(z, "has bytes before its first member", e);
    for (size_t i = 0; i < z->n && !rc; i++) {
        const struct zip_member *const m = order[i], *const next = i + 1 < z->n ? order[i + 1] : NULL;
        const uint64_t from = m->off + m->packed, to = next ? next->header : end;
        if (to < from)
            rc = err_set(e, ERR_INPUT, "%s: member '%.300s' overlaps '%.300s'", z->path, next->name, m->name);
        else if (m->descriptor)
            rc = check_descriptor(z, m, to, e);
        else if (to > from)
            rc = err_set(e, ERR_INPUT, "%s: %" PRIu64 " bytes follow member '%.300s'", z->path, to - from,
                         m->name);
    }
    free(order);
    return rc;
}

int zip_open(struct zip *z, int fd, const char *path, uint64_t file_size, bool deflate, struct arena *mem,
             struct err *e)
{
    struct end end;
    *z = (struct zip){.path = path, .fd = fd};
    if (read_end(z, file_size, &end, e) || read_directory(z, &end, deflate, mem, e))
        return -1;
    for (size_t i = 0; i < z->n; i++)
        if (read_local(z, &z->m[i], end.off, e))
            return -1;
    return check_cover(z, end.off, e);
}

const struct zip_member *zip_find(const struct zip *z, const char *name)
{
    size_t i;
    return map_find(&z->by_name, name, &i) ? &z->m[i] : NULL;
}

void *zip_read(const struct zip *z, const struct zip_member *m, size_t limit, struct err *e)
{
    if (m->method != ZIP_STORED) {
        (void)bad_member(z, m->name, "is compressed", e);
        return NULL;
    }
    if (m->size > limit) {
        (void)err_set(e, ERR_INPUT, "%s: member '%.300s' has %" PRIu64 " bytes; the limit is %zu", z->path,
                      m->name, m->size, limit);
        return NULL;
    }
    uint8_t *const p = mem_alloc((size_t)m->size + 1, 1, e); /* a text ends in NUL */
    if (!p)
        return NULL;
    int rc = io_pread(z->fd, z->path, m->off, p, (size_t)m->size, e);
    if (!rc && m->crc && crc32_z(0, p, (size_t)m->size) != m->crc)
        rc = err_set(e, ERR_INPUT, "%s: member '%.300s' is damaged: its CRC-32 is not %08" PRIx32, z->path,
                     m->name, m->crc);
    if (!rc)
        return p;
    free(p);
    return NULL;
}

void zip_close(struct zip *z)
{
    map_free(&z->by_name);
}
