"""Judge the source text in a TorchScript archive before any of it reaches torch.

TorchScript is a subset of Python, so Python's own parser reads it. Only what image classifiers consist of is allowed:
expressions over tensors, the operations of `pure_operations`, control flow, and calls of the archive's own methods.
Default values and class constants are evaluated while the file is loaded, so they must be literals.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from auditor.loading.quoting import quoted
from auditor.loading.torch_programs.pure_operations import PRIM, is_pure
from auditor.loading.torch_programs.torchscript_text import dotted, is_warning, unreadable

_NAMESPACES = frozenset({"torch", "ops", "CONSTANTS", "__torch__"})
_BUILTIN_NAMES = """
abs annotate bool dict enumerate float getattr hasattr int isinstance len list max min range reversed round sorted str
sum tuple unchecked_cast uninitialized zip
"""
_BUILTINS = frozenset(_BUILTIN_NAMES.split())
_CLASS_FIELDS = frozenset({"__parameters__", "__buffers__", "__annotations__", "__forward_hooks__"})
_BASES = frozenset({"Module", "NamedTuple"})
_SPECIAL_METHODS = frozenset({"__len__", "__contains__"})


_EXPRESSIONS = (
    ast.Attribute, ast.BinOp, ast.BoolOp, ast.Call, ast.Compare, ast.Constant, ast.Dict, ast.IfExp, ast.List, ast.Name,
    ast.Slice, ast.Subscript, ast.Tuple, ast.UnaryOp,
)  # fmt: skip
_LITERALS = (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.UnaryOp, ast.USub, ast.expr_context)
_STATEMENTS = (
    ast.AnnAssign, ast.Assert, ast.Assign, ast.Break, ast.Continue, ast.Expr, ast.For, ast.If, ast.Pass, ast.Raise,
    ast.Return, ast.While,
)  # fmt: skip


def refused_source(sources: dict[str, str]) -> list[str]:
    """What in the sources, by member name, is not allowed: escaped phrases, each once; empty when all is.

    The names of all classes and methods are gathered first, since every source may call every other.
    """
    trees: dict[str, ast.Module] = {}
    found: dict[str, None] = {}
    for name, text in sources.items():
        problem = unreadable(text)
        if problem is None:
            trees[name] = ast.parse(text)
        else:
            found[f"{quoted(name)}, {problem}"] = None
    methods = frozenset(
        node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    )
    for tree in trees.values():
        found.update(dict.fromkeys(_Judge(methods).module(tree)))
    return list(found)


def _targets(node: ast.stmt) -> list[ast.expr]:
    """What a statement binds."""
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, (ast.AnnAssign, ast.For)) else []


class _Judge:
    """Yields a phrase for everything in a module that is not on the lists."""

    def __init__(self, methods: frozenset[str]) -> None:
        self.methods = methods
        self.functions: frozenset[str] = frozenset()

    def module(self, tree: ast.Module) -> Iterator[str]:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                yield from self._class(node)
            elif isinstance(node, ast.FunctionDef):
                yield from self._function(node)
            elif not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)):
                yield f"{_kind(node)} outside classes"

    def _class(self, node: ast.ClassDef) -> Iterator[str]:
        bases = [base.id if isinstance(base, ast.Name) else "?" for base in node.bases]
        if len(bases) != 1 or bases[0] not in _BASES or node.keywords or node.decorator_list:
            yield f"the class {quoted(node.name)}, which is neither a module nor a named tuple"
        for field in node.body:
            if isinstance(field, ast.FunctionDef):
                yield from self._function(field)
            elif isinstance(field, ast.AnnAssign):
                yield from self._type(field.annotation)
                yield from self._literal(field.value)
                yield from self._field(field.target)
            elif isinstance(field, ast.Assign):
                is_type = isinstance(field.targets[0], ast.Subscript)
                yield from self._type(field.value) if is_type else self._literal(field.value)
                for target in field.targets:
                    yield from self._field(target)
            elif not isinstance(field, ast.Pass):
                yield f"{_kind(field)} in the class {quoted(node.name)}"

    def _field(self, target: ast.expr) -> Iterator[str]:
        base = target.value if isinstance(target, ast.Subscript) else target
        plain = isinstance(base, ast.Name) and (not base.id.startswith("__") or base.id in _CLASS_FIELDS)
        if not plain or (isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Constant)):
            yield f"the field {quoted(ast.unparse(target), 60)}"

    def _function(self, node: ast.FunctionDef) -> Iterator[str]:
        if node.name.startswith("__") and node.name not in _SPECIAL_METHODS:
            yield f"the method {quoted(node.name)}, which runs while the file is loaded"
        if node.decorator_list:
            yield f"a decorator of {quoted(node.name)}"
        arguments = node.args
        if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
            yield f"the arguments of {quoted(node.name)}"
        for argument in (*arguments.args, *arguments.kwonlyargs):
            yield from self._name(argument.arg)
            if argument.annotation is not None:
                yield from self._type(argument.annotation)
        for default in (*arguments.defaults, *arguments.kw_defaults):
            yield from self._literal(default)
        if node.returns is not None:
            yield from self._type(node.returns)
        self.functions = frozenset(_own_functions(node))
        for statement in node.body:
            yield from self._statement(statement)

    def _statement(self, node: ast.stmt) -> Iterator[str]:
        if not isinstance(node, _STATEMENTS):
            yield _kind(node)
            return
        if is_warning(node):
            assert isinstance(node, ast.Expr)
            node = ast.Expr(ast.Tuple(node.value.args, ast.Load()))  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield from self._statement(child)
            elif child in _targets(node):
                yield from self._target(child)
            elif isinstance(node, ast.AnnAssign) and child is node.annotation:
                yield from self._type(node.annotation)
            elif isinstance(child, ast.expr):
                yield from self._expression(child)

    def _target(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, (ast.Tuple, ast.List)):
            for element in node.elts:
                yield from self._target(element)
        elif isinstance(node, ast.Name):
            yield from self._name(node.id)
        elif dotted(node) != ["self", "num_batches_tracked"]:  # old batch normalisation counts its batches so
            yield f"an assignment to {quoted(ast.unparse(node), 60)}"

    def _name(self, name: str) -> Iterator[str]:
        if name in _NAMESPACES or name in _BUILTINS:
            yield f"the variable {quoted(name)}, which hides a name of TorchScript's"

    def _expression(self, node: ast.expr) -> Iterator[str]:
        if not isinstance(node, _EXPRESSIONS):
            yield _kind(node)
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, (ast.Attribute, ast.Name)):
            yield from self._value(node)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    yield from self._expression(child)

    def _value(self, node: ast.Attribute | ast.Name) -> Iterator[str]:
        """A name or attribute that is not called: a variable, a field, a constant of the archive, a function of it."""
        parts = dotted(node)
        if parts is None:
            assert isinstance(node, ast.Attribute)
            yield from self._expression(node.value)
            parts = ["", node.attr]
        if any(part.startswith("__") and part != "__torch__" for part in parts):
            yield quoted(".".join(parts), 60)
        else:
            of_torch = parts[0] == "ops" or (parts[0] == "torch" and parts[1:] not in (["inf"], ["nan"]))
            if of_torch or parts in (["CONSTANTS"], ["__torch__"]) or _is_custom(parts):
                yield f"{quoted('.'.join(parts), 60)} as a value"

    def _call(self, node: ast.Call) -> Iterator[str]:
        parts = dotted(node.func)
        first = node.args[:1]
        if parts is None or parts[0] not in _NAMESPACES:
            yield from self._own_call(node, parts)
        elif not _is_allowed(parts):
            yield quoted(".".join(parts), 60)
        takes_type = parts in (["annotate"], ["uninitialized"], ["unchecked_cast"], ["isinstance"])
        for argument in node.args:
            as_type = takes_type and argument in (node.args[1:] if parts == ["isinstance"] else first)
            yield from self._type(argument) if as_type else self._expression(argument)
        for keyword in node.keywords:
            if keyword.arg is None:
                yield "arguments that are unpacked"
            yield from self._expression(keyword.value)

    def _own_call(self, node: ast.Call, parts: list[str] | None) -> Iterator[str]:
        """A built-in function, a function of the archive under a local name, or a method of the archive's modules."""
        if isinstance(node.func, ast.Name):
            name = node.func.id
            if name in ("getattr", "hasattr"):
                literal = len(node.args) == 2 and isinstance(node.args[1], ast.Constant)
                attribute = node.args[1].value if literal else None  # type: ignore[attr-defined]
                if not isinstance(attribute, str) or attribute.startswith("__"):
                    yield f"{quoted(name)} of a computed or special name"
            elif name not in _BUILTINS and name not in self.functions:
                yield quoted(name)
            return
        if not isinstance(node.func, ast.Attribute):
            yield f"a call of {quoted(ast.unparse(node.func), 60)}"
            return
        yield from self._expression(node.func.value)
        name = node.func.attr
        own = name in self.methods and not (name.startswith("__") and name not in _SPECIAL_METHODS)
        if not (own or is_pure(name)) or (is_operation(name) and not is_pure(name)):
            yield f"the method {quoted(name)}"

    def _type(self, node: ast.expr) -> Iterator[str]:
        """Types are names, dotted names and subscripts; never custom classes of C++."""
        for part in ast.walk(node):
            if isinstance(part, (ast.Name, ast.Attribute)):
                parts = dotted(part) or ["?"]
                if _is_custom(parts) or parts[0] == "ops":
                    yield f"the type {quoted('.'.join(parts), 60)}"
            elif not isinstance(part, (ast.Subscript, ast.Tuple, ast.List, ast.Constant, ast.expr_context)):
                yield f"{_kind(part)} in a type"

    def _literal(self, node: ast.expr | None) -> Iterator[str]:
        """Evaluated while the file is loaded."""
        for part in ast.walk(node) if node is not None else ():
            if isinstance(part, ast.Name) and part.id in ("inf", "nan"):
                continue
            if not isinstance(part, _LITERALS):
                yield f"{_kind(part)} in a constant, which is computed while the file is loaded"


def _own_functions(node: ast.FunctionDef) -> Iterator[str]:
    """Local names that are only ever bound to functions or classes of the archive."""
    bound: dict[str, bool] = {argument.arg: False for argument in node.args.args}
    for statement in ast.walk(node):
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.For)):
            value = None if isinstance(statement, ast.For) else statement.value
            ours = value is not None and (dotted(value) or ["?"])[0] == "__torch__"
            for target in _targets(statement):
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        bound[name.id] = ours and bound.get(name.id, True)
    return (name for name, ours in bound.items() if ours)


def _is_custom(parts: list[str]) -> bool:
    """Classes that somebody's C++ library registers."""
    return parts[:3] == ["__torch__", "torch", "classes"]


def _is_allowed(parts: list[str]) -> bool:
    """A call in one of TorchScript's name spaces."""
    if parts[0] == "torch":
        return len(parts) == 2 and is_pure(parts[1])
    if parts[0] == "ops":
        known = {"prim": lambda name: name in PRIM, "aten": is_pure}.get(parts[1])
        return len(parts) == 3 and known is not None and known(parts[2])
    plain = all(not part.startswith("__") for part in parts[1:])
    return parts[0] == "__torch__" and len(parts) > 1 and plain and not _is_custom(parts)


def is_operation(name: str) -> bool:
    """Whether torch has an operation of this name, which a method call could reach whatever the object is."""
    import torch

    return bool(torch._C._jit_get_schemas_for_operator(f"aten::{name}")) or hasattr(torch._C._VariableFunctions, name)


def _kind(node: ast.AST) -> str:
    return f"a {quoted(type(node).__name__)[1:-1]} expression"
