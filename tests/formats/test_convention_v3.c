/* DeepSeek-V3, all 91,991 tensors: what the convention writes for them is what was published. */
#include "formats/convention.h"
#include "tests/hand.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static struct err err;

struct v3 {
    struct out_tensor *t;
    size_t n;
    struct arena mem;
};

static void v3_put(struct v3 *v, const char *prefix, const char *name, enum dtype dtype, uint64_t r,
                   uint64_t c)
{
    struct out_tensor *t = &v->t[v->n];
    char *full = arena_printf(&v->mem, &err, "%s%s", prefix, name);
    cr_assert_not_null(full);
    if (dtype == DT_F8_E4M3) {
        size_t k = 0;
        const struct convention *ds = convention_find("deepseek");
        struct weight w = {full, 2, (uint64_t[]){r, c}, scheme_find("fp8-f32-128x128"), ACTIVATION_DYNAMIC};
        cr_assert_eq(ds->outputs(&w, &v->mem, t, &k, &err), 0);
        v->n += k;
        return;
    }
    *t = (struct out_tensor){full, dtype, c ? 2 : 1, {r, c}, .part = PART_PLAIN};
    v->n++;
}

static void v3_mlp(struct v3 *v, const char *layer, const char *name, uint64_t inner)
{
    char p[96];
    snprintf(p, sizeof p, "%s%s", layer, name);
    v3_put(v, p, "gate_proj.weight", DT_F8_E4M3, inner, 7168);
    v3_put(v, p, "up_proj.weight", DT_F8_E4M3, inner, 7168);
    v3_put(v, p, "down_proj.weight", DT_F8_E4M3, 7168, inner);
}

static void v3_layer(struct v3 *v, int i)
{
    char p[64], name[64];
    snprintf(p, sizeof p, "model.layers.%d.", i);
    v3_put(v, p, "input_layernorm.weight", DT_BF16, 7168, 0);
    v3_put(v, p, "post_attention_layernorm.weight", DT_BF16, 7168, 0);
    v3_put(v, p, "self_attn.q_a_proj.weight", DT_F8_E4M3, 1536, 7168);
    v3_put(v, p, "self_attn.q_a_layernorm.weight", DT_BF16, 1536, 0);
    v3_put(v, p, "self_attn.q_b_proj.weight", DT_F8_E4M3, 24576, 1536);
    v3_put(v, p, "self_attn.kv_a_proj_with_mqa.weight", DT_F8_E4M3, 576, 7168);
    v3_put(v, p, "self_attn.kv_a_layernorm.weight", DT_BF16, 512, 0);
    v3_put(v, p, "self_attn.kv_b_proj.weight", DT_F8_E4M3, 32768, 512);
    v3_put(v, p, "self_attn.o_proj.weight", DT_F8_E4M3, 7168, 16384);
    if (i < 3) {
        v3_mlp(v, p, "mlp.", 18432);
        return;
    }
    v3_put(v, p, "mlp.gate.weight", DT_BF16, 256, 7168);
    v3_put(v, p, "mlp.gate.e_score_correction_bias", DT_F32, 256, 0);
    v3_mlp(v, p, "mlp.shared_experts.", 2048);
    for (int k = 0; k < 256; k++) {
        snprintf(name, sizeof name, "mlp.experts.%d.", k);
        v3_mlp(v, p, name, 2048);
    }
    if (i < 61)
        return;
    v3_put(v, p, "embed_tokens.weight", DT_BF16, 129280, 7168);
    v3_put(v, p, "shared_head.head.weight", DT_BF16, 129280, 7168);
    v3_put(v, p, "shared_head.norm.weight", DT_BF16, 7168, 0);
    v3_put(v, p, "enorm.weight", DT_BF16, 7168, 0);
    v3_put(v, p, "hnorm.weight", DT_BF16, 7168, 0);
    v3_put(v, p, "eh_proj.weight", DT_BF16, 7168, 14336);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The checksum of "name dtype d0,d1\n", sorted: known for the published checkpoint. */
static unsigned long inventory_crc(struct v3 *v)
{
    char **line = arena_array(&v->mem, v->n, sizeof *line, &err);
    cr_assert_not_null(line);
    for (size_t i = 0; i < v->n; i++) {
        const struct out_tensor *t = &v->t[i];
        line[i] = arena_printf(&v->mem, &err, t->rank > 1 ? "%s %s %llu,%llu\n" : "%s %s %llu\n",
                               t->name, dtype_name(t->dtype), (unsigned long long)t->dim[0],
                               (unsigned long long)t->dim[1]);
        cr_assert_not_null(line[i]);
    }
    qsort(line, v->n, sizeof *line, compare_lines);
    unsigned long crc = crc32(0, NULL, 0);
    for (size_t i = 0; i < v->n; i++)
        crc = crc32(crc, (const Bytef *)line[i], (uInt)strlen(line[i]));
    return crc;
}

Test(convention, deepseek_v3_inventory)
{
    struct v3 v = {0};
    v.t = arena_array(&v.mem, 91991 + OUT_PARTS, sizeof *v.t, &err);
    cr_assert_not_null(v.t);
    v3_put(&v, "model.", "embed_tokens.weight", DT_BF16, 129280, 7168);
    v3_put(&v, "", "lm_head.weight", DT_BF16, 129280, 7168);
    v3_put(&v, "model.", "norm.weight", DT_BF16, 7168, 0);
    for (int i = 0; i <= 61; i++)
        v3_layer(&v, i);
    cr_assert_eq(v.n, 91991);
    cr_assert_eq(inventory_crc(&v), 0x4E3AEBF8);

    char *text;
    cr_assert_eq(config_text("{\n  \"a\": 1\n}\n", convention_find("deepseek"), v.t, v.n,
                             NULL, &text, &err), 0);
    cr_assert(strstr(text, "\"modules_to_not_convert\": [\n      \"lm_head\","), "%.600s", text);
    cr_assert(strstr(text, "\"model.layers.3.mlp.gate\",") && !strstr(text, "norm"));

    struct model m = {0};
    hand_grow(&m, v.n);
    hand_add_out(&m, v.t, v.n);
    m.config = text;
    struct grouping g;
    cr_assert_eq(grouping_read(&m, true, &g, &err), 0, "%s", err.msg);
    cr_assert_eq(g.n, 45808);
    const struct tensor *s =
        &m.t[hand_index(&m, "model.layers.60.self_attn.kv_a_proj_with_mqa.weight_scale_inv")];
    cr_assert(s->dim[0] == 5 && s->dim[1] == 56);
    free(text);
    hand_drop_model(&m);
    arena_free(&v.mem);
}
