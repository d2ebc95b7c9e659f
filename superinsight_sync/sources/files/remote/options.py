"""What a declaration says of a server with files."""

import re
from datetime import timedelta

from pydantic import Field, field_validator

from superinsight_sync.model.declaration import Duration
from superinsight_sync.sources.protocol import KindConfig

_SECRET = re.compile("auth|cookie|key|token|secret|password", re.IGNORECASE)
SCHEMES = ("ftp", "ftps", "sftp", "s3", "http", "https")


class RemoteConfig(KindConfig):
    """How a server is reached. Which keys a protocol has: `KEYS` of `opening`."""

    user: str | None = None
    """FTP, SFTP, HTTP: the account; may refer to the environment."""
    password: str | None = None
    """FTP, SFTP, HTTP: its password, by reference."""
    private_key: str | None = None
    """SFTP: the text of a private key in OpenSSH or PEM form, by reference."""
    private_key_password: str | None = None
    """SFTP: what the private key is encrypted with, by reference."""
    known_hosts: str | None = None
    """SFTP: a file of known hosts. Default: `~/.ssh/known_hosts` and `/etc/ssh/ssh_known_hosts`."""
    host_key: str | None = None
    """SFTP: the server's key, `ssh-ed25519 AAAA…`, instead of a file of known hosts."""
    endpoint: str | None = None
    """S3: the server's address, `https://minio.example.com:9000`. Default: that of AWS."""
    region: str | None = None
    """S3: the bucket's region."""
    access_key_id: str | None = None
    """S3: the access key. Default: what the environment or the machine's role gives."""
    secret_access_key: str | None = None
    """S3: its secret, by reference."""
    session_token: str | None = None
    """S3: the token of a temporary key, by reference."""
    anonymous: bool = False
    """S3: whether to ask without a key."""
    names: tuple[str, ...] | None = None
    """HTTP: the files below `path`, where the server gives no index page."""
    headers: dict[str, str] = Field(default_factory=dict)
    """HTTP: further headers; may refer to the environment. They are sent to the host of `path` alone."""
    ca_file: str | None = None
    """FTPS, HTTPS, S3: certificates to trust instead of the public ones."""
    allow_private: bool = False
    """Whether the server may be inside: on this machine or in a private network. Link-local ones may not."""
    allow_networks: tuple[str, ...] = ()
    """Networks that the server may be in, such as `10.20.0.0/16`, whatever they are."""
    connect_timeout: Duration = timedelta(seconds=10)
    """How long connecting to a server may take."""
    read_timeout: Duration = timedelta(seconds=60)
    """How long a server may be silent."""

    @field_validator("private_key")
    @classmethod
    def _is_reference(cls, value: str | None) -> str | None:
        if value and "{{" not in value:
            raise ValueError('put the key into the environment and write "{{ env.NAME }}"')
        return value

    @field_validator("headers")
    @classmethod
    def _are_references(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if _SECRET.search(name) and "{{" not in text:
                raise ValueError(f'put {name} into the environment and write "{{{{ env.NAME }}}}"')
        return value
