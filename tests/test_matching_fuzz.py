"""Whatever is typed: no text raises, and what is found is what plain Python finds."""

from __future__ import annotations

import random
import re
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dorm_vector import matching
from dorm_vector.search.words import parse
from tests.textapp.models import Article, Comment, Product

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

NASTY = (
    *(
        "'",
        '"',
        '""',
        "'';--",
        "\\",
        "%",
        "%s",
        "_",
        "*",
        "(",
        ")",
        "{c0} :",
        "c0:",
        "NEAR(a b, 2)",
    ),
    *("AND", "OR", "NOT", "or", "-", "--", "- ", "+", "^a", "a*", "!", "&", "|", "<->", ":*", ":A"),
    *(
        "\0",
        "a\0b",
        "\ud800",
        "a\udfffb",
        "\u202e",
        "עברית",
        "مرحبا",
        "😀",
        "👨‍👩‍👧",
        "é",
        "e\u0301",
    ),
    *(
        "\u0301",
        "ß",
        "İ",
        "ﬁ",
        "①",
        "²",
        "Ⅷ",
        "東京",
        "हिन्दी",
        "\u200b",
        "\ufeff",
        "\U000e0001",
        "\U0001d49c",
    ),
    *(
        "the",
        "cat",
        "'cat' | 'dog'",
        "cat & !dog",
        '"cat',
        'cat"',
        '-"',
        '-"cat',
        "“cat”",
        "$1",
        "?",
    ),
    *(
        "%(x)s",
        "{}",
        "{0}",
        "\x1f",
        "\x7f",
        "\t",
        "\n",
        "1e5",
        "-5",
        "3.14",
        "a@b.c",
        "http://a.b/c",
    ),
    *("a/b/c", "<b>", "&amp;", "rowid", "rank", "integrity-check", "x" * 600, "9" * 50, "don't"),
)
typed = st.one_of(
    st.text(),
    st.lists(st.sampled_from(NASTY) | st.text(max_size=3), max_size=8).map(" ".join),
    st.lists(st.sampled_from(NASTY) | st.text(max_size=3), max_size=8).map("".join),
)
LONG = {
    "a long word": "x" * 100_000,
    "many words": " ".join(f"word{number}" for number in range(10_000)),
    "many alternatives": " or ".join(f"word{number}" for number in range(10_000)),
    "many exclusions": "cat " + " ".join(f"-word{number}" for number in range(10_000)),
    "many phrases": " ".join(f'"a{number} b{number}"' for number in range(5_000)),
    "a long phrase": '"' + "cat dog " * 12_500 + '"',
    "quotation marks": '"' * 100_000,
    "minus signs": "-" * 100_000,
    "phrases of nothing": '-" ' * 33_000,
    "emoji": "😀" * 100_000,
    "marks": "a" + "\u0301" * 100_000,
    "marks out of order": "a" + "\u0301\u0323" * 50_000,
    "letters and NUL": "a\0" * 50_000,
    "one letter words": " ".join("abcdefghij" * 5_000),
    "long words": " ".join(f"{number}{'é' * 499}"[:500] for number in range(200)),
}


@pytest.fixture
def rows(alias: str) -> Any:
    articles = Article.objects.using(alias)
    cat = articles.create(title="The cat", body="and a dog of 3.14 a b c")
    articles.create(title="", body=None)
    Comment.objects.using(alias).create(article=cat, text="cat")
    Product.objects.using(alias).create(name="cat's \"%_\\", text="東京")
    return alias


class TestNothingRaises:
    def search(self, alias: str, text: str) -> None:
        for model in (Article, Comment, Product):
            for match in ("all", "any"):
                found = matching(model.objects.using(alias), text, match=match)
                assert all(row.rank is not None for row in found)

    @SETTINGS
    @given(text=typed)
    def test_any_text(self, rows: str, text: str) -> None:
        self.search(rows, text)

    @pytest.mark.parametrize("text", NASTY)
    def test_nasty_texts(self, rows: str, text: str) -> None:
        self.search(rows, text)
        self.search(rows, f'cat {text} "dog{text}"')

    @pytest.mark.parametrize("name", LONG)
    def test_long_texts(self, rows: str, name: str) -> None:
        self.search(rows, LONG[name])


class Asked(NamedTuple):
    """An alternative, as it is made up: phrases, of one word each or more."""

    wanted: list[list[str]]
    excluded: list[list[str]]

    def typed(self, chance: random.Random) -> str:
        units = [(unit, "") for unit in self.wanted] + [(unit, "-") for unit in self.excluded]
        chance.shuffle(units)
        return " ".join(f"{sign}{self.one(unit, chance)}" for unit, sign in units)

    def one(self, unit: list[str], chance: random.Random) -> str:
        unit = [chance.choice([str.upper, str.lower])(word) for word in unit]
        if chance.random() < 0.5:
            return chance.choice([".", "/", "_", "-", "'", "@"]).join(unit)
        return f'"{" ".join(unit)}"'

    def is_true_of(self, words: list[str]) -> bool:
        return all(has(words, unit) for unit in self.wanted) and not any(
            has(words, unit) for unit in self.excluded
        )


def has(words: list[str], unit: list[str]) -> bool:
    return any(words[start : start + len(unit)] == unit for start in range(len(words)))


letters = st.sampled_from(["a", "bb", "c3", "42", "dd"])
phrases = st.lists(letters, min_size=1, max_size=3)
asked = st.builds(Asked, st.lists(phrases, min_size=1, max_size=3), st.lists(phrases, max_size=2))
documents = st.lists(
    st.lists(st.tuples(letters, st.sampled_from([" ", ".", ", ", "/", "-", "_", "\n", "@"]))).map(
        lambda pairs: "".join(map("".join, pairs))
    ),
    min_size=1,
    max_size=6,
)


class TestOracle:
    @SETTINGS
    @given(
        texts=documents, alternatives=st.lists(asked, min_size=1, max_size=3), seed=st.integers()
    )
    def test_found(self, alias: str, texts: list[str], alternatives: Any, seed: int) -> None:
        rows = Comment.objects.using(alias)
        rows.all().delete()
        article, _ = Article.objects.using(alias).get_or_create(title="x")
        made = [rows.create(article=article, text=text).pk for text in texts]
        words = [re.findall(r"[a-z0-9]+", text) for text in texts]
        chance = random.Random(seed)
        text = " or ".join(each.typed(chance) for each in alternatives)
        expected = {
            pk
            for pk, own in zip(made, words, strict=True)
            if any(each.is_true_of(own) for each in alternatives)
        }
        assert {row.pk for row in matching(rows, text)} == expected, text
        wanted = [unit for each in alternatives for unit in each.wanted]
        excluded = [unit for each in alternatives for unit in each.excluded]
        expected = {
            pk
            for pk, own in zip(made, words, strict=True)
            if any(has(own, unit) for unit in wanted) and not any(has(own, u) for u in excluded)
        }
        assert {row.pk for row in matching(rows, text, match="any")} == expected, text


@SETTINGS
@given(text=typed)
def test_parsing_takes_any_text(text: str) -> None:
    for split in (True, False):
        query = parse(text, split=split)
        words = [word for unit in (*query.wanted, *query.excluded) for word in unit]
        assert all(words)
        assert not any({"\0", '"'} & set(word) for word in words)
        "".join(words).encode()
