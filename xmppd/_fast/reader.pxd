from xmppd._fast.outbuf cimport outbuf

# What `StreamReader.next` found.
cdef enum Event:
    EV_MORE = 0
    EV_STREAM_OPEN = 1
    EV_STANZA = 2
    EV_STREAM_CLOSE = 3
    EV_ERROR = 4

cdef enum Kind:      # of a first-level element, in the stream's content namespace
    KIND_OTHER = 0
    KIND_MESSAGE = 1
    KIND_PRESENCE = 2
    KIND_IQ = 3
