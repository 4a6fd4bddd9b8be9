#include "formats/gguf_keys.h"

#include <stdlib.h>
#include <string.h>

const struct gguf_type_info gguf_type_table[GGUF_TYPES] = {
    [GGUF_U8] = {"u8", 1},     [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},  [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},   [GGUF_F32] = {"f32", 4},  [GGUF_BOOL] = {"bool", 1},
    [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

bool gguf_key_is_of_file(const char *key)
{
    return !strcmp(key, "general.alignment") || !strncmp(key, "split.", 6);
}

/* ---- looking ------------------------------------------------------------------- */
static bool take(const uint8_t *p, size_t size, size_t *at, unsigned bytes, uint64_t *x)
{
    if (size - *at < bytes)
        return false;
    *x = 0;
    for (unsigned i = 0; i < bytes; i++)
        *x |= (uint64_t)p[*at + i] << 8 * i;
    *at += bytes;
    return true;
}

static bool skip(size_t size, size_t *at, uint64_t n)
{
    if (n > size - *at)
        return false;
    *at += (size_t)n;
    return true;
}

static bool skip_string(const uint8_t *p, size_t size, size_t *at)
{
    uint64_t n;
    return take(p, size, at, 8, &n) && skip(size, at, n);
}

static bool skip_value(const uint8_t *p, size_t size, size_t *at, uint64_t type)
{
    uint64_t n;
    if (type == GGUF_STRING)
        return skip_string(p, size, at);
    if (type != GGUF_ARRAY)
        return type < GGUF_TYPES && skip(size, at, gguf_type_table[type].bytes);
    if (!take(p, size, at, 4, &type) || !take(p, size, at, 8, &n) || type >= GGUF_TYPES || type == GGUF_ARRAY)
        return false;
    if (type != GGUF_STRING)
        return mul_u64(n, gguf_type_table[type].bytes, &n) && skip(size, at, n);
    while (n-- > 0)
        if (!skip_string(p, size, at))
            return false;
    return true;
}

bool gguf_keys_next(const uint8_t *section, size_t size, size_t *at, const char **key, size_t *n, struct gguf_value *v)
{
    uint64_t length, type;
    size_t pos = *at;
    if (pos >= size || !take(section, size, &pos, 8, &length))
        return false;
    *key = (const char *)section + pos;
    if (!skip(size, &pos, length) || !take(section, size, &pos, 4, &type))
        return false;
    const size_t from = pos;
    if (!skip_value(section, size, &pos, type))
        return false;
    *n = (size_t)length;
    *v = (struct gguf_value){(enum gguf_type)type, section + from, pos - from};
    *at = pos;
    return true;
}

bool gguf_keys_find(const uint8_t *section, size_t size, uint64_t count, const char *key, struct gguf_value *v)
{
    size_t at = 0, n;
    const char *name;
    while (count-- > 0 && gguf_keys_next(section, size, &at, &name, &n, v))
        if (n == strlen(key) && !memcmp(name, key, n))
            return true;
    return false;
}

bool gguf_as_u64(const struct gguf_value *v, uint64_t *x)
{
    int64_t i;
    size_t at = 0;
    if (v->type == GGUF_U64)
        return take(v->p, v->n, &at, 8, x);
    if (!gguf_as_i64(v, &i) || i < 0)
        return false;
    *x = (uint64_t)i;
    return true;
}

bool gguf_as_i64(const struct gguf_value *v, int64_t *x)
{
    uint64_t u;
    size_t at = 0;
    if (v->type >= GGUF_TYPES || !take(v->p, v->n, &at, gguf_type_table[v->type].bytes, &u))
        return false;
    switch (v->type) {
    case GGUF_I8: *x = (int8_t)u; return true;
    case GGUF_I16: *x = (int16_t)u; return true;
    case GGUF_I32: *x = (int32_t)u; return true;
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_I64: *x = (int64_t)u; return true;
    case GGUF_U64: *x = (int64_t)u; return *x >= 0;
    default: return false;
    }
}

bool gguf_as_f64(const struct gguf_value *v, double *x)
{
    uint64_t u;
    float f;
    size_t at = 0;
    if ((v->type != GGUF_F32 && v->type != GGUF_F64) || !take(v->p, v->n, &at, gguf_type_table[v->type].bytes, &u))
        return false;
    const uint32_t low = (uint32_t)u;
    memcpy(&f, &low, 4);
    memcpy(x, &u, 8);
    if (v->type == GGUF_F32)
        *x = (double)f;
    return true;
}

bool gguf_as_bool(const struct gguf_value *v, bool *x)
{
    if (v->type != GGUF_BOOL || !v->n)
        return false;
    *x = *v->p != 0;
    return true;
}

bool gguf_as_str(const struct gguf_value *v, const char **s, size_t *n)
{
    uint64_t length;
    size_t at = 0;
    if (v->type != GGUF_STRING || !take(v->p, v->n, &at, 8, &length) || length > v->n - at)
        return false;
    *s = (const char *)v->p + at;
    *n = (size_t)length;
    return true;
}

bool gguf_as_array(const struct gguf_value *v, enum gguf_type *type, uint64_t *n)
{
    uint64_t t;
    size_t at = 0;
    if (v->type != GGUF_ARRAY || !take(v->p, v->n, &at, 4, &t) || !take(v->p, v->n, &at, 8, n))
        return false;
    *type = (enum gguf_type)t;
    return true;
}

bool gguf_array_next(const struct gguf_value *array, size_t *at, struct gguf_value *v)
{
    enum gguf_type type;
    uint64_t n;
    if (!gguf_as_array(array, &type, &n))
        return false;
    if (!*at)
        *at = 12; /* its type and its length */
    const size_t from = *at;
    if (from >= array->n || !skip_value(array->p, array->n, at, type))
        return false;
    *v = (struct gguf_value){type, array->p + from, *at - from};
    return true;
}

/* ---- making -------------------------------------------------------------------- */
struct gguf_entry {
    size_t at, n;             /* where the key begins in the section; how much of it is its, value included */
};

/* Key number, or k->count. */
static size_t place_of(const struct gguf_keys *k, const char *key)
{
    const size_t n = strlen(key);
    size_t i = 0;
    for (; i < k->count; i++) {
        const char *const p = k->bytes.s + k->entry[i].at;
        uint64_t length;
        size_t at = 0;
        if (take((const uint8_t *)p, 8, &at, 8, &length) && length == n && !memcmp(p + 8, key, n))
            break;
    }
    return i;
}

static int put_number(struct buf *b, uint64_t x, unsigned bytes, struct err *e)
{
    uint8_t p[8];
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(x >> 8 * i);
    return buf_put(b, p, bytes, e);
}

static int put_string(struct buf *b, const char *s, size_t n, struct err *e)
{
    return put_number(b, n, 8, e) || buf_put(b, s, n, e) ? -1 : 0;
}

/* The n bytes of key i become those of one. */
static int splice(struct gguf_keys *k, size_t i, const struct buf *one, struct err *e)
{
    struct gguf_entry *const x = &k->entry[i];
    struct buf all = {0};
    if (buf_put(&all, k->bytes.s, x->at, e) || buf_put(&all, one->s ? one->s : "", one->n, e)
        || buf_put(&all, k->bytes.s + x->at + x->n, k->bytes.n - x->at - x->n, e)) {
        buf_free(&all);
        return -1;
    }
    for (size_t later = i + 1; later < k->count; later++)
        k->entry[later].at = k->entry[later].at - x->n + one->n;
    x->n = one->n;
    buf_free(&k->bytes);
    k->bytes = all;
    return 0;
}

int gguf_keys_put(struct gguf_keys *k, const char *key, enum gguf_type type, const void *value, size_t n, struct err *e)
{
    struct buf one = {0};
    const size_t i = place_of(k, key);
    int r = put_string(&one, key, strlen(key), e) || put_number(&one, type, 4, e) || buf_put(&one, value, n, e) ? -1 : 0;
    if (!r && i < k->count) {
        r = splice(k, i, &one, e);
    } else if (!r) {
        const struct gguf_entry x = {k->bytes.n, one.n};
        r = mem_grow((void **)&k->entry, &k->cap, i + 1, sizeof *k->entry, e) || buf_put(&k->bytes, one.s, one.n, e) ? -1 : 0;
        if (!r)
            k->entry[k->count++] = x;
    }
    buf_free(&one);
    return r;
}

static int put_scalar(struct gguf_keys *k, const char *key, enum gguf_type type, uint64_t x, struct err *e)
{
    uint8_t p[8];
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(x >> 8 * i);
    return gguf_keys_put(k, key, type, p, gguf_type_table[type].bytes, e);
}

int gguf_keys_u32(struct gguf_keys *k, const char *key, uint32_t value, struct err *e)
{
    return put_scalar(k, key, GGUF_U32, value, e);
}
int gguf_keys_i32(struct gguf_keys *k, const char *key, int32_t value, struct err *e)
{
    return put_scalar(k, key, GGUF_I32, (uint64_t)value, e);
}
int gguf_keys_u64(struct gguf_keys *k, const char *key, uint64_t value, struct err *e)
{
    return put_scalar(k, key, GGUF_U64, value, e);
}
int gguf_keys_i64(struct gguf_keys *k, const char *key, int64_t value, struct err *e)
{
    return put_scalar(k, key, GGUF_I64, (uint64_t)value, e);
}
int gguf_keys_bool(struct gguf_keys *k, const char *key, bool value, struct err *e)
{
    return put_scalar(k, key, GGUF_BOOL, value, e);
}
int gguf_keys_f32(struct gguf_keys *k, const char *key, float value, struct err *e)
{
    uint32_t u;
    memcpy(&u, &value, 4);
    return put_scalar(k, key, GGUF_F32, u, e);
}

int gguf_keys_strn(struct gguf_keys *k, const char *key, const char *value, size_t n, struct err *e)
{
    struct buf b = {0};
    const int r = put_string(&b, value, n, e) || gguf_keys_put(k, key, GGUF_STRING, b.s, b.n, e) ? -1 : 0;
    buf_free(&b);
    return r;
}

int gguf_keys_str(struct gguf_keys *k, const char *key, const char *value, struct err *e)
{
    return gguf_keys_strn(k, key, value, strlen(value), e);
}

int gguf_keys_strs(struct gguf_keys *k, const char *key, const char *const *value, size_t n, struct err *e)
{
    struct buf b = {0};
    int r = put_number(&b, GGUF_STRING, 4, e) || put_number(&b, n, 8, e) ? -1 : 0;
    for (size_t i = 0; !r && i < n; i++)
        r = put_string(&b, value[i], strlen(value[i]), e);
    r = r || gguf_keys_put(k, key, GGUF_ARRAY, b.s, b.n, e) ? -1 : 0;
    buf_free(&b);
    return r;
}

int gguf_keys_numbers(struct gguf_keys *k, const char *key, enum gguf_type type, const void *value, size_t n,
                      struct err *e)
{
    struct buf b = {0};
    const int r = put_number(&b, type, 4, e) || put_number(&b, n, 8, e)
                       || buf_put(&b, value, n * gguf_type_table[type].bytes, e)
                       || gguf_keys_put(k, key, GGUF_ARRAY, b.s, b.n, e)
                    ? -1 : 0;
    buf_free(&b);
    return r;
}

int gguf_keys_carry(struct gguf_keys *k, const uint8_t *section, size_t size, uint64_t count, struct err *e)
{
    size_t at = 0, n;
    const char *name;
    struct gguf_value v;
    for (uint64_t i = 0; i < count; i++) {
        if (!gguf_keys_next(section, size, &at, &name, &n, &v))
            return err_set(e, ERR_INPUT, "the GGUF keys end at byte %zu, in key %llu of %llu", at, (unsigned long long)i,
                           (unsigned long long)count);
        char *const key = strndup(name, n);
        if (!key)
            return err_set(e, ERR_SYSTEM, "out of memory");
        const int r = gguf_key_is_of_file(key) ? 0 : gguf_keys_put(k, key, v.type, v.p, v.n, e);
        free(key);
        if (r)
            return -1;
    }
    return 0;
}

bool gguf_keys_has(const struct gguf_keys *k, const char *key) { return place_of(k, key) < k->count; }

void gguf_keys_drop(struct gguf_keys *k, const char *key)
{
    const size_t i = place_of(k, key);
    if (i == k->count)
        return;
    const struct gguf_entry x = k->entry[i];
    memmove(k->bytes.s + x.at, k->bytes.s + x.at + x.n, k->bytes.n - x.at - x.n);
    k->bytes.n -= x.n;
    k->count--;
    for (size_t later = i; later < k->count; later++) {
        k->entry[later] = k->entry[later + 1];
        k->entry[later].at -= x.n;
    }
}

void gguf_keys_free(struct gguf_keys *k)
{
    buf_free(&k->bytes);
    free(k->entry);
    *k = (struct gguf_keys){0};
}
