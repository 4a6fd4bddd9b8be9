#include "formats/scheme.h"

#include "formats/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the order of --help: the default first, then by how fine the scale is. */
const struct scheme scheme_table[] = {
    {"fp8-ue8m0-128x128", "E4M3, one power-of-two scale per 128 x 128 block",
     DT_F8_E4M3, DT_F8_E8M0, 128, 128, .bits = 8},
    {"fp8-f32-128x128", "E4M3, one F32 scale per 128 x 128 block",
     DT_F8_E4M3, DT_F32, 128, 128, .bits = 8},
    {"fp8-bf16-128x128", "E4M3, one BF16 scale per 128 x 128 block (Qwen)",
     DT_F8_E4M3, DT_BF16, 128, 128, .bits = 8},
    {"mxfp8", "E4M3, one power-of-two scale per 32 columns of a row (OCP MX)",
     DT_F8_E4M3, DT_F8_E8M0, 1, 32, .bits = 8},
    {"fp8-channel", "E4M3, one F32 scale per row (output channel)",
     DT_F8_E4M3, DT_F32, 1, 0, .bits = 8},
    {"fp8-tensor", "E4M3, one F32 scale per matrix",
     DT_F8_E4M3, DT_F32, 0, 0, .bits = 8},
    {"fp8fnuz-f32-128x128", "E4M3FNUZ (AMD MI300), one F32 scale per 128 x 128 block",
     DT_F8_E4M3FNUZ, DT_F32, 128, 128, .bits = 8},
    {"fp8fnuz-ue8m0-128x128", "E4M3FNUZ, one power-of-two scale per 128 x 128 block",
     DT_F8_E4M3FNUZ, DT_F8_E8M0, 128, 128, .bits = 8},
    {"fp8fnuz-channel", "E4M3FNUZ, one F32 scale per row (output channel)",
     DT_F8_E4M3FNUZ, DT_F32, 1, 0, .bits = 8},
    {"fp8fnuz-tensor", "E4M3FNUZ, one F32 scale per matrix",
     DT_F8_E4M3FNUZ, DT_F32, 0, 0, .bits = 8},
    {"mxfp4", "E2M1 (FP4), one power-of-two scale per 32 columns of a row (OCP MX)",
     DT_F4, DT_F8_E8M0, 1, 32, .bits = 4},
    {"nvfp4", "E2M1 (FP4), one E4M3 scale per 16 columns of a row and one F32 per matrix",
     DT_F4, DT_F8_E4M3, 1, 16, .two_level = true, .bits = 4},
    {"hif8", "HiFloat8 (Ascend), a cast without a scale",
     DT_HIF8, DT_COUNT, 0, 0, .bits = 8},
    {"int8-channel", "INT8, symmetric, one F32 scale per row (output channel)",
     DT_I8, DT_F32, 1, 0, .bits = 8},
    {"int8-g128", "INT8, symmetric, one F32 scale per 128 columns of a row",
     DT_I8, DT_F32, 1, 128, .bits = 8},
    {"q8_0", "INT8, symmetric, one F16 scale per 32 columns of a row (GGUF Q8_0)",
     DT_I8, DT_F16, 1, 32, .bits = 8},
    {"int8-tensor", "INT8, symmetric, one F32 scale per matrix",
     DT_I8, DT_F32, 0, 0, .bits = 8},
    {"int4-g128", "INT4, symmetric, one F32 scale per 128 columns of a row",
     DT_I4, DT_F32, 1, 128, .bits = 4},
    {"int4-g32", "INT4, symmetric, one F32 scale per 32 columns of a row",
     DT_I4, DT_F32, 1, 32, .bits = 4},
    {"int4-channel", "INT4, symmetric, one F32 scale per row (output channel)",
     DT_I4, DT_F32, 1, 0, .bits = 4},
};
const size_t scheme_count = sizeof scheme_table / sizeof *scheme_table;

static const struct { const char *name, *title; enum dtype t; uint8_t bits; } elems[] = {
    {"fp8", "E4M3", DT_F8_E4M3, 8},         {"fp8fnuz", "E4M3FNUZ", DT_F8_E4M3FNUZ, 8},
    {"fp8e5m2", "E5M2", DT_F8_E5M2, 8},     {"fp8e5m2fnuz", "E5M2FNUZ", DT_F8_E5M2FNUZ, 8},
    {"fp4", "E2M1 (FP4)", DT_F4, 4},        {"hif8", "HiFloat8", DT_HIF8, 8},
    {"int8", "INT8", DT_I8, 8},             {"int4", "INT4", DT_I4, 4},
    {"int2", "INT2", DT_I8, 2},             {"int3", "INT3", DT_I8, 3},
    {"int5", "INT5", DT_I8, 5},             {"int6", "INT6", DT_I8, 6},
    {"int7", "INT7", DT_I8, 7},
};
static const struct { const char *name; enum dtype t; } scales[] = {
    {"ue8m0", DT_F8_E8M0}, {"f32", DT_F32}, {"bf16", DT_BF16}, {"f16", DT_F16}, {"e4m3", DT_F8_E4M3},
};
enum { ELEMS = sizeof elems / sizeof *elems, SCALES = sizeof scales / sizeof *scales };

/* ---- schemes that no table row has ------------------------------------------ */
struct other {
    struct scheme s;
    char name[64], title[128];
    struct other *next;
};
static struct other *others;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool same(const struct scheme *a, const struct scheme *b)
{
    return a->elem == b->elem && a->scale == b->scale && a->block_rows == b->block_rows
        && a->block_cols == b->block_cols && a->two_level == b->two_level && a->zero_point == b->zero_point
        && a->bits == b->bits;
}

static const char *block_name(const struct scheme *s, char text[32])
{
    if (!s->block_rows)
        return s->block_cols ? NULL : "tensor";
    if (!s->block_cols)
        return s->block_rows == 1 ? "channel" : NULL;
    if (s->block_rows == 1 && scheme_int(s))
        snprintf(text, 32, "g%u", s->block_cols);
    else
        snprintf(text, 32, "%ux%u", s->block_rows, s->block_cols);
    return text;
}

static const struct scheme *add(const struct scheme *s)
{
    char block[32];
    const char *elem = NULL, *title = NULL, *scale = NULL, *b = block_name(s, block);
    for (size_t i = 0; i < ELEMS; i++)
        if (elems[i].t == s->elem && elems[i].bits == s->bits) {
            elem = elems[i].name;
            title = elems[i].title;
        }
    for (size_t i = 0; i < SCALES; i++)
        if (scales[i].t == s->scale)
            scale = scales[i].name;
    const bool e4m3 = s->scale == DT_F8_E4M3, groups = s->block_rows == 1 && s->block_cols;
    if (!elem || !scale || !b || s->two_level != e4m3 || (e4m3 && (s->elem != DT_F4 || !groups)))
        return NULL;
    struct other *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    bool shown = s->scale != DT_F32 || (!scheme_int(s) && s->block_rows && s->block_cols);
    snprintf(o->name, sizeof o->name, "%s%s%s-%s%s", elem, shown ? "-" : "", shown ? scale : "", b,
             s->zero_point ? "-asym" : "");
    snprintf(o->title, sizeof o->title, "%s, %s, scales %s, block %s", title,
             s->zero_point ? "with zero points" : "symmetric", scale, b);
    o->s = *s;
    o->s.name = o->name;
    o->s.title = o->title;
    o->next = others;
    others = o;
    return &o->s;
}

const struct scheme *scheme_like(struct scheme s)
{
    if (!s.bits)
        s.bits = s.elem == DT_I4 || s.elem == DT_F4 ? 4 : 8;
    for (size_t i = 0; i < scheme_count; i++)
        if (same(&scheme_table[i], &s))
            return &scheme_table[i];
    const struct scheme *found = NULL;
    pthread_mutex_lock(&lock);
    for (const struct other *o = others; o && !found; o = o->next)
        if (same(&o->s, &s))
            found = &o->s;
    if (!found)
        found = add(&s);
    pthread_mutex_unlock(&lock);
    return found;
}

const struct scheme *scheme_match(enum dtype elem, enum dtype scale, uint32_t block_rows,
                                  uint32_t block_cols)
{
    return scheme_like((struct scheme){.elem = elem, .scale = scale, .block_rows = block_rows,
                                       .block_cols = block_cols});
}

/* ---- names ------------------------------------------------------------------- */

/* The word at *s up to the next '-', into word; steps past it. */
static bool next_word(const char **s, char word[32])
{
    const size_t n = strcspn(*s, "-");
    if (!n || n >= 32 || ((*s)[n] && !(*s)[n + 1]))
        return false;
    memcpy(word, *s, n);
    word[n] = 0;
    *s += n + ((*s)[n] == '-');
    return true;
}

static bool number(const char **s, uint32_t *n)
{
    uint64_t x = 0;
    const char *from = *s;
    for (; **s >= '0' && **s <= '9' && x <= UINT32_MAX; ++*s)
        x = x * 10 + (uint64_t)(**s - '0');
    *n = (uint32_t)x;
    return *s > from && *from != '0' && x <= UINT32_MAX;
}

static bool read_block(const char *s, uint32_t *rows, uint32_t *cols)
{
    *rows = *cols = 0;
    if (!strcmp(s, "tensor"))
        return true;
    *rows = 1;
    if (!strcmp(s, "channel"))
        return true;
    if (*s == 'g')
        return s++, number(&s, cols) && !*s;
    return number(&s, rows) && *s++ == 'x' && number(&s, cols) && !*s;
}

const struct scheme *scheme_find(const char *name)
{
    char word[32];
    struct scheme s = {.scale = DT_F32};
    for (size_t i = 0; i < scheme_count; i++)
        if (!strcmp(scheme_table[i].name, name))
            return &scheme_table[i];
    if (!next_word(&name, word))
        return NULL;
    for (size_t i = 0; i < ELEMS; i++)
        if (!strcmp(elems[i].name, word)) {
            s.elem = elems[i].t;
            s.bits = elems[i].bits;
        }
    if (!s.bits || !next_word(&name, word))
        return NULL;
    for (size_t i = 0; i < SCALES; i++)
        if (!strcmp(scales[i].name, word)) {
            s.scale = scales[i].t;
            s.two_level = s.scale == DT_F8_E4M3;
            if (!next_word(&name, word))
                return NULL;
            break;
        }
    if (!read_block(word, &s.block_rows, &s.block_cols))
        return NULL;
    s.zero_point = !strcmp(name, "asym") && scheme_int(&s);
    return !*name || s.zero_point ? scheme_like(s) : NULL;
}

/* An empty extent has no blocks; a block that spans everything is one even then,
 * so that a [0, K] weight keeps a scale of the right rank. */
void scheme_scale_shape(const struct scheme *s, uint64_t rows, uint64_t cols, uint64_t *srows,
                        uint64_t *scols)
{
    *srows = s->block_rows ? ceil_div(rows, s->block_rows) : 1;
    *scols = s->block_cols ? ceil_div(cols, s->block_cols) : 1;
}
