"""
factory_boy: random vectors for factories.

::

    class PassageFactory(DjangoModelFactory):
        class Meta:
            model = Passage

        embedding = VectorFaker()
"""

from __future__ import annotations

from typing import Any

import factory
import factory.random

from dorm_vector.contrib.random_vectors import random_vector

__all__ = ["VectorFaker"]


class VectorFaker(factory.declarations.BaseDeclaration):
    """
    A random vector for the field of the model that has its name; see ``random_vector``.

    ``field`` names another field: where the declaration is a part of a trait, say. The numbers come
    from factory_boy's generator, which a test can seed.
    """

    def __init__(self, field: str | None = None) -> None:
        super().__init__()
        self.field = field

    def evaluate(self, instance: Any, step: Any, extra: Any) -> Any:
        meta = step.builder.factory_meta
        name = self.field or self._name(meta.pre_declarations)
        return random_vector(meta.model._meta.get_field(name), factory.random.randgen)

    def _name(self, declarations: Any) -> str:
        for name, declared in declarations.declarations.items():
            if declared is self:
                return str(name)
        raise ValueError('Name the field of the model: VectorFaker("embedding").')
