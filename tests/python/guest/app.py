"""Misbehaves, and shows what a plugin in Python can and can't do."""

import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Annotated, Literal

from tidegate import Content, Context, Failure, Level, Range, code, http, tool


@dataclass
class Surroundings:
    """What a plugin sees of the machine, and what became of each attempt to get out."""

    environment: dict[str, str]
    arguments: list[str]
    stdin: str
    attempts: dict[str, str]


@tool
def surroundings(address: str, port: int) -> Surroundings:
    """Looks around, and tries every door."""

    def connect() -> None:
        socket.socket().connect((address, port))

    def udp() -> None:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (address, port))

    def listen() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))

    def thread() -> None:
        threading.Thread(target=print).start()

    def late() -> None:
        import wave  # noqa: F401, which nothing has imported before

    doors = {
        "connect": connect,
        "connect by name": lambda: socket.create_connection(("localhost", port), timeout=1),
        "listen": listen,
        "send": udp,
        "look up": lambda: socket.getaddrinfo("localhost", 80),
        "look up by name": lambda: socket.gethostbyname("localhost"),
        "root": lambda: os.listdir("/"),
        "read": lambda: open("/etc/passwd").read(),
        "write": lambda: open("written", "w"),
        "run": lambda: subprocess.run(["true"]),
        "fork": lambda: os.fork(),
        "thread": thread,
        "late import": late,
    }
    attempts = {}
    for name, door in doors.items():
        try:
            attempts[name] = f"open: {door()}"
        except Exception as error:
            attempts[name] = type(error).__name__
    return Surroundings(dict(os.environ), sys.argv, sys.stdin.read(), attempts)


@tool
def roll() -> dict[str, list[str]]:
    """Draws from every source of luck, and looks at the clock."""
    drawn = [random.random(), secrets.token_hex(8), uuid.uuid4(), os.urandom(8).hex(), random.Random().random()]
    return {"drawn": [str(luck) for luck in drawn], "clock": [str(time.time())]}


@tool
def speak(context: Context, words: Annotated[list[str], "What to say."]) -> Content:
    """Says everything, everywhere."""
    for done, word in enumerate(words, 1):
        print(f"printed {word}")
        print(f"erred {word}", file=sys.stderr)
        context.log(Level.WARNING, f"logged {word}")
        context.progress(done, len(words), f"doing {word}")
    facts = [context.subject, context.trace_id, str(context.attempt), str(context.idempotency_key)]
    return Content().text(" ".join(words)).image("image/png", b"png").text(" ".join(facts))


@dataclass
class Fetched:
    """What came back."""

    status: int
    bytes: int
    header: str | None = None


@tool
def fetch(
    url: str,
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET",
    size: Annotated[int, "Bytes of the request's body.", Range(0, 1 << 24)] = 0,
    timeout: float | None = None,
    max_body_bytes: int = http.DEFAULT_MAX_BODY_BYTES,
    headers: dict[str, str] | None = None,
) -> Fetched:
    """Sends a request."""
    response = http.request(
        method, url, body=b"x" * size, timeout=timeout, max_body_bytes=max_body_bytes, headers=headers
    )
    return Fetched(response.status, len(response.body), response.header("content-type"))


@tool
def send(context: Context, url: str) -> Fetched:
    """Sends something that changes something."""
    if context.idempotency_key is None:
        raise Failure.failed("a write has a key")
    response = http.post(url, json={"user_id": "u1", "amount_cents": 1}).success()
    return Fetched(response.status, len(response.body))


@tool
def misbehave(how: Literal["crash", "spin", "hoard", "recurse", "exit", "lie", "strange", "refuse", "sleep"]) -> dict[str, int]:
    """Does what no tool should."""
    match how:
        case "crash":
            raise ValueError("password=hunter2")
        case "spin":
            while True:
                pass
        case "hoard":
            hoard = []
            while True:
                hoard.append(bytes(1 << 20))
        case "recurse":
            return recurse(1)
        case "exit":
            sys.exit(0)
        case "lie":
            return {"number": "one"}  # type: ignore[dict-item]
        case "strange":
            raise Failure("no_such_code", "made up")
        case "refuse":
            raise Failure(code.RATE_LIMITED, "not so often", retry_after_seconds=7)
        case "sleep":
            time.sleep(3600)
    return {}


def recurse(depth: int) -> dict[str, int]:
    return recurse(depth + 1)


@dataclass
class Person:
    """Somebody."""

    name: str


@tool
def inquire(context: Context) -> Content:
    """Asks one thing after the other, and would rather not be ended for it."""
    try:
        answer = context.elicit("person", "Who are you?", Person)
    except BaseException as swallowed:
        return Content().text(f"swallowed {swallowed!r}")
    name = answer.value.name if answer.value else answer.action
    folders = [root.uri for root in context.roots("folders")]
    sure = context.confirm("sure", f"Are you sure, {name}?")
    return Content().text(f"{name} {folders} {sure}")
