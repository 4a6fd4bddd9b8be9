#include "calibrate/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- words and merges -------------------------------------------------------------------- */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    return x ^ x >> 33;
}

#define HASH_BEGIN 1469598103934665603u
static uint64_t hash_byte(uint64_t x, char c) { return (x ^ (uint8_t)c) * 1099511628211u; }

static uint64_t hash(const char *s, size_t n)
{
    uint64_t x = HASH_BEGIN;
    for (size_t i = 0; i < n; i++)
        x = hash_byte(x, s[i]);
    return mix(x);
}

int word_add(struct tokenizer *t, uint32_t id, const char *s, size_t n, float score, struct err *e)
{
    if (id >= 1u << 24)
        return err_set(e, ERR_INPUT, "token '%.*s' has id %u, beyond any vocabulary", (int)(n < 40 ? n : 40), s, id);
    if (mem_grow((void **)&t->word, &t->cap, id + (size_t)1, sizeof *t->word, e))
        return -1;
    for (; t->n <= id; t->n++)
        t->word[t->n] = (struct word){0};
    char *own = arena_alloc(&t->mem, n + 1, e);
    if (!own)
        return -1;
    memcpy(own, s, n);
    t->word[id] = (struct word){own, (uint32_t)n, score};
    t->longest = n > t->longest ? n : t->longest;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    const struct special *x = a, *y = b;
    const int r = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return r ? r : x->n != y->n ? (x->n > y->n) - (x->n < y->n) : (x->id > y->id) - (x->id < y->id);
}

static void sort_specials(struct tokenizer *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->specials; i++) {
        const uint32_t id = t->special[i].id;
        if (t->word[id].n)
            t->special[n++] = (struct special){t->word[id].s, t->word[id].n, id};
    }
    t->specials = n;
    if (n)
        qsort(t->special, n, sizeof *t->special, by_bytes);
}

int words_index(struct tokenizer *t, struct err *e)
{
    sort_specials(t);
    t->slots = 16;
    while (t->slots < 2 * t->n)
        t->slots *= 2;
    if (!(t->slot = mem_alloc(t->slots, sizeof *t->slot, e)))
        return -1;
    for (uint32_t id = 0; id < t->n; id++) {
        if (!t->word[id].s)
            continue;
        size_t i = hash(t->word[id].s, t->word[id].n) & (t->slots - 1);
        for (; t->slot[i]; i = (i + 1) & (t->slots - 1)) {
            const struct word *w = &t->word[t->slot[i] - 1];
            if (w->n == t->word[id].n && !memcmp(w->s, t->word[id].s, w->n))
                break; /* the first one stands for both */
        }
        t->slot[i] = t->slot[i] ? t->slot[i] : id + 1;
    }
    return 0;
}

static uint32_t word_at(const struct tokenizer *t, const char *s, size_t n, uint64_t hashed)
{
    for (size_t i = hashed & (t->slots - 1); t->slot[i]; i = (i + 1) & (t->slots - 1)) {
        const struct word *w = &t->word[t->slot[i] - 1];
        if (w->n == n && !memcmp(w->s, s, n))
            return t->slot[i] - 1;
    }
    return NO_ID;
}

uint32_t word_find(const struct tokenizer *t, const char *s, size_t n) { return n > t->longest ? NO_ID : word_at(t, s, n, hash(s, n)); }

uint32_t word_longer(const struct tokenizer *t, const char *s, size_t n, uint64_t *grown)
{
    *grown = hash_byte(n > 1 ? *grown : HASH_BEGIN, s[n - 1]);
    return word_at(t, s, n, mix(*grown));
}

int merges_room(struct tokenizer *t, size_t n, struct err *e)
{
    t->merges = 16;
    while (t->merges < 2 * n)
        t->merges *= 2;
    if (!(t->merge = mem_alloc(t->merges, sizeof *t->merge, e)))
        return -1;
    for (size_t i = 0; i < t->merges; i++)
        t->merge[i].pair = UINT64_MAX;
    return 0;
}

void merge_add(struct tokenizer *t, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    const uint64_t pair = (uint64_t)left << 32 | right;
    size_t i = mix(pair) & (t->merges - 1);
    while (t->merge[i].pair != UINT64_MAX && t->merge[i].pair != pair)
        i = (i + 1) & (t->merges - 1);
    if (t->merge[i].pair != pair)
        t->merge[i] = (struct merge){pair, rank, id};
}

const struct merge *merge_find(const struct tokenizer *t, uint32_t left, uint32_t right)
{
    const uint64_t pair = (uint64_t)left << 32 | right;
    if (!t->merges)
        return NULL;
    for (size_t i = mix(pair) & (t->merges - 1); t->merge[i].pair != UINT64_MAX; i = (i + 1) & (t->merges - 1))
        if (t->merge[i].pair == pair)
            return &t->merge[i];
    return NULL;
}

int ids_add(struct ids *x, uint32_t id, struct err *e)
{
    if (mem_grow((void **)&x->id, &x->cap, x->n + 1, sizeof *x->id, e))
        return -1;
    x->id[x->n++] = id;
    return 0;
}

/* ---- encoding ------------------------------------------------------------------------------ */

/* Is all of it composed already? Only of characters of which that is sure. */
static int check_composed(const char *s, size_t n, struct err *e)
{
    for (size_t i = 0, step; i < n; i += step) {
        const uint32_t c = utf8_at((const uint8_t *)s + i, (const uint8_t *)s + n, &step);
        const bool jamo = c >= 0x1160 && c <= 0x11ff, letterlike = c == 0x2126 || c == 0x212a || c == 0x212b || c == 0x340 || c == 0x341 || c == 0x387;
        const bool ideograph = (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
        if (jamo || letterlike || ideograph || (c >= 0x1f71 && c <= 0x1ffd) || (c >= 0x300 && unicode_class(c) == UNICODE_M))
            return err_set(e, ERR_INPUT, "the text has U+%04X at byte %zu, and the tokenizer wants it in NFC, which this program does not make "
                           "(Python: unicodedata.normalize)", c, i);
    }
    return 0;
}

static int one_piece(const struct tokenizer *t, const char *s, size_t n, struct ids *out, struct err *e)
{
    return !n ? 0 : t->kind == MODEL_UNIGRAM ? piece_best(t, s, n, out, e) : piece_merge(t, s, n, out, e);
}

enum { TRIES = 128 };               /* patterns that are in use make up to 20 a byte */

/* Pieces by cuts k, k + 1, ... */
static int cut_up(const struct tokenizer *t, size_t k, const char *s, size_t n, struct ids *out, struct err *e)
{
    size_t at = 0, start, end;
    if (k == t->cuts)
        return one_piece(t, s, n, out, e);
    const struct cut *c = &t->cut[k];
    if (!c->pattern) { /* each metaspace begins a piece */
        while (at < n) {
            const char *next = n - at > 1 ? memmem(s + at + 1, n - at - 1, METASPACE, 3) : NULL;
            end = next ? (size_t)(next - s) : n;
            if (cut_up(t, k + 1, s + at, end - at, out, e))
                return -1;
            at = end;
        }
        return 0;
    }
    while (at < n && pattern_find(c->pattern, (const uint8_t *)s, n, at, &start, &end, &out->tries)) {
        if (!c->matches_only && start > at && cut_up(t, k + 1, s + at, start - at, out, e))
            return -1;
        if (cut_up(t, k + 1, s + start, end - start, out, e))
            return -1;
        at = end;
    }
    if (!out->tries)
        return err_set(e, ERR_INPUT, "the pattern of the tokenizer takes too long: it was tried more than %d times for each byte of the text", TRIES);
    return at < n && !c->matches_only ? cut_up(t, k + 1, s + at, n - at, out, e) : 0;
}

/* Text between special tokens. */
static int plain(const struct tokenizer *t, const char *s, size_t n, struct ids *out, struct err *e)
{
    struct buf b = {0};
    int r = 0;
    if (!n)
        return 0;
    if (t->must_be_nfc && check_composed(s, n, e))
        return -1;
    const size_t before = t->before ? strlen(t->before) : 0;
    if (!before && !t->spaces)
        return cut_up(t, 0, s, n, out, e);
    const bool space = t->spaces && *s == ' ', there = n >= before && before && !memcmp(s, t->before, before);
    if (before && !(t->before_once && (there || space)))
        r = buf_put(&b, t->before, before, e);
    for (size_t i = 0; !r && i < n; i++)
        r = t->spaces && s[i] == ' ' ? buf_put(&b, METASPACE, 3, e) : buf_put(&b, s + i, 1, e);
    r = r ? r : cut_up(t, 0, b.s, b.n, out, e);
    buf_free(&b);
    return r;
}

/* The first of special tokens [from, to), which are the same up to byte k, whose byte k is at least c. */
static size_t narrow(const struct tokenizer *t, size_t from, size_t to, size_t k, unsigned c)
{
    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        if ((uint8_t)t->special[mid].s[k] < c)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* The longest special token that the text begins with, or NO_ID. */
static uint32_t special_at(const struct tokenizer *t, const char *s, size_t n)
{
    uint32_t id = NO_ID;
    size_t from = 0, to = t->specials;
    for (size_t k = 0; k < n && from < to; k++) {
        const unsigned c = (uint8_t)s[k];
        from = narrow(t, from, to, k, c);
        to = narrow(t, from, to, k, c + 1);
        if (from < to && t->special[from].n == k + 1)
            id = t->special[from].id;
        while (from < to && t->special[from].n == k + 1)
            from++;
    }
    return id;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, uint32_t **ids, size_t *count, struct err *e)
{
    struct ids out = {.tries = (uint64_t)TRIES * (n + 100000)};
    bool begins[256] = {false};
    size_t from = 0;
    int r = 0;
    for (size_t k = 0; k < t->specials; k++)
        begins[(uint8_t)*t->special[k].s] = true;
    for (size_t i = 0; !r && i < n; i++) {
        if (!begins[(uint8_t)text[i]])
            continue;
        const uint32_t id = special_at(t, text + i, n - i);
        if (id == NO_ID)
            continue;
        r = plain(t, text + from, i - from, &out, e) || ids_add(&out, id, e) ? -1 : 0;
        from = i + t->word[id].n;
        i = from - 1;
    }
    if (!r && t->kind == MODEL_BYTES)
        for (; !r && from < n; from++)
            r = ids_add(&out, (uint8_t)text[from], e);
    r = r ? r : plain(t, text + from, n - from, &out, e);
    if (r)
        free(out.id);
    *ids = r ? NULL : out.id;
    *count = r ? 0 : out.n;
    return r;
}

uint32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }
size_t tokenizer_size(const struct tokenizer *t) { return t->n; }

int tokenizer_open(struct tokenizer **out, const char *path, struct err *e)
{
    struct tokenizer *t = *out = mem_alloc(1, sizeof *t, e);
    if (!t)
        return -1;
    t->unknown = t->bos = NO_ID;
    memset(t->byte, 0xff, sizeof t->byte);
    if (!strcmp(path, "bytes")) {
        t->kind = MODEL_BYTES;
        t->n = 256;
        return 0;
    }
    if (!tokenizer_read(t, path, e))
        return 0;
    tokenizer_close(t);
    *out = NULL;
    return -1;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    free(t->word);
    free(t->slot);
    free(t->merge);
    free(t->special);
    arena_free(&t->mem);
    free(t);
}
