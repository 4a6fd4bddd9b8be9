/* GGUF version 3: the head of one file, and where its tensors lie. */
#include "formats/gguf.h"
#include "formats/writer.h"

#include <string.h>

static int put_le(struct buf *b, uint64_t x, unsigned bytes, struct err *e)
{
    uint8_t p[8];
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(x >> 8 * i);
    return buf_put(b, p, bytes, e);
}

/* What readers of GGUF refuse or do not survive. */
static int check(const struct tensor *t, uint32_t *type, struct err *e)
{
    char shape[176];
    if (strlen(t->name) > GGUF_NAME_MAX)
        return err_set(e, ERR_INPUT, "tensor '%s': its name has %zu bytes, and GGUF readers take at most %d", t->name,
                       strlen(t->name), GGUF_NAME_MAX);
    if (t->rank > GGUF_RANK_MAX)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, and GGUF has at most %d dimensions", t->name, tensor_shape(t, shape),
                       GGUF_RANK_MAX);
    if (!tensor_elems(t)) /* gguf.cpp divides by its dimensions */
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, and GGUF readers do not take tensors without elements (exclude it)",
                       t->name, tensor_shape(t, shape));
    if (!gguf_stores(t->dtype, type))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, a type that GGUF does not have (exclude it)", t->name,
                       dtype_name(t->dtype));
    return 0;
}

static int put_info(struct buf *b, const struct tensor *t, uint64_t off, struct err *e)
{
    uint32_t type;
    if (check(t, &type, e) || put_le(b, strlen(t->name), 8, e) || buf_puts(b, t->name, e) || put_le(b, t->rank, 4, e))
        return -1;
    for (int i = t->rank; i-- > 0;) /* fastest first */
        if (put_le(b, t->dim[i], 8, e))
            return -1;
    return put_le(b, type, 4, e) || put_le(b, off, 8, e) ? -1 : 0;
}

/* Head and slots; slot offsets count from the start of the data until its place is known. */
static int lay_out(struct writer *w, const struct tensor *t, size_t n, const struct gguf_keys *keys, struct err *e)
{
    struct buf *const b = &w->head[0];
    uint64_t pos = 0, end;
    if (buf_puts(b, "GGUF", e) || put_le(b, 3, 4, e) || put_le(b, n, 8, e) || put_le(b, keys->count, 8, e)
        || buf_put(b, keys->bytes.s ? keys->bytes.s : "", keys->bytes.n, e))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (put_info(b, &t[i], pos, e))
            return -1;
        w->slot[i] = (struct sink_slot){0, pos, t[i].size};
        w->slot_of[i] = i;
        if (!add_u64(pos, t[i].size, &end) || end > INT64_MAX / 2)
            return err_set(e, ERR_INPUT, "tensor '%s': the file would be too large", t[i].name);
        pos = round_up(end, GGUF_ALIGNMENT);
    }
    while (n && b->n % GGUF_ALIGNMENT) /* keys alone (a vocabulary) need no padding */
        if (put_le(b, 0, 1, e))
            return -1;
    for (size_t i = 0; i < n; i++)
        w->slot[i].off += b->n;
    w->bytes = b->n + pos;
    return 0;
}

int writer_gguf(struct writer *w, const struct tensor *t, size_t n, const char *path, const struct gguf_keys *keys,
                struct err *e)
{
    if (writer_allocate(w, n, 1, e) || lay_out(w, t, n, keys, e)) {
        writer_free(w);
        return -1;
    }
    w->file[0] = (struct sink_file){.path = path, .head = w->head[0].s, .head_size = w->head[0].n, .size = w->bytes};
    return 0;
}
