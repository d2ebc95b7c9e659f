"""A mail server (RFC 5321, with STARTTLS and AUTH) that keeps what it takes."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from superinsight_sync_tests.servers.certificates import certificate


@dataclass
class Mail:
    """One mail as it was taken."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    encrypted: bool
    user: str


@dataclass
class MailServer:
    """What it took, and how it answers."""

    certificate: Path
    port: int = 0
    got: list[Mail] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)
    """Command or address → codes it answers next, instead of what is right."""
    password: str = "sëcret:@/"
    offers_tls: bool = True


@contextmanager
def running_smtp(folder: Path, *, implicit_tls: bool = False) -> Iterator[MailServer]:
    state = MailServer(certificate(folder))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(state.certificate)

    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sock, tls = self.request, implicit_tls
            if tls:
                try:
                    sock = context.wrap_socket(sock, server_side=True)
                except (ssl.SSLError, OSError):
                    return
            file, user, sender, recipients = sock.makefile("rb"), "", "", []

            def say(text: str) -> None:
                sock.sendall(f"{text}\r\n".encode())

            say("220 localhost")
            while line := file.readline().decode().strip():
                verb, _, rest = line.partition(" ")
                verb = verb.upper()
                address = rest.partition("<")[2].partition(">")[0]
                wanted = state.answers.get(address) or state.answers.get(verb)
                if wanted:
                    say(f"{wanted.pop(0)} as asked for")
                elif verb == "EHLO":
                    offers = ["localhost", "AUTH PLAIN"] + (
                        ["STARTTLS"] if state.offers_tls and not tls else []
                    )
                    for n, offer in enumerate(offers):
                        say(f"250{'-' if n < len(offers) - 1 else ' '}{offer}")
                elif verb == "STARTTLS":
                    say("220 go on")
                    try:
                        sock, tls = context.wrap_socket(sock, server_side=True), True
                    except (ssl.SSLError, OSError):
                        return
                    file = sock.makefile("rb")
                elif verb == "AUTH":
                    _, user, given = base64.b64decode(rest.split()[1]).decode().split("\0")
                    say("235 welcome" if given == state.password else "535 no")
                elif verb == "MAIL":
                    sender, recipients = address, []
                    say("250 ok")
                elif verb == "RCPT":
                    recipients.append(address)
                    say("250 ok")
                elif verb == "DATA":
                    say("354 go on")
                    body = b""
                    while (part := file.readline()) not in (b".\r\n", b""):
                        body += part.removeprefix(b".") if part.startswith(b"..") else part
                    message = message_from_bytes(body, policy=policy.default)
                    assert isinstance(message, EmailMessage)
                    state.got.append(Mail(sender, recipients, message, tls, user))
                    say("250 taken")
                else:
                    say("221 bye" if verb == "QUIT" else "250 ok")
                    if verb == "QUIT":
                        return

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address, daemon_threads = True, True

    with Server(("127.0.0.1", 0), Session) as server:
        state.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield state
        server.shutdown()
