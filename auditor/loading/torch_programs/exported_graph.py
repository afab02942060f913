"""The JSON graph of an exported program as an fx graph of pure operations.

Names of the file never reach the generated source: every value gets a number. Operations are looked up only after
their names were found on the list of `pure_operations`.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from auditor.errors import ModelFileError, UnsupportedOperatorsError
from auditor.loading.quoting import listed, quoted
from auditor.loading.torch_programs.exported_weights import DTYPES, damaged
from auditor.loading.torch_programs.pure_operations import is_pure

_NUMBERS: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in "add sub mul floordiv mod truediv neg pos eq ne le ge lt gt and_ or_ getitem".split()  # noqa: SIM905
} | {f"torch.{name}": getattr(torch, name) for name in ("sym_max", "sym_min", "sym_float", "sym_int", "sym_not")}
"""Arithmetic on sizes."""

_CHECKS = re.compile(r"torch\.ops\.aten\.(_assert_\w+|sym_constrain_range\w*)\.\w+")
"""Checks that an exporter adds and that compute nothing: left out."""

_OPERATION = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_NUMBERED: dict[str, dict[int, Any]] = {
    "as_scalar_type": dict(DTYPES),
    "as_memory_format": {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format},
    "as_layout": {7: torch.strided},
}
"""Enumerations of torch's export schema."""

_PLAIN = {
    "as_int": int,
    "as_float": float,
    "as_string": str,
    "as_bool": bool,
    "as_ints": int,
    "as_floats": float,
    "as_strings": str,
    "as_bools": bool,
}
_SPELLED = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}


def operation(target: str) -> Callable[..., Any] | None:
    """What a node calls, when it is on the lists; ``None`` otherwise."""
    if target in _NUMBERS:
        return _NUMBERS[target]
    found = _OPERATION.fullmatch(target)
    if found is None or not is_pure(found[1]) or "out" in found[2].split("_"):
        return None
    packet = getattr(torch.ops.aten, found[1], None)
    overload = getattr(packet, found[2], None) if packet is not None and found[2] in packet.overloads() else None
    return overload if isinstance(overload, torch._ops.OpOverload) else None


def check_operations(nodes: list[dict[str, Any]]) -> None:
    """Raise UnsupportedOperatorsError naming every operation that is not on the lists, with its count."""
    unknown = Counter(
        target for node in nodes if operation(target := _target(node)) is None and not _CHECKS.fullmatch(target)
    )
    if unknown:
        shown = listed([f"{quoted(target)} ({count}×)" for target, count in sorted(unknown.items())], limit=20)
        raise UnsupportedOperatorsError(
            f"expected a program of pure tensor operations, got {shown}; export the network with torch.onnx.export"
        )


def _target(node: Any) -> str:
    target = node.get("target") if isinstance(node, dict) else None
    if not isinstance(target, str):
        raise damaged("an operation without a name")
    return target


class Graph:
    """An fx graph in the making; ``values`` maps names of the file to its nodes."""

    def __init__(self) -> None:
        self.fx = fx.Graph()
        self.values: dict[str, fx.Node] = {}
        self.image: fx.Node | None = None
        self._device: fx.Node | None = None

    def take_image(self, name: str) -> None:
        """The one input that the caller gives."""
        self.image = self.fx.placeholder("image")
        self.bind(name, self.image)

    def device(self) -> fx.Node:
        """Where new tensors are made: beside the image, wherever the program was exported."""
        if self.image is None:
            raise damaged("no input")
        self._device = self._device or self.fx.call_function(_device_of, (self.image,))
        return self._device

    def bind(self, name: Any, node: fx.Node) -> None:
        """Give a node of ours a name of the file's. Raises ModelFileError for a name that is taken."""
        if not isinstance(name, str) or name in self.values:
            raise damaged("values without names of their own")
        self.values[name] = node

    def add(self, node: dict[str, Any]) -> None:
        """Append one node of the file. Raises ModelFileError when it does not read as one."""
        target = _target(node)
        if _CHECKS.fullmatch(target):
            return
        function = operation(target)
        assert function is not None  # check_operations came first
        positional: list[Any] = []
        named: dict[str, Any] = {}
        inputs, outputs = node.get("inputs"), node.get("outputs")
        if not isinstance(inputs, list) or not isinstance(outputs, list):
            raise damaged(f"{quoted(target)} without inputs or outputs")
        for given in inputs:
            if not isinstance(given, dict) or not isinstance(given.get("name"), str):
                raise damaged(f"an input of {quoted(target)} without a name")
            value = self._argument(given.get("arg"))
            if given["name"] in ("training", "train") and value is True:
                raise ModelFileError(
                    f"expected a network in evaluation mode, got {quoted(target)} in training mode; export it after "
                    "model.eval()"
                )
            if given.get("kind") == 2 or named:
                named[given["name"]] = value
            else:
                positional.append(value)
        if isinstance(function, torch._ops.OpOverload):
            positional, named = _fitting(function, inputs, positional, named)
        self._outputs(self.fx.call_function(function, tuple(positional), named), outputs)

    def _outputs(self, made: fx.Node, outputs: list[Any]) -> None:
        """Bind the names of what a node gives: one value, several, or a list."""
        names = [_name_of(output) for output in outputs]
        if len(names) == 1 and not isinstance(names[0], list):
            if names[0] is not None:
                self.bind(names[0], made)
            return
        flat = names[0] if len(names) == 1 else names
        assert isinstance(flat, list)
        for index, name in enumerate(flat):
            if name is not None:
                self.bind(name, self.fx.call_function(operator.getitem, (made, index)))

    def value(self, name: Any) -> fx.Node:
        """The node of a value that the file names. Raises ModelFileError for an unknown name."""
        node = self.values.get(name) if isinstance(name, str) else None
        if node is None:
            raise damaged(f"the value {quoted(str(name))}, which nothing computes")
        return node

    def _argument(self, given: Any) -> Any:
        """A value of torch's export schema (``Argument``) as an argument of fx."""
        if not isinstance(given, dict) or len(given) != 1:
            raise damaged("an argument that is no value")
        ((kind, content),) = given.items()
        if kind in _PLAIN:
            return _plain(kind, content)
        if kind in ("as_none", "as_device"):
            return None if kind == "as_none" else self.device()
        if kind in _NUMBERED and type(content) is int and content in _NUMBERED[kind]:
            return _NUMBERED[kind][content]
        if kind == "as_tensor" and isinstance(content, dict):
            return self.value(content.get("name"))
        if kind in ("as_optional_tensor", "as_sym_int", "as_sym_float", "as_sym_bool"):
            return self._symbol(content)
        if kind in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_floats", "as_sym_bools"):
            return [self._symbol(item) for item in _items(content)]
        raise ModelFileError(
            f"expected arguments that are tensors, numbers or texts, got {quoted(str(kind))}; export the network with "
            "torch.onnx.export"
        )

    def _symbol(self, given: Any) -> Any:
        """A tensor, a size, a number, or nothing, as they lie in lists."""
        if isinstance(given, dict) and "name" in given:
            return self.value(given["name"])
        if isinstance(given, dict) and "as_name" in given:
            return self.value(given["as_name"])
        return self._argument(given)


def _device_of(image: Tensor) -> torch.device:
    return image.device


def _name_of(output: Any) -> Any:
    """The name, or the names, of one output; ``None`` for an output of nothing."""
    if isinstance(output, dict) and len(output) == 1:
        ((kind, content),) = output.items()
        if kind == "as_tensor" and isinstance(content, dict):
            return content.get("name")
        if kind == "as_tensors":
            return [item.get("name") if isinstance(item, dict) else None for item in _items(content)]
        if kind in ("as_sym_int", "as_sym_float", "as_sym_bool") and isinstance(content, dict):
            return content.get("as_name")
        if kind == "as_none":
            return None
    raise damaged("an output of a kind that is not known")


def _items(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise damaged("an argument that is no list")
    return content


def _plain(kind: str, content: Any) -> Any:
    """Numbers and texts, checked to be what their kind says."""
    wanted = _PLAIN[kind]
    several = kind.endswith("s")
    values = [_SPELLED.get(v, v) if wanted is float and isinstance(v, str) else v
              for v in (_items(content) if several else [content])]  # fmt: skip
    fine = (float, int) if wanted is float else (wanted,)
    if any(type(value) not in fine for value in values):
        raise damaged(f"a value that is not {quoted(kind)}")
    if any(isinstance(value, int) and abs(value) >= 2**63 for value in values):
        raise damaged("a number beyond 64 bits")
    return values if several else values[0]


def _fitting(
    function: torch._ops.OpOverload, inputs: list[Any], positional: list[Any], named: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The same arguments, with every one after an omitted one by name, as the operation's schema calls them."""
    declared = [argument.name for argument in function._schema.arguments]
    names = [given["name"] for given in inputs]
    values = [*positional, *named.values()]
    if len(set(names)) < len(names) or not set(names) <= set(declared):
        raise damaged(f"arguments that {quoted(function.name())} does not take")
    keyword_only = {argument.name for argument in function._schema.arguments if argument.kwarg_only}
    leading = 0
    while leading < len(names) and names[leading] == declared[leading] and names[leading] not in keyword_only:
        leading += 1
    return values[:leading], dict(zip(names[leading:], values[leading:], strict=True))
