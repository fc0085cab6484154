"""Text indexes."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.core.exceptions import FieldError
from django.db.models import CharField, Field, Model, TextField

from dorm_vector.engines import Engine
from dorm_vector.index_base import EngineIndex
from dorm_vector.types import Deconstructed

__all__ = ["LANGUAGES", "TextIndex", "declared_text_indexes", "text_field"]

#: The languages that PostgreSQL has rules for; "simple" has none.
LANGUAGES = (
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "estonian",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "simple",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
)
#: The weight of a word by letter, with PostgreSQL's own numbers.
WEIGHTS = {"A": 1.0, "B": 0.4, "C": 0.2, "D": 0.1}
TOKENIZERS = ("trigram",)

# Names that SQLite's tables of words reserve.
RESERVED = re.compile(r"rank|rowid|c\d+", re.I)


class TextIndex(EngineIndex):
    """
    An index of the words in text fields, which ``matching()`` searches.

    GIN on PostgreSQL; on SQLite and libSQL an FTS5 table that triggers keep in step with the
    model's. ``language`` is the one whose word forms count as the same word: "english" by
    default, any other that PostgreSQL knows, or "simple" for none. ``weights`` gives the words of a
    field a weight, from "A" to "D": ``{"title": "A"}``. ``tokenize="trigram"`` finds parts of
    words, and text in languages without spaces.

    Raises ValueError for what a database would refuse.
    """

    suffix = "txt"
    method: ClassVar[str] = "text"
    #: Whether the index stands for the best that each database has.
    portable: ClassVar[bool] = True

    def __init__(
        self,
        *expressions: Any,
        language: str = "english",
        weights: dict[str, str] | None = None,
        tokenize: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*expressions, **kwargs)
        self.language, self.tokenize = language, tokenize
        self.weights = dict(weights or {})
        self._check_columns()
        self._check_options()

    def deconstruct(self) -> Deconstructed:
        _, expressions, kwargs = super().deconstruct()
        if self.language != "english":
            kwargs["language"] = self.language
        if self.weights:
            kwargs["weights"] = self.weights
        if self.tokenize:
            kwargs["tokenize"] = self.tokenize
        return "dorm_vector.indexes.TextIndex", expressions, kwargs

    def weight_of(self, field: str) -> str | None:
        """The letter of a field's weight; None if the index has no weights."""
        return self.weights.get(field, "D") if self.weights else None

    def text_fields(self, model: type[Model]) -> list[Field]:
        """The indexed fields of ``model``. Raises FieldError if one holds no text."""
        for name in self.fields:
            if text_field(model, name) is None:
                raise FieldError(
                    f"{self._label} needs text fields, and {model._meta.label}.{name} is not one."
                )
        fields: list[Any] = [model._meta.get_field(name) for name in self.fields]
        return fields

    def check_fit(self, model: type[Model], engine: Engine) -> None:
        self.text_fields(model)

    def _check_columns(self) -> None:
        self._check_name()
        if RESERVED.fullmatch(self.name or ""):
            raise ValueError(f"{self._label} needs another name: FTS5 reserves this one.")
        if self.expressions or not self.fields:
            raise ValueError(f"{self._label} takes fields=[...], the names of text fields.")
        self._refuse_order()
        if len(set(self.fields)) < len(self.fields):
            raise ValueError(f"{self._label} takes each field once, not {self.fields!r}.")
        if self.include or self.opclasses:
            given = "include" if self.include else "opclasses"
            raise ValueError(f"{self._label} takes no {given}.")

    def _check_options(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(
                f"{self._label} has no language {self.language!r}; "
                f"use one of {', '.join(LANGUAGES)}."
            )
        if self.tokenize not in (None, *TOKENIZERS):
            raise ValueError(
                f"{self._label} takes tokenize='trigram' or None, not {self.tokenize!r}."
            )
        for name, weight in self.weights.items():
            if name not in self.fields:
                raise ValueError(
                    f"{self._label} has a weight for {name!r}, which is not one of its fields, "
                    f"{', '.join(map(repr, self.fields))}."
                )
            if not isinstance(weight, str) or weight not in WEIGHTS:
                raise ValueError(
                    f"{self._label} takes weights of A, B, C and D, not {weight!r} for {name!r}."
                )


def declared_text_indexes(model: Any) -> list[tuple[Any, TextIndex]]:
    """The text indexes of a model and of those it inherits tables from, each with its model."""
    concrete = model._meta.concrete_model
    return [
        (each, index)
        for each in (concrete, *concrete._meta.all_parents)
        for index in each._meta.indexes
        if isinstance(index, TextIndex)
    ]


def text_field(model: type[Model], name: str) -> Any:
    """The text field of that name, or of a GeneratedField's output, or None."""
    field = model._meta.get_field(name)
    field = getattr(field, "output_field", None) or field
    return field if isinstance(field, CharField | TextField) else None
