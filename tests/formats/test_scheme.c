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
        cr_assert_eq(scheme_match(s->elem, s->scale, s->block_rows, s->block_cols), s, "%s",
                     s->name);
        cr_assert(s->elem == DT_F8_E4M3 || s->elem == DT_I8);
        cr_assert(s->scale == DT_F8_E8M0 || s->scale == DT_F32);
        cr_assert_gt(strlen(s->title), 10);
    }
    cr_assert_null(scheme_find("fp8"));
    cr_assert_null(scheme_find(""));
    cr_assert_null(scheme_match(DT_F8_E4M3, DT_F32, 64, 64));
    cr_assert_null(scheme_match(DT_I8, DT_F8_E8M0, 1, 32));
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
