"""
How large the package's files and functions are, and where its public signatures say ``Any``.

``python -m tests.support.sizes`` prints it.
"""

from __future__ import annotations

import ast
import inspect
import statistics
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import dorm_vector
from tests.support.imports import PACKAGE, modules

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
# Of methods with underscores, those that users call by other names.
CALLED = {"__init__", "__enter__", "__call__"}


class Function(NamedTuple):
    """A function of the package, and its lines without those of a docstring."""

    path: str
    lines: int


def lines_of_files() -> dict[str, int]:
    return {name: len(path.read_text().splitlines()) for name, path in modules().items()}


def functions() -> list[Function]:
    return [
        Function(f"{module}.{node.name}", _lines(node))
        for module, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, FunctionNode)
    ]


def _lines(node: FunctionNode) -> int:
    first = node.body[0]
    lines = (node.end_lineno or 0) - node.lineno + 1
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def median(found: list[Function]) -> float:
    return statistics.median(each.lines for each in found)


def public_signatures() -> dict[str, Callable[..., Any]]:
    """
    What users call: the functions of ``dorm_vector.__all__``, and the methods of its classes.

    Not those with which the classes answer to Django, which has its own names and types for them.
    """
    found: dict[str, Callable[..., Any]] = {}
    for name in dorm_vector.__all__:
        named = getattr(dorm_vector, name)
        if inspect.isclass(named):
            for cls in filter(_is_ours, named.__mro__):
                found.update(dict(_methods(cls)))
        else:
            found[name] = named
    return found


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    theirs = {name for base in cls.__mro__ if not _is_ours(base) for name in vars(base)}
    for name, found in vars(cls).items():
        function = getattr(found, "fget", None) or inspect.unwrap(getattr(found, "__func__", found))
        is_public = name in CALLED or not (name.startswith("_") or name in theirs)
        if is_public and inspect.isfunction(function):
            yield f"{cls.__name__}.{name}", function


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith(PACKAGE)


def says_any(function: Callable[..., Any]) -> bool:
    """
    Whether a parameter, or what is returned, is Any.

    Where there are overloads they are what is public. What ``**`` hands on to Django does not
    count.
    """
    public = typing.get_overloads(function) or [function]
    return any(
        kind == "Any"
        for each in public
        for name, kind in each.__annotations__.items()
        if name not in _keywords(each)
    )


def _keywords(function: Callable[..., Any]) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name for each in parameters if each.kind is each.VAR_KEYWORD}


def main() -> None:
    files, found = lines_of_files(), functions()
    for name in sorted(files, key=files.__getitem__)[-5:]:
        print(files[name], "lines:", name)
    print("median function:", median(found), "lines")
    for each in sorted(found, key=lambda each: each.lines)[-5:]:
        print(each.lines, "lines:", each.path)
    public = public_signatures()
    saying = sorted(name for name, function in public.items() if says_any(function))
    print(f"Any in {len(saying)} of {len(public)} public signatures:", *saying)


if __name__ == "__main__":
    import django
    from django.conf import settings

    settings.configure()
    django.setup()
    main()
