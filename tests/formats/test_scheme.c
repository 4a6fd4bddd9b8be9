/* The table of schemes: every row can be found by what it is and by its name. */
#include "formats/scheme.h"

#include <criterion/criterion.h>

#include <string.h>

Test(scheme, rows_are_found)
{
    cr_assert_gt(scheme_count, 0);
    cr_assert_not_null(scheme_find(SCHEME_DEFAULT));
    for (size_t i = 0; i < scheme_count; i++) {
        const struct scheme *s = &scheme_table[i];
        cr_assert_eq(scheme_find(s->name), s);
        struct scheme like = *s;
        like.name = like.title = NULL;
        cr_assert_eq(scheme_like(like), s, "%s", s->name);
        if (!s->two_level && !s->zero_point)
            cr_assert_eq(scheme_match(s->elem, s->scale, s->block_rows, s->block_cols), s, "%s", s->name);
        cr_assert_gt(strlen(s->title), 10);
    }
}

Test(scheme, names_of_any_block)
{
    static const struct {
        const char *name;
        enum dtype elem, scale;
        uint32_t rows, cols;
        unsigned bits;
        bool zero;
    } v[] = {
        {"fp8-ue8m0-64x64", DT_F8_E4M3, DT_F8_E8M0, 64, 64, 8, false},
        {"fp8-f32-1x128", DT_F8_E4M3, DT_F32, 1, 128, 8, false},
        {"fp8-f16-128x128", DT_F8_E4M3, DT_F16, 128, 128, 8, false},
        {"fp8-bf16-channel", DT_F8_E4M3, DT_BF16, 1, 0, 8, false},
        {"fp8e5m2-tensor", DT_F8_E5M2, DT_F32, 0, 0, 8, false},
        {"fp8fnuz-ue8m0-1x32", DT_F8_E4M3FNUZ, DT_F8_E8M0, 1, 32, 8, false},
        {"int4-bf16-g64", DT_I4, DT_BF16, 1, 64, 4, false},
        {"int4-g128-asym", DT_I4, DT_F32, 1, 128, 4, true},
        {"int3-channel", DT_I8, DT_F32, 1, 0, 3, false},
        {"int8-ue8m0-g32", DT_I8, DT_F8_E8M0, 1, 32, 8, false},
        {"fp4-bf16-1x32", DT_F4, DT_BF16, 1, 32, 4, false},
        {"fp4-e4m3-1x32", DT_F4, DT_F8_E4M3, 1, 32, 4, false},
    };
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        const struct scheme *s = scheme_find(v[i].name);
        cr_assert_not_null(s, "%s", v[i].name);
        cr_assert_str_eq(s->name, v[i].name, "a name is spelled as it is found");
        cr_assert(s->elem == v[i].elem && s->scale == v[i].scale && s->block_rows == v[i].rows
                      && s->block_cols == v[i].cols && s->bits == v[i].bits && s->zero_point == v[i].zero
                      && s->two_level == (v[i].scale == DT_F8_E4M3),
                  "%s", v[i].name);
        cr_assert_eq(scheme_find(v[i].name), s, "one for each");
        cr_assert_eq(scheme_like(*s), s);
    }
    /* other spellings of rows of the table */
    cr_assert_eq(scheme_find("fp8-ue8m0-1x32"), scheme_find("mxfp8"));
    cr_assert_eq(scheme_find("fp4-ue8m0-1x32"), scheme_find("mxfp4"));
    cr_assert_eq(scheme_find("fp4-e4m3-1x16"), scheme_find("nvfp4"));
    cr_assert_eq(scheme_find("fp8-f32-channel"), scheme_find("fp8-channel"));
    cr_assert_eq(scheme_find("int4-f32-g32"), scheme_find("int4-g32"));
    static const char *const none[] = {"", "fp8", "fp8-", "fp8-f32", "fp8-f32-", "fp8-f32-128", "fp8-f32-128x",
        "fp8-f32-128x128x", "fp8-f32-0x128", "fp8-f32-128x0", "fp8-f32-99999999999x1", "fp8-f64-128x128",
        "int9-g128", "int4-g", "int4-g0", "int4-g128-", "int4-g128-sym", "fp8-channel-asym", "FP8-CHANNEL",
        "fp8-f32-128x128-asym", "-fp8-channel", "fp8--channel", "fp8-e4m3-1x32", "int4-e4m3-g32",
        "fp4-e4m3-channel", "fp4-e4m3-tensor", "fp4-e4m3-16x16"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        cr_assert_null(scheme_find(none[i]), "'%s'", none[i]);
    cr_assert_null(scheme_match(DT_BF16, DT_F32, 1, 1));
    cr_assert_null(scheme_match(DT_F8_E4M3, DT_I64, 1, 1));
    cr_assert_null(scheme_match(DT_F8_E4M3, DT_F32, 2, 0), "there is no word for it");
}

Test(scheme, scale_shapes)
{
    static const struct {
        const char *scheme;
        uint64_t rows, cols, srows, scols;
    } want[] = {
        {"fp8-ue8m0-128x128", 576, 7168, 5, 56}, /* the one DeepSeek-V3 matrix with ragged rows */
        {"fp8-ue8m0-128x128", 128, 128, 1, 1},
        {"fp8-f32-128x128", 129, 127, 2, 1},
        {"fp8-f32-128x128", 1, 1, 1, 1},
        {"mxfp8", 576, 7168, 576, 224},
        {"mxfp8", 3, 33, 3, 2},
        {"fp8-channel", 576, 7168, 576, 1},
        {"int8-channel", 5, 1, 5, 1},
        {"fp8-tensor", 576, 7168, 1, 1},
        {"fp8-f32-128x128", 0, 256, 0, 2},
        {"fp8-f32-128x128", UINT64_MAX, 1, UINT64_MAX / 128 + 1, 1},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        uint64_t r, c;
        scheme_scale_shape(scheme_find(want[i].scheme), want[i].rows, want[i].cols, &r, &c);
        cr_assert_eq(r, want[i].srows, "row %zu: %llu", i, (unsigned long long)r);
        cr_assert_eq(c, want[i].scols, "row %zu: %llu", i, (unsigned long long)c);
    }
}
