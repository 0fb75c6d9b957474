"""OTLP/JSON, in and out.

In: a decoder driven by the protobuf descriptors, hence the same for every signal. Neither decoder at hand will do:
``json_format`` base64-decodes the hex ids, takes enum names and snake_case and refuses unknown fields;
``opentelemetry-proto-json`` refuses unknown enum integers, which OTLP says to keep.

Out: stored rows as the Collector's file exporter writes them.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_diag.decode.attributes import otlp_attributes
from otel_diag.decode.columns import show_nul
from otel_diag.decode.traces import KINDS
from otel_diag.errors import BadInput
from otel_diag.model import SPAN_ON_WIRE

MAX_DEPTH: Final = 100
"""Messages within messages; protobuf's own parser stops at the same depth."""

# The specification names trace and span ids; the Collector writes profile ids in the same way.
_HEX_FIELDS: Final = frozenset({"trace_id", "span_id", "parent_span_id", "profile_id"})
_INTEGER_TYPES: Final = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}
_SPECIAL_DOUBLES: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DECIMAL: Final = re.compile(r"-?[0-9]{1,20}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def json_to_request(text: bytes, descriptor: Descriptor = ExportTraceServiceRequest.DESCRIPTOR) -> bytes:
    """The export request (of traces, unless another is given) in protobuf that an OTLP/JSON request stands for.

    Raises BadInput: not JSON, a field of the wrong type (named), ids that are not hex, or too deeply nested.
    """
    request: bytes = json_to_message(text, descriptor).SerializeToString()
    return request


def json_to_message(text: bytes, descriptor: Descriptor) -> Message:
    """Decode one OTLP/JSON message of the given type. Raises BadInput."""
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise BadInput("JSON is too deeply nested") from error
    except ValueError as error:
        raise BadInput(f"not JSON: {error}") from error
    message = GetMessageClass(descriptor)()
    _fill(message, data, descriptor.name, MAX_DEPTH)
    return message


def _fill(message: Message, data: object, path: str, depth: int) -> None:
    if not isinstance(data, dict):
        raise BadInput(f"{path} must be an object")
    if not depth:
        raise BadInput("JSON is too deeply nested")
    message.SetInParent()
    fields = _fields(message.DESCRIPTOR)
    for key, value in data.items():
        field = fields.get(key)
        if field is None or value is None:
            continue
        where = f"{path}.{key}"
        if field.is_repeated:
            if not isinstance(value, list):
                raise BadInput(f"{where} must be an array")
            target = getattr(message, field.name)
            if field.message_type is None:
                target.extend(_scalar(field, item, where) for item in value)
            else:
                for item in value:
                    _fill(target.add(), item, where, depth - 1)
        elif field.message_type is not None:
            _fill(getattr(message, field.name), value, where, depth - 1)
        else:
            setattr(message, field.name, _scalar(field, value, where))


@lru_cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {field.json_name: field for field in descriptor.fields}


def _scalar(field: FieldDescriptor, value: object, where: str) -> object:
    if field.type in _INTEGER_TYPES:
        return _integer(field, value, where)
    return _SCALARS[field.type](field, value, where)


def _integer(field: FieldDescriptor, value: object, where: str) -> int:
    is_text = isinstance(value, str) and field.type != FieldDescriptor.TYPE_ENUM and _DECIMAL.fullmatch(value)
    is_whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (isinstance(value, int) or is_text or is_whole):
        raise BadInput(f"{where} must be an integer")
    number = int(value)  # type: ignore[call-overload]  # int, whole float or decimal text, as checked
    low, high = _INTEGER_TYPES[field.type]
    if not low <= number <= high:
        raise BadInput(f"{where} is out of range")
    return int(number)


def _double(field: FieldDescriptor, value: object, where: str) -> float:
    if isinstance(value, str) and value in _SPECIAL_DOUBLES:
        return _SPECIAL_DOUBLES[value]
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise BadInput(f"{where} must be a number")


def _string(field: FieldDescriptor, value: object, where: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{where} must be a string")
    return _SURROGATE.sub("\ufffd", value)


def _bool(field: FieldDescriptor, value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"{where} must be true or false")
    return value


def _bytes(field: FieldDescriptor, value: object, where: str) -> bytes:
    is_hex = field.name in _HEX_FIELDS
    if isinstance(value, str):
        try:
            return binascii.unhexlify(value) if is_hex else base64.b64decode(value, validate=True)
        except ValueError:
            pass
    raise BadInput(f"{where} must be {'hex' if is_hex else 'base64'} text")


_SCALARS: Final[dict[int, Callable[[FieldDescriptor, object, str], object]]] = {
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_BOOL: _bool,
    FieldDescriptor.TYPE_BYTES: _bytes,
}


# --------------------------------------------------------------------------------------------------
# Out.

_UINT64: Final = 2**64
_DROPPED: Final = "dropped_attributes_count"

Json = dict[str, Any]


def spans_to_otlp_json(table: pa.Table) -> Json:
    """An OTLP/JSON request with the spans of these rows (columns as in ``trace_spans``), grouped by resource and scope.

    Groups stand in the order of their first row, spans in that of the rows. As the Collector's file exporter writes
    it: camelCase, hex ids, 64-bit integers as text, ``parentSpanId`` and ``status`` always there. Spans of equal
    resources that came in separate groups are in one afterwards; nothing else differs from what came in, but for
    invalid UTF-8 and all-zero parent ids.
    """
    resources: dict[tuple[str, str], Json] = {}
    scopes: dict[tuple[str, ...], list[Json]] = {}
    for row in table.select(SPAN_ON_WIRE).to_pylist():
        rest = json.loads(row["otlp_rest"] or "{}")
        resource_rest, scope_rest = rest.get("resource", {}), rest.get("scope", {})
        resource_key = (row["resource_attributes"], json.dumps(resource_rest))
        scope_key = (*resource_key, row["scope_name"] or "", row["scope_version"] or "", json.dumps(scope_rest))
        if resource_key not in resources:
            resources[resource_key] = _resource_spans(row, resource_rest)
        if scope_key not in scopes:
            group = _scope_spans(row, scope_rest)
            resources[resource_key]["scopeSpans"].append(group)
            scopes[scope_key] = group["spans"]
        scopes[scope_key].append(_span(row, rest))
    return {"resourceSpans": list(resources.values())}


def _resource_spans(row: Json, rest: Json) -> Json:
    resource: Json = {"attributes": otlp_attributes(json.loads(row["resource_attributes"]))}
    if _DROPPED in rest:
        resource["droppedAttributesCount"] = rest[_DROPPED]
    if "entity_refs" in rest:
        resource["entityRefs"] = [_entity_ref(reference) for reference in rest["entity_refs"]]
    group: Json = {"resource": resource, "scopeSpans": []}
    return {**group, **_schema_url(rest)}


def _entity_ref(reference: Json) -> Json:
    return {
        "schemaUrl": show_nul(reference["schema_url"]),
        "type": show_nul(reference["type"]),
        "idKeys": [show_nul(key) for key in reference["id_keys"]],
        "descriptionKeys": [show_nul(key) for key in reference["description_keys"]],
    }


def _scope_spans(row: Json, rest: Json) -> Json:
    scope: Json = {}
    if row["scope_name"]:
        scope["name"] = show_nul(row["scope_name"])
    if row["scope_version"]:
        scope["version"] = show_nul(row["scope_version"])
    if "attributes" in rest:
        scope["attributes"] = otlp_attributes(rest["attributes"])
    if _DROPPED in rest:
        scope["droppedAttributesCount"] = rest[_DROPPED]
    return {"scope": scope, "spans": [], **_schema_url(rest)}


def _schema_url(rest: Json) -> Json:
    return {"schemaUrl": show_nul(rest["schema_url"])} if "schema_url" in rest else {}


def _span(row: Json, rest: Json) -> Json:
    span: Json = {"traceId": row["trace_id"], "spanId": row["span_id"]}
    if row["trace_state"]:
        span["traceState"] = show_nul(row["trace_state"])
    span["parentSpanId"] = row["parent_span_id"] or ""
    if row["flags"]:
        span["flags"] = row["flags"]
    span["name"] = show_nul(row["operation"])
    span["kind"] = KINDS.index(row["kind"]) if row["kind"] in KINDS else int(row["kind"])
    span["startTimeUnixNano"] = str(row["start_unix_nano"] % _UINT64)
    span["endTimeUnixNano"] = str(row["end_unix_nano"] % _UINT64)
    attributes = otlp_attributes(json.loads(row["attributes"]))
    if attributes:
        span["attributes"] = attributes
    span.update(_counts(rest))
    if row["events"]:
        span["events"] = [_event(event) for event in json.loads(row["events"])]
    if row["links"]:
        span["links"] = [_link(link) for link in json.loads(row["links"])]
    span["status"] = dict(_status(row))
    return span


def _counts(rest: Json) -> Json:
    names = {
        _DROPPED: "droppedAttributesCount",
        "dropped_events_count": "droppedEventsCount",
        "dropped_links_count": "droppedLinksCount",
    }
    return {camel: rest[name] for name, camel in names.items() if name in rest}


def _status(row: Json) -> Iterator[tuple[str, object]]:
    if row["status_message"]:
        yield "message", show_nul(row["status_message"])
    if row["status_code"]:
        yield "code", row["status_code"]


def _event(event: Json) -> Json:
    return {
        "timeUnixNano": str(event["time_unix_nano"]),
        "name": show_nul(event["name"]),
        "attributes": otlp_attributes(event["attributes"]),
        **_counts(event),
    }


def _link(link: Json) -> Json:
    written: Json = {"traceId": link["trace_id"], "spanId": link["span_id"]}
    if "trace_state" in link:
        written["traceState"] = show_nul(link["trace_state"])
    written["attributes"] = otlp_attributes(link["attributes"])
    if "flags" in link:
        written["flags"] = link["flags"]
    return {**written, **_counts(link)}
