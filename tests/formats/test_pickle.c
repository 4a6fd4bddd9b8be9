#include "formats/pickle.h"
#include "tests/mk_torch.h"

#include <criterion/criterion.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a pickle in memory ------------------------------------------------------ */

struct run {
    struct head h;
    struct arena mem;
    struct pickle p;
    struct err e;
};

/* "call" is (n) -> n, "fails" fails, "plain" is no function. */
static struct pickle_value *count_arguments(struct pickle *p, struct pickle_value *const *arg, size_t n)
{
    (void)arg;
    struct pickle_value *const v = pickle_new(p, PICKLE_INT);
    if (v)
        v->i = (int64_t)n;
    return v;
}

static struct pickle_value *fails(struct pickle *p, struct pickle_value *const *arg, size_t n)
{
    (void)arg;
    (void)pickle_fail(p, "no %zu", n);
    return NULL;
}

static struct pickle_value *id_itself(struct pickle *p, const struct pickle_value *id)
{
    (void)p;
    return (struct pickle_value *)id;
}

static const struct pickle_global table[] = {
    {"good", "call", count_arguments, 1}, {"good", "fails", fails, 2}, {"good", "plain", NULL, 3}};

static struct pickle_value *run(struct run *r, const void *p, size_t n)
{
    *r = (struct run){
        .h = {.path = "file", .fd = -1, .file_size = n, .p = (uint8_t *)(uintptr_t)p, .n = n, .cap = n}};
    r->p = (struct pickle){.h = &r->h,
                           .what = "pickle",
                           .global = table,
                           .globals = 3,
                           .persistent = id_itself,
                           .mem = &r->mem,
                           .e = &r->e};
    return pickle_run(&r->p);
}

static void refused(const void *p, size_t n, const char *text)
{
    struct run r;
    cr_assert_null(run(&r, p, n), "expected: %s", text);
    cr_assert_eq(r.e.kind, ERR_INPUT);
    cr_assert(strstr(r.e.msg, text) && !strncmp(r.e.msg, "file: pickle: byte ", 19), "'%s' in: %s", text,
              r.e.msg);
    arena_free(&r.mem);
}

/* ---- values -------------------------------------------------------------------- */

/* Python's notation, more or less. */
static void show(struct buf *b, const struct pickle_value *v)
{
    struct err e;
    int rc = 0;
    switch (v->kind) {
    case PICKLE_NONE:
        rc = buf_puts(b, "None", &e);
        break;
    case PICKLE_BOOL:
        rc = buf_puts(b, v->i ? "True" : "False", &e);
        break;
    case PICKLE_INT:
        rc = buf_printf(b, &e, "%lld", (long long)v->i);
        break;
    case PICKLE_LONG:
        rc = buf_printf(b, &e, "long%zu", v->length);
        break;
    case PICKLE_FLOAT:
        rc = buf_printf(b, &e, "%.17g", v->f);
        break;
    case PICKLE_STRING:
        rc = buf_printf(b, &e, "'%s'", v->s);
        break;
    case PICKLE_GLOBAL:
        rc = buf_printf(b, &e, "<%s>", v->global->name);
        break;
    default: {
        const char *const bracket = v->kind == PICKLE_TUPLE ? "()" : v->kind == PICKLE_LIST ? "[]" : "{}";
        mk_put(b, bracket, 1);
        for (size_t i = 0; i < v->n; i++) {
            if (i)
                mk_puts(b, v->kind == PICKLE_DICT && i % 2 ? ":" : ",");
            show(b, v->v[i]);
        }
        mk_put(b, bracket + 1, 1);
    }
    }
    cr_assert_eq(rc, 0);
}

static const struct {
    const char *text; /* of the pickle */
    size_t n;
    const char *want;
} values[] = {
#define P(text, want) \
    { \
        text, sizeof text - 1, want \
    }
    P("\x80\2N.", "None"),
    P("N.", "None"),
    P("\x88.", "True"),
    P("\x89.", "False"),
    P("K\xff.", "255"),
    P("M\xff\xff.", "65535"),
    P("J\xff\xff\xff\xff.", "-1"),
    P("J\0\0\0\x80.", "-2147483648"),
    P("\x8a\0.", "0"),
    P("\x8a\1\x80.", "-128"),
    P("\x8a\2\x80\0.", "128"),
    P("\x8a\3\xff\xff\xff.", "-1"),
    P("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", "9223372036854775807"),
    P("\x8a\x08\0\0\0\0\0\0\0\x80.", "-9223372036854775808"),
    P("\x8a\x09\0\0\0\0\0\0\0\x80\0.", "long9"),
    P("G\x3f\xb9\x99\x99\x99\x99\x99\x9a.", "0.10000000000000001"),
    P("G\xff\xf0\0\0\0\0\0\0.", "-inf"),
    P("X\3\0\0\0abc.", "'abc'"),
    P("X\0\0\0\0.", "''"),
    P("U\3abc.", "'abc'"),
    P(").", "()"),
    P("].", "[]"),
    P("}.", "{}"),
    P("\x8f.", "{}"),
    P("(t.", "()"),
    P("(K\1K\2t.", "(1,2)"),
    P("K\1\x85.", "(1)"),
    P("K\1K\2\x86.", "(1,2)"),
    P("K\1K\2K\3\x87.", "(1,2,3)"),
    P("((K\1tK\2(tt.", "((1),2,())"),
    P("]K\1a.", "[1]"),
    P("](K\1K\2e.", "[1,2]"),
    P("](e.", "[]"),
    P("](K\1e(K\2K\3eK\4a.", "[1,2,3,4]"),
    P("}K\1K\2s.", "{1:2}"),
    P("}(K\1K\2NNu.", "{1:2,None:None}"),
    P("}(u.", "{}"),
    P("}K\1K\2s}b.", "{1:2}"),
    P("K\7q\0h\0\x86.", "(7,7)"),
    P("K\7q\2Nq\0h\2\x87\x85.", "((7,None,7))"),
    P("K\7r\1\0\0\0j\1\0\0\0\x86.", "(7,7)"),
    P("]q\0h\0\x86.", "([],[])"),
    P("cgood\ncall\n.", "<call>"),
    P("cgood\nplain\n.", "<plain>"),
    P("cgood\ncall\n)R.", "0"),
    P("cgood\ncall\n(NNNNtR.", "4"),
    P("cgood\ncall\nN\x85\x81.", "1"),
    P("K\5Q.", "5"),
#undef P
};

Test(pickle, values)
{
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct run r;
        struct buf b = {0};
        const struct pickle_value *const v = run(&r, values[i].text, values[i].n);
        cr_assert(v, "%s: %s", values[i].want, r.e.msg);
        show(&b, v);
        cr_assert_str_eq(b.s, values[i].want);
        cr_assert_eq(r.p.pos, values[i].n);
        arena_free(&r.mem);
        buf_free(&b);
        /* Cut anywhere it is an error. */
        for (size_t n = 0; n < values[i].n; n++) {
            cr_assert_null(run(&r, values[i].text, n));
            cr_assert_eq(r.e.kind, ERR_INPUT);
            arena_free(&r.mem);
        }
    }
}

Test(pickle, one_after_the_other)
{
    struct run r;
    cr_assert(run(&r, "K\1.K\2.", 6));
    cr_assert_eq(r.p.pos, 3);
    const struct pickle_value *const v = pickle_run(&r.p);
    cr_assert(v && v->i == 2);
    cr_assert_eq(r.p.pos, 6);
    cr_assert_null(pickle_run(&r.p));
    cr_assert(strstr(r.e.msg, "byte 0: it ends early: 1 bytes are wanted and 0 are there"), "%s", r.e.msg);
    arena_free(&r.mem);
}

Test(pickle, get_and_is)
{
    struct run r;
    const struct pickle_value *const v = run(&r, "}(X\1\0\0\0aK\1X\2\0\0\0a\0K\2u.", 21);
    cr_assert(v, "%s", r.e.msg);
    cr_assert(pickle_get(v, "a")->i == 1 && !pickle_get(v, "b"));
    cr_assert(!pickle_is(v->v[2], "a"), "a NUL is a character");
    arena_free(&r.mem);
}

/* ---- what is refused -------------------------------------------------------------- */

static const struct {
    const char *text;
    size_t n;
    const char *says;
} bad[] = {
#define P(text, says) \
    { \
        text, sizeof text - 1, says \
    }
    P("\x80\4N.", "pickle protocol 4; 2 is read"),
    P(".", "too few values"),
    P("NN.", "1 values are left"),
    P("(N.", "0 values are left"),
    P("t.", "there is no mark"),
    P("]e.", "there is no mark"),
    P("}u.", "there is no mark"),
    P("\x85.", "too few values"),
    P("N\x86.", "too few values"),
    P("N(\x85.", "too few values"),
    P("NN(N\x86.", "too few values"),
    P("](N(a.", "too few values"),
    P("(e.", "too few values"),
    P("}(K\1u.", "a key without a value"),
    P("]K\1K\2s.", "no dict"),
    P("}K\1a.", "no list"),
    P(")K\1a.", "no list"),
    P("N(K\1e.", "no list"),
    P("\x8f(K\1e.", "no list"),
    P("h\0.", "memo 0 was not put"),
    P("Nq\2h\1.", "memo 1 was not put"),
    P("q\0.", "too few values"),
    P("Nr\xff\xff\xff\xff.", "memo 4294967295 out of turn"),
    P("Nq\x10.", "memo 16 out of turn"),
    P("cos\nsystem\n.",
      "the global 'os.system' is not one that tensors need; to load this file would run code"),
    P("cgood\nother\n.", "'good.other'"),
    P("cgood.call\nplain\n.", "'good.call.plain'"),
    P("c\ngood\n.", "'.good'"),
    P("NNR.", "a call of what is no function"),
    P("cgood\ncall\nNR.", "a call of what is no function"),
    P("cgood\ncall\n]R.", "a call of what is no function"),
    P("cgood\nplain\n)R.", "a call of 'good.plain'; to load this file would run code"),
    P("cgood\nfails\nN\x85R.", "no 1"),
    P("R.", "too few values"),
    P("N}b.", "a state for what is no dict; to load this file would run code"),
    P("cgood\ncall\n}b.", "a state for what is no dict"),
    P("]Nb.", "a state for what is no dict"),
    P("X\1\0\0\1a.", "a string of 16777217 bytes; the limit is 16777216"),
    P("X\xff\xff\xff\xff.", "a string of 4294967295 bytes"),
    P("X\5\0\0\0abc.", "it ends early: 5 bytes are wanted and 4 are there"),
    P("\x80", "it ends early"),
    P("", "it ends early"),
#undef P
};

Test(pickle, refusals)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].text, bad[i].n, bad[i].says);
    struct run r = {.h = {.path = "file", .fd = -1, .file_size = 3, .p = (uint8_t[]){'N', 'Q', '.'}, .n = 3}};
    r.p = (struct pickle){.h = &r.h, .what = "pickle", .mem = &r.mem, .e = &r.e};
    cr_assert_null(pickle_run(&r.p));
    cr_assert(strstr(r.e.msg, "a persistent id has no place here"), "%s", r.e.msg);
    arena_free(&r.mem);
}

/* All 256: what the machine has is the list of PyTorch's weights-only loader and nothing more. */
Test(pickle, opcodes)
{
    static const char has[] = "().GJKMNQRUX]abcehjqrstu}\x80\x81\x85\x86\x87\x88\x89\x8a\x8f";
    static const char calls[] = "io\x82\x83\x84\x92\x93";
    size_t n = 0;
    for (int c = 0; c < 256; c++) {
        struct run r;
        const uint8_t text[2] = {(uint8_t)c, '.'};
        (void)run(&r, text, 2);
        const bool known = memchr(has, c, sizeof has - 1);
        n += known;
        cr_assert_eq(!strstr(r.e.msg, "the opcode 0x"), known, "0x%02x: %s", c, r.e.msg);
        if (!known)
            cr_assert_eq(!!strstr(r.e.msg, "would run code"), !!memchr(calls, c, sizeof calls - 1),
                         "0x%02x: %s", c, r.e.msg);
        arena_free(&r.mem);
    }
    cr_assert_eq(n, sizeof has - 1);
    refused("(S'x'\nios\nsystem\n.", 18, "the opcode 0x53 (STRING)");
    refused("(ios\nsystem\n.", 13,
            "the opcode 0x69 (INST) is not one that tensors need; to load this file would run code");
    refused("\x93.", 2, "STACK_GLOBAL");
    refused("\1.", 2, "the opcode 0x01 (unknown)");
}

/* n times the same, and a STOP. */
static struct buf repeated(const char *text, size_t length, size_t n)
{
    struct buf b = {0};
    struct err e;
    cr_assert_eq(mem_grow((void **)&b.s, &b.cap, length * n + 1, 1, &e), 0);
    for (size_t i = 0; i < n; i++)
        memcpy(b.s + i * length, text, length);
    b.n = length * n;
    b.s[b.n++] = '.';
    return b;
}

Test(pickle, limits)
{
    struct buf b = repeated("N", 1, PICKLE_STACK_MAX + 1);
    refused(b.s, b.n, "more than 1048576 values on the stack");
    buf_free(&b);
    b = repeated("(", 1, PICKLE_MARKS_MAX + 1);
    refused(b.s, b.n, "values nest deeper than 1024");
    buf_free(&b);
    b = repeated("c", 1, 300);
    refused(b.s, b.n, "a name of more than 255 bytes");
    buf_free(&b);
    struct buf list = {0};
    b = repeated("Na", 2, PICKLE_VALUES_MAX);
    mk_puts(&list, "]");
    mk_put(&list, b.s, b.n);
    refused(list.s, list.n, "more than 8388608 values");
    buf_free(&list);
    buf_free(&b);
    /* Longer than one pickle can be: versions, which leave nothing. */
    b = repeated("\x80\2", 2, PICKLE_BYTES_MAX / 2 + 1);
    refused(b.s, b.n, "longer than the limit of 134217728 bytes");
    buf_free(&b);
}

/* A random program of what the machine has ends in a value or a sentence. */
Test(pickle, random_programs)
{
    static const char *const piece[] = {
        "N", "\x88", "K\1", "M\1\2", "J\1\2\3\4", "\x8a\1\1", "G12345678", "U\1a",          "X\1\0\0\0b",
        "]", "}",    ")",   "(",     "t",         "\x85",     "\x86",      "\x87",          "a",
        "e", "s",    "u",   "q\0",   "q\1",       "h\0",      "h\1",       "cgood\ncall\n", "cgood\nplain\n",
        "R", "\x81", "b",   "Q",     "\x8f"};
    static const uint8_t length[] = {1, 1, 2, 3, 5, 3, 9, 3, 6, 1,  1,  1, 1, 1, 1, 1,
                                     1, 1, 1, 1, 1, 2, 2, 2, 2, 11, 12, 1, 1, 1, 1, 1};
    uint32_t seed = 1;
    size_t good = 0;
    for (int i = 0; i < 200000; i++) {
        struct buf b = {0};
        const int n = 1 + i % 12;
        for (int k = 0; k < n; k++) {
            seed = seed * 1664525 + 1013904223;
            const size_t x = (seed >> 8) % (sizeof piece / sizeof *piece);
            mk_put(&b, piece[x], length[x]);
        }
        mk_puts(&b, ".");
        struct run r;
        if (run(&r, b.s, b.n))
            good++;
        else
            cr_assert(r.e.kind == ERR_INPUT && r.e.msg[0]);
        arena_free(&r.mem);
        buf_free(&b);
    }
    cr_assert_gt(good, 5000);
}
