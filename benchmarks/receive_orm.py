"""What one would write first: FastAPI, a pydantic body, an ORM row and a commit for each request.

python benchmarks/receive_orm.py PORT DATABASE_FILE, with the secret's base64 in KEY. SQLite in WAL mode with
synchronous=FULL, so that what is answered is on the disk; a delivery that comes again is known by its id.
"""

import base64
import hmac
import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel
from sqlalchemy import create_engine, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

KEY = base64.b64decode(os.environ["KEY"])
app = FastAPI()
engine = create_engine(f"sqlite:///{sys.argv[2]}", connect_args={"timeout": 60})


@event.listens_for(engine, "connect")
def set_up(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


class Base(DeclarativeBase):
    pass


class Stored(Base):
    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str] = mapped_column(index=True)
    type: Mapped[str] = mapped_column(index=True)
    body: Mapped[bytes]
    received_at: Mapped[datetime]


class Event(BaseModel):
    type: str
    id: int
    pad: str


async def verified(
    request: Request,
    webhook_id: Annotated[str, Header()],
    webhook_timestamp: Annotated[int, Header()],
    webhook_signature: Annotated[str, Header()],
) -> bytes:
    body = await request.body()
    digest = hmac.digest(KEY, f"{webhook_id}.{webhook_timestamp}.".encode() + body, "sha256")
    if not hmac.compare_digest(base64.b64decode(webhook_signature[3:]), digest):
        raise HTTPException(401)
    return body


@app.post("/api/v1/sync/push/webhook/{source}", status_code=202)
def hook(
    source: str,
    event: Event,
    webhook_id: Annotated[str, Header()],
    body: Annotated[bytes, Depends(verified)],
    response: Response,
) -> dict[str, str]:
    with Session(engine) as session:
        session.add(
            Stored(key=webhook_id, source=source, type=event.type, body=body, received_at=datetime.now(UTC))
        )
        try:
            session.commit()
        except IntegrityError:
            response.status_code = 200
            return {"status": "duplicate"}
    return {"status": "stored"}


if __name__ == "__main__":
    Base.metadata.create_all(engine)
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
