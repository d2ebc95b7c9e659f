"""Kind `mongodb`: collections of MongoDB and of servers that speak its protocol."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from superinsight_sync.core.errors import AccessError, ConfigError, DataError, SisError, TransientError
from superinsight_sync.core.settings import Settings
from superinsight_sync.model.declaration import Duration, StreamSpec
from superinsight_sync.model.read import Capabilities, FoundStream, Probe, ReadRequest, StreamShape
from superinsight_sync.model.results import ColumnInfo
from superinsight_sync.records.sampled_shape import Sampled
from superinsight_sync.security.secrets import resolve
from superinsight_sync.sources.opening import options_of
from superinsight_sync.sources.protocol import KindConfig, StreamOptions

if TYPE_CHECKING:
    import pyarrow as pa
    from pymongo import MongoClient
    from pymongo.collection import Collection

    from superinsight_sync.records.bson_keys import Keys
    from superinsight_sync.records.json_document import Page
    from superinsight_sync.records.json_rows import Shape
    from superinsight_sync.sources.http.reading import HttpRead

KEY_FORMS = "key_forms"
"""In a position: key column → form."""


class Config(KindConfig):
    """How to reach a database."""

    dsn: str
    """`mongodb://user:password@host1,host2/database?replicaSet=…`, by reference."""
    connect_timeout: Duration = timedelta(seconds=10)
    """Longest wait for a server that can be read."""
    read_timeout: Duration = timedelta(minutes=10)
    """Longest wait for the next documents."""


class Options(StreamOptions):
    """How a collection is read."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Declared column types (`decimal(12,2)`, `timestamp`, …); the others are found by a sample."""
    filter: dict[str, Any] = Field(default_factory=dict)
    """Which documents, in extended JSON. It may compare, not run code."""
    sample_documents: int = Field(default=1_000, ge=1)
    """How many documents are looked at to find the columns."""


class MongodbSource(Sampled):
    """A MongoDB database. Ids, decimals and UUIDs are read as text, bytes as base64, what is nested as the JSON
    kinds do."""

    capabilities: ClassVar[Capabilities] = Capabilities(frozenset({"collection"}), cancel=True)

    def __init__(self, config: Config, settings: Settings) -> None:
        super().__init__()
        self._config = config
        self._keys: dict[str, Keys] = {}
        self._forms: dict[str, Mapping[str, str]] = {}

    def prepare(self, stream: StreamSpec, known: "pa.Schema", position: Any) -> None:
        """Takes the columns that a table has, and the forms that its keys have."""
        super().prepare(stream, known, position)
        self._forms[stream.name] = (position or {}).get(KEY_FORMS, {})

    @contextmanager
    def _client(self) -> "Iterator[MongoClient[dict[str, Any]]]":
        from pymongo import MongoClient
        from pymongo.errors import InvalidURI, PyMongoError

        wait_ms = int(self._config.connect_timeout.total_seconds() * 1000)
        try:
            with MongoClient[dict[str, Any]](
                resolve(self._config.dsn),
                serverSelectionTimeoutMS=wait_ms,
                connectTimeoutMS=wait_ms,
                socketTimeoutMS=int(self._config.read_timeout.total_seconds() * 1000),
                appname="superinsight-sync",
                retryReads=False,  # who reads does it
                uuidRepresentation="standard",
                datetime_conversion="DATETIME_AUTO",
                unicode_decode_error_handler="strict",
            ) as client:
                yield client
        except InvalidURI:
            raise ConfigError(
                "the DSN cannot be read",
                where="connection.dsn",
                hint="Write mongodb://user:password@host:27017/database; escape special characters as %XX",
            ) from None
        except PyMongoError as error:
            raise _mapped(error) from error

    @contextmanager
    def _collection(self, stream: StreamSpec) -> "Iterator[Collection[dict[str, Any]]]":
        from superinsight_sync.model.naming import not_there

        with self._client() as client:
            database = client.get_default_database(default="test")
            known = database.list_collection_names()
            if stream.collection not in known:
                raise not_there("collection", stream.collection or "", known)
            yield database[stream.collection or ""]

    def probe(self) -> Probe:
        """Asks for the version, and whether the account could write."""
        began_s = time.perf_counter()
        with self._client() as client:
            version = client.server_info().get("version", "?")
            latency_ms = 1000 * (time.perf_counter() - began_s)
            status = client.admin.command("connectionStatus", showPrivileges=True)
        known = status.get("authInfo", {})
        rights = known.get("authenticatedUserPrivileges", ())
        writes = any({"insert", "update", "remove"} & set(r.get("actions", ())) for r in rights)
        warnings = ("the account can write; give it the role `read` only",) if writes else ()
        if not known.get("authenticatedUsers"):
            warnings = ("the server asks for no account: whoever reaches it can read and write",)
        return Probe(f"MongoDB {version}", latency_ms, warnings)

    def discover(self) -> Iterator[FoundStream]:
        """Every collection, with the columns that its first documents have."""
        from superinsight_sync.model.naming import likely_cursor, stream_names

        with self._client() as client:
            database = client.get_default_database(default="test")
            names = sorted(n for n in database.list_collection_names() if not n.startswith("system."))
            counts = {n: database[n].estimated_document_count() for n in names}
        for name, proposed in zip(names, stream_names([("", n) for n in names]), strict=True):
            spec = StreamSpec.model_construct(name="found", collection=name, options={})
            columns: tuple[ColumnInfo, ...] = ()
            if counts[name]:
                columns = tuple(c.info for c in self.describe(spec).columns)
            times = ((c.name, c.type.startswith("timestamp")) for c in columns)
            yield FoundStream(
                proposed, "collection", name, columns, ("_id",), likely_cursor(times), counts[name]
            )

    def describe(self, stream: StreamSpec) -> StreamShape:
        """The declared columns and those of a sample of documents."""
        return StreamShape(self._sampled(stream).columns, ("_id",))

    def read(self, request: ReadRequest) -> "HttpRead":
        """Streams the rows. `set_aside` and `rejects` of what it returns deal with documents that do not fit."""
        from superinsight_sync.sources.http.reading import HttpRead

        shape = self._kept(request.stream) or self._sampled(request.stream)
        keys = self._keys[request.stream.name]
        request.next_position[KEY_FORMS] = keys.forms

        def pages(collection: Any, _: Any) -> "Iterator[Page]":
            return self._pages(collection, request, shape, keys)

        return HttpRead(lambda: self._collection(request.stream), shape, request, pages)

    def count(self, request: ReadRequest) -> int:
        """Counts at the server. Documents that fit no row count, too."""
        bounded = request.after is not None and request.stream.sync.cursor is not None
        if bounded and request.stream.name not in self._keys:
            self._sampled(request.stream)
        keys = self._keys.get(request.stream.name)
        with self._collection(request.stream) as collection:
            found = collection.count_documents(_filter(request, keys))
        return found if request.limit is None else min(found, request.limit)

    def token(self, request: ReadRequest) -> str | None:
        return None

    def _sampled(self, stream: StreamSpec) -> "Shape":
        from superinsight_sync.records.bson_keys import Keys
        from superinsight_sync.records.bson_records import instants, page
        from superinsight_sync.records.json_rows import Shape

        options: Options = options_of("mongodb", stream)
        with self._collection(stream) as collection:
            wanted = collection.find(_filter(ReadRequest(stream))).limit(options.sample_documents)
            documents = list(islice(wanted, options.sample_documents))
        table, names = self._table(stream), ("_id", *stream.primary_key)
        kept, landed, cursor = (
            self._forms.get(stream.name, {}),
            table.names if table else (),
            stream.sync.cursor,
        )
        keys = Keys(names, documents, kept, landed, cursor)
        times = dict.fromkeys(sorted(instants(keys.written(documents))), "timestamp")
        declared = {n: t for n, t in options.columns.items() if not (keys.cursor_is_id and n == cursor)}
        shape = Shape(stream, {**times, **declared}, None, table, text_cursor=keys.cursor_is_id)
        shape.sample([page(1, f"collection '{stream.collection}'", documents, frozenset(), keys)])
        self._keys[stream.name] = keys
        return self._keep(stream, shape)

    def _pages(
        self, collection: "Collection[dict[str, Any]]", request: ReadRequest, shape: "Shape", keys: "Keys"
    ) -> "Iterator[Page]":
        from bson.errors import InvalidBSON
        from pymongo.errors import PyMongoError

        from superinsight_sync.records.bson_byte_columns import DocumentReader
        from superinsight_sync.records.bson_records import page
        from superinsight_sync.records.json_document import Document, Page
        from superinsight_sync.sources.documents.reading import BATCH_DOCUMENTS, Walk, ahead

        rows, where = max(1, min(BATCH_DOCUMENTS, request.batch_rows)), f"collection '{collection.name}'"
        reader, no_text = DocumentReader(shape, keys), Document(b"{}", where)
        walk: Walk | None = None
        try:
            walk = Walk(collection, _filter(request, keys), _order(collection, request))
            for number, raw in enumerate(ahead(walk.batches(rows)), 1):
                columns = reader.read(raw)
                if columns is None:
                    yield page(number, where, raw.documents, shape.times, keys)
                else:
                    yield Page(number, where, (), no_text, columns=columns)
        except InvalidBSON:
            raise DataError("a document is no valid BSON", where=where) from None
        except PyMongoError as error:
            failure = _mapped(error)
            if isinstance(failure, TransientError) and walk is not None:
                failure.retried = walk.retried
            raise failure from error


def _filter(request: ReadRequest, keys: "Keys | None" = None) -> dict[str, Any]:
    from superinsight_sync.records.bson_records import parsed_filter

    cursor, bounds = request.stream.sync.cursor, dict[str, Any]()
    own = parsed_filter(options_of("mongodb", request.stream).filter)

    def bound(value: Any) -> Any:
        return value if keys is None or cursor is None else keys.bound(cursor, value)

    if cursor and request.after is not None:
        # Unlike $gte, it takes what has no value there, or one of another type.
        bounds["$not"] = {"$lt": bound(request.after)}
    if cursor and request.window is not None:
        bounds.update({"$gte": bound(request.window.start), "$lt": bound(request.window.end)})
    return {"$and": [own, {cursor: bounds}]} if bounds else own


def _order(collection: "Collection[dict[str, Any]]", request: ReadRequest) -> str | None:
    """The field by which to read so that a read can continue: one that an index gives without sorting."""
    bounded = request.after is not None or request.window is not None
    field = request.stream.sync.cursor if bounded else "_id"
    if field == "_id":
        options = collection.options()
        return None if "viewOn" in options or "timeseries" in options else field
    partial = ("sparse", "partialFilterExpression", "collation")
    indexes = [i for i in collection.index_information().values() if not any(p in i for p in partial)]
    return field if any(i["key"][0] in ((field, 1), (field, -1)) for i in indexes) else None


def _mapped(error: Exception) -> SisError:
    """A driver's error as one of ours, by its class and the server's code (MongoDB manual, "Error Codes")."""
    from pymongo import errors

    code = getattr(error, "code", None)
    if code in (11, 13, 18, 8000) or "Authentication failed" in str(error):
        return AccessError("the server refuses this account", hint="Check user, password and rights")
    if isinstance(error, errors.ConnectionFailure | errors.CursorNotFound | errors.ExecutionTimeout):
        return TransientError(
            "the server cannot be reached, or went away", hint="Check that the server runs and can be reached"
        )
    if isinstance(error, errors.OperationFailure):
        said = (error.details or {}).get("codeName") or f"code {code}"
        return ConfigError(f"the server refuses the request ({said})", hint="Check the declaration")
    return ConfigError(
        f"the connection cannot be used ({type(error).__name__})", hint="Check the connection's DSN"
    )


PLUGIN = MongodbSource
