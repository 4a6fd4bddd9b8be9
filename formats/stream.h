/* A byte stream that undoes gzip and zstd by content (magic bytes), not by
 * name. */
#ifndef OCTAVO_STREAM_H
#define OCTAVO_STREAM_H

#include "formats/err.h"

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

/* True when the first bytes of a file (18 or more, fewer only if that is all)
 * are those of gzip or zstd. */
bool stream_magic(const uint8_t *p, size_t n);

/* Takes fd (closed by stream_close unless it is 0). NULL on error. */
struct stream *stream_open(int fd, const char *path, struct err *e) MUST_USE;
/* True when gzip or zstd is being undone. */
bool stream_is_compressed(const struct stream *s);
/* Reads up to n bytes; *got < n only at the end of the stream. Corrupt or
 * truncated compressed data is ERR_INPUT naming path and offset. Concatenated
 * members/frames are one stream; trailing garbage is an error. */
int stream_read(struct stream *s, void *p, size_t n, size_t *got, struct err *e) MUST_USE;
void stream_close(struct stream *s);

#endif
