/* From the dict of a checkpoint to the tensors of a model: names, and views
 * whose numbers are checked. */
#include "formats/jscan.h"
#include "formats/torch_objects.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    NEST_MAX = 32,      /* containers in containers */
    TEXT_MAX = 1 << 16, /* longer strings are kept as "[123456 bytes]" */
};
/* A small storage can be expanded to a tensor of any size: beyond this, no more than the file has. */
#define EXPANDED_MAX ((uint64_t)1 << 30)

/* ---- tensors ------------------------------------------------------------- */

static int bad_tensor(const struct torch_reader *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int bad_tensor(const struct torch_reader *r, const char *name, const char *fmt, ...)
{
    char message[500];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return torch_fail(r, "tensor '%.300s': %s", name, message);
}

/* Sizes, strides and offset of the view into t, stride and *last, the element
 * farthest from the first one of the storage; none of the sums overflows. */
static int read_shape(const struct torch_reader *r, const struct torch_view *v, struct tensor *t,
                      uint64_t *stride, uint64_t *last)
{
    uint64_t extent = torch_item_size(t->dtype), reach;
    if (v->size->n > TENSOR_MAX_RANK)
        return bad_tensor(r, t->name, "%zu dimensions; %d are read", v->size->n, TENSOR_MAX_RANK);
    if (v->size->n != v->stride->n)
        return bad_tensor(r, t->name, "%zu dimensions and %zu strides", v->size->n, v->stride->n);
    if (v->offset->i < 0)
        return bad_tensor(r, t->name, "begins before its storage");
    *last = (uint64_t)v->offset->i;
    for (size_t i = 0; i < v->size->n; i++) {
        const struct pickle_value *const d = v->size->v[i], *const s = v->stride->v[i];
        if (d->kind != PICKLE_INT || s->kind != PICKLE_INT || d->i < 0 || s->i < 0)
            return bad_tensor(r, t->name, "a dimension or stride that is no number from 0 on");
        t->dim[t->rank++] = (uint64_t)d->i;
        stride[i] = (uint64_t)s->i;
        /* extent ignores zeros, so that no product of some of the dimensions can overflow later */
        if (!mul_u64(extent, max_u64(t->dim[i], 1), &extent)
            || !mul_u64(max_u64(t->dim[i], 1) - 1, stride[i], &reach) || !add_u64(*last, reach, last))
            return bad_tensor(r, t->name, "its size overflows");
    }
    return 0;
}

/* NULL in t->stride for what is row-major; strides of no or one element mean nothing. */
static int set_stride(const struct torch_reader *r, struct tensor *t, const uint64_t *stride)
{
    uint64_t step = 1;
    bool flat = true;
    for (int i = t->rank; i-- > 0;) {
        flat = flat && (t->dim[i] < 2 || stride[i] == step);
        step *= t->dim[i];
    }
    if (flat || !step)
        return 0;
    uint64_t *const copy = arena_array(r->mem, t->rank, sizeof *copy, r->e);
    if (!copy)
        return -1;
    memcpy(copy, stride, t->rank * sizeof *copy);
    t->stride = copy;
    return 0;
}

static int add_tensor(struct torch_reader *r, struct torch_view *v, const char *name)
{
    struct tensor t = {.name = arena_strdup(r->mem, name, r->e), .dtype = v->dtype, .file = r->file};
    const struct torch_storage *const s = v->storage;
    const uint64_t item = torch_item_size(t.dtype), room = s->bytes / item;
    uint64_t stride[TENSOR_MAX_RANK], last = 0;
    if (!t.name || read_shape(r, v, &t, stride, &last))
        return -1;
    const uint64_t elems = tensor_elems(&t), offset = (uint64_t)v->offset->i;
    if (elems ? last >= room : offset > room)
        return bad_tensor(r, name, "element %" PRIu64 " of storage '%.300s' is wanted, which has %" PRIu64,
                          elems ? last : offset, s->key, room);
    t.off = s->off + offset * item;
    t.size = elems * item;
    if (t.size > s->bytes && t.size > EXPANDED_MAX && t.size > r->h->file_size)
        return bad_tensor(r, name, "is expanded to %" PRIu64 " bytes, more than 1 GiB and than the file",
                          t.size);
    if (set_stride(r, &t, stride))
        return -1;
    if (t.dtype == DT_F4) {
        /* PyTorch counts pairs; here the last dimension counts values, as in safetensors. */
        if (!t.rank || t.stride || !mul_u64(t.dim[t.rank - 1], 2, &t.dim[t.rank - 1]))
            return bad_tensor(r, name, "pairs of FP4 values that are not in row-major order are not read");
    }
    v->used = true;
    return table_tensor(r->table, &t, r->e);
}

/* ---- the dict ------------------------------------------------------------ */

enum { MARK_NEW, MARK_OPEN, MARK_PLAIN, MARK_TENSORS, MARK_TAKEN };

static bool is_container(const struct pickle_value *v)
{
    return v->kind == PICKLE_DICT || v->kind == PICKLE_LIST || v->kind == PICKLE_TUPLE;
}

static bool is_tensor(const struct pickle_value *v)
{
    return v->kind == PICKLE_OBJECT && ((const struct torch_view *)v->object)->kind == TORCH_VIEW;
}

static bool holds_tensors(const struct pickle_value *v)
{
    return is_tensor(v) || (is_container(v) && v->mark == MARK_TENSORS);
}

static int check_keys(const struct torch_reader *r, const struct pickle_value *d)
{
    struct map seen = {0};
    int rc = 0;
    for (size_t i = 0; i < d->n && !rc; i += 2) {
        const struct pickle_value *const key = d->v[i];
        if (key->kind != PICKLE_STRING)
            continue;
        if (memchr(key->s, 0, key->length) || utf8_check(key->s, key->length) != key->length)
            rc = torch_fail(r, "the key '%.300s' is no UTF-8 text", key->s);
        else if ((rc = map_add(&seen, key->s, i, r->e)) > 0)
            rc = torch_fail(r, "the key '%.300s' is in a dict twice", key->s);
    }
    map_free(&seen);
    return rc;
}

/* Marks v and all containers in it: MARK_TENSORS or MARK_PLAIN. */
static int mark_containers(const struct torch_reader *r, struct pickle_value *v, int depth)
{
    if (!is_container(v) || v->mark > MARK_OPEN)
        return 0;
    if (v->mark == MARK_OPEN)
        return torch_fail(r, "a container holds itself");
    if (depth == NEST_MAX)
        return torch_fail(r, "containers nest deeper than %d", NEST_MAX);
    v->mark = MARK_OPEN;
    if (v->kind == PICKLE_DICT && check_keys(r, v))
        return -1;
    bool tensors = false;
    const size_t step = v->kind == PICKLE_DICT ? 2 : 1;
    for (size_t i = step - 1; i < v->n; i += step) {
        if (mark_containers(r, v->v[i], depth + 1))
            return -1;
        tensors |= holds_tensors(v->v[i]);
    }
    v->mark = tensors ? MARK_TENSORS : MARK_PLAIN;
    return 0;
}

/* "a.b" from "a" and item i of container v. */
static char *join_name(struct torch_reader *r, const char *name, const struct pickle_value *v, size_t i)
{
    const char *const dot = *name ? "." : "";
    const struct pickle_value *const key = v->v[i];
    if (v->kind != PICKLE_DICT)
        return arena_printf(&r->tmp, r->e, "%s%s%zu", name, dot, i);
    if (key->kind == PICKLE_STRING)
        return arena_printf(&r->tmp, r->e, "%s%s%s", name, dot, key->s);
    if (key->kind == PICKLE_INT)
        return arena_printf(&r->tmp, r->e, "%s%s%" PRId64, name, dot, key->i);
    (void)torch_fail(r, "the dict '%.300s' has a key that is neither a text nor a number", name);
    return NULL;
}

/* An entry that is no tensor, as text. */
static int add_meta(struct torch_reader *r, const struct pickle_value *v, const char *name)
{
    const char *const key = arena_printf(r->mem, r->e, "torch.%s", name);
    const char *value = NULL;
    switch (v->kind) {
    case PICKLE_NONE:
        value = "None";
        break;
    case PICKLE_BOOL:
        value = v->i ? "True" : "False";
        break;
    case PICKLE_INT:
        value = arena_printf(r->mem, r->e, "%" PRId64, v->i);
        break;
    case PICKLE_FLOAT:
        value = arena_printf(r->mem, r->e, "%.17g", v->f);
        break;
    case PICKLE_STRING:
        if (v->length <= TEXT_MAX && !memchr(v->s, 0, v->length)
            && utf8_check(v->s, v->length) == v->length) {
            value = arena_strdup(r->mem, v->s, r->e);
            break;
        } /* fall through */
    case PICKLE_LONG:
        value = arena_printf(r->mem, r->e, "[%zu bytes]", v->length);
        break;
    case PICKLE_TUPLE:
    case PICKLE_LIST:
    case PICKLE_SET:
        value = arena_printf(r->mem, r->e, "[%zu items]", v->n);
        break;
    case PICKLE_DICT:
        value = arena_printf(r->mem, r->e, "[%zu entries]", v->n / 2);
        break;
    case PICKLE_GLOBAL:
        value = arena_printf(r->mem, r->e, "%s.%s", v->global->module, v->global->name);
        break;
    case PICKLE_OBJECT:
        return torch_fail(r, "'%.300s' is a storage and no tensor", name);
    }
    return key && value ? table_meta(r->table, key, value, r->e) : -1;
}

static int add_entries(struct torch_reader *r, struct pickle_value *v, const char *name);

static int add_entry(struct torch_reader *r, struct pickle_value *v, const char *name)
{
    if (is_tensor(v))
        return add_tensor(r, v->object, name);
    if (!is_container(v) || v->mark == MARK_PLAIN)
        return add_meta(r, v, name);
    if (v->mark == MARK_TAKEN)
        return torch_fail(r, "'%.300s' is a container of tensors that is also elsewhere", name);
    return add_entries(r, v, name);
}

static int add_entries(struct torch_reader *r, struct pickle_value *v, const char *name)
{
    v->mark = MARK_TAKEN;
    const size_t step = v->kind == PICKLE_DICT ? 2 : 1;
    for (size_t i = 0; i < v->n; i += step) {
        const char *const inside = join_name(r, name, v, i);
        if (!inside || add_entry(r, v->v[i + step - 1], inside))
            return -1;
    }
    return 0;
}

static size_t leave_out(struct pickle_value *v)
{
    size_t n = 0;
    if (is_tensor(v)) {
        ((struct torch_view *)v->object)->used = true;
        return 1;
    }
    if (!is_container(v) || v->mark != MARK_TENSORS)
        return 0;
    v->mark = MARK_TAKEN;
    const size_t step = v->kind == PICKLE_DICT ? 2 : 1;
    for (size_t i = step - 1; i < v->n; i += step)
        n += leave_out(v->v[i]);
    return n;
}

/* What stands beside the dict that is taken: tensors are counted, the rest is metadata. */
static int put_aside(struct torch_reader *r, const struct pickle_value *d, const struct pickle_value *taken,
                     const char *name)
{
    for (size_t i = 0; i < d->n; i += 2) {
        struct pickle_value *const v = d->v[i + 1];
        if (v == taken)
            continue;
        const char *const inside = join_name(r, name, d, i);
        const bool tensors = holds_tensors(v);
        if (!inside)
            return -1;
        if (tensors) {
            const size_t n = leave_out(v);
            if (buf_printf(&r->left_out, r->e, "%s%s (%zu tensor%s)", r->left_out.n ? ", " : "", inside, n,
                           n == 1 ? "" : "s"))
                return -1;
        } else if (!(is_container(v) && v->mark == MARK_TAKEN) && add_meta(r, v, inside)) {
            return -1; /* what is taken already was counted under its first name */
        }
    }
    return 0;
}

/* Different keys can make the same name: "7" and 7, "a.b" and b in a. */
static int check_meta(const struct torch_reader *r, size_t from)
{
    struct map seen = {0};
    int rc = 0;
    for (size_t i = from; i < r->table->nkv && !rc; i++) {
        rc = map_add(&seen, r->table->kv[i].key, i, r->e);
        if (rc > 0)
            rc = torch_fail(r, "two entries without tensors are named '%.300s'", r->table->kv[i].key + 6);
    }
    map_free(&seen);
    return rc;
}

static int add_left_out(struct torch_reader *r)
{
    if (!r->left_out.n)
        return 0;
    const char *const text = arena_strdup(r->mem, r->left_out.s, r->e);
    return text ? table_meta(r->table, "torch.left_out", text, r->e) : -1;
}

int torch_read_dict(struct torch_reader *r, struct pickle_value *root)
{
    const size_t from = r->table->nkv;
    static const char *const inner[] = {"state_dict", "model_state_dict", "model", "module"};
    const char *name = "";
    if (root->kind != PICKLE_DICT)
        return torch_fail(r, "holds %s; a checkpoint is a dict that gives tensors names",
                          is_tensor(root) ? "one tensor without a name" : "no dict");
    if (mark_containers(r, root, 0))
        return -1;
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
        struct pickle_value *const v = pickle_get(root, inner[i]);
        if (!v || v->kind != PICKLE_DICT || v->mark != MARK_TENSORS)
            continue;
        if (put_aside(r, root, v, name)
            || !(name = arena_printf(&r->tmp, r->e, "%s%s%s", name, *name ? "." : "", inner[i])))
            return -1;
        root->mark = MARK_TAKEN;
        root = v;
        i = (size_t)-1; /* from the first again */
    }
    if (add_entries(r, root, ""))
        return -1;
    size_t lost = 0;
    for (const struct torch_view *v = r->views; v; v = v->next)
        lost += !v->used;
    if (lost)
        return torch_fail(r, "%zu tensors are attributes or keys of something, and have no name", lost);
    return add_left_out(r) ? -1 : check_meta(r, from);
}
