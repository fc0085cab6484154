"""Searching for words in PostgreSQL: GIN indexes of words, and the same words in queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db.backends.ddl_references import Columns, Statement
from django.db.models import F, Model
from django.db.models.sql.compiler import SQLCompiler

from dorm_vector.engines.base.text import EngineText
from dorm_vector.engines.postgresql.trigrams import PartColumns, Parts, has_trigrams
from dorm_vector.sql import SQL, fill, joined, literal

__all__ = ["PostgreSQLText"]

# Punctuation is white space: PostgreSQL would take "os.path" for the name of a host, "a/b" for that
# of a file, "-5" for a number and "<b>" for a tag, and find them by the whole alone. These are
# all that its parser does not skip by itself; translate() takes time for each.
PUNCTUATION = "./-@<&+"
WORDS = (
    "to_tsvector({language}, translate(COALESCE({column}, ''), "
    f"{literal(PUNCTUATION)}, {literal(' ' * len(PUNCTUATION))}))"
)


def language_sql(language: str) -> str:
    return f"{literal(f'pg_catalog.{language}')}::regconfig"


def words_sql(column: str, language: str, weight: str | None) -> str:
    """The words of a column, as indexes have them."""
    words = WORDS.replace("{language}", language_sql(language)).replace("{column}", column)
    return f"setweight({words}, {literal(weight)})" if weight else words


class WordColumns(Columns):
    """The columns of a text index, inside its expression."""

    def __init__(
        self,
        table: str,
        columns: list[str],
        quote_name: Callable[[str], str],
        language: str,
        weights: Any,
    ) -> None:
        super().__init__(table, columns, quote_name)
        self.language, self.weights = language, weights

    def __str__(self) -> str:
        return f"({all_words(map(self.quote_name, self.columns), self.language, self.weights)})"


def all_words(columns: Iterable[str], language: str, weights: Sequence[str | None]) -> str:
    return " || ".join(
        words_sql(column, language, weight) for column, weight in zip(columns, weights, strict=True)
    )


def phrase(unit: tuple[str, ...]) -> str:
    """A unit as ``to_tsquery()`` takes it. Words are of letters and digits alone."""
    return "(" + " <-> ".join(f"'{word}'" for word in unit) + ")"


def typed(wanted: Iterable[Any], excluded: Iterable[Any] = (), operator: str = " & ") -> str:
    """Units that are wanted, and others that are excluded, as ``to_tsquery()`` takes them."""
    parts = [f"({operator.join(map(phrase, wanted))})"] if wanted else []
    parts += [f"!{phrase(unit)}" for unit in excluded]
    return " & ".join(parts)


RANK_OF_ANY = (
    "(SELECT SUM(LN(1 + (GREATEST({rows} - t.n, 0) + 0.5) / (t.n + 0.5)) "
    "* (1 + ts_rank_cd(d.v, t.q, 32))) "
    "FROM (SELECT {searched} AS v OFFSET 0) AS d, "
    "unnest({queries}, {counts}) AS t (q, n) WHERE d.v @@ t.q)"
)
ROWS = "(SELECT reltuples FROM pg_class WHERE oid = {}::regclass)"


def count(vector: SQL, query: SQL) -> SQL:
    return SQL(f"count(*) FILTER (WHERE {vector.sql} @@ {query.sql})", query.params)


class Words:
    """The words of the columns of one query, and conditions on them."""

    def __init__(self, search: Any, columns: dict[str, str], connection: Any) -> None:
        self.search, self.columns, self.connection = search, columns, connection
        self.quote = connection.ops.quote_name
        self.table = self.quote(search.model._meta.db_table)

    def of(self, fields: Iterable[str]) -> str:
        """The words of fields, one vector of them."""
        search, names = self.search, list(fields)
        columns = [self.columns[name] for name in names]
        return f"({all_words(columns, search.language, weights(search, names))})"

    @property
    def searched(self) -> str:
        return self.of(self.search.fields)

    def query(self, text: str) -> SQL:
        return SQL(f"to_tsquery({language_sql(self.search.language)}, %s)", (text,))

    def match(self, text: str, vector: str | None = None) -> SQL:
        query = self.query(text)
        return SQL(f"{vector or self.searched} @@ {query.sql}", query.params)

    def in_one_field(self, unit: Any) -> SQL:
        """The condition that one of the fields has a phrase: two of them do not make one."""
        fields = [self.of([name]) for name in self.search.fields]
        return joined("OR", (self.match(phrase(unit), vector) for vector in fields))

    def condition(self) -> SQL:
        search, query = self.search, self.search.query
        units = (*query.wanted, *query.excluded)
        plain = len(search.fields) == 1 or all(len(unit) == 1 for unit in units)
        exact = self.match(self.text) if plain else self.exactly()
        if (plain and search.is_whole) or search.index is None:
            return exact
        # For the index, which is over all of its fields; it has no more to do than to find.
        wanted = " | ".join(f"({typed(each.wanted)})" for each in query.alternatives)
        if search.is_any:
            wanted = typed(query.wanted, operator=" | ")
        return joined("AND", [self.match(wanted, self.of(search.index.fields)), exact])

    @property
    def text(self) -> str:
        """The search as ``to_tsquery()`` takes it."""
        query = self.search.query
        if self.search.is_any:
            return typed(query.wanted, query.excluded, " | ")
        return " | ".join(f"({typed(*each)})" for each in query.alternatives)

    def exactly(self) -> SQL:
        """The condition with phrases that are in one field."""
        if self.search.is_any:
            query = self.search.query
            return joined("AND", [self.any_of(query.wanted), *self.none_of(query.excluded)])
        return joined("OR", map(self.all_of, self.search.query.alternatives))

    def all_of(self, alternative: Any) -> SQL:
        # Of words that the language leaves out there is nothing in a query.
        phrases = [
            joined("OR", [self.is_empty(unit), self.in_one_field(unit)])
            for unit in alternative.wanted
            if len(unit) > 1
        ]
        excluded = self.none_of(alternative.excluded)
        return joined("AND", [self.match(typed(alternative.wanted)), *phrases, *excluded])

    def is_empty(self, unit: Any) -> SQL:
        query = self.query(phrase(unit))
        return SQL(f"numnode({query.sql}) = 0", query.params)

    def any_of(self, units: Any) -> SQL:
        words = [unit for unit in units if len(unit) == 1]
        found = [self.match(typed(words, operator=" | "))] if words else []
        return joined("OR", [*found, *(self.in_one_field(u) for u in units if len(u) > 1)])

    def none_of(self, units: Any) -> list[SQL]:
        conditions = (self.in_one_field(unit) for unit in units)
        return [SQL(f"NOT {sql}", params) for sql, params in conditions]

    def rank(self) -> SQL:
        if self.search.is_any and len(self.search.query.wanted) > 1:
            return self.rank_of_any()
        query = self.query(self.text)
        return SQL(f"ts_rank_cd({self.searched}, {query.sql})", query.params)

    def rank_of_any(self) -> SQL:
        """
        The sum over the words of how rare they are, and of how well each is found.

        ``ts_rank_cd`` knows neither: it would put a row with one word often before one with all.
        """
        queries = [self.query(phrase(unit)) for unit in self.search.query.wanted]
        listed = joined(",", queries)
        return fill(
            RANK_OF_ANY,
            rows=SQL(ROWS.format(literal(self.table))),
            searched=SQL(self.searched),
            queries=SQL(f"ARRAY[{listed.sql[1:-1]}]", listed.params),
            counts=self.counts(queries),
        )

    def counts(self, queries: list[SQL]) -> SQL:
        """How many rows of the table contain each word."""
        index = self.search.index
        if index is None or index.condition is not None:
            return self.counted_at_once(queries)
        columns = {
            name: self.quote(self.search.model._meta.get_field(name).column)
            for name in index.fields
        }
        words = Words(self.search, columns, self.connection).of(index.fields)
        start = f"SELECT count(*) FROM {self.table} WHERE {words} @@"  # noqa: S608 - quoted
        listed = joined(",", (SQL(f"({start} {sql})", params) for sql, params in queries))
        return SQL(f"ARRAY[{listed.sql[1:-1]}]", listed.params)

    def counted_at_once(self, queries: list[SQL]) -> SQL:
        """The same where no index helps: all rows are read, once."""
        fields = self.search.fields
        named = {f"dorm_t{place}": F(name) for place, name in enumerate(fields)}
        rows = self.search.model._base_manager.order_by().annotate(**named).values(*named)
        # From the same database, whichever that is: no router is asked.
        sql, params = rows.query.get_compiler(connection=self.connection).as_sql()
        own = Words(self.search, dict(zip(fields, named, strict=True)), self.connection)
        listed = joined(",", (count(SQL("d.v"), query) for query in queries))
        words = f"(SELECT {own.searched} AS v FROM ({sql}) AS t OFFSET 0) AS d"  # noqa: S608 - quoted
        return SQL(f"(SELECT ARRAY[{listed.sql[1:-1]}] FROM {words})", (*listed.params, *params))  # noqa: S608


def weights(search: Any, fields: Iterable[str]) -> list[str | None]:
    return [search.index and search.index.weight_of(name) for name in fields]


class PostgreSQLText(EngineText):
    """The part of the engine that searches for words."""

    computes_text = True

    def create_text_index(
        self, index: Any, model: type[Model], schema_editor: Any, **kwargs: object
    ) -> Statement:
        fields = index.text_fields(model)
        if not schema_editor.collect_sql and (reason := self.why_no_text_index(index, model)):
            # Django runs whatever create_sql() returns, so nothing has to be a statement as well.
            what = f"{reason}: {index.name} is not built".translate({0: " ", 92: "/"})
            return Statement("SELECT %(what)s", what=literal(what))
        statement: Statement = schema_editor._create_index_sql(
            model,
            fields=fields,
            name=index.name,
            using=" USING gin",
            db_tablespace=index.db_tablespace,
            condition=index._get_condition_sql(model, schema_editor),
            **kwargs,
        )
        quote = schema_editor.quote_name
        table, columns = model._meta.db_table, [field.column for field in fields]
        letters = [index.weight_of(field.name) for field in fields]
        statement.parts["columns"] = (
            PartColumns(table, columns, quote)
            if index.tokenize
            else WordColumns(table, columns, quote, index.language, letters)
        )
        return statement

    def why_no_text_index(self, index: Any, model: Any) -> str | None:
        if index.method == "text" and index.tokenize and not has_trigrams(self.connection):
            return "The extension pg_trgm is not installed"
        return super().why_no_text_index(index, model)

    def text_join(self, search: Any) -> SQL:
        return SQL("")

    def text_condition(self, compiler: SQLCompiler, text: str) -> SQL:
        return self._words(compiler, text).condition()

    def text_rank(self, compiler: SQLCompiler, text: str) -> SQL:
        return self._words(compiler, text).rank()

    def _words(self, compiler: Any, text: Any) -> Words | Parts:
        search = text.text_search
        compiled = [compiler.compile(each)[0] for each in text.texts]
        columns = dict(zip(search.indexed, compiled, strict=True))
        if search.of_parts:
            return Parts(search, columns)
        return Words(search, columns, self.connection)
