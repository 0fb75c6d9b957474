"""Files for one hand-over: somebody else reads what was written, and then they are gone."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from otel_diag.scratch import nameless_file, path_of, write_stream


def test_rows_are_read_by_path_and_gone_with_the_file() -> None:
    rows = pa.table({"name": ["a", None, "c"], "number": [1, 2, 3]})
    with nameless_file() as file:
        path = path_of(file)
        write_stream(rows, file)
        with Path(path).open("rb") as other, pa.ipc.open_stream(other) as reader:
            assert reader.read_all() == rows
    with pytest.raises(OSError, match=path):
        Path(path).open("rb").close()
