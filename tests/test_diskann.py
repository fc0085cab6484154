"""``DiskAnnIndex`` where its extension is not: declaration, checks, and other databases."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, NotSupportedError, connections, migrations
from django.db.migrations.writer import MigrationWriter
from django.test.utils import isolate_apps

from dorm_vector import DiskAnnIndex, VectorExtension, models, nearest
from dorm_vector.testing import explain_nearest
from tests.support.migrating import Project


def diskann(**options: Any) -> DiskAnnIndex:
    return DiskAnnIndex(
        **{"fields": ["embedding"], "name": "article_disk", "metric": "cosine", **options}
    )


class Rebuilt(DiskAnnIndex):
    """An index of a project's own by the method of another."""


class TestDeclaration:
    def test_deconstruct(self) -> None:
        index = diskann(labels="topics", num_neighbors=20, max_alpha=1.5)
        path, args, kwargs = index.deconstruct()
        assert (path, args) == ("dorm_vector.indexes.DiskAnnIndex", ())
        assert kwargs == {
            "fields": ["embedding"],
            "name": "article_disk",
            "metric": "cosine",
            "num_neighbors": 20,
            "max_alpha": 1.5,
            "labels": "topics",
        }
        assert DiskAnnIndex(**kwargs) == index == index.clone()
        assert index != diskann(num_neighbors=20, max_alpha=1.5)
        written, imports = MigrationWriter.serialize(index)
        assert imports == {"import dorm_vector.indexes"}
        assert written.startswith("dorm_vector.indexes.DiskAnnIndex(")

    def test_a_subclass_has_a_path_of_its_own(self) -> None:
        assert Rebuilt(fields=["embedding"], name="disk").deconstruct()[0] == (
            f"{__name__}.Rebuilt"
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_neighbors": 9}, "takes num_neighbors from 10 to 1000, not 9."),
            ({"max_alpha": 0.5}, "takes max_alpha from 1.0 to 5.0, not 0.5."),
            ({"num_dimensions": 0}, "takes num_dimensions from 1 to 5000, not 0."),
            (
                {"storage_layout": "fast"},
                "takes storage_layout of memory_optimized, plain, not 'fast'.",
            ),
            ({"metric": "l1"}, "has no metric 'l1'; use one of cosine, ip, l2."),
            ({"prefix": 8}, "takes no prefix: use num_dimensions."),
            (
                {"precision": "bit"},
                "takes no precision: use storage_layout='memory_optimized', which compresses to "
                "bits.",
            ),
            (
                {"storage_layout": "plain", "metric": "ip"},
                "takes storage_layout='plain' without the metric 'ip': use 'memory_optimized'.",
            ),
            (
                {"storage_layout": "plain", "labels": "topics"},
                "takes storage_layout='plain' without labels: use 'memory_optimized'.",
            ),
            (
                {"labels": ""},
                "takes as labels the name of a field, beside a field of vectors, not ''.",
            ),
        ],
    )
    def test_bad_options(self, options: Any, message: str) -> None:
        with pytest.raises(ValueError, match=r"DiskAnnIndex\(name=") as caught:
            diskann(**options)
        assert str(caught.value) == f"DiskAnnIndex(name='article_disk') {message}"

    def test_checks(self) -> None:
        with isolate_apps("tests.testapp"):

            class Wide(models.Model):
                embedding = models.VectorField(2000)
                half = models.HalfVectorField(20)
                name = models.CharField(max_length=9)

                class Meta:
                    app_label = "testapp"
                    indexes = [
                        diskann(storage_layout="plain"),
                        diskann(name="b", labels="name"),
                        diskann(name="c", labels="other"),
                        diskann(name="d", num_dimensions=2001),
                        diskann(name="e", fields=["half"]),
                        diskann(name="f", storage_layout="plain", num_neighbors=100),
                    ]

            found = [
                (message.id, message.msg, message.hint)
                for index in Wide._meta.indexes
                for message in index.problems(Wide)
            ]
        labels = "Use ArrayField(SmallIntegerField()) of django.contrib.postgres."
        fits = (
            "DiskAnnIndex(name={name!r}, fields=['embedding'], metric='cosine', "
            "storage_layout='memory_optimized'{more})"
        )
        assert found == [
            (
                "dorm_vector.E103",
                "'article_disk' is over 2000 dimensions, and an index of PostgreSQL takes 1930 at "
                "most (database 'postgresql').",
                fits.format(name="article_disk", more=""),
            ),
            (
                "dorm_vector.E111",
                "'b' has the labels 'name', which is no array of small integers of testapp.Wide.",
                labels,
            ),
            (
                "dorm_vector.E111",
                "'c' has the labels 'other', which is no array of small integers of testapp.Wide.",
                labels,
            ),
            (
                "dorm_vector.E106",
                "'d' is over the first 2001 components, and 'embedding' has 2000.",
                None,
            ),
            (
                "dorm_vector.E102",
                "The operator class 'halfvec_cosine_ops' of 'e' does not fit 'half'.",
                "Use a field of another kind: the method has no operator class for this one.",
            ),
            (
                "dorm_vector.E103",
                "'f' is over 2000 dimensions, and an index of PostgreSQL takes 1830 at most "
                "(database 'postgresql').",
                fits.format(name="f", more=", num_neighbors=100"),
            ),
        ]


ARTICLE = [
    ("id", models.AutoField(primary_key=True)),
    ("embedding", models.VectorField(3)),
]


@pytest.fixture
def project(empty_database: Any) -> Project:
    return Project(VectorExtension(name="vector"), migrations.CreateModel("Article", ARTICLE))


class TestElsewhere:
    @pytest.mark.parametrize("empty_database", ["sqlite", "libsql"], indirect=True)
    def test_nothing_is_built(self, project: Project) -> None:
        project.run(VectorExtension(name="vectorscale"))
        project.run(migrations.AddIndex("article", diskann()))
        project.rows().create(embedding=[1, 2, 3])
        search = nearest(project.rows(), "embedding", [1, 2, 3], k=1, query_rescore=100)
        assert search[0].distance == pytest.approx(0, abs=1e-6)
        assert explain_nearest(search).reason == (
            f"{connections['scratch'].display_name} has no diskann index: article_disk is not "
            "built."
        )
        project.undo(migrations.AddIndex("article", diskann()))

    @pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
    def test_a_server_without_the_extension(self, project: Project) -> None:
        with pytest.raises(DatabaseError, match='access method "diskann" does not exist'):
            project.run(migrations.AddIndex("article", diskann()))
        with pytest.raises(NotSupportedError) as caught:
            project.run(VectorExtension(name="vectorscale"))
        assert str(caught.value) == (
            "The PostgreSQL server has no files of the extension vectorscale, or of one that it "
            "needs: install them on the server, then migrate again."
        )
