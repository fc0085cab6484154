"""What vector and text indexes have in common: the engine writes their SQL."""

from __future__ import annotations

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.models import Index, Model

from dorm_vector.engines import Engine, engine_for

__all__ = ["EngineIndex"]


class EngineIndex(Index):
    """An index whose SQL is written by the engine of the connection."""

    def check_fit(self, model: type[Model], engine: Engine) -> None:
        """Raise an error if the index does not fit, even where nothing is built."""
        raise NotImplementedError

    def create_sql(
        self,
        model: type[Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: object,
    ) -> Statement:
        engine = engine_for(schema_editor.connection)
        self.check_fit(model, engine)
        statement = engine.create_index(self, model, schema_editor, **kwargs)
        vars(statement)["makes"] = self
        return statement

    # django-stubs have it give text.
    def remove_sql(  # type: ignore[override]
        self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor, **kwargs: object
    ) -> Statement:
        engine = engine_for(schema_editor.connection)
        return engine.remove_index(self, model, schema_editor, **kwargs)

    def _check_name(self) -> None:
        if set('"\0') & set(self.name or ""):
            raise ValueError(f"{self._label} needs a name without quotation marks or NUL.")

    def _refuse_order(self) -> None:
        if ordered := [name for name in self.fields if name.startswith("-")]:
            raise ValueError(f"{self._label} takes no ordering: write {ordered[0][1:]!r}.")

    @property
    def _label(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"
