"""The source text of TorchScript: whether Python reads it as TorchScript does, and its warnings taken out."""

from __future__ import annotations

import ast
import io
import re
import tokenize

from auditor.loading.quoting import quoted

_TEXT = re.compile(r"[\n\x20-\x7e]*")
_STRINGS = re.compile(r"\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])*'")
_WARN = ["torch", "warn"]
"""Allowed as a statement, since many layers of torch's own have it, and taken out by `without_warnings`."""


def unreadable(text: str) -> str | None:
    """Why Python's parser and TorchScript's could read the text differently; ``None`` for what the printer writes."""
    if not _TEXT.fullmatch(text):
        return "which has characters that TorchScript does not write"
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            string = token.string if token.type == tokenize.STRING else "''"
            if token.type == tokenize.COMMENT or string[0] not in "'\"" or string[:3] in ("'''", '"""'):
                return f"with {quoted(token.string, 40)}, which TorchScript does not write"
        if "\\\n" in text or ";" in _STRINGS.sub("", text):
            return "with several statements on a line, or one on several, which TorchScript does not write"
        ast.parse(text)
    except (SyntaxError, tokenize.TokenError, ValueError, RecursionError, MemoryError) as error:
        return f"which does not parse ({quoted(type(error).__name__)})"
    return None


def without_warnings(text: str) -> str:
    """The source with ``pass`` in place of every ``torch.warn(…)``, which would print text from the file."""
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and is_warning(node):
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            lines[first:last] = [" " * node.col_offset + "pass", *([""] * (last - first - 1))]
    return "\n".join(lines)


def is_warning(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and dotted(node.value.func) == _WARN


def dotted(node: ast.AST) -> list[str] | None:
    """``torch.nn.relu`` → its parts; ``None`` for what is no chain of names."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return [node.id, *reversed(parts)]
