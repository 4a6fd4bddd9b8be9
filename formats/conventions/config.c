/* config.json, read tolerantly and rewritten as text.
 *
 * Why text: config.json holds numbers such as 1e-05, 10000.0 and Infinity that
 * do not survive a JSON library byte for byte, and a diff of two checkpoints
 * should show the one member that changed.  So the library checks the text and
 * finds what it means, and edits are cuts and insertions between known bytes. */
#include "formats/conventions/parts.h"

#include <stdlib.h>
#include <string.h>

static const char space[] = " \t\n\r";

/* ---- reading ------------------------------------------------------------------ */

/* Past the string that starts at s ('"'), or the end of the text. */
static const char *string_end(const char *s)
{
    for (s++; *s && *s != '"'; s++)
        if (*s == '\\' && s[1])
            s++;
    return *s ? s + 1 : s;
}

/* Python's bare words become numbers of the same length: "0" and blanks. */
static void mask_words(char *s)
{
    static const char *const word[] = {"-Infinity", "Infinity", "NaN"};
    while (*s) {
        if (*s == '"') {
            s += string_end(s) - s;
            continue;
        }
        size_t n = 0;
        for (size_t i = 0; !n && i < sizeof word / sizeof *word; i++)
            if (!strncmp(s, word[i], strlen(word[i])))
                n = strlen(word[i]);
        if (n) {
            memset(s, ' ', n);
            *s = '0';
        }
        s += n ? n : 1;
    }
}

json_t *config_parse(const char *text, const char *what, struct err *e)
{
    struct buf copy = {0};
    if (buf_puts(&copy, text, e))
        return NULL;
    mask_words(copy.s);
    json_error_t je;
    json_t *root = json_loads(copy.s, JSON_REJECT_DUPLICATES, &je);
    buf_free(&copy);
    if (!root) {
        (void)err_set(e, ERR_INPUT, "%s: line %d: %s", what, je.line, je.text);
        return NULL;
    }
    if (json_is_object(root))
        return root;
    json_decref(root);
    (void)err_set(e, ERR_INPUT, "%s is not a JSON object", what);
    return NULL;
}

static const char *const section_key[] = {"quantization_config", "compression_config"};

json_t *config_section(const json_t *config)
{
    const json_t *place[] = {config, json_object_get(config, "text_config")};
    for (size_t p = 0; p < 2; p++)
        for (size_t i = 0; i < 2; i++) {
            json_t *q = json_object_get(place[p], section_key[i]);
            if (json_is_object(q))
                return q;
        }
    return NULL;
}

const char *config_string(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

int config_set(json_t *object, const char *key, json_t *value, struct err *e)
{
    if (value && !json_object_set_new(object, key, value))
        return 0;
    return err_set(e, ERR_SYSTEM, "out of memory for config.json");
}

/* ---- rewriting ------------------------------------------------------------------ */

/* Where a member lies in the text: the bytes of its key and of its value, the
 * end of what comes before it and the start of the next key (0: it is the last). */
struct member {
    size_t before, key, value, end, next;
};

static size_t skip_space(const char *s, size_t i)
{
    return i + strspn(s + i, space);
}

static size_t value_end(const char *s, size_t i)
{
    if (s[i] == '"')
        return (size_t)(string_end(s + i) - s);
    if (s[i] != '{' && s[i] != '[')
        return i + strcspn(s + i, ",]} \t\n\r");
    for (size_t depth = 0; s[i];) {
        if (s[i] == '"') {
            i = (size_t)(string_end(s + i) - s);
            continue;
        }
        depth += s[i] == '{' || s[i] == '[';
        if ((s[i] == '}' || s[i] == ']') && !--depth)
            return i + 1;
        i++;
    }
    return i;
}

/* Steps to the next member of an object; at first *m has only .next, the first
 * key.  False after the last.  The text is known to be valid JSON. */
static bool member_next(const char *s, struct member *m)
{
    if (!m->next)
        return false;
    m->before = m->end ? m->end : m->before;
    m->key = m->next;
    size_t colon = skip_space(s, (size_t)(string_end(s + m->key) - s));
    m->value = skip_space(s, colon + 1);
    m->end = value_end(s, m->value);
    size_t comma = skip_space(s, m->end);
    m->next = s[comma] == ',' ? skip_space(s, comma + 1) : 0;
    return true;
}

static struct member member_first(const char *s, size_t object)
{
    size_t i = skip_space(s, object + 1);
    return (struct member){.before = object + 1, .next = s[i] == '"' ? i : 0};
}

/* The key's text against a name, like strcmp. */
static int compare_key(const char *s, const struct member *m, const char *key)
{
    size_t n = (size_t)(string_end(s + m->key) - s) - m->key - 2, k = strlen(key);
    int r = memcmp(s + m->key + 1, key, n < k ? n : k);
    return r ? r : (n > k) - (n < k);
}

static bool member_find(const char *s, size_t object, const char *key, struct member *m)
{
    *m = member_first(s, object);
    while (member_next(s, m))
        if (!compare_key(s, m, key))
            return true;
    return false;
}

/* Replaces bytes [from, to) of the text. */
static int edit(struct buf *b, size_t from, size_t to, const char *text, struct err *e)
{
    struct buf out = {0};
    if (buf_put(&out, b->s, from, e) || buf_puts(&out, text, e)
        || buf_put(&out, b->s + to, b->n - to, e)) {
        buf_free(&out);
        return -1;
    }
    buf_free(b);
    *b = out;
    return 0;
}

static int member_remove(struct buf *b, size_t object, const char *key, struct err *e)
{
    struct member m;
    if (!member_find(b->s, object, key, &m))
        return 0;
    if (m.next)
        return edit(b, m.key, m.next, "", e);
    /* The last: the comma before it goes too; alone, the braces close up. */
    bool alone = b->s[m.before - 1] == '{' && m.before == object + 1;
    return edit(b, m.before, alone ? skip_space(b->s, m.end) : m.end, "", e);
}

/* JSON text of section as a member at depth 1, indented with unit. */
static int section_text(const json_t *section, const char *unit, size_t unit_size, struct buf *out,
                        struct err *e)
{
    char *raw = json_dumps(section, JSON_ENCODE_ANY | (unit_size ? JSON_INDENT(1) : 0));
    if (!raw)
        return err_set(e, ERR_SYSTEM, "out of memory for config.json");
    int r = 0;
    for (const char *s = raw; !r && *s;) {
        size_t line = strcspn(s, "\n");
        r = buf_put(out, s, line, e);
        s += line;
        if (!r && *s) { /* one blank per level, and this object is a level down */
            size_t depth = strspn(++s, " ");
            r = buf_puts(out, "\n", e);
            for (size_t i = 0; !r && i <= depth; i++)
                r = buf_put(out, unit, unit_size, e);
            s += depth;
        }
    }
    free(raw);
    return r;
}

/* Sets a member of an object of the text. */
static int section_put(struct buf *b, size_t object, const char *key, const json_t *section, struct err *e)
{
    struct member first = member_first(b->s, object), m = first;
    /* What separates members: a line break and blanks, or just blanks. */
    const char *gap = b->s + first.before;
    size_t gap_size = first.next ? first.next - first.before : 3;
    if (!first.next)
        gap = "\n  ";
    const char *line = memchr(gap, '\n', gap_size);
    const char *unit = line ? line + 1 : "";
    size_t unit_size = line ? gap_size - (size_t)(unit - gap) : 0;

    struct buf text = {0}, sep = {0};
    int r = line ? buf_put(&sep, gap, gap_size, e) : buf_puts(&sep, " ", e);
    if (r || section_text(section, unit, unit_size, &text, e)) {
        r = -1;
    } else if (member_find(b->s, object, key, &m)) {
        r = edit(b, m.value, m.end, text.s, e);
    } else {
        /* Among sorted keys it finds its place; otherwise any place will do. */
        struct buf member = {0};
        bool here = false;
        for (m = first; !here && member_next(b->s, &m);)
            here = compare_key(b->s, &m, key) > 0;
        if (here) {
            r = buf_printf(&member, e, "\"%s\": %s,%s", key, text.s, sep.s);
        } else if (first.next) {
            r = buf_printf(&member, e, ",%s\"%s\": %s", sep.s, key, text.s);
        } else {
            r = buf_printf(&member, e, "%s\"%s\": %s\n", sep.s, key, text.s);
        }
        size_t at = here ? m.key : first.next ? m.end : object + 1;
        size_t to = here || first.next ? at : skip_space(b->s, at);
        r = r || edit(b, at, to, member.s, e) ? -1 : 0;
        buf_free(&member);
    }
    buf_free(&text);
    buf_free(&sep);
    return r;
}

static int dtype_put(struct buf *b, size_t object, const char *dtype, struct err *e)
{
    static const char *const key[] = {"torch_dtype", "dtype"};
    struct buf text = {0};
    int r = buf_printf(&text, e, "\"%s\"", dtype);
    for (size_t i = 0; !r && i < 2; i++) {
        struct member m;
        if (member_find(b->s, object, key[i], &m) && b->s[m.value] == '"')
            r = edit(b, m.value, m.end, text.s, e);
    }
    buf_free(&text);
    return r;
}

int config_splice(const char *source, const json_t *members, const char *dtype, struct buf *out,
                  struct err *e)
{
    const json_t *section = json_object_get(members, section_key[0]);
    const char *key;
    json_t *value;
    *out = (struct buf){0};
    if (buf_puts(out, source, e))
        return -1;
    int r = 0;
    struct member text;
    size_t root = skip_space(out->s, 0);
    for (size_t i = 0; !r && i < 2; i++) {
        if (member_find(out->s, root, "text_config", &text) && out->s[text.value] == '{')
            r = member_remove(out, text.value, section_key[i], e);
        if (!r && (i || !section))
            r = member_remove(out, root, section_key[i], e);
    }
    if (!r && !json_object_get(members, "expert_dtype")) /* DeepSeek-V4's word about its experts */
        r = member_remove(out, root, "expert_dtype", e);
    json_object_foreach((json_t *)members, key, value)
        r = r || section_put(out, root, key, value, e) ? -1 : 0;
    if (!r && dtype)
        r = dtype_put(out, root, dtype, e);
    if (!r && dtype && member_find(out->s, root, "text_config", &text) && out->s[text.value] == '{')
        r = dtype_put(out, text.value, dtype, e);
    if (r)
        buf_free(out);
    return r;
}
