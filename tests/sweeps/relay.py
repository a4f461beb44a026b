"""A relay between a database and its clients that loses answers: the server commits, the client never hears it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Relay:
    """``port`` leads to the server. Of all commits, the answer to each ``every``-th is lost, with its connection."""

    port: int
    every: int
    commits: int = 0
    lost: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def loses(self) -> bool:
        """Count a commit; say whether its answer is lost."""
        with self.guard:
            self.commits += 1
            found = self.commits % self.every == 0
            self.lost += found
        return found


@contextmanager
def relayed(server: int, *, every: int) -> Iterator[Relay]:
    """A relay to a server's port on this machine, for as long as the body runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    relay = Relay(port=listener.getsockname()[1], every=every)
    threading.Thread(target=_accept, args=(listener, server, relay), daemon=True).start()
    try:
        yield relay
    finally:
        listener.close()


def _accept(listener: socket.socket, server: int, relay: Relay) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with suppress(OSError):
            upstream = socket.create_connection(("127.0.0.1", server))
            cut = threading.Event()
            threading.Thread(target=_forth, args=(client, upstream, relay, cut), daemon=True).start()
            threading.Thread(target=_back, args=(client, upstream, cut), daemon=True).start()


def _forth(client: socket.socket, upstream: socket.socket, relay: Relay, cut: threading.Event) -> None:
    with suppress(OSError):
        while data := client.recv(65536):
            if b"COMMIT" in data and relay.loses():
                cut.set()
            upstream.sendall(data)
    _close(client, upstream)


def _back(client: socket.socket, upstream: socket.socket, cut: threading.Event) -> None:
    with suppress(OSError):
        while data := upstream.recv(65536):
            if cut.is_set():
                break
            client.sendall(data)
    _close(client, upstream)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
