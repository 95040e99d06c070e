"""A headless Chromium that a test drives by the DevTools protocol, over one websocket."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--remote-debugging-port=0 --remote-allow-origins=*"
).split()
_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Home": 36}


def program() -> str | None:
    """Path of Chromium, None if it is not installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Page:
    """One tab; collects what its console says and what it asks the network for."""

    def __init__(self, socket) -> None:
        self.socket = socket
        self.number = 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters):
        """Call a method of the protocol and return its result."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, event) -> None:
        name, parameters = event["method"], event["params"]
        if name == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
            self.complaints.append(json.dumps(parameters["args"]))
        elif name == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif name == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(json.dumps(parameters["entry"]))
        elif name in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            self.requests.append(parameters.get("url") or parameters["request"]["url"])

    def value(self, expression: str):
        """Evaluate JavaScript."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 60.0):
        """Evaluate until the value is truthy; returns it."""
        end = time.monotonic() + seconds
        while not (found := self.value(expression)):
            assert time.monotonic() < end, f"not within {seconds} s: {expression}"
            time.sleep(0.005)
        return found

    def resize(self, width: int, height: int, mobile: bool) -> None:
        """Set the size of the screen in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def press(self, key: str) -> None:
        """Press a key in what has the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=_KEYS[key])  # fmt: skip

    def screenshot(self, path) -> None:
        """Write the whole page as PNG."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(folder) -> Iterator[Page]:
    """Run Chromium with an empty profile in a folder; yields its first tab."""
    from websockets.sync.client import connect

    profile = folder / "profile"
    command = [program(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = profile / "DevToolsActivePort"
        end = time.monotonic() + 60.0
        while not (port.is_file() and port.read_text().strip()):
            assert process.poll() is None and time.monotonic() < end, "Chromium did not start"
            time.sleep(0.05)
        at = f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"
        open_directly = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        tabs = json.loads(open_directly(at, timeout=30).read())
        tab = next(tab for tab in tabs if tab["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(timeout=30)
