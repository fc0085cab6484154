"""``manage.py vector_recall app.Model.field``: how much an index finds of what it should."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dorm_vector.management.arguments import (
    add_database,
    as_json,
    database,
    number_from,
    table_of,
    vector_field,
)
from dorm_vector.management.running import one_sentence, progress_bar
from dorm_vector.search.measuring import Measurement, MeasurementError, Trial, measure

__all__ = ["Command"]

LIST, RANGE, IS_NULL = "__in", "__range", "__isnull"
TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class Command(BaseCommand):
    help = (
        "Searches for the neighbours of random rows, exactly and by the index, with a range of "
        "settings, and names the smallest that reaches a recall. Exits with 1 if none does."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("field", metavar="app.Model.field", help="A vector field.")
        add_database(parser)
        parser.add_argument(
            "--target", type=number_from(0, 1, float), default=0.95, help="A recall; .95 by default"
        )
        parser.add_argument(
            "--sample", type=number_from(1, 100_000), default=200, help="Searches; 200 by default."
        )
        parser.add_argument(
            "--k", type=number_from(1, 1000), default=10, help="Rows of a search; 10 by default."
        )
        parser.add_argument("--metric", help="By default that of the first index of the field.")
        parser.add_argument(
            "--filter", action="append", default=[], metavar="name=value",
            help="A lookup that rows have to pass, such as language=en; may be given again.",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        alias = database(options["database"])
        model, field = vector_field(options["field"])
        table_of(model, alias)
        k, sample, target = options["k"], options["sample"], options["target"]
        with (
            one_sentence("Stopped.", MeasurementError),
            progress_bar(options["verbosity"], unit=" searches") as bar,
        ):
            rows = model._default_manager.using(alias)
            for name, value in map(_lookup, options["filter"]):
                rows = rows.filter(**{name: value})
            found = measure(
                rows, field.name, k=k, sample=sample, metric=options["metric"], progress=_shown(bar)
            )
        best = found.smallest(target)
        if options["json"]:
            self.stdout.write(as_json(_plain(found, best, k, target)))
        else:
            name = f"{model._meta.label}.{field.name}"
            self.stdout.write("\n".join(_lines(name, found, best, k, target)))
        if best is None:
            raise CommandError(f"No setting reaches a recall of {target:g}.")


def _lookup(text: str) -> tuple[str, Any]:
    """The keyword of filter() that ``name=value`` stands for."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise CommandError(f"--filter takes name=value, not {text!r}.")
    if name.endswith(RANGE) and value.count(",") != 1:
        raise CommandError(f"--filter takes two values for {name}, the first and the last: 1,9.")
    if name.endswith((LIST, RANGE)):
        return name, value.split(",")
    if name.endswith(IS_NULL):
        if value.lower() not in TRUTHS:
            raise CommandError(f"--filter takes true or false for {name}, not {value!r}.")
        return name, TRUTHS[value.lower()]
    return name, value


def _settings(trial: Trial) -> str:
    return ", ".join(f"{name}={value}" for name, value in trial.settings.items()) or "as it is"


def _lines(
    name: str, found: Measurement, best: Trial | None, k: int, target: float
) -> Iterator[str]:
    count = len(found.keys)
    yield f"{name}: {found.index} ({found.metric}), {count:,} searches for {k:,} rows each"
    yield f"{'':24} {'recall':>7} {'worst':>7} {'ms':>8}"
    for trial in (found.exact, *found.trials):
        label = "exact" if trial is found.exact else _settings(trial)
        yield f"{label:24} {trial.recall:7.3f} {trial.worst:7.2f} {trial.ms:8.2f}"
    if best is None:
        return
    if not best.settings:
        yield f"The defaults reach a recall of {target:g}."
        return
    yield (
        f"{_settings(best)} is the smallest that reaches a recall of {target:g}: "
        f"nearest(..., {_settings(best)})."
    )


def _plain(found: Measurement, best: Trial | None, k: int, target: float) -> dict[str, Any]:
    return {
        "index": found.index,
        "metric": found.metric,
        "k": k,
        "target": target,
        "keys": found.keys,
        "exact": _trial(found.exact),
        "trials": [_trial(trial) for trial in found.trials],
        "smallest": None if best is None else best.settings,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "settings": trial.settings,
        "recall": trial.recall,
        "worst": trial.worst,
        "ms": trial.ms,
        "recalls": trial.recalls,
    }


def _shown(bar: Any) -> Callable[[str], object] | None:
    """What shows the settings of a search that was made."""
    if bar is None:
        return None

    def show(settings: str) -> None:
        bar.set_description(settings, refresh=False)
        bar.update()

    return show
