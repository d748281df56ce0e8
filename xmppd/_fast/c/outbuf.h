/* A growable byte buffer that owns nothing while it is empty: what a connection's output is gathered in.
 *
 * One malloc'd block, doubled as it grows; `outbuf_free` gives it back. No Python.h, no I/O.
 */
#ifndef XMPPD_OUTBUF_H
#define XMPPD_OUTBUF_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    unsigned char *p;
    uint32_t len; /* bytes in use */
    uint32_t cap; /* bytes allocated */
} outbuf;

/* Room for n more bytes; 0, or -1 when there is no memory (or more than 1 GiB was asked for). */
static inline int outbuf_reserve(outbuf *b, size_t n) {
    size_t need = (size_t)b->len + n;
    if (need <= b->cap) return 0;
    if (need > (1u << 30)) return -1;
    size_t cap = b->cap ? b->cap : 512;
    while (cap < need) cap *= 2;
    unsigned char *p = (unsigned char *)realloc(b->p, cap);
    if (!p) return -1;
    b->p = p;
    b->cap = (uint32_t)cap;
    return 0;
}

static inline int outbuf_put(outbuf *b, const void *p, size_t n) {
    if (!n) return 0; /* memcpy must not see a null pointer, not even for no bytes */
    if (outbuf_reserve(b, n)) return -1;
    memcpy(b->p + b->len, p, n);
    b->len += (uint32_t)n;
    return 0;
}

/* Drop the first n bytes. */
static inline void outbuf_drop(outbuf *b, size_t n) {
    if (n < b->len) memmove(b->p, b->p + n, b->len - n);
    b->len -= (uint32_t)n;
}

static inline void outbuf_free(outbuf *b) {
    free(b->p);
    b->p = NULL;
    b->len = b->cap = 0;
}

#endif
