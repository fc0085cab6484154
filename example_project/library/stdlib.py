"""
What is searched: the public functions, classes and methods of Python's standard library.

Modules are imported in another process, without a terminal and without site-packages, for some
of them act as they are imported. That process runs this file as a script, so it imports nothing
but the standard library.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

__all__ = ["Documented", "documented"]

# Modules that greet, open a browser or a window, hook into the terminal, or test Python itself, and
# the paths of the platform that this is not.
SKIPPED = {
    "antigravity",
    "distutils",
    "idlelib",
    "lib2to3",
    "rlcompleter",
    "test",
    "this",
    "tkinter",
    "turtle",
    "turtledemo",
    *({"ntpath", "posixpath"} - {os.path.__name__}),
}
SKIPPED_PARTS = {"test", "tests"}

# Modules that are there to be seen through another one.
PUBLIC_NAMES = {os.name: "os", "nt": "os", os.path.__name__: "os.path", "genericpath": "os.path"}

# Variables by which a module could find a screen.
SCREENS = {"BROWSER", "DISPLAY", "WAYLAND_DISPLAY"}

# After "->" in the call that begins a docstring: "range object", or the summary itself.
RESULT_WORDS = 4

# Brackets in brackets, once.
ARGUMENTS = r"\((?:[^()]|\([^()]*\))*\)"

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Documented(NamedTuple):
    """An object with a docstring; ``kind`` is "function", "class" or "method"."""

    name: str
    module: str
    kind: str
    signature: str
    summary: str
    doc: str


class Found(NamedTuple):
    """An object at one of the places that show it, as the module or the class holds it."""

    module: str
    qualname: str
    kind: str
    raw: Any

    @property
    def name(self) -> str:
        """The full name, without ``builtins``, as Python prints it."""
        return self.qualname if self.module == "builtins" else f"{self.module}.{self.qualname}"

    @property
    def bare(self) -> Any:
        """The object without what binds it to a class or an instance."""
        return getattr(self.raw, "__func__", self.raw)

    @property
    def oddity(self) -> tuple[Any, ...]:
        """Smallest for the place by which an object is known."""
        own_name = self.qualname.rpartition(".")[2] == getattr(self.raw, "__name__", "")
        own_module = self.module == public_module(home(self.raw))
        return self.name.count("."), not own_module, not own_name, self.name


def documented() -> list[Documented]:
    """Everything in the standard library that has a docstring, by name."""
    # -I and -S keep out whatever shadows or patches the library: the current folder, site-packages.
    command = [sys.executable, "-I", "-S", "-X", "utf8", __file__]
    child = subprocess.run(  # noqa: S603
        command,
        check=True,
        env={name: value for name, value in os.environ.items() if name not in SCREENS},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return [Documented(*fields) for fields in json.loads(child.stdout)]


def main() -> None:
    """Print what ``documented`` reads, and nothing that a module has to say."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        json.dump(list(walk()), answer)


def walk() -> Iterator[Documented]:
    """Import the library, and describe each object once, by name."""
    found = [item for module in modules() for item in members(module)]
    for item in sorted(known_places(found), key=lambda item: item.name):
        if described := describe(item):
            yield described


# Modules


def modules() -> Iterator[ModuleType]:
    warnings.simplefilter("ignore")
    for name in sorted(sys.stdlib_module_names - SKIPPED):
        yield from import_tree(name)


def import_tree(name: str) -> Iterator[ModuleType]:
    last = name.rpartition(".")[2]
    if last.startswith("_") or last in SKIPPED_PARTS:
        return
    module = import_or_none(name)
    if module is None:
        return
    yield module
    for child in sorted(
        info.name for info in pkgutil.iter_modules(getattr(module, "__path__", ()))
    ):
        yield from import_tree(f"{name}.{child}")


def import_or_none(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # modules of another platform, and those that refuse
        return None


# Objects


def members(module: ModuleType) -> Iterator[Found]:
    """The public functions and classes of a module, and the methods of the classes."""
    place = public_module(module.__name__)
    for name in public_names(module):
        value = value_or_none(module, name)
        if isinstance(value, type) and belongs(name, value, module):
            yield Found(place, name, "class", value)
            for method, raw in sorted(vars(value).items()):
                if not method.startswith("_") and inspect.isroutine(raw):
                    yield Found(place, f"{name}.{method}", "method", raw)
        elif inspect.isroutine(value) and belongs(name, value, module):
            yield Found(place, name, "function", value)


def public_names(module: ModuleType) -> list[str]:
    names: Iterable[str] = getattr(module, "__all__", vars(module))
    return sorted(name for name in names if not name.startswith("_"))


def value_or_none(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name)
    except (AttributeError, ImportError):  # names that need a part of Python that is not built
        return None


def belongs(name: str, value: Any, module: ModuleType) -> bool:
    """Whether ``module`` shows ``value`` to the world, rather than having imported it."""
    own = home(value)
    if module is builtins or family(own) == family(module.__name__):
        return True
    return own.startswith("_") and name in getattr(module, "__all__", ())


def home(value: Any) -> str:
    """The module that ``value`` says it is from; methods of an instance say what its class does."""
    instance = getattr(value, "__self__", None)
    return str(getattr(value, "__module__", None) or type(instance).__module__)


def public_module(name: str) -> str:
    return PUBLIC_NAMES.get(name, name)


def family(name: str) -> str:
    """The package of a module, or of its part in C: "bz2" for "_bz2"."""
    return public_module(name).partition(".")[0].lstrip("_")


def known_places(found: Iterable[Found]) -> Iterable[Found]:
    """One place for each object, and one object for each name."""
    by_identity: dict[int, Found] = {}
    for item in found:
        other = by_identity.setdefault(id(item.bare), item)
        by_identity[id(item.bare)] = min(item, other, key=lambda item: item.oddity)
    return {item.name: item for item in by_identity.values()}.values()


# Descriptions


def describe(item: Found) -> Documented | None:
    doc = docstring(item)
    if not doc:
        return None
    call, summary = heading(item, doc)
    signature = call or signature_of(item)
    return Documented(item.name, item.module, item.kind, signature, summary, doc)


def docstring(item: Found) -> str:
    """The docstring of the object itself, none that it inherits."""
    doc = vars(item.raw).get("__doc__") if item.kind == "class" else item.bare.__doc__
    return inspect.cleandoc(doc).strip() if isinstance(doc, str) else ""


def heading(item: Found, doc: str) -> tuple[str, str]:
    """The arguments and the summary: docstrings of functions in C may begin with a call."""
    name = re.escape(item.qualname.rpartition(".")[2])
    call = re.compile(rf"(?:[\w.]+\.)?{name}({ARGUMENTS})[\s:]*-*>?\s*(?:None\.)?\s*(.*)")
    lines = [line.strip() for line in doc.splitlines() if line.strip()]
    matches = [call.match(line) for line in lines]
    shown = matches[0][1] if matches[0] else ""
    for line, match in zip(lines, matches, strict=True):
        summary = match[2] if match else line
        if not match or len(summary.split()) > RESULT_WORDS:
            return shown, summary
    return shown, lines[0]


def signature_of(item: Found) -> str:
    try:
        signature = inspect.signature(item.bare if item.kind == "method" else item.raw)
    except Exception:  # functions in C without one, and annotations that cannot be evaluated
        return ""
    if item.kind == "method" and not isinstance(item.raw, staticmethod):
        signature = signature.replace(parameters=[*signature.parameters.values()][1:])
    return ADDRESS.sub("", str(signature))


if __name__ == "__main__":
    main()
