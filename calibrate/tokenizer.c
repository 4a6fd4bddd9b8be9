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

static uint64_t hash(const char *s, size_t n)
{
    uint64_t x = 1469598103934665603u;
    for (size_t i = 0; i < n; i++)
        x = (x ^ (uint8_t)s[i]) * 1099511628211u;
    return mix(x);
}

/* Room for the id of s. */
static int room(struct tokenizer *t, uint32_t id, const char *s, size_t n, struct err *e)
{
    if (id >= 1u << 24)
        return err_set(e, ERR_INPUT, "token '%.*s' has id %u, beyond any vocabulary", (int)(n < 40 ? n : 40), s, id);
    if (mem_grow((void **)&t->word, &t->cap, id + (size_t)1, sizeof *t->word, e))
        return -1;
    for (; t->n <= id; t->n++)
        t->word[t->n] = (struct word){0};
    return 0;
}

int word_add(struct tokenizer *t, uint32_t id, const char *s, size_t n, double score, struct err *e)
{
    char *own = room(t, id, s, n, e) ? NULL : arena_strndup(&t->mem, s, n, e);
    if (!own)
        return -1;
    t->word[id] = (struct word){own, (uint32_t)n, score};
    t->longest = n > t->longest ? n : t->longest;
    return 0;
}

int added_add(struct tokenizer *t, struct added a, struct err *e)
{
    if (room(t, a.id, a.s, a.n, e))
        return -1;
    if (!a.n)
        return 0;
    if (!(a.s = arena_strndup(&t->mem, a.s, a.n, e)) || mem_grow((void **)&t->added, &t->added_cap, t->addeds + 1, sizeof *t->added, e))
        return -1;
    t->added[t->addeds++] = a;
    t->begins[(uint8_t)*a.s] |= a.normalized ? 2 : 1;
    return 0;
}

/* Those of the text as it is first; by their bytes, the shorter first; of the same bytes the one with the lower id. */
static int added_order(const void *a, const void *b)
{
    const struct added *x = a, *y = b;
    const int order = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return x->normalized != y->normalized ? x->normalized - y->normalized : order ? order : x->n != y->n ? (x->n < y->n ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

void added_sort(struct tokenizer *t)
{
    if (t->addeds)
        qsort(t->added, t->addeds, sizeof *t->added, added_order);
    for (t->addeds_plain = 0; t->addeds_plain < t->addeds && !t->added[t->addeds_plain].normalized; t->addeds_plain++)
        ;
}

/* By their bytes, the shorter first; of the same bytes the last one comes last. */
static int by_bytes(const void *a, const void *b)
{
    const struct word *x = *(const struct word *const *)a, *y = *(const struct word *const *)b;
    const int order = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return order ? order : x->n != y->n ? (x->n < y->n ? -1 : 1) : (x > y) - (x < y);
}

int words_index(struct tokenizer *t, struct err *e)
{
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

int words_sort(struct tokenizer *t, struct err *e)
{
    if (!(t->sorted = mem_alloc(t->n + 1, sizeof *t->sorted, e)))
        return -1;
    for (size_t id = 0; id < t->n; id++)
        if (t->word[id].n)
            t->sorted[t->sorteds++] = &t->word[id];
    qsort(t->sorted, t->sorteds, sizeof *t->sorted, by_bytes);
    return 0;
}

uint32_t word_find(const struct tokenizer *t, const char *s, size_t n)
{
    if (n > t->longest)
        return NO_ID;
    for (size_t i = hash(s, n) & (t->slots - 1); t->slot[i]; i = (i + 1) & (t->slots - 1)) {
        const struct word *w = &t->word[t->slot[i] - 1];
        if (w->n == n && !memcmp(w->s, s, n))
            return t->slot[i] - 1;
    }
    return NO_ID;
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

/* The metaspace for every space, and something before; b is the memory of what changes. */
static int replace(const char *before, bool spaces, const char **s, size_t *n, struct buf *b, struct err *e)
{
    if (!*n || (!before && !spaces))
        return 0;
    if (before && buf_puts(b, before, e))
        return -1;
    for (size_t i = 0; i < *n; i++)
        if (spaces && (*s)[i] == ' ' ? buf_put(b, METASPACE, 3, e) : buf_put(b, *s + i, 1, e))
            return -1;
    *s = b->s;
    *n = b->n;
    return 0;
}

int normalize(const struct tokenizer *t, const char **s, size_t *n, struct buf *b, struct err *e)
{
    if (t->must_be_nfc && check_composed(*s, *n, e))
        return -1;
    return replace(t->before, t->spaces, s, n, b, e);
}

/* Normalized text between added tokens; first: the whole text begins with it. */
static int plain(const struct tokenizer *t, const char *s, size_t n, bool first, struct ids *out, struct err *e)
{
    struct buf b = {0};
    const char *prefix = first || !t->prefix_first ? t->prefix : NULL;
    const size_t k = prefix ? strlen(prefix) : 0;
    if (prefix && n && ((t->metaspace && *s == ' ') || (n >= k && !memcmp(s, prefix, k))))
        prefix = NULL;
    const int r = replace(prefix, t->metaspace, &s, &n, &b, e) || cut_up(t, 0, s, n, out, e) ? -1 : 0;
    buf_free(&b);
    return r;
}

/* ---- added tokens -------------------------------------------------------------------------- */

/* The first of [from, to), which are the same up to byte k, whose byte k is at least c. */
static size_t narrow(const struct tokenizer *t, size_t from, size_t to, size_t k, unsigned c)
{
    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        if ((uint8_t)t->added[mid].s[k] < c)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* The longest one that s begins with, or NULL. */
static const struct added *added_at(const struct tokenizer *t, const char *s, size_t n, bool normalized)
{
    const struct added *longest = NULL;
    size_t from = normalized ? t->addeds_plain : 0, to = normalized ? t->addeds : t->addeds_plain;
    if (!(t->begins[(uint8_t)*s] & (normalized ? 2 : 1)))
        return NULL;
    for (size_t k = 0; k < n && from < to; k++) {
        const unsigned c = (uint8_t)s[k];
        from = narrow(t, from, to, k, c);
        to = narrow(t, from, to, k, c + 1);
        if (from < to && t->added[from].n == k + 1)
            longest = &t->added[from];
        while (from < to && t->added[from].n == k + 1)
            from++;
    }
    return longest;
}

/* The character that ends at s + n, *step bytes of it; n > 0. */
static uint32_t last_char(const char *s, size_t n, size_t *step)
{
    size_t k = 1;
    while (k < 4 && k < n && (uint8_t)s[n - k] >> 6 == 2)
        k++;
    const uint32_t c = utf8_at((const uint8_t *)s + n - k, (const uint8_t *)s + n, step);
    if (*step == k)
        return c;
    *step = 1;
    return 0x110000u + (uint8_t)s[n - 1];
}

/* Might a word go on with it? Of signs beyond ASCII that is not known here. */
static bool in_word(uint32_t c)
{
    const enum unicode_class k = unicode_class(c);
    return c == '_' || k == UNICODE_L || k == UNICODE_M || k == UNICODE_N || (c > 127 && !unicode_space(c));
}

static int check_single(const struct added *a, const char *s, size_t start, size_t end, size_t n, struct err *e)
{
    size_t step;
    const uint32_t left = start ? last_char(s, start, &step) : ' ';
    const uint32_t right = end < n ? utf8_at((const uint8_t *)s + end, (const uint8_t *)s + n, &step) : ' ';
    if (!in_word(left) && !in_word(right))
        return 0;
    return err_set(e, ERR_INPUT, "the text has the added token '%.*s' beside U+%04X, and the tokenizer takes it only where no word goes on (single_word), "
                   "which this program does not tell", (int)a->n, a->s, in_word(left) ? left : right);
}

/* Looks for added tokens: for those of the text as it is, and in what lies between them, once it is normalized, for the others. */
static int pass(const struct tokenizer *t, const char *s, size_t n, bool normalized, bool first, struct ids *out, struct err *e);

static int between(const struct tokenizer *t, const char *s, size_t n, bool normalized, bool first, struct ids *out, struct err *e)
{
    struct buf b = {0};
    if (normalized || !n)
        return n ? plain(t, s, n, first, out, e) : 0;
    const int r = normalize(t, &s, &n, &b, e) || pass(t, s, n, true, first, out, e) ? -1 : 0;
    buf_free(&b);
    return r;
}

static int pass(const struct tokenizer *t, const char *s, size_t n, bool normalized, bool first, struct ids *out, struct err *e)
{
    size_t from = 0, step;
    for (size_t i = 0; i < n;) {
        const struct added *a = added_at(t, s + i, n - i, normalized);
        if (!a) {
            i++;
            continue;
        }
        size_t start = i, end = i += a->n; /* white space that this one takes may hold the next one */
        if (a->single_word && check_single(a, s, start, end, n, e))
            return -1;
        while (a->lstrip && start > from && unicode_space(last_char(s, start, &step)))
            start -= step;
        while (a->rstrip && end < n && unicode_space(utf8_at((const uint8_t *)s + end, (const uint8_t *)s + n, &step)))
            end += step;
        if ((start > from && between(t, s + from, start - from, normalized, first && !from, out, e)) || ids_add(out, a->id, e))
            return -1;
        from = end;
    }
    return from < n ? between(t, s + from, n - from, normalized, first && !from, out, e) : 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, uint32_t **ids, size_t *count, struct err *e)
{
    struct ids out = {.tries = (uint64_t)TRIES * (n + 100000)};
    int r = 0;
    for (size_t i = 0; !r && t->kind == MODEL_BYTES && i < n; i++)
        r = ids_add(&out, (uint8_t)text[i], e);
    if (t->kind != MODEL_BYTES)
        r = pass(t, text, n, false, true, &out, e);
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
    free(t->sorted);
    free(t->added);
    arena_free(&t->mem);
    free(t);
}
