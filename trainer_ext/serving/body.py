"""Reading the body of a request, at most as much of it as is allowed."""

from starlette.requests import ClientDisconnect, Request

from trainer_ext.serving.errors import too_large

# A refusal is read by most clients only when they have sent everything; larger bodies are cut off.
DRAINED = 64 << 20


async def read_body(request: Request, most: int) -> bytes:
    """Return the body of a request.

    Raises:
        RequestError: if it has more than `most` bytes; the rest is read and dropped.
        ClientDisconnect: if the client went away before its end.
    """
    declared = int(request.headers.get("content-length", 0))
    error = too_large(f"the body has more than {most} bytes")
    waits_for_leave = request.headers.get("expect", "").lower() == "100-continue"
    if declared > DRAINED or (declared > most and waits_for_leave):
        raise error
    chunks: list[bytes] = []
    size = 0
    more = True
    while more and size <= DRAINED:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > most:
            chunks.clear()
        else:
            chunks.append(chunk)
    if size > most:
        raise error
    return b"".join(chunks)
