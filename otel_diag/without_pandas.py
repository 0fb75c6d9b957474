"""Keeps pandas out of the programs of this package, where it is installed.

pyarrow imports it with the first array it makes, to know a Series when it is given one. Nobody here gives it one, and a
process starts half a second later for it, with 40 MB more.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


class _NotHere(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("kept out of this process", name=fullname)
        return None


def keep_pandas_out() -> None:
    """pyarrow looks for it once, here, and remembers that there is none. For a process of our own: nothing undoes it.

    Who imports pandas itself still gets it.
    """
    finder = _NotHere()
    sys.meta_path.insert(0, finder)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(finder)
