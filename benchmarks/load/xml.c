#define _GNU_SOURCE
#include "xml.h"

#include <string.h>

/* The offset behind the tag, comment or CDATA section that begins at `at`; 0 if its end has not come. */
static size_t tag_end(const char *p, size_t at, size_t n) {
    if (n - at >= 9 && !memcmp(p + at, "<![CDATA[", 9)) {
        const char *end = memmem(p + at, n - at, "]]>", 3);
        return end ? (size_t)(end + 3 - p) : 0;
    }
    if (n - at < 9 && at + 1 < n && p[at + 1] == '!') return 0;
    char quote = 0;
    for (size_t i = at + 1; i < n; i++) {
        char c = p[i];
        if (quote) {
            if (c == quote) quote = 0;
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (c == '>') {
            return i + 1;
        }
    }
    return 0;
}

enum xml_kind xml_next(xml_scan *scan, const char *p, size_t n, text *found) {
    size_t at = scan->at;
    for (;;) {
        const char *tag = memchr(p + at, '<', n - at);
        size_t end;
        if (!tag) {
            scan->at = (uint32_t)n;
            return XML_MORE;
        }
        at = (size_t)(tag - p);
        if (!(end = tag_end(p, at, n))) {
            scan->at = (uint32_t)at;
            return XML_MORE;
        }
        if (!scan->depth) scan->start = (uint32_t)at;
        enum xml_kind kind = XML_MORE;
        if (tag[1] == '/') {
            if (!scan->depth) kind = XML_CLOSE;
            else if (!--scan->depth) kind = XML_ELEMENT;
        } else if (tag[1] != '?' && tag[1] != '!') {
            if (!scan->depth && xml_is((text){tag, n - at}, "stream:stream")) kind = XML_OPEN;
            else if (p[end - 2] != '/') scan->depth++;
            else if (!scan->depth) kind = XML_ELEMENT;
        }
        if (kind != XML_MORE) {
            *found = (text){p + scan->start, end - scan->start};
            *scan = (xml_scan){0};
            return kind;
        }
        at = end;
    }
}

text xml_attribute(text element, const char *name) {
    const char *stop = element.p + tag_end(element.p, 0, element.n);
    size_t name_len = strlen(name);
    for (const char *p = element.p + 1; p < stop; p++) {
        if (*p == '\'' || *p == '"') { /* a value: over it */
            p = memchr(p + 1, *p, (size_t)(stop - p - 1));
            if (!p) break;
        } else if (*p == ' ' && (size_t)(stop - p) > name_len + 3 && !memcmp(p + 1, name, name_len) && p[name_len + 1] == '=') {
            const char *value = p + name_len + 3, *end = memchr(value, value[-1], (size_t)(stop - value));
            return end ? (text){value, (size_t)(end - value)} : (text){NULL, 0};
        }
    }
    return (text){NULL, 0};
}

int xml_is(text element, const char *name) {
    size_t n = strlen(name);
    return element.n > n + 1 && !memcmp(element.p + 1, name, n) && strchr(" />\t\n", element.p[n + 1]) != NULL;
}

const char *xml_behind(text element, const char *words) {
    size_t n = strlen(words);
    const char *found = memmem(element.p, element.n, words, n);
    return found ? found + n : NULL;
}
