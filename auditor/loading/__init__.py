"""Model files to torch modules, executing nothing that a file contains. Importing the package imports no torch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.loading.file_format import check_is_file, detect
from auditor.loading.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from auditor.loading.network import LoadedNetwork

__all__ = ["LoadedNetwork", "load_network"]


def load_network(
    path: Path,
    *,
    arch: str | None = None,
    template: LoadedNetwork | None = None,
    allow_torchscript: bool = False,
    unsafe_pickle: bool = False,
    as_black_box: bool = False,
    scores: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> LoadedNetwork:
    """Load an image classifier from an ONNX file, a PyTorch state dict or program, or a safetensors file.

    The kind of file is told by its content. ``arch`` names the architecture of a state dict, as
    ``torchvision:resnet18``, ``timm:resnet18`` or ``package.module:factory``; without it the architecture is
    recognised among torchvision's, or else, when the weights fit the ONNX graph of ``template``, that graph is used.

    ``allow_torchscript`` loads TorchScript whose every operation is a pure one on tensors; without it TorchScript is
    refused. ``unsafe_pickle`` **runs** a pickled module, whatever is in it, and says so in ``executed`` and ``notes``.

    ``scores`` names the output of class scores of an ONNX graph or exported program that has several; what runs in
    torch itself is told apart by `auditor.loading.outputs`, once the size of its images is known.

    Raises ModelFileError or one of its subclasses, each saying what was expected, what was got and what to
    do.
    """
    check_is_file(path, limits)
    kind = detect(path)
    if kind == "onnx":
        from auditor.loading.onnx_graph.load import load_onnx

        return load_onnx(path, limits, as_black_box=as_black_box, scores=scores)
    if kind == "exported_program":
        from auditor.loading.torch_programs.exported_program import load_exported_program

        return load_exported_program(path, limits, scores=scores)
    if kind == "torchscript":
        from auditor.loading.torch_programs.torchscript import load_torchscript

        return load_torchscript(path, limits, allowed=allow_torchscript)
    if kind == "pytorch" and unsafe_pickle:
        from auditor.loading.torch_weights.pickled_module import load_pickled_module

        module = load_pickled_module(path)
        if module is not None:
            return module
    from auditor.loading.torch_weights.state_dict import load_state_dict

    return load_state_dict(path, kind, arch=arch, template=template, limits=limits)


def __getattr__(name: str) -> Any:
    if name == "LoadedNetwork":
        return import_module("auditor.loading.network").LoadedNetwork
    raise AttributeError(f"module 'auditor.loading' has no attribute '{name}'")
