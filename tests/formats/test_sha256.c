#include "formats/cpu.h"
#include "formats/sha256.h"

#include <criterion/criterion.h>
#include <string.h>

static void hex_of(const void *p, size_t n, char hex[65])
{
    struct sha256 s;
    uint8_t d[32];
    sha256_init(&s);
    sha256_put(&s, p, n);
    sha256_end(&s, d);
    sha256_hex(d, hex);
}

/* 0: plain C; 1: the CPU's instructions, where it has them. */
static bool use_path(int path)
{
    if (path && !(cpu_flags() & CPU_SHA))
        return false;
    sha256_use_hardware(path);
    return true;
}

/* FIPS 180-4 and its predecessor's example messages. */
Test(sha256, published_vectors)
{
    static const struct {
        const char *text, *hex;
    } v[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
         "mnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"}};
    for (int path = 0; path < 2; path++) {
        if (!use_path(path))
            continue;
        for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
            char hex[65];
            hex_of(v[i].text, strlen(v[i].text), hex);
            cr_assert_str_eq(hex, v[i].hex, "path %d, '%s'", path, v[i].text);
        }
        struct sha256 s;
        uint8_t d[32], a[1000];
        char hex[65];
        memset(a, 'a', sizeof a);
        sha256_init(&s);
        for (int i = 0; i < 1000; i++)
            sha256_put(&s, a, sizeof a);
        sha256_end(&s, d);
        sha256_hex(d, hex);
        cr_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
}

/* The digest of the digests of all lengths, from Python's hashlib. */
Test(sha256, every_length_to_300)
{
    uint8_t p[301];
    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)(i * 7 + 3);
    for (int path = 0; path < 2; path++) {
        struct sha256 all, s;
        uint8_t d[32];
        char hex[65];
        if (!use_path(path))
            continue;
        sha256_init(&all);
        for (size_t n = 0; n <= 300; n++) {
            sha256_init(&s);
            sha256_put(&s, p, n);
            sha256_end(&s, d);
            sha256_put(&all, d, 32);
        }
        sha256_end(&all, d);
        sha256_hex(d, hex);
        cr_assert_str_eq(hex, "7d917fbd2cf49ddff9ad0a8706bba32d204e92e71d2e369c5a03d6af29278c9f", "path %d",
                         path);
    }
}

/* However a message is cut, from whatever address. */
Test(sha256, pieces)
{
    uint8_t p[700], whole[32], d[32];
    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)(i * i >> 3);
    struct sha256 s;
    for (int path = 0; path < 2; path++) {
        if (!use_path(path))
            continue;
        sha256_init(&s);
        sha256_put(&s, p + 1, 650);
        sha256_end(&s, whole);
        for (size_t a = 0; a <= 200; a++)
            for (size_t b = a; b <= 330; b += 13) {
                sha256_init(&s);
                sha256_put(&s, p + 1, a);
                sha256_put(&s, p + 1 + a, b - a);
                sha256_put(&s, p + 1 + b, 0);
                sha256_put(&s, p + 1 + b, 650 - b);
                sha256_end(&s, d);
                cr_assert_eq(memcmp(d, whole, 32), 0, "path %d, cuts at %zu and %zu", path, a, b);
            }
    }
}
