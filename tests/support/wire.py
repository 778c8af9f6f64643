"""A TCP proxy in front of a server, whose connections can be cut, refused or stalled."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Wire:
    """Forwards connections to a server. ``url`` is its own address, with the server's scheme."""

    def __init__(self, server: str) -> None:
        self.redirect(server)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []  # of the browser and of the server, in turn
        self._refuses = False
        self._frozen = set[socket.socket]()
        self._flows = threading.Event()
        self._flows.set()
        self.url = f"{urlsplit(server).scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close every open connection; new ones are still accepted."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def refuse(self) -> None:
        """Close every connection, and new ones too, until ``heal``."""
        self._refuses = True
        self.cut()

    def freeze(self) -> None:
        """Lose what the server sends on the open connections without a word, as after a change of the network.

        What the browser sends on one of them closes it. New connections work.
        """
        self._frozen.update(self._ends[1::2])

    def stall(self) -> None:
        """Keep the connections, and forward nothing until ``heal``."""
        self._flows.clear()

    def heal(self) -> None:
        """Forward again."""
        self._refuses = False
        self._flows.set()

    def redirect(self, server: str) -> None:
        """Forward new connections to another server."""
        self._to = ("127.0.0.1", urlsplit(server).port or 0)

    def close(self) -> None:
        self._listener.close()
        self.heal()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._refuses:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(self._to)
                except OSError:  # the server is down at the moment
                    near.close()
                    continue
                self._ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while piece := one.recv(65536):
                self._flows.wait()
                if one in self._frozen:
                    return
                if other in self._frozen:
                    one.shutdown(socket.SHUT_RDWR)
                    return
                other.sendall(piece)
            other.shutdown(socket.SHUT_WR)
