/* Tokenizers as files have them: tokenizer.json of Hugging Face, and the keys of a GGUF. */
#include "calibrate/tokenizer_parts.h"

#include "formats/gguf_keys.h"
#include "formats/io.h"
#include "formats/model.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3(DIGITS) "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" DIGITS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define DEEPSEEK3                                                                                                                \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+" \
    "(?!\\S)|\\s+"

/* tokenizer.ggml.pre, and the patterns that it stands for (llama.cpp src/llama-vocab.cpp). */
static const struct {
    const char *name, *pattern[5];
} pres[] = {{"gpt-2", {GPT2}},
            {"default", {GPT2}},
            {"llama-bpe", {LLAMA3("\\p{N}{1,3}")}},
            {"llama3", {LLAMA3("\\p{N}{1,3}")}},
            {"qwen2", {LLAMA3("\\p{N}")}},
            {"deepseek-r1-qwen", {LLAMA3("\\p{N}")}},
            {"smollm", {"\\p{N}", GPT2}},
            {"starcoder", {"\\p{N}", GPT2}},
            {"refact", {"\\p{N}", GPT2}},
            {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-\xed\x9f\xbf]+", "\\p{N}"}},
            {"deepseek-v3", {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3}}};

static int add_cut(struct tokenizer *t, const char *pattern, bool matches_only, struct err *e)
{
    if (t->cuts == CUTS)
        return err_set(e, ERR_INPUT, "the tokenizer cuts text in more than %d steps", CUTS);
    t->cut[t->cuts] = (struct cut){NULL, matches_only};
    if (pattern && pattern_parse(&t->cut[t->cuts].pattern, pattern, &t->mem, e))
        return -1;
    t->cuts++;
    return 0;
}

/* ---- bytes as characters --------------------------------------------------------------------- */

/* GPT-2's bytes_to_unicode, the other way: characters that stand for bytes. NO_ID: none. */
static uint32_t byte_of(uint32_t c)
{
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255))
        return c;
    if (c < 256 || c > 323)
        return NO_ID;
    uint32_t left = c - 256; /* the others, in their order */
    for (uint32_t b = 0; b < 256; b++)
        if (byte_of(b) != b && !left--)
            return b;
    return NO_ID;
}

/* A word of a byte-level vocabulary as bytes; false: it is none (a special token). */
static bool as_bytes(const char *s, size_t n, char *to, size_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0, step; i < n; i += step) {
        const uint32_t b = byte_of(utf8_at((const uint8_t *)s + i, (const uint8_t *)s + n, &step));
        if (b == NO_ID)
            return false;
        to[(*bytes)++] = (char)b;
    }
    return true;
}

static int add_word(struct tokenizer *t, uint32_t id, const char *s, size_t n, double score, bool plain, struct err *e)
{
    char *bytes = mem_alloc(n + 1, 1, e);
    size_t k;
    if (!bytes)
        return -1;
    const bool mapped = t->byte_level && plain && as_bytes(s, n, bytes, &k);
    const int r = word_add(t, id, mapped ? bytes : s, mapped ? k : n, score, e);
    free(bytes);
    return r;
}

/* The tokens of single bytes: themselves, or "<0xNN>". */
static void find_bytes(struct tokenizer *t)
{
    for (unsigned b = 0; b < 256; b++) {
        char text[8];
        const char one = (char)b;
        snprintf(text, sizeof text, "<0x%02X>", b);
        t->byte[b] = t->byte_level ? word_find(t, &one, 1) : word_find(t, text, 6);
    }
}

/* "left right", ids of both; rank i. */
static int add_merge(struct tokenizer *t, const char *left, size_t nl, const char *right, size_t nr, uint32_t rank, struct err *e)
{
    char *a = mem_alloc(nl + nr + 1, 2, e), *b = a + nl;
    size_t ka = nl, kb = nr;
    if (!a)
        return -1;
    if (!t->byte_level || !as_bytes(left, nl, a, &ka))
        memcpy(a, left, ka = nl);
    b = a + ka;
    if (!t->byte_level || !as_bytes(right, nr, b, &kb))
        memcpy(b, right, kb = nr);
    const uint32_t x = word_find(t, a, ka), y = word_find(t, b, kb), both = word_find(t, a, ka + kb);
    const bool known = x != NO_ID && y != NO_ID && both != NO_ID;
    if (known)
        merge_add(t, x, y, rank, both);
    free(a);
    return known ? 0 : err_set(e, ERR_INPUT, "merge %u of the tokenizer, '%.*s' and '%.*s', is of tokens that it does not have", rank, (int)nl, left, (int)nr, right);
}

/* ---- tokenizer.json ------------------------------------------------------------------------------ */
static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static int unknown_part(const char *part, const json_t *o, struct err *e)
{
    return err_set(e, ERR_INPUT, "tokenizer.json: a %s of type '%s' is not known here", part, text_of(o, "type"));
}

/* The list of a Sequence, or NULL. */
static const json_t *steps_of(const json_t *o, const char *key)
{
    const json_t *list = json_object_get(o, key);
    return !strcmp(text_of(o, "type"), "Sequence") && json_is_array(list) ? list : NULL;
}

static int read_normalizer(struct tokenizer *t, const json_t *o, struct err *e)
{
    const char *type = text_of(o, "type");
    const json_t *steps = steps_of(o, "normalizers");
    size_t i;
    json_t *x;
    if (!json_is_object(o))
        return err_set(e, ERR_INPUT, "tokenizer.json: a normalizer is no object");
    if (steps) {
        json_array_foreach(steps, i, x)
            if (read_normalizer(t, x, e))
                return -1;
        return 0;
    }
    if (!strcmp(type, "Prepend")) { /* what it puts there is left as it is */
        if (t->before || strchr(text_of(o, "prepend"), ' '))
            return err_set(e, ERR_INPUT, "tokenizer.json: a second Prepend, or one of spaces ('%s'), is not known here", text_of(o, "prepend"));
        return (t->before = arena_strdup(&t->mem, text_of(o, "prepend"), e)) ? 0 : -1;
    }
    if (!strcmp(type, "Replace") && !strcmp(text_of(json_object_get(o, "pattern"), "String"), " ") && !strcmp(text_of(o, "content"), METASPACE)) {
        t->spaces = true;
        return 0;
    }
    if (!strcmp(type, "NFC")) {
        t->must_be_nfc = true;
        return 0;
    }
    return unknown_part("normalizer", o, e);
}

static int read_metaspace(struct tokenizer *t, const json_t *o, struct err *e)
{
    const char *scheme = text_of(o, "prepend_scheme");
    const json_t *split = json_object_get(o, "split"), *old = json_object_get(o, "add_prefix_space");
    const bool never = !strcmp(scheme, "never") || (!*scheme && json_is_false(old)), always = !*scheme || !strcmp(scheme, "always");
    if (*text_of(o, "replacement") && strcmp(text_of(o, "replacement"), METASPACE))
        return unknown_part("replacement of a pre_tokenizer", o, e);
    t->prefix_first = !strcmp(scheme, "first");
    if (!never && !always && !t->prefix_first)
        return err_set(e, ERR_INPUT, "tokenizer.json: prepend_scheme '%s' is not known here", scheme);
    t->metaspace = true;
    t->prefix = never ? NULL : METASPACE;
    return json_is_false(split) ? 0 : add_cut(t, NULL, false, e);
}

static int read_pre_tokenizer(struct tokenizer *t, const json_t *o, struct err *e)
{
    const char *type = text_of(o, "type");
    const json_t *steps = steps_of(o, "pretokenizers");
    size_t i;
    json_t *x;
    if (!json_is_object(o))
        return err_set(e, ERR_INPUT, "tokenizer.json: a pre_tokenizer is no object");
    if (steps) {
        json_array_foreach(steps, i, x)
            if (read_pre_tokenizer(t, x, e))
                return -1;
        return 0;
    }
    /* What comes before each piece, and what pieces of bytes as characters would be, is not made. */
    const bool prefixes = !strcmp(type, "Metaspace") || json_is_true(json_object_get(o, "add_prefix_space"));
    if (t->byte_level || (prefixes && (t->cuts || t->metaspace)))
        return err_set(e, ERR_INPUT, "tokenizer.json: a pre_tokenizer of type '%s' after another one is not known here", type);
    if (!strcmp(type, "ByteLevel")) {
        t->byte_level = true;
        t->prefix = json_is_true(json_object_get(o, "add_prefix_space")) ? " " : t->prefix;
        return json_is_false(json_object_get(o, "use_regex")) ? 0 : add_cut(t, GPT2, false, e);
    }
    if (!strcmp(type, "Digits"))
        return add_cut(t, json_is_true(json_object_get(o, "individual_digits")) ? "\\p{N}" : "\\p{N}+", false, e);
    if (!strcmp(type, "Metaspace"))
        return read_metaspace(t, o, e);
    if (!strcmp(type, "Split")) {
        const json_t *pattern = json_object_get(o, "pattern");
        const char *regex = json_string_value(json_object_get(pattern, "Regex")), *behavior = text_of(o, "behavior");
        const bool invert = json_is_true(json_object_get(o, "invert"));
        if (regex && ((!invert && !strcmp(behavior, "Isolated")) || (invert && !strcmp(behavior, "Removed"))))
            return add_cut(t, regex, invert, e);
    }
    return unknown_part("pre_tokenizer", o, e);
}

static int read_vocabulary(struct tokenizer *t, const json_t *model, struct err *e)
{
    json_t *vocabulary = json_object_get(model, "vocab"), *x;
    const char *key;
    size_t i;
    if (json_is_array(vocabulary) != (t->kind == MODEL_UNIGRAM))
        return err_set(e, ERR_INPUT, "tokenizer.json: a model of type '%s' has %s for a vocabulary", text_of(model, "type"),
                       json_is_array(vocabulary) ? "a list" : "no list");
    json_object_foreach(vocabulary, key, x)
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) >= 1 << 24)
            return err_set(e, ERR_INPUT, "tokenizer.json: token '%s' has no id", key);
        else if ((size_t)json_integer_value(x) < t->n && t->word[json_integer_value(x)].s)
            return err_set(e, ERR_INPUT, "tokenizer.json: tokens '%s' and '%s' both have the id %lld", t->word[json_integer_value(x)].s, key,
                           (long long)json_integer_value(x));
        else if (add_word(t, (uint32_t)json_integer_value(x), key, strlen(key), 0, true, e))
            return -1;
    json_array_foreach(vocabulary, i, x) { /* unigram: [piece, score] */
        const json_t *piece = json_array_get(x, 0), *score = json_array_get(x, 1);
        if (!json_is_string(piece) || !json_is_number(score))
            return err_set(e, ERR_INPUT, "tokenizer.json: piece %zu is no pair of a text and a score", i);
        if (!(fabs(json_number_value(score)) < 1e30))
            return err_set(e, ERR_INPUT, "tokenizer.json: piece %zu has the score %g", i, json_number_value(score));
        if (t->kind == MODEL_UNIGRAM && json_string_length(piece) > LONGEST_PIECE)
            return err_set(e, ERR_INPUT, "tokenizer.json: piece %zu has %zu bytes, and more than %d are not known here", i, json_string_length(piece), LONGEST_PIECE);
        if (add_word(t, (uint32_t)i, json_string_value(piece), json_string_length(piece), json_number_value(score), true, e))
            return -1;
        t->least = !i || json_number_value(score) < t->least ? json_number_value(score) : t->least;
    }
    return t->n ? 0 : err_set(e, ERR_INPUT, "tokenizer.json: its model has no vocabulary");
}

/* Added token i; the vocabulary of the model is there. */
static int read_one_added(struct tokenizer *t, const json_t *vocabulary, const json_t *o, size_t i, struct err *e)
{
    static const char *const flags[] = {"lstrip", "rstrip", "single_word", "normalized"};
    const json_t *id = json_object_get(o, "id"), *content = json_object_get(o, "content");
    bool set[4];
    struct buf b = {0};
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= 1 << 24 || !json_is_string(content))
        return err_set(e, ERR_INPUT, "tokenizer.json: added token %zu has no id or no content", i);
    const json_t *word = json_object_get(vocabulary, json_string_value(content)); /* of bytes, words are no longer spelled so */
    uint32_t known = word ? (uint32_t)json_integer_value(word) : NO_ID;
    if (json_is_array(vocabulary))
        known = word_find(t, json_string_value(content), json_string_length(content));
    if (known != NO_ID && known != json_integer_value(id))
        return err_set(e, ERR_INPUT, "tokenizer.json: added token %zu, '%s', has id %u, and %u in the vocabulary", i, json_string_value(content),
                       (unsigned)json_integer_value(id), known);
    for (size_t k = 0; k < 4; k++) {
        const json_t *flag = json_object_get(o, flags[k]);
        if (flag && !json_is_boolean(flag))
            return err_set(e, ERR_INPUT, "tokenizer.json: %s of added token %zu is neither true nor false", flags[k], i);
        set[k] = json_is_true(flag);
    }
    const char *s = json_string_value(content);
    size_t n = json_string_length(content);
    int r = set[3] ? normalize(t, &s, &n, &b, e) : 0;
    if (r)
        r = err_prefix(e, "tokenizer.json: added token %zu", i);
    if (!r)
        r = added_add(t, (struct added){.s = s, .n = (uint32_t)n, .id = (uint32_t)json_integer_value(id), .lstrip = set[0], .rstrip = set[1],
                                        .single_word = set[2], .normalized = set[3]}, e);
    buf_free(&b);
    return r;
}

static int read_added(struct tokenizer *t, const json_t *root, struct err *e)
{
    const json_t *list = json_object_get(root, "added_tokens");
    size_t i;
    json_t *x;
    if (list && !json_is_array(list) && !json_is_null(list))
        return err_set(e, ERR_INPUT, "tokenizer.json: added_tokens is no array");
    json_array_foreach(list, i, x)
        if (read_one_added(t, json_object_get(json_object_get(root, "model"), "vocab"), x, i, e))
            return -1;
    return 0;
}

static int read_merges(struct tokenizer *t, const json_t *model, struct err *e)
{
    const json_t *list = json_object_get(model, "merges");
    size_t i;
    json_t *x;
    if (merges_room(t, json_array_size(list), e))
        return -1;
    json_array_foreach(list, i, x) {
        const char *s = json_string_value(x), *space = s ? strchr(s + (*s == ' '), ' ') : NULL;
        const char *left = json_string_value(json_array_get(x, 0)), *right = json_string_value(json_array_get(x, 1));
        if (!space && (!left || !right))
            return err_set(e, ERR_INPUT, "tokenizer.json: merge %zu is of no two tokens", i);
        if (space ? add_merge(t, s, (size_t)(space - s), space + 1, strlen(space + 1), (uint32_t)i, e)
                  : add_merge(t, left, strlen(left), right, strlen(right), (uint32_t)i, e))
            return -1;
    }
    return 0;
}

/* The id of an added token, or else of a word. */
static uint32_t id_of(const struct tokenizer *t, const json_t *root, const char *s)
{
    size_t i;
    json_t *x;
    json_array_foreach(json_object_get(root, "added_tokens"), i, x)
        if (!strcmp(text_of(x, "content"), s))
            return (uint32_t)json_integer_value(json_object_get(x, "id"));
    return word_find(t, s, strlen(s));
}

/* What a text begins with: the first special token of the template for one text. */
static int read_bos(struct tokenizer *t, const json_t *root, const json_t *o, struct err *e)
{
    size_t i;
    json_t *x;
    json_array_foreach(json_object_get(o, "processors"), i, x)
        if (read_bos(t, root, x, e))
            return -1;
    if (strcmp(text_of(o, "type"), "TemplateProcessing"))
        return 0;
    const json_t *first = json_object_get(json_array_get(json_object_get(o, "single"), 0), "SpecialToken");
    const char *id = text_of(first, "id");
    if (*id && (t->bos = id_of(t, root, id)) == NO_ID)
        return err_set(e, ERR_INPUT, "tokenizer.json: texts begin with '%s', which is no token", id);
    return 0;
}

static int read_json(struct tokenizer *t, const char *path, struct err *e)
{
    json_error_t je;
    size_t n;
    char *text = io_read_file(path, (size_t)1 << 30, &n, e);
    json_t *root = text ? json_loadb(text, n, JSON_ALLOW_NUL, &je) : NULL;
    free(text);
    if (!root)
        return text ? err_set(e, ERR_INPUT, "%s: line %d: %s", path, je.line, je.text) : -1;
    const json_t *model = json_object_get(root, "model");
    const char *type = text_of(model, "type"), *unknown = text_of(model, "unk_token");
    const json_t *normalizer = json_object_get(root, "normalizer"), *pieces = json_object_get(root, "pre_tokenizer");
    int r = normalizer && !json_is_null(normalizer) && read_normalizer(t, normalizer, e) ? -1 : 0;
    if (!r && pieces && !json_is_null(pieces))
        r = read_pre_tokenizer(t, pieces, e);
    if (!r && strcmp(type, "BPE") && strcmp(type, "Unigram") && *type)
        r = unknown_part("model", model, e);
    static const char *const marks[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; !r && i < 2; i++)
        if (*text_of(model, marks[i]))
            r = err_set(e, ERR_INPUT, "tokenizer.json: a model with %s '%s' is not known here", marks[i], text_of(model, marks[i]));
    t->kind = !strcmp(type, "Unigram") ? MODEL_UNIGRAM : MODEL_BPE;
    t->whole_first = json_is_true(json_object_get(model, "ignore_merges"));
    t->fuse = t->kind == MODEL_UNIGRAM || json_is_true(json_object_get(model, "fuse_unk"));
    r = r || read_vocabulary(t, model, e) || words_index(t, e) || read_added(t, root, e) ? -1 : 0;
    if (!r)
        r = t->kind == MODEL_BPE ? read_merges(t, model, e) : words_sort(t, e);
    if (!r) {
        const json_t *id = json_object_get(model, "unk_id");
        t->unknown = *unknown ? word_find(t, unknown, strlen(unknown)) : json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) < (json_int_t)t->n ? (uint32_t)json_integer_value(id) : NO_ID;
        if (t->byte_level || json_is_true(json_object_get(model, "byte_fallback")))
            find_bytes(t);
        r = read_bos(t, root, json_object_get(root, "post_processor"), e);
    }
    json_decref(root);
    return r ? err_prefix(e, "%s", path) : 0;
}

/* ---- GGUF ---------------------------------------------------------------------------------------- */
static bool key(const struct model *m, const char *name, struct gguf_value *v)
{
    return gguf_keys_find(m->gguf_kv, m->gguf_kv_size, m->gguf_kv_count, name, v);
}

static int read_gguf_words(struct tokenizer *t, const struct model *m, struct err *e)
{
    struct gguf_value words, scores, types, w, s, k;
    size_t at[3] = {0};
    if (!key(m, "tokenizer.ggml.tokens", &words))
        return err_set(e, ERR_INPUT, "%s: has no tokenizer.ggml.tokens", m->path);
    const bool scored = key(m, "tokenizer.ggml.scores", &scores), typed = key(m, "tokenizer.ggml.token_type", &types);
    enum gguf_type type_of;
    uint64_t count;
    if (!gguf_as_array(&words, &type_of, &count) || !count)
        return err_set(e, ERR_INPUT, "%s: tokenizer.ggml.tokens is no list of tokens", m->path);
    for (uint32_t id = 0; gguf_array_next(&words, &at[0], &w); id++) {
        enum { NORMAL = 1, CONTROL = 3, USER = 4 };
        const char *text;
        size_t n;
        double score = 0;
        int64_t type = NORMAL;
        if (!gguf_as_str(&w, &text, &n))
            return err_set(e, ERR_INPUT, "%s: token %u is no text", m->path, id);
        if (scored && !(gguf_array_next(&scores, &at[1], &s) && gguf_as_f64(&s, &score) && fabs(score) < 1e30))
            return err_set(e, ERR_INPUT, "%s: tokenizer.ggml.scores has no number for token %u", m->path, id);
        if (typed && !(gguf_array_next(&types, &at[2], &k) && gguf_as_i64(&k, &type)))
            return err_set(e, ERR_INPUT, "%s: tokenizer.ggml.token_type has no number for token %u", m->path, id);
        if (add_word(t, id, text, n, score, type == NORMAL, e) || ((type == CONTROL || type == USER) && added_add(t, (struct added){.s = text, .n = (uint32_t)n, .id = id}, e)))
            return -1;
    }
    return words_index(t, e);
}

static int read_gguf_merges(struct tokenizer *t, const struct model *m, struct err *e)
{
    struct gguf_value list, x;
    enum gguf_type type;
    uint64_t n;
    size_t at = 0, bytes;
    const char *s;
    if (!key(m, "tokenizer.ggml.merges", &list) || !gguf_as_array(&list, &type, &n))
        return err_set(e, ERR_INPUT, "%s: has no tokenizer.ggml.merges", m->path);
    if (merges_room(t, n, e))
        return -1;
    for (uint32_t i = 0; gguf_array_next(&list, &at, &x); i++) {
        const char *space = gguf_as_str(&x, &s, &bytes) && bytes ? memchr(s + 1, ' ', bytes - 1) : NULL;
        if (!space)
            return err_set(e, ERR_INPUT, "%s: merge %u is of no two tokens", m->path, i);
        if (add_merge(t, s, (size_t)(space - s), space + 1, bytes - (size_t)(space - s) - 1, i, e))
            return -1;
    }
    return 0;
}

/* The token that a key names; it stays as it is where there is no such key. */
static int read_id(const struct tokenizer *t, const struct model *m, const char *name, uint32_t *out, struct err *e)
{
    struct gguf_value v;
    uint64_t id;
    if (!key(m, name, &v))
        return 0;
    if (!gguf_as_u64(&v, &id) || id >= t->n)
        return err_set(e, ERR_INPUT, "%s: %s is none of %zu tokens", m->path, name, t->n);
    *out = (uint32_t)id;
    return 0;
}

static int read_gguf(struct tokenizer *t, const struct model *m, struct err *e)
{
    struct gguf_value v;
    const char *kind = "", *pre = "default";
    size_t n = 0, np = 7, k = 0;
    bool yes = false;
    if (!key(m, "tokenizer.ggml.model", &v) || !gguf_as_str(&v, &kind, &n))
        return err_set(e, ERR_INPUT, "%s: has no tokenizer (tokenizer.ggml.model)", m->path);
    if (key(m, "tokenizer.ggml.pre", &v))
        (void)gguf_as_str(&v, &pre, &np);
    const bool bytes = n == 4 && !memcmp(kind, "gpt2", 4), pieces = n == 5 && !memcmp(kind, "llama", 5);
    if (!bytes && !pieces)
        return err_set(e, ERR_INPUT, "%s: a tokenizer of kind '%.*s' is not known here", m->path, (int)n, kind);
    while (k < sizeof pres / sizeof *pres && (strlen(pres[k].name) != np || memcmp(pres[k].name, pre, np)))
        k++;
    if (bytes && k == sizeof pres / sizeof *pres)
        return err_set(e, ERR_INPUT, "%s: tokenizer.ggml.pre '%.*s' is not known here", m->path, (int)np, pre);
    t->kind = bytes ? MODEL_BPE : MODEL_SCORES;
    t->fuse = true;
    t->byte_level = bytes;
    for (size_t i = 0; bytes && i < 5 && pres[k].pattern[i]; i++)
        if (add_cut(t, pres[k].pattern[i], false, e))
            return -1;
    if (pieces) {
        t->spaces = true;
        t->before = key(m, "tokenizer.ggml.add_space_prefix", &v) && gguf_as_bool(&v, &yes) && !yes ? NULL : METASPACE;
    }
    if (read_gguf_words(t, m, e) || (bytes && read_gguf_merges(t, m, e)))
        return -1;
    find_bytes(t);
    const bool says = key(m, "tokenizer.ggml.add_bos_token", &v) && gguf_as_bool(&v, &yes);
    return read_id(t, m, "tokenizer.ggml.unknown_token_id", &t->unknown, e)
        || ((says ? yes : pieces) && read_id(t, m, "tokenizer.ggml.bos_token_id", &t->bos, e)) ? -1 : 0;
}

static int read_any(struct tokenizer *t, const char *path, struct err *e)
{
    char json[4096];
    struct model m;
    if (ends_with(path, ".json"))
        return read_json(t, path, e);
    if (io_is_dir(path)) {
        if (snprintf(json, sizeof json, "%s/tokenizer.json", path) >= (int)sizeof json || !io_exists(json))
            return err_set(e, ERR_INPUT, "%s: there is no tokenizer.json", path);
        return read_json(t, json, e);
    }
    if (model_open(&m, path, e))
        return -1;
    int r = -1;
    if (m.container == CONTAINER_GGUF)
        r = read_gguf(t, &m, e);
    else if (!m.dir || snprintf(json, sizeof json, "%s/tokenizer.json", m.dir) >= (int)sizeof json || !io_exists(json))
        r = err_set(e, ERR_INPUT, "%s: there is no tokenizer.json beside it", path);
    else
        r = read_json(t, json, e);
    model_close(&m);
    return r;
}

int tokenizer_read(struct tokenizer *t, const char *path, struct err *e)
{
    if (read_any(t, path, e))
        return -1;
    added_sort(t);
    return 0;
}
