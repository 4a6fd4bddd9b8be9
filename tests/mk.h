/* What tests make: byte images of model files, scratch directories, pipes.
 * Every function aborts the test with a message when it cannot do its work. */
#ifndef OCTAVO_TESTS_MK_H
#define OCTAVO_TESTS_MK_H

#include "formats/mem.h"

/* Built with AddressSanitizer: its allocator ends the program where malloc returns NULL. */
#if defined __SANITIZE_ADDRESS__
#define MK_SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define MK_SANITIZED 1
#endif
#endif

/* A tensor of an image. shape as JSON, "[2,3]"; data may be NULL: bytes 1, 2, 3 ... */
struct mk_tensor {
    const char *name, *dtype, *shape;
    const void *data;
    size_t n;
};
/* A safetensors file with the tensors one after the other in this order;
 * metadata is a JSON object or NULL. */
struct buf mk_safetensors(const struct mk_tensor *t, size_t n, const char *metadata);
/* A safetensors file with this header text as it is, and n data bytes 1, 2, 3 ... */
struct buf mk_header(const char *json, size_t n);
/* Appends bytes, a text, a little-endian number. */
void mk_put(struct buf *b, const void *p, size_t n);
void mk_puts(struct buf *b, const char *s);
void mk_le(struct buf *b, uint64_t x, unsigned bytes);
struct buf mk_gzip(const void *p, size_t n);
struct buf mk_zstd(const void *p, size_t n);

/* A new directory under $TMPDIR or /tmp, and its removal with all that is in it. free() the name. */
char *mk_tmpdir(void);
void mk_rmdir(char *dir);
/* How many names it has, hidden ones left out. */
int mk_files_in(const char *dir);
/* "dir/name"; free(). */
char *mk_path(const char *dir, const char *name);
void mk_write(const char *path, const void *p, size_t n);
struct buf mk_read(const char *path);
/* Makes standard input a pipe that delivers these bytes and ends; a child writes them. */
void mk_stdin(const void *p, size_t n);

/* The path of a file of the shared test material ($OCTAVO_DATA, else
 * ../shared/data), or NULL after a one-line notice when it is not there. free(). */
char *mk_data(const char *name);

#endif
