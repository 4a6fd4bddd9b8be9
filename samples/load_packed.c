/* A loader of packed files (octavo-packed(5)) in one file, without libraries:
 *
 *     cc -O2 -o load_packed load_packed.c && ./load_packed model.octp
 *
 * A runtime takes packed_open() and packed_find() as they are: what they give is
 * a pointer into the mapped file, ready to be copied to the chip. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct packed {
    const unsigned char *map, *payload;
    uint64_t size, payload_size;
    const char *tensors, *end;   /* the text of the list of tensors, and where the manifest ends */
};
struct span { const char *s; size_t n; };
struct packed_tensor {
    struct span name, dtype, layout; /* layout: empty when it lies row-major */
    uint64_t dim[8], size;
    int rank, computed;          /* computed: for the chip, and no part of the model */
    const void *data;
};

static uint64_t le64(const unsigned char *p)
{
    const uint64_t low = p[0] | p[1] << 8 | p[2] << 16 | (uint64_t)p[3] << 24;
    return low | (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* Where the value that begins at s is over, at most at end; NULL when it is not. */
static const char *skip(const char *s, const char *end)
{
    for (int depth = 0; s < end;) {
        if (*s == '"') {
            for (s++; s < end && *s != '"'; s++)
                s += *s == '\\';
            s++;
        } else {
            depth += *s == '{' || *s == '[' ? 1 : *s == '}' || *s == ']' ? -1 : 0;
            s++;
        }
        if (depth < 0 || s > end)
            return NULL;
        if (!depth && (s == end || strchr(",]}\n \"{[:", *s) || strchr("\"}]", s[-1])))
            return s;
    }
    return NULL;
}

/* The value of a member of the object at s, or an empty span. */
static struct span member(const char *s, const char *end, const char *key)
{
    const size_t n = strlen(key);
    for (s++; s < end && *s != '}';) {
        if (*s != '"' && s++)
            continue;
        const char *name = s + 1, *after = skip(s, end);
        if (!after || after >= end || *after != ':')
            return (struct span){"", 0};
        const char *value = after + 1, *last = skip(value, end);
        if (last && (size_t)(after - name) == n + 1 && !memcmp(name, key, n))
            return (struct span){value, (size_t)(last - value)};
        s = last ? last : end;
    }
    return (struct span){"", 0};
}

static struct span text(struct span v) { return v.n >= 2 && *v.s == '"' ? (struct span){v.s + 1, v.n - 2} : (struct span){"", 0}; }

/* NULL, or what is wrong with the file. */
static const char *packed_open(struct packed *p, const char *path)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || st.st_size < 64)
        return "cannot be opened, or is too short";
    p->map = mmap(NULL, p->size = (uint64_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p->map == MAP_FAILED)
        return "cannot be mapped";
    const uint64_t manifest = le64(p->map + 16), payload = le64(p->map + 24), trailer = le64(p->map + 32);
    if (memcmp(p->map, "OCTAVO\x1a\n\1\0\0\0\0\0\0\0", 16))
        return "is no packed file of version 1 (a compressed one: zstd -d)";
    if (le64(p->map + 40) != p->size || trailer > p->size || payload > trailer || manifest > payload || payload - manifest < 64)
        return "is damaged: its lengths do not fit";
    p->payload = p->map + payload;
    p->payload_size = trailer - payload;
    p->end = (const char *)p->map + 64 + manifest;
    const struct span list = member((const char *)p->map + 64, p->end, "tensors");
    p->tensors = list.s + 1;
    return list.n && *list.s == '[' ? NULL : "is damaged: no list of tensors";
}

/* The tensor at *at, which moves on; 0 at the end of the list, -1 when it is damaged. */
static int packed_next(const struct packed *p, const char **at, struct packed_tensor *t)
{
    const char *s = *at;
    while (s < p->end && strchr(", \n", *s))
        s++;
    if (s >= p->end || *s != '{')
        return 0;
    const char *end = skip(s, p->end);
    if (!end)
        return -1;
    *at = end;
    const struct span shape = member(s, end, "shape"), stored = member(s, end, "stored");
    *t = (struct packed_tensor){.name = text(member(s, end, "name")), .dtype = text(member(s, end, "dtype")),
                                .layout = text(member(stored.s, stored.s + stored.n, "layout")),
                                .computed = member(s, end, "computed").n > 0};
    char *next;
    for (const char *q = shape.s; shape.n > 2 && t->rank < 8 && *q != ']'; q = next)
        t->dim[t->rank++] = strtoull(q + 1, &next, 10);
    const struct span at_span = member(s, end, "offset"), size = member(s, end, "size");
    const uint64_t offset = at_span.n ? strtoull(at_span.s, NULL, 10) : UINT64_MAX; /* digits end within the map */
    t->size = size.n ? strtoull(size.s, NULL, 10) : UINT64_MAX;
    if (offset > p->payload_size || t->size > p->payload_size - offset)
        return -1;
    t->data = p->payload + offset;
    return 1;
}

/* Finds a tensor by its name; NULL, or why there is none. */
static const char *packed_find(const struct packed *p, const char *name, struct packed_tensor *t)
{
    int r;
    for (const char *at = p->tensors; (r = packed_next(p, &at, t)) > 0;)
        if (strlen(name) == t->name.n && !memcmp(name, t->name.s, t->name.n))
            return NULL;
    return r < 0 ? "is damaged: an entry of its manifest makes no sense" : "has no such tensor";
}

int main(int argc, char **argv)
{
    struct packed p;
    struct packed_tensor t;
    const char *wrong = argc > 1 ? packed_open(&p, argv[1]) : "usage: load_packed FILE.octp [NAME >BYTES]";
    if (!wrong && argc > 2 && !(wrong = packed_find(&p, argv[2], &t)))
        return fwrite(t.data, 1, t.size, stdout) == t.size ? 0 : 4;
    int r = 0;
    for (const char *at = wrong ? NULL : p.tensors; at && (r = packed_next(&p, &at, &t)) > 0;) {
        printf("%.*s %.*s [", (int)t.name.n, t.name.s, (int)t.dtype.n, t.dtype.s);
        for (int i = 0; i < t.rank; i++)
            printf("%s%llu", i ? "," : "", (unsigned long long)t.dim[i]);
        printf("] %llu %.*s%s\n", (unsigned long long)t.size, (int)t.layout.n, t.layout.s, t.computed ? " (computed)" : "");
    }
    wrong = r < 0 ? "is damaged: an entry of its manifest makes no sense" : wrong;
    return wrong ? fprintf(stderr, "load_packed: %s %s\n", argc > 1 ? argv[1] : "", wrong), 3 : 0;
}
