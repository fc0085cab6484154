"""VectorField on every engine: saving and loading, lookups, forms, serialization, declaration."""

from __future__ import annotations

import copy
import io
import pickle
from array import array
from typing import Any

import numpy as np
import pytest
from django import forms
from django.core import serializers
from django.core.exceptions import FieldError, ValidationError
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, NotSupportedError, connections, transaction
from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    F,
    FilteredRelation,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce
from django.db.models.lookups import Exact
from django.db.models.query import QuerySet
from django.test.utils import register_lookup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgvector import Vector

from dorm_vector import VectorField, bulk_copy, engine_for, models
from dorm_vector.forms import VectorField as VectorFormField
from tests.testapp.models import (
    PAIRS,
    Chunk,
    Defaults,
    Document,
    Generated,
    Item,
    SubItem,
    Unique,
    unit,
)

VECTOR = [0.1, -2.0, 3e30]
STORED = np.array(VECTOR, dtype="f4").tolist()


class TestSaveLoad:
    @pytest.mark.parametrize(
        "value",
        [
            VECTOR,
            tuple(VECTOR),
            array("d", VECTOR),
            np.array(VECTOR),
            np.array(VECTOR, dtype="f4"),
            Vector(VECTOR),
            "[0.1, -2, 3e30]",
            np.array(VECTOR, dtype="<f4").tobytes(),
        ],
        ids=["list", "tuple", "array", "float64", "float32", "Vector", "text", "bytes"],
    )
    def test_accepted_forms(self, alias: str, value: Any) -> None:
        item = Item.objects.using(alias).create(name="one", embedding=value)
        found = Item.objects.using(alias).get(pk=item.pk).embedding
        assert type(found) is list
        assert found == STORED

    def test_a_generator_is_stored_and_stays_readable(self, alias: str) -> None:
        item = Item(name="one", embedding=(number for number in VECTOR))
        item.save(using=alias)
        assert item.embedding == VECTOR
        item.save(using=alias)
        item.refresh_from_db()
        assert item.embedding == STORED

    def test_full_clean_with_numpy(self, alias: str) -> None:
        item = Item(name="one", embedding=np.array(VECTOR))
        item.full_clean()
        assert item.embedding == STORED

    def test_null(self, alias: str) -> None:
        item = Item.objects.using(alias).create(name="one", embedding=None)
        assert Item.objects.using(alias).get(pk=item.pk).embedding is None

    @pytest.mark.parametrize("dimensions", PAIRS)
    def test_dimensions(self, alias: str, dimensions: int) -> None:
        vector = np.random.default_rng(1).normal(size=dimensions).astype("f4").tolist()
        pair = PAIRS[dimensions].objects.using(alias).create(a=vector)
        pair.refresh_from_db()
        assert pair.a == vector
        assert pair.b is None

    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3)
    )
    def test_what_is_written_is_read_bit_for_bit(self, alias: str, vector: list[float]) -> None:
        item = Item.objects.using(alias).create(name="one", embedding=vector)
        found = Item.objects.using(alias).values_list("embedding", flat=True).get(pk=item.pk)
        assert np.array(found, "f4").tobytes() == np.array(vector, "f4").tobytes()
        item.delete()

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([1, 2], "Expected 3 dimensions, not 2."),
            ([1, 2, 3, 4], "Expected 3 dimensions, not 4."),
            ([], "Expected 3 dimensions, not 0."),
            ([1, float("nan"), 3], "Component 1 is NaN."),
            ([1, 2, float("inf")], "Component 2 is infinite."),
            ([1e39, 2, 3], "Component 0 is 1e+39, beyond the range of float32."),
            ([[1, 2, 3]], "Component 0 is [1, 2, 3], not a number."),
            ("hello", "'hello' is not a vector."),
            (["1", 2, 3], "Component 0 is '1', not a number."),
        ],
    )
    def test_bad_values_are_refused_everywhere(self, alias: str, value: Any, message: str) -> None:
        manager = Item.objects.using(alias)
        existing = manager.create(name="existing", embedding=VECTOR)
        existing.embedding = value
        ways = [
            lambda: manager.create(name="one", embedding=value),
            lambda: manager.bulk_create([Item(name="one", embedding=value)]),
            lambda: manager.bulk_update([existing], ["embedding"]),
            lambda: manager.update(embedding=value),
            lambda: existing.save(),
            lambda: manager.filter(embedding=value),
            lambda: manager.get_or_create(embedding=value, defaults={"name": "one"}),
            lambda: bulk_copy(manager, [Item(name="one", embedding=value)]),
        ]
        for way in ways:
            with pytest.raises(ValidationError) as caught, transaction.atomic(using=alias):
                way()
            row = "Row 1: " if way is ways[-1] else ""
            assert caught.value.messages == [f"{row}testapp.Item.embedding: {message}"]
        for clean in (
            lambda: VectorField(3).clean(value, None),
            lambda: Item(name="one", embedding=value).full_clean(),
        ):
            with pytest.raises(ValidationError) as caught:
                clean()
            assert caught.value.messages == [message]
        assert manager.get().embedding == STORED

    def test_update_with_expressions(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR, other=[1, 1, 1])
        manager.update(embedding=F("other"), other=Value([2, 2, 2], VectorField(3)))
        assert manager.values_list("embedding", "other").get() == ([1, 1, 1], [2, 2, 2])

    def test_update_with_a_case_of_values(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR)
        manager.create(name="two", embedding=VECTOR)
        field = VectorField(3)
        manager.update(
            embedding=Case(
                When(name="one", then=Value([1, 1, 1], field)), default=Value([2, 2, 2], field)
            )
        )
        found = dict(manager.values_list("name", "embedding"))
        assert found == {"one": [1, 1, 1], "two": [2, 2, 2]}


class TestQuerySetMethods:
    def test_bulk_create_and_iterator(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.bulk_create(
            [Item(name=f"{n}", embedding=[n, n, n] if n % 2 else None) for n in range(100)],
            batch_size=30,
        )
        found = {item.name: item.embedding for item in manager.iterator(chunk_size=7)}
        assert found == {f"{n}": [n, n, n] if n % 2 else None for n in range(100)}

    def test_bulk_create_ignoring_conflicts(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR)
        manager.bulk_create([Item(name="one", embedding=[1, 1, 1])], ignore_conflicts=True)
        assert manager.get().embedding == STORED

    def test_bulk_create_updating_conflicts(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR)
        manager.bulk_create(
            [Item(name="one", embedding=[1, 1, 1]), Item(name="two", embedding=[2, 2, 2])],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["embedding"],
        )
        found = dict(manager.values_list("name", "embedding"))
        assert found == {"one": [1, 1, 1], "two": [2, 2, 2]}

    def test_bulk_update(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        items = [manager.create(name=f"{n}", embedding=VECTOR) for n in range(3)]
        for item, vector in zip(items, ([1, 1, 1], None, np.array([3, 3, 3])), strict=True):
            item.embedding = vector
        assert manager.bulk_update(items, ["embedding"]) == 3
        found = list(manager.order_by("name").values_list("embedding", flat=True))
        assert found == [[1, 1, 1], None, [3, 3, 3]]

    def test_get_or_create(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        vector = np.array(VECTOR)
        first, created = manager.get_or_create(embedding=vector, defaults={"name": "one"})
        assert created
        again, created = manager.get_or_create(embedding=vector, defaults={"name": "two"})
        assert (again.pk, created) == (first.pk, False)

    def test_update_or_create(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        for vector in (np.array(VECTOR), np.array([1, 1, 1])):
            item, _ = manager.update_or_create(name="one", defaults={"embedding": vector})
        item.refresh_from_db()
        assert item.embedding == [1, 1, 1]

    def test_values_defer_and_only(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR)
        assert list(manager.values("embedding")) == [{"embedding": STORED}]
        assert list(manager.values_list("embedding", flat=True)) == [STORED]
        deferred = manager.defer("embedding").get()
        assert "embedding" not in deferred.__dict__
        assert deferred.embedding == STORED
        assert manager.only("embedding").get().embedding == STORED

    def test_union(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR)
        manager.create(name="two", embedding=[1, 1, 1])
        one, two = (manager.filter(name=name) for name in ("one", "two"))
        assert sorted(item.embedding for item in one.union(two)) == sorted([STORED, [1, 1, 1]])
        columns = one.values_list("embedding").union(two.values_list("other"), all=True)
        assert sorted(columns, key=str) == sorted([(STORED,), (None,)], key=str)
        assert one.union(two).count() == 2

    def test_union_in_a_subquery(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR)
        manager.create(name="two", embedding=[1, 1, 1])
        one, two = (manager.filter(name=name).values("embedding") for name in ("one", "two"))
        assert manager.filter(embedding__in=one.union(two)).count() == 2

    def test_distinct_and_group_by(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        for name, vector in (("a", VECTOR), ("b", VECTOR), ("c", [1, 1, 1])):
            manager.create(name=name, embedding=vector)
        assert manager.values("embedding").distinct().count() == 2
        assert sorted(manager.values_list("embedding").distinct()) == sorted(
            [(STORED,), ([1, 1, 1],)]
        )
        counted = manager.values("embedding").annotate(n=Count("pk")).order_by("n")
        assert list(counted) == [
            {"embedding": [1, 1, 1], "n": 1},
            {"embedding": STORED, "n": 2},
        ]

    def test_annotations(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=None, other=VECTOR)
        found = manager.annotate(
            column=F("other"),
            value=Value([1, 2, 3], VectorField(3)),
            case=Case(When(name="one", then=Value([4, 5, 6], VectorField(3)))),
            coalesced=Coalesce("embedding", "other"),
            cast=Cast(Value("[7,8,9]", VectorField(3)), VectorField(3)),
            subquery=Subquery(manager.filter(pk=OuterRef("pk")).values("other")),
        ).get()
        assert found.column == found.coalesced == found.subquery == STORED
        assert (found.value, found.case, found.cast) == ([1, 2, 3], [4, 5, 6], [7, 8, 9])

    def test_subqueries_in_filters(self, alias: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR, other=VECTOR)
        manager.create(name="two", embedding=[1, 1, 1], other=VECTOR)
        same = manager.filter(embedding__in=manager.values("other"))
        assert [item.name for item in same] == ["one"]
        exists = manager.filter(Exists(manager.filter(embedding=OuterRef("other"))))
        assert exists.count() == 2

    def test_across_relations(self, alias: str) -> None:
        document = Document.objects.using(alias).create(title="one", embedding=VECTOR)
        document.chunks.create(embedding=[1, 1, 1])
        chunk = Chunk.objects.using(alias).select_related("document").get()
        assert (chunk.embedding, chunk.document.embedding) == ([1, 1, 1], STORED)
        documents = Document.objects.using(alias)
        assert documents.prefetch_related("chunks").get().chunks.all()[0].embedding == [1, 1, 1]
        assert documents.values_list("chunks__embedding").get() == ([1, 1, 1],)
        filtered = documents.annotate(
            found=FilteredRelation("chunks", condition=Q(chunks__embedding=[1, 1, 1]))
        )
        assert filtered.values_list("found__embedding").get() == ([1, 1, 1],)

    def test_raw_queries(self, alias: str) -> None:
        Item.objects.using(alias).create(name="one", embedding=VECTOR)
        (item,) = Item.objects.using(alias).raw("SELECT * FROM testapp_item")
        assert item.embedding == STORED

    def test_refresh_copy_and_pickle(self, alias: str) -> None:
        item = Item.objects.using(alias).create(name="one", embedding=np.array(VECTOR))
        item.refresh_from_db()
        for twin in (copy.copy(item), copy.deepcopy(item), pickle.loads(pickle.dumps(item))):
            assert twin == item
            assert twin.embedding == STORED

    def test_querysets_with_vectors_pickle(self, alias: str) -> None:
        Item.objects.using(alias).create(name="one", embedding=VECTOR)
        query = pickle.loads(pickle.dumps(Item.objects.filter(embedding=VECTOR).query))
        found = QuerySet(model=Item, using=alias)
        found.query = query
        assert found.get().name == "one"


class TestLookups:
    @pytest.fixture
    def manager(self, alias: str) -> Any:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR, other=VECTOR)
        manager.create(name="two", embedding=[1, 1, 1], other=VECTOR)
        manager.create(name="none")
        return manager

    @pytest.mark.parametrize("as_type", [list, tuple, np.array, Vector, str])
    def test_exact(self, manager: Any, as_type: Any) -> None:
        assert manager.get(embedding=as_type(VECTOR)).name == "one"

    def test_exact_is_float32_equality(self, manager: Any) -> None:
        assert manager.filter(embedding=STORED).count() == 1
        nearby = [*STORED[:2], float(np.nextafter(np.float32(STORED[2]), np.float32(0)))]
        assert manager.filter(embedding=nearby).count() == 0

    def test_exact_column(self, manager: Any) -> None:
        assert manager.get(embedding=F("other")).name == "one"

    def test_exclude(self, manager: Any) -> None:
        assert manager.exclude(embedding=VECTOR).count() == 2

    def test_in(self, manager: Any) -> None:
        found = manager.filter(embedding__in=[np.array(VECTOR), (1, 1, 1), None, [1, 1, 1]])
        assert {item.name for item in found} == {"one", "two"}
        assert manager.filter(embedding__in=[]).count() == 0

    def test_isnull(self, manager: Any) -> None:
        assert manager.get(embedding__isnull=True).name == "none"
        assert manager.get(embedding=None).name == "none"
        assert manager.filter(embedding__isnull=False).count() == 2

    @pytest.mark.parametrize(
        "lookup",
        ["gt", "lt", "range", "contains", "icontains", "iexact", "startswith", "regex", "len"],
    )
    def test_other_lookups_are_refused_by_name(self, db: None, lookup: str) -> None:
        with pytest.raises(FieldError) as caught:
            Item.objects.filter(**{f"embedding__{lookup}": VECTOR})
        assert str(caught.value).startswith(f"Unsupported lookup '{lookup}' for VectorField or")
        assert "perhaps you meant gt" not in str(caught.value)

    def test_lookups_of_ones_own(self, manager: Any) -> None:
        class Same(Exact):
            lookup_name = "same"

            def get_rhs_op(self, connection: Any, rhs: str) -> str:
                return f"= {rhs}"

        with register_lookup(VectorField, Same):
            assert manager.get(embedding__same=VECTOR).name == "one"

    def test_arithmetic_is_refused(self, manager: Any) -> None:
        with pytest.raises(NotSupportedError) as caught:
            list(manager.annotate(total=F("embedding") + F("other")))
        assert str(caught.value) == (
            "CombinedExpression takes no vectors: use VectorAdd, VectorSubtract or VectorMultiply."
        )


class TestColumns:
    """What the database itself refuses."""

    @pytest.mark.parametrize("components", [1, 2, 4])
    def test_wrong_length(self, alias: str, components: int) -> None:
        engine = engine_for(connections[alias])
        vector = engine.encode(np.ones(components, "<f4").tobytes())
        with pytest.raises(DatabaseError), transaction.atomic(using=alias):
            self.insert(alias, vector)
        assert Item.objects.using(alias).count() == 0

    @pytest.mark.parametrize("value", ["hello", "twelve chars", "", 123456789012])
    def test_no_vector(self, alias: str, value: Any) -> None:
        with pytest.raises(DatabaseError), transaction.atomic(using=alias):
            self.insert(alias, value)

    def test_null_and_vectors_pass(self, alias: str) -> None:
        engine = engine_for(connections[alias])
        self.insert(alias, None)
        self.insert(alias, engine.encode(np.ones(3, "<f4").tobytes()), "two")
        found = Item.objects.using(alias).order_by("name").values_list("embedding", flat=True)
        assert list(found) == [None, [1, 1, 1]]

    def insert(self, alias: str, value: Any, name: str = "one") -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "INSERT INTO testapp_item (name, category, embedding) VALUES (%s, 0, %s)",
                [name, value],
            )

    def test_unique(self, alias: str) -> None:
        manager = Unique.objects.using(alias)
        manager.create(embedding=VECTOR)
        with pytest.raises(IntegrityError), transaction.atomic(using=alias):
            manager.create(embedding=VECTOR)
        manager.bulk_create(
            [Unique(embedding=np.array(VECTOR), note="new")],
            update_conflicts=True,
            unique_fields=["embedding"],
            update_fields=["note"],
        )
        assert manager.get().note == "new"

    def test_unique_is_validated(self, db: None) -> None:
        Unique.objects.create(embedding=VECTOR)
        with pytest.raises(ValidationError) as caught:
            Unique(embedding=np.array(VECTOR), note="x").full_clean()
        assert caught.value.messages == ["Unique with this Embedding already exists."]

    @pytest.mark.parametrize("blob", [b"\0\0\x80\x3f" * 2, b"\0\0\x80\x3f" * 4, b"12345", ""])
    def test_another_stored_length_is_an_error(self, db: None, blob: Any) -> None:
        """A SQLite table from elsewhere, without the CHECK."""
        with pytest.raises(ValidationError) as caught:
            VectorField(3).from_db_value(blob, None, connections["default"])
        assert caught.value.code in ("dimensions", "invalid")


class TestDefaults:
    def test_defaults(self, alias: str) -> None:
        made = Defaults.objects.using(alias).create()
        made.refresh_from_db()
        assert made.called == unit()
        assert made.in_database == np.array([0.5, 0.25, 0.1], "f4").tolist()

    def test_database_default_from_raw_sql(self, alias: str) -> None:
        engine = engine_for(connections[alias])
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "INSERT INTO testapp_defaults (called) VALUES (%s)",
                [engine.encode(np.ones(3, "<f4").tobytes())],
            )
        found = Defaults.objects.using(alias).get()
        assert found.in_database == np.array([0.5, 0.25, 0.1], "f4").tolist()

    def test_bulk_create_mixes_them(self, alias: str) -> None:
        manager = Defaults.objects.using(alias)
        manager.bulk_create([Defaults(), Defaults(called=[1, 1, 1], in_database=[2, 2, 2])])
        found = manager.order_by("pk").values_list("called", "in_database")
        assert list(found) == [
            (unit(), np.array([0.5, 0.25, 0.1], "f4").tolist()),
            ([1, 1, 1], [2, 2, 2]),
        ]


class TestGeneratedFields:
    def test_generated(self, alias: str) -> None:
        made = Generated.objects.using(alias).create(embedding=[1, 2, 4])
        made = Generated.objects.using(alias).get(pk=made.pk)
        assert made.same == [1, 2, 4]
        assert made.distance == pytest.approx(1.0)
        made.embedding = [1, 2, 3]
        made.save()
        made.refresh_from_db()
        assert (made.same, made.distance) == ([1, 2, 3], pytest.approx(0.0))

    def test_after_insert(self, alias: str) -> None:
        made = Generated.objects.using(alias).create(embedding=[1, 2, 4])
        assert made.same == [1, 2, 4]

    def test_filter(self, alias: str) -> None:
        Generated.objects.using(alias).create(embedding=[1, 2, 4])
        assert Generated.objects.using(alias).filter(same=[1, 2, 4], distance__lt=2).exists()


class TestInheritance:
    def test_multi_table(self, alias: str) -> None:
        made = SubItem(name="one", embedding=VECTOR, extra=[1, 2])
        made.save(using=alias)
        found = SubItem.objects.using(alias).get()
        assert (found.embedding, found.extra) == (STORED, [1, 2])
        assert Item.objects.using(alias).select_related("subitem").get().subitem.extra == [1, 2]

    def test_abstract(self, alias: str) -> None:
        PAIRS[3].objects.using(alias).create(a=VECTOR, b=VECTOR)
        assert PAIRS[3].objects.using(alias).get(a=F("b")).b == STORED


class TestSerialization:
    @pytest.mark.parametrize("kind", ["json", "xml", "jsonl", "python"])
    def test_round_trip(self, alias: str, kind: str) -> None:
        manager = Item.objects.using(alias)
        manager.create(name="one", embedding=VECTOR, other=None)
        data = serializers.serialize(kind, manager.all())
        manager.all().delete()
        for loaded in serializers.deserialize(kind, data, using=alias):
            loaded.save(using=alias)
        assert manager.values_list("embedding", "other").get() == (STORED, None)

    @pytest.mark.parametrize("kind", ["json", "xml", "jsonl"])
    def test_dumpdata_and_loaddata(self, alias: str, kind: str, tmp_path: Any) -> None:
        vectors = np.random.default_rng(2).normal(size=(50, 3)).astype("f4").tolist()
        manager = Item.objects.using(alias)
        manager.bulk_create(Item(name=f"{n}", embedding=v) for n, v in enumerate(vectors))
        path = str(tmp_path / f"items.{kind}")
        call_command("dumpdata", "testapp.item", database=alias, output=path, format=kind)
        manager.all().delete()
        call_command("loaddata", path, database=alias, verbosity=0)
        assert list(manager.order_by("pk").values_list("embedding", flat=True)) == vectors

    def test_a_wrong_fixture_is_refused(self, alias: str, tmp_path: Any) -> None:
        path = tmp_path / "items.json"
        path.write_text(
            '[{"model": "testapp.item", "pk": 1, "fields": {"name": "one", "embedding": "[1,2]"}}]'
        )
        with pytest.raises(serializers.base.DeserializationError, match="Expected 3 dimensions"):
            call_command("loaddata", str(path), database=alias, verbosity=0)


class ItemForm(forms.ModelForm):
    class Meta:
        model = Item
        fields = ["name", "embedding"]


class TestForms:
    def test_saves_what_was_typed(self, db: None) -> None:
        form = ItemForm({"name": "one", "embedding": " [0.1, -2, 3e30] "})
        assert form.is_valid()
        assert form.cleaned_data["embedding"] == STORED
        assert form.save().embedding == STORED

    def test_empty_is_null(self, db: None) -> None:
        form = ItemForm({"name": "one", "embedding": ""})
        assert form.is_valid()
        assert form.save().embedding is None

    def test_required(self) -> None:
        with pytest.raises(ValidationError, match="This field is required"):
            VectorFormField(dimensions=3).clean("")

    @pytest.mark.parametrize(
        ("typed", "message"),
        [
            ("[1,2]", "Expected 3 dimensions, not 2."),
            ("hello", "'hello' is not a vector."),
            ("[1,nan,2]", "Component 1 is NaN."),
            ("[1e39,1,2]", "Component 0 is 1e+39, beyond the range of float32."),
        ],
    )
    def test_errors(self, db: None, typed: str, message: str) -> None:
        form = ItemForm({"name": "one", "embedding": typed})
        assert form.errors == {"embedding": [message]}
        assert f'value="{typed}"' in str(form["embedding"])

    def test_initial_is_text_that_cleans_to_the_same(self, db: None) -> None:
        item = Item.objects.create(name="one", embedding=VECTOR)
        item.refresh_from_db()
        form = ItemForm(instance=item)
        text = form["embedding"].value()
        assert text == "[0.100000001,-2,2.99999989e+30]"
        assert form.fields["embedding"].clean(text) == STORED

    def test_has_changed(self) -> None:
        field = VectorFormField(dimensions=3)
        assert not field.has_changed(np.array(VECTOR), "[0.1, -2.0, 3e30]")
        assert not field.has_changed(None, "")
        assert field.has_changed(VECTOR, "[1,2,3]")
        assert field.has_changed(VECTOR, "hello")
        assert not VectorFormField(dimensions=3, disabled=True).has_changed(VECTOR, "[1,2,3]")


class TestDeclaration:
    def test_dimensions_by_position_and_keyword(self) -> None:
        assert VectorField(3).dimensions == VectorField(dimensions=3).dimensions == 3
        field = VectorField("a title", dimensions=3)
        assert (field.verbose_name, field.dimensions) == ("a title", 3)
        assert VectorField(3, "a title").verbose_name == "a title"

    @pytest.mark.parametrize("dimensions", [None, 0, -1, 16_001, 3.0, "3", True])
    def test_bad_dimensions(self, dimensions: Any) -> None:
        with pytest.raises(ValueError, match="takes an int from 1 to 16000") as caught:
            VectorField(dimensions=dimensions)
        assert str(caught.value) == (
            f"VectorField(dimensions=...) takes an int from 1 to 16000, not {dimensions!r}."
        )

    def test_deconstruct(self) -> None:
        field = VectorField(3, null=True, default=unit)
        _, path, args, kwargs = field.deconstruct()
        assert path == "dorm_vector.fields.VectorField"
        assert args == []
        assert kwargs == {"dimensions": 3, "null": True, "default": unit}
        assert VectorField(*args, **kwargs).deconstruct()[1:] == (path, args, kwargs)

    def test_clone(self) -> None:
        assert VectorField(3).clone().dimensions == 3

    def test_description(self) -> None:
        field = VectorField(3)
        assert field.description % field.__dict__ == "Vector (3 dimensions)"

    def test_models_module(self) -> None:
        assert models.VectorField is VectorField
        assert models.CharField is CharField
        assert set(models.__all__) > {"Model", "Index", "VectorField"}

    def test_dumped_text_is_short(self, db: None) -> None:
        Item.objects.create(name="one", embedding=[1, 0.5, -2])
        out = io.StringIO()
        call_command("dumpdata", "testapp.item", stdout=out)
        assert '"embedding": "[1,0.5,-2]"' in out.getvalue()
