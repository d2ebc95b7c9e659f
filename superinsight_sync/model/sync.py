"""How a stream is read: `sync` of its declaration."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from superinsight_sync.model.written import Duration


class SyncSpec(BaseModel):
    """How a stream is read and landed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    mode: Literal["full", "incremental", "capture"] = "full"
    """`full` reads everything each time; `incremental` reads what is new; `capture` follows the source's change
    log (`sis capture run`)."""
    cursor: str | None = None
    """The ordering column of an incremental read. Needed unless `by` is `hash`."""
    by: Literal["timestamp", "version", "hash", "position"] = "timestamp"
    """What the cursor is: a time, an ever-growing number, the hash of the whole row, or the source's own
    positions (offsets of a topic), which need no column."""
    lag: Duration | None = None
    """How far behind the checkpoint each read starts, for rows that were committed late. Default: 0, or what
    the source's kind needs to miss none."""
    version_lag: int = Field(default=0, ge=0)
    """The same for `by: version`, in numbers instead of time."""
    disposition: Literal["replace", "append", "merge"] | None = None
    """How rows land. Default: full → replace; incremental → merge with a primary key, else append."""
    deletes: Literal["ignore", "soft", "hard"] = "ignore"
    """Records that are gone from the source: left alone, marked in `_sis_deleted_at`, or deleted. An incremental
    read finds them by comparing primary keys, a capture in the log; its default is `hard`."""
    publication: str | None = Field(default=None, min_length=1, max_length=63)
    """`capture` from PostgreSQL: the publication to follow. Default: one named after tenant and source, made by
    `sis capture run`. All captured streams of a source have the same."""
    slot: str | None = Field(default=None, pattern="^[a-z0-9_]{1,63}$")
    """The same for the replication slot."""

    @model_validator(mode="before")
    @classmethod
    def _capture_deletes(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("mode") == "capture" and "deletes" not in data:
            return {**data, "deletes": "hard"}
        return data

    @model_validator(mode="after")
    def _check_capture(self) -> Self:
        if self.mode != "capture":
            if self.publication or self.slot:
                raise ValueError("publication and slot belong to mode: capture")
            return self
        unfit = [
            n for n in ("cursor", "by", "lag", "version_lag", "disposition") if n in self.model_fields_set
        ]
        if unfit:
            raise ValueError(f"mode: capture follows the log by itself; leave out {', '.join(unfit)}")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mode == "capture":
            return self
        if self.mode == "incremental" and self.by in ("timestamp", "version") and not self.cursor:
            raise ValueError(f"an incremental stream by {self.by} needs a cursor column")
        if self.by == "position" and (self.cursor or self.mode != "incremental"):
            raise ValueError("by: position needs mode: incremental and no cursor; the source knows its own")
        if self.deletes != "ignore" and self.by == "position":
            raise ValueError("a log of messages has no records that could be gone; leave out deletes")
        if self.deletes != "ignore" and self.mode != "incremental":
            raise ValueError(
                "deletes are looked for after incremental reads; a full read replaces everything"
            )
        if self.mode == "full" and self.cursor and self.by == "version":
            raise ValueError("a full read takes no version cursor; set mode: incremental")
        return self
