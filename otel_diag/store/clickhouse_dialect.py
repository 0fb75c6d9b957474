"""SQLAlchemy statements as ClickHouse SQL that means what the same statement means on the other stores.

Values are written into the text: the engine takes parameters, but no lists of them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, TIMESTAMP, BigInteger, Boolean, Double, Integer, Text
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import CompileError
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import GenericTypeCompiler, SQLCompiler
from sqlalchemy.types import TypeEngine

_FIRST_MOMENT: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LAST_MOMENT: Final = datetime(2299, 12, 31, tzinfo=UTC)
"""What a DateTime64 holds. Times beyond are as good as these two where they bound a search."""

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "'": "\\'", "\0": "\\0"})


def compile_text(statement: ClauseElement) -> str:
    """The statement as one text, with its values in it."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def quoted(text: str) -> str:
    """A string literal."""
    return f"'{text.translate(_ESCAPES)}'"


def literal(value: Any) -> str:
    """A value of a Python type as SQL."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)
        case str():
            return quoted(str(value))
        case datetime():
            moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            moment = min(max(moment, _FIRST_MOMENT), _LAST_MOMENT).astimezone(UTC)
            return f"toDateTime64('{moment:%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC')"
        case tuple() | list():
            return f"({', '.join(map(literal, value))})"
    raise CompileError(f"no literal for {type(value).__name__}")


class _Compiler(SQLCompiler):
    def render_literal_value(self, value: Any, type_: TypeEngine[Any]) -> str:
        return literal(value)

    def visit_empty_set_expr(self, element_types: Any, **kw: Any) -> str:
        return f"SELECT {', '.join(['NULL'] * len(element_types))} WHERE false"

    def visit_contains_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        return f"position({self.process(binary.left, **kw)}, {self._needle(binary)}) > 0"

    def visit_icontains_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        # lower() knows ASCII alone.
        return f"positionCaseInsensitiveUTF8({self.process(binary.left, **kw)}, {self._needle(binary)}) > 0"

    def _needle(self, binary: Any) -> str:
        """What is looked for, without the escapes that LIKE would have needed."""
        escape = binary.modifiers.get("escape")
        value = binary.right.value
        if escape is not None:
            for character in ("%", "_", escape):
                value = value.replace(escape + character, character)
        return quoted(value)

    def visit_like_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        if binary.modifiers.get("escape") is not None:
            raise CompileError("LIKE with another escape character than the backslash")
        return f"{self.process(binary.left, **kw)} LIKE {self.process(binary.right, **kw)}"

    def visit_ilike_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        if binary.modifiers.get("escape") is not None:
            raise CompileError("ILIKE with another escape character than the backslash")
        return f"{self.process(binary.left, **kw)} ILIKE {self.process(binary.right, **kw)}"

    def visit_json_getitem_op_binary(self, binary: Any, operator: Any, **kw: Any) -> str:
        column, key = self.process(binary.left, **kw), self.process(binary.right, **kw)
        text = json_text(column, key)
        wanted = binary.type
        if isinstance(wanted, Integer):
            return f"toInt64OrNull({text})"
        return f"toFloat64OrNull({text})" if isinstance(wanted, Double) else text

    def visit_date_trunc_func(self, function: Any, **kw: Any) -> str:
        unit, moment = (self.process(clause, **kw) for clause in function.clauses)
        return f"toDateTime64(date_trunc({unit}, {moment}), 6, 'UTC')"

    def visit_sum_func(self, function: Any, **kw: Any) -> str:
        (summed,) = function.clauses
        text = self.process(summed, **kw)
        # A sum of Int64 wraps around without a word.
        return f"sum(toDecimal128({text}, 0))" if isinstance(summed.type, Integer) else f"sum({text})"

    def visit_withingroup(self, withingroup: Any, **kw: Any) -> str:
        function = withingroup.element
        if function.name != "percentile_cont":
            raise CompileError(f"{function.name} WITHIN GROUP")
        (share,) = function.clauses
        (value,) = withingroup.order_by
        return f"quantileExactInclusive({self.process(share, **kw)})({self.process(value, **kw)})"


def json_text(column: str, key: str) -> str:
    """What ``column ->> key`` is elsewhere: a string's text, any other value's JSON, null for null and missing."""
    raw = f"JSONExtractRaw(assumeNotNull({column}), {key})"
    text = f"JSONExtractString(assumeNotNull({column}), {key})"
    return f"if({raw} IN ('', 'null'), NULL, if(startsWith({raw}, '\"'), {text}, {raw}))"


class _TypeCompiler(GenericTypeCompiler):
    """Types to CAST to: all may be null."""

    def process(self, type_: TypeEngine[Any], **kw: Any) -> str:
        names: dict[type[TypeEngine[Any]], str] = {
            JSON: "String",
            TIMESTAMP: "DateTime64(6, 'UTC')",
            BigInteger: "Int64",
            Boolean: "Bool",
            Double: "Float64",
            Integer: "Int32",
            Text: "String",
        }
        for known, name in names.items():
            if isinstance(type_, known):
                return f"Nullable({name})"
        raise CompileError(f"a cast to {type_!r}")


class _ClickHouse(DefaultDialect):
    """Only compiles; the driver runs the text."""

    name = "clickhouse"
    statement_compiler = _Compiler
    type_compiler_cls = _TypeCompiler
    supports_native_boolean = True
    supports_statement_cache = False


_DIALECT: Final = _ClickHouse()
