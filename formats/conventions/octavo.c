/* Octavo's own: for schemes that no serving software has a place for yet
 * (HiFloat8, FNUZ, any block shape), so that they can be measured and packed.
 *
 *     X.weight          codes; 4-bit ones two in a byte of U8, the even column low; HiFloat8 in U8
 *     X.weight_scale    scales in the type of the scheme (F8_E8M0, F32, BF16, F16, F8_E4M3)
 *     X.weight_scale_2  F32 [1], multiplies (NVFP4)
 *
 * octavo_schemes.json names the scheme of each quantized weight. */
#include "formats/conventions/parts.h"

#include <stdlib.h>
#include <string.h>

#define DESCRIPTION "octavo_schemes.json"

static bool detect(const struct model *m, const void *config)
{
    (void)m;
    const char *name;
    json_t *value;
    /* In metadata all descriptions have one name: this one speaks of schemes. */
    json_object_foreach(json_object_get(config, DESCRIPTION), name, value)
        return json_is_string(value) && scheme_find(json_string_value(value));
    return false;
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    const struct tensor *w = &m->t[i];
    const char *name = config_string(json_object_get(config, DESCRIPTION), w->name);
    const struct scheme *s = *name ? scheme_find(name) : NULL;
    if (!*name)
        return 0;
    if (!s)
        return err_set(e, ERR_INPUT, "tensor '%s': " DESCRIPTION " says '%s', which is no scheme", w->name, name);
    bool packed = s->bits == 4;
    if (w->dtype != (packed ? DT_U8 : plain_dtype(s)))
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, but " DESCRIPTION " calls it '%s'", w->name,
                       dtype_name(w->dtype), name);
    if (packed ? group_packed(m, g, s->elem, PACK_BYTES, 4, 0, e) : 0)
        return -1;
    g->view.elem = s->elem;
    if (s->scale != DT_COUNT) {
        int found = group_find(m, g, PART_SCALE, "_scale", e);
        if (found <= 0)
            return found ? -1 : group_no_scale(m, i, (const char *const[]){"_scale", NULL}, e);
    }
    if (s->two_level && group_find(m, g, PART_GLOBAL, "_scale_2", e) <= 0)
        return group_no_scale(m, i, (const char *const[]){"_scale_2", NULL}, e);
    g->scheme = s;
    return group_check(m, g, e);
}

static bool accepts(const struct scheme *s, enum activation a)
{
    bool whole = s->bits == 8 || s->bits == 4;
    return a == ACTIVATION_NONE && whole && !s->zero_point;
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                   struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const struct scheme *s = w->scheme;
    if (s->bits == 4 ? put_weight(&o, NULL, PACK_BYTES, DT_U8) : put_weight(&o, NULL, PACK_PLAIN, plain_dtype(s)))
        return -1;
    return (s->scale != DT_COUNT && put_scale(&o, "_scale", s->scale))
        || (s->two_level && put_global(&o, "_scale_2", false)) ? -1 : 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    (void)root, (void)t, (void)n, (void)e; /* config.json has no words for these */
    return 0;
}

static const char *scheme_of(const struct out_tensor *t) { return t->part == PART_WEIGHT ? t->scheme->name : NULL; }

static int description(const struct out_tensor *t, size_t n, struct buf *text, struct err *e)
{
    return buf_puts(text, "{", e) || describe_each(t, n, scheme_of, "", text, e) || buf_puts(text, "\n}\n", e) ? -1 : 0;
}

const struct convention convention_octavo = {
    .name = "octavo",
    .title = "Octavo's own, for schemes that no server loads yet: X.weight_scale, " DESCRIPTION,
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
    .description_name = DESCRIPTION,
    .description = description,
};
