"""Values that lie at many places of one buffer, taken all at once."""

from typing import Any

import numpy as np
import pyarrow as pa

Ints = np.ndarray[Any, np.dtype[Any]]


def pieces(data: memoryview, at: Ints, width: int) -> Ints:
    """So many bytes from each place. Raises IndexError for a place beyond the end."""
    everywhere: Ints = np.ndarray(max(0, len(data) - width + 1), f"V{width}", data, 0, 1)
    found: Ints = everywhere[at]
    return found


def numbers(data: memoryview, at: Ints, sent: str) -> Ints:
    """The numbers of a numpy type at each place. Raises IndexError as `pieces` does."""
    found: Ints = pieces(data, at, np.dtype(sent).itemsize).view(sent)
    return found


def fixed(kind: pa.DataType, values: Ints, null: Ints | None) -> pa.Array:
    """Booleans, numbers, dates and times as an array, by what Arrow keeps of them. None: no value is NULL."""
    kept = np.packbits(values, bitorder="little") if pa.types.is_boolean(kind) else values
    return pa.Array.from_buffers(kind, len(values), [_validity(null), pa.py_buffer(kept)])


def lists(kind: pa.ListType, offsets: Ints, values: pa.Array, null: Ints) -> pa.Array:
    """Lists by where each one's values begin, and where the last one's end."""
    buffers = [_validity(null), pa.py_buffer(offsets.astype(np.int32))]
    return pa.Array.from_buffers(kind, len(null), buffers, children=[values])


def runs(data: memoryview, first: Ints, after: Ints, null: Ints, kind: pa.DataType) -> pa.Array:
    """Text or binary values that begin and end at these places, one behind the other.

    All of the data is seen as one array of values and of what lies between them, of which every other one is taken.
    Raises ArrowInvalid for a text that is not UTF-8.
    """
    count = len(first)
    bounds = np.empty(2 * count, np.int32)
    bounds[0::2], bounds[1::2] = first, after
    both = pa.Array.from_buffers(
        pa.binary(), max(0, 2 * count - 1), [None, pa.py_buffer(bounds), pa.py_buffer(data)]
    )
    others = pa.py_buffer(np.arange(0, 2 * count, 2, dtype=np.int32))
    return both.take(pa.Array.from_buffers(pa.int32(), count, [_validity(null), others])).cast(kind)


def _validity(null: Ints | None) -> pa.Buffer | None:
    return None if null is None or not null.any() else pa.py_buffer(np.packbits(~null, bitorder="little"))
