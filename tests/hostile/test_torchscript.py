"""TorchScript that reads and writes files, prints, or cannot be parsed."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from .containers import written, zip_of
from .test_archives import HOSTILE
from .test_pickles import CANARY, COMMAND
from .trick import OPEN, REFUSED, UNSAFE, Opened, Trick, names, open_tricks

TORCHSCRIPT = "J. Zhou and L. Song, Safe Harbor or Hostile Waters, Black Hat USA 2025; CVE-2025-32434"
PARSER = "CWE-674: source text nested without end"
ALLOWED = {"allow_torchscript": True}
EITHER = (*REFUSED, *OPEN)


class Plain(nn.Module):
    """1×8×8 images to four scores."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 8, 8) → (N, 4)."""
        return self.fc(torch.flatten(x, 1))


def members(archive: bytes) -> dict[str, bytes]:
    """The contents of an archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as given:
        return {entry.filename: given.read(entry) for entry in given.infolist()}


@cache
def script() -> Mapping[str, bytes]:
    """The network as TorchScript, by member."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Plain().eval()), stream)
    return members(stream.getvalue())


OWN = f"__torch__.{Plain.__module__}.Plain"
TOP = f"archive/code/__torch__/{Plain.__module__.replace('.', '/')}.py"
INNER = "archive/code/__torch__/torch/nn/modules/linear.py"
BODY = "    fc = self.fc\n"
INNER_BODY = "    weight = self.weight\n"


def with_line(line: str, member: str = TOP) -> bytes:
    """The program with one more statement where it computes."""
    place = BODY if member == TOP else INNER_BODY
    text = script()[member].decode()
    assert text.count(place) == 1
    return zip_of({**script(), member: text.replace(place, f"    {line}\n{place}").encode()})


def with_text(addition: str, before: str = "  def forward(") -> bytes:
    """The program with other text in its class."""
    text = script()[TOP].decode()
    return zip_of({**script(), TOP: text.replace(before, addition + before, 1).encode()})


def lines() -> Iterator[tuple[str, str]]:
    """Statements in a forward method."""
    save = f'torch.save(x, "{CANARY}")'
    yield "saves", save
    yield "saves by its operation", f'ops.aten.save(x, "{CANARY}")'
    yield "saves into a variable", f"_0 = {save}"
    yield "reads a file", '_0 = torch.from_file("/etc/passwd", False, 10)'
    yield "reads a file by its operation", '_0 = ops.aten.from_file("/etc/passwd", False, 10)'
    yield "saves in a branch", f"if bool(torch.gt(torch.sum(x), 1.)):\n      {save}\n    else:\n      pass"
    yield "saves in a branch that is never taken", f"if False:\n      {save}\n    else:\n      pass"
    yield "saves in a loop", f"for i in range(2):\n      {save}"
    yield "saves in the condition of a loop", f"while bool({save}):\n      pass"
    yield "saves in an index", f"_0 = [x][{save}]"
    yield "saves in an assertion", f"assert {save}"
    yield "saves in an exception", f"ops.prim.RaiseException({save})"
    yield "prints a workflow command", 'print("::set-output name=verdict::clean")'
    yield "prints by its operation", 'ops.prim.Print("\\x1b]0;x\\x07")'
    yield "warns", 'ops.aten.warn("x", 2)'
    yield "views memory beyond its storage", "_0 = torch.as_strided(x, [1000000], [1], 0)"
    yield "views memory before its storage", "_0 = torch.as_strided(x, [4], [1], -1000000)"
    yield "sets a storage", "_0 = torch.set_(x, x, 1000000, [4], [1])"
    yield "resizes", "_0 = torch.resize_(x, [1099511627776])"
    yield "indexes without a check", "_0 = torch._unsafe_index(x, [torch.tensor([1000000])])"
    yield "starts a thread", "_0 = ops.prim.fork(x)"
    yield "calls a library of its own", "_0 = ops.evil.run(x)"
    yield (
        "makes a class of a library",
        "_0 = __torch__.torch.classes.evil.Runner.__new__(__torch__.torch.classes.evil.Runner)",
    )
    yield "calls a packed operation", "_0 = ops.quantized.linear_unpack(x)"
    yield "opens a class by its name", '_0 = getattr(self, "__class__")'
    yield "imports", "import os"
    yield "evaluates", f"eval(\"__import__('os').system('{COMMAND}')\")"
    yield "several statements on a line", f"_0 = 1; {save}"
    yield "a statement over two lines", 'torch.\\\nsave(x, "x")'
    yield "a comment that ends a string", f"_0 = 'a' # '\n    {save}"
    yield "letters that look alike", "_0 = torch.ѕave(x)"
    yield "a walrus", f"_0 = (y := {save})"
    yield "a lambda", f"_0 = (lambda: {save})()"
    yield "a comprehension", f"_0 = [{save} for _ in [1]]"
    yield "a name that hides the operations", "torch = self"


def texts() -> Iterator[tuple[str, str]]:
    """Other methods and fields of the class."""
    save = f'torch.save([s], "{CANARY}")'
    yield (
        "a __setstate__ that saves",
        f"  def __setstate__(self: {OWN},\n    s: int) -> NoneType:\n    {save}\n    return None\n",
    )
    yield "a __getstate__", f"  def __getstate__(self: {OWN}) -> int:\n    return 1\n"
    yield "a __del__", f"  def __del__(self: {OWN}) -> NoneType:\n    s = 1\n    {save}\n    return None\n"
    yield (
        "a method that nothing calls",
        f"  def spare(self: {OWN},\n    s: int) -> NoneType:\n    {save}\n    return None\n",
    )
    yield "a default value that saves", f"  def spare(self: {OWN},\n    s: int={save}) -> NoneType:\n    return None\n"
    yield "a constant that saves", f"  constant : Final[int] = {save}\n"
    yield "a decorator", "  @torch.save\n"
    yield "a field of a library's class", "  evil : __torch__.torch.classes.evil.Runner\n"
    yield (
        "a forward hook",
        f"  def hook(self: {OWN},\n    s: Tuple[Tensor]) -> NoneType:\n    {save}\n    return None\n",
    )


def sources() -> Iterator[tuple[str, bytes]]:
    """Text that a parser would suffer from."""
    for what, expression in (
        ("brackets", "(" * 100_000 + "x" + ")" * 100_000),
        ("signs", "-" * 100_000 + "1"),
        ("a sum", "x" + "+x" * 100_000),
        ("attributes", "x" + ".a" * 100_000),
        ("calls", "x" + "()" * 100_000),
        ("lists", "[" * 100_000 + "]" * 100_000),
        ("a conditional", "1 if x else " * 50_000 + "1"),
        ("a number of a million digits", "9" * 1_000_000),
        ("a string of a million escapes", '"' + "\\x41" * 1_000_000 + '"'),
    ):
        yield what, with_line(f"_0 = {expression}")
    yield (
        "indentation",
        with_line("\n".join(" " * depth + "if x:" for depth in range(4, 300)) + "\n" + " " * 300 + "pass"),
    )
    yield "a million lines", with_line("_0 = 1\n    " * 300_000 + "_0 = 1")
    yield "no text", zip_of({**script(), TOP: b""})
    yield "bytes", zip_of({**script(), TOP: bytes(range(256))})
    yield "a byte order mark", zip_of({**script(), TOP: b"\xef\xbb\xbf" + script()[TOP]})
    yield "another encoding", zip_of({**script(), TOP: b"# -*- coding: utf-7 -*-\n" + script()[TOP]})


def program_pickles() -> Iterator[tuple[str, bytes]]:
    """Pickles of a TorchScript archive."""
    for name in ("archive/data.pkl", "archive/constants.pkl", "archive/extra.pkl", f"{TOP}.debug_pkl"):
        yield name, zip_of({**script(), name: HOSTILE})
    yield "archive/bytecode.pkl", zip_of({**script(), "archive/bytecode.pkl": HOSTILE})
    yield "a second archive", zip_of({**script(), **{k.replace("archive", "other", 1): v for k, v in script().items()}})


def tricks() -> Iterator[Trick]:
    for what, line in lines():
        yield Trick(f"forward: {what}", TORCHSCRIPT, written(with_line(line)), UNSAFE, options=ALLOWED)
    save = f'torch.save(input, "{CANARY}")'
    yield Trick("forward of a sub-module: saves", TORCHSCRIPT, written(with_line(save, INNER)), UNSAFE, options=ALLOWED)
    for what, text in texts():
        yield Trick(f"class: {what}", TORCHSCRIPT, written(with_text(text)), UNSAFE, options=ALLOWED)
    for what, content in sources():
        yield Trick(f"source: {what}", PARSER, written(content), REFUSED, options=ALLOWED)
    for what, content in program_pickles():
        yield Trick(f"pickle: {what}", TORCHSCRIPT, written(content), EITHER, options=ALLOWED)
    for what, options, endings in (("allowed", ALLOWED, OPEN), ("by default", {}, UNSAFE)):
        content = written(zip_of(script()))
        yield Trick(f"TorchScript without a trick, {what}", "control", content, endings, options=options)
    for name in ("model.onnx", "model.safetensors", "model"):
        content = written(with_line(f'torch.save(x, "{CANARY}")'), name)
        yield Trick(f"TorchScript named {name}", TORCHSCRIPT, content, UNSAFE, ("program",))


TRICKS = list(tricks())
WATCH = {"closed": [CANARY, "/etc/passwd"]}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    Path(CANARY).unlink(missing_ok=True)
    return open_tricks(TRICKS, tmp_path_factory.mktemp("programs"), [Path(CANARY)], **WATCH)


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_a_program_computes_and_nothing_else(trick: Trick, opened: Opened) -> None:
    opened.check(trick)


@pytest.mark.filterwarnings("ignore")
def test_the_payload_of_these_programs_works(tmp_path: Path) -> None:
    """Loaded by torch itself, it writes the file: that it does not here is the auditor's doing."""
    canary = tmp_path / "canary"
    network = torch.jit.load(io.BytesIO(with_line(f'torch.save(x, "{canary}")')))
    network(torch.zeros(1, 1, 8, 8))
    assert canary.exists()
