/* libFuzzer harness for the JID core: laws that hold for every input.
 *
 *   cd xmppd/_fast/c && python gen_sprep.py && python gen_precis.py && clang -g -O1 -fsanitize=fuzzer,address,undefined \
 *       -fno-sanitize-recover=all -I. ../../../tests/fuzz/jid_fuzz.c jid.c precis.c punycode.c && ./a.out -max_len=4096
 *
 * The first byte chooses what is prepared, by which RFC, and how the rest is read: as the bytes of an address, or as
 * 16-bit numbers of characters, so that the fuzzer need not learn UTF-8. Every buffer has exactly the size the header
 * promises.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jid.h"

#define LAW(holds) \
    do { \
        if (!(holds)) { \
            fprintf(stderr, "broken: %s (line %d)\n", #holds, __LINE__); \
            abort(); \
        } \
    } while (0)

static int is_utf8(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t more = p[i] < 0x80 ? 0 : p[i] >= 0xC2 && p[i] < 0xE0 ? 1 : p[i] >= 0xE0 && p[i] < 0xF0 ? 2 : 3;
        if (p[i] >= 0x80 && (p[i] < 0xC2 || p[i] > 0xF4)) return 0;
        if (i + more >= n) return 0;
        uint32_t c = more ? p[i] & (0x3Fu >> more) : p[i];
        for (size_t k = 1; k <= more; k++) {
            if ((p[i + k] & 0xC0) != 0x80) return 0;
            c = c << 6 | (p[i + k] & 0x3F);
        }
        if ((more == 2 && c < 0x800) || (more == 3 && c < 0x10000) || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return 0;
        i += more + 1;
    }
    return 1;
}

static void *exactly(const void *p, size_t n) {
    void *copy = malloc(n ? n : 1);
    if (!copy) exit(1);
    return n ? memcpy(copy, p, n) : copy;
}

static int same_shape(const jid_shape *a, const jid_shape *b) {
    return a->local_len == b->local_len && a->domain_len == b->domain_len && a->len == b->len && a->escape == b->escape
        && a->unassigned == b->unassigned;
}

static void check_part(jid_part *prepare, const uint8_t *p, size_t n) {
    uint8_t *out = malloc(JID_PART_MAX), *again = malloc(JID_PART_MAX), unassigned = 0, unassigned_again = 0;
    size_t length = 0, length_again = 0;
    int fault = prepare(p, n, out, &length, &unassigned);
    LAW((fault & 0xF) < JID_FAULTS && jid_fault_text(fault) && jid_fault_part(fault));
    if (!fault) {
        LAW(length >= 1 && length <= JID_PART_MAX);
        LAW(is_utf8(out, length));
        uint8_t *prepared = exactly(out, length);
        LAW(prepare(prepared, length, again, &length_again, &unassigned_again) == JID_OK);
        LAW(length_again == length && !memcmp(again, out, length) && unassigned_again == unassigned);
        free(prepared);
    }
    free(out);
    free(again);
}

static void check_address(const jid_rules *by, const uint8_t *p, size_t n) {
    uint8_t *out = malloc(JID_MAX), *again = malloc(JID_MAX);
    jid_shape shape, shape_again;
    int fault = jid_prepare(by, p, n, out, &shape);
    LAW((fault & 0xF) < JID_FAULTS);
    if (!fault) {
        size_t begin = shape.local_len ? shape.local_len + 1u : 0, bare = begin + shape.domain_len;
        LAW(shape.len <= JID_MAX && shape.domain_len >= 1 && shape.domain_len <= JID_PART_MAX);
        LAW(bare == shape.len || (out[bare] == '/' && bare + 1 < shape.len && shape.len - bare - 1 <= JID_PART_MAX));
        LAW(!shape.local_len || out[shape.local_len] == '@');
        LAW(!memchr(out, '@', shape.local_len) && !memchr(out, '/', bare));
        LAW(is_utf8(out, shape.len));

        uint8_t *prepared = exactly(out, shape.len);
        LAW(jid_prepare(by, prepared, shape.len, again, &shape_again) == JID_OK);
        LAW(same_shape(&shape, &shape_again) && !memcmp(again, out, shape.len));

        size_t escaped_len = jid_escaped_len(prepared, shape.len);
        LAW((escaped_len != shape.len) == shape.escape);
        uint8_t *escaped = malloc(escaped_len);
        jid_escape(prepared, shape.len, escaped);
        for (size_t i = 0; i < escaped_len; i++) LAW(escaped[i] != '<' && escaped[i] != '>' && escaped[i] != '\'');
        free(escaped);
        free(prepared);
    }
    uint8_t *fast = malloc(n ? n : 1);
    if (jid_ascii(p, n, fast, &shape_again)) {
        LAW(!fault && same_shape(&shape, &shape_again) && !memcmp(fast, out, shape.len));
    }
    free(fast);
    free(out);
    free(again);
}

static size_t put(uint32_t c, uint8_t *out) {
    if (c < 0x80) return out[0] = (uint8_t)c, 1;
    if (c < 0x800) return out[0] = (uint8_t)(0xC0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 0x3F)), 2;
    size_t i = 0;
    if (c < 0x10000) {
        out[i++] = (uint8_t)(0xE0 | c >> 12);
    } else {
        out[i++] = (uint8_t)(0xF0 | c >> 18);
        out[i++] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
    }
    out[i++] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
    out[i++] = (uint8_t)(0x80 | (c & 0x3F));
    return i;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    unsigned how = *data++;
    size--;
    uint8_t *text = malloc(2 * size + 2);
    size_t n = 0;
    if (how & 4) {
        for (size_t i = 0; i + 1 < size; i += 2) {
            uint32_t c = (uint32_t)data[i] << 8 | data[i + 1];
            if (c >= 0xD800 && c < 0xE000) c += 0x1D000 - 0xD800 + (c & 0x400 ? 0xD800 : 0); /* planes 1 and 2 */
            n += put(c, text + n);
        }
    } else {
        memcpy(text, data, size);
        n = size;
    }
    uint8_t *p = exactly(text, n);
    const jid_rules *by = how & 8 ? &JID_RFC7622 : &JID_RFC6122;
    jid_part *const parts[] = {by->local, by->domain, by->resource};
    if ((how & 3) < 3)
        check_part(parts[how & 3], p, n);
    else
        check_address(by, p, n);
    free(p);
    free(text);
    return 0;
}
