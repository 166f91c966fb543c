"""The address that a server has, before it answers there."""

import socket

from trainer_ext.errors import UserError


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, and does not listen yet: clients are refused until a model is ready.

    Raises:
        UserError: if the address is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise UserError(f"--host {host} --port {port}: {error.strerror or error}") from None
    bound.set_inheritable(True)
    return bound
