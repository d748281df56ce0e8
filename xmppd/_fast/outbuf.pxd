cdef extern from "outbuf.h" nogil:
    ctypedef struct outbuf:
        unsigned char *p
        unsigned int len
        unsigned int cap
    int outbuf_reserve(outbuf *b, size_t n)
    int outbuf_put(outbuf *b, const void *p, size_t n)
    void outbuf_drop(outbuf *b, size_t n)
    void outbuf_free(outbuf *b)
