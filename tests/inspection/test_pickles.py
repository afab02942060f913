"""What a pickle would import and call is seen however it is written, and nothing of it happens."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from auditor.findings import FileFinding
from auditor.inspection import Examination, examine
from auditor.inspection.pickles import follow

torch = pytest.importorskip("torch")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


def _ids(found: Examination) -> list[tuple[str, str]]:
    return [(finding.id, finding.severity) for finding in found.findings]


def _one(found: Examination, identity: str) -> FileFinding:
    return next(finding for finding in found.findings if finding.id == identity)


def _built(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def _text(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


HIDDEN = {
    "name from the memo": _built(
        _text("posix"), b"\x94", b"0", _text("system"), b"\x94", b"0", b"h\x00h\x01\x93", _text("x"), b"\x85R"
    ),
    "names pushed in between": _built(
        _text("posix"), _text("junk"), b"0", _text("system"), b"\x93", _text("x"), b"\x85R"
    ),
    "old text protocol": b"cposix\nsystem\n(S'x'\ntR.",
    "instance opcode": b"(S'x'\niposix\nsystem\n.",
    "object opcode": b"(cposix\nsystem\nS'x'\no.",
    "new object": _built(b"cposix\nsystem\n", _text("x"), b"\x85\x81"),
    "state that is set": _built(b"cposix\nsystem\n", b")\x81", b"}b"),
    "behind another pickle": pickle.dumps({"a": 1}) + b"cposix\nsystem\n(S'x'\ntR.",
    "broken off after the import": b"\x80\x04cposix\nsystem\n",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_names_are_seen_however_they_are_put_together(path: Path, name: str) -> None:
    path.write_bytes(HIDDEN[name])
    facts = follow(HIDDEN[name])
    assert "posix.system" in facts.imported
    if "opcode" in name or "object" in name:
        assert "posix.system" in facts.called
    path.write_bytes(HIDDEN[name] if HIDDEN[name][:1] == b"\x80" else b"\x80\x02" + HIDDEN[name])
    assert ("pickle-runs-code", "danger") in _ids(examine(path))


def test_a_computed_name_is_named_as_such(path: Path) -> None:
    """The module's name is the result of a call, so no reader of strings sees it."""
    path.write_bytes(
        _built(b"cbuiltins\nstr\n", _text("posix"), b"\x85R", _text("system"), b"\x93", _text("x"), b"\x85R")
    )
    finding = _one(examine(path), "pickle-runs-code")
    assert "a computed name" in finding.message


def test_unknown_packages_and_pickled_modules_are_told_apart(path: Path) -> None:
    path.write_bytes(b"\x80\x02cevil.corp\nthing\n(tR.")
    assert ("pickle-imports", "danger") in _ids(examine(path))
    torch.save(torch.nn.Linear(2, 2), path)
    found = examine(path)
    assert _ids(found) == [("pickled-module", "warning")]
    assert "torch.nn.modules.linear.Linear" in found.findings[0].message


def test_every_opcode_is_followed() -> None:
    """The stack of the follower agrees with the unpickler's on everything Python writes."""
    values = [
        None,
        True,
        3,
        2.5,
        "a",
        b"b",
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        [1, [2]],
        {"a": {1, 2}},
        frozenset({1}),
    ]
    values += [2**80, bytearray(b"c"), complex(1, 2), range(3), np.arange(3), {"k": ("v", ["w"])}]
    for protocol in range(6):
        data = pickle.dumps(values, protocol)
        facts = follow(data)
        names = {str(a).replace(" ", ".") for o, a, _ in pickletools.genops(data) if o.name == "GLOBAL"}
        assert names <= set(facts.imported)
        assert (facts.pickles, facts.end, facts.complete) == (1, len(data), True)
        assert "a computed name" not in facts.imported


def test_lists_do_not_grow_with_the_file(path: Path) -> None:
    path.write_bytes(b"\x80\x02" + b"".join(b"cos\nf%d\n" % i for i in range(5000)) + b".")
    found = examine(path)
    assert len(found.pickled_globals) == 1000
    assert "4992 more" in _one(found, "pickle-runs-code").message
