"""ONNX files whose weights lie in other files: of the machine, of devices, or of nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from .graphs import classifier
from .trick import OPEN, REFUSED, UNSAFE, Opened, Trick, names, open_tricks

TRAVERSAL = "CVE-2022-25882"
TRAVERSAL_AGAIN = "CVE-2024-27318"
LINKS = "CVE-2026-34447"
LINKED_FOLDERS = "CVE-2026-27489"
HARD_LINKS = "CVE-2026-34446"
RANGES = "CWE-125: an offset and a length taken on trust, which onnx.checker does"
WEIGHT = (np.arange(48, dtype="<f4") / 48).tobytes()


def external(location: str, prepare: Callable[[Path], None] | None = None, **entries: str) -> Callable[[Path], Path]:
    """A builder of a model whose weight lies at ``location``; ``prepare`` furnishes the model's folder."""

    def build(folder: Path) -> Path:
        own = folder / "model"
        own.mkdir()
        (folder / "secret.bin").write_bytes(WEIGHT)
        (own / "good.bin").write_bytes(WEIGHT)
        if prepare is not None:
            prepare(own)
        model = classifier()
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            weight.external_data.add(key=key, value=value)
        (own / "model.onnx").write_bytes(model.SerializeToString())
        return own / "model.onnx"

    return build


def link(target: str, name: str = "link.bin") -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


def hard_link(folder: Path) -> None:
    os.link(folder.parent / "secret.bin", folder / "hard.bin")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.bin")


def sparse(folder: Path) -> None:
    """A file of a terabyte that takes no room on the disk."""
    with (folder / "sparse.bin").open("wb") as stream:
        stream.truncate(1 << 40)


def own_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "good.bin").write_bytes(WEIGHT)


def tricks() -> Iterator[Trick]:
    for location, source in (
        ("../secret.bin", TRAVERSAL),
        ("../../../../../../../../etc/passwd", TRAVERSAL),
        ("/etc/passwd", TRAVERSAL),
        ("junk/../../secret.bin", TRAVERSAL_AGAIN),
        ("./../secret.bin", TRAVERSAL_AGAIN),
        ("..\\secret.bin", TRAVERSAL_AGAIN),
        ("good.bin/../../secret.bin", TRAVERSAL_AGAIN),
        ("C:\\Windows\\win.ini", TRAVERSAL),
        ("\\\\server\\share\\file", TRAVERSAL),
        ("//etc/passwd", TRAVERSAL),
        ("file:///etc/passwd", TRAVERSAL),
        ("http://127.0.0.1/weights", TRAVERSAL),
        ("~/.ssh/id_rsa", TRAVERSAL),
        ("$HOME/.ssh/id_rsa", TRAVERSAL),
        ("/proc/self/environ", TRAVERSAL),
        ("/dev/zero", TRAVERSAL),
        ("good.bin\0../secret.bin", TRAVERSAL_AGAIN),
        ("", TRAVERSAL),
        (".", TRAVERSAL),
        ("..", TRAVERSAL),
        ("x" * 5000, TRAVERSAL),
        ("x/" * 2000 + "x", TRAVERSAL),
        ("\x1b]0;x\x07<b>\u202e", "CVE-2021-42574, for names"),
        ("model.onnx/x", TRAVERSAL),
    ):
        yield Trick(f"at {location[:40]!r}", source, external(location), REFUSED)
    links: tuple[tuple[str, str, Callable[[Path], None], str], ...] = (
        ("a symbolic link to a file outside", "link.bin", link("../secret.bin"), LINKS),
        ("a symbolic link to /etc/passwd", "link.bin", link("/etc/passwd"), LINKS),
        ("a symbolic link within the folder", "link.bin", link("good.bin"), LINKS),
        ("a symbolic link to itself", "link.bin", link("link.bin"), LINKS),
        ("a symbolic link to a device", "link.bin", link("/dev/zero"), LINKS),
        ("a symbolic link to the environment", "link.bin", link("/proc/self/environ"), LINKS),
        ("a linked folder", "linked/secret.bin", link("..", "linked"), LINKED_FOLDERS),
        ("a linked folder that is absolute", "linked/passwd", link("/etc", "linked"), LINKED_FOLDERS),
        ("a hard link", "hard.bin", hard_link, HARD_LINKS),
        ("a pipe, which would never answer", "pipe.bin", pipe, "CWE-67: special files"),
        ("a folder", "sub", own_folder, "CWE-67: special files"),
    )
    for what, location, prepare, source in links:
        yield Trick(what, source, external(location, prepare), UNSAFE)
    yield Trick("a sparse file of a terabyte", "CWE-770", external("sparse.bin", sparse), REFUSED)
    for offset, length in (
        ("-16", ""), ("0", "-1"), ("0", "1000000000000"), ("1000000000000", "192"), ("192", "192"), ("1", "192"),
        ("9223372036854775807", "9223372036854775807"), ("18446744073709551615", "193"), ("0", "0"), ("0", "191"),
        ("1e3", "192"), ("0x10", "192"), ("٣", "192"), ("9" * 5000, "192"), ("0", "192;rm"), (" 0", "192"), ("", "193"),
    ):  # fmt: skip
        build = external("good.bin", offset=offset, length=length)
        yield Trick(f"offset {offset[:20]!r} and length {length!r}", RANGES, build, REFUSED)
    yield Trick("in the folder", "control", external("good.bin"), OPEN)
    yield Trick("in a folder below", "control", external("sub/good.bin", own_folder), OPEN)
    yield Trick("with offset and length", "control", external("good.bin", offset="0", length="192"), OPEN)
    attributes = "keys of external_data that a reader sets as attributes of its own object"
    strange = {"basepath": "/etc", "__class__": "x", "info": "/etc/passwd", "checksum": "00"}
    yield Trick("with keys of no meaning", attributes, external("good.bin", **strange), (*REFUSED, *OPEN))


TRICKS = list(tricks())
WATCH = {"closed": ["/etc/passwd", "/proc/self/environ", "/dev/zero", "/etc/shadow", "/etc"]}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("external")
    secrets = [str(folder / f"trick{index}" / "secret.bin") for index in range(len(TRICKS))]
    return open_tricks(TRICKS, folder, closed=[*WATCH["closed"], *secrets])


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_weights_come_from_their_own_folder(trick: Trick, opened: Opened) -> None:
    opened.check(trick)
