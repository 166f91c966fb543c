"""Whether there is a W&B server to talk to, and how long it may take. Imports nothing heavy."""

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
    """Put `LIMITS` into the environment, from where every part of the client reads them."""
    for variable, value in LIMITS.items():
        os.environ.setdefault(variable, value)


def check_reachable(base_url: str, timeout: float = 3) -> None:
    """Raise OSError at once when nothing listens at the server's address: `wandb.init` would try for a minute.

    Behind a proxy nothing can be said.
    """
    url = urlsplit(base_url)
    if urllib.request.getproxies().get(url.scheme) and not urllib.request.proxy_bypass(
        url.hostname or ""
    ):
        return
    port = url.port or (80 if url.scheme == "http" else 443)
    socket.create_connection((url.hostname or "", port), timeout).close()


def answers(base_url: str, timeout: float = 5) -> bool:
    """Whether the server has anything to say but errors of its own; asked twice, without the client's patience."""
    request = urllib.request.Request(
        f"{base_url}/graphql", b'{"query": "query Viewer { viewer { id } }"}', HEADERS
    )
    for wait in (0, 2):
        time.sleep(wait)
        try:
            urllib.request.urlopen(request, timeout=timeout).close()
            return True
        except urllib.error.HTTPError as error:
            if error.code < 500:  # it wants a key, which this question does not carry
                return True
        except (OSError, http.client.HTTPException):
            pass
    return False


def has_api_key() -> bool:
    """Whether W&B would find a key for its server: in `WANDB_API_KEY`, or where `wandb login` puts it, in .netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return host in netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
