/* Keys of a GGUF file from a JSON object that a person wrote. */
#include "formats/gguf_keys.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { KIND_STRING, KIND_BOOL, KIND_WHOLE, KIND_REAL, KIND_NONE };

static enum kind kind_of(const json_t *v)
{
    return json_is_string(v)    ? KIND_STRING
         : json_is_boolean(v)   ? KIND_BOOL
         : json_is_integer(v)   ? KIND_WHOLE
         : json_is_real(v)      ? KIND_REAL
                                : KIND_NONE;
}

static int bad(const char *what, const char *key, const char *why, struct err *e)
{
    return err_set(e, ERR_INPUT, "%s: key '%.300s' %s", what, key, why);
}

static bool fits(json_int_t x, enum gguf_type t)
{
    return t == GGUF_U32   ? x >= 0 && x <= UINT32_MAX
         : t == GGUF_I32   ? x >= INT32_MIN && x <= INT32_MAX
         : t == GGUF_U64   ? x >= 0
                           : true;
}

static int put_whole(struct gguf_keys *k, const char *key, json_int_t x, struct err *e)
{
    return fits(x, GGUF_U32) ? gguf_keys_u32(k, key, (uint32_t)x, e)
         : fits(x, GGUF_I32) ? gguf_keys_i32(k, key, (int32_t)x, e)
         : fits(x, GGUF_U64) ? gguf_keys_u64(k, key, (uint64_t)x, e)
                             : gguf_keys_i64(k, key, x, e);
}

/* FP32 of a JSON number; false beyond its range. */
static bool real_of(const json_t *v, float *f)
{
    *f = (float)json_number_value(v);
    return isfinite(*f);
}

/* Elements of an array as one type, into p (8 bytes each). */
static bool put_elements(const json_t *a, enum gguf_type t, uint8_t *p)
{
    size_t i;
    json_t *v;
    float f;
    json_array_foreach(a, i, v)
    {
        const unsigned bytes = gguf_type_table[t].bytes;
        const int64_t x = t == GGUF_BOOL ? json_is_true(v) : json_integer_value(v);
        if (t == GGUF_F32 && !real_of(v, &f))
            return false;
        memcpy(p + i * bytes, t == GGUF_F32 ? (const void *)&f : &x, bytes); /* little-endian */
    }
    return true;
}

static int put_strings(struct gguf_keys *k, const char *key, const json_t *a, struct err *e)
{
    const size_t n = json_array_size(a);
    const char **s = mem_alloc(n, sizeof *s, e);
    for (size_t i = 0; s && i < n; i++)
        s[i] = json_string_value(json_array_get(a, i));
    const int r = s ? gguf_keys_strs(k, key, s, n, e) : -1;
    free(s);
    return r;
}

static int put_array(struct gguf_keys *k, const char *key, const json_t *a, const char *what, struct err *e)
{
    const size_t n = json_array_size(a);
    if (!n)
        return bad(what, key, "is an empty array, of which GGUF must know the type", e);
    enum kind kind = kind_of(json_array_get(a, 0));
    bool i32 = true, u32 = true;
    size_t i;
    json_t *v;
    json_array_foreach(a, i, v)
    {
        const enum kind x = kind_of(v);
        if (kind == KIND_WHOLE && x == KIND_REAL)
            kind = KIND_REAL;
        if (x == KIND_NONE || (x != kind && !(kind == KIND_REAL && x == KIND_WHOLE)))
            return bad(what, key, "is an array of more than one kind of value; all must be strings, bools, or numbers", e);
        i32 = i32 && fits(json_integer_value(v), GGUF_I32);
        u32 = u32 && fits(json_integer_value(v), GGUF_U32);
    }
    if (kind == KIND_STRING)
        return put_strings(k, key, a, e);
    const enum gguf_type t = kind == KIND_BOOL   ? GGUF_BOOL
                           : kind == KIND_REAL   ? GGUF_F32
                           : i32                 ? GGUF_I32
                           : u32                 ? GGUF_U32
                                                 : GGUF_I64;
    uint8_t *p = mem_alloc(n, 8, e);
    int r = p ? 0 : -1;
    if (!r && !put_elements(a, t, p))
        r = bad(what, key, "has a number beyond the range of F32", e);
    r = r || gguf_keys_numbers(k, key, t, p, n, e) ? -1 : 0;
    free(p);
    return r;
}

static int put_member(struct gguf_keys *k, const char *key, const json_t *v, const char *what, struct err *e)
{
    float f;
    if (!*key)
        return err_set(e, ERR_INPUT, "%s: a key has no name", what);
    if (gguf_key_is_of_file(key))
        return bad(what, key, "says how one file is laid out; it is set where that is known", e);
    if (json_is_array(v))
        return put_array(k, key, v, what, e);
    switch (kind_of(v)) {
    case KIND_STRING: return gguf_keys_strn(k, key, json_string_value(v), json_string_length(v), e);
    case KIND_BOOL: return gguf_keys_bool(k, key, json_is_true(v), e);
    case KIND_WHOLE: return put_whole(k, key, json_integer_value(v), e);
    case KIND_REAL:
        return real_of(v, &f) ? gguf_keys_f32(k, key, f, e) : bad(what, key, "is beyond the range of F32", e);
    default: return bad(what, key, "is null or an object, for which GGUF has no type", e);
    }
}

int gguf_keys_json(struct gguf_keys *k, const char *text, const char *what, struct err *e)
{
    json_error_t je;
    json_t *const root = json_loads(text, JSON_REJECT_DUPLICATES, &je), *v;
    const char *key;
    int r = 0;
    if (!root)
        return err_set(e, ERR_INPUT, "%s: line %d: %s", what, je.line, je.text);
    if (!json_is_object(root))
        r = err_set(e, ERR_INPUT, "%s: is no JSON object of keys and values", what);
    json_object_foreach(root, key, v)
        if (!r)
            r = put_member(k, key, v, what, e);
    json_decref(root);
    return r;
}
