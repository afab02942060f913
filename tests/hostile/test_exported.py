"""Exported programs (``.pt2``) with pickles, code, paths and sizes in them."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from .containers import written, zip_of
from .test_archives import HOSTILE
from .test_pickles import CANARY, COMMAND
from .test_torchscript import EITHER, PARSER, Plain, members
from .trick import OPEN, Opened, Trick, names, open_tricks

EXPORTED = "CVE-2026-4538: the pt2 loading handler unpickles what is in the archive"
SYMPY = "sympy.sympify evaluates Python, and torch.export hands it the expressions of a file"


@cache
def exported() -> Mapping[str, bytes]:
    """The network as an exported program for any batch, by member."""
    stream = io.BytesIO()
    batch = torch.export.Dim("batch", min=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Plain().eval(), (torch.zeros(3, 1, 8, 8),), dynamic_shapes=({0: batch},))
        torch.export.save(program, stream)
    return members(stream.getvalue())


def json_text(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The exported program with its graph changed."""
    graph = json.loads(exported()["archive/models/model.json"])
    change(graph)
    return zip_of({**exported(), "archive/models/model.json": json.dumps(graph).encode()})


def config(**changes: object) -> bytes:
    """The exported program with the description of its first weight changed."""
    name = "archive/data/weights/model_weights_config.json"
    stated = json.loads(exported()[name])
    next(iter(stated["config"].values())).update(changes)
    return zip_of({**exported(), name: json.dumps(stated).encode()})


def meta(**changes: object) -> bytes:
    """The exported program with the sizes of its first weight changed."""
    name = "archive/data/weights/model_weights_config.json"
    stated = json.loads(exported()[name])
    next(iter(stated["config"].values()))["tensor_meta"].update(changes)
    return zip_of({**exported(), name: json.dumps(stated).encode()})


def exports() -> Iterator[tuple[str, bytes, str]]:
    """Exported programs."""
    everything = exported()
    for name in everything:
        if name.endswith(".pt"):
            yield f"a pickle for {name}", zip_of({**everything, name: HOSTILE}), EXPORTED
    weight = next(name for name in everything if name.endswith("weight_0"))
    yield "a pickle for a weight", zip_of({**everything, weight: HOSTILE}), EXPORTED
    yield "a weight that says it is a pickle", config(use_pickle=True), EXPORTED
    yield "a pickled weight", zip_of({**members(config(use_pickle=True)), weight: HOSTILE}), EXPORTED
    constants = "archive/data/constants/model_constants_config.json"
    pickled = {
        "config": {"c": {"path_name": "custom_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}}
    }
    yield (
        "a pickled constant",
        zip_of({**everything, constants: json.dumps(pickled).encode(), "archive/data/constants/custom_obj_0": HOSTILE}),
        EXPORTED,
    )
    yield "a compiled library", zip_of({**everything, "archive/data/aotinductor/model/x.so": b"\x7fELF"}), EXPORTED
    bare = {
        "archive/archive_format": b"pt2",
        "archive/data/aotinductor/model/x.so": b"\x7fELF",
        "archive/version": b"3",
    }
    yield "nothing but a compiled library", zip_of(bare), EXPORTED
    yield (
        "the form before 2.8",
        zip_of({"serialized_exported_program.json": b"{}", "serialized_state_dict.pt": HOSTILE, "version": b"8.8"}),
        EXPORTED,
    )
    yield (
        "the form before 2.8, in a folder",
        zip_of(
            {"a/serialized_exported_program.json": b"{}", "a/serialized_state_dict.pt": HOSTILE, "a/version": b"8.8"}
        ),
        EXPORTED,
    )
    for path in ("../../../../etc/passwd", "/etc/passwd", "weight_9", "", "../weights/weight_0", "x" * 100_000):
        yield f"a weight at {path[:30]!r}", config(path_name=path), "path traversal, CWE-22"
    text = everything["archive/models/model.json"].decode()
    code = f"__import__('os').system('{COMMAND}')"
    symbol = next(part for part in ("s77", "s27", "s0", "s1") if f'"{part}"' in text)
    yield (
        "code for a symbol",
        zip_of({**everything, "archive/models/model.json": text.replace(f'"{symbol}"', json.dumps(code)).encode()}),
        SYMPY,
    )
    yield (
        "a power tower for a symbol",
        zip_of({**everything, "archive/models/model.json": text.replace(f'"{symbol}"', '"9**9**9**9"').encode()}),
        SYMPY,
    )
    for operation in (
        "torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "torch.ops.evil.run.default", "os.system",
        "torch.ops.aten.as_strided.default", "torch.ops.aten.set_.source_Storage", "torch.ops.aten.resize_.default",
        "torch.ops.higher_order.cond", "torch.ops.aten.linear.default.__globals__", "math.factorial", "_operator.pow",
        "torch.ops.aten.zeros.default", "\x1b]0;x\x07<script>",
    ):  # fmt: skip
        changed = json_text(lambda graph, name=operation: _operate(graph, name))
        yield f"the operation {operation!r}", changed, "operations beyond pure ones on tensors"
    for sizes in (
        [{"as_int": 1 << 40}, {"as_int": 1 << 40}],
        [{"as_int": -1}],
        [{"as_expr": {"expr_str": code}}],
        "x",
        None,
    ):
        yield f"a weight of sizes {str(sizes)[:30]}", meta(sizes=sizes), "CWE-789"
    for stride in ([{"as_int": 1000}, {"as_int": 1}], [{"as_int": -1}, {"as_int": 1}], [{"as_int": 1 << 62}] * 2):
        yield f"a weight of strides {str(stride)[:40]}", meta(strides=stride), "CVE-2026-24747, for exported programs"
    for offset in (1 << 40, -4, 1 << 63):
        yield f"a weight at the offset {offset}", meta(storage_offset={"as_int": offset}), "CWE-125"
    for what, content in (
        ("nested without end", b"[" * 1_000_000), ("nested objects", b'{"a":' * 500_000),
        ("a number of a million digits", b"9" * 1_000_000),
        ("no JSON", HOSTILE), ("a list", b"[]"), ("null", b"null"), ("an empty object", b"{}"), ("NaN", b"NaN"),
        ("the same key a hundred thousand times", b"{" + b",".join(b'"a":1' for _ in range(100_000)) + b"}"),
    ):  # fmt: skip
        yield f"JSON: {what}", zip_of({**everything, "archive/models/model.json": content}), PARSER
    yield (
        "two programs",
        zip_of({**everything, "archive/models/other.json": everything["archive/models/model.json"]}),
        EXPORTED,
    )


def _operate(graph: dict[str, Any], name: str) -> None:
    graph["graph_module"]["graph"]["nodes"][-1]["target"] = name


def tricks() -> Iterator[Trick]:
    for what, content, source in exports():
        yield Trick(what, source, written(content, "model.pt2"), EITHER)
    yield Trick("without a trick", "control", written(zip_of(exported()), "model.pt2"), OPEN)


TRICKS = list(tricks())
WATCH = {"closed": [CANARY, "/etc/passwd"]}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    Path(CANARY).unlink(missing_ok=True)
    return open_tricks(TRICKS, tmp_path_factory.mktemp("exported"), [Path(CANARY)], **WATCH)


@pytest.mark.parametrize("trick", TRICKS, ids=names(TRICKS))
def test_an_exported_program_is_read_and_not_opened(trick: Trick, opened: Opened) -> None:
    opened.check(trick)
