/* Writing JSON text. */
#ifndef OCTAVO_JSON_H
#define OCTAVO_JSON_H

#include "formats/mem.h"

/* s as a JSON string with its quotes; bytes >= 0x80 pass as they are (UTF-8). */
int json_put_string(struct buf *b, const char *s, struct err *e) MUST_USE;

#endif
