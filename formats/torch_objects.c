#include "formats/torch_objects.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int torch_fail(const struct torch_reader *r, const char *fmt, ...)
{
    char message[700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return err_set(r->e, ERR_INPUT, "%s: %s", r->h->path, message);
}

/* ---- what a pickle may name ---------------------------------------------- */

enum { ID_STORAGE = 1 << 8, ID_DTYPE = 1 << 9, ID_TYPE = ID_STORAGE - 1, ID_UNREAD = ID_TYPE };

/* OrderedDict(), or of a list of pairs, as Python 2 wrote it. */
static struct pickle_value *make_dict(struct pickle *p, struct pickle_value *const *arg, size_t n)
{
    struct pickle_value *const d = pickle_new(p, PICKLE_DICT);
    const bool good = !n || (n == 1 && arg[0]->kind == PICKLE_LIST);
    for (size_t i = 0; d && good && n && i < arg[0]->n; i++) {
        const struct pickle_value *const pair = arg[0]->v[i];
        if ((pair->kind != PICKLE_LIST && pair->kind != PICKLE_TUPLE) || pair->n != 2) {
            (void)pickle_fail(p, "an OrderedDict of what are no pairs");
            return NULL;
        }
        if (pickle_append(p, d, pair->v, 2))
            return NULL;
    }
    if (good)
        return d;
    (void)pickle_fail(p, "an OrderedDict with unknown arguments");
    return NULL;
}

static struct pickle_value *make_size(struct pickle *p, struct pickle_value *const *arg, size_t n)
{
    if (n == 1 && arg[0]->kind == PICKLE_TUPLE)
        return arg[0];
    (void)pickle_fail(p, "a torch.Size of what is no tuple");
    return NULL;
}

/* The first four arguments of all functions that make tensors. */
static struct pickle_value *make_view(struct pickle *p, struct pickle_value *const *arg, enum dtype dtype)
{
    struct torch_reader *const r = p->ctx;
    const struct torch_storage *const s = arg[0]->kind == PICKLE_OBJECT ? arg[0]->object : NULL;
    if (!s || s->kind != TORCH_STORAGE || arg[1]->kind != PICKLE_INT || arg[2]->kind != PICKLE_TUPLE
        || arg[3]->kind != PICKLE_TUPLE) {
        (void)pickle_fail(p, "a tensor is made of a storage, an offset, a size, a stride, and not of these");
        return NULL;
    }
    struct torch_view *const v = arena_alloc(p->mem, sizeof *v, p->e);
    struct pickle_value *const x = v ? pickle_new(p, PICKLE_OBJECT) : NULL;
    if (!x)
        return NULL;
    *v = (struct torch_view){TORCH_VIEW, s, dtype, arg[1], arg[2], arg[3], false, r->views};
    r->views = v;
    x->object = v;
    return x;
}

/* The type of a storage's elements is that of the tensor. */
static struct pickle_value *make_typed(struct pickle *p, struct pickle_value *const *arg)
{
    const struct torch_storage *const s = arg[0]->kind == PICKLE_OBJECT ? arg[0]->object : NULL;
    if (!s || s->kind != TORCH_STORAGE || s->dtype != DT_COUNT)
        return make_view(p, arg, s && s->kind == TORCH_STORAGE ? s->dtype : DT_COUNT);
    (void)pickle_fail(p, "a tensor of an untyped storage, without a type of its own");
    return NULL;
}

/* Conjugate and negative views say so here, and their bytes are other numbers. */
static bool no_metadata(struct pickle *p, const struct pickle_value *v)
{
    if (v->kind == PICKLE_NONE || (v->kind == PICKLE_DICT && !v->n))
        return true;
    (void)pickle_fail(p, "a tensor that is to be conjugated or negated when it is read; save it after"
                      " resolve_conj() or resolve_neg()");
    return false;
}

static struct pickle_value *wrong_count(struct pickle *p, size_t n)
{
    (void)pickle_fail(p, "a tensor made of %zu arguments", n);
    return NULL;
}

static struct pickle_value *rebuild_v1(struct pickle *p, struct pickle_value *const *arg, size_t n)
{
    return n == 4 ? make_typed(p, arg) : wrong_count(p, n);
}

static struct pickle_value *rebuild_v2(struct pickle *p, struct pickle_value *const *arg, size_t n)
{
    if (n != 6 && n != 7)
        return wrong_count(p, n);
    return n == 6 || no_metadata(p, arg[6]) ? make_typed(p, arg) : NULL;
}

static struct pickle_value *rebuild_v3(struct pickle *p, struct pickle_value *const *arg, size_t n)
{
    if (n != 7 && n != 8)
        return wrong_count(p, n);
    if (n == 8 && !no_metadata(p, arg[7]))
        return NULL;
    const struct pickle_global *const g = arg[6]->kind == PICKLE_GLOBAL ? arg[6]->global : NULL;
    if (!g || !(g->id & ID_DTYPE) || (g->id & ID_TYPE) == ID_UNREAD) {
        (void)pickle_fail(p, "a tensor of %s%s, which is no type that is read", g ? "torch." : "nothing",
                          g ? g->name : "");
        return NULL;
    }
    return make_view(p, arg, (enum dtype)(g->id & ID_TYPE));
}

static struct pickle_value *rebuild_parameter(struct pickle *p, struct pickle_value *const *arg, size_t n)
{
    const struct torch_view *const v = n && arg[0]->kind == PICKLE_OBJECT ? arg[0]->object : NULL;
    if (n == 3 && v && v->kind == TORCH_VIEW)
        return arg[0];
    (void)pickle_fail(p, "a parameter of what is no tensor");
    return NULL;
}

static const struct pickle_global globals[] = {
    {"collections", "OrderedDict", make_dict, 0},
    {"torch", "Size", make_size, 0},
    {"torch._utils", "_rebuild_tensor", rebuild_v1, 0},
    {"torch._utils", "_rebuild_tensor_v2", rebuild_v2, 0},
    {"torch._utils", "_rebuild_tensor_v3", rebuild_v3, 0},
    {"torch._utils", "_rebuild_parameter", rebuild_parameter, 0},
    {"torch", "DoubleStorage", NULL, ID_STORAGE | DT_F64},
    {"torch", "FloatStorage", NULL, ID_STORAGE | DT_F32},
    {"torch", "HalfStorage", NULL, ID_STORAGE | DT_F16},
    {"torch", "BFloat16Storage", NULL, ID_STORAGE | DT_BF16},
    {"torch", "LongStorage", NULL, ID_STORAGE | DT_I64},
    {"torch", "IntStorage", NULL, ID_STORAGE | DT_I32},
    {"torch", "ShortStorage", NULL, ID_STORAGE | DT_I16},
    {"torch", "CharStorage", NULL, ID_STORAGE | DT_I8},
    {"torch", "ByteStorage", NULL, ID_STORAGE | DT_U8},
    {"torch", "BoolStorage", NULL, ID_STORAGE | DT_BOOL},
    {"torch", "ComplexFloatStorage", NULL, ID_STORAGE | DT_C64},
    {"torch.storage", "UntypedStorage", NULL, ID_STORAGE | DT_COUNT},
    {"torch", "float64", NULL, ID_DTYPE | DT_F64},
    {"torch", "float32", NULL, ID_DTYPE | DT_F32},
    {"torch", "float16", NULL, ID_DTYPE | DT_F16},
    {"torch", "bfloat16", NULL, ID_DTYPE | DT_BF16},
    {"torch", "int64", NULL, ID_DTYPE | DT_I64},
    {"torch", "int32", NULL, ID_DTYPE | DT_I32},
    {"torch", "int16", NULL, ID_DTYPE | DT_I16},
    {"torch", "int8", NULL, ID_DTYPE | DT_I8},
    {"torch", "uint64", NULL, ID_DTYPE | DT_U64},
    {"torch", "uint32", NULL, ID_DTYPE | DT_U32},
    {"torch", "uint16", NULL, ID_DTYPE | DT_U16},
    {"torch", "uint8", NULL, ID_DTYPE | DT_U8},
    {"torch", "bool", NULL, ID_DTYPE | DT_BOOL},
    {"torch", "complex64", NULL, ID_DTYPE | DT_C64},
    {"torch", "float8_e4m3fn", NULL, ID_DTYPE | DT_F8_E4M3},
    {"torch", "float8_e5m2", NULL, ID_DTYPE | DT_F8_E5M2},
    {"torch", "float8_e4m3fnuz", NULL, ID_DTYPE | DT_F8_E4M3FNUZ},
    {"torch", "float8_e5m2fnuz", NULL, ID_DTYPE | DT_F8_E5M2FNUZ},
    {"torch", "float8_e8m0fnu", NULL, ID_DTYPE | DT_F8_E8M0},
    {"torch", "float4_e2m1fn_x2", NULL, ID_DTYPE | DT_F4},
    {"torch", "ComplexDoubleStorage", NULL, ID_STORAGE | ID_UNREAD},
    {"torch", "complex128", NULL, ID_DTYPE | ID_UNREAD},
    {"torch", "complex32", NULL, ID_DTYPE | ID_UNREAD},
};

/* ---- storages ------------------------------------------------------------ */

/* Bytes of one element: two of F4 make one here as they do there. */
uint64_t torch_item_size(enum dtype t)
{
    return t == DT_COUNT ? 1 : dtype_table[t].block_bytes;
}

/* ("storage", class, key, location, numel), and in the legacy format None. */
static struct pickle_value *storage_of_id(struct pickle *p, const struct pickle_value *id)
{
    struct torch_reader *const r = p->ctx;
    const size_t n = r->legacy ? 6 : 5;
    struct pickle_value *const *const v = id->v;
    if (id->kind != PICKLE_TUPLE || id->n != n || !pickle_is(v[0], "storage") || v[1]->kind != PICKLE_GLOBAL
        || !(v[1]->global->id & ID_STORAGE) || v[2]->kind != PICKLE_STRING || v[4]->kind != PICKLE_INT
        || v[4]->i < 0) {
        (void)pickle_fail(p, "a persistent id that is no storage of a known type");
        return NULL;
    }
    if (n == 6 && v[5]->kind != PICKLE_NONE) {
        (void)pickle_fail(p, "storage '%.300s' is a view of another one; save it with a newer PyTorch",
                          v[2]->s);
        return NULL;
    }
    if ((v[1]->global->id & ID_TYPE) == ID_UNREAD) {
        (void)pickle_fail(p, "storage '%.300s' is a torch.%s, whose elements have no type here", v[2]->s,
                          v[1]->global->name);
        return NULL;
    }
    struct torch_storage new = {.kind = TORCH_STORAGE, .key = v[2]->s, .numel = (uint64_t)v[4]->i,
                                .dtype = (enum dtype)(v[1]->global->id & ID_TYPE)};
    if (!mul_u64(new.numel, torch_item_size(new.dtype), &new.bytes) || memchr(new.key, 0, v[2]->length)) {
        (void)pickle_fail(p, "storage '%.300s' of %" PRIu64 " elements: size or name are not possible",
                          new.key, new.numel);
        return NULL;
    }
    struct pickle_value *const x = pickle_new(p, PICKLE_OBJECT);
    const int there = x ? map_add(&r->by_key, new.key, r->n, r->e) : -1;
    if (there < 0)
        return NULL;
    if (!there) {
        struct torch_storage *const s = arena_alloc(p->mem, sizeof *s, r->e);
        if (!s || mem_grow((void **)&r->storage, &r->cap, r->n + 1, sizeof *r->storage, r->e))
            return NULL;
        *s = new;
        x->object = r->storage[r->n++] = s;
        return x;
    }
    size_t at = 0;
    (void)map_find(&r->by_key, new.key, &at);
    const struct torch_storage *const s = r->storage[at];
    if (s->dtype != new.dtype || s->numel != new.numel) {
        (void)pickle_fail(p, "storage '%.300s' is there twice, and not the same", new.key);
        return NULL;
    }
    x->object = r->storage[at];
    return x;
}

/* ---- machines ------------------------------------------------------------ */

struct pickle torch_machine(struct torch_reader *r, struct head *h, uint64_t pos, const char *what)
{
    return (struct pickle){.h = h, .pos = pos, .what = what, .ctx = r, .mem = &r->tmp, .e = r->e};
}

struct pickle torch_machine_for_tensors(struct torch_reader *r, struct head *h, uint64_t pos,
                                        const char *what)
{
    struct pickle p = torch_machine(r, h, pos, what);
    p.global = globals;
    p.globals = sizeof globals / sizeof *globals;
    p.persistent = storage_of_id;
    return p;
}
