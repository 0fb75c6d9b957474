"""Rows of logs, metrics and profiles as their schemas describe them, one rule at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_diag.decode import profiles, records
from otel_diag.decode.logs import LOGS
from otel_diag.decode.metrics import METRICS
from otel_diag.decode.otlp_json import json_to_request
from otel_diag.decode.profiles import PROFILES
from otel_diag.decode.requests import Decoded, Wire
from otel_diag.errors import BadInput
from tests.decode.golden import GOLDEN, NOW, SPAN_ID, TRACE_ID

OF_SIGNAL = {"metrics": METRICS, "logs": LOGS, "profiles": PROFILES}


def decode(wire: Wire, request: Any) -> Decoded:
    return wire.decode_one(request.SerializeToString(), "default")


def log_row(**record: Any) -> dict[str, Any]:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(**record)
    row: dict[str, Any] = decode(LOGS, request).batch.to_pylist()[0]
    return row


@pytest.mark.parametrize("wire", OF_SIGNAL.values(), ids=OF_SIGNAL)
def test_nothing_gives_nothing(wire: Wire) -> None:
    decoded = wire.decode_one(b"", "default")
    assert (decoded.batch.num_rows, decoded.records, decoded.rejected, decoded.message) == (0, 0, 0, "")


@pytest.mark.parametrize(
    ("number", "severity"),
    [
        *[(-1, None), (0, None), (1, "trace"), (4, "trace"), (5, "debug"), (9, "info"), (16, "warn")],
        *[(17, "error"), (24, "fatal"), (25, None), (2**31 - 1, None)],
    ],
)
def test_severity_by_the_range_of_its_number(number: int, severity: str | None) -> None:
    row = log_row(severity_number=number)
    assert (row["severity"], row["severity_number"]) == (severity, number)


@pytest.mark.parametrize(
    ("body", "stored", "text"),
    [
        (None, None, None),
        (AnyValue(), "null", "null"),
        (AnyValue(string_value='a "b"'), '"a \\"b\\""', 'a "b"'),
        (AnyValue(string_value=""), '""', ""),
        (AnyValue(int_value=7), "7", "7"),
        (AnyValue(bytes_value=b"\0"), '{"$bytes":"AA=="}', '{"$bytes":"AA=="}'),
    ],
)
def test_bodies(body: AnyValue | None, stored: str | None, text: str | None) -> None:
    row = log_row(body=body)
    assert (row["body"], row["body_text"]) == (stored, text)


def test_a_log_record_without_a_time_has_the_one_it_was_observed_at() -> None:
    row = log_row(observed_time_unix_nano=NOW)
    assert (row["logged_unix_nano"], row["time_unix_nano"], row["observed_unix_nano"]) == (NOW, 0, NOW)
    assert row["logged_at"].timestamp() == NOW // 1000 / 1e6
    assert log_row(time_unix_nano=2**64 - 1, observed_time_unix_nano=NOW)["logged_at"] is None


def test_log_records_with_bad_ids_are_rejected_alone() -> None:
    request = GOLDEN["logs"]()
    found = request.resource_logs[0].scope_logs[0].log_records
    found.add(trace_id=b"short", span_id=b"short")
    found.add(trace_id=TRACE_ID, span_id=b"longer than eight")
    found.add(trace_id=bytes(16), span_id=bytes(8))
    decoded = decode(LOGS, request)
    assert (decoded.batch.num_rows, decoded.records) == (3, 5)
    assert decoded.batch["trace_id"].to_pylist() == [TRACE_ID.hex(), None, None]
    assert decoded.message == (
        "1 of 5 log records rejected: trace_id must be empty or 16 bytes; "
        "1 of 5 log records rejected: span_id must be empty or 8 bytes"
    )


def test_data_points_of_a_metric_without_a_name_are_rejected() -> None:
    request = GOLDEN["metrics"]()
    request.resource_metrics[0].scope_metrics[0].metrics[0].name = ""
    decoded = decode(METRICS, request)
    assert decoded.message == "3 of 7 data points rejected: their metric has no name"
    assert decoded.batch["kind"].to_pylist() == ["sum", "histogram", "exponential_histogram", "summary"]


def test_integers_and_doubles_are_told_apart() -> None:
    request = ExportMetricsServiceRequest()
    points = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points
    points.add(as_int=2**53 + 1)
    points.add(as_double=2.0**53)
    points.add(flags=1)
    batch = decode(METRICS, request).batch
    assert batch["value_int"].to_pylist() == [2**53 + 1, None, None]
    assert batch["value"].to_pylist() == [2.0**53, 2.0**53, None]
    assert len(set(batch["content_hash"].to_pylist())) == 3


def test_the_last_exemplar_that_names_a_span_gives_the_ids_of_the_row() -> None:
    request = ExportMetricsServiceRequest()
    point = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add()
    for trace_id, span_id in [(b"t" * 16, b"s" * 8), (TRACE_ID, SPAN_ID), (bytes(16), SPAN_ID), (TRACE_ID, b"s")]:
        point.exemplars.add(trace_id=trace_id, span_id=span_id)
    (row,) = decode(METRICS, request).batch.to_pylist()
    assert (row["trace_id"], row["span_id"]) == (TRACE_ID.hex(), SPAN_ID.hex())
    assert [each.get("span_id") for each in json.loads(row["exemplars"])][-1] == b"s".hex()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda request, profile: profile.samples.add(stack_index=2), "an index points outside the dictionary"),
        (lambda request, profile: profile.samples.add(stack_index=-1), "an index points outside the dictionary"),
        (lambda request, profile: profile.attribute_indices.append(9), "an index points outside the dictionary"),
        (
            lambda request, profile: request.dictionary.location_table[1].lines.add(function_index=7),
            "an index points outside the dictionary",
        ),
        (
            lambda request, profile: request.resource_profiles[0].resource.attributes.add(key_strindex=99),
            "an attribute of the resource or scope has an index outside the dictionary",
        ),
        (
            lambda request, profile: setattr(request.dictionary.link_table[1], "span_id", b"s"),
            "a link has ids of the wrong length",
        ),
        (lambda request, profile: setattr(profile, "profile_id", b"x"), "profile_id must be empty or 16 bytes"),
    ],
)
def test_a_profile_with_an_index_that_points_nowhere_is_rejected(change: Any, reason: str) -> None:
    """Alone, where its neighbour does not reach what is broken."""
    request = GOLDEN["profiles"]()
    group = request.resource_profiles.add()
    good = group.scope_profiles.add().profiles.add()
    good.samples.add(values=[3])
    change(request, request.resource_profiles[0].scope_profiles[0].profiles[0])
    decoded = decode(PROFILES, request)
    assert decoded.message == f"1 of 2 profiles rejected: {reason}"
    assert decoded.batch["value"].to_pylist() == [3]


def test_unused_entries_with_bad_indexes_hurt_nobody() -> None:
    request = GOLDEN["profiles"]()
    request.dictionary.stack_table.add(location_indices=[77])
    assert decode(PROFILES, request).message == ""


def test_original_payloads_are_not_kept_and_that_is_said() -> None:
    request = GOLDEN["profiles"]()
    profile = request.resource_profiles[0].scope_profiles[0].profiles[0]
    profile.original_payload, profile.original_payload_format = b"\0" * 10, "pprof"
    decoded = decode(PROFILES, request)
    assert (decoded.rejected, decoded.batch.num_rows) == (0, 2)
    assert decoded.message == "1 original payloads not kept, only their samples"


def test_values_of_samples_add_up() -> None:
    request = GOLDEN["profiles"]()
    samples = request.resource_profiles[0].scope_profiles[0].profiles[0].samples
    samples.add(values=[2**63 - 1, 1])
    samples.add(values=[-(2**63)])
    samples.add()
    assert decode(PROFILES, request).batch["value"].to_pylist() == [11, 3, 2**63 - 1, -(2**63), 0]


def test_a_stack_reads_from_the_root_to_the_leaf() -> None:
    request = GOLDEN["profiles"]()
    functions = request.dictionary.function_table
    request.dictionary.string_table.append("a;b")
    functions[1].name_strindex = len(request.dictionary.string_table) - 1
    functions[2].name_strindex = 0
    assert set(decode(PROFILES, request).batch["stack"].to_pylist()) == {"a:b;_encode;0x7f00"}


@pytest.mark.parametrize("wire", OF_SIGNAL.values(), ids=OF_SIGNAL)
def test_what_would_be_repeated_too_often_is_refused(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    name = wire.noun.partition(" ")[0]
    request = GOLDEN[{"data": "metrics", "log": "logs"}.get(name, name)]()
    decode(wire, request)
    getattr(request, request.DESCRIPTOR.fields[0].name)[0].resource.attributes[0].value.string_value = "x" * 1_000
    monkeypatch.setattr(records, "MAX_EXPANDED_BYTES", 1_900)
    with pytest.raises(BadInput, match="repeated"):
        decode(wire, request)


def test_a_dictionary_that_unfolds_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack of a thousand times the same location whose function has a long name."""
    request = GOLDEN["profiles"]()
    request.dictionary.string_table[request.dictionary.function_table[1].name_strindex] = "x" * 1_000
    request.dictionary.stack_table[1].location_indices.extend([1] * 1_000)
    monkeypatch.setattr(records, "MAX_EXPANDED_BYTES", 100_000)
    with pytest.raises(BadInput, match="repeated"):
        decode(PROFILES, request)
    monkeypatch.setattr(profiles, "MAX_RESOLVED_BYTES", 5)
    with pytest.raises(BadInput, match="texts that attributes refer to"):
        decode(PROFILES, request)


@pytest.mark.parametrize(("signal", "wire"), OF_SIGNAL.items())
def test_deeply_nested_values_are_refused(signal: str, wire: Wire) -> None:
    nested = b"\x0a\x02hi"  # string_value
    for _ in range(10_000):
        item = b"\x0a" + _varint(len(nested)) + nested
        nested = b"\x2a" + _varint(len(item)) + item
    pair = b"\x0a\x01k\x12" + _varint(len(nested)) + nested
    payload = pair
    for _ in range(3):  # attributes < resource < resource_<signal>
        payload = b"\x0a" + _varint(len(payload)) + payload
    with pytest.raises(BadInput, match="not an Export"):
        wire.decode_one(payload, "default")


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def test_invalid_utf8_is_replaced_and_told() -> None:
    request = GOLDEN["logs"]()
    payload = request.SerializeToString().replace(b"no answer after", b"no answer \xff\xfeter")
    decoded = LOGS.decode_one(payload, "default")
    assert decoded.message == "invalid UTF-8 in 1 texts was replaced by U+FFFD"
    assert decoded.batch["body_text"][0].as_py() == "no answer \ufffd\ufffdter 82 s"


def test_json_ids_are_hex_everywhere() -> None:
    ids = {"traceId": TRACE_ID.hex().upper(), "spanId": SPAN_ID.hex()}
    log = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": str(NOW), **ids}]}]}]}
    points = [{"timeUnixNano": str(NOW), "asInt": "-5", "exemplars": [{"asDouble": "NaN", **ids}]}]
    metric = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": points}}]}]}]}
    profile = {
        "dictionary": {"linkTable": [{}, ids]},
        "resourceProfiles": [
            {"scopeProfiles": [{"profiles": [{"profileId": TRACE_ID.hex(), "samples": [{"linkIndex": 1}]}]}]}
        ],
    }
    for wire, request in ((LOGS, log), (METRICS, metric), (PROFILES, profile)):
        payload = json_to_request(json.dumps(request).encode(), wire.message.DESCRIPTOR)
        (row,) = wire.decode_one(payload, "default").batch.to_pylist()
        assert (row["trace_id"], row["span_id"]) == (TRACE_ID.hex(), SPAN_ID.hex())
    assert row["profile_id"] == TRACE_ID.hex()


def test_requests_decoded_together_get_what_they_would_get_alone() -> None:
    for signal, wire in OF_SIGNAL.items():
        payload = GOLDEN[signal]().SerializeToString()
        together = wire.decode([payload, b"", b"\xff", payload], ["a", "b", "c", "d"])
        first, empty, bad, last = together
        assert isinstance(first, Decoded)
        assert isinstance(empty, Decoded)
        assert isinstance(last, Decoded)
        assert isinstance(bad, BadInput)
        assert empty.batch.num_rows == 0
        for outcome, tenant in ((first, "a"), (last, "d")):
            alone = wire.decode_one(payload, tenant).batch
            assert list(map(repr, outcome.batch.to_pylist())) == list(map(repr, alone.to_pylist()))
