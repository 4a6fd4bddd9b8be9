#include "formats/stream.h"
#include "formats/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum { STREAM_BUFFER = 1 << 18, STREAM_MAGIC = 18 };

enum coding { CODING_NONE, CODING_GZIP, CODING_ZSTD };

struct stream {
    int fd;
    char *path;
    enum coding coding;
    bool ended;         /* read() has said so */
    bool inside;        /* in the middle of a gzip member or a zstd frame */
    uint64_t fetched;   /* bytes read from fd */
    size_t at, n;       /* buffer[at .. n) is not yet used */
    z_stream zlib;
    ZSTD_DStream *zstd;
    uint8_t buffer[STREAM_BUFFER];
};

static bool gzip_magic(const uint8_t *p, size_t n)
{
    if (n < 10 || p[0] != 0x1f || p[1] != 0x8b || p[2] != 8 || (p[3] & 0xe0))
        return false;
    /* A safetensors file whose header is 559,903 bytes long (or that plus a
     * multiple of 2^24) starts with the same bytes.  Its ninth is the opening
     * brace; in gzip it says 0, 2 or 4 for the effort of the compressor. */
    return p[4] || p[5] || p[6] || p[7] || p[8] != '{';
}

static bool zstd_magic(const uint8_t *p, size_t n)
{
    if (n < 4)
        return false;
    /* A frame, or a skippable frame before one.  Read as the length of a
     * safetensors header, both are beyond its limit of 100,000,000. */
    return (p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd)
        || ((p[0] & 0xf0) == 0x50 && p[1] == 0x2a && p[2] == 0x4d && p[3] == 0x18);
}

bool stream_magic(const uint8_t *p, size_t n)
{
    return gzip_magic(p, n) || zstd_magic(p, n);
}

/* One read(); 0 bytes set s->ended. */
static int fetch(struct stream *s, void *p, size_t n, size_t *got, struct err *e)
{
    *got = 0;
    while (!s->ended) {
        const ssize_t r = read(s->fd, p, n < (1 << 30) ? n : (1 << 30));
        if (r > 0) {
            *got = (size_t)r;
            s->fetched += (uint64_t)r;
            break;
        }
        if (!r) {
            s->ended = true;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            struct pollfd wait = {.fd = s->fd, .events = POLLIN};
            poll(&wait, 1, -1);
        } else if (errno != EINTR) {
            return err_sys(e, "%s: cannot read", s->path);
        }
    }
    return 0;
}

/* Makes at least want (a few) bytes available unless the input has ended. */
static int fill(struct stream *s, size_t want, struct err *e)
{
    if (s->n - s->at >= want)
        return 0;
    memmove(s->buffer, s->buffer + s->at, s->n - s->at);
    s->n -= s->at;
    s->at = 0;
    while (s->n < want && !s->ended) {
        size_t got;
        if (fetch(s, s->buffer + s->n, sizeof s->buffer - s->n, &got, e))
            return -1;
        s->n += got;
    }
    return 0;
}

/* Where in the compressed input the decoder is. */
static uint64_t offset(const struct stream *s)
{
    return s->fetched - (s->n - s->at);
}

static int read_plain(struct stream *s, uint8_t *p, size_t n, size_t *got, struct err *e)
{
    while (*got < n) {
        size_t some = s->n - s->at;
        if (some) {
            some = some < n - *got ? some : n - *got;
            memcpy(p + *got, s->buffer + s->at, some);
            s->at += some;
        } else if (s->ended) {
            break;
        } else if (n - *got >= sizeof s->buffer / 4) {
            /* Tensor data: straight to where it is wanted. */
            if (fetch(s, p + *got, n - *got, &some, e))
                return -1;
        } else {
            if (fill(s, 1, e))
                return -1;
            continue;
        }
        *got += some;
    }
    return 0;
}

static int ends_early(struct stream *s, const char *what, struct err *e)
{
    return err_set(e, ERR_INPUT,
                   "%s: %s data ends early, at byte %" PRIu64 " of the compressed input", s->path,
                   what, s->fetched);
}

static int garbage(struct stream *s, const char *what, struct err *e)
{
    return err_set(e, ERR_INPUT,
                   "%s: something that is not %s follows the %s data at byte %" PRIu64, s->path,
                   what, what, offset(s));
}

static int read_gzip(struct stream *s, uint8_t *p, size_t n, size_t *got, struct err *e)
{
    while (*got < n) {
        if (fill(s, s->inside ? 1 : STREAM_MAGIC, e))
            return -1;
        if (s->at == s->n)
            return s->inside ? ends_early(s, "gzip", e) : 0;
        if (!s->inside) {
            if (!gzip_magic(s->buffer + s->at, s->n - s->at))
                return garbage(s, "gzip", e);
            inflateReset(&s->zlib);
            s->inside = true;
        }
        const size_t room = n - *got < UINT_MAX ? n - *got : UINT_MAX;
        s->zlib.next_in = s->buffer + s->at;
        s->zlib.avail_in = (uInt)(s->n - s->at);
        s->zlib.next_out = p + *got;
        s->zlib.avail_out = (uInt)room;
        const int rc = inflate(&s->zlib, Z_NO_FLUSH);
        s->at = s->n - s->zlib.avail_in;
        *got += room - s->zlib.avail_out;
        if (rc == Z_STREAM_END)
            s->inside = false;
        else if (rc == Z_MEM_ERROR)
            return err_set(e, ERR_SYSTEM, "%s: out of memory", s->path);
        else if (rc != Z_OK && rc != Z_BUF_ERROR)
            return err_set(e, ERR_INPUT, "%s: gzip data is corrupt near byte %" PRIu64 " (%s)",
                           s->path, offset(s), s->zlib.msg ? s->zlib.msg : "no detail");
    }
    return 0;
}

static int read_zstd(struct stream *s, uint8_t *p, size_t n, size_t *got, struct err *e)
{
    while (*got < n) {
        if (fill(s, s->inside ? 1 : 4, e))
            return -1;
        if (s->at == s->n && !s->inside)
            return 0;
        if (!s->inside && !zstd_magic(s->buffer + s->at, s->n - s->at))
            return garbage(s, "zstd", e);
        /* Without input the decoder may still hold output of what it was given. */
        ZSTD_inBuffer in = {s->buffer, s->n, s->at};
        ZSTD_outBuffer out = {p, n, *got};
        const size_t rc = ZSTD_decompressStream(s->zstd, &out, &in);
        if (ZSTD_isError(rc))
            return err_set(e, ERR_INPUT, "%s: zstd data is corrupt near byte %" PRIu64 " (%s)",
                           s->path, offset(s), ZSTD_getErrorName(rc));
        const bool moved = in.pos != s->at || out.pos != *got;
        s->at = in.pos;
        *got = out.pos;
        s->inside = rc != 0;
        if (s->inside && !moved && s->ended)
            return ends_early(s, "zstd", e);
    }
    return 0;
}

struct stream *stream_open(int fd, const char *path, struct err *e)
{
    struct stream *s = mem_alloc(1, sizeof *s, e);
    if (!s) {
        if (fd)
            close(fd);
        return NULL;
    }
    s->fd = fd;
    s->path = strdup(path);
    if (!s->path) {
        err_set(e, ERR_SYSTEM, "out of memory");
        goto fail;
    }
#ifdef F_SETPIPE_SZ
    fcntl(fd, F_SETPIPE_SZ, 1 << 20); /* 64 KiB would cost a wakeup each; a refusal does no harm */
#endif
    if (fill(s, STREAM_MAGIC, e))
        goto fail;
    if (gzip_magic(s->buffer, s->n)) {
        s->coding = CODING_GZIP;
        if (inflateInit2(&s->zlib, 15 + 16) != Z_OK) {
            s->coding = CODING_NONE;
            err_set(e, ERR_SYSTEM, "%s: out of memory", path);
            goto fail;
        }
    } else if (zstd_magic(s->buffer, s->n)) {
        s->coding = CODING_ZSTD;
        s->zstd = ZSTD_createDStream();
        if (!s->zstd) {
            err_set(e, ERR_SYSTEM, "%s: out of memory", path);
            goto fail;
        }
    }
    return s;
fail:
    stream_close(s);
    return NULL;
}

bool stream_is_compressed(const struct stream *s)
{
    return s->coding != CODING_NONE;
}

int stream_read(struct stream *s, void *p, size_t n, size_t *got, struct err *e)
{
    *got = 0;
    switch (s->coding) {
    case CODING_GZIP: return read_gzip(s, p, n, got, e);
    case CODING_ZSTD: return read_zstd(s, p, n, got, e);
    case CODING_NONE: break;
    }
    return read_plain(s, p, n, got, e);
}

void stream_close(struct stream *s)
{
    if (!s)
        return;
    if (s->coding == CODING_GZIP)
        inflateEnd(&s->zlib);
    ZSTD_freeDStream(s->zstd);
    if (s->fd)
        close(s->fd);
    free(s->path);
    free(s);
}
