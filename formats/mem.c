#include "formats/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char data[];
};

static int out_of_memory(struct err *e, size_t size)
{
    return err_set(e, ERR_SYSTEM, "out of memory (%zu bytes wanted)", size);
}

void *arena_alloc(struct arena *a, size_t size, struct err *e)
{
    size_t want = size;
    if (want > SIZE_MAX - 64 - sizeof(struct arena_block)) {
        (void)out_of_memory(e, size);
        return NULL;
    }
    want = (want + 15) & ~(size_t)15;
    struct arena_block *b = a->head;
    if (!b || b->size - b->used < want) {
        /* Blocks double up to 1 MiB, so that 92,000 tensors cost few calls and
         * a one-tensor file stays small. */
        size_t size_next = b ? b->size * 2 : 4096;
        if (size_next > 1 << 20)
            size_next = 1 << 20;
        if (size_next < want)
            size_next = want;
        b = calloc(1, sizeof *b + size_next);
        if (!b) {
            (void)out_of_memory(e, size);
            return NULL;
        }
        b->size = size_next;
        b->next = a->head;
        a->head = b;
    }
    void *p = b->data + b->used;
    b->used += want;
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size, struct err *e)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) {
        (void)err_set(e, ERR_SYSTEM, "out of memory (%zu x %zu bytes wanted)", n, size);
        return NULL;
    }
    return arena_alloc(a, total, e);
}

char *arena_strndup(struct arena *a, const char *s, size_t n, struct err *e)
{
    char *p = arena_alloc(a, n + 1, e);
    if (p)
        memcpy(p, s, n);
    return p;
}

char *arena_strdup(struct arena *a, const char *s, struct err *e)
{
    return arena_strndup(a, s, strlen(s), e);
}

char *arena_printf(struct arena *a, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        (void)err_set(e, ERR_SYSTEM, "cannot format a string");
        return NULL;
    }
    char *p = arena_alloc(a, (size_t)n + 1, e);
    if (p) {
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return p;
}

void arena_join(struct arena *a, struct arena *b)
{
    struct arena_block **end = &a->head;
    while (*end)
        end = &(*end)->next;
    *end = b->head;
    b->head = NULL;
}

void arena_free(struct arena *a)
{
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->head = NULL;
}

void *mem_alloc(size_t n, size_t size, struct err *e)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p)
        (void)err_set(e, ERR_SYSTEM, "out of memory (%zu x %zu bytes wanted)", n, size);
    return p;
}

int mem_grow(void **p, size_t *cap, size_t need, size_t size, struct err *e)
{
    if (need <= *cap)
        return 0;
    size_t next = *cap ? *cap : 16;
    while (next < need) {
        if (next > SIZE_MAX / 2)
            return out_of_memory(e, SIZE_MAX);
        next *= 2;
    }
    size_t bytes;
    if (__builtin_mul_overflow(next, size, &bytes))
        return out_of_memory(e, SIZE_MAX);
    void *q = realloc(*p, bytes);
    if (!q)
        return out_of_memory(e, bytes);
    *p = q;
    *cap = next;
    return 0;
}

int buf_put(struct buf *b, const void *s, size_t n, struct err *e)
{
    if (n > SIZE_MAX - b->n - 1)
        return out_of_memory(e, n);
    if (mem_grow((void **)&b->s, &b->cap, b->n + n + 1, 1, e))
        return -1;
    if (n)
        memcpy(b->s + b->n, s, n);
    b->n += n;
    b->s[b->n] = 0;
    return 0;
}

int buf_puts(struct buf *b, const char *s, struct err *e)
{
    return buf_put(b, s, strlen(s), e);
}

int buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return err_set(e, ERR_SYSTEM, "cannot format a string");
    if (mem_grow((void **)&b->s, &b->cap, b->n + (size_t)n + 1, 1, e))
        return -1;
    va_start(ap, fmt);
    vsnprintf(b->s + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
    return 0;
}

void buf_free(struct buf *b)
{
    free(b->s);
    *b = (struct buf){0};
}

bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && !memcmp(s + n - k, end, k);
}

/* Slots are small, so that those of 92,000 names stay in the second-level cache;
 * the entries lie in the order in which they were added, as names mostly are
 * looked up. */
struct map_slot {
    uint32_t hash, entry; /* 0: empty; else of entry[entry - 1] */
};
struct map_entry {
    const char *name;
    size_t index;
};

static uint64_t hash_name(const char *s)
{
    size_t n = strlen(s);
    uint64_t h = n * 0x9e3779b97f4a7c15u, w;
    for (; n >= 8; n -= 8, s += 8) {
        memcpy(&w, s, 8);
        h = (h ^ w) * 0xd6e8feb86659fd93u;
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, s, n);
    h = (h ^ w) * 0xd6e8feb86659fd93u;
    return h ^ h >> 29;
}

static struct map_slot *map_slot(const struct map *m, const char *name, uint32_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *s = &m->slot[i];
        if (!s->entry || (s->hash == hash && !strcmp(m->entry[s->entry - 1].name, name)))
            return s;
    }
}

static int map_resize(struct map *m, size_t cap, struct err *e)
{
    if (cap > 1u << 31) /* hashes have 32 bits */
        return err_set(e, ERR_INPUT, "more than %u names", 1u << 30);
    struct map_slot *old = m->slot;
    size_t n = m->cap, room = m->room;
    struct map_slot *slot = mem_alloc(cap, sizeof *slot, e);
    if (!slot || mem_grow((void **)&m->entry, &room, cap / 2, sizeof *m->entry, e)) {
        free(slot);
        return -1;
    }
    m->slot = slot;
    m->cap = cap;
    m->room = room;
    for (size_t i = 0; i < n; i++)
        if (old[i].entry) {
            size_t k = old[i].hash & (cap - 1);
            while (slot[k].entry)
                k = (k + 1) & (cap - 1);
            slot[k] = old[i];
        }
    free(old);
    return 0;
}

int map_reserve(struct map *m, size_t n, struct err *e)
{
    size_t cap = m->cap ? m->cap : 64;
    while (n > cap / 2 && cap <= 1u << 31)
        cap *= 2;
    return cap > m->cap ? map_resize(m, cap, e) : 0;
}

int map_add(struct map *m, const char *name, size_t index, struct err *e)
{
    if (m->n + 1 > m->cap / 2 && map_resize(m, m->cap ? 2 * m->cap : 64, e))
        return -1;
    uint32_t hash = (uint32_t)hash_name(name);
    struct map_slot *s = map_slot(m, name, hash);
    if (s->entry)
        return 1;
    m->entry[m->n++] = (struct map_entry){name, index};
    *s = (struct map_slot){hash, (uint32_t)m->n};
    return 0;
}

const char *map_name(const struct map *m, size_t i) { return m->entry[i].name; }

bool map_find(const struct map *m, const char *name, size_t *index)
{
    if (!m->cap)
        return false;
    const struct map_slot *s = map_slot(m, name, (uint32_t)hash_name(name));
    if (!s->entry)
        return false;
    *index = m->entry[s->entry - 1].index;
    return true;
}

void map_free(struct map *m)
{
    free(m->slot);
    free(m->entry);
    *m = (struct map){0};
}
