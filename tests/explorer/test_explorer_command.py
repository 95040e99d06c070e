"""``sam-theory explore``: starts, ends quietly, and refuses what cannot be served in one line."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

import sam_theory as st
from sam_theory.cli import main
from sam_theory.explorer import server

DATA = "a,b,y\n1,2,3\n2,1,4\n"


@contextmanager
def running(*flags, environment=None):
    """Start the explorer on a free port; yields the process and its address."""
    command = [sys.executable, "-m", "sam_theory.cli", "explore", "--no-browser", "--port", "0"]
    process = subprocess.Popen(
        [*command, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("explorer: http://127.0.0.1:"), (line, process.stderr.read())
        yield process, line.split()[1]
    finally:
        process.kill()
        process.communicate()


def get(address, **headers):
    """Status and text of a page, without any proxy."""
    request = urllib.request.Request(address, headers=headers)
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def refused(arguments, capsys):
    assert main(["explore", "--no-browser", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    return shown.err


def test_serves_only_its_own_page_and_ends_quietly():
    pytest.importorskip("marimo")
    with running() as (process, address):
        status, text = get(address)
        assert status == 200 and "sam_theory explorer" in text
        assert "implicit_bias(" not in text and 'src="http' not in text and "cdn" not in text
        assert get(address, Origin=address)[0] == 200
        assert get(address, Origin="http://example.org")[0] == 403
        assert get(address, Host="example.org")[0] == 403
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def test_a_busy_port_is_one_line(capsys):
    pytest.importorskip("marimo")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: in use" in refused(["--port", str(port)], capsys)


def test_without_a_port_a_free_one():
    with server.listen("127.0.0.1", None) as first, server.listen("127.0.0.1", None) as second:
        assert first.getsockname()[1] != second.getsockname()[1]
        assert server.address_of("127.0.0.1", first).endswith(str(first.getsockname()[1]))
        assert server.address_of("0.0.0.0", first).startswith("http://localhost:")
        assert server.address_of("::1", first).startswith("http://[::1]:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port must lie between 0 and 65535"),
        (["--port", "x"], "--port"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: no such address"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1"),
        (["--data", "d.csv"], "--data and --target go together"),
        (["--target", "y"], "--data and --target go together"),
        (["--data", "missing.csv", "--target", "y"], "missing.csv: no such file"),
        (["--data", "d.npz", "--target", "y"], "must be a .csv file"),
    ],
)
def test_bad_flags_are_one_line(arguments, message, capsys):
    pytest.importorskip("marimo")
    assert message in refused(arguments, capsys)


def test_bad_data_are_one_line(tmp_path, capsys):
    path = tmp_path / "d.csv"
    path.write_text("a,y\n1,x\n")
    message = refused(["--data", str(path), "--target", "y"], capsys)
    assert "line 2, column 'y': 'x' is not a number" in message
    path.write_text(DATA)
    assert "no column 'z'" in refused(["--data", str(path), "--target", "z"], capsys)


def test_without_marimo_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "marimo", None)
    message = refused([], capsys)
    assert "marimo is not installed" in message and "sam-theory[explore]" in message
    with pytest.raises(st.MissingExtra):
        server.serve("127.0.0.1", 0, {}, browser=False, show=print)


def test_the_parser_loads_nothing_heavy():
    program = (
        "import sys; from sam_theory.cli import build_parser; "
        "build_parser().parse_args(['explore', '--port', '3000']); "
        "heavy = {'marimo', 'uvicorn', 'numba', 'pandas', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_server_names_the_page_and_opens_the_browser(monkeypatch, tmp_path):
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("marimo")
    opened, ran, shown = [], [], []
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    monkeypatch.setattr(server, "_prepare", lambda: None)
    monkeypatch.setattr(uvicorn.Server, "run", lambda _, sockets: ran.append(sockets))
    server.serve("127.0.0.1", 0, {}, browser=True, show=shown.append)
    end = time.monotonic() + 30.0
    while not opened and time.monotonic() < end:
        time.sleep(0.01)
    assert len(ran) == 1 and len(shown) == 1 and opened[0] in shown[0]


@pytest.mark.parametrize(
    ("host", "origin", "local", "allowed"),
    [
        ("127.0.0.1:80", None, True, True),
        ("localhost:80", "http://localhost:80", True, True),
        ("[::1]:80", None, True, True),
        ("127.0.0.1:80", "http://example.org", True, False),
        ("127.0.0.1:80", "http://127.0.0.1:81", True, False),
        ("127.0.0.1:80", "null", True, False),
        ("example.org", None, True, False),
        ("", None, True, False),
        ("machine.lan:80", "http://machine.lan:80", False, True),
        ("machine.lan:80", "http://example.org", False, False),
    ],
)
def test_who_may_ask(host, origin, local, allowed):
    assert server.permitted(host, origin, local) is allowed


def test_connections_of_other_sites_are_closed():
    sent, passed = [], []

    async def application(scope, receive, send):
        passed.append(scope)

    async def send(message):
        sent.append(message)

    async def end():
        passed.append("ended")

    guard = server.Guard(application, {"data": "d.csv"}, True, end)
    headers = [(b"host", b"127.0.0.1:1"), (b"origin", b"http://example.org")]
    asyncio.run(guard({"type": "websocket", "headers": headers}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}] and passed == []
    asyncio.run(guard({"type": "websocket", "headers": headers[:1]}, None, send))
    assert passed.pop()["meta"] == {"data": "d.csv"}
    sent.clear()

    async def receive():
        assert passed == []

    asyncio.run(guard({"type": "lifespan"}, receive, send))
    assert [m["type"] for m in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert passed == ["ended"]
