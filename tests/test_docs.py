"""
The documentation is true: its examples run, and its tables say what the code says.

The ``python`` blocks of a page are executed in their order, in one namespace, on each engine.
``pycon`` blocks are sessions whose output is compared. Three things are told by a block itself:

- its caption (in Markdown: a comment in its first line) is the file that it stands for. Later
  blocks can import it. What ``settings.py`` says is in force from there on, and the tables of
  ``models.py`` are created, or get the indexes that are new.
- the classes ``sqlite``, ``postgresql`` and ``libsql`` restrict it to these engines, and one like
  ``django6.0`` to Django from that version on.
- ``console`` and other languages are not executed.
"""

from __future__ import annotations

import doctest
import inspect
import re
import shlex
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.management import get_commands, load_command_class
from django.db import connection, connections
from django.test import override_settings

import dorm_vector
from dorm_vector import conf
from dorm_vector.engines import ENGINES
from dorm_vector.engines.base import Engine
from dorm_vector.engines.libsql import LibSQLEngine, search
from dorm_vector.engines.libsql import engine as libsql
from dorm_vector.engines.postgresql import PostgreSQLEngine
from dorm_vector.engines.sqlite import SQLiteEngine
from dorm_vector.engines.sqlite.extension import TIERS
from dorm_vector.options import Word
from dorm_vector.registry import METHODS, METRICS
from dorm_vector.sql import SQL, fill
from tests.support.blocks import Block, blocks
from tests.support.paths import DOCS, ROOT

PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.rst"))]
#: Pages that go on where another one ends.
CONTINUED = {f"tutorial_{name}.rst": DOCS / "tutorial.rst" for name in ("postgresql", "libsql")}


def _unregister_but(models: set[Any]) -> None:
    """Take models off the admin again that were not registered with it."""
    for model in {*admin.site._registry} - models:
        admin.site.unregister(model)


class Runner:
    """Executes the blocks of one page."""

    def __init__(self, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack = stack
        self.monkeypatch = monkeypatch
        self.namespace: dict[str, Any] = {}
        # What a page registers goes with it: its models do.
        stack.callback(_unregister_but, set(admin.site._registry))
        self.tables: dict[str, Any] = {}

    def run(self, block: Block) -> None:
        if block.language == "pycon":
            self.session(block)
        elif block.caption:
            self.file(block)
        else:
            self.execute(block, self.namespace)

    def execute(self, block: Block, namespace: dict[str, Any]) -> None:
        # The empty lines let a traceback point at the page.
        source = "\n" * block.line + block.source
        exec(compile(source, str(block.page), "exec"), namespace)

    def session(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(
            block.source, self.namespace, block.page.name, str(block.page), block.line
        )
        output: list[str] = []
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
        runner.run(test, out=output.append, clear_globs=False)
        assert not runner.failures, "".join(output)
        self.namespace.update(test.globs)

    def file(self, block: Block) -> None:
        name = block.caption.removesuffix(".py").replace("/", ".")
        app, _, last = name.rpartition(".")
        if last == "models":
            apps.all_models[app].clear()  # a model may be declared again, with more in it
        module = types.ModuleType(name)
        if last == "settings":  # a block may go on from what startproject writes
            module.__dict__["INSTALLED_APPS"] = list(settings.INSTALLED_APPS)
        self.monkeypatch.setitem(sys.modules, name, module)
        self.execute(block, module.__dict__)
        self.namespace.update(public(module))
        if last == "models":
            apps.clear_cache()
            self.create_tables(apps.all_models[app])
        elif last == "settings":
            changed = {key: value for key, value in public(module).items() if key in SAFE_SETTINGS}
            self.stack.enter_context(override_settings(**changed))

    def create_tables(self, models: dict[str, Any]) -> None:
        with connection.schema_editor() as editor:
            for name, model in models.items():
                known = self.tables.get(name)
                if known is None:
                    editor.create_model(model)
                for index in model._meta.indexes if known else ():
                    if index not in known._meta.indexes:
                        editor.add_index(model, index)
        self.tables.update(models)

    def drop_tables(self) -> None:
        with connection.schema_editor() as editor:
            for model in reversed(self.tables.values()):
                editor.delete_model(model)


# Settings that can be changed while Django runs.
SAFE_SETTINGS = {"DORM_VECTOR", "DATABASE_ROUTERS"}


def public(module: types.ModuleType) -> dict[str, Any]:
    return {key: value for key, value in vars(module).items() if not key.startswith("_")}


@pytest.fixture(params=["sqlite", "postgresql", "libsql"])
def database(request: pytest.FixtureRequest, db: None, tmp_path: Path) -> Iterator[str]:
    """Make a database of the engine the default one, through a connection of its own."""
    (alias,) = (alias for alias, name in settings.ENGINES.items() if name == request.param)
    original = connections["default"]
    template = connections[alias]
    changes = {} if request.param == "postgresql" else {"NAME": str(tmp_path / "db")}
    connections["default"] = type(template)({**template.settings_dict, **changes}, "default")
    try:
        yield request.param
    finally:
        connections["default"].close()
        connections["default"] = original


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = CONTINUED.get(page.name)
    found = [*(blocks(before) if before else ()), *blocks(page)]
    labels = {block.caption.split("/")[0] for block in found if "models.py" in block.caption}
    for label in labels:
        package = types.ModuleType(label)
        package.__path__ = [str(DOCS)]
        monkeypatch.setitem(sys.modules, label, package)
    with ExitStack() as stack:
        stack.enter_context(override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, *labels]))
        runner = Runner(stack, monkeypatch)
        stack.callback(lambda: [apps.all_models.pop(label) for label in labels])
        stack.callback(runner.drop_tables)
        for registry in (METHODS, METRICS):  # a page may have a class of its own
            stack.callback(registry.update, dict(registry))
            stack.callback(registry.clear)
        for block in found:
            if block.is_for(database):
                runner.run(block)


def test_every_block_is_found() -> None:
    """A block that the patterns miss would never be run."""
    for page in PAGES:
        marks = re.findall(
            r"^(?:\s*\.\. code-block:: |\s*```)(?:python|pycon)\b", page.read_text(), re.M
        )
        assert len(marks) == len(list(blocks(page))), page.name


# What is typed

#: Programs that blocks of commands may call, beside Python's and Django's.
PROGRAMS = {"createdb", "django-admin", "make", "pip", "sed", "sudo", "tox"}


def typed(page: Path) -> Iterator[str]:
    """The commands of a page, without the ends of lines that go on."""
    text = re.sub(r"\\\n\s*(?:> )?", "", page.read_text())
    pattern = r"```console\n(.*?)^```|code-block:: console\n\n((?:(?: +.*)?\n)+)"
    for found in re.finditer(pattern, text, re.M | re.S):
        yield from re.findall(r"^ *\$ (.+)", found[1] or found[2], re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    """Commands of ``manage.py`` are there, and take the arguments; programs are known ones."""
    for command in typed(page):
        words = shlex.split(re.sub(r"^\w+=\S+ ", "", command).partition(" < ")[0])
        assert is_understood(words), command


def is_understood(words: list[str]) -> bool:
    if words[:2] == ["python", "manage.py"]:
        _parse(words[2], words[3:])
        return True
    if words[0].endswith("python"):
        return words[1] == "-m" or (ROOT / words[1]).exists()
    return words[0] in PROGRAMS or (ROOT / words[0]).exists()


def _parse(name: str, arguments: list[str]) -> None:
    neighbours = {"migrate_schemas"}
    if name not in neighbours:
        command = load_command_class(get_commands()[name], name)
        command.create_parser("manage.py", name).parse_args(arguments)


# Tables


def table(page: str, label: str) -> list[list[str]]:
    """The rows of the first simple table behind ``.. _label:``, without the head."""
    text = (DOCS / page).read_text().split(f".. _{label}:")[1]
    border, _, body = re.search(
        r"^(=+(?: +=+)+)\n(.*\n)\1\n((?:.+\n)+?)\1$", text, re.MULTILINE
    ).groups()
    spans = [match.span() for match in re.finditer("=+", border)]
    ends = [*(start for start, _ in spans[1:]), None]
    return [
        [line[start:end].strip() for (start, _), end in zip(spans, ends, strict=True)]
        for line in body.splitlines()
    ]


def code(text: Any) -> str:
    return f"``{text}``"


TABLE_ENGINES: list[type[Engine]] = [PostgreSQLEngine, SQLiteEngine, LibSQLEngine]


def test_table_of_columns() -> None:
    column = SQL("column")
    assert table("engines.rst", "engines-columns") == [
        [
            "Column type",
            *(code(e.column_types["vector"].format(dimensions="n")) for e in TABLE_ENGINES),
        ],
        [
            "CHECK constraint",
            *(
                code(check.format(column="column", dimensions="n")) if check else "none"
                for check in (e.column_checks.get("vector") for e in TABLE_ENGINES)
            ),
        ],
        ["A parameter", *(code(e.placeholders.get("vector", "%s")) for e in TABLE_ENGINES)],
        [
            "SELECT reads",
            *(
                code(fill(e.select_templates.get("vector", "{a}"), a=column).sql)
                for e in TABLE_ENGINES
            ),
        ],
    ]


def test_table_of_distances() -> None:
    # That of Jaccard is computed from Hamming's where the database has none.
    metrics: dict[str, Any] = {name: m for name, m in METRICS.items() if name != "jaccard"}
    names = {"a": SQL("a"), "b": SQL("b"), "norm_a": SQL("norm(a)"), "norm_b": SQL("norm(b)")}

    def shown(engine: type[Engine], metric: Any) -> str:
        template = engine.distances.get(metric.metric) or engine.own(metric.sql)
        return code(fill(template, **names).sql) if template else "none"

    assert table("engines.rst", "engines-distances") == [
        [f"`{metric.__name__}`", code(name), *(shown(engine, metric) for engine in TABLE_ENGINES)]
        for name, metric in metrics.items()
    ]


def test_table_of_indexes() -> None:
    def built(method: str) -> list[str]:
        return ["built" if method in e.index_methods else "not built" for e in TABLE_ENGINES]

    def most(numbers: list[int | None], otherwise: str) -> list[str]:
        return [f"{number:,}" if number else otherwise for number in numbers]

    assert table("engines.rst", "engines-indexes") == [
        ["`VectorIndex`", *built("vector")],
        ["`HnswIndex`", *built("hnsw")],
        ["`IvfflatIndex`", *built("ivfflat")],
        ["`TextIndex`", *built("text")],
        [
            "Dimensions of an index, at most",
            *most([e.index_dimensions.get("vector") for e in TABLE_ENGINES], "no index"),
        ],
        [
            'The same with ``precision="half"``',
            *most(
                # Where all indexes are over float32, the option changes nothing.
                [
                    e.index_dimensions.get("halfvec", e.index_dimensions["vector"])
                    for e in TABLE_ENGINES
                ],
                "no index",
            ),
        ],
        [
            "Dimensions under ``unique`` and ``db_index``, at most",
            *most([e.btree_dimensions for e in TABLE_ENGINES], "no limit"),
        ],
    ]


def test_table_of_operator_classes() -> None:
    def opclass(method: str, metric: str) -> str:
        kind = "bit" if metric in ("hamming", "jaccard") else "vector"
        classes = METHODS[method].operator_classes(kind)
        return next((code(name) for name, of in classes.items() if of == metric), "none")

    assert table("indexes.rst", "indexes-operator-classes") == [
        [code(metric), opclass("hnsw", metric), opclass("ivfflat", metric)] for metric in METRICS
    ]


def taken(option: Any) -> str:
    if isinstance(option, Word):
        return ", ".join(f'``"{word}"``' for word in option.words)
    return f"{option.least:,} to {option.greatest:,}"


def test_table_of_index_options() -> None:
    assert table("indexes.rst", "indexes-options") == [
        [code(name), f"`{index.__name__}`", taken(option)]
        for index in METHODS.values()
        if not index.portable
        for name, option in index.options.items()
    ]


def test_table_of_graph_options() -> None:
    defaults = {**libsql.PARAMETERS, "insert_l": 70, "search_l": search.SEARCH_L}
    assert [row[:3] for row in table("indexes.rst", "indexes-graph-options")] == [
        [
            code(name),
            taken(option),
            f'``"{value}"``' if isinstance(value := defaults[name], str) else str(value),
        ]
        for name, option in dorm_vector.VectorIndex.options.items()
        if option.of == "graph"
    ]


def listed(page: str, label: str) -> list[list[str]]:
    """The rows of the first ``list-table`` behind a label."""
    text = (DOCS / page).read_text().split(f".. _{label}:")[1]
    rows = text.split("   :header-rows: 1\n\n")[1].split("\n\n")[0].split("   * -")[1:]
    return [[cell.strip() for cell in row.split("\n     -")] for row in rows]


def test_table_of_what_else_there_is() -> None:
    """README has the same as the page."""
    section = (ROOT / "README.md").read_text().split("\n## What else there is\n")[1]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    _head, _border, *body = rows
    assert [[cell.replace("`nearest()`", "`nearest`") for cell in row] for row in body] == listed(
        "comparison.rst", "comparison-table"
    )[1:]


def test_table_of_engines_in_readme() -> None:
    section = (ROOT / "README.md").read_text().split("\n## Engines\n")[1]
    rows = {
        cells[0]: cells[1:]
        for line in section.splitlines()
        if line[:1] == "|" and len(cells := line.strip("| ").split(" | ")) == 4
    }
    assert rows["Column"] == [
        f"`{e.column_types['vector'].format(dimensions='n')}`"
        + (" with a CHECK" if e.column_checks.get("vector") else "")
        for e in TABLE_ENGINES
    ]
    assert rows["`L1Distance`"] == ["yes" if "l1" in e.distances else "no" for e in TABLE_ENGINES]
    assert rows["Sparse vectors"] == [
        "yes" if "sparsevec" in e.column_types else "no" for e in TABLE_ENGINES
    ]


def test_table_of_errors() -> None:
    for error_code, example, message in table("fields.rst", "fields-errors"):
        with pytest.raises(ValidationError) as caught:
            dorm_vector.VectorField(3).clean(eval(example.strip("`")), None)
        assert (code(caught.value.code), caught.value.messages) == (error_code, [message])


# What has an entry


def test_every_check_has_an_entry() -> None:
    package = Path(dorm_vector.__file__).parent
    source = "".join(path.read_text() for path in package.rglob("*.py"))
    entries = re.findall(r"^dorm_vector\.([EWI]\d+)\n-+$", (DOCS / "checks.rst").read_text(), re.M)
    assert sorted(entries) == sorted(re.findall(r'id="dorm_vector\.(\w+)"', source))


def test_every_setting_has_an_entry() -> None:
    text = (DOCS / "settings.rst").read_text()
    assert re.findall(r"^``(\w+)``\n~+$", text, re.M) == list(conf.DEFAULTS)
    defaults: dict[str, Any] = {}
    exec(next(blocks(DOCS / "settings.rst")).source, defaults)
    assert defaults["DORM_VECTOR"] == conf.DEFAULTS
    for name, choices in conf.CHOICES.items():
        entry = text.split(f"``{name}``\n~")[1].split("\n~")[0]
        assert [choice for choice in choices if code(choice) not in entry.replace('"', "")] == []


def test_every_engine_and_tier_is_named() -> None:
    text = (DOCS / "engines.rst").read_text()
    assert [name for name in ENGINES if f'``"{name}"``' not in text] == []
    text = (DOCS / "installation.rst").read_text()
    assert [name for name in TIERS if f"``{name}``" not in text] == []


def test_every_attribute_of_an_engine_is_described() -> None:
    text = (DOCS / "engines.rst").read_text()
    # Of the contract and its parts; what is no ClassVar is made by the engine.
    attributes = [
        name
        for part in Engine.__mro__
        for name, kind in vars(part).get("__annotations__", {}).items()
        if kind.startswith("ClassVar")
    ]
    assert [name for name in attributes if f"``{name}``" not in text] == []


def described() -> dict[str, str]:
    """The signatures of the documentation, by the name, of classes and functions."""
    text = "".join(page.read_text() for page in sorted(DOCS.glob("*.rst"), reverse=True))
    pattern = r"^\.\. py:(?:class|function):: (\w+)(\(.*\))?$"
    return dict(re.findall(pattern, text, re.M))


def test_every_public_name_is_described() -> None:
    assert set(dorm_vector.__all__) <= described().keys()
    names = [re.sub(r":py:func:|[`]", "", row[0]) for row in table("api.rst", "api-names")]
    assert sorted(names) == sorted(dorm_vector.__all__)


@pytest.mark.parametrize("name", dorm_vector.__all__)
def test_every_public_name_is_in_an_example(name: str) -> None:
    pattern = re.compile(rf"\b{name}\(|\.{name}\b|\b{name}\.|import .*\b{name}\b")
    assert any(pattern.search(block.source) for page in PAGES for block in blocks(page))


@pytest.mark.parametrize(
    "name",
    [name for name in dorm_vector.__all__ if inspect.isfunction(getattr(dorm_vector, name))],
)
def test_signatures_of_functions(name: str) -> None:
    """Each argument is described, with its default; what is ``**`` in the code may be more."""
    namespace: dict[str, Any] = {}
    exec(f"def described{described()[name]}: pass", namespace)
    written = inspect.signature(namespace["described"]).parameters
    arguments = inspect.signature(getattr(dorm_vector, name)).parameters.values()
    named = [each for each in arguments if each.kind is not each.VAR_KEYWORD]
    there = [written[each.name] for each in named]
    assert [(each.kind, each.default) for each in there] == [
        (each.kind, each.default) for each in named
    ]
