"""An FTP server on loopback whose root is a folder: a store for fsspec that is no folder of this machine."""

import threading
from pathlib import Path

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import ThreadedFTPServer
from typing_extensions import Self

USER, PASSWORD = "someone", "s3cret-of-the-test"


class FtpServer:
    """`url` leads to the root; `environment` lets fsspec in, without a password in the URL."""

    def __init__(self, root: Path):
        root.mkdir(exist_ok=True)
        authorizer = DummyAuthorizer()
        authorizer.add_user(USER, PASSWORD, str(root), perm="elradfmwMT")
        # A class of its own: the authorizer is one of its attributes.
        handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
        self.server = ThreadedFTPServer(("127.0.0.1", 0), handler)
        self.url = f"ftp://127.0.0.1:{self.server.socket.getsockname()[1]}"
        self.environment = {"FSSPEC_FTP_USERNAME": USER, "FSSPEC_FTP_PASSWORD": PASSWORD}

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self.server.close_all()
