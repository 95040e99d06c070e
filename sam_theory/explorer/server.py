"""The server of the explorer: marimo's application in run mode, in this process."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
import webbrowser
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sam_theory.commands import Show
from sam_theory.errors import InputError, MissingExtra

PORT = 2718
"""The port that is tried first where none is named."""
_Scope = MutableMapping[str, Any]
_Application = Callable[[_Scope, Any, Any], Awaitable[None]]


class Guard:
    """Middleware: hands settings to the page, turns away pages of other sites, ends what runs.

    A browser names the site that a request comes from; only the explorer's own page may open its
    connection. At an address of this machine the name asked for must be that of this machine.
    """

    def __init__(
        self,
        application: _Application,
        meta: Mapping[str, str],
        local: bool,
        end: Callable[[], Awaitable[None]],
    ) -> None:
        self.application, self.meta, self.local, self.end = application, dict(meta), local, end

    async def __call__(self, scope: _Scope, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it with status 403; at the end, end all sessions."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if scope["type"] in ("http", "websocket"):
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            if not permitted(headers.get(b"host", ""), headers.get(b"origin"), self.local):
                return await _refuse(scope, send)
            scope["meta"] = self.meta
        return await self.application(scope, receive, send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.end()
        await send({"type": "lifespan.shutdown.complete"})


async def _refuse(scope: _Scope, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": []})
    await send({"type": "http.response.body", "body": b"refused"})


def permitted(host: str, origin: str | None, local: bool) -> bool:
    """Whether a request for ``host`` that a page of ``origin`` makes is one of our own page."""
    name = urlsplit(f"//{host}").hostname or ""
    if local and not _loopback(name):
        return False
    return origin is None or urlsplit(origin).netloc == host


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens; without a port, the first choice or any free one.

    Raises
    ------
    InputError
        The port is in use or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, PORT if port is None else port, type=socket.SOCK_STREAM
        )[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host {host}: no such address") from None
    ports = (PORT, 0) if port is None else (port,)
    for number in ports:
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((address[0], number, *address[2:]))
            found.listen(128)
        except OSError as error:
            found.close()
            if number != ports[-1] and error.errno == errno.EADDRINUSE:
                continue
            raise InputError(_complaint(host, number, error)) from None
        return found
    raise AssertionError("unreachable")


def _complaint(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--port {port}: in use already; name another one"
    if error.errno == errno.EACCES:
        return f"--port {port}: not permitted; name one above 1023"
    return f"--host {host} --port {port}: {error.strerror or error}"


def address_of(host: str, found: socket.socket) -> str:
    """Return the address of the page; a wildcard host is named localhost."""
    port = found.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):
        return f"http://localhost:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    host: str, port: int | None, meta: Mapping[str, str], *, browser: bool, show: Show
) -> None:
    """Serve the page until interrupted.

    Parameters
    ----------
    host : str
        Where to listen.
    port : int or None
        Port, 0 for any free one, None for the usual or any free one.
    meta : mapping
        What the page is told: "data" and "target".
    browser : bool
        Open the page in the user's browser.
    show : callable
        Prints the address.

    Raises
    ------
    InputError
        The port is in use or the address is not one of this machine.
    MissingExtra
        marimo is not installed.
    """
    try:
        import marimo
        import uvicorn
    except ImportError:
        raise MissingExtra("marimo", "explore") from None
    found = listen(host, port)
    local = _loopback(found.getsockname()[0])
    notebook = str(Path(__file__).with_name("app.py"))
    inner: list[Any] = []

    def keep(app: Any) -> Any:
        inner.append(app)
        return app

    async def end() -> None:
        # A server that only mounts marimo's application never ends its sessions, and their
        # threads would keep the process alive.
        await inner[0].state.session_manager.shutdown()

    builder = marimo.create_asgi_app(quiet=True)
    application = builder.with_app(path="", root=notebook, middleware=[keep]).build()
    config = uvicorn.Config(
        Guard(application, meta, local, end),
        log_level="error",
        timeout_graceful_shutdown=1,
        ws_max_size=64 * 2**20,
        lifespan="on",
    )
    page = address_of(host, found)
    show(f"explorer: {page}   (Ctrl-C ends it)")
    if not local:
        show(f"note: --host {host} lets other machines open this page")
    threading.Thread(target=_prepare, daemon=True).start()
    if browser:
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()
    with found:
        uvicorn.Server(config).run(sockets=[found])


def _prepare() -> None:
    """Compile while the browser starts; the page waits for it and shows that it does."""
    from sam_theory.explorer.model import prepare

    prepare()
