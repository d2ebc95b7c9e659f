"""What landing will set aside is told in the answer already, by landing's own rules.

Only of what the declaration says: whether a name differs from one in the table is found out when it lands. Such
records are stored with the others, and land when the declaration is mended.
"""

from superinsight_sync.core.errors import SisError
from superinsight_sync.gateway.receivers import Receiver
from superinsight_sync.model.push import PushFormat, PushStreamSpec
from superinsight_sync.receive.parsing import Parsed, Rejected


def fitted(
    receiver: Receiver, stream: PushStreamSpec, form: PushFormat, plain: bytes, parsed: Parsed
) -> Parsed:
    """What was found in an unpacked body, without the records that do not fit the stream's columns or key."""
    if not (stream.columns or stream.primary_key) or not parsed.records:
        return parsed
    from superinsight_sync.sources.inbox.shape import Shape
    from superinsight_sync.sources.inbox.texts import taken_apart

    shape = Shape(stream.columns or {}, None, stream.primary_key, headers=tuple(receiver.spec.headers))
    try:
        rules = receiver.rules(stream)
        found = taken_apart(form, plain, record=stream.record, rules=rules, place="")
        bad = {number or 1: reason for _, number, reason, _ in found.rejects}
        shape.see(found.texts)
        bad.update((found.numbers[at], reason) for at, reason in shape.rows(found.texts)[2])
    except (SisError, ValueError, RecursionError):
        return parsed  # as a whole it is told of when it lands
    for known in parsed.rejected:
        bad.pop(known.place, None)
    if not bad:
        return parsed
    kept = [(p, r) for p, r in zip(parsed.places, parsed.records, strict=True) if p not in bad]
    rejected = [*parsed.rejected, *(Rejected(place, reason) for place, reason in bad.items())]
    return Parsed([r for _, r in kept], [p for p, _ in kept], sorted(rejected, key=lambda r: r.place))
