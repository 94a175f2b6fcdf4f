# SPDX-License-Identifier: MIT
"""The tunnel sample hyco-websocket-tunnel, repaired, on both ends: hyco listen
serves its connect.js, hyco connect uses its server.js."""

import os
import socket
import time
import urllib.parse
from pathlib import Path

import pytest
from conftest import (dial, free_port, need, receive_all, receive_exactly,
                      tunnel_port)

HERE = Path(__file__).resolve().parent


def token(world, name):
    """As the sample signs it: for the namespace's root."""
    import base64
    import hashlib
    import hmac
    text = (world.state / name).read_text().strip()
    fields = dict(part.split("=", 1) for part in text.split(";") if part)
    resource = urllib.parse.quote("http://localhost/", safe="")
    expiry = int(time.time()) + 3600
    signature = base64.b64encode(hmac.new(
        fields["SharedAccessKey"].encode(), f"{resource}\n{expiry}".encode(),
        hashlib.sha256).digest()).decode()
    return (f"SharedAccessSignature sr={resource}&sig="
            f"{urllib.parse.quote(signature, safe='')}&se={expiry}"
            f"&skn={fields['SharedAccessKeyName']}")


def sample_connect(world, port, password=None, host="127.0.0.1"):
    process = world.processes.start(
        [need("node"), HERE / "sample_connect.js",
         f"wss://localhost:{world.port}/$hc/demo?sb-hc-action=connect",
         token(world, "send.conn"), world.USER, password or world.PASSWORD,
         port, host], name="connect.js", cwd=HERE,
        env={"NODE_EXTRA_CA_CERTS": str(world.ca)})
    return process, int(process.wait_line(r"^local (\d+)$").group(1))


def sample_server(world):
    process = world.processes.start(
        [need("node"), HERE / "sample_server.js",
         f"wss://localhost:{world.port}/$hc/demo?sb-hc-action=listen",
         token(world, "listen.conn"), world.USER, "simple"],
        name="server.js", cwd=HERE,
        env={"NODE_EXTRA_CA_CERTS": str(world.ca)})
    process.wait_line(r"^listening$")
    return process


def test_connect_js_through_hyco_listen(world, echo_server):
    """Bytes at once, before ready; large data; nothing lost."""
    world.relay()
    world.listen()
    connect, port = sample_connect(world, echo_server.port)
    data = os.urandom(3 << 20)
    for size in (1, 1000, len(data)):
        with dial(port) as c:
            c.sendall(data[:size])
            assert receive_exactly(c, size) == data[:size]
    connect.wait_line(r"^status ready Upstream socket connected$")


def test_server_ends_first_and_all_bytes_arrive(world, server):
    """The upstream closes after 4 MiB: the console gets every byte, then the
    end (the original lost what was not sent yet)."""
    data = os.urandom(4 << 20)
    one = server(lambda c: c.sendall(data))
    world.relay()
    world.listen()
    _, port = sample_connect(world, one.port)
    with dial(port) as c:
        assert receive_all(c) == data


def test_connect_js_refused(world, echo_server):
    """Wrong password and closed port are told at once, as a status."""
    world.relay()
    world.listen()
    for port, password, words in ((echo_server.port, "wrong", "403"),
                                  (free_port(), None, "502")):
        connect, local = sample_connect(world, port, password)
        with pytest.raises(OSError):
            with dial(local) as c:
                c.sendall(b"x")
                if c.recv(1) == b"":
                    raise ConnectionError
        connect.wait_line(rf"WebSocket connection failed: .*{words}")


def connect_to_server_js(world, port, *more):
    world.password_file.write_text("simple\n")
    connect = world.connect("--mode", "sample", "-L",
                            f"127.0.0.1:0:127.0.0.1:{port}", *more)
    return connect, tunnel_port(connect)


def test_hyco_connect_through_server_js(world, echo_server):
    """Data is held until ready, so server.js loses none of it."""
    world.relay()
    sample_server(world)
    _, port = connect_to_server_js(world, echo_server.port)
    data = os.urandom(1 << 20)
    for number in range(20):
        with dial(port) as c:
            c.sendall(b"first %d" % number)
            assert receive_exactly(c, len(b"first %d" % number)) == b"first %d" % number
    with dial(port) as c:
        c.sendall(data)
        assert receive_exactly(c, len(data)) == data


def test_hyco_connect_finds_the_way_by_itself(world, echo_server):
    """Offered the hyco way, server.js answers as it can; the sender falls back
    and says so once."""
    world.relay()
    sample_server(world)
    world.password_file.write_text("simple\n")
    world.mode = None
    connect, port = world.tunnel(echo_server.port)
    for _ in range(3):
        with dial(port) as c:
            c.sendall(b"hello")
            assert receive_exactly(c, 5) == b"hello"
    assert connect.text("err").count("does not speak the hyco way") == 1


def test_hyco_connect_keeps_the_answer_after_a_local_fin(world, server):
    """server.js knows no half-close: the WebSocket stays open until the
    upstream ends, so a request that ends by FIN is still answered when the
    service answers without seeing it."""
    def answer(c):
        asked = receive_exactly(c, 4)
        c.sendall(asked.upper())
    one = server(answer)
    world.relay()
    sample_server(world)
    _, port = connect_to_server_js(world, one.port)
    with dial(port) as c:
        c.sendall(b"ping")
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b"PING"


def test_hyco_connect_sees_refusals_of_server_js(world):
    """A refused upstream comes as a status error after the WebSocket opened;
    a wrong password as the short reject parameters."""
    world.relay()
    sample_server(world)
    closed = free_port()
    connect, port = connect_to_server_js(world, closed)
    with pytest.raises(ConnectionError):
        with dial(port) as c:
            assert c.recv(1) != b"", "an orderly end instead of a reset"
    connect.wait_line(rf"ECONNREFUSED|refused")
