"""django-import-export and Django's serializers: every kind comes back bit for bit, NULL too."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tablib
from django.conf import settings
from django.core import serializers
from django.core.exceptions import ValidationError
from django.core.management import call_command
from import_export import resources
from import_export.formats import base_formats

from dorm_vector.contrib.import_export import XLSX, VectorResourceMixin, VectorWidget
from tests.testapp.models import PAIRS, Bits, Full, Half, Numpy, Sparse

FORMATS = [
    base_formats.CSV,
    base_formats.TSV,
    base_formats.JSON,
    base_formats.YAML,
    base_formats.HTML,
    XLSX,
]
random = np.random.default_rng(4)
EXTREMES = [float(np.finfo("f4").max), float(np.finfo("f4").smallest_subnormal), -0.0]
VECTORS: list[tuple[Any, list[dict[str, Any]]]] = [
    (Full, [{"a": EXTREMES, "b": None}, {"a": random.normal(size=3), "b": [0.1, -1e-30, 3]}]),
    (Half, [{"a": [65504, 6e-8, -0.0], "b": None}, {"a": random.normal(size=3)}]),
    (Bits, [{"a": "1000000011", "b": None}, {"a": "0" * 10, "b": "1" * 10}]),
    (Sparse, [{"a": {1: 0.1, 4: 1e-30}, "b": None}, {"a": [0.0] * 5}]),
    (
        Numpy,
        [
            {"vector": EXTREMES, "half": [0.1, 65504, 0], "bits": "1010101010"},
            {"vector": None, "half": None, "bits": None},
        ],
    ),
]
CELLS = [
    pytest.param(alias, model, rows, id=f"{engine}-{model._meta.model_name}")
    for alias, engine in settings.ENGINES.items()
    for model, rows in VECTORS
    if model is not Sparse or engine == "postgresql"
]
with_models = pytest.mark.parametrize(("alias", "model", "rows"), CELLS, indirect=["alias"])


def resource_of(model_: Any, alias: str, *mixins: Any) -> Any:
    class Resource(*mixins, resources.ModelResource):
        class Meta:
            model = model_
            using_db = alias
            skip_unchanged = True
            report_skipped = True

        def get_queryset(self) -> Any:
            return model_.objects.using(alias)

        def do_instance_save(self, instance: Any, is_create: bool) -> None:
            instance.save(using=alias)

    return Resource()


@pytest.fixture
def filled(alias: str, model: Any, rows: list[dict[str, Any]]) -> Any:
    manager = model.objects.using(alias)
    for row in rows:
        manager.create(**row)
    return manager


def state(manager: Any) -> list[dict[str, Any]]:
    """What is stored, as bytes or text that tells every bit."""
    fields = manager.model._meta.concrete_fields
    return [
        {field.name: field.get_prep_value(getattr(row, field.attname)) for field in fields}
        for row in manager.order_by("pk")
    ]


def through(exported: Any, format_: Any) -> Any:
    form = format_()
    data = form.export_data(exported)
    return form.create_dataset(data)


@with_models
@pytest.mark.parametrize("format_", FORMATS, ids=lambda each: each.__name__)
@pytest.mark.parametrize("mixins", [(), (VectorResourceMixin,)], ids=["plain", "widgets"])
def test_files(filled: Any, format_: Any, mixins: Any, alias: str) -> None:
    before = state(filled)
    resource = resource_of(filled.model, alias, *mixins)
    exported = through(resource.export(filled.order_by("pk")), format_)
    filled.all().delete()
    result = resource.import_data(exported, raise_errors=True, use_transactions=False)
    assert result.totals["new"] == len(before)
    assert state(filled) == before


@with_models
def test_unchanged_rows_are_skipped(filled: Any, alias: str) -> None:
    resource = resource_of(filled.model, alias, VectorResourceMixin)
    exported = through(resource.export(filled.order_by("pk")), base_formats.CSV)
    result = resource.import_data(exported, raise_errors=True, use_transactions=False)
    assert (result.totals["skip"], result.totals["update"]) == (2, 0)


@with_models
@pytest.mark.parametrize("format_", ["json", "jsonl", "xml", "yaml", "python"])
def test_serializers(filled: Any, format_: str, alias: str) -> None:
    before = state(filled)
    data = serializers.serialize(format_, filled.order_by("pk"))
    filled.all().delete()
    for loaded in serializers.deserialize(format_, data, using=alias):
        loaded.save(using=alias)
    assert state(filled) == before


@with_models
@pytest.mark.parametrize("format_", ["json", "yaml"])
def test_dumpdata_and_loaddata(filled: Any, format_: str, alias: str, tmp_path: Any) -> None:
    before, path = state(filled), str(tmp_path / f"rows.{format_}")
    label = filled.model._meta.label_lower
    call_command("dumpdata", label, database=alias, output=path, stdout=io.StringIO())
    filled.all().delete()
    call_command("loaddata", path, database=alias, verbosity=0)
    assert state(filled) == before


@with_models
def test_text_reads_back(filled: Any, alias: str) -> None:
    for row in filled.all():
        for field in filled.model._meta.concrete_fields[1:]:
            value = getattr(row, field.attname)
            if value is not None:
                assert field.get_prep_value(str(value)) == field.get_prep_value(value)
            text = field.value_to_string(row)
            cleaned = field.to_python(text)
            assert field.get_prep_value(cleaned) == field.get_prep_value(value)


def test_a_cell_that_is_too_small(db: None) -> None:
    pair = PAIRS[16_000]
    vector = np.random.default_rng(5).normal(size=16_000)
    row = pair.objects.create(a=vector)
    exported = resource_of(pair, "default").export(pair.objects.all())
    with pytest.raises(ValueError, match=r"^Row 1: a has ") as caught:
        XLSX().export_data(exported)
    assert str(caught.value).endswith(
        " characters, and a cell of XLSX holds 32,767: export to CSV, JSON or YAML instead."
    )
    assert pair.objects.get(pk=row.pk).a == vector.astype("f4").tolist()


def test_what_is_no_vector(db: None) -> None:
    widget = VectorWidget(Full._meta.get_field("a"))
    with pytest.raises(ValidationError) as caught:
        widget.clean("[1,2]")
    assert caught.value.messages == ["Expected 3 dimensions, not 2."]
    assert (widget.clean(" "), widget.render(None)) == (None, "")
    dataset = tablib.Dataset(["", "[1,2]", "", 0], headers=["id", "a", "b", "group"])
    result = resource_of(Full, "default", VectorResourceMixin).import_data(dataset)
    assert result.has_validation_errors()
