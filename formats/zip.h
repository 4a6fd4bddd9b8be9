/* The directory of a zip file, of which nothing is believed.
 *
 *     members           local header, name, extra field, contents, perhaps a descriptor
 *     central directory one entry per member: sizes, CRC-32, where its local header is
 *     end record        PK\5\6: where the directory is; before it, when a number
 *                       does not fit, the ZIP64 end record PK\6\6 and its locator PK\6\7
 *
 * (PKWARE's APPNOTE.TXT, 6.3.)  The directory and the local headers must tell
 * the same story, and the end record must be the only one that fits the end of
 * the file: there is no second way to read what is accepted here.
 *
 * A zip file is read from its end, so a pipe is no zip file. */
#ifndef OCTAVO_ZIP_H
#define OCTAVO_ZIP_H

#include "formats/mem.h"

enum zip_method { ZIP_STORED = 0, ZIP_DEFLATED = 8 };
enum { ZIP_DIRECTORY_MAX = 1 << 28 }; /* bytes; 92,000 members take 7 million */

struct zip_member {
    const char *name;      /* UTF-8, relative, without "..", unique */
    enum zip_method method;
    uint32_t crc;          /* CRC-32 of the contents; 0 also where the writer computed none */
    uint64_t header;       /* byte of the local header */
    uint64_t off;          /* byte of the contents as they lie */
    uint64_t packed, size; /* bytes there, and of the contents; equal when stored */
    bool descriptor;       /* CRC and sizes follow them once more */
};

struct zip {
    const char *path;
    int fd;
    struct zip_member *m;  /* in the order of the directory */
    size_t n;
    struct map by_name;    /* name -> index in m */
};

/* Reads the directory of fd, a regular file of file_size bytes.  Refused, by
 * one sentence and ERR_INPUT: encryption, several disks, names that are there
 * twice or leave their directory, methods but "stored" (and "deflated" when
 * deflate is true), members that overlap, bytes that belong to nothing, and
 * whatever a local header or a descriptor says otherwise than the directory.
 * fd and path are borrowed; members live in the arena.  z must be given to
 * zip_close whatever happened. */
int zip_open(struct zip *z, int fd, const char *path, uint64_t file_size, bool deflate, struct arena *mem,
             struct err *e) MUST_USE;
/* NULL when there is none. */
const struct zip_member *zip_find(const struct zip *z, const char *name);
/* The contents of a stored member (free()), refused above limit bytes.  Their
 * CRC-32 is checked, except that a directory which says 0 says nothing. */
void *zip_read(const struct zip *z, const struct zip_member *m, size_t limit, struct err *e) MUST_USE;
void zip_close(struct zip *z);

#endif
