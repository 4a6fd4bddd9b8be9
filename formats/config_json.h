/* config.json as a tree; formats/conventions/config.c. */
#ifndef OCTAVO_CONFIG_JSON_H
#define OCTAVO_CONFIG_JSON_H

#include "formats/err.h"

#include <jansson.h>

/* Parses JSON as Python writes it: NaN, Infinity and -Infinity (which JSON
 * does not have, but configs do) read as 0.  what names the text in errors. */
json_t *config_parse(const char *text, const char *what, struct err *e) MUST_USE;

#endif
