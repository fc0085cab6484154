"""Which part of the package may know which: arrows go down, and extras are optional."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator

import pytest

from dorm_vector.engines import ENGINES, VENDORS
from tests.support.imports import (
    PACKAGE,
    When,
    circles,
    graph,
    imports,
    imports_of,
    modules,
)

# From the ground up: a module imports those of the lines before its own, and of its own line those
# that do not import it. A name stands for what is in its folder too, unless that has a line of its
# own. CONTRIBUTING.md says what is where.
LAYERS = """
    conf  codecs  declarations  display  options  packing  types
    arrays  parameters  registry  sparse  values
    kinds
    sql
    backends.libsql
    engines.base
    engines  engines.side_tables
    engines.postgresql  engines.sqlite  engines.libsql
    misuse  undefined  forms  anyvector  fields
    expressions  lookups
    aggregates  distances  functions
    index_base
    methods
    diskann  text_indexes  constraints  indexes  operations
    search
    abulk  bulk  embeddings  instances  querysets
    database_checks  migration_checks
    checks  models
    .
    admin  contrib  management  templatetags  testing
    apps
"""

# What only some projects have installed; by the modules that need it, which are only imported
# where it is used.
EXTRAS = {
    "numpy": {"arrays"},
    "psycopg": {"engines.postgresql.copying", "engines.postgresql.dumpers"},
    "libsql": {"backends.libsql"},
    "orjson": set(),
    "sqlite_vec": set(),
    "import_export": {"contrib.import_export"},
    "rest_framework": {"contrib"},
    "drf_spectacular": {"contrib"},
    "ninja": {"contrib"},
    "django_filters": {"contrib"},
    "model_bakery": {"contrib"},
    "factory": {"contrib"},
}

IMPORTS = imports()
RUNNING = [each for each in IMPORTS if each.when is not When.NEVER]


def short(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".") or "."


def is_in(module: str, folder: str) -> bool:
    """Whether a module is that one, or in the folder of that name."""
    return module == folder or module.startswith(f"{folder}.")


def layer(module: str) -> int:
    """The number of the line that names a module, or most of its folders."""
    places = {
        name: number for number, line in enumerate(LAYERS.split("\n")) for name in line.split()
    }
    found = [name for name in places if is_in(short(module), name)]
    assert found, f"{module} has no place in LAYERS"
    return places[max(found, key=len)]


def place(each: object) -> str:
    return f"{each.module}:{each.line} imports {each.imported}"  # type: ignore[attr-defined]


def test_no_circle() -> None:
    assert circles(graph(RUNNING)) == []


def test_arrows_go_down() -> None:
    assert [
        place(each)
        for each in RUNNING
        if each.imported in modules() and layer(each.imported) > layer(each.module)
    ] == []


def test_what_types_name_is_near() -> None:
    folder = {module: module.rpartition(".")[0] for module in modules()}
    assert [
        place(each)
        for each in IMPORTS
        if each.when is When.NEVER
        and each.imported in folder
        and layer(each.imported) > layer(each.module)
        and folder[each.imported] != folder[each.module]
    ] == []


def test_no_relative_imports() -> None:
    assert [place(each) for each in IMPORTS if each.imported.startswith(".")] == []


def test_the_backend_knows_nothing_of_vectors() -> None:
    known = {"dorm_vector.sql"}
    assert [
        place(each)
        for each in IMPORTS
        if is_in(short(each.module), "backends")
        and each.imported.startswith(PACKAGE)
        and not is_in(short(each.imported), "backends")
        and each.imported not in known
    ] == []


def test_engines_do_not_know_each_other() -> None:
    engines = ("postgresql", "sqlite", "libsql")
    assert [
        place(each)
        for each in IMPORTS
        for engine in engines
        for other in engines
        if engine != other
        and is_in(short(each.module), f"engines.{engine}")
        and is_in(short(each.imported), f"engines.{other}")
    ] == []


def test_extras_are_optional() -> None:
    at_import = graph(each for each in IMPORTS if each.when is When.AT_IMPORT and not each.may_fail)
    needing = {short(module) for module in at_import}
    for extra, homes in EXTRAS.items():
        found = {
            short(each.module)
            for each in IMPORTS
            if each.imported.partition(".")[0] == extra
            and each.when is When.AT_IMPORT
            and not each.may_fail
        }
        assert {name for name in found if not any(is_in(name, home) for home in homes)} == set()
        needing -= found
    # And nobody imports these as it is imported, but for their own room.
    homes = {home for named in EXTRAS.values() for home in named}
    assert [
        f"{module} imports {imported}"
        for module, others in at_import.items()
        for imported in others
        for home in homes
        if is_in(short(imported), home)
        and not any(is_in(short(module), each) for each in homes)
        # The editor that it extends needs no client.
        and imported != "dorm_vector.backends.libsql.schema"
    ] == []


@pytest.mark.parametrize("name", sorted({*ENGINES, *VENDORS} - {"unsupported"}))
def test_no_engine_is_named_elsewhere(name: str) -> None:
    """
    What differs by database is asked of the engine, and not of its name.

    An expression may have its SQL with it by the names of engines, and an index method those that
    have it: ``sql`` and ``engines`` of a class are data, which no code here looks a name up in.
    """
    assert [
        f"{module}:{node.lineno}"
        for module, tree in outside_of_engines()
        for node in decisions(tree)
        if isinstance(node, ast.Constant) and node.value == name
    ] == []


def decisions(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module, without what classes have by the names of engines."""
    for node in ast.iter_child_nodes(tree):
        by_engine = isinstance(tree, ast.ClassDef) and isinstance(node, ast.Assign)
        if by_engine and ast.unparse(node.targets[0]) in ("sql", "engines"):
            continue
        yield node
        yield from decisions(node)


def test_no_vendor_is_asked_for_elsewhere() -> None:
    asked = [
        f"{module}:{node.lineno}"
        for module, tree in outside_of_engines()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "vendor")
        or (isinstance(node, ast.FunctionDef) and node.name.startswith("as_") and is_vendors(node))
    ]
    assert asked == []


def is_vendors(function: ast.FunctionDef) -> bool:
    return function.name.removeprefix("as_") in {*VENDORS, "mysql", "oracle"}


def outside_of_engines() -> list[tuple[str, ast.AST]]:
    return [
        (module, ast.parse(path.read_text()))
        for module, path in modules().items()
        if not any(is_in(short(module), folder) for folder in ("engines", "backends"))
    ]


class TestReading:
    """That the walk sees what there is to see."""

    SOURCE = textwrap.dedent(
        """
        import a
        from b import c
        from typing import TYPE_CHECKING

        if TYPE_CHECKING:
            from d import e

        try:
            import f
        except ImportError:
            f = None

        class G:
            def method(self):
                from h import i
                return lambda: __import__
        """
    )

    def test_all_imports(self) -> None:
        found = imports_of("m", ast.parse(self.SOURCE))
        assert [(each.imported, each.when.name, each.may_fail) for each in found] == [
            ("a", "AT_IMPORT", False),
            ("b.c", "AT_IMPORT", False),
            ("typing.TYPE_CHECKING", "AT_IMPORT", False),
            ("d.e", "NEVER", False),
            ("f", "AT_IMPORT", True),
            ("h.i", "IN_FUNCTION", False),
        ]

    def test_names_of_engines(self) -> None:
        source = 'class A:\n    sql = {"x": 1}\n    other = {"x": 2}\n\ndef sql():\n    return "x"'
        found = [n.lineno for n in decisions(ast.parse(source)) if getattr(n, "value", 0) == "x"]
        assert found == [3, 6]

    def test_circles(self) -> None:
        arrows = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set[str](), "e": {"a"}}
        assert circles(arrows) == [["a", "b", "c"]]

    def test_a_module_without_a_layer(self) -> None:
        with pytest.raises(AssertionError, match="cellar has no place in LAYERS"):
            layer("dorm_vector.cellar")
