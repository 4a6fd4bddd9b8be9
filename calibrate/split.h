/* Text into pieces, as pre-tokenizers do it: by regular expressions over Unicode classes.
 *
 * Known are alternatives, sequences, characters, ., [classes] with ranges, ^, \s \S \d \r \n \t and \p{L} \p{M} \p{N} \p{P} \p{S}
 * (and \P), the quantifiers ? + * {n} {m,n}, the groups (?:...) and (?i:...) and (?!...) of one class. The first alternative that
 * matches is taken, quantifiers are greedy and give back, as in the engines that these patterns were written for. */
#ifndef OCTAVO_CALIBRATE_SPLIT_H
#define OCTAVO_CALIBRATE_SPLIT_H

#include "formats/mem.h"

#include <stddef.h>
#include <stdint.h>

enum unicode_class { UNICODE_OTHER, UNICODE_L, UNICODE_M, UNICODE_N, UNICODE_P, UNICODE_S };
enum unicode_class unicode_class(uint32_t c);
bool unicode_space(uint32_t c);
/* The character at p, *n bytes of it; a byte that begins none is a character of its own, beyond Unicode. end > p. */
uint32_t utf8_at(const uint8_t *p, const uint8_t *end, size_t *n);
/* unicode_range[i]: first character << 3 | class, ascending. */
extern const size_t unicode_ranges;
extern const uint32_t unicode_range[];

struct pattern;
/* In mem. ERR_INPUT naming what is not known. */
int pattern_parse(const struct pattern **out, const char *text, struct arena *mem, struct err *e) MUST_USE;
/* The first match at or after `from`: [*start, *end) is not empty. False: there is none, or *tries have not been enough to find
 * it. Those that were made are taken from *tries, which then is 0: some patterns take more than anybody waits for. */
bool pattern_find(const struct pattern *p, const uint8_t *s, size_t n, size_t from, size_t *start, size_t *end, uint64_t *tries);

#endif
