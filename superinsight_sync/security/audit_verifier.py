"""Verifies an exported audit log. This file runs alone: it needs Python and, for signatures, `cryptography`.

    python audit_verifier.py FOLDER --public-key audit-key.pub

FOLDER has a folder for each chain, with its records and its checkpoints. The format is in the project's docs,
`docs/reference/audit-format.md`. It ends with 0 if everything holds, with 1 if a record was tampered with.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

FIRST = "0" * 64
"""What the first record of a chain, and the first checkpoint, name as the one before."""
_FOLLOWS = "it does not follow the record before it: it was changed with its hash"
_TIME = len("2026-01-31T23:59:59.123456Z")


@dataclass(frozen=True)
class Finding:
    """What is wrong, at the first record of a chain where something is. `seq` 0: a checkpoint."""

    tenant: str
    seq: int
    what: str


@dataclass(frozen=True)
class Checkpoint:
    """A signed statement of which record a chain ended with.

    Attributes:
        number: counts from 1 in each chain. `prev`: the hash of the body of the checkpoint before.
        seq: the number of the chain's last record then, `hash` its hash.
    """

    tenant: str
    number: int
    prev: str
    at: str
    seq: int
    hash: str


@dataclass
class Verified:
    """What was found. `unsigned` counts records behind the last checkpoint: only the chain itself protects them."""

    records: int = 0
    unsigned: int = 0
    findings: list[Finding] = field(default_factory=list)


def hash_of(body: str) -> str:
    """SHA-256 of a body's bytes, in hex."""
    return hashlib.sha256(body.encode()).hexdigest()


def opening(tenant: str, seq: int, prev: str) -> str:
    """What the body of this record must begin with; its time follows."""
    return f'{_lead(tenant)}{seq},"prev":"{prev}","at":"'


@lru_cache(1_000)
def _lead(tenant: str) -> str:
    return f'{{"v":1,"tenant":{json.dumps(tenant)},"seq":'


def verify_chain(
    tenant: str, rows: Iterable[tuple[int, str, str]], pins: Sequence[Checkpoint], result: Verified
) -> None:
    """Goes through one chain up to the first record that is wrong, and adds what it finds to `result`.

    Args:
        rows: number, body, and hash as kept, in the order of the numbers.
        pins: the chain's checkpoints, oldest first.
    """
    rows = iter(rows)
    lead = _lead(tenant)
    waiting = iter(pins)
    pin, trusted = next(waiting, None), 0
    prev, last, at = FIRST, 0, ""

    def found(seq: int, what: str) -> None:
        result.findings.append(Finding(tenant, seq, what))

    for seq, body, kept in rows:
        result.records += 1
        start = f'{lead}{seq},"prev":"{prev}","at":"'
        if not body.startswith(start):
            at_seq, what = _broken(tenant, seq, body, kept, prev, last)
            if what is _FOLLOWS and trusted < last and _said(next(rows, (0, "", ""))[1]).get("prev") == kept:
                # The next one follows this one, and no checkpoint holds the one before: that one is not the one it was.
                at_seq, what = (
                    last,
                    f"it was changed with its hash: record {seq} follows another record {last}",
                )
            return found(at_seq, what)
        now = hashlib.sha256(body.encode()).hexdigest()
        if now != kept:
            return found(seq, "its body or its hash was changed")
        said = body[len(start) : len(start) + _TIME]
        if said < at:
            return found(seq, "it is dated before the record that it follows")
        while pin is not None and seq >= pin.seq:
            if seq > pin.seq or now != pin.hash:
                return found(trusted + 1, _rewritten(pin, trusted))
            trusted, pin = pin.seq, next(waiting, None)
        prev, last, at = now, seq, said
    if pin is not None:
        newest = pins[-1]
        signed = f"checkpoint {newest.number} signed record {newest.seq}"
        if last == 0:
            return found(1, f"the whole chain is gone; {signed}")
        return found(last + 1, f"records {last + 1} to {newest.seq} are gone; {signed}")
    result.unsigned += last - trusted
    return None


def _rewritten(pin: Checkpoint, trusted: int) -> str:
    return (
        f"the chain was written anew somewhere in records {trusted + 1} to {pin.seq}: "
        f"checkpoint {pin.number} signed another record {pin.seq}"
    )


def _broken(tenant: str, seq: int, body: str, kept: str, prev: str, last: int) -> tuple[int, str]:
    """The first bad record where a body does not begin as it must, and what is wrong there."""
    if hash_of(body) != kept:
        return seq, "its body or its hash was changed"
    try:
        said = json.loads(body)
        of_tenant, of_seq, of_prev = said["tenant"], said["seq"], said["prev"]
    except (ValueError, KeyError, TypeError):
        return seq, "its body is no record"
    if of_tenant != tenant:
        return seq, "it belongs to the chain of another tenant"
    if of_seq != seq:
        return seq, f"its body is that of record {of_seq}: records were moved, inserted or numbered anew"
    if of_prev == prev:
        return seq, "its body is not written as the format says"
    if seq > last + 1:
        return last + 1, f"records {last + 1} to {seq - 1} are gone"
    if last == 0:
        return seq, "it is the first record and follows another: the chain was cut at its beginning"
    return seq, _FOLLOWS


def read_checkpoints(
    tenant: str, texts: Iterable[tuple[str, str]], public_keys: Sequence[bytes], result: Verified
) -> list[Checkpoint]:
    """A chain's checkpoints that hold, oldest first; what is wrong with the others is added to `result`.

    Args:
        texts: name and content of the files, in the order of the names.
        public_keys: PEM. A checkpoint signed by any of them holds.
    """
    keys = [_public_key(pem) for pem in public_keys]
    made: list[Checkpoint] = []
    prev, at = FIRST, ""

    def found(what: str) -> None:
        result.findings.append(Finding(tenant, 0, what))

    for name, text in texts:
        try:
            outer = json.loads(text)
            body, signature = str(outer["body"]), bytes.fromhex(outer["signature"])
            one = parse_checkpoint(body)
        except (ValueError, KeyError, TypeError):
            found(f"checkpoint file {name} cannot be read")
            continue
        if not any(_is_signed(key, signature, body) for key in keys):
            found(f"checkpoint {one.number} is not signed by the key: it was changed or forged")
            continue
        if one.tenant != tenant:
            found(f"checkpoint file {name} belongs to the chain of another tenant")
            continue
        if one.number != len(made) + 1 or one.prev != prev:
            found(f"checkpoint {one.number} does not follow number {len(made)}: one was taken away or added")
        elif one.at < at:
            found(f"checkpoint {one.number} is dated before the one that it follows")
        made.append(one)
        prev, at = hash_of(body), one.at
    return made


def parse_checkpoint(body: str) -> Checkpoint:
    """What a checkpoint says. Raises ValueError, KeyError or TypeError for what is none."""
    said = json.loads(body)
    texts = {name: str(said[name]) for name in ("tenant", "prev", "at", "hash")}
    return Checkpoint(number=int(said["number"]), seq=int(said["seq"]), **texts)


def _public_key(pem: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return load_pem_public_key(pem)


def _is_signed(key: Any, signature: bytes, body: str) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, body.encode())
    except InvalidSignature:
        return False
    return True


def folder_of(tenant: str) -> str:
    """The name of the folder of a chain: any text can be a tenant."""
    return hash_of(tenant)[:24]


def lines_of(path: Path) -> Iterator[tuple[int, str, str]]:
    """An exported chain: each line is a body. Its hash is not in the file: the next line or a checkpoint has it."""
    with path.open("rb") as file:
        for place, raw in enumerate(file, 1):
            body = raw.rstrip(b"\n").decode("ascii", "backslashreplace")
            seq = _said(body).get("seq")
            yield seq if isinstance(seq, int) else place, body, hash_of(body)


def verify_folder(folder: Path, public_keys: Sequence[bytes]) -> Verified:
    """Everything in an exported folder: a folder for each chain."""
    result = Verified()
    for chain in sorted(p for p in folder.iterdir() if p.is_dir()):
        records, files = chain / "records.jsonl", sorted(chain.glob("checkpoint-*.json"))
        texts = [(p.name, p.read_text("ascii", "backslashreplace")) for p in files]
        rows = list(islice(lines_of(records), 1)) if records.exists() else []
        known = [r[1] for r in rows] + [str(_said(text).get("body")) for _, text in texts]
        names = {str(_said(text).get("tenant")) for text in known}
        tenant = next((name for name in names if folder_of(name) == chain.name), None)
        if tenant is None:
            result.findings.append(
                Finding(chain.name, 0, "neither its records nor its checkpoints are of this chain")
            )
            continue
        pins = read_checkpoints(tenant, texts, public_keys, result)
        verify_chain(tenant, lines_of(records) if records.exists() else (), pins, result)
    return result


def _said(text: str) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Verifies an exported audit log.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--public-key", type=Path, action="append", required=True, help="PEM file; repeatable"
    )
    given = parser.parse_args(arguments)
    result = verify_folder(given.folder, [path.read_bytes() for path in given.public_key])
    for finding in result.findings:
        place = f"tenant {finding.tenant}, " + (f"record {finding.seq}" if finding.seq else "checkpoints")
        sys.stdout.write(f"{place}: {finding.what}\n")
    sys.stdout.write(
        f"{result.records} records verified, {result.unsigned} of them newer than the last checkpoint, "
        f"{len(result.findings)} findings\n"
    )
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
