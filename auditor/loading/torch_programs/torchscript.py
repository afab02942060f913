"""TorchScript: a program, loaded only when every operation of it is on a list of pure ones.

``torch.jit.load`` runs parts of a file while it reads it, so the judging comes first: the source text
(`torchscript_source`), then the pickles, by their opcodes. What is handed to torch is a new archive of exactly the
members that were judged, so that no second reading of the zip file can differ from ours. The graphs that torch made
of it are judged once more before anything runs.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auditor.errors import ModelFileError, UnsafeFileError
from auditor.loading.file_format import sha256_of
from auditor.loading.limits import DEFAULT_LIMITS, Limits
from auditor.loading.network import LoadedNetwork
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_programs.pure_operations import PRIM, is_pure
from auditor.loading.torch_programs.torchscript_pickles import PICKLES, refused_pickles
from auditor.loading.torch_programs.torchscript_source import refused_source
from auditor.loading.torch_programs.torchscript_text import without_warnings
from auditor.loading.torch_weights.archive import read_members

_REMEDY = (
    "save the weights alone (torch.save(model.state_dict(), ...) or safetensors), or export the network to ONNX with "
    "torch.onnx.export"
)
_TENSORS = re.compile(r"(data|constants)/\d+")


def load_torchscript(path: Path, limits: Limits = DEFAULT_LIMITS, *, allowed: bool) -> LoadedNetwork:
    """Load a TorchScript archive whose operations are all pure ones on tensors.

    Raises UnsafeFileError unless ``allowed``, and for anything in it that is not on the lists; ModelFileError for a
    damaged archive or one that torch does not take.
    """
    if not allowed:
        raise UnsafeFileError(
            f"expected a state dict, got {quoted(path.name)}, a TorchScript archive, which is a program; {_REMEDY}; or "
            "allow it with --allow-torchscript, which loads it when all its operations are pure ones on tensors"
        )
    archive = _judged(path, limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.load(archive, map_location="cpu")
    except Exception as error:  # whatever torch's reader raises on a file that is no complete program
        raise ModelFileError(
            f"expected a complete TorchScript archive, got {quoted(path.name)}, which torch does not load "
            f"({quoted(f'{type(error).__name__}: {error}', 160)}); save it again with this version of torch, or "
            f"{_REMEDY}"
        ) from error
    _judge_graphs(module, limits)
    for parameter in module.eval().float().parameters():
        parameter.requires_grad_(False)  # scripted modules have no requires_grad_ of their own
    return LoadedNetwork(
        module=module,
        format="torchscript",
        sha256=sha256_of(path),
        file_name=path.name,
        notes=("a TorchScript program, loaded because all its operations are pure ones on tensors",),
    )


def _judged(path: Path, limits: Limits) -> io.BytesIO:
    """A new archive of the members that were judged, and of nothing else in the file."""
    members = read_members(path, limits)
    sources = {name: content for name, content in members.items() if re.fullmatch(r"code/.+\.py", name)}
    if not sources or any(name not in members for name in PICKLES):
        raise ModelFileError(
            f"expected a TorchScript archive as torch.jit.save writes it, got {quoted(path.name)}, which is of an "
            f"older or a mobile format, or was packed again; {_REMEDY}"
        )
    length = sum(map(len, sources.values()))
    if length > limits.source_bytes:
        raise ModelFileError(
            f"expected a program of at most {limits.source_bytes:,} bytes of source text, got {length:,}; audit a "
            "smaller export, or raise limits.source_bytes"
        )
    size = length + sum(len(members[name]) for name in PICKLES)
    if size > limits.program_bytes:
        raise ModelFileError(
            f"expected a program of at most {limits.program_bytes:,} bytes, got {size:,}; audit a smaller export"
        )
    try:
        texts = {name: content.decode("ascii") for name, content in sources.items()}
        problems = refused_source(texts)
    except (UnicodeDecodeError, RecursionError):
        problems = ["source text that TorchScript does not write"]
    problems += refused_pickles(members)
    if problems:
        raise _unsafe(problems)
    kept = {name: without_warnings(text).encode("ascii") for name, text in texts.items()}
    kept |= {name: content for name, content in members.items() if name in PICKLES or _TENSORS.fullmatch(name)}
    kept |= {name: members[name] for name in ("version", ".data/version", "byteorder") if name in members}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as writer:
        for name, content in kept.items():
            writer.writestr(f"archive/{name}", content)
    archive.seek(0)
    return archive


def _unsafe(problems: list[str]) -> UnsafeFileError:
    return UnsafeFileError(
        f"expected a TorchScript program of pure tensor operations, got {listed(problems)}; {_REMEDY}"
    )


def _judge_graphs(module: nn.Module, limits: Limits) -> None:
    """Every node of every method, with all that it calls; raises UnsafeFileError for one that is not on the lists."""
    problems: dict[str, None] = {}
    count = 0
    for part in module.modules():
        for name in part._c._method_names():  # type: ignore[operator, union-attr]
            method = part._c._get_method(name)  # type: ignore[operator, union-attr]
            # with everything that is called from outside; the graphs inside are those of the parts
            for node in _nodes(method.inlined_graph if part is module else method.graph):
                count += 1
                kind = node.kind()
                if not _known_node(node, kind):
                    problems[f"the operation {quoted(kind)}"] = None
                if count > limits.nodes:
                    raise ModelFileError(
                        f"expected at most {limits.nodes:,} operations in all methods, got more; "
                        "audit a smaller export"
                    )
    if problems:
        raise _unsafe(list(problems))


def _nodes(block: Any) -> Iterator[Any]:
    waiting = [block]
    while waiting:
        for node in waiting.pop().nodes():
            yield node
            waiting.extend(node.blocks())


def _known_node(node: Any, kind: str) -> bool:
    space, _, name = kind.partition("::")
    if kind == "prim::SetAttr":
        return bool(node.s("name") == "num_batches_tracked")
    return (space == "prim" and name in PRIM) or (space == "aten" and is_pure(name))
