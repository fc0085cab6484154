"""SQL compilers that write the functions of ``functions`` in SQL."""

from __future__ import annotations

from typing import Any

from django.db.models.sql import compiler

from dorm_vector.backends.libsql.functions import rewriter

__all__ = [
    "SQLAggregateCompiler",
    "SQLCompiler",
    "SQLDeleteCompiler",
    "SQLInsertCompiler",
    "SQLUpdateCompiler",
]


class Rewriting:
    """The part of a compiler that asks ``rewriter`` first."""

    def compile(self, node: Any) -> Any:
        rewrite = rewriter(node.__class__)
        if rewrite is None:
            return super().compile(node)  # type: ignore[misc]
        return rewrite(node, self, super().compile)  # type: ignore[misc]


class SQLCompiler(Rewriting, compiler.SQLCompiler):
    pass


class SQLInsertCompiler(Rewriting, compiler.SQLInsertCompiler):
    pass


class SQLDeleteCompiler(Rewriting, compiler.SQLDeleteCompiler):
    pass


class SQLUpdateCompiler(Rewriting, compiler.SQLUpdateCompiler):
    pass


class SQLAggregateCompiler(Rewriting, compiler.SQLAggregateCompiler):
    pass
