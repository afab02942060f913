"""Follow a pickle's opcodes with values that stand for objects; nothing is imported, called or built.

The stack is followed as the unpickler would, so that a name put together from pieces, out of the memo or in another
order than it is read, is seen as what it becomes. What the machine cannot follow counts as computed, hence unsafe.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass, field
from typing import Any

_MOST_PICKLES = 32
_MOST_OPCODES = 3_000_000


@dataclass(frozen=True)
class Global:
    """A name that the pickle imports."""

    name: str


@dataclass(frozen=True)
class Made:
    """An object that calling something would make."""

    by: str
    arguments: Any


class Opaque:
    """Anything else."""


MARK = Opaque()
OPAQUE = Opaque()
COMPUTED = "a computed name"


@dataclass
class PickleFacts:
    """What one or more pickles in a row would do."""

    imported: dict[str, None] = field(default_factory=dict)
    """``module.name`` in order, each once; unescaped"""
    called: dict[str, None] = field(default_factory=dict)
    """those of them that are called, or asked to make or change an object"""
    tensors: dict[str, Made] = field(default_factory=dict)
    """calls of torch's tensor rebuilders, by the key they were stored under (or a number)"""
    pickles: int = 0
    complete: bool = True
    """False when a pickle broke off"""
    end: int = 0
    """position after the last complete pickle"""


def follow(data: bytes) -> PickleFacts:
    """Follow the pickles at the beginning of ``data`` until something else comes."""
    facts = PickleFacts()
    stream = io.BytesIO(data)
    for _ in range(_MOST_PICKLES):
        machine, before = _Machine(facts), len(facts.imported)
        try:
            for count, (opcode, argument, _position) in enumerate(pickletools.genops(stream)):
                if count > _MOST_OPCODES:
                    raise ValueError
                machine.step(opcode, argument)
        except Exception:  # bytes after the last pickle, or a broken one: pickletools raises many types
            facts.complete = facts.pickles > 0 and len(facts.imported) == before
            return facts
        facts.pickles += 1
        facts.end = stream.tell()
    return facts


class _Machine:
    """The unpickler's stack and memo, with stand-ins."""

    def __init__(self, facts: PickleFacts) -> None:
        self.facts = facts
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def step(self, opcode: Any, argument: Any) -> None:
        self.steps += 1
        own = getattr(self, "do_" + opcode.name.lower(), None)
        if own is not None:
            own(argument)
        elif isinstance(argument, (str, int, float, bytes)) and not opcode.stack_before:
            self.stack.append(argument)
        else:
            self._generic(opcode)

    def _generic(self, opcode: Any) -> None:
        before = opcode.stack_before
        if pickletools.markobject in before:
            self._to_mark()
            for kind in reversed(before[: before.index(pickletools.markobject)]):
                self._pop() if kind is not None else None
        else:
            for _ in before:
                self._pop()
        self.stack += [MARK if kind is pickletools.markobject else OPAQUE for kind in opcode.stack_after]

    def _pop(self) -> Any:
        return self.stack.pop() if self.stack else OPAQUE

    def _to_mark(self) -> list[Any]:
        items: list[Any] = []
        while self.stack:
            item = self.stack.pop()
            if item is MARK:
                break
            items.append(item)
        return items[::-1]

    def _import(self, name: str) -> None:
        self.facts.imported[name] = None
        self.stack.append(Global(name))

    def _call(self, what: Any, arguments: Any) -> None:
        name = what.name if isinstance(what, Global) else what.by if isinstance(what, Made) else COMPUTED
        if isinstance(what, (Global, Made)):
            self.facts.called[name] = None
        self.stack.append(Made(name, arguments))

    # names
    def do_global(self, argument: Any) -> None:
        self._import(str(argument).replace(" ", ".", 1))

    def do_stack_global(self, argument: Any) -> None:
        name, module = self._pop(), self._pop()
        both = isinstance(name, str) and isinstance(module, str)
        self._import(f"{module}.{name}" if both else COMPUTED)

    def do_ext1(self, argument: Any) -> None:
        self._import(f"extension {argument}")

    do_ext2 = do_ext4 = do_ext1

    # calls
    def do_inst(self, argument: Any) -> None:
        arguments = self._to_mark()
        self.do_global(argument)
        self._call(self._pop(), tuple(arguments))

    def do_obj(self, argument: Any) -> None:
        what, *arguments = self._to_mark() or [OPAQUE]
        self._call(what, tuple(arguments))

    def do_reduce(self, argument: Any) -> None:
        arguments, what = self._pop(), self._pop()
        self._call(what, arguments)

    do_newobj = do_reduce

    def do_newobj_ex(self, argument: Any) -> None:
        self._pop()
        self.do_reduce(argument)

    def do_build(self, argument: Any) -> None:
        self._pop()
        if self.stack and isinstance(self.stack[-1], Made):
            self.facts.called[self.stack[-1].by] = None

    # values that are kept
    def do_mark(self, argument: Any) -> None:
        self.stack.append(MARK)

    def do_none(self, argument: Any) -> None:
        self.stack.append(None)

    def do_newtrue(self, argument: Any) -> None:
        self.stack.append(True)

    def do_newfalse(self, argument: Any) -> None:
        self.stack.append(False)

    def do_empty_tuple(self, argument: Any) -> None:
        self.stack.append(())

    def do_tuple1(self, argument: Any) -> None:
        self.stack.append((self._pop(),))

    def do_tuple2(self, argument: Any) -> None:
        last, first = self._pop(), self._pop()
        self.stack.append((first, last))

    def do_tuple3(self, argument: Any) -> None:
        last, middle, first = self._pop(), self._pop(), self._pop()
        self.stack.append((first, middle, last))

    def do_tuple(self, argument: Any) -> None:
        self.stack.append(tuple(self._to_mark()))

    def do_binpersid(self, argument: Any) -> None:
        self.stack.append(Made("persistent", self._pop()))

    def do_dup(self, argument: Any) -> None:
        self.stack.append(self.stack[-1] if self.stack else OPAQUE)

    def do_pop(self, argument: Any) -> None:
        self._pop()

    def do_pop_mark(self, argument: Any) -> None:
        self._to_mark()

    # memo
    def do_put(self, argument: Any) -> None:
        self.memo[int(argument)] = self.stack[-1] if self.stack else OPAQUE

    do_binput = do_long_binput = do_put

    def do_memoize(self, argument: Any) -> None:
        self.do_put(len(self.memo))

    def do_get(self, argument: Any) -> None:
        self.stack.append(self.memo.get(int(argument), OPAQUE))

    do_binget = do_long_binget = do_get

    # dictionaries: only the names of tensors are kept
    def do_setitem(self, argument: Any) -> None:
        value, key = self._pop(), self._pop()
        self._note(key, value)

    def do_setitems(self, argument: Any) -> None:
        items = self._to_mark()
        for key, value in zip(items[::2], items[1::2], strict=False):
            self._note(key, value)

    def _note(self, key: Any, value: Any) -> None:
        value = self._parameter(value)
        if isinstance(value, Made) and value.by.startswith("torch._utils._rebuild_tensor"):
            name = key if isinstance(key, str) else str(len(self.facts.tensors))
            self.facts.tensors[name] = value

    def _parameter(self, value: Any) -> Any:
        """The tensor inside a Parameter."""
        if isinstance(value, Made) and value.by.startswith("torch._utils._rebuild_parameter"):
            arguments = value.arguments
            return arguments[0] if isinstance(arguments, tuple) and arguments else value
        return value
