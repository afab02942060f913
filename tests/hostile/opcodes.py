"""Pickles written opcode by opcode, because Python's pickler would not write most of them."""

from __future__ import annotations

import pickle
import struct

STOP, MARK, REDUCE, BUILD, POP = b".", b"(", b"R", b"b", b"0"
TUPLE, EMPTY_TUPLE, EMPTY_DICT, EMPTY_LIST = b"t", b")", b"}", b"]"
NEWOBJ, NEWOBJ_EX, STACK_GLOBAL, OBJ = b"\x81", b"\x92", b"\x93", b"o"
SETITEM, SETITEMS, APPEND, BINPERSID = b"s", b"u", b"a", b"Q"
MEMOIZE, NONE = b"\x94", b"N"


def proto(number: int) -> bytes:
    """The header of a protocol; 0 and 1 have none."""
    return b"\x80" + bytes([number]) if number >= 2 else b""


def text(content: str, number: int = 2) -> bytes:
    """A string as a protocol writes it."""
    if number == 0:
        return b"V" + content.encode("raw_unicode_escape") + b"\n"
    encoded = content.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    """LONG1: an int of up to 255 bytes."""
    encoded = pickle.encode_long(value)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def items(*values: bytes) -> bytes:
    """A tuple of values, by MARK and TUPLE, which every protocol has."""
    return MARK + b"".join(values) + TUPLE


def call(function: bytes, *arguments: bytes) -> bytes:
    """REDUCE."""
    return function + items(*arguments) + REDUCE


def pickled(body: bytes, number: int = 2) -> bytes:
    """A whole pickle."""
    return proto(number) + body + STOP


def storage(kind: str = "FloatStorage", key: str = "0", location: str = "cpu", count: bytes = number(4)) -> bytes:
    """A reference to a storage beside the pickle, by BINPERSID, as ``torch.save`` writes it."""
    return items(text("storage"), name("torch", kind), text(key), text(location), count) + BINPERSID


def numbers(*values: int) -> bytes:
    """A tuple of ints."""
    return items(*(number(value) for value in values))


def tensor(store: bytes, offset: int, size: bytes, stride: bytes, *rest: bytes) -> bytes:
    """``_rebuild_tensor_v2``: storage, offset, size, stride, requires_grad, hooks."""
    hooks = call(name("collections", "OrderedDict"))
    return call(name("torch._utils", "_rebuild_tensor_v2"), store, number(offset), size, stride, b"\x89", hooks, *rest)


def mapping(**values: bytes) -> bytes:
    """A dict of text to values."""
    return EMPTY_DICT + b"".join(text(key) + value + SETITEM for key, value in values.items())
