"""Is this installation sound? Versions, device, and the trap of torch beside another torchvision."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import import_module, metadata

from auditor import registry

PACKAGES = (
    "torch",
    "torchvision",
    "onnx",
    "onnx2torch",
    "safetensors",
    "scikit-learn",
    "numpy",
    "pillow",
    "rich",
)

SAFE_TORCH = (2, 10)
"""First torch whose ``torch.load(weights_only=True)`` has neither of two known ways around it.

CVE-2025-32434: code runs although ``weights_only=True`` was asked for; torch 2.5.1 and earlier, mended in 2.6.
CVE-2026-24747 (GHSA-63cw-57p8-fm3p): a checkpoint corrupts memory; torch 2.9.1 and earlier, mended in 2.10.
"""

TRAP = "operator torchvision::nms does not exist"
"""what torchvision says when its compiled part was built for another torch"""


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    name: str
    value: str
    sound: bool = True
    remedy: str = ""


def mismatch_sentence(error: BaseException | None) -> str | None:
    """The sentence for a torchvision that does not fit torch, if that is what ``error`` or its causes say."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if TRAP in str(error):
            return _mismatch()
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _mismatch() -> str:
    torch, vision = _version("torch"), _version("torchvision")
    return (
        f"expected torch and torchvision built for each other, got torch {torch} ({_build()}) beside "
        f"torchvision {vision} from another build; install both from one source: "
        f"pip install --force-reinstall torch=={_base(torch)} torchvision=={_partner(torch)}, "
        "with the --index-url that pytorch.org/get-started names for a CPU-only machine, if it is one"
    )


def _base(version: str) -> str:
    return version.partition("+")[0]


def _partner(torch_version: str) -> str:
    """torchvision 0.(N + 15) belongs to torch 2.N, since torch 2.0."""
    parts = _base(torch_version).split(".")
    if len(parts) >= 2 and parts[0] == "2" and parts[1].isdecimal():
        return f"0.{int(parts[1]) + 15}.*"
    return "(the one released with it)"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _build() -> str:
    try:
        cuda = import_module("torch").version.cuda
    except (ImportError, RuntimeError, OSError, AttributeError):
        return "which does not import"
    return f"built for CUDA {cuda}" if cuda else "built for the CPU"


def examine() -> list[Finding]:
    """Everything a report of a problem should contain; ``sound`` is False where something must be mended."""
    findings = [
        Finding("backdoor-auditor", _version("backdoor-auditor")),
        Finding("python", platform.python_version()),
    ]
    for package in PACKAGES:
        version = _version(package)
        missing = version == "not installed"
        findings.append(Finding(package, version, not missing, f"pip install {package}" if missing else ""))
    findings.append(_safe_torch())
    findings.append(_torchvision())
    findings.append(_device())
    findings.extend(_plugins())
    return findings


def _safe_torch() -> Finding:
    version = _version("torch")
    numbers = tuple(int(part) for part in _base(version).split(".")[:2] if part.isdecimal())
    least = ".".join(map(str, SAFE_TORCH))
    if numbers >= SAFE_TORCH:
        return Finding("reading weights", f"torch is {least} or later, as safe reading of checkpoints needs")
    return Finding(
        "reading weights",
        f"torch {version} is open to CVE-2025-32434 (before 2.6) or CVE-2026-24747 (before 2.10)",
        False,
        f"pip install 'torch>={least}': before it, a file of weights from a stranger can run code",
    )


def _torchvision() -> Finding:
    try:
        import_module("torchvision")
    except Exception as error:  # a broken compiled part may raise anything
        remedy = mismatch_sentence(error)
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return Finding(
            "torch and torchvision", first, False, remedy or "reinstall torch and torchvision together"
        )
    return Finding("torch and torchvision", "built for each other")


def _device() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        torch = import_module("torch")
        if torch.cuda.is_available():
            return Finding("device", f"cuda ({torch.cuda.get_device_name(0)}), {cores} CPU cores")
        return Finding("device", f"cpu, {cores} cores, {torch.get_num_threads()} threads; torch {_build()}")
    except Exception as error:  # a driver that does not answer may raise anything
        return Finding(
            "device", f"torch does not start: {error}", False, "pip install --force-reinstall torch"
        )


def _plugins() -> list[Finding]:
    found = []
    for group in (registry.DETECTORS, registry.REPORTS, registry.COMPARISONS, registry.EXPLANATIONS):
        kind = group.rpartition(".")[2]
        names = registry.names(group)
        broken = [name for name in names if not _loads(group, name)]
        remedy = "reinstall or remove the packages that register them" if broken else ""
        if not names:
            remedy = "pip install . in the project's folder; it is not installed as a package"
        value = f"{', '.join(names) or 'none'}" + (f"; do not import: {', '.join(broken)}" if broken else "")
        found.append(Finding(kind, value, bool(names) and not broken, remedy))
    return found


def _loads(group: str, name: str) -> bool:
    try:
        registry.load(group, name)
    except Exception:  # somebody else's package; the finding names it
        return False
    return True
