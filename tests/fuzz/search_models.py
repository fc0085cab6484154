"""The models that are searched: keys, names, inheritance, managers, and every index."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from django.db.models import Manager, Q, QuerySet
from django.db.models.sql import Query

from dorm_vector import HnswIndex, IvfflatIndex, TextIndex, VectorIndex, models

__all__ = ["SETUPS", "STATIC", "Owner", "Setup", "Tag"]

APP = "searchfuzz"
DIMENSIONS = 4


class Owner(models.Model):
    name = models.CharField(max_length=10)
    embedding = models.VectorField(DIMENSIONS, null=True)

    class Meta:
        app_label = APP


class Tag(models.Model):
    name = models.CharField(max_length=10)
    embedding = models.VectorField(DIMENSIONS, null=True)

    class Meta:
        app_label = APP


STATIC: tuple[type[models.Model], ...] = (Owner, Tag)


class TaggedQuery(Query):
    """A Query of the project's own, which marks its SQL."""

    def get_compiler(
        self, using: Any = None, connection: Any = None, elide_empty: bool = True
    ) -> Any:
        compiler = super().get_compiler(using, connection, elide_empty)
        compiler.__class__ = _marking(type(compiler))
        return compiler


class Marking:
    def as_sql(self, *args: Any, **kwargs: Any) -> Any:
        sql, params = super().as_sql(*args, **kwargs)  # type: ignore[misc]
        return sql.replace("SELECT ", "SELECT /* tagged */ ", 1), params


@functools.cache
def _marking(base: type) -> type:
    return type(base.__name__, (Marking, base), {})


class LiveQuery(Query):
    """A Query of the project's own, which leaves rows out as it is compiled."""

    def get_compiler(
        self, using: Any = None, connection: Any = None, elide_empty: bool = True
    ) -> Any:
        live = self.clone()
        live.add_q(Q(cat__lt=2))
        return Query.get_compiler(live, using, connection, elide_empty)


class TaggedRows(QuerySet[Any]):
    query_class: type[Query] = TaggedQuery

    def __init__(self, model: Any = None, query: Any = None, **kwargs: Any) -> None:
        super().__init__(model, query or self.query_class(model), **kwargs)


class LiveRows(TaggedRows):
    query_class = LiveQuery


class FewManager(Manager[Any]):
    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().exclude(cat=1)


@dataclasses.dataclass(frozen=True)
class Setup:
    """A model with its tables, and what may be done with it."""

    name: str
    model: type[models.Model]
    #: The models whose tables it needs, in the order of their creation.
    tables: tuple[type[models.Model], ...]
    #: The paths of its vector fields.
    fields: tuple[str, ...] = ("embedding", "other")
    has_relations: bool = True
    dimensions: int = DIMENSIONS
    #: What is stored: "vector", "halfvec" or "bit".
    values: str = "vector"
    #: The engines that can have it.
    engines: tuple[str, ...] = ("sqlite", "postgresql", "libsql")
    children: type[models.Model] | None = None

    def indexes(self, field: str) -> list[Any]:
        return [
            index
            for parent in (self.model, *self.model._meta.get_parent_list())
            for index in parent._meta.indexes
            if list(index.fields) == [field]
        ]

    @property
    def has_words(self) -> bool:
        """Whether a TextIndex is declared, of names."""
        return any(isinstance(index, TextIndex) for index in self.indexes("name"))

    @property
    def is_composite(self) -> bool:
        return len(self.model._meta.pk_fields) > 1


def rows_base(dimensions: int, relations: bool, field: Any = models.VectorField) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "cat": models.IntegerField(),
        "name": models.CharField(max_length=10),
        "day": models.DateField(),
        "embedding": field(dimensions, null=True),
        "other": field(dimensions, null=True),
    }
    if relations:
        attributes["owner"] = models.ForeignKey(
            Owner, models.CASCADE, null=True, related_name="%(class)s_rows"
        )
        attributes["tags"] = models.ManyToManyField(Tag, related_name="%(class)s_rows")
    return attributes


def make(name: str, attributes: dict[str, Any], bases: Any = (models.Model,), **meta: Any) -> Any:
    meta = {"app_label": APP, **meta}
    attributes = {
        **attributes,
        "__module__": __name__,
        "Meta": type("Meta", (), meta),
    }
    return type(name, bases, attributes)


def plain(
    name: str,
    *,
    dimensions: int = DIMENSIONS,
    relations: bool = True,
    field: Any = models.VectorField,
    extra: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Setup:
    attributes = {**rows_base(dimensions, relations, field), **(extra or {})}
    model = make(name, attributes, **(meta or {}))
    return Setup(name, model, (model,), has_relations=relations, dimensions=dimensions, **kwargs)


def indexed(name: str, cls: Any, metric: str, **options: Any) -> Setup:
    dimensions = options.pop("dimensions", DIMENSIONS)
    extra = options.pop("extra", None)
    index = cls(fields=["embedding"], name=f"{name.lower()}_i", metric=metric, **options)
    return plain(name, dimensions=dimensions, extra=extra, meta={"indexes": [index]})


def columns() -> Setup:
    extra = {
        "id": models.IntegerField(primary_key=True, db_column="The Key"),
        "cat": models.IntegerField(db_column="Select"),
        "embedding": models.VectorField(DIMENSIONS, null=True, db_column="the Vector"),
        "other": models.VectorField(DIMENSIONS, null=True, db_column="distance"),
    }
    meta = {
        "db_table": "Order of Things",
        "indexes": [VectorIndex(fields=["embedding"], name="odd_names", metric="l2")],
    }
    return plain("Columns", extra=extra, meta=meta)


def composite() -> Setup:
    extra = {
        "pk": models.CompositePrimaryKey("tenant", "number"),
        "tenant": models.IntegerField(),
        "number": models.IntegerField(),
    }
    meta = {"indexes": [VectorIndex(fields=["embedding"], name="compo_i", metric="l2")]}
    return plain("Compo", relations=False, extra=extra, meta=meta)


def worded(name: str, extra: dict[str, Any] | None = None, **options: Any) -> Setup:
    indexes = [
        VectorIndex(fields=["embedding"], name=f"{name.lower()}_i", metric="l2"),
        TextIndex(fields=["name"], name=f"{name.lower()}_t"),
    ]
    return plain(name, extra=extra, meta={"indexes": indexes}, **options)


def worded_child() -> Setup:
    index = TextIndex(fields=["name"], name="wordedparent_t")
    parent = make("WordedParent", rows_base(DIMENSIONS, True), indexes=[index])
    child = make("WordedChild", {"second": models.VectorField(DIMENSIONS, null=True)}, (parent,))
    return Setup("WordedChild", child, (parent, child), fields=("embedding", "other", "second"))


def proxied() -> Setup:
    setup = indexed("Proxied", VectorIndex, "l2")
    proxy = make("Proxy", {}, (setup.model,), proxy=True)
    return dataclasses.replace(setup, name="Proxy", model=proxy)


def abstract() -> Setup:
    index = VectorIndex(fields=["embedding"], name="%(class)s_a", metric="cosine")
    base = make("Abstract", rows_base(DIMENSIONS, True), abstract=True, indexes=[index])
    model = make("Concrete", {}, (base,), indexes=[index.clone()])
    model._meta.indexes[0].name = "concrete_a"
    return Setup("Concrete", model, (model,))


def inherited() -> Setup:
    index = VectorIndex(fields=["embedding"], name="parent_i", metric="l2")
    parent = make("Parent", rows_base(DIMENSIONS, True), indexes=[index])
    child = make("Child", {"second": models.VectorField(DIMENSIONS, null=True)}, (parent,))
    return Setup("Child", child, (parent, child), fields=("embedding", "other", "second"))


def linked() -> Setup:
    parent = make("Upper", rows_base(DIMENSIONS, True))
    index = VectorIndex(fields=["second"], name="lower_i", metric="l2")
    attributes = {
        "second": models.VectorField(DIMENSIONS, null=True),
        "link": models.OneToOneField(parent, models.CASCADE, parent_link=True, primary_key=True),
    }
    child = make("Lower", attributes, (parent,), indexes=[index])
    return Setup("Lower", child, (parent, child), fields=("embedding", "second"))


def of_two() -> Setup:
    a = make(
        "A", {"aid": models.AutoField(primary_key=True), "word": models.CharField(max_length=9)}
    )
    b = make("B", rows_base(DIMENSIONS, True))
    ab = make("AB", {}, (a, b))
    return Setup("AB", ab, (a, b, ab))


def of_two_parent() -> Setup:
    setup = SETUPS["AB"]
    return dataclasses.replace(setup, name="B", model=setup.tables[1])


def parents(name: str, index: Any = None) -> Setup:
    parent = plain(name)
    attributes = {
        "row": models.ForeignKey(parent.model, models.CASCADE, related_name="chunks"),
        "lang": models.IntegerField(),
        "embedding": models.VectorField(DIMENSIONS, null=True),
    }
    chunk = make(f"{name}Chunk", attributes, indexes=[index] if index else [])
    return dataclasses.replace(parent, tables=(parent.model, chunk), children=chunk)


def with_manager(name: str, manager: Any, **meta: Any) -> Setup:
    index = VectorIndex(fields=["embedding"], name=f"{name.lower()}_i", metric="l2")
    return plain(name, extra={"objects": manager}, meta={"indexes": [index], **meta})


def setups() -> list[Setup]:
    uuid = {"id": models.UUIDField(primary_key=True)}
    char = {"id": models.CharField(primary_key=True, max_length=10)}
    vector_index = functools.partial(VectorIndex, fields=["embedding"])
    return [
        plain("Plain"),
        plain("Uuid", extra=uuid),
        plain("Char", extra=char),
        indexed(
            "CharIndexed",
            VectorIndex,
            "l2",
            extra={"id": models.CharField(primary_key=True, max_length=10)},
        ),
        columns(),
        composite(),
        plain(
            "Schema",
            relations=False,
            # SQLite returns no column by the name of its schema, as for automatic keys.
            extra={"id": models.IntegerField(primary_key=True)},
            meta={
                "db_table": '"fuzz"."rows"',
                "indexes": [HnswIndex(fields=["embedding"], name="schema_i", metric="l2")],
            },
            engines=("sqlite", "postgresql"),
        ),
        proxied(),
        abstract(),
        inherited(),
        linked(),
        of_two(),
        with_manager("Managed", FewManager()),
        with_manager("Tagged", Manager.from_queryset(TaggedRows)()),
        with_manager("Live", Manager.from_queryset(LiveRows)()),
        parents("Doc"),
        parents("Book", vector_index(name="book_i", metric="l2")),
        plain("Half", field=models.HalfVectorField, values="halfvec"),
        plain("Bits", field=models.BitField, values="bit", dimensions=12),
        *(
            indexed(f"{prefix}{metric.title()}", cls, metric, **options)
            for prefix, cls, options in (
                ("Vi", VectorIndex, {}),
                ("Hnsw", HnswIndex, {}),
                ("Ivf", IvfflatIndex, {"lists": 4}),
                ("ViHalf", VectorIndex, {"precision": "half"}),
                ("ViBit", VectorIndex, {"precision": "bit", "dimensions": 16}),
                ("ViPre", VectorIndex, {"prefix": 2}),
            )
            for metric in ("l2", "cosine", "ip", "l1")
            if not (prefix == "Ivf" and metric == "l1")
            and not (prefix == "ViBit" and metric != "cosine")
            and not (prefix in ("ViPre", "ViHalf") and metric in ("l1", "ip"))
        ),
        worded("Worded"),
        worded("WordedUuid", {"id": models.UUIDField(primary_key=True)}),
        worded("WordedChar", {"id": models.CharField(primary_key=True, max_length=10)}),
        worded(
            "WordedCompo",
            {
                "pk": models.CompositePrimaryKey("tenant", "number"),
                "tenant": models.IntegerField(),
                "number": models.IntegerField(),
            },
            relations=False,
        ),
        worded("WordedManaged", {"objects": FewManager()}),
        worded("WordedTagged", {"objects": Manager.from_queryset(TaggedRows)()}),
        worded("WordedLive", {"objects": Manager.from_queryset(LiveRows)()}),
        worded_child(),
        indexed("Partial", VectorIndex, "l2", condition=Q(cat__lt=2)),
    ]


SETUPS: dict[str, Setup] = {setup.name: setup for setup in setups()}
SETUPS["B"] = of_two_parent()
# Pickling finds a class by its name in a module.
globals().update(
    {model.__name__: model for setup in SETUPS.values() for model in (setup.model, *setup.tables)}
)
