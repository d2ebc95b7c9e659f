"""What each environment variable is, for the page of settings."""

SETTINGS = (
    ("SIS_PROJECT_DIR", "project_dir", "the nearest folder above with a `pyproject.toml`"),
    ("SIS_HOME", "home", "`<project>/.sis`"),
    ("SIS_LAKE_URL", "lake_url", "`<home>/lake`"),
    ("SIS_DATABASE_URL", "database_url", "`sqlite:///<home>/state.db`"),
    ("SIS_MEMORY_LIMIT_MB", "memory_limit_bytes", "`1024` (MiB)"),
    ("SIS_LEASE_TTL_S", "lease_ttl_s", "`15` (seconds)"),
    ("SIS_LEASE_WAIT_S", "lease_wait_s", "`60` (seconds)"),
    ("SIS_WEB_URL", "web_url", "`http://127.0.0.1:3000`; `sis dev` sets its own"),
    ("SIS_STALL_S", "stall_s", "`600` (seconds)"),
    ("SIS_SOURCE_SILENCE_S", "source_silence_s", "not set"),
    ("SIS_AUDIT_DIR", "audit_dir", "`<home>/audit`"),
    ("SIS_AUDIT_KEY", "audit_key", "`<home>/keys/audit.pem`"),
)
OTHERS = {
    "Checks of declarations": (
        ("SIS_STRICT", "not set", "Set to anything, one bad declaration fails the whole code location."),
    ),
    "Dagster": (
        ("DAGSTER_HOME", "the project's folder", "Where `dagster.yaml` is. `sis` sets it if it is not set."),
    ),
    "Dictionary by an LLM": (
        (
            "OPENAI_API_KEY",
            "not set",
            "With a key an LLM improves dictionaries. Without one, rules fill them.",
        ),
        ("OPENAI_BASE_URL", "`https://api.openai.com/v1`", "Another server that speaks the same protocol."),
        ("SIS_LLM_MODEL", "`gpt-5.4-mini`", "The model's name."),
        ("SIS_LLM_MAX_TOKENS", "`200000`", "Most tokens that describing one stream may use."),
        ("SIS_LLM_TIMEOUT_S", "`60`", "Seconds that one answer may take."),
        (
            "SIS_LLM_USD_PER_MILLION",
            "not set",
            "Prices of input and output, `0.25,2`, dollars a million tokens, to estimate costs.",
        ),
    ),
    "Encryption at rest": (
        (
            "SIS_MASTER_KEY_FILE",
            "not set: nothing is sealed",
            "A file with the master key; older ones follow, each on a line. `sis encryption new-key` makes one.",
        ),
        ("SIS_MASTER_KEY", "not set", "The master key itself, instead of a file."),
        ("SIS_MASTER_KEY_COMMAND", "not set", "A command that prints it, such as one of your key service."),
    ),
    "Masks": (
        (
            "SIS_MASK_KEY",
            "not set",
            "The key of masks, 32 characters or more, unless `sensitive.yaml` refers to others.",
        ),
    ),
    "The gateway": (
        (
            "SIS_TOKEN_SECRET",
            "not set",
            "Signs access tokens: 32 random bytes or more, or a private Ed25519 key (PEM). Not set: no tokens.",
        ),
        ("SIS_TOKEN_SECRET_OLD", "not set", "The one before it, whose tokens are believed still."),
        ("SIS_GATEWAY_NETWORKS", "all", "The only networks that may come in, separated by commas."),
        (
            "SIS_GATEWAY_PROXIES",
            "none",
            "Proxies in front of the gateway, whose `X-Forwarded-For` is believed.",
        ),
        (
            "SIS_GATEWAY_COUNTRY_DATABASE",
            "not set",
            "A MaxMind country database (`.mmdb`), for the next three.",
        ),
        ("SIS_GATEWAY_ALLOWED_COUNTRIES", "all", "ISO 3166 codes let in, such as `DE,AT`."),
        ("SIS_GATEWAY_DENIED_COUNTRIES", "none", "ISO 3166 codes kept out."),
        (
            "SIS_GATEWAY_ANY_COUNTRY_NETWORKS",
            "none",
            "Networks let in whatever their country, such as your own.",
        ),
        ("SIS_GATEWAY_KEY_RATE_PER_S", "`1000`", "Requests a second of one key, in each gateway process."),
        (
            "SIS_GATEWAY_TENANT_RATE_PER_S",
            "`5000`",
            "Requests a second of a tenant: of all its keys, and its webhooks.",
        ),
    ),
    "Checks": (
        ("SIS_GX_MAX_ROWS", "`5000000`", "A Great Expectations check of more rows is not run, and says so."),
    ),
    "Alerts": (
        (
            "SIS_ALERTS",
            "`log`",
            "Channels that are told of failed runs, with commas between: `log`, `webhook`, `smtp`.",
        ),
        ("SIS_ALERT_WEBHOOK_URL", "not set", "Where the webhook posts to."),
        (
            "SIS_ALERT_WEBHOOK_SECRET",
            "not set",
            "Signs the posts, as the Standard Webhooks specification says.",
        ),
        (
            "SIS_ALERT_SMTP_URL",
            "not set",
            "The mail server of `smtp`: `smtp://user:password@host:587` (STARTTLS), `smtps://…` (TLS), `smtp+plain://…`.",
        ),
        ("SIS_ALERT_MAIL_FROM", "not set", "The address that mails come from."),
        (
            "SIS_ALERT_MAIL_TO",
            "not set",
            "Who gets what has no owner with an address, and addresses of teams: `ops@x.org, team:data=data@x.org`.",
        ),
    ),
    "A lake on S3": (
        ("AWS_ACCESS_KEY_ID", "not set", "The account."),
        ("AWS_SECRET_ACCESS_KEY", "not set", "Its secret."),
        ("AWS_SESSION_TOKEN", "not set", "For temporary accounts."),
        ("AWS_REGION", "`AWS_DEFAULT_REGION`, else `us-east-1`", "The bucket's region."),
        ("AWS_ENDPOINT_URL", "AWS's own", "Another S3 server, such as `http://127.0.0.1:8333`."),
    ),
}
