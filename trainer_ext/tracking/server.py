"""Checks whether a W&B server answers, and limits how long it may take. Imports nothing heavy."""

import http.client
import netrc
import os
import socket
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

# A server that is slow, broken or gone must not hold a training up. The environment wins.
LIMITS = {
    "WANDB_INIT_TIMEOUT": "20",
    "WANDB_FINISH_TIMEOUT": "15",  # for what is still on its way at the end; it stays on disk for `wandb sync`
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
    "WANDB_HTTP_TIMEOUT": "8",
    "WANDB__GRAPHQL_RETRY_MAX": "2",
    "WANDB__GRAPHQL_RETRY_WAIT_MAX_SECONDS": "2",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "2",
    "WANDB__FILE_TRANSFER_RETRY_WAIT_MAX_SECONDS": "2",
    "WANDB_SILENT": "true",
}

HEADERS = {"Content-Type": "application/json"}


def set_limits() -> None:
    """Set the variables of `LIMITS`, which every part of the client reads, unless they are set."""
    for variable, value in LIMITS.items():
        os.environ.setdefault(variable, value)


def check_reachable(base_url: str, timeout: float = 3) -> None:
    """Raise OSError at once if nothing listens at the server's address: `wandb.init` would try for a minute."""
    url = urlsplit(base_url)
    host = url.hostname or ""
    # A proxy hides whether the server listens.
    if url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return
    port = url.port or (80 if url.scheme == "http" else 443)
    socket.create_connection((host, port), timeout).close()


def answers(base_url: str, timeout: float = 5) -> bool:
    """Return whether the server answers with anything but errors of its own; asked twice, without W&B's patience."""
    request = urllib.request.Request(
        f"{base_url}/graphql", b'{"query": "query Viewer { viewer { id } }"}', HEADERS
    )
    for wait in (0, 2):
        time.sleep(wait)
        try:
            urllib.request.urlopen(request, timeout=timeout).close()
            return True
        except urllib.error.HTTPError as error:
            # It may want a key, which this question does not carry: that is an answer.
            if error.code < 500:
                return True
        except (OSError, http.client.HTTPException):
            continue
    return False


def has_api_key() -> bool:
    """Return whether W&B finds a key for its server: in `WANDB_API_KEY`, or in .netrc, where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return host in netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
