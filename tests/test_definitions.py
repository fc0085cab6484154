"""Functions of vectors in generated fields, constraints and indexes."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import NotSupportedError, connections
from django.db.models import CheckConstraint, FloatField, GeneratedField, Index, JSONField, Q
from django.test.utils import isolate_apps

from dorm_vector import (
    BinaryQuantize,
    BitField,
    CosineDistance,
    L2Distance,
    MaxInnerProduct,
    Normalize,
    Subvector,
    VectorAdd,
    VectorConcat,
    VectorField,
    VectorMultiply,
    VectorNorm,
    VectorSubtract,
    VectorToJSON,
    models,
)
from dorm_vector.checks import check_definitions

SENTENCE = (
    "libSQL allows no subqueries in generated columns, constraints and indexes, and {} of "
    "vectors needs one: compute it in queries"
)
# By the name of the function, with the value for [3, 4, 0].
REFUSED: dict[str, tuple[Any, Any, Any]] = {
    "add": (VectorAdd("a", [1, 1, 1]), VectorField(3), [4.0, 5.0, 1.0]),
    "subtract": (VectorSubtract("a", [1, 1, 1]), VectorField(3), [2.0, 3.0, -1.0]),
    "multiply": (VectorMultiply("a", "a"), VectorField(3), [9.0, 16.0, 0.0]),
    "normalize": (Normalize("a"), VectorField(3), pytest.approx([0.6, 0.8, 0.0])),
    "json": (VectorToJSON("a"), JSONField(), [3, 4, 0]),
}
STORED: dict[str, tuple[Any, Any, Any]] = {
    "norm": (VectorNorm("a"), FloatField(), pytest.approx(5.0)),
    "subvector": (Subvector("a", 1, 2), VectorField(2), [3.0, 4.0]),
    "concat": (VectorConcat("a", "a"), VectorField(6), [3.0, 4.0, 0.0] * 2),
    "quantize": (BinaryQuantize("a"), BitField(length=3), "110"),
    "l2": (L2Distance("a", [3, 0, 0]), FloatField(), pytest.approx(4.0)),
    "cosine": (CosineDistance("a", [1, 0, 0]), FloatField(), pytest.approx(0.4)),
    "ip": (MaxInnerProduct("a", [1, 0, 0]), FloatField(), pytest.approx(-3.0)),
}


def made(**extra: Any) -> Any:
    meta = type("Meta", (), {"app_label": "definitions", **extra.pop("meta", {})})
    attributes = {"__module__": __name__, "Meta": meta, "a": models.VectorField(3), **extra}
    with isolate_apps("dorm_vector"):
        return type("Defined", (models.Model,), attributes)


def create(alias: str, model: Any) -> None:
    with connections[alias].schema_editor() as editor:
        editor.create_model(model)


def generated(expression: Any, field: Any) -> Any:
    return GeneratedField(expression=expression, output_field=field, db_persist=True)


@pytest.mark.django_db(databases="__all__", transaction=True)
@pytest.mark.parametrize("name", [*REFUSED, *STORED])
def test_generated_field(alias: str, name: str) -> None:
    expression, field, value = {**REFUSED, **STORED}[name]
    model = made(g=generated(expression, field))
    if alias == "libsql" and name in REFUSED:
        with pytest.raises(NotSupportedError) as caught:
            create(alias, model)
        assert str(caught.value) == SENTENCE.format(name) + "."
    else:
        create(alias, model)
        row = model.objects.using(alias).create(a=[3, 4, 0])
        row.refresh_from_db()
        assert row.g == value
        with connections[alias].schema_editor() as editor:
            editor.delete_model(model)


DEFINITIONS: dict[str, Any] = {
    "g": lambda: made(g=generated(VectorAdd("a", [1, 1, 1]), VectorField(3))),
    "c": lambda: made(
        meta={"constraints": [CheckConstraint(condition=Q(a=VectorAdd("a", [0, 0, 0])), name="c")]}
    ),
    "i": lambda: made(meta={"indexes": [Index(VectorNorm(VectorAdd("a", "a")), name="i")]}),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dorm_vector import checks

    model = DEFINITIONS[name]()
    monkeypatch.setattr(checks.apps, "get_models", lambda: [model])
    (error,) = check_definitions()
    assert error.id == "dorm_vector.E108"
    assert error.msg == f"Defined.{name}: {SENTENCE.format('add')} (database 'libsql')."


def test_this_project_passes() -> None:
    assert not [message for message in run_checks() if message.id == "dorm_vector.E108"]
