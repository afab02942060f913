"""The classes beside tensors that a checkpoint may name, and what stands in for them.

Training scripts leave their options, counters and paths beside the weights, and ``torch.load(weights_only=True)``
refuses a whole file for one of them. None is needed to audit the weights, so none is imported: each name below gets a
stand-in that takes whatever it is given and keeps nothing. A file can therefore make no object of the real class, run
no constructor of it, and hide no state in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

StandIn = tuple[Callable[..., Any], str]
"""what stands in for a name, and the full name"""


class Inert:
    """Takes any arguments and any state, and keeps none: what a pickle does to it has no effect.

    It never hands its arguments back, since torch sets attributes on what some calls return.
    """

    __slots__ = ()

    def __new__(cls, *_arguments: Any) -> Inert:
        """A new object whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class PlainDict:
    """Makes an ordinary empty ``dict``, which the pickle fills: for subclasses of ``dict``.

    The default factory of a ``defaultdict`` is dropped, so reading a missing key calls nothing.
    """

    def __new__(cls, *_arguments: Any) -> Any:  # a dict is all that the caller shall get
        """An empty dict, never an instance of this class."""
        return {}


_REASONS: dict[str, tuple[str, ...]] = {
    "argparse options, kept by nearly every training script": ("argparse.Namespace", "types.SimpleNamespace"),
    "numpy scalars and arrays: losses, accuracies, random states": (
        "numpy.ndarray",
        "numpy.dtype",
        *(
            f"numpy.{core}.{name}"
            for core in ("core", "_core")
            for name in ("multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer")
        ),
    ),
    "paths of data sets and log folders": tuple(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
    ),
    "times of a run": tuple(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    "pictures of poisoned data, which backdoor benchmarks keep beside the model": (
        "PIL.Image.Image",
        "PIL.JpegImagePlugin.JpegImageFile",
        "PIL.PngImagePlugin.PngImageFile",
    ),
    "the version a file was saved with": ("torch.torch_version.TorchVersion",),
    "omegaconf options (Hydra, Lightning)": (
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.base.Metadata",
        "omegaconf.base.ContainerMetadata",
        "typing.Any",
        *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Boolean", "Bytes", "Float", "Integer", "Path", "String")),
    ),
    "types named as the factory of a defaultdict or as an option, frozen sets, empty bytes": tuple(
        f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "str", "tuple")
    ),
}
"""Why the name is allowed → full names; all become `Inert`."""

_DICTS = (
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
"""Subclasses of ``dict``: counters and Lightning's hyper-parameters; all become `PlainDict`."""

SAFE_NAMES = frozenset(name for names in _REASONS.values() for name in names) | frozenset(_DICTS)
"""Every name that has a stand-in."""


def stand_ins() -> list[StandIn]:
    """For ``torch.serialization.safe_globals``."""
    return [(PlainDict if name in _DICTS else Inert, name) for name in sorted(SAFE_NAMES)]
