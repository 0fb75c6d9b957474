"""SQL written by people and agents, made safe to run: parsed, checked node by node, rewritten for one tenant.

What is not known to be harmless is refused: statements, syntax, functions, types and tables each have to be on a list
here. What runs is the text generated from the checked tree, never the text that was sent, so nothing hides in comments
or in quoting that the engine reads differently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from sqlglot import TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, SqlglotError

from otel_diag.errors import BadInput

MAX_SQL: Final = 20_000
"""Characters of a statement."""
MAX_NESTING: Final = 60
"""Parentheses within parentheses; the parser recurses."""
MAX_NODES: Final = 5_000
MAX_CALLS: Final = 20
"""Functions in place of tables in one statement: each may have to be worked out before it runs."""

_COLUMN_FUNCTIONS: Final = frozenset(
    ("user", "current_user", "session_user", "system_user", "current_role", "current_catalog", "current_schema")
)
"""Names that look like columns and are functions."""


@lru_cache
def _spoken(dialect: str) -> Dialect:
    """The parser's dialect, but with the right side of ``->> 'execution.id'`` kept: a key with a dot is no path."""
    base = type(Dialect.get_or_raise(dialect))
    keyed: type[Dialect] = type(f"Keyed{base.__name__}", (base,), {"to_json_path": lambda _, path: path})
    return keyed()


_STRUCTURE: Final[tuple[type[exp.Expr], ...]] = (
    # queries and their clauses
    exp.Select, exp.Union, exp.Intersect, exp.Except, exp.Subquery, exp.With, exp.CTE, exp.From, exp.Join, exp.Lateral,
    exp.Table, exp.TableAlias, exp.Where, exp.Group, exp.GroupingSets, exp.Rollup, exp.Cube, exp.Having, exp.Qualify,
    exp.Order, exp.Ordered, exp.Limit, exp.Fetch, exp.LimitOptions, exp.Offset, exp.Distinct, exp.Window,
    exp.WindowSpec, exp.WithinGroup, exp.Filter, exp.IgnoreNulls, exp.RespectNulls,
    # names and values
    exp.Column, exp.Identifier, exp.Alias, exp.Star, exp.Literal, exp.Boolean, exp.Null, exp.Interval, exp.Var,
    exp.DataType, exp.DataTypeParam, exp.Tuple, exp.Paren, exp.Array, exp.Bracket, exp.Slice, exp.IntervalSpan,
    # operators
    exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Pow, exp.Neg, exp.DPipe,
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.In, exp.Between,
    exp.Like, exp.ILike, exp.SimilarTo, exp.RegexpLike, exp.RegexpILike, exp.Escape, exp.Any, exp.All, exp.Exists,
    exp.And, exp.Or, exp.Not, exp.Case, exp.If, exp.Cast, exp.TryCast, exp.AtTimeZone,
    exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar,
    exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript,
)  # fmt: skip

_FUNCTIONS: Final[tuple[type[exp.Expr], ...]] = (
    # aggregates
    exp.Count, exp.CountIf, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Median, exp.Mode, exp.Stddev, exp.StddevPop,
    exp.StddevSamp, exp.Variance, exp.VariancePop, exp.PercentileCont, exp.PercentileDisc, exp.Quantile,
    exp.ApproxQuantile, exp.ApproxDistinct, exp.ArgMax, exp.ArgMin, exp.AnyValue, exp.Corr, exp.LogicalAnd,
    exp.LogicalOr, exp.GroupConcat, exp.ArrayAgg,
    # windows
    exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile, exp.Lag, exp.Lead,
    exp.FirstValue, exp.LastValue, exp.NthValue,
    # numbers
    exp.Abs, exp.Round, exp.Floor, exp.Ceil, exp.Sqrt, exp.Ln, exp.Log, exp.Exp, exp.Sign, exp.Greatest, exp.Least,
    # text
    exp.Lower, exp.Upper, exp.Length, exp.Trim, exp.Substring, exp.Left, exp.Right, exp.StrPosition, exp.Concat,
    exp.ConcatWs, exp.Replace, exp.RegexpReplace, exp.RegexpExtract, exp.SplitPart, exp.StartsWith, exp.EndsWith,
    exp.Contains,
    # times
    exp.TimestampTrunc, exp.DateTrunc, exp.Extract, exp.CurrentTimestamp, exp.CurrentDate, exp.UnixToTime,
    exp.DateDiff, exp.TimestampDiff, exp.Date, exp.TsOrDsToDate, exp.TimeToStr, exp.ToChar,
    # nulls, JSON, arrays
    exp.Coalesce, exp.Nullif, exp.ArraySize, exp.ArrayContains,
)  # fmt: skip

_FUNCTION_NAMES: Final = frozenset(
    [
        "now",
        "date_part",
        "epoch",
        "epoch_ms",
        "epoch_us",
        "time_bucket",
        "date_bin",
        "age",
        "strftime",
        "json_extract",
        "json_extract_string",
        "json_extract_path",
        "json_extract_path_text",
        "json_array_length",
        "json_keys",
        "json_type",
        "json_typeof",
        "jsonb_typeof",
        "jsonb_array_length",
        "json_exists",
        "count_star",
        "bool_and",
        "bool_or",
        "favg",
        "fsum",
        "kahan_sum",
        "geomean",
        "mad",
        "entropy",
        "first",
        "last",
        "list",
        "percent_rank",
        "width_bucket",
    ]
)
"""Functions that the parser has no type for."""

_PURE_NAMES: Final = frozenset(
    (
        # aggregates, also with the suffix If
        *("quantile", "quantiles", "quantileexact", "quantileexactinclusive", "quantiletdigest", "quantiletiming"),
        *("uniq", "uniqexact", "grouparray", "groupuniqarray", "topk", "argmin", "argmax", "any", "anylast"),
        *("count", "sum", "avg", "min", "max", "median", "stddevpop", "stddevsamp"),
        # values
        *("multiif", "tostring", "tofloat64", "toint32", "toint64", "touint64", "todate", "todatetime", "todatetime64"),
        *("toint64ornull", "tofloat64ornull", "nullif", "ifnull", "assumenotnull", "length", "empty", "notempty"),
        *("tostartofinterval", "tostartofminute", "tostartoffiveminutes", "tostartofhour", "tostartofday"),
        *("tounixtimestamp", "tounixtimestamp64nano", "fromunixtimestamp64nano", "position", "match", "extract"),
        *("positioncaseinsensitive", "positioncaseinsensitiveutf8", "lowerutf8", "upperutf8", "splitbychar"),
        *("jsonextractstring", "jsonextractint", "jsonextractfloat", "jsonextractbool", "jsonextractraw"),
        *("jsonhas", "jsonlength", "jsontype", "jsonextractkeys", "jsonextractarrayraw"),
    )
)
"""Functions of ClickHouse that depend on nothing but their arguments."""

_CALLED_TWICE: Final[tuple[type[exp.Expr], ...]] = (
    exp.AnonymousAggFunc,
    exp.CombinedAggFunc,
    exp.ParameterizedAgg,
    exp.CombinedParameterizedAgg,
)
"""Aggregates the parser knows by name only, some with parameters before their arguments."""


@dataclass(frozen=True, slots=True)
class _Speciality:
    """What an engine's SQL has that the others' has not."""

    names: frozenset[str] = frozenset()
    aggregates: tuple[type[exp.Expr], ...] = ()
    table_after_in: bool = False
    """``IN name`` reads the table of that name."""

    named_arguments: bool = False
    """Functions in place of tables take their arguments by name."""

    rewrite: Callable[[exp.Expr], exp.Expr] | None = None
    """What the other stores understand, to the same effect."""


_TYPES: Final = frozenset(
    exp.DType[name]
    for name in [
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INT",
        "BIGINT",
        "INT128",
        "UTINYINT",
        "USMALLINT",
        "UINT",
        "UBIGINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL",
        "VARCHAR",
        "TEXT",
        "CHAR",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "TIMESTAMPTZ",
        "TIMESTAMPNTZ",
        "INTERVAL",
        "JSON",
        "JSONB",
        "UUID",
        "ARRAY",
        "LIST",
    ]
)


_UNITS: Final = frozenset(
    ("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
)


class TableFunction(Protocol):
    """A function that may stand in place of a table. ``parameters``: name to type, in order; ``defaults``: values of
    those that need not be given.

    Another one is called in its place, ``scoped``: with the tenant, then ``arguments``, its names for the parameters in
    its order; null for those that this one has not.
    """

    @property
    def name(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, type[int] | type[str]]: ...
    @property
    def defaults(self) -> Mapping[str, int]: ...
    @property
    def scoped(self) -> str: ...
    @property
    def arguments(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Call:
    """A function in place of a table, and the values of its parameters."""

    function: TableFunction
    values: Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class CheckedSelect:
    """``sql``: what to run, confined to one tenant. ``tables``: the tables it reads, in alphabetical order.

    ``calls``: the functions in place of tables.
    """

    sql: str
    tables: tuple[str, ...]
    calls: tuple[Call, ...] = ()


def check_select(
    sql: str, dialect: str, tables: Collection[str], *, tenant: str, functions: Collection[TableFunction] = ()
) -> CheckedSelect:
    """The statement, confined to the tenant's rows of ``tables``, or BadInput saying what is not allowed.

    ``dialect``: the parser's name for it. Every reference to a table becomes
    ``(SELECT * FROM table WHERE tenant = ...)``
    under the name it had. Names defined by WITH are renamed throughout, so that a reference which this module took
    for one of them can never reach a table of the same name. A call of one of ``functions``, which takes nothing but
    literals, becomes a call of its scoped one: whoever wrote it has no say in the tenant.
    """
    allowed = {table.casefold(): table for table in tables}
    spoken, special = _spoken(dialect), _SPECIALITIES.get(dialect, _Speciality())
    try:
        query = _single_query(sql, spoken)
        calls = _calls(list(_bounded_walk(query)), {function.name: function for function in functions})
        for node in _bounded_walk(query):
            _check(node, special)
        scoped = _Scoping(allowed, tenant, calls, named=special.named_arguments)
        rewritten = scoped.rewrite(query, {})
        if special.rewrite is not None:
            rewritten = rewritten.transform(special.rewrite)
        text = rewritten.sql(dialect=spoken, comments=False, unsupported_level=ErrorLevel.RAISE)
        return CheckedSelect(text, tuple(sorted(scoped.used)), tuple(calls.values()))
    except _NotAllowed as refused:
        raise BadInput(f"not allowed: {refused}", hint=_hint(tables)) from refused
    except (SqlglotError, RecursionError) as error:
        text = str(error).splitlines()[0] if str(error) else "it is nested too deeply"
        raise BadInput(f"cannot be read as {dialect} SQL: {_plain(text)}", hint=_hint(tables)) from error


def text_literal(value: str, dialect: str) -> str:
    """A text as a literal of a dialect, such as :func:`check_select` reads it back."""
    return exp.Literal.string(value).sql(dialect=_spoken(dialect))


class _NotAllowed(Exception):
    """Raised inside this module: names what is refused."""


def _hint(tables: Collection[str]) -> str:
    return f"Send one SELECT (WITH and UNION are fine) over these tables: {', '.join(sorted(tables))}."


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _single_query(sql: str, dialect: Dialect) -> exp.Query:
    if len(sql) > MAX_SQL:
        raise _NotAllowed(f"a statement of {len(sql)} characters, more than {MAX_SQL}")
    depth = deepest = 0
    for character in sql:
        depth += (character in "([") - (character in ")]")
        deepest = max(deepest, depth)
    if deepest > MAX_NESTING:
        raise _NotAllowed(f"parentheses nested deeper than {MAX_NESTING}")
    tokens = dialect.tokenize(sql)
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    if any(token.token_type == TokenType.SEMICOLON for token in tokens):
        raise _NotAllowed("several statements; there must be exactly one")
    first = next((token for token in tokens if token.token_type != TokenType.L_PAREN), None)
    if first is None or first.token_type not in (TokenType.SELECT, TokenType.WITH, TokenType.FROM):
        raise _NotAllowed(f"{first.text.upper() if first else 'empty'} statements; only SELECT reads")
    statement = dialect.parse(sql)[0]
    if not isinstance(statement, (exp.Select, exp.SetOperation, exp.Subquery)):
        raise _NotAllowed("anything but SELECT")
    return statement


def _bounded_walk(query: exp.Query) -> Iterator[exp.Expr]:
    for count, node in enumerate(query.walk()):
        if count > MAX_NODES:
            raise _NotAllowed(f"a statement of more than {MAX_NODES} parts")
        yield node


def _calls(nodes: Sequence[exp.Expr], functions: Mapping[str, TableFunction]) -> dict[int, Call]:
    """The calls in place of tables, by the identity of the table's node, which is left with the function's name."""
    calls: dict[int, Call] = {}
    for node in nodes:
        if not isinstance(node, exp.Table) or not isinstance(called := node.this, exp.Anonymous):
            continue
        function = functions.get(called.name.casefold())
        if function is None or not isinstance(called.this, str):
            continue
        if len(calls) == MAX_CALLS:
            raise _NotAllowed(f"more than {MAX_CALLS} calls of functions")
        calls[id(node)] = Call(function, _values(called.expressions, function))
        node.set("this", exp.to_identifier(function.name))
    return calls


def _values(arguments: Sequence[exp.Expr], function: TableFunction) -> dict[str, int | str]:
    """By name or by place, as every dialect writes them."""
    values: dict[str, int | str] = {}
    names = list(function.parameters)
    for place, argument in enumerate(arguments):
        name = names[place] if place < len(names) else ""
        if isinstance(argument, exp.Kwarg | exp.PropertyEQ | exp.EQ):
            name, argument = argument.this.name, argument.expression
        if name not in function.parameters or name in values:
            raise _NotAllowed(f"these arguments of {function.name}: it takes {', '.join(names)}")
        values[name] = _literal(argument, function.parameters[name], f"{name} of {function.name}")
    if missing := function.parameters.keys() - values.keys() - function.defaults.keys():
        raise _NotAllowed(f"{function.name} without {', '.join(sorted(missing))}")
    return {**function.defaults, **values}


def _literal(node: exp.Expr, wanted: type[int] | type[str], what: str) -> int | str:
    sign = 1
    if isinstance(node, exp.Neg):
        sign, node = -1, node.this
    if isinstance(node, exp.Literal):
        if wanted is str and node.is_string and sign == 1:
            return str(node.this)
        if wanted is int and node.is_int and -(2**63) <= (value := sign * int(node.this)) < 2**63:
            return value
    raise _NotAllowed(f"{_shown(node)}: {what} is to be {'a text' if wanted is str else 'an integer'} as it stands")


def _check(node: exp.Expr, special: _Speciality) -> None:
    """Refuse a node that is not known to be harmless, whatever is below it."""
    if isinstance(node, exp.Anonymous):
        if not isinstance(node.this, str) or node.this.casefold() not in _FUNCTION_NAMES | special.names:
            raise _NotAllowed(f"the function {node.name or node.sql()}")
        return
    if type(node) in special.aggregates:
        if node.name.casefold().removesuffix("if") not in special.names:
            raise _NotAllowed(f"the function {node.name}")
        return
    if type(node) not in _STRUCTURE and type(node) not in _FUNCTIONS:
        what = "the function" if isinstance(node, exp.Func) else "the syntax"
        raise _NotAllowed(f"{what} {_shown(node)}")
    if isinstance(node, exp.DataType) and (node.this not in _TYPES or node.args.get("kind")):
        raise _NotAllowed(f"the type {_shown(node)}")
    if isinstance(node, exp.Interval) and (unit := node.args.get("unit")) and not _is_unit(unit):
        raise _NotAllowed(f"the interval {_shown(node)}")
    if isinstance(node, exp.Select) and not node.expressions:
        raise _NotAllowed("a SELECT of nothing")
    if isinstance(node, exp.With) and node.args.get("recursive"):
        raise _NotAllowed("WITH RECURSIVE")
    if isinstance(node, exp.Query) and any(
        node.args.get(part) for part in ("into", "locks", "hint", "sample", "pivots", "settings", "format", "prewhere")
    ):
        raise _NotAllowed("INTO, FOR UPDATE, hints, samples, pivots, SETTINGS, FORMAT and PREWHERE")
    if isinstance(node, exp.CTE) and not isinstance(node.this, exp.Query):
        raise _NotAllowed("WITH of anything but a query")
    if special.table_after_in and isinstance(node, exp.In) and _in_name(node):
        raise _NotAllowed("IN of a name, which can be a table; write IN (SELECT ...)")
    if isinstance(node, exp.JSONExtract | exp.JSONExtractScalar) and node.args.get("expressions"):
        raise _NotAllowed("json_extract_path with several keys; chain -> and ->> instead")
    if isinstance(node, exp.Column):
        _check_column(node)
    if isinstance(node, exp.Lateral) and not isinstance(node.this, exp.Subquery):
        raise _NotAllowed("LATERAL over anything but a subquery")


def _is_unit(unit: exp.Expr) -> bool:
    """The parser takes it from within a text, and it is written outside of one: it must be no other word of SQL."""
    if isinstance(unit, exp.IntervalSpan):
        return _is_unit(unit.this) and _is_unit(unit.expression)
    return unit.name.upper().removesuffix("S") in _UNITS


def _check_column(column: exp.Column) -> None:
    if column.args.get("db") or column.args.get("catalog"):
        raise _NotAllowed(f"the schema in {column.sql()}")
    identifier = column.this
    unquoted = isinstance(identifier, exp.Identifier) and not identifier.args.get("quoted")
    if unquoted and not column.table and column.name.casefold() in _COLUMN_FUNCTIONS:
        raise _NotAllowed(f"the function {column.name}")


def _in_name(node: exp.In) -> bool:
    """Whether what follows IN is a single name, in parentheses or not: ClickHouse takes it for a table."""
    names = [node.args["field"]] if node.args.get("field") else node.expressions
    return len(names) == 1 and isinstance(names[0].unnest(), exp.Column | exp.Table | exp.Identifier)


def _with_parameters_first(node: exp.Expr) -> exp.Expr:
    """What the other stores understand, as ClickHouse writes it, to the same effect."""
    if isinstance(node, exp.WithinGroup) and isinstance(node.this, exp.PercentileCont):
        (ordered,) = node.expression.expressions
        if ordered.args.get("desc"):
            raise _NotAllowed("percentile_cont in descending order")
        value = ordered.this.transform(_with_parameters_first)
        return exp.ParameterizedAgg(this="quantileExactInclusive", expressions=[node.this.this], params=[value])
    if isinstance(node, exp.JSONExtractScalar):
        json, key = node.this.transform(_with_parameters_first), node.expression
        raw, text = exp.func("JSONExtractRaw", json, key), exp.func("JSONExtractString", json, key)
        missing = exp.In(this=raw, expressions=[exp.Literal.string(""), exp.Literal.string("null")])
        quoted = exp.func("startsWith", raw.copy(), exp.Literal.string('"'))
        return exp.func("multiIf", missing, exp.null(), quoted, text, raw.copy())
    return node


_SPECIALITIES: Final = {"clickhouse": _Speciality(_PURE_NAMES, _CALLED_TWICE, True, True, _with_parameters_first)}


def _shown(node: exp.Expr) -> str:
    try:
        text = node.sql(comments=False, unsupported_level=ErrorLevel.IGNORE)
    except (SqlglotError, ValueError):  # of one dialect, without a general form
        text = ""
    return f"{node.key.upper()}: {text[:80]}"


class _Scoping:
    """Rewrites the references to tables. ``used`` collects the tables that are read."""

    def __init__(self, allowed: Mapping[str, str], tenant: str, calls: Mapping[int, Call], *, named: bool) -> None:
        self._allowed = allowed
        self._tenant = tenant
        self._calls = calls
        self._named = named
        self._renamed = 0
        self.used: set[str] = set()

    def rewrite(self, node: exp.Expr, names: Mapping[str, str]) -> exp.Expr:
        """The node with every table below it scoped; ``names``: WITH names visible here, and what they became."""
        if isinstance(node, exp.Table):
            return self._table(node, names)
        if isinstance(clause := node.args.get("with_"), exp.With):
            names = self._with(clause, names)
        for child in list(node.iter_expressions()):
            if isinstance(child, exp.With):
                continue
            rewritten = self.rewrite(child, names)
            if rewritten is not child:
                child.replace(rewritten)
        return node

    def _with(self, clause: exp.With, outer: Mapping[str, str]) -> Mapping[str, str]:
        """Each name is visible to the ones after it and to the query, not to itself."""
        names = dict(outer)
        for definition in clause.expressions:
            self.rewrite(definition.this, names)
            alias = definition.args["alias"].this
            self._renamed += 1
            names[_folded(alias)] = renamed = f"with_{self._renamed}_{re.sub('[^a-z0-9_]', '', alias.name.lower())}"
            alias.replace(exp.to_identifier(renamed))
        return names

    def _table(self, table: exp.Table, names: Mapping[str, str]) -> exp.Expr:
        name = table.this
        if not isinstance(name, exp.Identifier):
            raise _NotAllowed(f"a function as a table: {_shown(table)}")
        if table.args.get("db") or table.args.get("catalog"):
            raise _NotAllowed(f"the schema in {table.sql(comments=False)}")
        extra = {part for part, value in table.args.items() if value and part not in ("this", "alias", "joins")}
        if extra:
            raise _NotAllowed(f"{', '.join(sorted(extra))} after a table")
        for join in table.args.get("joins") or ():
            self.rewrite(join, names)
        alias = table.args.get("alias") or exp.TableAlias(this=name.copy())
        if not alias.this:
            alias.set("this", name.copy())
        if call := self._calls.get(id(table)):
            source: exp.Expr = exp.Table(this=self._scoped_call(call), alias=alias)
        elif renamed := names.get(_folded(name)):
            source = exp.Table(this=exp.to_identifier(renamed), alias=alias)
        else:
            source = exp.Subquery(this=self._tenant_rows(name), alias=alias)
        source.set("joins", table.args.get("joins"))
        return source

    def _scoped_call(self, call: Call) -> exp.Anonymous:
        values = {"of_tenant": self._tenant} | {
            name: call.values.get(parameter) for name, parameter in call.function.arguments.items()
        }
        literals = {name: exp.null() if value is None else exp.convert(value) for name, value in values.items()}
        arguments = [
            exp.EQ(this=exp.to_identifier(name), expression=value) if self._named else value
            for name, value in literals.items()
        ]
        return exp.Anonymous(this=call.function.scoped, expressions=arguments)

    def _tenant_rows(self, name: exp.Identifier) -> exp.Select:
        canonical = self._allowed.get(_folded(name))
        if canonical is None:
            raise _NotAllowed(f"the table {name.name}")
        self.used.add(canonical)
        table = exp.Table(this=exp.to_identifier(canonical, quoted=True))
        # Qualified: what else is called tenant, an alias for example, is not meant.
        column = exp.column(exp.to_identifier("tenant", quoted=True), exp.to_identifier(canonical, quoted=True))
        return exp.select("*").from_(table).where(column.eq(exp.Literal.string(self._tenant)))


def _folded(name: exp.Identifier) -> str:
    """How the engines compare an unquoted name; a quoted one stands for itself."""
    return name.name if name.args.get("quoted") else name.name.casefold()
