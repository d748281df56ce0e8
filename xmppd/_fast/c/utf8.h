/* Which prefix of a byte string is UTF-8 that holds XML 1.0 characters only. */
#ifndef XMPPD_UTF8_H
#define XMPPD_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum {
    UTF8_OK,        /* all of it, but for an unfinished character at the end */
    UTF8_ENCODING,  /* stopped at bytes that are not UTF-8 (RFC 3629: overlong, surrogate, above U+10FFFF) */
    UTF8_CHAR       /* stopped at a character XML forbids: C0 but TAB, LF, CR; U+FFFE, U+FFFF */
};

/* Length of the valid prefix of p[n], ending on a character boundary; *verdict says why it ends.
 * Reads up to 32 bytes behind p[n]. */
size_t utf8_xml_prefix(const uint8_t *p, size_t n, int *verdict);

/* One character of valid UTF-8; *len is its length in bytes. */
static inline uint32_t utf8_decode(const uint8_t *p, unsigned *len) {
    if (p[0] < 0x80) return *len = 1, p[0];
    if (p[0] < 0xE0) return *len = 2, (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    if (p[0] < 0xF0) return *len = 3, (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    return *len = 4, (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

/* The character c (not above U+10FFFF) as UTF-8; its length in bytes, at most 4. */
static inline unsigned utf8_encode(uint32_t c, uint8_t *out) {
    if (c < 0x80) return out[0] = (uint8_t)c, 1;
    unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    out[0] = (uint8_t)(0xFFu << (7 - more) | c >> 6 * more);
    for (unsigned i = 1; i <= more; i++) out[i] = (uint8_t)(0x80 | (c >> 6 * (more - i) & 0x3F));
    return more + 1;
}

#endif
