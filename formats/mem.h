/* Memory with one owner: arenas that are freed at once, sizes that cannot
 * overflow, a growing byte buffer, and a map from names to numbers. */
#ifndef OCTAVO_MEM_H
#define OCTAVO_MEM_H

#include "formats/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- sizes from files: every product and sum is checked ---------------- */
static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline uint64_t ceil_div(uint64_t a, uint64_t b) /* b > 0 */
{
    return a / b + (a % b != 0);
}
static inline uint64_t round_up(uint64_t a, uint64_t b) /* b > 0, no overflow check */
{
    return ceil_div(a, b) * b;
}
static inline uint64_t lcm_u64(uint64_t a, uint64_t b) /* both > 0, no overflow check */
{
    uint64_t x = a, y = b;
    while (y) {
        const uint64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}
static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* ---- arena: many small allocations, one free --------------------------- */
struct arena {
    struct arena_block *head;
};
/* All return NULL with ERR_SYSTEM in e when memory is out.  Zero-filled,
 * aligned to 16. An arena that is all zero bytes is empty and ready. */
void *arena_alloc(struct arena *a, size_t size, struct err *e) MUST_USE;
void *arena_array(struct arena *a, size_t n, size_t size, struct err *e) MUST_USE;
char *arena_strndup(struct arena *a, const char *s, size_t n, struct err *e) MUST_USE;
char *arena_strdup(struct arena *a, const char *s, struct err *e) MUST_USE;
char *arena_printf(struct arena *a, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4))) MUST_USE;
/* Everything of b becomes a's. */
void arena_join(struct arena *a, struct arena *b);
void arena_free(struct arena *a);

/* ---- heap with an error sentence --------------------------------------- */
void *mem_alloc(size_t n, size_t size, struct err *e) MUST_USE; /* zeroed; free() */
/* Grows *p (free()) so that it holds at least need elements; *cap is updated. */
int mem_grow(void **p, size_t *cap, size_t need, size_t size, struct err *e) MUST_USE;

/* ---- buf: bytes that grow ---------------------------------------------- */
struct buf {
    char *s;       /* always NUL-terminated once something was put; may be NULL */
    size_t n, cap;
};
int buf_put(struct buf *b, const void *s, size_t n, struct err *e) MUST_USE;
int buf_puts(struct buf *b, const char *s, struct err *e) MUST_USE;
int buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4))) MUST_USE;
void buf_free(struct buf *b);

/* Is end the end of s? */
bool ends_with(const char *s, const char *end);

/* ---- map: name -> index ------------------------------------------------ */
struct map {
    struct map_slot *slot;
    struct map_entry *entry;
    size_t cap, n, room;
};
/* Adds name (borrowed; must outlive the map).  Returns 1 when it was there
 * already (nothing changes), 0 when added, -1 on error. */
int map_add(struct map *m, const char *name, size_t index, struct err *e) MUST_USE;
/* Makes room for n names at once; map_add would do it in steps. */
int map_reserve(struct map *m, size_t n, struct err *e) MUST_USE;
bool map_find(const struct map *m, const char *name, size_t *index);
/* The i-th name that was added, i < m->n. */
const char *map_name(const struct map *m, size_t i);
void map_free(struct map *m);

#endif
