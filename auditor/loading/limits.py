"""How large a model file may be before it is refused; each limit is a setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from auditor.settings import Setting

_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds on what a model file may ask of the machine; one above them is refused before it is read further."""

    file_bytes: Annotated[
        int, Setting("bytes of the model file, and of each file of external weights", low=1024, high=1 << 40)
    ] = 4 * _GIB
    """Size of the model file, of each file of external weights, and of everything an archive unpacks to."""

    nodes: Annotated[
        int, Setting("operations of an ONNX graph, sub-graphs and expanded functions included", low=1, high=10**7)
    ] = 50_000
    """Operations of an ONNX graph with its sub-graphs, local functions counted wherever they are called."""

    subgraph_depth: Annotated[int, Setting("levels of ONNX graphs inside If, Loop and Scan", low=1, high=30)] = 8
    """Levels of nested ONNX graphs; protobuf itself stops at about 30."""

    subgraph_nodes: Annotated[int, Setting("operations in the sub-graphs of an ONNX graph", low=0, high=10**7)] = 10_000
    """Operations inside If, Loop and Scan bodies, all together."""

    fields: Annotated[int, Setting("fields of an ONNX file, counted before it is parsed", low=1000, high=10**8)] = (
        1_000_000
    )
    """Protobuf fields of an ONNX file: empty ones take far more memory than disk. A large Swin has 61,000."""

    initializers: Annotated[
        int, Setting("constants of an ONNX graph, or tensors of a state dict", low=1, high=10**7)
    ] = 50_000
    """Constants of an ONNX graph, or tensors of a state dict."""

    weight_bytes: Annotated[int, Setting("bytes of all weights together, as float32", low=1024, high=1 << 40)] = (
        4 * _GIB
    )
    """All weights together, as float32."""

    tensor_elements: Annotated[
        int, Setting("elements that any one tensor may reach, for one image", low=1000, high=1 << 36)
    ] = 1 << 28
    """Elements of any one tensor, stored or computed, at a batch of one image: 2**28 is 1 GiB as float32."""

    input_elements: Annotated[int, Setting("elements of one input image", low=1, high=1 << 30)] = 1 << 24
    """Elements of one input image."""

    classes: Annotated[int, Setting("columns of the output", low=2, high=10**7)] = 100_000
    """Columns of the output."""

    folded_elements: Annotated[
        int, Setting("elements of a tensor that is computed once and kept", low=1, high=1 << 32)
    ] = 1 << 24
    """Elements of a tensor that is computed once and kept; larger ones are computed at every call."""

    archive_members: Annotated[int, Setting("entries of a PyTorch archive", low=1, high=10**7)] = 200_000
    """Entries of a PyTorch archive."""

    unpacked_ratio: Annotated[int, Setting("unpacked size of an archive, over its size on disk", low=1, high=10**6)] = (
        200
    )
    """Unpacked size of an archive, over its size on disk."""

    archive_depth: Annotated[int, Setting("levels of archives in archives that are looked into", low=1, high=10)] = 3
    """Levels of archives inside archives that are looked into for pickles."""

    pickle_bytes: Annotated[int, Setting("bytes of one pickle, its tensors not counted", low=1024, high=1 << 34)] = (
        64 * _MIB
    )
    """One pickle without the tensors beside it."""

    header_bytes: Annotated[
        int, Setting("bytes of a safetensors header, or of a text member of an archive", low=1024, high=1 << 32)
    ] = 100 * _MIB
    """The JSON header of a safetensors file (the format's own limit), or one text member of an archive."""

    program_bytes: Annotated[
        int, Setting("bytes of the source or graph of a TorchScript or exported program", low=1024, high=1 << 32)
    ] = 32 * _MIB
    """The source text and pickles of a TorchScript program, or the JSON graph of an exported one."""

    source_bytes: Annotated[
        int, Setting("bytes of the source text of a TorchScript program", low=1024, high=1 << 32)
    ] = 2 * _MIB
    """The source text of a TorchScript program, which is read several times: seconds for each megabyte."""

    name_characters: Annotated[int, Setting("characters of a name in a model file", low=16, high=10**6)] = 4096
    """Length of a name of a value, node, operation, domain or tensor."""

    label_characters: Annotated[int, Setting("characters of all class names in a file", low=16, high=10**8)] = 1_000_000
    """Length of the text that holds the class names."""


DEFAULT_LIMITS = Limits()
