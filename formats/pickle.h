/* Reads a pickle without running it.
 *
 * A pickle is a program for a stack machine whose instructions can call any
 * function of Python by name, so to load one is to run it.  This machine has
 * only the instructions that lists of tensors need (those of PyTorch's
 * weights-only loader, torch/_weights_only_unpickler.py), and what a pickle
 * names it does not look up anywhere but in the caller's table: each row is a
 * function of ours that makes a value from values.  An instruction or a name
 * that is in neither is one sentence and the end.
 *
 * Protocol 2.  All values live in an arena. */
#ifndef OCTAVO_PICKLE_H
#define OCTAVO_PICKLE_H

#include "formats/model.h"

enum {
    PICKLE_BYTES_MAX = 1 << 27,   /* of one pickle; a tensor takes about 200 */
    PICKLE_VALUES_MAX = 1 << 23,  /* a tensor takes about 16 */
    PICKLE_STACK_MAX = 1 << 20,
    PICKLE_MARKS_MAX = 1 << 10,   /* how deep values can nest while they are made */
    PICKLE_STRING_MAX = 1 << 24,
    PICKLE_NAME_MAX = 255,        /* of a module or a name in it */
};

enum pickle_kind {
    PICKLE_NONE, PICKLE_BOOL, PICKLE_INT,
    PICKLE_LONG,                  /* an integer beyond 64 bits: its little-endian bytes as a string */
    PICKLE_FLOAT, PICKLE_STRING, PICKLE_TUPLE, PICKLE_LIST, PICKLE_SET, PICKLE_DICT,
    PICKLE_GLOBAL, PICKLE_OBJECT,
};

struct pickle_value {
    enum pickle_kind kind;
    int mark;                     /* of the caller, 0 at first: values can be shared, and hold themselves */
    union {
        int64_t i;                /* BOOL, INT */
        double f;
        struct {
            const char *s;        /* NUL-terminated; may have NULs in it, need not be UTF-8 */
            size_t length;
        };
        struct {
            struct pickle_value **v; /* items; of a DICT key, value, key, value ... */
            size_t n, cap;
        };
        const struct pickle_global *global;
        void *object;             /* of the caller */
    };
};

struct pickle {
    /* Given by the caller: */
    struct head *h;               /* of a file, so that file_size is known */
    uint64_t pos;                 /* of the first byte; after pickle_run, past the last */
    const char *what;             /* "data.pkl", for messages */
    const struct pickle_global *global;
    size_t globals;
    /* A persistent id, "a thing outside the pickle", as a value; NULL: there are none. */
    struct pickle_value *(*persistent)(struct pickle *p, const struct pickle_value *id);
    void *ctx;
    struct arena *mem;
    struct err *e;
    /* The machine's own: */
    uint64_t start;
    struct pickle_value **stack, **memo, *result;
    size_t n, cap, nmemo, memo_cap, nvalues;
    size_t *marks, nmarks, marks_cap;
};

/* What a name stands for.  Rows without call are only passed on. */
struct pickle_global {
    const char *module, *name;
    /* The value that a call with n arguments makes, or NULL after an error.  */
    struct pickle_value *(*call)(struct pickle *p, struct pickle_value *const *arg, size_t n);
    int id;                       /* of the caller */
};

/* Runs one pickle from p->pos to its STOP.  NULL after an error (ERR_INPUT:
 * path, what, byte and what is there). */
struct pickle_value *pickle_run(struct pickle *p) MUST_USE;
/* For handlers: a new value, or NULL when memory or PICKLE_VALUES_MAX is exhausted. */
struct pickle_value *pickle_new(struct pickle *p, enum pickle_kind kind) MUST_USE;
/* Appends to a LIST; to a DICT in twos. */
int pickle_append(struct pickle *p, struct pickle_value *to, struct pickle_value *const *v, size_t n) MUST_USE;
/* Says what is wrong at this byte of the pickle. Returns -1. */
int pickle_fail(struct pickle *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The value is the string s. */
bool pickle_is(const struct pickle_value *v, const char *s);
/* The value of a DICT under a string key, or NULL. */
struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key);

#endif
