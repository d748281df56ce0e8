/* Punycode (RFC 3492): the Unicode of a domain label in ASCII. */
#ifndef XMPPD_PUNYCODE_H
#define XMPPD_PUNYCODE_H

#include <stddef.h>
#include <stdint.h>

enum {
    LABEL_MAX = 63,    /* octets in ASCII form (RFC 1035 2.3.4) */
    ACE_PREFIX_LEN = 4 /* "xn--" (RFC 3490 5) */
};

/* Encode at most LABEL_MAX code points; the length, or 0 if it is over `room`. */
size_t punycode_encode(const uint32_t *c, size_t n, uint8_t *out, size_t room);

/* Decode lower-case letters, digits and hyphens, at most LABEL_MAX of them; the count of code points, or 0. */
size_t punycode_decode(const uint32_t *c, size_t n, uint32_t *out);

#endif
