"""What the names that a pickle imports mean for whoever would open it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from auditor.findings import FileFinding
from auditor.inspection.pickles import COMPUTED, PickleFacts
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_weights.safe_globals import SAFE_NAMES

_TENSORS = frozenset(
    {
        "collections.OrderedDict",
        "torch.Size",
        "torch.device",
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
        "torch.serialization._get_layout",
        "torch.storage.UntypedStorage",
        "torch.storage.TypedStorage",
        "torch._tensor._rebuild_from_type_v2",
        "torch.jit._pickle.build_intlist",
        "torch.jit._pickle.build_doublelist",
        "torch.jit._pickle.build_boollist",
        "torch.jit._pickle.build_tensorlist",
        "torch.jit._pickle.restore_type_tag",
    }
)
_DTYPE_NAMES = """
float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128 half
float double long int short float8_e4m3fn float8_e5m2 qint8 quint8 qint32
"""
_DTYPES = frozenset(_DTYPE_NAMES.split())
_PLAIN_NAMES = "set frozenset complex bytearray bytes slice range list dict tuple int float bool str object"
_PLAIN = frozenset(
    [f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _PLAIN_NAMES.split()]
    + ["_codecs.encode", "copyreg._reconstructor", "copy_reg._reconstructor"]
)
"""what pickles of plain values are made with; none of it acts on anything outside"""
_HONEST = ("torch", "torchvision", "timm", "transformers", "numpy", "lightning", "pytorch_lightning", "ultralytics")
"""packages whose classes lie in honestly pickled modules and checkpoints"""
_RUNNING_MODULES = """
__builtin__ _io _pickle _thread asyncio bdb builtins cProfile code ctypes functools http imp importlib inspect io
marshal multiprocessing nt operator os pathlib pdb pickle pip posix profile pty requests runpy shutil signal site socket
subprocess sys tempfile threading timeit trace types urllib webbrowser zipimport
"""
_RUNS = frozenset(_RUNNING_MODULES.split())
"""packages that run, fetch, write or open something"""


def is_tensor_name(name: str) -> bool:
    """Whether a name is one that state dicts or plain values need, or stands on the list of harmless ones."""
    module, _, leaf = name.rpartition(".")
    return (
        name in _TENSORS
        or name in _PLAIN
        or name in SAFE_NAMES
        or (module == "torch" and (leaf.endswith("Storage") or leaf in _DTYPES))
        or (module == "torch._utils" and leaf.startswith("_rebuild"))
    )


def pickle_findings(facts: PickleFacts, where: str, *, program: bool = False) -> Iterator[FileFinding]:
    """Findings about names outside the list; with ``program`` those of TorchScript's own classes are let be."""
    strange = [name for name in facts.imported if not is_tensor_name(name)]
    if program:
        strange = [name for name in strange if not name.startswith("__torch__.")]
    running = [name for name in strange if _runs(name)]
    rest = [name for name in strange if not _runs(name)]
    if running:
        called = [name for name in running if name in facts.called]
        acting = f"; it calls {_shown(called)}" if called else ""
        yield FileFinding(
            "pickle-runs-code",
            "danger",
            f"a pickle imports {_shown(running)}{acting}: opening it runs commands of whoever wrote the file",
            where,
        )
    foreign = [name for name in rest if name.split(".", 1)[0] not in _HONEST]
    if foreign:
        yield FileFinding(
            "pickle-imports",
            "danger",
            f"a pickle imports {_shown(foreign)}, which no state dict needs: opening it would run that code",
            where,
        )
    honest = [name for name in rest if name.split(".", 1)[0] in _HONEST]
    if honest:
        yield FileFinding(
            "pickled-module",
            "warning",
            f"a pickle holds objects of {_shown(honest)}, not weights alone: torch.load would run their code",
            where,
        )
    if not facts.complete:
        yield FileFinding("damaged-pickle", "warning", "a pickle breaks off, or hides what comes after it", where)


def _runs(name: str) -> bool:
    package = name.split(".", 1)[0]
    deep = name.startswith(("torch.hub.", "torch.load", "torch.serialization.load", "torch.storage._load_from_bytes"))
    reach = name.startswith(("numpy.load", "torch.jit.load", "torch._dynamo", "torch.utils.", "torch.package"))
    return name == COMPUTED or package in _RUNS or name.startswith("extension ") or deep or reach


def _shown(names: Iterable[str]) -> str:
    return listed([quoted(name)[1:-1] for name in names])
