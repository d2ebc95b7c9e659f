"""What a declaration says of an API and its streams."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from superinsight_sync.core.plugins import PluginConfig
from superinsight_sync.model.declaration import Duration, Size
from superinsight_sync.sources.protocol import KindConfig, StreamOptions


class ApiKey(PluginConfig):
    """A key in a header or in the query."""

    type: Literal["api_key"]
    """Which way of saying who we are this is."""
    name: str = "X-API-Key"
    """The header's or the parameter's name."""
    value: str
    """The key, by reference."""
    place: Literal["header", "query"] = "header"
    """Where it is sent."""


class Bearer(PluginConfig):
    """A fixed token."""

    type: Literal["bearer"]
    """Which way of saying who we are this is."""
    value: str
    """The token, by reference."""


class Basic(PluginConfig):
    """User and password."""

    type: Literal["basic"]
    """Which way of saying who we are this is."""
    user: str
    """The account."""
    password: str
    """Its password, by reference."""


class OAuth2(PluginConfig):
    """OAuth 2.0 client credentials (RFC 6749, 4.4)."""

    type: Literal["oauth2"]
    """Which way of saying who we are this is."""
    url: str
    """The token endpoint."""
    client_id: str
    """The client's name."""
    client_secret: str
    """Its secret, by reference."""
    scope: str | None = None
    """Scopes, separated by spaces."""


Auth = Annotated[ApiKey | Bearer | Basic | OAuth2, Field(discriminator="type")]


class HttpConfig(KindConfig):
    """How an API is reached."""

    base_url: str
    """`https://api.example.com/v2`; nothing outside its host is ever asked."""
    auth: Auth | None = None
    """How we say who we are."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further headers of every request; may refer to the environment."""
    max_requests_per_s: float | None = Field(default=None, gt=0)
    """No more requests than this start in a second, of all streams that a process reads."""
    max_concurrency: int = Field(default=4, ge=1, le=64)
    """No more requests than this are under way at once, of all streams that a process reads."""
    allow_private: bool = False
    """Whether the server may have an address inside (loopback, private; link-local ones never)."""
    allow_networks: tuple[str, ...] = ()
    """Networks that the server may be in whatever they are: `10.20.0.0/16`."""
    connect_timeout: Duration = timedelta(seconds=10)
    """How long connecting may take."""
    read_timeout: Duration = timedelta(seconds=60)
    """How long the server may be silent, and five times this how long one response may take in all."""
    max_retry_after: Duration = timedelta(minutes=5)
    """The longest wait that a server's Retry-After can ask for."""
    max_response: Size = 100 * 10**6
    """A response of more bytes than this, decompressed, is refused."""


class Sized(PluginConfig):
    """Base of the paginations with a page size."""

    size_param: str | None = None
    """The parameter that takes the page size. Default: it is not sent."""
    size: int = Field(default=100, ge=1)
    """Records asked for in a page."""
    total_path: str | None = None
    """Where the response says how many records there are in all. Less than there were already says nothing."""
    stop: Literal["empty", "short"] = "empty"
    """The last page: one without records, or also one with fewer than `size`."""


class PageNumber(Sized):
    """Numbered pages."""

    type: Literal["page"]
    param: str = "page"
    """The parameter that takes the page's number."""
    first: int = 1
    """The first page's number."""
    pages_path: str | None = None
    """Where the response says how many pages there are."""


class Offset(Sized):
    """Records to skip."""

    type: Literal["offset"]
    param: str = "offset"
    """The parameter that takes how many records to skip."""


class Cursor(PluginConfig):
    """An opaque mark of the next page, in the response."""

    type: Literal["cursor"]
    param: str = "cursor"
    """The parameter that takes the mark."""
    next_path: str
    """Where the response has the mark; absent, null or empty on the last page."""
    more_path: str | None = None
    """Where the response says whether there is a next page: `true`, `false`, or a number."""
    end: tuple[str | int, ...] = ()
    """Further marks that the last page has, such as `0`, which else is a mark as others are."""
    size_param: str | None = None
    """The parameter that takes the page size. Default: it is not sent."""
    size: int = Field(default=100, ge=1)
    """Records asked for in a page."""


class LinkHeader(PluginConfig):
    """The address of the next page: `rel="next"` of the Link header (RFC 8288)."""

    type: Literal["link_header"]
    next_path: str | None = None
    """Where the body has the address, if it is there and not in the header."""


class Keyset(PluginConfig):
    """Records after the last one seen: `?after_id=17`. They must come in ascending order."""

    type: Literal["keyset"]
    param: str
    """The parameter that takes the last record's value; the server gives records beyond it."""
    field: str
    """The record's field that is ordered and unique."""
    size_param: str | None = None
    """The parameter that takes the page size. Default: it is not sent."""
    size: int = Field(default=100, ge=1)
    """Records asked for in a page."""


class NoPages(PluginConfig):
    """One response holds everything."""

    type: Literal["none"] = "none"


Pagination = Annotated[
    PageNumber | Offset | Cursor | LinkHeader | Keyset | NoPages, Field(discriminator="type")
]


class Increment(PluginConfig):
    """How the server is told to leave out old records. What it gives beyond is filtered here."""

    since_param: str
    """The parameter that takes the lower bound."""
    until_param: str | None = None
    """The parameter that takes the upper bound."""
    format: Literal["iso", "epoch_s", "epoch_ms", "date", "number"] = "iso"
    """How bounds are written; an epoch also says how the cursor's values are written."""
    template: str = "{value}"
    """What is around the lower bound: `updated >= '{value}'`."""
    until_template: str = "{value}"
    """What is around the upper bound."""
    inclusive: bool = True
    """Whether the server also gives records at the lower bound. If not, it is asked for a little more."""


class Parent(PluginConfig):
    """The stream's endpoint is asked once for each record of another: `orders/{order_id}/items`."""

    endpoint: str
    """Where the parents are."""
    records: str = "$"
    """Where the response has them."""
    one_object: bool = False
    """Whether an object in the place of the list is one parent."""
    params: dict[str, str | int | bool] = Field(default_factory=dict)
    """Parameters of the request."""
    pagination: Pagination = NoPages()
    """How to get the next page of parents."""
    fields: dict[str, str]
    """Placeholder of the endpoint → the parent's field. It also becomes a column of that name."""


class HttpOptions(StreamOptions):
    """What all streams of APIs have."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Declared column types (`decimal(12,2)`, `timestamp`, …); the others are found by a sample."""
    sample_pages: int = Field(default=5, ge=1)
    """How many pages are looked at to find the columns."""
    increment: Increment | None = None
    """How increments and windows are asked for. Default: everything is read and filtered here."""
    one_object: bool = False
    """Whether an object in the place of the list of records is one record."""
    max_pages: int = Field(default=100_000, ge=1)
    """A stream with more pages than this is refused."""


class RestOptions(HttpOptions):
    """A stream of a REST API."""

    records: str = "$"
    """Where the response has the list of records: `data.items`, `$` for the response itself."""
    error: str | Literal[False] | None = None
    """Where a response with status 200 tells an error; nothing there means none. Default: `error` and `errors`
    of a response without records; `false`: nowhere."""
    pagination: Pagination = NoPages()
    """How to get the next page."""
    params: dict[str, str | int | bool] = Field(default_factory=dict)
    """Parameters of every request."""
    method: Literal["GET", "POST"] = "GET"
    """POST only for searches: the endpoint must not change anything."""
    body: dict[str, Any] | None = None
    """The JSON body of a POST."""
    params_in: Literal["query", "body"] = "query"
    """Where parameters of pages and bounds go."""
    parent: Parent | None = None
    """The stream whose records this one belongs to."""
