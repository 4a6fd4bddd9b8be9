#include "formats/gguf_keys.h"
#include "tests/mk_gguf.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct err e;

/* Nothing but what was put by hand, byte for byte. */
static void same(const struct gguf_keys *k, const struct buf *want, uint64_t count)
{
    cr_assert_eq(k->count, count);
    cr_assert_eq(k->bytes.n, want->n, "%zu bytes, not %zu", k->bytes.n, want->n);
    cr_assert(!memcmp(k->bytes.s, want->s, want->n));
}

static bool find(const struct gguf_keys *k, const char *key, struct gguf_value *v)
{
    return gguf_keys_find((const uint8_t *)k->bytes.s, k->bytes.n, k->count, key, v);
}

Test(gguf_keys, bytes_are_those_of_the_format)
{
    struct gguf_keys k = {0};
    struct buf b = {0};
    const int32_t numbers[2] = {7, -1};
    cr_assert(!gguf_keys_str(&k, "general.name", "caf\xc3\xa9", &e) && !gguf_keys_u32(&k, "a.n", 4000000000u, &e)
              && !gguf_keys_i32(&k, "a.i", -2, &e) && !gguf_keys_u64(&k, "a.u", UINT64_MAX, &e)
              && !gguf_keys_i64(&k, "a.l", INT64_MIN, &e) && !gguf_keys_f32(&k, "a.f", 1.5f, &e)
              && !gguf_keys_bool(&k, "a.b", true, &e)
              && !gguf_keys_strs(&k, "a.s", (const char *const[]){"x", "", "yz"}, 3, &e)
              && !gguf_keys_numbers(&k, "a.v", GGUF_I32, numbers, 2, &e));
    gg_key(&b, "general.name", 8), gg_str(&b, "caf\xc3\xa9");
    gg_key(&b, "a.n", 4), mk_le(&b, 4000000000u, 4);
    gg_key(&b, "a.i", 5), mk_le(&b, 0xfffffffe, 4);
    gg_key(&b, "a.u", 10), mk_le(&b, UINT64_MAX, 8);
    gg_key(&b, "a.l", 11), mk_le(&b, 1ull << 63, 8);
    gg_key(&b, "a.f", 6), mk_le(&b, 0x3fc00000, 4);
    gg_key(&b, "a.b", 7), mk_le(&b, 1, 1);
    gg_key(&b, "a.s", 9), mk_le(&b, 8, 4), mk_le(&b, 3, 8), gg_str(&b, "x"), gg_str(&b, ""), gg_str(&b, "yz");
    gg_key(&b, "a.v", 9), mk_le(&b, 5, 4), mk_le(&b, 2, 8), mk_le(&b, 7, 4), mk_le(&b, 0xffffffff, 4);
    same(&k, &b, 9);
    gguf_keys_free(&k);
    buf_free(&b);
}

Test(gguf_keys, a_later_value_takes_the_place_of_an_earlier_one)
{
    struct gguf_keys k = {0};
    struct buf b = {0};
    cr_assert(!gguf_keys_str(&k, "one", "first", &e) && !gguf_keys_u32(&k, "two", 2, &e)
              && !gguf_keys_bool(&k, "three", true, &e));
    cr_assert(!gguf_keys_u32(&k, "one", 1, &e) && !gguf_keys_str(&k, "two", "a longer one", &e)
              && !gguf_keys_bool(&k, "three", false, &e));
    gg_key(&b, "one", 4), mk_le(&b, 1, 4);
    gg_key(&b, "two", 8), gg_str(&b, "a longer one");
    gg_key(&b, "three", 7), mk_le(&b, 0, 1);
    same(&k, &b, 3);
    cr_assert(gguf_keys_has(&k, "two") && !gguf_keys_has(&k, "tw") && !gguf_keys_has(&k, "twoo"));
    gguf_keys_drop(&k, "two");
    gguf_keys_drop(&k, "four");
    cr_assert(!gguf_keys_has(&k, "two") && gguf_keys_has(&k, "three"));
    cr_assert(!gguf_keys_u32(&k, "two", 2, &e));
    b.n = 0;
    gg_key(&b, "one", 4), mk_le(&b, 1, 4);
    gg_key(&b, "three", 7), mk_le(&b, 0, 1);
    gg_key(&b, "two", 4), mk_le(&b, 2, 4);
    same(&k, &b, 3);
    gguf_keys_free(&k);
    buf_free(&b);
}

Test(gguf_keys, values_are_found_by_type)
{
    struct gguf_keys k = {0};
    struct gguf_value v, x;
    enum gguf_type type;
    uint64_t u, n;
    int64_t i;
    double f;
    bool yes;
    const char *s;
    size_t at = 0, length;
    cr_assert(!gguf_keys_u32(&k, "u", 5, &e) && !gguf_keys_i32(&k, "i", -5, &e) && !gguf_keys_f32(&k, "f", 0.25f, &e)
              && !gguf_keys_bool(&k, "b", true, &e) && !gguf_keys_str(&k, "s", "text", &e)
              && !gguf_keys_u64(&k, "U", UINT64_MAX, &e)
              && !gguf_keys_strs(&k, "S", (const char *const[]){"p", "qr"}, 2, &e));
    cr_assert(find(&k, "u", &v) && gguf_as_u64(&v, &u) && u == 5 && gguf_as_i64(&v, &i) && i == 5);
    cr_assert(!gguf_as_f64(&v, &f) && !gguf_as_bool(&v, &yes) && !gguf_as_str(&v, &s, &length)
              && !gguf_as_array(&v, &type, &n));
    cr_assert(find(&k, "i", &v) && !gguf_as_u64(&v, &u) && gguf_as_i64(&v, &i) && i == -5);
    cr_assert(find(&k, "f", &v) && gguf_as_f64(&v, &f) && f == 0.25 && !gguf_as_i64(&v, &i));
    cr_assert(find(&k, "b", &v) && gguf_as_bool(&v, &yes) && yes && !gguf_as_u64(&v, &u));
    cr_assert(find(&k, "s", &v) && gguf_as_str(&v, &s, &length) && length == 4 && !memcmp(s, "text", 4));
    cr_assert(find(&k, "U", &v) && gguf_as_u64(&v, &u) && u == UINT64_MAX && !gguf_as_i64(&v, &i));
    cr_assert(find(&k, "S", &v) && gguf_as_array(&v, &type, &n) && type == GGUF_STRING && n == 2);
    cr_assert(gguf_array_next(&v, &at, &x) && gguf_as_str(&x, &s, &length) && length == 1 && *s == 'p');
    cr_assert(gguf_array_next(&v, &at, &x) && gguf_as_str(&x, &s, &length) && length == 2 && !memcmp(s, "qr", 2));
    cr_assert(!gguf_array_next(&v, &at, &x));
    cr_assert(!find(&k, "none", &v));
    gguf_keys_free(&k);
}

/* What belongs to the file stays behind, and a section that is cut anywhere is refused. */
Test(gguf_keys, carrying)
{
    struct gguf_keys k = {0};
    struct buf b = {0}, want = {0};
    gg_key(&b, "general.alignment", 4), mk_le(&b, 64, 4);
    gg_key(&b, "split.no", 2), mk_le(&b, 0, 2);
    gg_key(&b, "split.count", 2), mk_le(&b, 3, 2);
    const size_t from = b.n;
    gg_key(&b, "x", 9), mk_le(&b, 8, 4), mk_le(&b, 2, 8), gg_str(&b, "in"), gg_str(&b, "a list");
    gg_key(&b, "splitting", 12), mk_le(&b, 1, 8);
    gg_key(&b, "i8", 1), mk_le(&b, 255, 1);
    mk_put(&want, b.s + from, b.n - from);
    cr_assert_eq(gguf_keys_carry(&k, (const uint8_t *)b.s, b.n, 6, &e), 0, "%s", e.msg);
    same(&k, &want, 3);
    gguf_keys_free(&k);
    for (size_t n = 0; n < b.n; n++) {
        uint8_t *const cut = malloc(n + 1); /* so that a sanitizer sees what is read behind it */
        memcpy(cut, b.s, n);
        uint8_t *const p = realloc(cut, n ? n : 1);
        cr_assert_eq(gguf_keys_carry(&k, p, n, 6, &e), -1, "%zu bytes", n);
        cr_assert_eq(e.kind, ERR_INPUT);
        gguf_keys_free(&k);
        free(p);
    }
    b.n = 0;
    gg_key(&b, "x", 9), mk_le(&b, 4, 4), mk_le(&b, UINT64_MAX / 2, 8);
    cr_assert_eq(gguf_keys_carry(&k, (const uint8_t *)b.s, b.n, 1, &e), -1);
    b.n = 0;
    gg_key(&b, "x", 13), mk_le(&b, 4, 8);
    cr_assert_eq(gguf_keys_carry(&k, (const uint8_t *)b.s, b.n, 1, &e), -1);
    gguf_keys_free(&k);
    buf_free(&b);
    buf_free(&want);
}

/* ---- JSON ---------------------------------------------------------------------- */

static enum gguf_type type_of(const struct gguf_keys *k, const char *key)
{
    struct gguf_value v;
    enum gguf_type t;
    uint64_t n;
    cr_assert(find(k, key, &v), "%s", key);
    return gguf_as_array(&v, &t, &n) ? 100 + t : v.type;
}

Test(gguf_keys, json_types)
{
    struct gguf_keys k = {0};
    static const struct { const char *key, *value; int type; } rows[] = {
        {"s", "\"a\\u00e9\"", GGUF_STRING}, {"t", "true", GGUF_BOOL}, {"zero", "0", GGUF_U32},
        {"u", "4294967295", GGUF_U32}, {"i", "-2147483648", GGUF_I32}, {"U", "4294967296", GGUF_U64},
        {"I", "-2147483649", GGUF_I64}, {"f", "1e-05", GGUF_F32}, {"g", "10000.0", GGUF_F32},
        {"S", "[\"a\",\"\"]", 100 + GGUF_STRING}, {"B", "[true,false]", 100 + GGUF_BOOL},
        {"ai", "[1,-1]", 100 + GGUF_I32}, {"au", "[1,4294967295]", 100 + GGUF_U32},
        {"al", "[-1,4294967295]", 100 + GGUF_I64}, {"af", "[1,0.5]", 100 + GGUF_F32},
        {"ag", "[0.5,1]", 100 + GGUF_F32}};
    struct buf text = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert(!buf_printf(&text, &e, "%s\"%s\": %s", i ? ", " : "{", rows[i].key, rows[i].value));
    cr_assert(!buf_puts(&text, "}", &e));
    cr_assert_eq(gguf_keys_json(&k, text.s, "x.json", &e), 0, "%s", e.msg);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_assert_eq((int)type_of(&k, rows[i].key), rows[i].type, "%s", rows[i].key);
    struct gguf_value v, x;
    double f;
    int64_t n;
    size_t at = 0;
    cr_assert(find(&k, "af", &v) && gguf_array_next(&v, &at, &x) && gguf_as_f64(&x, &f) && f == 1);
    cr_assert(gguf_array_next(&v, &at, &x) && gguf_as_f64(&x, &f) && f == 0.5);
    at = 0;
    cr_assert(find(&k, "ai", &v) && gguf_array_next(&v, &at, &x) && gguf_array_next(&v, &at, &x) && gguf_as_i64(&x, &n)
              && n == -1);
    gguf_keys_free(&k);
    buf_free(&text);
}

Test(gguf_keys, json_that_is_refused)
{
    static const struct { const char *text, *says; } rows[] = {
        {"{\"a\": null}", "null"}, {"{\"a\": {}}", "object"}, {"{\"a\": []}", "empty"}, {"{\"a\": [1, \"x\"]}", "more than one kind"},
        {"{\"a\": [\"x\", 1]}", "more than one kind"}, {"{\"a\": [true, 1]}", "more than one kind"},
        {"{\"a\": [[1]]}", "more than one kind"}, {"{\"a\": [null]}", "more than one kind"}, {"{\"a\": 1e39}", "F32"},
        {"{\"a\": [1.0, 1e39]}", "F32"}, {"{\"general.alignment\": 64}", "general.alignment"}, {"{\"split.no\": 1}", "split.no"},
        {"{\"\": 1}", "no name"}, {"[1]", "no JSON object"}, {"{\"a\": 1, \"a\": 2}", "line 1"}, {"{", "line 1"},
        {"{\"a\": 18446744073709551615}", "line 1"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct gguf_keys k = {0};
        cr_assert_eq(gguf_keys_json(&k, rows[i].text, "x.json", &e), -1, "%s", rows[i].text);
        cr_assert_eq(e.kind, ERR_INPUT);
        cr_assert(strstr(e.msg, "x.json") && strstr(e.msg, rows[i].says), "%s: %s", rows[i].text, e.msg);
        gguf_keys_free(&k);
    }
}
