/* The key/value section of a GGUF file: made, carried and looked into.
 *
 * A section is `count` times { u64 n, n bytes of key, u32 type, value }, all of
 * it little-endian.  A number takes its bytes, a string u64 n and n bytes, an array
 * u32 type, u64 n and n values without their types; arrays hold no arrays.
 * (ggml-org/ggml docs/gguf.md; what model.gguf_kv holds is such a section.) */
#ifndef OCTAVO_GGUF_KEYS_H
#define OCTAVO_GGUF_KEYS_H

#include "formats/err.h"
#include "formats/mem.h"

/* The types of values, by the number that files have for them. */
enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
    GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64, GGUF_TYPES
};
extern const struct gguf_type_info {
    const char *name;         /* "u32" */
    unsigned bytes;           /* 0: no fixed size */
} gguf_type_table[GGUF_TYPES];

/* ---- a section that is being made ------------------------------------------- */

/* All zeros is empty and ready. Keys keep the place in which they were first given;
 * a value given later takes the place of an earlier one of the same key. */
struct gguf_keys {
    struct buf bytes;         /* the section: what a file has between its head and its tensors */
    uint64_t count;           /* its keys */
    struct gguf_entry *entry; /* one per key, in order */
    size_t cap;
};
/* All return 0, or -1 with ERR_SYSTEM when memory is out. Keys and strings are copied. */
int gguf_keys_str(struct gguf_keys *k, const char *key, const char *value, struct err *e) MUST_USE;
int gguf_keys_strn(struct gguf_keys *k, const char *key, const char *value, size_t n, struct err *e) MUST_USE;
int gguf_keys_u32(struct gguf_keys *k, const char *key, uint32_t value, struct err *e) MUST_USE;
int gguf_keys_i32(struct gguf_keys *k, const char *key, int32_t value, struct err *e) MUST_USE;
int gguf_keys_u64(struct gguf_keys *k, const char *key, uint64_t value, struct err *e) MUST_USE;
int gguf_keys_i64(struct gguf_keys *k, const char *key, int64_t value, struct err *e) MUST_USE;
int gguf_keys_f32(struct gguf_keys *k, const char *key, float value, struct err *e) MUST_USE;
int gguf_keys_bool(struct gguf_keys *k, const char *key, bool value, struct err *e) MUST_USE;
/* An array of n strings. */
int gguf_keys_strs(struct gguf_keys *k, const char *key, const char *const *value, size_t n, struct err *e) MUST_USE;
/* An array of n numbers or bools of a type with a fixed size, as they lie in memory. */
int gguf_keys_numbers(struct gguf_keys *k, const char *key, enum gguf_type type, const void *value, size_t n,
                      struct err *e) MUST_USE;
/* A value as it lies in a section, n bytes of it behind its type. */
int gguf_keys_put(struct gguf_keys *k, const char *key, enum gguf_type type, const void *value, size_t n,
                  struct err *e) MUST_USE;
/* All keys of another section, as they are, but for those that belong to one file:
 * general.alignment and split.*.  ERR_INPUT when the section is no such thing. */
int gguf_keys_carry(struct gguf_keys *k, const uint8_t *section, size_t size, uint64_t count, struct err *e) MUST_USE;
/* The members of a JSON object, read from its text; what names it in errors. Strings and
 * bools are such. A whole number is a u32, else an i32, else a u64, else an i64:
 * the first that has it; one with a point or an exponent is an f32. An array has one
 * kind: strings, bools, or numbers: i32, else u32, else i64, for all of them, and f32 when one
 * has a point. null, objects, empty and nested arrays, and the keys that carry leaves
 * out are ERR_INPUT. */
int gguf_keys_json(struct gguf_keys *k, const char *text, const char *what, struct err *e) MUST_USE;
/* Is there such a key? */
bool gguf_keys_has(const struct gguf_keys *k, const char *key);
/* Takes it out, when it is there. */
void gguf_keys_drop(struct gguf_keys *k, const char *key);
void gguf_keys_free(struct gguf_keys *k);
/* Does a key say how one file is to be read, and nothing of the model? */
bool gguf_key_is_of_file(const char *key);

/* ---- looking into a section -------------------------------------------------- */

/* A value in a section: p points to its n bytes, behind its type. */
struct gguf_value {
    enum gguf_type type;
    const uint8_t *p;
    size_t n;
};
/* False when there is no such key, or the section ends before it. */
bool gguf_keys_find(const uint8_t *section, size_t size, uint64_t count, const char *key, struct gguf_value *v);
/* Steps through a section: sets key and value of the one that begins at *at, and moves
 * *at behind it. False at the end, and when what is there is no key; *at == size tells
 * which.  The key's n bytes do not end in NUL. */
bool gguf_keys_next(const uint8_t *section, size_t size, size_t *at, const char **key, size_t *n, struct gguf_value *v);
/* The value as a C type, false when it is none: integers of any type that fit, floats, bools, strings (n bytes
 * without NUL). */
bool gguf_as_u64(const struct gguf_value *v, uint64_t *x);
bool gguf_as_i64(const struct gguf_value *v, int64_t *x);
bool gguf_as_f64(const struct gguf_value *v, double *x);
bool gguf_as_bool(const struct gguf_value *v, bool *x);
bool gguf_as_str(const struct gguf_value *v, const char **s, size_t *n);
/* How many elements an array has, and of what type; false when it is none. */
bool gguf_as_array(const struct gguf_value *v, enum gguf_type *type, uint64_t *n);
/* The next element of an array; *at begins at 0. False behind the last. */
bool gguf_array_next(const struct gguf_value *array, size_t *at, struct gguf_value *v);

#endif
