/* The rounds of SHA-256 through the CPU's SHA instructions. */
#ifndef OCTAVO_SHA256_NI_H
#define OCTAVO_SHA256_NI_H

#include <stddef.h>
#include <stdint.h>

/* h: state; k: the 64 round constants; blocks of 64 bytes at p.  Only callable when cpu.h says CPU_SHA. */
void sha256_rounds_ni(uint32_t h[8], const uint32_t k[64], const uint8_t *p, size_t blocks);

#endif
