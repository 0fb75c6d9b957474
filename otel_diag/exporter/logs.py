"""The exporter behind ``OTEL_LOGS_EXPORTER=otel_diag``: log records, among them those that announce spans.

Apart from that of spans: the SDK's logs are not declared stable yet, and a change there must not cost the spans.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult

from otel_diag.exporter.outbox import Outbox, by_the_settings, shut_down_at_exit

shut_down_at_exit(get_logger_provider)


class StoreLogExporter(LogRecordExporter):
    """Writes log records where the settings say."""

    def __init__(self) -> None:
        self._outbox = Outbox("logs", "log records", _encoded, by_the_settings)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS if self._outbox.put(batch) else LogRecordExportResult.FAILURE

    def shutdown(self) -> None:
        """Nothing is open between two batches."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept back."""
        return True


def _encoded(batch: Sequence[ReadableLogRecord]) -> bytes:
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs  # an extra, and 50 ms

    request: bytes = encode_logs(batch).SerializeToString()
    return request
