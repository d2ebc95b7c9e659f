"""What schemathesis has to know to make requests of ours; it loads this module by name."""

import ipaddress

import schemathesis
from hypothesis import strategies as st

_networks = st.tuples(st.ip_addresses(v=4), st.integers(0, 32)) | st.tuples(
    st.ip_addresses(v=6), st.integers(0, 128)
)
schemathesis.openapi.format("ip-network", _networks.map(lambda n: str(ipaddress.ip_network(n, strict=False))))
_lines = st.lists(st.text(alphabet='{}":,[]0 \n\\ué', max_size=30)).map("\n".join)
schemathesis.openapi.media_type("application/x-ndjson", _lines.map(str.encode))
schemathesis.openapi.media_type("application/offset+octet-stream", st.binary(max_size=100))
