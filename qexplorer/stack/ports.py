"""Find ports of the loopback address that nobody listens on."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Return so many different ports; another program may still take one before it is used."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
