"""Pickles that would run a command, open a connection, import a module or write a file when they are opened."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import opcodes as op
from .containers import legacy, torch_zip, written
from .trick import UNSAFE, Opened, Trick, names, open_tricks

CANARY = str(Path(tempfile.gettempdir()) / "audit-hostile-canary")
COMMAND = f"touch {CANARY}"
BAIT = "audit_hostile_bait"

REDUCE = "pickle's own documentation; M. Slaviero, Sour Pickles, Black Hat USA 2011"
FICKLING = "E. Sultanik, Never a dill moment: exploiting machine learning pickle files, Trail of Bits 2021"

SYSTEM = op.name("posix", "system")


def invocations() -> Iterator[tuple[str, bytes, int]]:
    """Every way in which an opcode calls something: (what, body, lowest protocol)."""
    command = op.text(COMMAND, 0)
    yield "GLOBAL and REDUCE", op.call(SYSTEM, command), 0
    yield "INST", op.MARK + command + b"iposix\nsystem\n", 0
    yield "OBJ", op.MARK + SYSTEM + command + op.OBJ, 1
    yield "NEWOBJ", SYSTEM + op.items(command) + op.NEWOBJ, 2
    yield "NEWOBJ_EX", SYSTEM + op.items(command) + op.EMPTY_DICT + op.NEWOBJ_EX, 4
    yield "STACK_GLOBAL", op.text("posix") + op.text("system") + op.STACK_GLOBAL + op.items(command) + op.REDUCE, 4
    joined = op.call(op.name("_operator", "concat"), op.text("pos"), op.text("ix"))
    yield (
        "STACK_GLOBAL of a computed name",
        joined + op.text("system") + op.STACK_GLOBAL + op.items(command) + op.REDUCE,
        4,
    )
    memo = op.text("system") + op.MEMOIZE + op.POP + op.text("posix") + op.MEMOIZE + b"h\x00" + op.STACK_GLOBAL
    yield "STACK_GLOBAL from the memo", memo + op.items(command) + op.REDUCE, 4
    dotted = op.text("builtins") + op.text("__import__.__call__") + op.STACK_GLOBAL
    yield "STACK_GLOBAL of a dotted name", dotted + op.items(op.text(BAIT)) + op.REDUCE, 4
    plain = op.name("types", "SimpleNamespace") + op.EMPTY_TUPLE + op.NEWOBJ
    state = op.EMPTY_DICT + op.text("__setstate__") + SYSTEM + op.SETITEM
    yield "BUILD that plants a __setstate__", plain + state + op.BUILD + command + op.BUILD, 2
    yield (
        "BUILD of a tensor",
        op.name("torch._tensor", "Tensor") + op.EMPTY_TUPLE + op.NEWOBJ + state + op.BUILD + command + op.BUILD,
        2,
    )
    for opcode, form in ((b"\x82", "B"), (b"\x83", "H"), (b"\x84", "i")):
        yield (
            f"EXT{struct.calcsize(form)} of a registered extension",
            opcode + struct.pack(f"<{form}", 240) + op.items(command) + op.REDUCE,
            2,
        )
    yield "BINPERSID of a callable", op.items(op.text("storage"), SYSTEM, command, command, command) + op.BINPERSID, 1
    yield "PERSID", b"P" + COMMAND.encode() + b"\n", 0
    hidden = op.EMPTY_DICT + op.text("weight") + op.call(SYSTEM, command) + op.SETITEM
    yield "inside a dict of weights", hidden, 2
    yield "as a key of a dict", op.EMPTY_DICT + op.call(SYSTEM, command) + op.text("weight") + op.SETITEM, 2
    yield "popped off the stack again", op.call(SYSTEM, command) + op.POP + op.EMPTY_DICT, 2
    yield "before a broken opcode", op.call(SYSTEM, command) + b"\xff\xff", 2
    yield (
        "rebuild function with a hostile one inside",
        op.call(
            op.name("torch._tensor", "_rebuild_from_type_v2"),
            SYSTEM,
            op.name("builtins", "int"),
            op.items(command),
            op.EMPTY_DICT,
        ),
        2,
    )


GADGETS: tuple[tuple[str, str, str, str], ...] = (
    ("posix", "system", COMMAND, REDUCE),
    ("nt", "system", COMMAND, REDUCE),
    ("os", "system", COMMAND, REDUCE),
    ("os", "popen", COMMAND, REDUCE),
    ("subprocess", "Popen", COMMAND, REDUCE),
    ("subprocess", "getoutput", COMMAND, REDUCE),
    ("builtins", "eval", f"open({CANARY!r}, 'w')", REDUCE),
    ("builtins", "exec", f"open({CANARY!r}, 'w')", REDUCE),
    ("builtins", "__import__", BAIT, REDUCE),
    ("builtins", "open", CANARY, REDUCE),
    ("builtins", "getattr", "system", FICKLING),
    ("__builtin__", "eval", f"open({CANARY!r}, 'w')", REDUCE),
    ("importlib", "import_module", BAIT, FICKLING),
    ("runpy", "run_module", BAIT, FICKLING),
    (BAIT, "anything", "", "importing a module runs it"),
    ("socket", "create_connection", "127.0.0.1", REDUCE),
    ("urllib.request", "urlopen", "http://127.0.0.1:9/", FICKLING),
    ("webbrowser", "open", "http://127.0.0.1:9/", FICKLING),
    ("ctypes", "CDLL", "libc.so.6", FICKLING),
    ("code", "interact", "", FICKLING),
    ("marshal", "loads", "", FICKLING),
    ("pickle", "loads", "", FICKLING),
    ("pip", "main", "download audit-hostile", "CVE-2025-1716"),
    ("asyncio.unix_events", "_UnixSubprocessTransport._start", COMMAND, "CVE-2025-10157"),
    ("uuid", "_get_command_stdout", COMMAND, "CVE-2026-56315"),
    ("imaplib", "IMAP4_stream", COMMAND, "CVE-2026-56315"),
    ("timeit", "timeit", f"open({CANARY!r}, 'w')", FICKLING),
    ("pydoc", "pipepager", COMMAND, FICKLING),
    ("bdb", "Bdb.run", f"open({CANARY!r}, 'w')", FICKLING),
    ("operator", "attrgetter", "system", FICKLING),
    ("functools", "partial", COMMAND, FICKLING),
    ("torch", "load", CANARY, "weights_only allows no loader"),
    ("torch.jit", "load", CANARY, "weights_only allows no loader"),
    ("torch.hub", "load", "audit/hostile", "weights_only allows no loader"),
    ("torch.package", "PackageImporter", CANARY, "weights_only allows no loader"),
    (
        "torch.storage",
        "_load_from_bytes",
        COMMAND,
        "torch.storage runs torch.load on its bytes with weights_only=False",
    ),
    ("torch.utils._config_module", "ConfigModule.load_config", COMMAND, "unpickles its argument"),
    ("torch.serialization", "add_safe_globals", COMMAND, "widens what the same file may do next"),
    ("torch._C", "_jit_pass_inline", COMMAND, "native functions under the package's own name"),
    ("numpy.testing._private.utils", "runstring", f"open({CANARY!r}, 'w')", FICKLING),
    ("numpy", "load", CANARY, "CVE-2019-6446"),
    ("joblib", "load", CANARY, "CVE-2020-13092"),
    ("dill", "loads", "", FICKLING),
    ("auditor.loading.torch_weights.pickled_module", "load_pickled_module", CANARY, "the auditor's own functions"),
)


def gadget(module: str, attribute: str, argument: str) -> bytes:
    return op.pickled(
        op.EMPTY_DICT + op.text("w") + op.call(op.name(module, attribute), op.text(argument)) + op.SETITEM
    )


def tricks() -> Iterator[Trick]:
    for what, body, lowest in invocations():
        for protocol in range(lowest, 6):
            stream = op.pickled(body, protocol)
            yield Trick(f"{what}, protocol {protocol}, bare", REDUCE, written(stream, "model.pkl"))
            yield Trick(f"{what}, protocol {protocol}, zip", REDUCE, written(torch_zip(stream)))
        yield Trick(f"{what}, legacy", REDUCE, written(legacy(op.pickled(body)), "model.bin"))
    for where in ("magic", "version", "system", "keys"):
        stream = legacy(op.pickled(op.call(SYSTEM, op.text(COMMAND))), where=where)
        yield Trick(f"in the place of the {where} of a legacy file", REDUCE, written(stream, "model.pth"))
    for module, attribute, argument, source in GADGETS:
        stream = gadget(module, attribute, argument)
        says = () if module in ("torch", "torch._C") else (module.replace("__builtin__", "builtins"),)
        yield Trick(f"{module}.{attribute}", source, written(torch_zip(stream)), UNSAFE, says)
        yield Trick(f"{module}.{attribute}, legacy", source, written(legacy(stream), "model.ckpt"), UNSAFE)
    hostile = gadget("posix", "system", COMMAND)
    for suffix in ("bin", "pth", "ckpt", "onnx", "safetensors", "h5", "txt", "data", ""):
        source = "CVE-2025-1889, CVE-2025-10155: scanners that go by the name"
        name = f"model.{suffix}" if suffix else "model"
        yield Trick(f"named {name}", source, written(torch_zip(hostile), name), UNSAFE, ("posix.system",))
        yield Trick(f"bare, named {name}", source, written(hostile, name), UNSAFE, ("posix.system",))
    good = op.pickled(op.EMPTY_DICT)
    yield Trick("after a good pickle", FICKLING, written(good + hostile))
    yield Trick("appended to a good legacy file", FICKLING, written(legacy(good) + hostile))
    yield from overflows()


def overflows() -> Iterator[Trick]:
    """Pickles that take memory or time instead."""
    source = "resource exhaustion by opcodes; see the protocol's comments in Python's pickletools"
    huge = 2**62
    for what, body in {
        "BINBYTES8 longer than the file": b"\x8e" + huge.to_bytes(8, "little") + b"x",
        "BINUNICODE8 longer than the file": b"\x8d" + huge.to_bytes(8, "little") + b"x",
        "BYTEARRAY8 longer than the file": b"\x96" + huge.to_bytes(8, "little"),
        "LONG4 longer than the file": b"\x8b\xff\xff\xff\x7f",
        "LONG4 of negative length": b"\x8b\xff\xff\xff\xff",
        "FRAME longer than the file": b"\x95" + huge.to_bytes(8, "little") + b"}",
        "memo index of four thousand million": b"}r\xff\xff\xff\xff",
        "PUT of a huge index": b"}p99999999999999999999\n",
        "INT of a million digits": b"I" + b"9" * 1_000_000 + b"\n",
        "FLOAT of a million digits": b"F" + b"9" * 1_000_000 + b"\n",
        "marks without end": b"(" * 200_000,
        "lists in lists": b"]" * 50_000 + b"a" * 49_999,
        "tuples in tuples": b")" + b"\x85" * 50_000,
        "dicts in dicts": b"}" + b"X\x01\0\0\0a}" * 30_000 + b"s" * 30_000,
        "doubled tuples": b")q\0"
        + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(200)),
        "doubled dicts": b"}q\0"
        + b"".join(
            b"}" + b"X\x01\0\0\0a" + b"h" + bytes([i]) + b"sX\x01\0\0\0b" + b"h" + bytes([i]) + b"sq" + bytes([i + 1])
            for i in range(200)
        ),
        "dict that holds itself": b"}q\0X\x01\0\0\0ah\0s",
        "list that holds itself": b"]q\0h\0a",
        "out-of-band buffer": b"\x97\x98",
        "pop of an empty stack": b"0000",
        "nothing but STOP": b"",
    }.items():
        yield Trick(f"{what}, zip", source, written(torch_zip(op.pickled(body))))
        yield Trick(f"{what}, legacy", source, written(legacy(op.pickled(body))))


TRICKS = list(tricks())


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("pickles")
    (folder / "bait").mkdir()
    (folder / "bait" / f"{BAIT}.py").write_text(f"open({CANARY!r}, 'w').close()\n")
    canary = Path(CANARY)
    canary.unlink(missing_ok=True)
    yield open_tricks(TRICKS, folder, [canary], bait=[BAIT], python_path=[str(folder / "bait")], closed=[CANARY])
    canary.unlink(missing_ok=True)


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_nothing_in_a_pickle_runs(trick: Trick, opened: Opened) -> None:
    opened.check(trick)
