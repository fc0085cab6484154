"""Searching for words: what an engine may have besides vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from django.db import NotSupportedError
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector.sql import SQL, joined

__all__ = ["EngineText", "PartConditions"]


class EngineText:
    """
    The part of an engine that searches for words.

    All of it is optional: this one refuses, in a sentence. A ``search`` is a
    ``dorm_vector.search.text.TextSearch``, a ``text`` the ``TextRank`` of one: its ``texts`` are
    the columns of the fields, ``key`` and ``rank`` those of what ``text_join`` gave.
    """

    connection: Any
    label: str
    why_not_built: Callable[[Any, Any], str | None]

    #: Whether words are found without a text index too, by reading all rows.
    computes_text: ClassVar[bool] = False

    def refuse_text(self, search: Any) -> NoReturn:
        """Raise an error if the words of a model cannot be searched without an index."""
        raise NotSupportedError(
            f"The database {self.connection.alias!r} ({self.label}) has no full-text search that "
            "dorm_vector knows; see DORM_VECTOR['ENGINES']."
        )

    def why_no_text_index(self, index: Any, model: Any) -> str | None:
        """
        Why a text index is not built here, the first half of a sentence; None if it is.

        May query the database, unlike ``why_not_built``.
        """
        return self.why_not_built(index, model)

    def check_text(self, search: Any) -> None:
        """Raise OperationalError if the index of a search is missing. May query the database."""

    def text_join(self, search: Any) -> SQL:
        """
        A query for the keys of the rows that match, ``dorm_key0`` and so on, and their
        ``dorm_rank``; empty if none is needed.
        """
        self.refuse_text(search)

    def text_condition(self, compiler: SQLCompiler, text: Any) -> SQL:
        """The condition that a row matches."""
        self.refuse_text(text.text_search)

    def text_rank(self, compiler: SQLCompiler, text: Any) -> SQL:
        """How well a row matches; greater is better."""
        self.refuse_text(text.text_search)


class PartConditions:
    """The condition of a search for parts of words; subclasses know how a row has one of them."""

    search: Any

    def condition(self) -> SQL:
        search, query = self.search, self.search.query
        if search.is_any:
            found = joined("OR", map(self.has, query.wanted))
            return joined("AND", [found, *map(self.has_not, query.excluded)])
        return joined("OR", map(self.has_all, query.alternatives))

    def has_all(self, alternative: Any) -> SQL:
        wanted = map(self.has, alternative.wanted)
        return joined("AND", [*wanted, *map(self.has_not, alternative.excluded)])

    def has(self, unit: Any) -> SQL:
        """The condition that a row has a part."""
        raise NotImplementedError

    def has_not(self, unit: Any) -> SQL:
        """The condition that a row lacks a part; never NULL."""
        raise NotImplementedError
