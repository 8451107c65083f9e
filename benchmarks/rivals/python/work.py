"""What workers of multiprocessing run: in a module of its own, because a spawned one imports it by its name."""

from multiprocessing.connection import Connection


def echo(event: bytes) -> bytes:
    return event


def serve_many(pipe: Connection) -> None:
    """Answer until the other end is closed."""
    try:
        while True:
            pipe.send(echo(pipe.recv()))
    except EOFError:
        pass


def serve_one(pipe: Connection) -> None:
    pipe.send(echo(pipe.recv()))
