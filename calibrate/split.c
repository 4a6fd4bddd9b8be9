#include "calibrate/split.h"

#include <stdlib.h>
#include <string.h>

/* ---- characters ------------------------------------------------------------------------ */
enum unicode_class unicode_class(uint32_t c)
{
    size_t from = 0, to = unicode_ranges;
    if (c > 0x10ffff)
        return UNICODE_OTHER;
    while (to - from > 1) {
        const size_t mid = (from + to) / 2;
        if (unicode_range[mid] >> 3 <= c)
            from = mid;
        else
            to = mid;
    }
    return (enum unicode_class)(unicode_range[from] & 7);
}

bool unicode_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029
        || c == 0x202f || c == 0x205f || c == 0x3000;
}

uint32_t utf8_at(const uint8_t *p, const uint8_t *end, size_t *n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t want = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    *n = 1;
    if (want == 1)
        return p[0];
    if (!want || want > (size_t)(end - p))
        return 0x110000u + p[0];
    uint32_t c = p[0] & (0x7f >> want);
    for (size_t i = 1; i < want; i++) {
        if (p[i] >> 6 != 2)
            return 0x110000u + p[0];
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[want] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0x110000u + p[0];
    *n = want;
    return c;
}

/* ---- patterns ---------------------------------------------------------------------------- */
enum { RANGES = 40 };
struct set {
    bool not, fold;                  /* fold: ASCII letters of either case */
    unsigned classes, not_classes;   /* bits 1 << unicode_class; bit 6: space */
    size_t n;
    struct { uint32_t from, to; } range[RANGES];
};
enum kind { ONE, GROUP, AHEAD_NOT };
struct item {
    enum kind kind;
    struct set set;                  /* ONE, AHEAD_NOT */
    struct pattern *group;
    unsigned min, max;
};
struct sequence {
    struct item *item;
    size_t n;
    struct sequence *next;           /* the next alternative */
};
struct pattern {
    struct sequence *first;
};

#define SPACE_BIT (1u << 6)

static bool in_set(const struct set *s, uint32_t c)
{
    const unsigned bits = 1u << unicode_class(c) | (unicode_space(c) ? SPACE_BIT : 0);
    bool in = (s->classes & bits) || (s->not_classes && !(s->not_classes & bits));
    for (size_t i = 0; !in && i < s->n; i++)
        in = c >= s->range[i].from && c <= s->range[i].to;
    if (!in && s->fold && c < 128 && ((c | 32) >= 'a' && (c | 32) <= 'z'))
        for (size_t i = 0; !in && i < s->n; i++)
            in = (c ^ 32) >= s->range[i].from && (c ^ 32) <= s->range[i].to;
    return in != s->not;
}

struct parsing {
    const char *text, *p;
    struct arena *mem;
    struct err *e;
    size_t sequences;                /* alternatives so far: each takes memory */
};

static int unknown(const struct parsing *x)
{
    return err_set(x->e, ERR_INPUT, "the pattern '%.200s' of the tokenizer has '%.12s', which is not known here", x->text, x->p);
}

static int add_range(struct parsing *x, struct set *s, uint32_t from, uint32_t to)
{
    if (s->n == RANGES || to < from)
        return unknown(x);
    s->range[s->n].from = from;
    s->range[s->n++].to = to;
    return 0;
}

/* An escape, behind its backslash: a class into s, or a character into *c. Returns 1 for a character. */
static int escape(struct parsing *x, struct set *s, uint32_t *c)
{
    static const char letter[] = "LMNPS";
    const char k = *x->p;
    const bool not = k == 'P' || k == 'S';
    const char *which;
    if (k == 's' || k == 'S') {
        *(not ? &s->not_classes : &s->classes) |= SPACE_BIT;
    } else if (k == 'd') {
        s->classes |= 1u << UNICODE_N;
    } else if ((k == 'p' || k == 'P') && x->p[1] == '{' && x->p[2] && x->p[3] == '}' && (which = strchr(letter, x->p[2]))) {
        *(not ? &s->not_classes : &s->classes) |= 1u << (UNICODE_L + (which - letter));
        x->p += 3;
    } else {
        const char *plain = strchr("rntf", k);
        if (!k || (k >= '0' && k <= '9') || (!plain && ((k | 32) >= 'a' && (k | 32) <= 'z')))
            return unknown(x);
        *c = k == 'r' ? '\r' : k == 'n' ? '\n' : k == 't' ? '\t' : k == 'f' ? '\f' : (uint8_t)k;
        x->p++;
        return 1;
    }
    x->p++;
    return 0;
}

static uint32_t next_char(struct parsing *x)
{
    size_t n;
    const uint32_t c = utf8_at((const uint8_t *)x->p, (const uint8_t *)x->p + strlen(x->p), &n);
    x->p += n;
    return c;
}

/* [...], behind the bracket. */
static int parse_set(struct parsing *x, struct set *s)
{
    bool first = true;
    if (*x->p == '^') {
        s->not = true;
        x->p++;
    }
    for (; *x->p && (*x->p != ']' || first); first = false) {
        uint32_t from, to;
        if (*x->p == '[' || !strncmp(x->p, "&&", 2))
            return unknown(x);
        if (*x->p == '\\') {
            x->p++;
            const int r = escape(x, s, &from);
            if (r < 0)
                return -1;
            if (!r)
                continue;
        } else {
            from = next_char(x);
        }
        to = from;
        if (*x->p == '-' && x->p[1] && x->p[1] != ']') {
            x->p++;
            if (*x->p == '\\') {
                x->p++;
                if (escape(x, s, &to) != 1)
                    return unknown(x);
            } else {
                to = next_char(x);
            }
        }
        if (add_range(x, s, from, to))
            return -1;
    }
    return *x->p == ']' ? (x->p++, 0) : unknown(x);
}

static struct pattern *parse_alternatives(struct parsing *x, bool fold, unsigned depth);

static int parse_group(struct parsing *x, struct item *t, bool fold, unsigned depth)
{
    if (!strncmp(x->p, "(?!", 3)) {
        x->p += 3;
        t->kind = AHEAD_NOT;
        uint32_t c;
        if (*x->p == '\\') {
            x->p++;
            if (escape(x, &t->set, &c) < 0)
                return -1;
        } else if (*x->p == '[') {
            x->p++;
            if (parse_set(x, &t->set))
                return -1;
        } else {
            return unknown(x);
        }
        return *x->p == ')' ? (x->p++, 0) : unknown(x);
    }
    if (!strncmp(x->p, "(?i:", 4)) {
        fold = true;
        x->p += 4;
    } else if (!strncmp(x->p, "(?:", 3)) {
        x->p += 3;
    } else if (x->p[1] == '?') {
        return unknown(x);
    } else {
        x->p++;
    }
    t->kind = GROUP;
    t->group = parse_alternatives(x, fold, depth + 1);
    return !t->group ? -1 : *x->p == ')' ? (x->p++, 0) : unknown(x);
}

static int parse_quantifier(struct parsing *x, struct item *t)
{
    t->min = t->max = 1;
    char *end;
    if (*x->p == '?' || *x->p == '*' || *x->p == '+') {
        t->min = *x->p == '+';
        t->max = *x->p == '?' ? 1 : UINT32_MAX;
        x->p++;
    } else if (*x->p == '{') {
        if (!strchr("0123456789,", x->p[1]) || strspn(x->p + 1, "0123456789,") > 12)
            return unknown(x);
        const unsigned long min = strtoul(x->p + 1, &end, 10);
        unsigned long max = min;
        if (*end == ',')
            max = end[1] == '}' ? (end++, UINT32_MAX) : strtoul(end + 1, &end, 10);
        t->min = (unsigned)min_u64(min, UINT32_MAX);
        t->max = (unsigned)min_u64(max, UINT32_MAX);
        if (*end != '}' || t->max < t->min || !t->max)
            return unknown(x);
        x->p = end + 1;
    } else {
        return 0;
    }
    return *x->p == '?' || *x->p == '+' || (t->kind == GROUP && t->max > 1) || t->kind == AHEAD_NOT ? unknown(x) : 0;
}

static int parse_item(struct parsing *x, struct item *t, bool fold, unsigned depth)
{
    uint32_t c;
    *t = (struct item){.kind = ONE};
    t->set.fold = fold;
    if (*x->p == '(') {
        if (parse_group(x, t, fold, depth))
            return -1;
    } else if (*x->p == '[') {
        x->p++;
        if (parse_set(x, &t->set))
            return -1;
    } else if (*x->p == '.') {
        x->p++;
        t->set.not = true;
        if (add_range(x, &t->set, '\n', '\n'))
            return -1;
    } else if (*x->p == '\\') {
        x->p++;
        const int r = escape(x, &t->set, &c);
        if (r < 0 || (r && add_range(x, &t->set, c, c)))
            return -1;
    } else if (strchr("^$*+?{", *x->p)) {
        return unknown(x);
    } else {
        c = next_char(x);
        if (add_range(x, &t->set, c, c))
            return -1;
    }
    return parse_quantifier(x, t);
}

static struct pattern *parse_alternatives(struct parsing *x, bool fold, unsigned depth)
{
    enum { MOST = 64, ALTERNATIVES = 256 };
    struct pattern *p = arena_alloc(x->mem, sizeof *p, x->e);
    struct sequence **tail = p ? &p->first : NULL;
    if (!p || depth > 8) {
        if (p)
            (void)unknown(x);
        return NULL;
    }
    for (;;) {
        if (x->sequences++ == ALTERNATIVES) {
            (void)unknown(x);
            return NULL;
        }
        struct sequence *s = arena_alloc(x->mem, sizeof *s, x->e);
        struct item *item = s ? arena_array(x->mem, MOST, sizeof *item, x->e) : NULL;
        if (!item)
            return NULL;
        s->item = item;
        for (; *x->p && *x->p != '|' && *x->p != ')'; s->n++) {
            if (s->n == MOST) {
                (void)unknown(x);
                return NULL;
            }
            if (parse_item(x, &item[s->n], fold, depth))
                return NULL;
        }
        *tail = s;
        tail = &s->next;
        if (*x->p != '|')
            return p;
        x->p++;
    }
}

int pattern_parse(const struct pattern **out, const char *text, struct arena *mem, struct err *e)
{
    struct parsing x = {text, text, mem, e, 0};
    struct pattern *p = parse_alternatives(&x, false, 0);
    *out = p;
    return !p ? -1 : *x.p ? unknown(&x) : 0;
}

/* ---- matching ------------------------------------------------------------------------------ */
#define NO SIZE_MAX

/* What is matched, and how many tries are left: patterns are from files, and some need more than anybody waits for. */
struct matching {
    const uint8_t *p;
    size_t n;
    uint64_t left;
};

/* Items i, i + 1, ... of s from position at on; where they end, or NO. */
static size_t match(struct matching *m, const struct sequence *s, size_t i, size_t at)
{
    const uint8_t *p = m->p;
    size_t step, end = at, count = 0;
    if (i == s->n)
        return at;
    if (!m->left)
        return NO;
    m->left--;
    const struct item *t = &s->item[i];
    if (t->kind == AHEAD_NOT)
        return at < m->n && in_set(&t->set, utf8_at(p + at, p + m->n, &step)) ? NO : match(m, s, i + 1, at);
    if (t->kind == GROUP) {
        for (const struct sequence *a = t->group->first; a; a = a->next) {
            const size_t to = match(m, a, 0, at), all = to == NO ? NO : match(m, s, i + 1, to);
            if (all != NO)
                return all;
        }
        return t->min ? NO : match(m, s, i + 1, at);
    }
    while (count < t->max && end < m->n && in_set(&t->set, utf8_at(p + end, p + m->n, &step))) {
        end += step;
        count++;
    }
    m->left -= min_u64(m->left, count);
    for (;; count--) { /* gives back one character after the other */
        if (count < t->min)
            return NO;
        const size_t all = match(m, s, i + 1, end);
        if (all != NO || !count)
            return all;
        size_t back = end - 1;
        while (back > at && end - back < 4 && p[back] >> 6 == 2)
            back--;
        (void)utf8_at(p + back, p + m->n, &step);
        end = back + step == end ? back : end - 1;
    }
}

bool pattern_find(const struct pattern *x, const uint8_t *p, size_t n, size_t from, size_t *start, size_t *end, uint64_t *tries)
{
    struct matching m = {p, n, *tries};
    bool found = false;
    for (size_t step; !found && from < n && m.left; from += step) {
        for (const struct sequence *s = x->first; s && !found; s = s->next) {
            const size_t to = match(&m, s, 0, from);
            if ((found = m.left && to != NO && to > from)) {
                *start = from;
                *end = to;
            }
        }
        (void)utf8_at(p + from, p + n, &step);
    }
    *tries = m.left;
    return found;
}
