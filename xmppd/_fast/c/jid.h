/* XMPP addresses (RFC 6122 or RFC 7622): split, prepare, and escape for XML.
 *
 * `jid_ascii` takes the addresses one meets nearly always, in one pass, and both RFCs would prepare them so; whatever
 * it does not take, right or wrong, is `jid_prepare`'s. No Python.h, no I/O, no allocation, no state: every function
 * may run on any thread.
 */
#ifndef XMPPD_JID_H
#define XMPPD_JID_H

#include <stddef.h>
#include <stdint.h>

enum {
    JID_PART_MAX = 1023, /* bytes of a part after preparation (RFC 6122 2.2 to 2.4) */
    JID_MAX = 3 * JID_PART_MAX + 2,
    JID_RAW_MAX = 4 * JID_MAX /* bytes before preparation; what is longer is refused unread */
};

/* What is wrong, and (or'ed in) with which part. */
enum {
    JID_OK = 0,
    JID_EMPTY,      /* nothing there, or nothing left after preparation */
    JID_TOO_LONG,   /* over JID_PART_MAX or JID_RAW_MAX */
    JID_BAD_UTF8,
    JID_PROHIBITED, /* a character that the profile does not allow, or not there */
    JID_BIDI,       /* RFC 3454 6; RFC 5893 2 */
    JID_LABEL,      /* a domain label with other ASCII than letters, digits and inner hyphens, or none at all */
    JID_LABEL_LONG, /* a label over 63 or a domain over 253 octets in its ASCII form */
    JID_IP,         /* neither an IPv4 nor an IPv6 address, though it looks like one */
    JID_UNASSIGNED, /* what a caller makes of `unassigned` in a stored name; nothing here returns it */
    JID_FAULTS,

    JID_LOCAL = 0x10,
    JID_DOMAIN = 0x20,
    JID_RESOURCE = 0x30
};

typedef struct {
    uint16_t local_len; /* bytes; 0 = no localpart */
    uint16_t domain_len;
    uint16_t len;       /* of the whole address; its resourcepart is what follows the domainpart and '/' */
    uint8_t escape;     /* some of & < > ' are in it */
    uint8_t unassigned; /* it holds code points unknown to Unicode 3.2: valid in queries only (RFC 3454 7) */
} jid_shape;

/* Prepare p[n] into out, which has room for n bytes. 1: done; 0: not an address this function knows about. */
int jid_ascii(const uint8_t *p, size_t n, uint8_t *out, jid_shape *shape);

/* Prepare one part into out, which has room for JID_PART_MAX bytes. 0, or a fault.
 *
 * The domainpart (RFC 6122 2.2) loses one final separator, is split at U+002E, U+3002, U+FF0E and U+FF61, and each
 * label is prepared by Nameprep; ToASCII with UseSTD3ASCIIRules must succeed for it. The result holds the ToUnicode
 * form of each label, lower case, joined by '.'. An ACE label that ToUnicode leaves alone stays as it is, and so
 * does one whose Unicode form holds U+3002: preparing twice is to be preparing once. In ASCII a label takes at most
 * 63 octets, the domain 253. A domain whose last label is all digits must be an IPv4 address, as RFC 1123 2.1 has
 * it; one in brackets an IPv6 address, which comes out as RFC 5952 writes it.
 */
typedef int jid_part(const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned);
jid_part jid_prepare_local, jid_prepare_domain, jid_prepare_resource;

/* How the three parts of an address are prepared. */
typedef struct {
    jid_part *local, *domain, *resource;
} jid_rules;
extern const jid_rules JID_RFC6122, JID_RFC7622; /* the second is in precis.c */

/* Prepare p[n] into out, which has room for JID_MAX bytes. 0, or a fault. */
int jid_prepare(const jid_rules *by, const uint8_t *p, size_t n, uint8_t *out, jid_shape *shape);

/* A domainpart, each label by `prepare`, which writes to out[room]; *out_len is room + 1 where that is not enough,
 * *ascii_len the length of the label in the DNS; *unassigned may be set. What both RFCs have in common is done here.
 */
typedef int jid_label(const uint8_t *p, size_t n, uint8_t *out, size_t room, size_t *out_len, size_t *ascii_len,
                      uint8_t *unassigned);
int jid_domain(jid_label *prepare, const uint8_t *p, size_t n, uint8_t *out, size_t *out_len, uint8_t *unassigned);

/* Bytes of p[n] as it stands between single quotes in XML; n when nothing needs escaping. */
size_t jid_escaped_len(const uint8_t *p, size_t n);

/* Write that into out. */
void jid_escape(const uint8_t *p, size_t n, uint8_t *out);

/* Words for a fault, and for the part it names ("address" if none). */
const char *jid_fault_text(int fault);
const char *jid_fault_part(int fault);

#endif
