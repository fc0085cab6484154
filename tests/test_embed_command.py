"""``manage.py embed``: what it is told, what it says, and what it ends with."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from dorm_vector.management.commands import embed as command
from tests.support.embedding import vector_of
from tests.testapp.models import Item

FIELD = "testapp.Item.embedding"
HERE = "tests.support.embedding."


@pytest.fixture
def items(alias: str) -> Any:
    rows = Item.objects.using(alias)
    rows.bulk_create(Item(name=f"n{number}") for number in range(10))
    return rows


def run(rows: Any, embedder: str = "by_name", *arguments: str, **options: Any) -> str:
    output = StringIO()
    with_embedder = ("--with", f"{HERE}{embedder}")
    call_command(
        "embed", FIELD, *with_embedder, *arguments, database=rows.db, stdout=output, **options
    )
    return output.getvalue()


class TestOutput:
    def test_for_people(self, items: Any) -> None:
        said = run(items, "by_name", "--batch-size=4")
        assert said.startswith("10 rows embedded in 3 calls and 0.")
        assert said.endswith(" rows/s).\n")
        assert [row.embedding for row in items.all()] == [vector_of(row.name) for row in items]

    def test_what_is_left(self, items: Any) -> None:
        assert run(items, "eventually", "--limit=4").endswith(" rows/s), 6 rows left.\n")
        assert run(items, verbosity=0) == ""

    def test_dry_run(self, items: Any) -> None:
        said = run(items, "by_name", "--dry-run", "--batch-size=4")
        assert said == "10 rows would be embedded, in 3 calls or more.\n"
        found = json.loads(run(items, "by_name", "--dry-run", "--json", "--limit=3"))
        assert found == {"rows": 3, "calls": 1}
        assert items.filter(embedding=None).count() == 10

    def test_json(self, items: Any) -> None:
        found = json.loads(run(items, "Counting", "--json"))
        assert 0 <= found.pop("seconds") < 60
        assert found == {
            "embedded": 10, "failed": 0, "skipped": 0, "left": 0, "calls": 1, "errors": [],
        }  # fmt: skip

    def test_all_of_them(self, items: Any) -> None:
        items.update(embedding=[1, 2, 3])
        assert json.loads(run(items, "by_name", "--json"))["embedded"] == 0
        found = json.loads(run(items, "by_name", "--json", "--all"))
        assert (found["embedded"], found["left"]) == (10, None)

    def test_rows_that_cannot_be_embedded(self, items: Any) -> None:
        key = items.get(name="n7").pk
        output = StringIO()
        arguments = (FIELD, "--with", f"{HERE}refusing", "--backoff=0")
        with pytest.raises(CommandError) as caught:
            call_command("embed", *arguments, database=items.db, stdout=output)
        assert (str(caught.value), caught.value.returncode) == (
            "1 rows of testapp.Item could not be embedded.", 1,
        )  # fmt: skip
        lines = output.getvalue().splitlines()
        assert lines[0].endswith(", 1 rows left.")
        assert lines[1:] == [f"testapp.Item {key}: ConnectionError: no 7, please"]
        output = StringIO()
        with pytest.raises(CommandError):
            call_command("embed", *arguments, "--json", database=items.db, stdout=output)
        found = json.loads(output.getvalue())
        assert found["errors"] == [{"pk": key, "error": "ConnectionError: no 7, please"}]
        assert (found["failed"], found["left"]) == (1, 1)

    def test_a_bar_on_a_terminal(
        self, items: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        run(items, "by_name", "--batch-size=4")
        assert "testapp.Item.embedding: 100%" in capsys.readouterr().err

    def test_stopped(self, items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def stopped(*args: Any, **kwargs: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(command, "embed", stopped)
        with pytest.raises(CommandError) as caught:
            run(items)
        assert (str(caught.value), caught.value.returncode) == (
            "Stopped; run the command again for the rows that are left.", 130,
        )  # fmt: skip


class TestArguments:
    @pytest.mark.parametrize(
        ("field", "embedder", "options", "said"),
        [
            ("Item", "x.y", {}, "There is no model for 'Item': name fields as app.Model.field."),
            ("testapp.Item.x", "x.y", {}, "testapp.Item has no field 'x'."),
            (
                "testapp.Item.name",
                "x.y",
                {},
                "testapp.Item.name holds no vectors; the vector fields are: embedding, other.",
            ),
            (
                "auth.User.email",
                "x.y",
                {},
                "auth.User.email holds no vectors; the vector fields are: none.",
            ),
            (FIELD, "x", {}, "x doesn't look like a module path"),
            (FIELD, "nowhere.x", {}, "No module named 'nowhere'"),
            (FIELD, f"{HERE}nothing", {}, 'Module "tests.support.embedding" does not define a "'),
            (
                FIELD,
                f"{HERE}not_callable",
                {},
                f"--with takes a callable, and '{HERE}not_callable' is not one.",
            ),
            (
                FIELD,
                f"{HERE}Unmade",
                {},
                f"{HERE}Unmade cannot be made: KeyError: 'API_KEY'",
            ),
            (FIELD, f"{HERE}by_name", {"database": "x"}, "There is no database 'x' in the settin"),
            (
                FIELD,
                f"{HERE}by_name",
                {"of": ["x"]},
                "embed() takes names of other columns of testapp.Item as of=, not 'x'.",
            ),
            ("testapp.Arrays.id", "x.y", {}, "testapp.Arrays.id holds no vectors"),
            (
                "testapp.Sparse.a",
                f"{HERE}by_name",
                {},
                "testapp.Sparse does not belong to the database 'default'.",
            ),
            (
                "testapp.Generated.same",
                f"{HERE}by_name",
                {},
                "embed() fills vector fields, not the GeneratedField testapp.Generated.same.",
            ),
            (
                "testapp.Document.embedding",
                f"{HERE}by_name",
                {},
                "testapp.Document.embedding is never NULL, so that no row waits for a vector: "
                "declare it with null=True, or embed all rows.",
            ),
        ],
    )
    def test_bad_ones(self, db: None, field: str, embedder: str, options: Any, said: str) -> None:
        with pytest.raises(CommandError) as caught:
            call_command("embed", field, embedder=embedder, **options)
        assert str(caught.value).startswith(said)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "command",
        [
            ("embed", FIELD, f"--with={HERE}by_name"),
            ("vector_recall", FIELD),
            ("vector_reindex",),
            ("vectors",),
        ],
        ids=lambda command: command[0],
    )
    def test_a_database_that_is_not_there(self, open_database: Any, command: Any) -> None:
        open_database("postgresql", NAME="nowhere")
        with pytest.raises(CommandError) as caught:
            call_command(*command, "--database=scratch")
        assert str(caught.value).startswith("The database 'scratch': connection failed: ")
        assert 'database "nowhere" does not exist' in str(caught.value)

    @pytest.mark.parametrize(
        "option", ["--batch-size=0", "--limit=-1", "--workers=0", "--retries=x", "--backoff=-1"]
    )
    def test_numbers(self, option: str) -> None:
        with pytest.raises(CommandError, match=r"argument --[\w-]+: takes .+, not '.+'"):
            call_command("embed", FIELD, "--with=x.y", option)

    def test_what_the_embedder_returns(self, items: Any) -> None:
        first = items.order_by("pk")[0].pk
        with pytest.raises(CommandError) as caught:
            run(items, "wrong_length")
        assert str(caught.value) == (
            f"The vector for testapp.Item {first} is refused: testapp.Item.embedding: Expected 3 "
            "dimensions, not 2."
        )


def test_from_the_shell() -> None:
    """Its sentences end on stderr, and there is no traceback."""
    ended = subprocess.run(
        [sys.executable, "-m", "django", "embed", FIELD, "--with", f"{HERE}nothing"],
        env={**__import__("os").environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    *_, last = ended.stderr.splitlines()  # behind what the checks have to say
    assert last == (
        "CommandError: testapp.Item: its table is not in the database 'default': migrate first."
    )
