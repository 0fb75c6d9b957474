"""Rows made into messages again, and messages resolved by hand, so that the two can be compared record by record.

Nothing here is vectorised or shared with the decoders but the codec of attributes, which has tests of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, EntityRef, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, ExponentialHistogramDataPoint, Metric
from opentelemetry.proto.profiles.v1development.profiles_pb2 import ProfilesDictionary
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_diag.decode.attributes import otlp_attributes, otlp_value
from otel_diag.decode.columns import show_nul
from otel_diag.decode.metrics import TEMPORALITIES
from otel_diag.decode.otlp_json import json_to_message

Row = dict[str, Any]
Flat = tuple[Any, ...]


def canonical(message: Any) -> bytes:
    serialised: bytes = message.SerializeToString(deterministic=True)
    return serialised


# --------------------------------------------------------------------------------------------------
# Resource and scope.


def records(request: Any, signal: str, name: str) -> Iterator[tuple[Flat, Any]]:
    """Each record of a request, with its resource and scope."""
    for group in getattr(request, f"resource_{signal}"):
        for scoped in getattr(group, f"scope_{signal}"):
            around = (canonical(group.resource), group.schema_url, canonical(scoped.scope), scoped.schema_url)
            for record in getattr(scoped, name):
                yield around, record


def around(row: Row) -> Flat:
    """Resource and scope of a row, as :func:`records` has them."""
    rest = json.loads(row["otlp_rest"] or "{}")
    of_resource, of_scope = rest.get("resource", {}), rest.get("scope", {})
    resource = Resource(
        attributes=pairs(row["resource_attributes"]),
        dropped_attributes_count=of_resource.get("dropped_attributes_count", 0),
        entity_refs=[
            EntityRef(
                schema_url=show_nul(reference["schema_url"]),
                type=show_nul(reference["type"]),
                id_keys=map(show_nul, reference["id_keys"]),
                description_keys=map(show_nul, reference["description_keys"]),
            )
            for reference in of_resource.get("entity_refs", ())
        ],
    )
    scope = InstrumentationScope(
        name=text(row["scope_name"]),
        version=text(row["scope_version"]),
        attributes=pairs(json.dumps(of_scope.get("attributes", {}))),
        dropped_attributes_count=of_scope.get("dropped_attributes_count", 0),
    )
    urls = [text(part.get("schema_url")) for part in (of_resource, of_scope)]
    return canonical(resource), urls[0], canonical(scope), urls[1]


def pairs(attributes: str) -> Any:
    """KeyValues of a JSON object of attributes."""
    written = json.dumps({"attributes": otlp_attributes(json.loads(attributes))}).encode()
    return json_to_message(written, Resource.DESCRIPTOR).attributes


def any_value(decoded: object) -> Message:
    return json_to_message(json.dumps(otlp_value(decoded)).encode(), AnyValue.DESCRIPTOR)


def text(stored: str | None) -> str:
    return show_nul(stored or "")


def raw_id(stored: str | None) -> bytes:
    return bytes.fromhex(stored or "")


def number(written: Any) -> Any:
    """A number as attributes write it."""
    return float(written["$double"].replace("Infinity", "inf")) if isinstance(written, dict) else written


def numbers(written: str | None) -> list[Any]:
    return [number(each) for each in json.loads(written or "[]")]


def unsigned(stored: int) -> int:
    return stored % 2**64


def flattened(request: Any, signal: str, name: str, parts: Callable[[Any], Iterator[Any]]) -> list[Flat]:
    found = [(*group, part) for group, record in records(request, signal, name) for part in parts(record)]
    return sorted(found, key=repr)


def rebuilt(table: pa.Table, record: Callable[[Row], Any]) -> list[Flat]:
    return sorted(((*around(row), record(row)) for row in table.to_pylist()), key=repr)


# --------------------------------------------------------------------------------------------------
# Logs.


def log_record(row: Row) -> bytes:
    rest = json.loads(row["otlp_rest"] or "{}")
    record = LogRecord(
        time_unix_nano=unsigned(row["time_unix_nano"]),
        observed_time_unix_nano=unsigned(row["observed_unix_nano"]),
        severity_number=row["severity_number"],
        severity_text=text(row["severity_text"]),
        event_name=text(row["event_name"]),
        attributes=pairs(row["attributes"]),
        dropped_attributes_count=rest.get("dropped_attributes_count", 0),
        flags=row["flags"],
        trace_id=raw_id(row["trace_id"]),
        span_id=raw_id(row["span_id"]),
    )
    if row["body"] is not None:
        record.body.CopyFrom(any_value(json.loads(row["body"])))
    return canonical(record)


def sent_log_record(record: LogRecord) -> Iterator[bytes]:
    sent = LogRecord()
    sent.CopyFrom(record)
    for name in ("trace_id", "span_id"):
        if not any(getattr(sent, name)):  # an id of zeros is none
            sent.ClearField(name)
    yield canonical(sent)


# --------------------------------------------------------------------------------------------------
# Metrics: a metric with one data point.


def metric(row: Row) -> bytes:
    rest = json.loads(row["otlp_rest"] or "{}")
    made = Metric(
        name=text(row["metric"]),
        unit=text(row["unit"]),
        description=text(row["description"]),
        metadata=pairs(json.dumps(rest.get("metadata", {}))),
    )
    data = getattr(made, row["kind"])
    if row["temporality"] is not None:
        names = TEMPORALITIES
        data.aggregation_temporality = (
            names.index(row["temporality"]) if row["temporality"] in names else int(row["temporality"])
        )
    if row["kind"] == "sum":
        data.is_monotonic = row["is_monotonic"]
    point = data.data_points.add(
        attributes=pairs(row["attributes"]),
        start_time_unix_nano=unsigned(row["start_unix_nano"]),
        time_unix_nano=unsigned(row["time_unix_nano"]),
        flags=row["flags"],
    )
    {"gauge": _number, "sum": _number, "summary": _summary}.get(row["kind"], _distribution)(point, row)
    return canonical(made)


def _number(point: Any, row: Row) -> None:
    if row["value_int"] is not None:
        point.as_int = row["value_int"]
    elif row["value"] is not None:
        point.as_double = row["value"]
    point.exemplars.extend(_exemplars(row))


def _distribution(point: Any, row: Row) -> None:
    point.count = unsigned(row["count"])
    for name in ("sum", "min", "max"):
        if row[name] is not None:
            setattr(point, name, row[name])
    point.exemplars.extend(_exemplars(row))
    if not isinstance(point, ExponentialHistogramDataPoint):
        point.bucket_counts.extend(numbers(row["bucket_counts"]))
        point.explicit_bounds.extend(numbers(row["explicit_bounds"]))
        return
    point.scale, point.zero_threshold = row["scale"], row["zero_threshold"]
    point.zero_count = unsigned(row["zero_count"])
    for name in ("positive", "negative"):
        if row[f"{name}_buckets"] is not None:
            buckets = json.loads(row[f"{name}_buckets"])
            found = getattr(point, name)
            found.offset = buckets["offset"]
            found.bucket_counts.extend(buckets.get("bucket_counts", ()))


def _summary(point: Any, row: Row) -> None:
    point.count, point.sum = unsigned(row["count"]), row["sum"]
    for found in json.loads(row["quantiles"] or "[]"):
        point.quantile_values.add(quantile=number(found["quantile"]), value=number(found["value"]))


def _exemplars(row: Row) -> Iterator[Exemplar]:
    for found in json.loads(row["exemplars"] or "[]"):
        exemplar = Exemplar(
            time_unix_nano=found["time_unix_nano"],
            trace_id=raw_id(found.get("trace_id")),
            span_id=raw_id(found.get("span_id")),
            filtered_attributes=pairs(json.dumps(found["attributes"])),
        )
        value = number(found.get("value"))
        if value is not None:
            setattr(exemplar, "as_int" if isinstance(value, int) else "as_double", value)
        yield exemplar


def sent_points(sent: Metric) -> Iterator[bytes]:
    """A metric with many data points as metrics with one each."""
    kind = sent.WhichOneof("data")
    if kind is None:
        return
    for point in getattr(sent, kind).data_points:
        single = Metric()
        single.CopyFrom(sent)
        data = getattr(single, kind)
        del data.data_points[:]
        data.data_points.append(point)
        yield canonical(single)


# --------------------------------------------------------------------------------------------------
# Profiles: samples with everything their indexes stand for.


def sample(row: Row) -> Flat:
    rest = json.loads(row["otlp_rest"] or "{}")
    return (
        raw_id(row["profile_id"]),
        *(text(row[name]) for name in ("sample_type", "sample_unit", "period_type", "period_unit")),
        row["period"],
        unsigned(row["time_unix_nano"]),
        unsigned(row["duration_nano"]),
        _owned({"attributes": json.loads(row["profile_attributes"]), "attribute_units": rest.get(_UNITS, {})}),
        rest.get("dropped_attributes_count", 0),
        text(rest.get("original_payload_format")),
        [_frame(frame) for frame in json.loads(row["frames"] or "[]")],
        raw_id(row["trace_id"]),
        raw_id(row["span_id"]),
        _owned({"attributes": json.loads(row["attributes"]), "attribute_units": rest.get("attribute_units", {})}),
        numbers(row["observed_values"]),
        numbers(row["observed_unix_nanos"]),
    )


_UNITS = "profile_attribute_units"


def _owned(owner: Row) -> Flat:
    units = [(pair["key"], pair["value"]["stringValue"]) for pair in otlp_attributes(owner.get("attribute_units", {}))]
    attributes = pairs(json.dumps(owner.get("attributes", {})))
    return [(pair.key, canonical(pair.value)) for pair in attributes], units


def _frame(frame: Row) -> Flat:
    mapping = frame.get("mapping", {})
    return (
        [
            (
                *(text(line.get(name)) for name in ("function", "system_name", "file")),
                *(line.get(name, 0) for name in ("start_line", "line", "column")),
            )
            for line in frame.get("lines", ())
        ],
        frame.get("address", 0),
        (
            text(mapping.get("file")),
            *(mapping.get(name, 0) for name in ("memory_start", "memory_limit", "file_offset")),
            _owned(mapping),
        ),
        _owned(frame),
    )


def sent_samples(dictionary: ProfilesDictionary) -> Callable[[Any], Iterator[Flat]]:
    strings = dictionary.string_table

    def owned(indexes: Any) -> Flat:
        entries = [dictionary.attribute_table[index] for index in indexes]
        plain = []
        for entry in entries:
            value = AnyValue()
            value.CopyFrom(entry.value)
            if value.WhichOneof("value") == "string_value_strindex":
                value.string_value = strings[value.string_value_strindex]
            plain.append((strings[entry.key_strindex], canonical(value)))
        units = [(strings[entry.key_strindex], strings[entry.unit_strindex]) for entry in entries]
        return plain, [pair for pair in units if pair[1]]

    def frame(location: Any) -> Flat:
        functions = [(line, dictionary.function_table[line.function_index]) for line in location.lines]
        mapping = dictionary.mapping_table[location.mapping_index]
        return (
            [
                (
                    strings[function.name_strindex],
                    strings[function.system_name_strindex],
                    strings[function.filename_strindex],
                    function.start_line,
                    line.line,
                    line.column,
                )
                for line, function in functions
            ],
            location.address,
            (
                strings[mapping.filename_strindex],
                mapping.memory_start,
                mapping.memory_limit,
                mapping.file_offset,
                owned(mapping.attribute_indices),
            ),
            owned(location.attribute_indices),
        )

    def samples(profile: Any) -> Iterator[Flat]:
        for found in profile.samples:
            link = dictionary.link_table[found.link_index]
            stack = dictionary.stack_table[found.stack_index]
            yield (
                profile.profile_id if any(profile.profile_id) else b"",
                strings[profile.sample_type.type_strindex],
                strings[profile.sample_type.unit_strindex],
                strings[profile.period_type.type_strindex],
                strings[profile.period_type.unit_strindex],
                profile.period,
                profile.time_unix_nano,
                profile.duration_nano,
                owned(profile.attribute_indices),
                profile.dropped_attributes_count,
                profile.original_payload_format,
                [frame(dictionary.location_table[index]) for index in stack.location_indices],
                link.trace_id if any(link.trace_id) else b"",
                link.span_id if any(link.span_id) else b"",
                owned(found.attribute_indices),
                list(found.values),
                list(found.timestamps_unix_nano),
            )

    return samples
