"""Options of indexes and of searches: a number within a range, or one of some words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = ["Float", "Int", "Option", "Word"]


class Option:
    """
    The values of an option.

    ``of`` names the part of an index that has the option; engines ask for the options of the part
    that they build. ``engines`` has narrower options by engine name, for databases that take less
    than others.
    """

    def __init__(self, *, of: str = "storage", engines: Mapping[str, Option] | None = None) -> None:
        self.of = of
        self.engines: Mapping[str, Option] = engines or {}

    def takes(self, value: object) -> bool:
        raise NotImplementedError

    @property
    def taken(self) -> str:
        """The values, for messages: "2 to 100", "one of 'on', 'off'"."""
        raise NotImplementedError

    @property
    def phrase(self) -> str:
        """The same after the name of an option: "from 2 to 100", "of on, off"."""
        raise NotImplementedError


class Number(Option):
    """A number within a range, including both ends."""

    classes: ClassVar[tuple[type, ...]] = ()

    def __init__(
        self,
        least: float,
        greatest: float,
        *,
        of: str = "storage",
        engines: Mapping[str, Option] | None = None,
    ) -> None:
        super().__init__(of=of, engines=engines)
        self.least, self.greatest = least, greatest

    def takes(self, value: Any) -> bool:
        number = isinstance(value, self.classes) and not isinstance(value, bool)
        return number and bool(self.least <= value <= self.greatest)

    @property
    def taken(self) -> str:
        return f"{self.least} to {self.greatest}"

    @property
    def phrase(self) -> str:
        return f"from {self.taken}"


class Int(Number):
    """An integer: ``Int(2, 100)``."""

    classes = (int,)


class Float(Number):
    """A number that need not be an integer: ``Float(1.0, 10.0)``."""

    classes = (int, float)


class Word(Option):
    """One of some words: ``Word("on", "off")``."""

    def __init__(
        self, *words: str, of: str = "storage", engines: Mapping[str, Option] | None = None
    ) -> None:
        super().__init__(of=of, engines=engines)
        self.words = words

    def takes(self, value: object) -> bool:
        return isinstance(value, str) and value in self.words

    @property
    def taken(self) -> str:
        return f"one of {', '.join(map(repr, self.words))}"

    @property
    def phrase(self) -> str:
        return f"of {', '.join(self.words)}"
