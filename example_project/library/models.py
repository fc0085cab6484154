"""One table: what the standard library documents."""

from __future__ import annotations

from dorm_vector import FreshVector, HnswIndex, TextIndex, models


class Entry(models.Model):
    """A function, class or method, its words, and the embedding of its name and summary."""

    class Kind(models.TextChoices):
        FUNCTION = "function"
        CLASS = "class"
        METHOD = "method"

    name = models.CharField(max_length=200, unique=True)
    module = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    signature = models.TextField(blank=True)
    summary = models.TextField()
    doc = models.TextField()
    #: NULL until index_library has computed it, and again when the name or the summary changes.
    embedding = models.VectorField(dimensions=256, null=True, blank=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "entries"
        constraints = [
            FreshVector(field="embedding", of=["name", "summary"], name="entry_embedding_fresh")
        ]
        indexes = [
            HnswIndex(
                fields=["embedding"],
                name="entry_embedding",
                metric="cosine",
                # Three times pgvector's default: found by comparing with an exact search.
                ef_construction=200,
            ),
            TextIndex(fields=["name", "summary", "doc"], name="entry_text"),
        ]

    def __str__(self) -> str:
        return self.name
