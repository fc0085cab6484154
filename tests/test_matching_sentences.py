"""The same hits for the same texts on every engine, and ranks as plain Python has them."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from dorm_vector import matching
from tests.support.matrix import only
from tests.support.sentences import DIFFERENCES, SEARCHES, TEXTS, bm25, hits
from tests.textapp.models import Page


@pytest.fixture
def pages(alias: str) -> Any:
    rows = Page.objects.using(alias)
    rows.bulk_create(Page(slug=f"{number:02}", text=text) for number, text in enumerate(TEXTS))
    return rows


def found(rows: Any, text: str, **options: Any) -> list[str]:
    return [row.text for row in matching(rows, text, **options)]


def test_sixty_texts() -> None:
    assert len(TEXTS) == len(set(TEXTS)) == len(SEARCHES) == 60


@pytest.mark.parametrize("text", SEARCHES)
def test_hits(pages: Any, text: str) -> None:
    expected = [each for each in TEXTS if hits(each, SEARCHES[text])]
    assert sorted(found(pages, text)) == sorted(expected)


def test_most_searches_find_something(pages: Any) -> None:
    assert sum(bool(found(pages, text)) for text in SEARCHES) >= 55


@pytest.mark.parametrize(("text", "stored"), DIFFERENCES)
def test_differences(alias: str, text: str, stored: str) -> None:
    """They are there: the documentation lists them."""
    Page.objects.using(alias).create(slug="x", text=stored)
    engines, _ = DIFFERENCES[text, stored]
    expected = [stored] if settings.ENGINES[alias] in engines else []
    assert found(Page.objects.using(alias), text) == expected


ANY = {
    "cat horse": ["cat", "horse"],
    "garden morning race": ["garden", "morning", "race"],
    "functools.lru_cache path": ["functools lru cache", "path"],
    "EAGAIN sort": ["eagain", "sort"],
}


class TestRank:
    @only("sqlite", "libsql")
    @pytest.mark.parametrize("text", [text for text in SEARCHES if len(SEARCHES[text]) == 1])
    def test_bm25(self, pages: Any, text: str) -> None:
        ((wanted, excluded),) = SEARCHES[text]
        rows = {row.text: row.rank for row in matching(pages, text)}
        ranks = dict(zip(TEXTS, bm25(TEXTS, [*wanted, *excluded]), strict=True))
        assert rows == {each: pytest.approx(ranks[each], abs=1e-9) for each in rows}

    @pytest.mark.parametrize("text", ANY)
    def test_bm25_of_any(self, pages: Any, alias: str, text: str) -> None:
        ranks = dict(zip(TEXTS, bm25(TEXTS, ANY[text]), strict=True))
        order = found(pages, text, match="any")
        assert set(order) == {each for each, rank in ranks.items() if rank > 0}
        if settings.ENGINES[alias] == "postgresql":
            best = max(ranks.values())
            assert ranks[order[0]] >= 0.8 * best
        else:
            assert [ranks[each] for each in order] == sorted(
                (ranks[each] for each in order), reverse=True
            )

    def test_cover_density(self, alias: str) -> None:
        """One word counts its weight each time; two count more, the closer they are."""
        rows = Page.objects.using(alias)
        rows.create(slug="a", text="cat x x cat x x cat")
        rows.create(slug="b", text="cat x x x dog")
        rows.create(slug="c", text="cat dog x x x")
        once, *_ = (row.rank for row in matching(rows.filter(slug="b"), "cat"))
        ranks = {row.slug: row.rank for row in matching(rows, "cat")}
        assert ranks["a"] > ranks["b"]
        if settings.ENGINES[alias] == "postgresql":
            assert (once, ranks["a"]) == (pytest.approx(0.1), pytest.approx(0.3))
            assert [row.slug for row in matching(rows, "cat dog")] == ["c", "b"]

    def test_more_and_rarer_words_come_first(self, alias: str) -> None:
        rows = Page.objects.using(alias)
        texts = ["common"] * 6 + ["common often often often", "common rare", "rare", "unique"]
        texts += ["common rare unique", *("something else",) * 20]
        for number, text in enumerate(texts):
            rows.create(slug=f"{number:02}", text=text)
        order = found(rows, "common rare unique", match="any")
        assert order[0] == "common rare unique"
        assert order.index("common rare") < order.index("rare") < order.index("common")
        assert order.index("unique") < order.index("common")
        assert set(order[-7:]) == {"common", "common often often often"}
        assert found(rows, "common rare -unique", match="any")[0] == "common rare"
