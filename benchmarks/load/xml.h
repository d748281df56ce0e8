/* Where the first-level elements of a stream end, and what their start tags say. No more XML than that: what is not well-formed
 * is for other tests to find.
 */
#ifndef XMPPD_LOAD_XML_H
#define XMPPD_LOAD_XML_H

#include <stddef.h>
#include <stdint.h>

/* How far an unfinished element has been looked at: all zero at its beginning. Offsets count from what is not used up yet. */
typedef struct {
    uint32_t at, depth, start;
} xml_scan;

typedef struct {
    const char *p;
    size_t n;
} text;

enum xml_kind { XML_MORE, XML_ELEMENT, XML_OPEN, XML_CLOSE };

/* The next first-level element of p[n], or the stream's own start or end tag: `found` is all of it. After XML_MORE come again with
 * the same bytes and more behind them; else what lies before the end of `found` is used up. */
enum xml_kind xml_next(xml_scan *scan, const char *p, size_t n, text *found);

/* The raw value of an attribute of the start tag that `element` begins with; p NULL if it has none of that name. */
text xml_attribute(text element, const char *name);

/* Whether `element` begins with the start tag of `name`. */
int xml_is(text element, const char *name);

/* Whether `words` stand anywhere in `element`; the place behind them, or NULL. */
const char *xml_behind(text element, const char *words);

#endif
