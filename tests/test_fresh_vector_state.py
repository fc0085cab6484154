"""FreshVector under any sequence of writes: no vector is older than its text, at any moment."""

from __future__ import annotations

import struct
from typing import Any, ClassVar

import pytest
from django.db import migrations, transaction
from django.db.models import F
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dorm_vector import FreshVector, TextIndex, VectorIndex, models, nearest
from tests.support.migrating import Project

SOURCES = {"embedding": ("title", "body"), "small": ("title",)}
COLUMNS = ("title", "body", "views", "embedding", "small")

# Few values, so that the same ones are often written again.
texts = st.sampled_from(["a", "A", "a ", "b", ""])
bodies = st.none() | texts
numbers = st.sampled_from([0.0, -0.0, 1.0, 2.5])
vectors = st.none() | st.lists(numbers, min_size=2, max_size=2).map(lambda part: [*part, 1.0])
small = st.none() | st.lists(numbers, min_size=2, max_size=2)
values = {
    "title": texts,
    "body": bodies,
    "views": st.integers(0, 3),
    "embedding": vectors,
    "small": small,
}
rows = st.fixed_dictionaries(values)
changes = st.fixed_dictionaries({}, optional=values).filter(bool)
slugs = st.sampled_from("klmnop")

Row = dict[str, Any]


def bits(vector: Any) -> bytes | None:
    return None if vector is None else struct.pack(f"{len(vector)}f", *vector)


def written(before: Row, changed: Row) -> Row:
    """What a row is after a statement."""
    after = {**before, **changed}
    for vector, sources in SOURCES.items():
        other_text = any(before[source] != after[source] for source in sources)
        if other_text and bits(before[vector]) == bits(after[vector]):
            after[vector] = None
    return after


class FreshVectorMachine(RuleBasedStateMachine):
    """A table, what is expected to be in it, instances that are held, and open transactions."""

    project: ClassVar[Project]

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[str, Row] = {}
        self.held: list[Any] = []
        self.blocks: list[tuple[Any, dict[str, Row]]] = []

    @initialize(made=st.dictionaries(slugs, rows, max_size=4))
    def begin(self, made: dict[str, Row]) -> None:
        self.table.all().delete()
        self.table.bulk_create([self.model(slug=slug, **row) for slug, row in made.items()])
        self.expected.update(made)

    def teardown(self) -> None:
        while self.blocks:
            self.roll_back()

    @property
    def model(self) -> Any:
        return self.project.model()

    @property
    def table(self) -> Any:
        return self.project.rows()

    def change(self, slug: str, changed: Row) -> None:
        self.expected[slug] = written(self.expected[slug], changed)

    def known(self, slug: str) -> bool:
        return slug in self.expected

    # Instances, which may be older than their rows

    @rule(slug=slugs, deferred=st.booleans())
    def hold(self, slug: str, deferred: bool) -> None:
        found = self.table.defer("embedding") if deferred else self.table
        self.held += found.filter(slug=slug)

    @precondition(lambda self: self.held)
    @rule(position=st.integers(0, 9), changed=changes, some=st.booleans())
    def save(self, position: int, changed: Row, some: bool) -> None:
        instance = self.held[position % len(self.held)]
        for name, value in changed.items():
            setattr(instance, name, value)
        if not self.known(instance.slug):
            return
        deferred = instance.get_deferred_fields()
        if some:
            instance.save(using="scratch", update_fields=list(changed))
        else:
            instance.save(using="scratch")
            changed = {name: getattr(instance, name) for name in COLUMNS if name not in deferred}
        self.change(instance.slug, changed)

    @precondition(lambda self: self.held)
    @rule(changed=changes)
    def bulk_update(self, changed: Row) -> None:
        instances = {each.slug: each for each in self.held if self.known(each.slug)}
        for instance in instances.values():
            for name, value in changed.items():
                setattr(instance, name, value)
        self.table.bulk_update(list(instances.values()), list(changed))
        for slug in instances:
            self.change(slug, changed)

    # Querysets

    @rule(slug=slugs, changed=changes)
    def update(self, slug: str, changed: Row) -> None:
        self.table.filter(slug=slug).update(**changed)
        if self.known(slug):
            self.change(slug, changed)

    @rule(changed=changes)
    def update_all(self, changed: Row) -> None:
        self.table.update(**changed)
        for slug in self.expected:
            self.change(slug, changed)

    @rule(slug=slugs, vector=st.booleans())
    def update_by_expressions(self, slug: str, vector: bool) -> None:
        same = {"embedding": F("embedding"), "small": F("small")} if vector else {}
        self.table.filter(slug=slug).update(title=F("slug"), views=F("views") + 1, **same)
        if self.known(slug):
            self.change(slug, {"title": slug, "views": self.expected[slug]["views"] + 1})

    @rule(slug=slugs, row=rows, names=st.sets(st.sampled_from(COLUMNS), min_size=1))
    def upsert(self, slug: str, row: Row, names: set[str]) -> None:
        self.table.bulk_create(
            [self.model(slug=slug, **row)],
            update_conflicts=True,
            unique_fields=["slug"],
            update_fields=sorted(names),
        )
        if self.known(slug):
            self.change(slug, {name: row[name] for name in names})
        else:
            self.expected[slug] = row

    @rule(slug=slugs, row=rows)
    def insert_or_ignore(self, slug: str, row: Row) -> None:
        self.table.bulk_create([self.model(slug=slug, **row)], ignore_conflicts=True)
        self.expected.setdefault(slug, row)

    @rule(slug=slugs, row=rows)
    def get_or_create(self, slug: str, row: Row) -> None:
        self.held.append(self.table.get_or_create(slug=slug, defaults=row)[0])
        self.expected.setdefault(slug, row)

    @rule(slug=slugs, row=rows, changed=changes)
    def update_or_create(self, slug: str, row: Row, changed: Row) -> None:
        self.table.update_or_create(slug=slug, defaults=changed, create_defaults={**row, **changed})
        if self.known(slug):
            self.change(slug, changed)
        else:
            self.expected[slug] = {**row, **changed}

    @rule(slug=slugs)
    def delete(self, slug: str) -> None:
        self.table.filter(slug=slug).delete()
        self.expected.pop(slug, None)

    @rule(slug=slugs, other=slugs)
    def change_key(self, slug: str, other: str) -> None:
        if self.known(slug) and not self.known(other):
            self.table.filter(slug=slug).update(slug=other)
            self.expected[other] = self.expected.pop(slug)
            self.held = [each for each in self.held if each.slug != slug]

    # Raw SQL

    @rule(slug=slugs, changed=changes)
    def raw_update(self, slug: str, changed: Row) -> None:
        sets, params = self.assignments(changed)
        self.project.execute(f"UPDATE shop_article SET {sets} WHERE slug = %s", *params, slug)
        if self.known(slug):
            self.change(slug, changed)

    @rule(slug=slugs, changed=changes)
    def raw_upsert(self, slug: str, changed: Row) -> None:
        if self.known(slug):
            sets, params = self.assignments(changed)
            self.project.execute(
                "INSERT INTO shop_article (slug, title, views) VALUES (%s, 'never', 0) "
                f"ON CONFLICT (slug) DO UPDATE SET {sets}",
                slug,
                *params,
            )
            self.change(slug, changed)

    def assignments(self, changed: Row) -> tuple[str, list[Any]]:
        sets, params = [], []
        for name, value in changed.items():
            field = self.model._meta.get_field(name)
            params.append(field.get_db_prep_save(value, self.project.connection))
            cast = "::vector" if self.project.engine == "postgresql" and name in SOURCES else ""
            sets.append(f"{name} = %s{cast}")
        return ", ".join(sets), params

    # Transactions

    @precondition(lambda self: len(self.blocks) < 3)
    @rule()
    def open_block(self) -> None:
        block = transaction.atomic("scratch")
        block.__enter__()
        self.blocks.append((block, dict(self.expected)))

    @precondition(lambda self: self.blocks)
    @rule()
    def commit(self) -> None:
        self.blocks.pop()[0].__exit__(None, None, None)

    @precondition(lambda self: self.blocks)
    @rule()
    def roll_back(self) -> None:
        block, self.expected = self.blocks.pop()
        transaction.set_rollback(True, using="scratch")
        block.__exit__(None, None, None)
        self.held.clear()

    # Migrations

    @precondition(lambda self: not self.blocks)
    @rule(length=st.integers(10, 90))
    def alter_field(self, length: int) -> None:
        """SQLite rebuilds the table for it."""
        field = models.CharField(max_length=length)
        self.project.run(migrations.AlterField("article", "title", field))

    @precondition(lambda self: not self.blocks)
    @rule()
    def make_index_anew(self) -> None:
        """Which makes its triggers later than those of the constraint."""
        (index,) = (each for each in self.model._meta.indexes if each.name == "article_vec")
        self.project.run(migrations.RemoveIndex("article", index.name))
        self.project.run(migrations.AddIndex("article", index))

    @precondition(lambda self: not self.blocks)
    @rule()
    def make_constraint_anew(self) -> None:
        constraint = self.model._meta.constraints[0]
        self.project.run(migrations.RemoveConstraint("article", constraint.name))
        self.project.run(migrations.AddConstraint("article", constraint))

    # What holds

    @invariant()
    def is_as_expected(self) -> None:
        found = {row.pop("slug"): row for row in self.table.values("slug", *COLUMNS)}
        assert found == self.expected

    @invariant()
    def is_found_while_fresh(self) -> None:
        fresh = {slug for slug, row in self.expected.items() if row["embedding"] is not None}
        search = nearest(self.table, "embedding", [1.0, 1.0, 1.0], k=10, metric="l2")
        assert {row.slug for row in search} == fresh
        if self.project.engine == "sqlite":
            (count,) = self.project.execute("SELECT count(*) FROM article_vec")[0]
            assert count == len(fresh)


@pytest.fixture
def project(empty_database: Any) -> Project:
    fields = [
        ("id", models.BigAutoField(primary_key=True)),
        ("slug", models.CharField(max_length=9, unique=True)),
        ("title", models.CharField(max_length=50)),
        ("body", models.TextField(null=True)),
        ("views", models.IntegerField(default=0)),
        ("embedding", models.VectorField(3, null=True)),
        ("small", models.VectorField(2, null=True)),
    ]
    constraints = [
        FreshVector(field=field, of=of, name=f"article_{field}_fresh")
        for field, of in SOURCES.items()
    ]
    indexes = [
        VectorIndex(fields=["embedding"], name="article_vec", metric="l2"),
        TextIndex(fields=["title", "body"], name="article_txt"),
    ]
    options = {"constraints": constraints, "indexes": indexes}
    return Project(migrations.CreateModel("Article", fields, options))


def test_any_sequence_of_writes(project: Project) -> None:
    machine = type("Machine", (FreshVectorMachine,), {"project": project})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert project.rows().model is project.model()
