"""Programs in archives: TorchScript's source text and exported graphs, read as text and JSON."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator

from auditor.errors import ModelFileError
from auditor.findings import FileFinding
from auditor.inspection.examination import OperationCount
from auditor.loading.limits import Limits
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_programs.pure_operations import is_pure

_CALL = re.compile(r"\b(torch|ops)\.([A-Za-z_][\w.]*)\s*\(")
_METHOD = re.compile(r"\.(save|_save|from_file|load|read|write|fromfile|tofile|set_data_path)\s*\(")
_STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'")
_SWITCH = re.compile(r"^\s*(?:if|while|elif)\b", re.MULTILINE)
_IO = frozenset({"save", "_save", "from_file", "load", "read", "write", "fromfile", "tofile", "_from_file", "pickle"})
_BUILT_IN_OPS = ("prim", "aten", "quantized", "prims", "torchvision")


def sources(archive: zipfile.ZipFile, limits: Limits) -> dict[str, str]:
    """The source text of a TorchScript archive by member, string literals blanked out.

    Raises ModelFileError when there is more of it than ``limits.program_bytes``.
    """
    entries = [e for e in archive.infolist() if "code/" in e.filename and e.filename.endswith(".py")]
    if sum(entry.file_size for entry in entries) > limits.program_bytes:
        raise ModelFileError(
            f"expected a program of at most {limits.program_bytes:,} bytes, got more; save the weights alone"
        )
    texts = {entry.filename: archive.read(entry).decode("utf-8", "replace") for entry in entries}
    return {name: _STRING.sub('""', text) for name, text in texts.items()}


def script_operations(archive: zipfile.ZipFile, limits: Limits) -> tuple[OperationCount, ...]:
    """Calls in the source text by operation."""
    counts = Counter(call for text in sources(archive, limits).values() for call in _calls(text))
    return tuple(
        OperationCount(domain, quoted(name)[1:-1], 0, count) for (domain, name), count in counts.most_common()
    )


def _calls(text: str) -> Iterator[tuple[str, str]]:
    for match in _CALL.finditer(text):
        space, name = match.groups()
        if space == "ops":
            domain, _, rest = name.partition(".")
            yield domain, rest or name
        else:
            yield "aten", name


def program_findings(archive: zipfile.ZipFile, limits: Limits) -> Iterator[FileFinding]:
    """That it is a program, and which of its calls reach beyond tensors."""
    yield FileFinding(
        "torchscript",
        "warning",
        "the file is a TorchScript program, not weights: running it runs what its author wrote",
    )
    reaching: Counter[str] = Counter()
    strange: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    switches = 0
    for text in sources(archive, limits).values():
        switches += len(_SWITCH.findall(text))
        calls = list(_calls(text))
        named = Counter(name.rpartition(".")[2] for _, name in calls)
        methods = Counter(match[1] for match in _METHOD.finditer(text))
        reaching += methods | Counter({leaf: named[leaf] for leaf in named.keys() & _IO})
        for domain, name in calls:
            leaf = name.rpartition(".")[2]
            if leaf in _IO:
                continue
            if domain not in _BUILT_IN_OPS or name.startswith("classes"):
                foreign[f"{domain}.{name}"] += 1
            elif domain == "aten" and not is_pure(leaf):
                strange[leaf] += 1
    if reaching:
        yield FileFinding(
            "torchscript-io",
            "danger",
            f"the program reads or writes files: {_shown(reaching)}",
        )
    if foreign:
        yield FileFinding(
            "custom-operations", "warning", f"the program calls operations of other libraries: {_shown(foreign)}"
        )
    if strange:
        yield FileFinding(
            "torchscript-operations",
            "warning",
            f"the program calls operations that no image classifier needs: {_shown(strange)}",
        )
    if switches:
        yield FileFinding(
            "control-flow", "info", f"the program branches {switches} times; whether on the image is not examined"
        )


def _shown(counts: Counter[str]) -> str:
    return listed([f"{quoted(name)[1:-1]} ({count}×)" for name, count in counts.most_common()])


def exported_operations(archive: zipfile.ZipFile, limits: Limits) -> tuple[OperationCount, ...]:
    """Operations of an exported program by its JSON graph; empty when there is none to read."""
    counts: Counter[str] = Counter()
    for entry in archive.infolist():
        graph = re.search(r"(^|/)(models/[^/]*|serialized_exported_program)\.json$", entry.filename)
        if not graph or entry.file_size > limits.program_bytes:
            continue
        try:
            program = json.loads(archive.read(entry))
        except (ValueError, RecursionError):
            continue
        counts.update(_targets(program))
    return tuple(
        OperationCount(quoted(domain)[1:-1], quoted(name)[1:-1], 0, count)
        for target, count in counts.most_common()
        for domain, _, name in [target.removeprefix("torch.ops.").partition(".")]
    )


def _targets(program: object) -> Iterator[str]:
    stack = [program]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += value
        elif isinstance(value, dict):
            target = value.get("target")
            if isinstance(target, str) and "inputs" in value:
                yield target
            stack += value.values()
