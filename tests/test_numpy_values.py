"""What ``numpy=True`` reads, where Django and others compare values, and where numpy computes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from django.contrib.admin import ModelAdmin, site
from django.contrib.admin.utils import display_for_field, display_for_value
from django.core.validators import EMPTY_VALUES
from django.db.models import Value
from django.forms import model_to_dict
from django.template import Context, Engine
from django.utils.hashable import make_hashable

from dorm_vector.arrays import VectorArray
from tests.testapp.models import Numpy

VECTOR = [0.5, 0.0, -2.0]


@pytest.fixture
def row(alias: str) -> Any:
    made = Numpy.objects.using(alias).create(vector=VECTOR, half=VECTOR, bits="1010000001")
    return Numpy.objects.using(alias).get(pk=made.pk)


@pytest.fixture(params=["vector", "half", "bits"])
def read(row: Any, request: Any) -> Any:
    return getattr(row, request.param)


def test_comparisons(read: Any) -> None:
    same, other = read.tolist(), [*read.tolist()[:-1], 7]
    assert isinstance(read, np.ndarray)
    assert read
    assert bool(read == None) is False  # noqa: E711
    assert read != None  # noqa: E711
    assert read == same
    assert same == read
    assert bool(read != same) is False
    assert read == copy.deepcopy(read)
    assert read != other
    assert bool(read == other) is False
    for different in ([], same[:1], [same[0]], "", {}, (), object(), "text", 1.0, [same]):
        assert bool(read == different) is False
        assert read != different
    assert read not in EMPTY_VALUES
    assert read in [None, same]
    assert read not in [None, other]
    assert (read or "nothing") is read
    assert make_hashable(read) == tuple(same)
    assert hash(Value(1, Numpy._meta.get_field("vector")))


def test_numpy_computes_as_ever(read: Any) -> None:
    plain = np.asarray(read)
    assert type(plain) is np.ndarray
    assert (read == plain).tolist() == [True] * len(plain)
    assert (read == plain[0]).tolist() == (plain == plain[0]).tolist()
    assert read[read == plain[0]].tolist() == plain[plain == plain[0]].tolist()
    for computed, expected in (
        (np.logical_not(read), np.logical_not(plain)),
        (read > 0, plain > 0),
        (np.concatenate([read, read]), np.concatenate([plain, plain])),
    ):
        np.testing.assert_array_equal(computed, expected)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(read > 0)
    assert type(read.sum()) is type(plain.sum())
    assert type(read @ read) is type(plain @ plain)
    np.testing.assert_array_equal(read, plain)
    assert read.flags.writeable
    read[0] = 0
    assert read[0] == 0


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_copies(read: Any, copied: Any) -> None:
    twin = copied(read)
    assert type(twin) is VectorArray
    assert (twin.dtype, twin.tolist()) == (read.dtype, read.tolist())


def test_templates(row: Any) -> None:
    text = "{% if o.vector %}yes{% endif %} {{ o.vector|default:'none' }} {{ o.bits }}"
    template = Engine().from_string(text)
    assert template.render(Context({"o": row})) == "yes [0.5,0,-2] 1010000001"


def test_admin(row: Any) -> None:
    field = Numpy._meta.get_field("vector")
    assert display_for_field(row.vector, field, "-") == "[0.5,0,-2]"
    assert display_for_value(row.vector, "-") == "[0.5,0,-2]"
    form = ModelAdmin(Numpy, site).get_form(None)  # type: ignore[arg-type]
    bound = form(
        {"vector": "[0.5, 0, -2]", "half": "[0.5,0,-2]", "bits": "1010000001"}, instance=row
    )
    assert (bound.is_valid(), bound.has_changed()) == (True, False)
    changed = form({"vector": "[0.5, 0, -3]", "half": "", "bits": "1010000001"}, instance=row)
    assert changed.changed_data == ["vector", "half"]
    assert model_to_dict(row)["vector"] == VECTOR


def test_cleaning_reads_as_loading(row: Any) -> None:
    row.vector = VECTOR
    row.full_clean()
    assert (type(row.vector), row.vector.dtype) == (VectorArray, np.dtype("f4"))
    row.half = "[0.5,0,-2]"
    row.full_clean()
    assert row.half.dtype == np.dtype("f2")
    row.save()
    row.refresh_from_db()
    assert row.vector == VECTOR
