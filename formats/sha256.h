/* SHA-256 (FIPS 180-4): plain C, or the CPU's SHA instructions when cpu.h
 * allows them; both give the same digest. */
#ifndef OCTAVO_SHA256_H
#define OCTAVO_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t h[8];
    uint64_t n;          /* bytes so far */
    uint8_t block[64];
};
void sha256_init(struct sha256 *s);
void sha256_put(struct sha256 *s, const void *p, size_t n);
void sha256_end(struct sha256 *s, uint8_t digest[32]);
/* Lower-case hex, NUL-terminated. */
void sha256_hex(const uint8_t digest[32], char hex[65]);
/* For tests: forces the plain C rounds when on is 0. */
void sha256_use_hardware(int on);

#endif
