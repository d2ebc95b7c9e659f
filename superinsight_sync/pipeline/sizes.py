"""How big rows are: the same for equal rows, whoever read them and however they were cut into batches."""

import pyarrow as pa
import pyarrow.compute as pc


def size_bits(values: pa.Array) -> int:
    """The bits that the values take in Arrow's columnar layout.

    Each value its type's width (also NULL: its place is kept); text, bytes and lists what they hold and an
    offset each (32 bits, large ones 64); structs their fields. Bitmaps that tell NULLs, and padding, are left
    out: drivers keep them or not, for equal rows. Other layouts (dictionaries, views, maps) are counted as
    Arrow does.
    """
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return size_bits(values.storage)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return 32 * len(values) + _content_bits(values)
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return 64 * len(values) + _content_bits(values)
    if pa.types.is_list(kind):
        return 32 * len(values) + size_bits(values.flatten())
    if pa.types.is_large_list(kind):
        return 64 * len(values) + size_bits(values.flatten())
    if pa.types.is_struct(kind):
        return sum(size_bits(part) for part in values.flatten())
    if pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
        return int(kind.bit_width) * len(values)
    return 8 * int(values.nbytes)


def _content_bits(values: pa.Array) -> int:
    return 8 * (pc.sum(pc.binary_length(values)).as_py() or 0)
