"""Words of column names: what abbreviations stand for, and what suffixes say of units."""

import re

ABBREVIATIONS: dict[str, str] = {
    "acct": "account",
    "addr": "address",
    "alt": "altitude",
    "amt": "amount",
    "approx": "approximate",
    "arr": "arrival",
    "attr": "attribute",
    "avg": "average",
    "bal": "balance",
    "bday": "birthday",
    "cat": "category",
    "cd": "code",
    "cnt": "count",
    "co": "company",
    "coord": "coordinate",
    "ctry": "country",
    "cur": "current",
    "curr": "currency",
    "cust": "customer",
    "dep": "departure",
    "dept": "department",
    "desc": "description",
    "dest": "destination",
    "dewp": "dew point",
    "diff": "difference",
    "dim": "dimension",
    "dir": "direction",
    "dist": "distance",
    "div": "division",
    "dob": "date of birth",
    "doc": "document",
    "dst": "daylight saving time",
    "dt": "date",
    "dur": "duration",
    "elev": "elevation",
    "emp": "employee",
    "est": "estimated",
    "exp": "expiry",
    "freq": "frequency",
    "fk": "foreign key",
    "gen": "generated",
    "geo": "geographic",
    "grp": "group",
    "hr": "hour",
    "hrs": "hours",
    "humid": "humidity",
    "img": "image",
    "inv": "invoice",
    "lang": "language",
    "lat": "latitude",
    "len": "length",
    "lng": "longitude",
    "loc": "location",
    "lon": "longitude",
    "long": "longitude",
    "max": "maximum",
    "mfr": "manufacturer",
    "mgr": "manager",
    "min": "minimum",
    "mo": "month",
    "msg": "message",
    "mth": "month",
    "nbr": "number",
    "no": "number",
    "num": "number",
    "org": "organisation",
    "orig": "original",
    "pct": "percentage",
    "perc": "percentage",
    "pk": "primary key",
    "pos": "position",
    "precip": "precipitation",
    "pred": "predicted",
    "prev": "previous",
    "prod": "product",
    "pwd": "password",
    "qty": "quantity",
    "ref": "reference",
    "reg": "registration",
    "rel": "relative",
    "sched": "scheduled",
    "seq": "sequence number",
    "sess": "session",
    "src": "source",
    "std": "standard",
    "tel": "telephone",
    "temp": "temperature",
    "tgt": "target",
    "tot": "total",
    "ts": "timestamp",
    "txn": "transaction",
    "tz": "time zone",
    "tzone": "time zone",
    "usr": "user",
    "val": "value",
    "ver": "version",
    "visib": "visibility",
    "vol": "volume",
    "wt": "weight",
    "yr": "year",
}

ACRONYMS = frozenset(
    (
        "api",
        "bic",
        "cpu",
        "csv",
        "dns",
        "eu",
        "faa",
        "gps",
        "gpu",
        "html",
        "http",
        "https",
        "iata",
        "iban",
        "icao",
        "id",
        "ip",
        "isbn",
        "iso",
        "json",
        "kpi",
        "mac",
        "os",
        "pdf",
        "ram",
        "sku",
        "sql",
        "ssn",
        "uk",
        "un",
        "url",
        "us",
        "usa",
        "uri",
        "uuid",
        "utc",
        "vat",
        "vin",
        "xml",
        "zip",
    )
)

_GLUED_TAILS = ("number", "name", "code", "type", "count", "date", "time", "num", "id", "qty", "amt", "pct")
_WHOLE_WORDS = frozenset(
    (
        "paid",
        "valid",
        "void",
        "said",
        "raid",
        "grid",
        "android",
        "hybrid",
        "liquid",
        "avoid",
        "bid",
        "covid",
        "lifetime",
        "runtime",
        "datetime",
        "uptime",
        "overtime",
        "sometime",
        "maritime",
        "candidate",
        "update",
        "validate",
        "mandate",
        "surname",
        "username",
        "filename",
        "hostname",
        "rename",
        "nickname",
        "encode",
        "decode",
        "barcode",
        "postcode",
        "zipcode",
        "discount",
        "account",
        "prototype",
        "subtype",
        "viscount",
        "estimate",
        "solid",
        "rapid",
        "fluid",
        "kid",
    )
)

UNITS: dict[str, str] = {
    "ns": "nanoseconds",
    "us": "microseconds",
    "ms": "milliseconds",
    "millis": "milliseconds",
    "s": "seconds",
    "sec": "seconds",
    "secs": "seconds",
    "seconds": "seconds",
    "mins": "minutes",
    "minutes": "minutes",
    "hrs": "hours",
    "hours": "hours",
    "days": "days",
    "weeks": "weeks",
    "months": "months",
    "years": "years",
    "mm": "millimetres",
    "cm": "centimetres",
    "km": "kilometres",
    "ft": "feet",
    "mi": "miles",
    "miles": "miles",
    "inches": "inches",
    "kmh": "kilometres per hour",
    "kph": "kilometres per hour",
    "mph": "miles per hour",
    "kg": "kilograms",
    "lb": "pounds",
    "lbs": "pounds",
    "g": "grams",
    "mg": "milligrams",
    "l": "litres",
    "ml": "millilitres",
    "kwh": "kilowatt-hours",
    "kw": "kilowatts",
    "hpa": "hectopascals",
    "mbar": "millibars",
    "celsius": "degrees Celsius",
    "fahrenheit": "degrees Fahrenheit",
    "kelvin": "kelvins",
    "deg": "degrees",
    "degrees": "degrees",
    "bytes": "bytes",
    "kb": "kilobytes",
    "mb": "megabytes",
    "gb": "gigabytes",
    "bps": "basis points",
    "percent": "percent",
    "percentage": "percent",
    "pct": "percent",
    "perc": "percent",
    "usd": "US dollars",
    "eur": "euros",
    "gbp": "pounds sterling",
    "jpy": "yen",
    "cny": "yuan",
    "rmb": "yuan",
    "chf": "Swiss francs",
    "cents": "cents",
    "hz": "hertz",
    "mhz": "megahertz",
    "ghz": "gigahertz",
}

COMMENT_UNITS: tuple[tuple[str, str], ...] = (
    (r"\bmilliseconds?\b|\bin ms\b|\(ms\)", "milliseconds"),
    (r"\bin seconds\b|\(s(ec(onds)?)?\)", "seconds"),
    (r"\bin min(ute)?s\b|\(min(ute)?s?\)", "minutes"),
    (r"\bin hours\b|\(h(ours)?\)", "hours"),
    (r"\bin days\b|\(days\)", "days"),
    (r"\bin kilomet(re|er)s\b|\(km\)", "kilometres"),
    (r"\bin met(re|er)s\b|\(m\)", "metres"),
    (r"\bin miles\b|\(mi(les)?\)", "miles"),
    (r"\bin feet\b|\(ft\)", "feet"),
    (r"°\s?C|\bcelsius\b", "degrees Celsius"),
    (r"°\s?F|\bfahrenheit\b", "degrees Fahrenheit"),
    (r"\bpercent(age)?\b|\(%\)|\bin %", "percent"),
    (r"\bin (us )?dollars\b|\busd\b", "US dollars"),
    (r"\bin euros?\b|\beur\b", "euros"),
    (r"\bin bytes\b", "bytes"),
    (r"\bin kilograms\b|\(kg\)", "kilograms"),
)


def split_name(name: str) -> list[str]:
    """`depDelay`, `dep_delay`, `tailnum` and `time_hour` as lower-case words, glued tails set apart."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = [w.lower() for w in re.split(r"[\W_]+", spaced) if w]
    return [part for word in words for part in _unglue(word)]


def expand(words: list[str]) -> list[str]:
    """The words with abbreviations spelled out and acronyms in capitals."""
    return [w.upper() if w in ACRONYMS else ABBREVIATIONS.get(w, w) for w in words]


def readable(name: str) -> str:
    """A display name: `dep_delay` is `Departure delay`; a name without any word stays as it is."""
    text = " ".join(expand(split_name(name)))
    return text[:1].upper() + text[1:] if text else name


def singular(word: str) -> str:
    """`companies` is `company`, `boxes` `box`, `orders` `order`."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if re.search(r"(s|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def unit_of(words: list[str], comment: str = "") -> str | None:
    """The unit that a comment or the name's last word says; None if neither does."""
    for pattern, unit in COMMENT_UNITS:
        if comment and re.search(pattern, comment, re.IGNORECASE):
            return unit
    return UNITS.get(words[-1]) if len(words) > 1 or (words and len(words[0]) > 3) else None


def _unglue(word: str) -> list[str]:
    if word in ABBREVIATIONS or word in ACRONYMS or word in _WHOLE_WORDS:
        return [word]
    for tail in _GLUED_TAILS:
        head = word[: -len(tail)]
        if word.endswith(tail) and len(head) >= 3 and re.search("[aeiouy]", head) and len(tail) > 2:
            return [head, tail]
    return [word]
