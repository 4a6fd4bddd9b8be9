#include "formats/pickle.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int pickle_fail(struct pickle *p, const char *fmt, ...)
{
    char message[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return err_set(p->e, ERR_INPUT, "%s: %s: byte %" PRIu64 ": %s", p->h->path, p->what, p->pos - p->start,
                   message);
}

/* ---- values -------------------------------------------------------------- */

struct pickle_value *pickle_new(struct pickle *p, enum pickle_kind kind)
{
    if (p->nvalues == PICKLE_VALUES_MAX) {
        (void)pickle_fail(p, "more than %d values", PICKLE_VALUES_MAX);
        return NULL;
    }
    struct pickle_value *const v = arena_alloc(p->mem, sizeof *v, p->e);
    if (v) {
        v->kind = kind;
        p->nvalues++;
    }
    return v;
}

int pickle_append(struct pickle *p, struct pickle_value *to, struct pickle_value *const *v, size_t n)
{
    if (to->cap - to->n < n) {
        const size_t cap = to->n + n > 2 * to->cap ? to->n + n : 2 * to->cap;
        struct pickle_value **const more = arena_array(p->mem, cap, sizeof *more, p->e);
        if (!more)
            return -1;
        if (to->n)
            memcpy(more, to->v, to->n * sizeof *more);
        to->v = more;
        to->cap = cap;
    }
    if (n)
        memcpy(to->v + to->n, v, n * sizeof *v);
    to->n += n;
    return 0;
}

bool pickle_is(const struct pickle_value *v, const char *s)
{
    return v->kind == PICKLE_STRING && v->length == strlen(s) && !memcmp(v->s, s, v->length);
}

struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key)
{
    for (size_t i = 0; i + 1 < dict->n; i += 2)
        if (pickle_is(dict->v[i], key))
            return dict->v[i + 1];
    return NULL;
}

/* ---- bytes and stack ----------------------------------------------------- */

/* The next n bytes, which are stepped over. They move when more are fetched. */
static const uint8_t *take(struct pickle *p, size_t n)
{
    if (n > PICKLE_BYTES_MAX - (p->pos - p->start)) {
        (void)pickle_fail(p, "longer than the limit of %d bytes", PICKLE_BYTES_MAX);
        return NULL;
    }
    if (n > p->h->file_size - p->pos) {
        (void)pickle_fail(p, "it ends early: %zu bytes are wanted and %" PRIu64 " are there", n,
                          p->h->file_size - p->pos);
        return NULL;
    }
    if (head_need(p->h, p->pos + n, p->e))
        return NULL;
    p->pos += n;
    return p->h->p + p->pos - n;
}

static int take_number(struct pickle *p, unsigned bytes, uint64_t *x)
{
    const uint8_t *const b = take(p, bytes);
    *x = 0;
    for (unsigned i = 0; b && i < bytes; i++)
        *x |= (uint64_t)b[i] << 8 * i;
    return b ? 0 : -1;
}

static int push(struct pickle *p, struct pickle_value *v)
{
    if (!v)
        return -1;
    if (p->n == PICKLE_STACK_MAX)
        return pickle_fail(p, "more than %d values on the stack", PICKLE_STACK_MAX);
    if (mem_grow((void **)&p->stack, &p->cap, p->n + 1, sizeof *p->stack, p->e))
        return -1;
    p->stack[p->n++] = v;
    return 0;
}

/* The last n values above the last mark, taken off; they stay where they are until the next push. */
static struct pickle_value **pop(struct pickle *p, size_t n)
{
    const size_t base = p->nmarks ? p->marks[p->nmarks - 1] : 0;
    if (p->n - base < n) {
        (void)pickle_fail(p, "the stack holds too few values");
        return NULL;
    }
    p->n -= n;
    return p->stack + p->n;
}

/* All values above the last mark, taken off with it. */
static struct pickle_value **pop_mark(struct pickle *p, size_t *n)
{
    if (!p->nmarks) {
        (void)pickle_fail(p, "there is no mark on the stack");
        return NULL;
    }
    *n = p->n - p->marks[--p->nmarks];
    p->n -= *n;
    return p->stack + p->n;
}

/* ---- instructions -------------------------------------------------------- */

static int op_proto(struct pickle *p, unsigned arg)
{
    uint64_t version;
    (void)arg;
    if (take_number(p, 1, &version))
        return -1;
    return version == 2 ? 0 : pickle_fail(p, "pickle protocol %" PRIu64 "; 2 is read", version);
}

static int op_stop(struct pickle *p, unsigned arg)
{
    (void)arg;
    struct pickle_value **const v = pop(p, 1);
    if (!v)
        return -1;
    p->result = *v;
    return p->n || p->nmarks ? pickle_fail(p, "%zu values are left on the stack at the end", p->n) : 0;
}

static int op_mark(struct pickle *p, unsigned arg)
{
    (void)arg;
    if (p->nmarks == PICKLE_MARKS_MAX)
        return pickle_fail(p, "values nest deeper than %d", PICKLE_MARKS_MAX);
    if (mem_grow((void **)&p->marks, &p->marks_cap, p->nmarks + 1, sizeof *p->marks, p->e))
        return -1;
    p->marks[p->nmarks++] = p->n;
    return 0;
}

static int op_empty(struct pickle *p, unsigned kind)
{
    return push(p, pickle_new(p, (enum pickle_kind)kind));
}

static int op_bool(struct pickle *p, unsigned x)
{
    struct pickle_value *const v = pickle_new(p, PICKLE_BOOL);
    if (v)
        v->i = x;
    return push(p, v);
}

/* Unsigned, but four bytes. */
static int op_int(struct pickle *p, unsigned bytes)
{
    uint64_t x;
    struct pickle_value *const v = pickle_new(p, PICKLE_INT);
    if (!v || take_number(p, bytes, &x))
        return -1;
    v->i = bytes == 4 ? (int32_t)(uint32_t)x : (int64_t)x;
    return push(p, v);
}

static int op_float(struct pickle *p, unsigned arg)
{
    (void)arg;
    uint64_t x = 0;
    struct pickle_value *const v = pickle_new(p, PICKLE_FLOAT);
    const uint8_t *const b = v ? take(p, 8) : NULL;
    if (!b)
        return -1;
    for (int i = 0; i < 8; i++)
        x = x << 8 | b[i];
    memcpy(&v->f, &x, 8);
    return push(p, v);
}

static struct pickle_value *new_string(struct pickle *p, enum pickle_kind kind, size_t n)
{
    struct pickle_value *const v = pickle_new(p, kind);
    const uint8_t *const b = v ? take(p, n) : NULL;
    if (!b || !(v->s = arena_strndup(p->mem, (const char *)b, n, p->e)))
        return NULL;
    v->length = n;
    return v;
}

/* bytes: of the length before it. */
static int op_string(struct pickle *p, unsigned bytes)
{
    uint64_t n;
    if (take_number(p, bytes, &n))
        return -1;
    if (n > PICKLE_STRING_MAX)
        return pickle_fail(p, "a string of %" PRIu64 " bytes; the limit is %d", n, PICKLE_STRING_MAX);
    return push(p, new_string(p, PICKLE_STRING, (size_t)n));
}

static int op_long(struct pickle *p, unsigned arg)
{
    (void)arg;
    uint64_t n, x = 0;
    if (take_number(p, 1, &n))
        return -1;
    struct pickle_value *const v = new_string(p, PICKLE_LONG, (size_t)n);
    if (v && n <= 8) {
        memcpy(&x, v->s, n);
        if (n && n < 8 && v->s[n - 1] & 0x80)
            x |= UINT64_MAX << 8 * n;
        v->kind = PICKLE_INT;
        v->i = (int64_t)x;
    }
    return push(p, v);
}

static int make_tuple(struct pickle *p, struct pickle_value *const *items, size_t n)
{
    struct pickle_value *const v = items ? pickle_new(p, PICKLE_TUPLE) : NULL;
    return v && !pickle_append(p, v, items, n) ? push(p, v) : -1;
}

static int op_tuple(struct pickle *p, unsigned arg)
{
    (void)arg;
    size_t n = 0;
    struct pickle_value **const items = pop_mark(p, &n);
    return make_tuple(p, items, n);
}

static int op_tuple_of(struct pickle *p, unsigned n)
{
    return make_tuple(p, pop(p, n), n);
}

/* n values (0: all above the mark) into the list or dict below them, which stays. */
static int put_items(struct pickle *p, enum pickle_kind kind, size_t n)
{
    struct pickle_value **const items = n ? pop(p, n) : pop_mark(p, &n);
    struct pickle_value **const to = items ? pop(p, 1) : NULL;
    if (!to)
        return -1;
    p->n++;
    if ((*to)->kind != kind)
        return pickle_fail(p, "items for what is no %s", kind == PICKLE_DICT ? "dict" : "list");
    if (kind == PICKLE_DICT && n % 2)
        return pickle_fail(p, "a key without a value");
    return pickle_append(p, *to, items, n);
}

static int op_append(struct pickle *p, unsigned n)
{
    return put_items(p, PICKLE_LIST, n);
}

static int op_setitem(struct pickle *p, unsigned n)
{
    return put_items(p, PICKLE_DICT, n);
}

/* Up to the end of the line, which is stepped over. */
static int take_line(struct pickle *p, char line[PICKLE_NAME_MAX + 1])
{
    for (size_t n = 0; n <= PICKLE_NAME_MAX; n++) {
        const uint8_t *const b = take(p, 1);
        if (!b)
            return -1;
        line[n] = (char)*b;
        if (*b == '\n') {
            line[n] = 0;
            return 0;
        }
    }
    return pickle_fail(p, "a name of more than %d bytes", PICKLE_NAME_MAX);
}

static int op_global(struct pickle *p, unsigned arg)
{
    (void)arg;
    char module[PICKLE_NAME_MAX + 1], name[PICKLE_NAME_MAX + 1];
    if (take_line(p, module) || take_line(p, name))
        return -1;
    for (size_t i = 0; i < p->globals; i++) {
        if (strcmp(p->global[i].module, module) || strcmp(p->global[i].name, name))
            continue;
        struct pickle_value *const v = pickle_new(p, PICKLE_GLOBAL);
        if (v)
            v->global = &p->global[i];
        return push(p, v);
    }
    return pickle_fail(p, "the global '%s.%s' is not one that tensors need; to load this file would run code",
                       module, name);
}

static int op_reduce(struct pickle *p, unsigned arg)
{
    (void)arg;
    struct pickle_value **const v = pop(p, 2);
    if (!v)
        return -1;
    const struct pickle_value *const f = v[0], *const args = v[1];
    if (f->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE)
        return pickle_fail(p, "a call of what is no function; to load this file would run code");
    if (!f->global->call)
        return pickle_fail(p, "a call of '%s.%s'; to load this file would run code", f->global->module,
                           f->global->name);
    return push(p, f->global->call(p, args->v, args->n));
}

/* The attributes of an OrderedDict, which are not its items, are dropped; nothing else has any. */
static int op_build(struct pickle *p, unsigned arg)
{
    (void)arg;
    struct pickle_value **const v = pop(p, 2);
    if (!v)
        return -1;
    p->n++;
    if (v[0]->kind == PICKLE_DICT)
        return 0;
    return pickle_fail(p, "a state for what is no dict; to load this file would run code");
}

static int op_persistent(struct pickle *p, unsigned arg)
{
    (void)arg;
    struct pickle_value **const v = pop(p, 1);
    if (!v)
        return -1;
    return p->persistent ? push(p, p->persistent(p, *v))
                         : pickle_fail(p, "a persistent id has no place here");
}

static int op_get(struct pickle *p, unsigned bytes)
{
    uint64_t i;
    if (take_number(p, bytes, &i))
        return -1;
    if (i >= p->nmemo || !p->memo[i])
        return pickle_fail(p, "memo %" PRIu64 " was not put", i);
    return push(p, p->memo[i]);
}

/* Memos are numbered as they come, so that a number stays below the bytes that were read. */
static int op_put(struct pickle *p, unsigned bytes)
{
    uint64_t i;
    if (take_number(p, bytes, &i))
        return -1;
    struct pickle_value **const v = pop(p, 1);
    if (!v)
        return -1;
    p->n++;
    if (i > p->pos - p->start)
        return pickle_fail(p, "memo %" PRIu64 " out of turn", i);
    if (mem_grow((void **)&p->memo, &p->memo_cap, (size_t)i + 1, sizeof *p->memo, p->e))
        return -1;
    while (p->nmemo <= i)
        p->memo[p->nmemo++] = NULL;
    p->memo[i] = *v;
    return 0;
}

/* All of protocol 4. An instruction without a function is known, and refused. */
static const struct opcode {
    const char *name;
    int (*run)(struct pickle *p, unsigned arg);
    unsigned arg;
    bool calls; /* refused since it can call what the pickle names */
} opcode[256] = {
    ['('] = {"MARK", op_mark, 0, false},
    [')'] = {"EMPTY_TUPLE", op_empty, PICKLE_TUPLE, false},
    ['.'] = {"STOP", op_stop, 0, false},
    ['0'] = {"POP", NULL, 0, false},
    ['1'] = {"POP_MARK", NULL, 0, false},
    ['2'] = {"DUP", NULL, 0, false},
    ['B'] = {"BINBYTES", NULL, 0, false},
    ['C'] = {"SHORT_BINBYTES", NULL, 0, false},
    ['F'] = {"FLOAT", NULL, 0, false},
    ['G'] = {"BINFLOAT", op_float, 0, false},
    ['I'] = {"INT", NULL, 0, false},
    ['J'] = {"BININT", op_int, 4, false},
    ['K'] = {"BININT1", op_int, 1, false},
    ['L'] = {"LONG", NULL, 0, false},
    ['M'] = {"BININT2", op_int, 2, false},
    ['N'] = {"NONE", op_empty, PICKLE_NONE, false},
    ['P'] = {"PERSID", NULL, 0, false},
    ['Q'] = {"BINPERSID", op_persistent, 0, false},
    ['R'] = {"REDUCE", op_reduce, 0, false},
    ['S'] = {"STRING", NULL, 0, false},
    ['T'] = {"BINSTRING", NULL, 0, false},
    ['U'] = {"SHORT_BINSTRING", op_string, 1, false},
    ['V'] = {"UNICODE", NULL, 0, false},
    ['X'] = {"BINUNICODE", op_string, 4, false},
    [']'] = {"EMPTY_LIST", op_empty, PICKLE_LIST, false},
    ['a'] = {"APPEND", op_append, 1, false},
    ['b'] = {"BUILD", op_build, 0, false},
    ['c'] = {"GLOBAL", op_global, 0, false},
    ['d'] = {"DICT", NULL, 0, false},
    ['e'] = {"APPENDS", op_append, 0, false},
    ['g'] = {"GET", NULL, 0, false},
    ['h'] = {"BINGET", op_get, 1, false},
    ['i'] = {"INST", NULL, 0, true},
    ['j'] = {"LONG_BINGET", op_get, 4, false},
    ['l'] = {"LIST", NULL, 0, false},
    ['o'] = {"OBJ", NULL, 0, true},
    ['p'] = {"PUT", NULL, 0, false},
    ['q'] = {"BINPUT", op_put, 1, false},
    ['r'] = {"LONG_BINPUT", op_put, 4, false},
    ['s'] = {"SETITEM", op_setitem, 2, false},
    ['t'] = {"TUPLE", op_tuple, 0, false},
    ['u'] = {"SETITEMS", op_setitem, 0, false},
    ['}'] = {"EMPTY_DICT", op_empty, PICKLE_DICT, false},
    [0x80] = {"PROTO", op_proto, 0, false},
    [0x81] = {"NEWOBJ", op_reduce, 0, false},
    [0x82] = {"EXT1", NULL, 0, true},
    [0x83] = {"EXT2", NULL, 0, true},
    [0x84] = {"EXT4", NULL, 0, true},
    [0x85] = {"TUPLE1", op_tuple_of, 1, false},
    [0x86] = {"TUPLE2", op_tuple_of, 2, false},
    [0x87] = {"TUPLE3", op_tuple_of, 3, false},
    [0x88] = {"NEWTRUE", op_bool, 1, false},
    [0x89] = {"NEWFALSE", op_bool, 0, false},
    [0x8a] = {"LONG1", op_long, 0, false},
    [0x8b] = {"LONG4", NULL, 0, false},
    [0x8c] = {"SHORT_BINUNICODE", NULL, 0, false},
    [0x8d] = {"BINUNICODE8", NULL, 0, false},
    [0x8e] = {"BINBYTES8", NULL, 0, false},
    [0x8f] = {"EMPTY_SET", op_empty, PICKLE_SET, false},
    [0x90] = {"ADDITEMS", NULL, 0, false},
    [0x91] = {"FROZENSET", NULL, 0, false},
    [0x92] = {"NEWOBJ_EX", NULL, 0, true},
    [0x93] = {"STACK_GLOBAL", NULL, 0, true},
    [0x94] = {"MEMOIZE", NULL, 0, false},
    [0x95] = {"FRAME", NULL, 0, false},
    [0x96] = {"BYTEARRAY8", NULL, 0, false},
    [0x97] = {"NEXT_BUFFER", NULL, 0, false},
    [0x98] = {"READONLY_BUFFER", NULL, 0, false},
};

struct pickle_value *pickle_run(struct pickle *p)
{
    p->start = p->pos;
    p->result = NULL;
    p->n = p->nmemo = p->nmarks = 0;
    int rc = mem_grow((void **)&p->stack, &p->cap, 1, sizeof *p->stack, p->e);
    while (!rc && !p->result) {
        const uint8_t *const b = take(p, 1);
        const struct opcode *const op = b ? &opcode[*b] : NULL;
        if (!b)
            rc = -1;
        else if (op->run)
            rc = op->run(p, op->arg);
        else
            rc = pickle_fail(p, "the opcode 0x%02x (%s) is not one that tensors need%s",
                             (unsigned)(op - opcode), op->name ? op->name : "unknown",
                             op->calls ? "; to load this file would run code" : "");
    }
    free(p->stack);
    free(p->memo);
    free(p->marks);
    p->stack = p->memo = NULL;
    p->marks = NULL;
    p->cap = p->memo_cap = p->marks_cap = 0;
    return rc ? NULL : p->result;
}
