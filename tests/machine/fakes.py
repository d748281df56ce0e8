"""Interim stand-ins for the compiled reader (expat)."""

from __future__ import annotations

import xml.parsers.expat as ex

from xmppd import ns
from xmppd.errors import StreamError


def split(name):
    uri, _, local = name.rpartition("}")
    return uri, local


class Element:
    def __init__(self, name, attrs):
        self.ns, self.name = split(name)
        self.attrs = {("{" + k if "}" in k else k): v for k, v in attrs.items()} or None
        self.children = None

    def get(self, k, d=None):
        return (self.attrs or {}).get(k, d)

    def __iter__(self):
        return (c for c in self.children or () if not isinstance(c, str))

    def find(self, ns, name):
        return next((c for c in self if (c.ns, c.name) == (ns, name)), None)

    def text(self):
        return "".join(c for c in self.children or () if isinstance(c, str))

    def add(self, c):
        if self.children is None:
            self.children = []
        if isinstance(c, str) and self.children and isinstance(self.children[-1], str):
            self.children[-1] += c
        else:
            self.children.append(c)


class Stanza:
    def __init__(self, el):
        self.el = el

    ns = property(lambda s: s.el.ns)
    name = property(lambda s: s.el.name)
    to = property(lambda s: s.el.get("to"))
    from_ = property(lambda s: s.el.get("from"))
    id = property(lambda s: s.el.get("id"))
    type = property(lambda s: s.el.get("type"))

    def element(self):
        return self.el

    def find(self, ns, name):
        return self.el.find(ns, name)

    def has_child(self, ns, name):
        return self.el.find(ns, name) is not None


class StreamHeader:
    pass


class StreamClose:
    pass


class StreamReader:
    def __init__(self):
        self.buf = bytearray()
        self.error = None
        self.restart()

    def restart(self):
        self.p = ex.ParserCreate("utf-8", namespace_separator="}")
        self.stack = []
        self.events = []
        self.error = None
        self.decl = {}
        self.p.StartElementHandler = self.start
        self.p.EndElementHandler = self.end
        self.p.CharacterDataHandler = self.chars
        self.p.StartNamespaceDeclHandler = lambda pre, uri: self.decl.__setitem__(pre or "", uri)
        self.p.CommentHandler = lambda *_: self.bad("restricted-xml")
        self.p.ProcessingInstructionHandler = lambda *_: self.bad("restricted-xml")
        self.p.StartDoctypeDeclHandler = lambda *_: self.bad("restricted-xml")
        self.depth = 0

    def bad(self, c):
        self.error = StreamError(c)
        raise self.error

    def start(self, name, attrs):
        if self.depth == 0:
            h = StreamHeader()
            h.ns, h.name = split(name)
            h.declarations = dict(self.decl)
            h.content_ns = self.decl.get("")
            h.prefix = "stream"
            for a, k in (
                ("to", "to"),
                ("from_", "from"),
                ("id", "id"),
                ("version", "version"),
                ("lang", ns.XML + "}lang"),
            ):
                setattr(h, a, attrs.get(k))
            self.events.append(h)
        else:
            e = Element(name, attrs)
            if self.stack:
                self.stack[-1].add(e)
            self.stack.append(e)
        self.depth += 1

    def end(self, name):
        self.depth -= 1
        if self.depth == 0:
            self.events.append(StreamClose())
            return
        e = self.stack.pop()
        if not self.stack:
            self.events.append(Stanza(e))

    def chars(self, t):
        if self.stack:
            self.stack[-1].add(t)

    def feed(self, data):
        self.buf += data

    @property
    def pending_bytes(self):
        return len(self.buf)

    def next(self):
        if self.error:
            return None
        while self.buf and not self.events:
            b = bytes(self.buf[:1])
            del self.buf[:1]
            try:
                self.p.Parse(b, False)
            except StreamError:
                pass
            except ex.ExpatError:
                self.error = StreamError("not-well-formed")
            if self.error:
                self.buf.clear()
                return self.error
        return self.events.pop(0) if self.events else None
