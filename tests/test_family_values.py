"""The values of every kind of vectors: read as written, refused, in forms and in fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django import forms
from django.core.exceptions import FieldError, ValidationError
from django.core.management import call_command
from django.db import connections
from django.test.utils import isolate_apps
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pgvector import Bit, HalfVector, SparseVector, Vector

from dorm_vector import (
    BitField,
    HalfVectorField,
    HammingDistance,
    L2Distance,
    SparseVectorField,
    VectorField,
    engine_for,
    models,
    nearest,
)
from dorm_vector.kinds import KINDS
from tests.support.matrix import kinds, kinds_on_engines, on_engines
from tests.testapp.models import Bits, Full, Half, Numpy, Sparse

FIELDS: dict[str, Any] = {
    "vector": VectorField,
    "halfvec": HalfVectorField,
    "bit": BitField,
    "sparsevec": SparseVectorField,
}
MODELS: dict[str, Any] = {"vector": Full, "halfvec": Half, "bit": Bits, "sparsevec": Sparse}
examples = hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def through_database(connection: Any, field: Any, value: Any) -> Any:
    """What is read of a value, from a column made and written as the field says."""
    engine = engine_for(connection)
    field.set_attributes_from_name("v")
    table = f"values_{field.kind}_{field.dimensions}"
    check = field.db_check(connection)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (v {field.db_type(connection)}"
            f"{f' CHECK ({check})' if check else ''})"
        )
        cursor.execute(f"DELETE FROM {table}")
        place = field.get_placeholder(None, None, connection)
        cursor.execute(
            f"INSERT INTO {table} VALUES ({place})", [field.get_db_prep_value(value, connection)]
        )
        cursor.execute(f"SELECT {engine.select_sql('v', field.kind)} FROM {table}")
        ((raw,),) = cursor.fetchall()
    return field.from_db_value(raw, None, connection)


def floats(width: Any) -> Any:
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


class TestRoundTrips:
    @examples
    @given(st.lists(floats(32), min_size=1, max_size=40))
    def test_vector(self, alias: str, vector: list[float]) -> None:
        read = through_database(connections[alias], VectorField(len(vector)), vector)
        assert type(read) is list
        assert np.array(read, "f4").tobytes() == np.array(vector, "f4").tobytes()
        assert np.array(read).tobytes() == np.array(vector).tobytes()

    @examples
    @given(st.lists(floats(16), min_size=1, max_size=40))
    def test_halfvec(self, alias: str, vector: list[float]) -> None:
        read = through_database(connections[alias], HalfVectorField(len(vector)), vector)
        assert type(read) is list
        assert np.array(read).tobytes() == np.array(vector).tobytes()

    def test_every_float16(self, alias: str) -> None:
        every = np.arange(2**16, dtype="u2").view("f2")
        every = every[np.isfinite(every)]
        for part in every.reshape(-1, 1024):
            field = HalfVectorField(1024)
            read = through_database(connections[alias], field, part)
            assert np.array(read, "f2").tobytes() == part.tobytes()

    @examples
    @given(st.lists(st.floats(-65_000, 65_000, width=32), min_size=1, max_size=8))
    def test_halfvec_rounds_as_numpy_does(self, alias: str, vector: list[float]) -> None:
        read = through_database(connections[alias], HalfVectorField(len(vector)), vector)
        assert np.array(read).tobytes() == np.array(vector, "f2").astype("f8").tobytes()

    @examples
    @given(st.text("01", min_size=1, max_size=130))
    def test_bit(self, alias: str, bits: str) -> None:
        assert through_database(connections[alias], BitField(length=len(bits)), bits) == bits

    @pytest.mark.parametrize("length", range(1, 131))
    def test_bits_of_every_length(self, alias: str, length: int) -> None:
        field = BitField(length=length)
        for bits in ("0" * length, "1" * length, ("10" * length)[:length]):
            assert through_database(connections[alias], field, bits) == bits

    @examples
    @given(
        st.dictionaries(st.integers(0, 10**9 - 1), floats(32), max_size=30),
        st.sampled_from([0, 1, 5]),
    )
    def test_sparsevec(self, db: None, elements: dict[int, float], more: int) -> None:
        size = min(max(elements, default=0) + 1 + more, 10**9)
        read = through_database(connections["postgresql"], SparseVectorField(size), elements)
        assert isinstance(read, SparseVector)
        assert read.dimensions() == size
        assert read.indices() == sorted(place for place, number in elements.items() if number)
        wanted = [elements[place] for place in read.indices()]
        assert np.array(read.values()).tobytes() == np.array(wanted).tobytes()

    @examples
    @given(st.text("01", min_size=1, max_size=40), st.data())
    def test_numpy(self, alias: str, bits: str, data: Any) -> None:
        size = len(bits)
        connection = connections[alias]
        read = through_database(connection, BitField(length=size, numpy=True), bits)
        assert (read.dtype, read.tolist()) == (bool, [bit == "1" for bit in bits])
        for field, width in ((VectorField, 32), (HalfVectorField, 16)):
            vector = data.draw(st.lists(floats(width), min_size=size, max_size=size))
            read = through_database(connection, field(size, numpy=True), vector)
            assert read.tobytes() == np.array(vector, f"f{width // 8}").tobytes()

    def test_sparse_as_numpy(self, db: None) -> None:
        field = SparseVectorField(5, numpy=True)
        read = through_database(connections["postgresql"], field, {0: 0.5, 4: -1})
        assert (read.dtype, read.tolist()) == (np.dtype("f4"), [0.5, 0, 0, 0, -1.0])

    def test_what_numpy_read_can_be_changed_and_written(self, alias: str) -> None:
        manager = Numpy.objects.using(alias)
        manager.create(vector=[1, 2, 3], half=[1, 2, 3], bits="1010101011")
        row = manager.get()
        row.vector[0] = row.half[0] = 9
        row.bits[0] = False
        row.save()
        row = manager.get()
        assert (row.vector[0], row.half[0], row.bits[0]) == (9, 9, False)


# The sizes of the models' fields.
SIZES = {"vector": 3, "halfvec": 3, "bit": 10, "sparsevec": 5}
PACKED = np.packbits([1, 0, 1, 0, 1, 0, 1, 0, 1, 1]).tobytes()
BITS = "1010101011"
SPARSE = SparseVector({0: 0.5, 2: 2.0}, 5)

ACCEPTED: dict[str, list[Any]] = {
    "halfvec": [
        [1, 2, 3],
        (1, 2, 3),
        range(1, 4),
        np.array([1, 2, 3], "f2"),
        np.array([1, 2, 3], "i8"),
        "[1, 2, 3]",
        HalfVector([1, 2, 3]),
        Vector([1, 2, 3]),
        np.array([1, 2, 3], "f4").tobytes(),
    ],
    "bit": [
        BITS,
        [bit == "1" for bit in BITS],
        [int(bit) for bit in BITS],
        [np.bool_(bit == "1") for bit in BITS],
        np.array([bit == "1" for bit in BITS]),
        np.array([int(bit) for bit in BITS], "u1"),
        Bit(BITS),
        PACKED,
        bytearray(PACKED),
        memoryview(PACKED),
    ],
    "sparsevec": [
        SPARSE,
        {0: 0.5, 2: 2},
        {2: np.float32(2), 0: 0.5, 4: 0.0},
        {np.int64(0): 0.5, np.int64(2): 2},
        "{1:0.5,3:2}/5",
        " { 1 : 0.5, 3 : 2 } / 5 ",
        [0.5, 0, 2, 0, 0],
        np.array([0.5, 0, 2, 0, 0]),
        "[0.5, 0, 2, 0, 0]",
    ],
}
READ: dict[str, Any] = {"halfvec": [1.0, 2.0, 3.0], "bit": BITS, "sparsevec": SPARSE}

NAN, INF = float("nan"), float("inf")
BAD: dict[str, list[tuple[Any, str, str]]] = {
    "halfvec": [
        ([1, 2], "dimensions", "Expected 3 dimensions, not 2."),
        ([1, NAN, 3], "nan", "Component 1 is NaN."),
        ([1, 2, -INF], "infinite", "Component 2 is infinite."),
        ([65520, 2, 3], "overflow", "Component 0 is 65520.0, beyond the range of float16."),
        ([1, 2, -7e4], "overflow", "Component 2 is -70000.0, beyond the range of float16."),
        ([1e39, 2, 3], "overflow", "Component 0 is 1e+39, beyond the range of float32."),
        ([[1, 2, 3]], "nested", "Component 0 is [1, 2, 3], not a number."),
        (["1", 2, 3], "not_a_number", "Component 0 is '1', not a number."),
        ("hello", "invalid", "'hello' is not a vector."),
        ({0: 1}, "invalid", "{0: 1} is not a vector."),
    ],
    "bit": [
        ("101", "dimensions", "Expected 10 bits, not 3."),
        (b"\xaa", "dimensions", "Expected 10 bits, not 8."),
        (b"\xaa\xaa\xaa", "dimensions", "Expected 10 bits, not 24."),
        (b"\xff\xff", "dimensions", "Expected 10 bits, and one of the 6 after them is 1."),
        ([1, 2, *[0] * 8], "not_a_bit", "Component 1 is 2, not a bit."),
        ([1.0, *[0] * 9], "not_a_bit", "Component 0 is 1.0, not a bit."),
        ([NAN] * 10, "not_a_bit", "Component 0 is nan, not a bit."),
        (["1"] * 10, "not_a_bit", "Component 0 is '1', not a bit."),
        ([[1] * 10], "not_a_bit", "Component 0 is [1, 1, 1, 1, ...], not a bit."),
        (np.ones(10), "not_a_bit", "Component 0 is 1.0, not a bit."),
        ("10101o1010", "invalid", "'10101o1010' is not a bit string."),
        (683, "invalid", "683 is not a bit string."),
    ],
    "sparsevec": [
        ([1, 2], "dimensions", "Expected 5 dimensions, not 2."),
        (SparseVector({}, 6), "dimensions", "Expected 5 dimensions, not 6."),
        ("{1:1}/4", "dimensions", "Expected 5 dimensions, not 4."),
        ({5: 1.0}, "dimensions", "Position 5 is not one from 0 to 4."),
        ({-1: 1.0}, "dimensions", "Position -1 is not one from 0 to 4."),
        ({True: 1.0}, "dimensions", "Position True is not one from 0 to 4."),
        ({"a": 1.0, 0: 2.0}, "dimensions", "Position 'a' is not one from 0 to 4."),
        (SparseVector({7: 1}, 5), "dimensions", "Position 7 is not one from 0 to 4."),
        ("{0:1}/5", "dimensions", "Position -1 is not one from 0 to 4."),
        ({3: NAN}, "nan", "Component 3 is NaN."),
        ({0: 1.0, 3: INF}, "infinite", "Component 3 is infinite."),
        ({3: 1e39}, "overflow", "Component 3 is 1e+39, beyond the range of float32."),
        ({3: "x"}, "not_a_number", "Component 3 is 'x', not a number."),
        ({3: [1]}, "nested", "Component 3 is [1], not a number."),
        ([1, 2, NAN, 4, 5], "nan", "Component 2 is NaN."),
        ("{1:1,1:2}/5", "invalid", "'{1:1,1:2}/5' is not a sparse vector."),
        ("{1:1", "invalid", "'{1:1' is not a sparse vector."),
        ("hello", "invalid", "'hello' is not a vector."),
    ],
}


def cases(table: dict[str, list[Any]]) -> Any:
    return [
        (kind, *(row if type(row) is tuple else (row,))) for kind in table for row in table[kind]
    ]


class TestAccepted:
    @on_engines("kind,value", [(kind, value) for kind in ACCEPTED for value in ACCEPTED[kind]])
    def test_written_looked_up_and_searched(self, alias: str, kind: str, value: Any) -> None:
        manager = MODELS[kind].objects.using(alias)
        manager.create(a=value)
        assert manager.get(a=value).a == READ[kind]
        metric = {"bit": "hamming"}.get(kind, "l2")
        assert nearest(manager, "a", value, metric=metric).get().distance == 0.0
        distance = HammingDistance if kind == "bit" else L2Distance
        assert manager.annotate(d=distance("a", value)).get().d == 0.0
        assert FIELDS[kind](SIZES[kind]).clean(value, None) == READ[kind]

    def test_scipy(self, db: None) -> None:
        from scipy import sparse

        manager = Sparse.objects.using("postgresql")
        manager.create(a=sparse.coo_array(([0.5, 2.0], ([0, 2],)), shape=(5,)))
        assert manager.get().a == SPARSE
        with pytest.raises(ValidationError, match="is not a sparse vector"):
            manager.create(a=sparse.coo_array(np.eye(5)))

    def test_a_matrix_of_scipys_is_refused(self) -> None:
        class Matrix:
            def tocoo(self) -> Any:
                """Never called: pgvector knows its class not."""

            def __repr__(self) -> str:
                return "Matrix()"

        with pytest.raises(ValidationError, match=r"Matrix\(\) is not a sparse vector"):
            KINDS["sparsevec"].pack(Matrix())

    def test_elements_at_most(self) -> None:
        field = SparseVectorField(20_000)
        most = field.clean(dict.fromkeys(range(16_000), 1.0), None)
        assert len(most.indices()) == 16_000
        with pytest.raises(ValidationError) as caught:
            field.clean(dict.fromkeys(range(16_001), 1.0), None)
        assert caught.value.messages == [
            "Expected 16000 elements that are not zero at most, not 16001."
        ]
        assert caught.value.code == "elements"

    def test_long_sparse_vectors_are_not_made_dense(self, db: None) -> None:
        rows = Full.objects.using("postgresql")
        with pytest.raises(ValidationError, match="Expected 3 dimensions, not 1000000000"):
            rows.annotate(d=L2Distance("a", SparseVector({}, 10**9)))

    @pytest.mark.parametrize("value", [{0: 1.0, 3: 2.0}, {}, {3: 2.0}])
    def test_dicts_of_one_length_are_different_queries(self, db: None, value: Any) -> None:
        assert L2Distance("a", value) == L2Distance("a", dict(value))
        assert L2Distance("a", value) != L2Distance("a", {1: 1.0})
        assert not nearest(Sparse.objects.using("postgresql"), "a", {}, metric="cosine").exists()


class TestRefused:
    @on_engines("kind,value,code,message", cases(BAD))
    def test_everywhere(self, alias: str, kind: str, value: Any, code: str, message: str) -> None:
        model = MODELS[kind]
        manager = model.objects.using(alias)
        ways = [
            lambda: manager.create(a=value),
            lambda: manager.bulk_create([model(a=value)]),
            lambda: manager.update(a=value),
            lambda: manager.filter(a=value),
        ]
        # Those that have no form or field beside the sentence say whose value it was.
        for way in ways:
            with pytest.raises(ValidationError) as caught:
                way()
            assert caught.value.messages == [f"{model._meta.label}.a: {message}"]
            assert caught.value.code == code
        for clean in (
            lambda: FIELDS[kind](SIZES[kind]).clean(value, None),
            lambda: model(a=value).full_clean(exclude=["b"]),
        ):
            with pytest.raises(ValidationError) as caught:
                clean()
            assert caught.value.messages == [message]
        with pytest.raises(ValidationError) as caught:
            FIELDS[kind](SIZES[kind]).get_prep_value(value)
        assert caught.value.code == code

    @on_engines("kind,value,code,message", cases(BAD))
    def test_as_a_query(self, alias: str, kind: str, value: Any, code: str, message: str) -> None:
        metric = {"bit": "hamming"}.get(kind, "l2")
        with pytest.raises((ValidationError, FieldError)):
            list(nearest(MODELS[kind].objects.using(alias), "a", value, metric=metric))

    @pytest.mark.parametrize("kind", ["vector", "halfvec", "sparsevec"])
    @pytest.mark.parametrize("dimensions", [None, 0, -1, 2.5, True, "3", 10**9 + 1])
    def test_dimensions(self, kind: str, dimensions: Any) -> None:
        with pytest.raises(ValueError, match=r"Field\(dimensions=\.\.\.\) takes an int from 1 to"):
            FIELDS[kind](dimensions=dimensions)

    @pytest.mark.parametrize("length", [None, 0, 2.5, 83_886_081])
    def test_length(self, length: Any) -> None:
        with pytest.raises(ValueError, match=r"BitField\(length=\.\.\.\) takes an int from 1 to"):
            BitField(length=length)

    def test_another_stored_length_is_an_error(self, alias: str) -> None:
        assert through_database(connections[alias], BitField(length=16), "1" * 16)
        raw = {"postgresql": "1" * 16}.get(alias, b"\xff\xff")
        for length in (8, 24):
            with pytest.raises(ValidationError, match=f"Expected {length} bits, not"):
                BitField(length=length).from_db_value(raw, None, connections[alias])


# Forms

TYPED: dict[str, tuple[str, Any, str, str]] = {
    "halfvec": ("[0.5, 2, 3]", [0.5, 2.0, 3.0], "[1, 2]", "Expected 3 dimensions, not 2."),
    "bit": (BITS, BITS, "hello", "'hello' is not a bit string."),
    "sparsevec": ("{1:0.5,3:2}/5", SPARSE, "{9:1}/5", "Position 8 is not one from 0 to 4."),
}


def form_of(kind: str) -> Any:
    meta = type("Meta", (), {"model": MODELS[kind], "fields": ["a"]})
    return type("Form", (forms.ModelForm,), {"Meta": meta})


@pytest.fixture
def optional(monkeypatch: pytest.MonkeyPatch) -> None:
    for model in MODELS.values():
        monkeypatch.setattr(model._meta.get_field("a"), "blank", True)


@pytest.mark.parametrize("kind", TYPED)
class TestForms:
    def test_valid(self, db: None, kind: str) -> None:
        typed, cleaned, _, _ = TYPED[kind]
        form = form_of(kind)({"a": f" {typed} "})
        assert form.is_valid(), form.errors
        assert form.cleaned_data == {"a": cleaned}
        assert form.instance.a == cleaned

    def test_invalid_is_shown_as_it_was_typed(self, db: None, kind: str) -> None:
        _, _, bad, message = TYPED[kind]
        form = form_of(kind)({"a": bad})
        assert form.errors == {"a": [message]}
        shown = f">\n{bad}</textarea>" if kind == "sparsevec" else f'value="{bad}"'
        assert shown in str(form["a"])

    def test_unchanged(self, db: None, kind: str) -> None:
        typed, cleaned, _, _ = TYPED[kind]
        instance = MODELS[kind](a=cleaned)
        shown = form_of(kind)(instance=instance)["a"].value()
        assert not form_of(kind)({"a": shown}, instance=instance).has_changed()
        assert not form_of(kind)({"a": typed}, instance=instance).has_changed()
        other = {"halfvec": "[0.5,2,4]", "bit": "0" * 10, "sparsevec": "{1:0.5}/5"}[kind]
        assert form_of(kind)({"a": other}, instance=instance).has_changed()
        assert form_of(kind)({"a": TYPED[kind][2]}, instance=instance).has_changed()

    def test_required_and_empty(self, db: None, kind: str, optional: None) -> None:
        form = form_of(kind)({"a": ""})
        assert form.is_valid()
        assert form.cleaned_data == {"a": None}
        field = MODELS[kind]._meta.get_field("a").formfield(required=True)
        with pytest.raises(ValidationError, match="required"):
            field.clean("")

    def test_initial_values_in_any_form(self, db: None, kind: str) -> None:
        field = MODELS[kind]._meta.get_field("a").formfield()
        shown = {field.prepare_value(value) for value in ACCEPTED[kind] if type(value) is not str}
        assert len(shown) == 1
        assert field.clean(shown.pop()) == READ[kind]
        assert field.prepare_value(["nothing", "like", "it"]) == ["nothing", "like", "it"]


# Fixtures and declarations

VALUES: dict[str, list[Any]] = {
    "vector": [[0.1, -0.0, 1e-45], [3.4e38, 2, 3]],
    "halfvec": [[0.1, -0.0, 6e-8], [65504, 2, 3]],
    "bit": [BITS, "0" * 10],
    "sparsevec": [{0: 0.1, 4: 1e-45}, {}],
}


@kinds_on_engines()
class TestFixtures:
    @pytest.mark.parametrize("format_", ["json", "jsonl", "xml"])
    def test_dumpdata_and_loaddata(
        self, alias: str, kind: str, format_: str, tmp_path: Path
    ) -> None:
        model = MODELS[kind]
        manager = model.objects.using(alias)
        for value in VALUES[kind]:
            manager.create(a=value)
        rows = list(manager.order_by("pk").values_list("pk", "a", "b"))
        path = str(tmp_path / f"rows.{format_}")
        options = {"format": format_, "output": path}
        call_command("dumpdata", model._meta.label, database=alias, verbosity=0, **options)
        manager.all().delete()
        call_command("loaddata", path, database=alias, verbosity=0)
        assert repr(list(manager.order_by("pk").values_list("pk", "a", "b"))) == repr(rows)

    def test_wrong_ones_are_refused(self, alias: str, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "rows.json"
        label = MODELS[kind]._meta.label_lower
        path.write_text(f'[{{"model": "{label}", "pk": 1, "fields": {{"a": "hello"}}}}]')
        from django.core.serializers.base import DeserializationError

        with pytest.raises(DeserializationError, match="'hello' is not a"):
            call_command("loaddata", str(path), database=alias, verbosity=0)


@kinds
class TestDeclaration:
    def test_deconstruct_and_clone(self, kind: str) -> None:
        field = FIELDS[kind](SIZES[kind], null=True)
        keyword = "length" if kind == "bit" else "dimensions"
        _, path, args, kwargs = field.deconstruct()
        assert path == f"dorm_vector.fields.{FIELDS[kind].__name__}"
        assert (list(args), kwargs) == ([], {"null": True, keyword: SIZES[kind]})
        clone = FIELDS[kind](numpy=True, **kwargs).clone()
        assert clone.deconstruct()[3] == {**kwargs, "numpy": True}
        assert (clone.dimensions, clone.kind, clone.numpy) == (SIZES[kind], kind, True)
        named = FIELDS[kind]("its name", **{keyword: 2})
        assert (named.verbose_name, named.dimensions) == ("its name", 2)

    def test_description_as_djangos_admindocs_formats_it(self, kind: str) -> None:
        field = FIELDS[kind](7)
        assert "(7" in str(field.description) % field.__dict__

    def test_the_models_module_has_it(self, kind: str) -> None:
        assert getattr(models, FIELDS[kind].__name__) is FIELDS[kind]


class TestChecks:
    def errors(self, field: Any) -> list[tuple[str, str]]:
        with isolate_apps("tests.testapp"):
            meta = type("Meta", (), {"app_label": "testapp"})
            model: Any = type(
                "Anywhere",
                (models.Model,),
                {"__module__": __name__, "Meta": meta, "embedding": field},
            )
        return [(error.id, error.msg) for error in model._meta.get_field("embedding").check()]

    def test_sparse_vectors_where_another_database_takes_the_model(self) -> None:
        sentence = (
            "{} has no sparsevec columns (database {!r}); use VectorField there, or PostgreSQL."
        )
        assert self.errors(SparseVectorField(5)) == [
            ("dorm_vector.E105", sentence.format("SQLite", "default")),
            ("dorm_vector.E105", sentence.format("libSQL", "libsql")),
        ]

    def test_none_where_a_router_keeps_it_away(self) -> None:
        assert Sparse._meta.get_field("a").check() == []

    @pytest.mark.parametrize("kind", ["vector", "halfvec", "bit"])
    def test_none_for_the_other_kinds(self, kind: str) -> None:
        assert self.errors(FIELDS[kind](8)) == []
