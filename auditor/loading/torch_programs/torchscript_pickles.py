"""The pickles in a TorchScript archive, judged before torch reads them.

Their operations and names are compared with the lists of what rebuilds tensors and the archive's own modules. Then
they are read once with stand-ins for every name, to learn which storages they ask for: torch takes the size that the
pickle states and reads that many bytes, whatever the archive holds (tried with torch 2.15), so a record that is
shorter would put other memory of the process into the weights, or end it.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping
from typing import Any

from auditor.loading.quoting import quoted
from auditor.loading.torch_weights.safe_globals import Inert

PICKLES = {"data.pkl": "data/", "constants.pkl": "constants/"}
"""Member → where its tensors lie."""

_NAMES = frozenset(
    f"{module} {name}"
    for module, names in {
        "torch._utils": "_rebuild_tensor _rebuild_tensor_v2",
        "torch.jit._pickle": "build_intlist build_tensorlist build_doublelist build_boollist restore_type_tag",
        "collections": "OrderedDict",
    }.items()
    for name in names.split()
)
_OPCODE_NAMES = """
APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINSTRING BINUNICODE BUILD EMPTY_DICT EMPTY_LIST
EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWOBJ NEWTRUE NONE PROTO REDUCE SETITEM SETITEMS
SHORT_BINSTRING STOP TUPLE TUPLE1 TUPLE2 TUPLE3
"""
_OPCODES = frozenset(_OPCODE_NAMES.split())
_ITEM_BYTES = {
    "ByteStorage": 1,
    "CharStorage": 1,
    "BoolStorage": 1,
    "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "IntStorage": 4,
    "FloatStorage": 4,
    "LongStorage": 8,
    "DoubleStorage": 8,
}
"""Bytes of one element; complex and quantised storages are not taken."""


def refused_pickles(members: Mapping[str, bytes]) -> list[str]:
    """Phrases, escaped, for what the pickles do beyond rebuilding tensors and modules; empty when all is in order."""
    found: dict[str, None] = {}
    for name, folder in PICKLES.items():
        problems = _refused_operations(members[name]) or _refused_storages(members[name], folder, members)
        found.update(dict.fromkeys(problems))
    return list(found)


def _refused_operations(content: bytes) -> list[str]:
    found: dict[str, None] = {}
    try:
        for opcode, argument, _position in pickletools.genops(content):
            if opcode.name not in _OPCODES:
                found[f"the pickle operation {opcode.name}"] = None
            elif opcode.name == "GLOBAL" and not _is_known(str(argument)):
                found[f"the pickled name {quoted(str(argument))}"] = None
            elif isinstance(argument, str) and "torch.classes" in argument:
                found[f"the pickled text {quoted(argument)}"] = None
    except Exception:  # pickletools raises many types on bytes that are no pickle
        found["a damaged pickle"] = None
    return list(found)


def _is_known(name: str) -> bool:
    module, _, leaf = name.partition(" ")
    own = module.startswith("__torch__") and not name.startswith("__torch__.torch.classes")
    return own or name in _NAMES or (module == "torch" and (leaf in _ITEM_BYTES or leaf == "device"))


class _Storage(Inert):
    """Stands in for the class of a storage; a name of its own for each."""

    __slots__ = ()


_STORAGES = {name: type(name, (_Storage,), {"__slots__": ()}) for name in _ITEM_BYTES}


class _Reader(pickle.Unpickler):
    """Reads a pickle with stand-ins in place of everything it names, and keeps what storages it asks for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.asked: list[Any] = []

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in, whatever the name."""
        return _STORAGES.get(name, Inert) if module == "torch" else Inert

    def persistent_load(self, pid: Any) -> Any:
        """Note the request."""
        self.asked.append(pid)
        return Inert()


def _refused_storages(content: bytes, folder: str, members: Mapping[str, bytes]) -> list[str]:
    reader = _Reader(content)
    try:
        reader.load()
    except Exception:  # whatever a pickle of inconsistent operations raises
        return ["a damaged pickle"]
    for request in reader.asked:
        if not (isinstance(request, tuple) and len(request) == 5 and request[0] == "storage"):
            return ["a pickle that asks for something other than a storage"]
        _, kind, key, _, count = request
        item = _ITEM_BYTES.get(getattr(kind, "__name__", ""))
        known = item is not None and isinstance(key, str) and type(count) is int
        if not known or len(members.get(f"{folder}{key}", b"")) != count * (item or 0):
            return [f"a tensor of another size than its record {quoted(f'{folder}{key}')}"]
    return []
