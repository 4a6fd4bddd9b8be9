#include "formats/mem.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

Test(mem, sizes_that_overflow_are_refused)
{
    uint64_t x = 7;
    cr_assert(mul_u64(1u << 31, 2, &x));
    cr_assert_eq(x, 1ull << 32);
    cr_assert_not(mul_u64(1ull << 32, 1ull << 32, &x));
    cr_assert(add_u64(UINT64_MAX - 1, 1, &x));
    cr_assert_not(add_u64(UINT64_MAX, 1, &x));
    cr_assert_eq(ceil_div(UINT64_MAX, 2), 1ull << 63);
    cr_assert_eq(ceil_div(0, 5), 0);
    cr_assert_eq(round_up(33, 32), 64);
    cr_assert_eq(round_up(32, 32), 32);
}

Test(mem, arena_is_zeroed_aligned_and_keeps_what_it_gave)
{
    struct arena a = {0};
    struct err e;
    unsigned char *block[200];
    for (size_t i = 0; i < 200; i++) {
        block[i] = arena_alloc(&a, i * 37, &e);
        cr_assert(block[i]);
        cr_assert_eq((uintptr_t)block[i] % 16, 0);
        for (size_t k = 0; k < i * 37; k++)
            cr_assert_eq(block[i][k], 0);
        memset(block[i], (int)i, i * 37);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < i * 37; k++)
            cr_assert_eq(block[i][k], (unsigned char)i);
    cr_assert_str_eq(arena_printf(&a, &e, "%s-%d", "x", 7), "x-7");
    cr_assert_str_eq(arena_strndup(&a, "abcdef", 3, &e), "abc");
    cr_assert_str_eq(arena_strdup(&a, "", &e), "");
    arena_free(&a);
    cr_assert_null(a.head);
}

Test(mem, sizes_no_memory_can_hold_are_errors)
{
    struct arena a = {0};
    struct err e = {0};
    cr_assert_null(arena_array(&a, SIZE_MAX / 2, 4, &e));
    cr_assert_eq(e.kind, ERR_SYSTEM);
    cr_assert_null(arena_alloc(&a, SIZE_MAX, &e));
#ifndef MK_SANITIZED
    cr_assert_null(arena_alloc(&a, SIZE_MAX - 100, &e));
    cr_assert_null(mem_alloc(SIZE_MAX / 4, 16, &e));
#endif
    void *p = NULL;
    size_t cap = 0;
    cr_assert_eq(mem_grow(&p, &cap, SIZE_MAX, 1, &e), -1);
    cr_assert_eq(mem_grow(&p, &cap, SIZE_MAX / 8, 16, &e), -1);
    cr_assert_null(p);
    cr_assert_eq(cap, 0);
    arena_free(&a);
}

Test(mem, grow_keeps_contents)
{
    struct err e;
    uint32_t *p = NULL;
    size_t cap = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        cr_assert_eq(mem_grow((void **)&p, &cap, i + 1, sizeof *p, &e), 0);
        cr_assert_gt(cap, i);
        p[i] = i;
    }
    for (uint32_t i = 0; i < 10000; i++)
        cr_assert_eq(p[i], i);
    free(p);
}

Test(mem, buf_grows_and_ends_in_nul)
{
    struct buf b = {0};
    struct err e;
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(buf_printf(&b, &e, "%d,", i), 0);
    cr_assert_eq(b.n, strlen(b.s));
    cr_assert_eq(strncmp(b.s, "0,1,2,", 6), 0);
    cr_assert_eq(buf_put(&b, "a\0b", 3, &e), 0);
    cr_assert_eq(b.s[b.n], 0);
    cr_assert_eq(b.s[b.n - 1], 'b');
    cr_assert_eq(buf_puts(&b, "", &e), 0);
    buf_free(&b);
    cr_assert_null(b.s);
    cr_assert_eq(b.n, 0);
}

Test(mem, map_finds_every_name_and_no_other)
{
    enum { N = 20000 };
    static char name[N][16];
    struct map m = {0};
    struct err e;
    size_t k;
    cr_assert_not(map_find(&m, "x", &k));
    for (size_t i = 0; i < N; i++) {
        /* lengths 1..13, so that every remainder of eight bytes occurs */
        sprintf(name[i], "%.*s%zu", (int)(i % 9), "xxxxxxxxx", i);
        cr_assert_eq(map_add(&m, name[i], i, &e), 0);
    }
    for (size_t i = 0; i < N; i++) {
        cr_assert_eq(map_add(&m, name[i], 7, &e), 1);
        cr_assert(map_find(&m, name[i], &k));
        cr_assert_eq(k, i);
    }
    cr_assert_eq(m.n, N);
    cr_assert_not(map_find(&m, "y", &k));
    cr_assert_not(map_find(&m, "", &k));
    cr_assert_eq(map_add(&m, "", 5, &e), 0);
    cr_assert(map_find(&m, "", &k));
    cr_assert_eq(k, 5);
    map_free(&m);
    cr_assert_eq(m.n, 0);
}

Test(mem, map_reserve_keeps_what_is_there)
{
    struct map m = {0};
    struct err e;
    size_t k;
    cr_assert_eq(map_add(&m, "a", 1, &e), 0);
    cr_assert_eq(map_reserve(&m, 1000, &e), 0);
    const size_t cap = m.cap;
    cr_assert_geq(cap, 2000);
    cr_assert(map_find(&m, "a", &k));
    cr_assert_eq(map_reserve(&m, 10, &e), 0);
    cr_assert_eq(m.cap, cap);
    cr_assert_eq(map_reserve(&m, SIZE_MAX, &e), -1);
    map_free(&m);
}
