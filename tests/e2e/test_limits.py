# SPDX-License-Identifier: MIT
"""What is bounded: descriptors of the relay and of the listener run out, peers
stall or drip before they are known, heads and frames are too long. Service goes
on for everybody else."""

import base64
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import threading

import pytest
from conftest import PATIENCE, dial, need, wait_until

def limit_descriptors(process, count):
    subprocess.run([need("prlimit"), "--pid", str(process.pid),
                    f"--nofile={count}:"], check=True)


def echoes(port):
    try:
        with dial(port) as c:
            c.sendall(b"hello")
            return c.recv(5) == b"hello"
    except OSError:
        return False


def hold(world, count):
    """Raw connections to the relay's port that say nothing."""
    return [socket.create_connection(("127.0.0.1", world.port), PATIENCE)
            for _ in range(count)]


def test_relay_out_of_descriptors(world, echo_server):
    """Accepting pauses with one line; what is open goes on; it comes back."""
    relay = world.relay("-v")
    world.listen()
    _, port = world.tunnel(echo_server.port)
    with dial(port) as c:
        c.sendall(b"1")
        assert c.recv(1) == b"1"
        limit_descriptors(relay, 40)
        strangers = hold(world, 60)
        relay.wait_line(r"accepting is paused.*open files")
        c.sendall(b"2")
        assert c.recv(1) == b"2"
        for stranger in strangers:
            stranger.close()
        relay.wait_line(r"accepting again")
        wait_until(lambda: echoes(port), "the tunnel takes connections again")
        c.sendall(b"3")
        assert c.recv(1) == b"3"
    assert relay.output.count("accepting is paused") < 5


def test_listener_with_few_descriptors(world, echo_server):
    """It serves as many as it has descriptors for and keeps the means to tell
    the others; what is open goes on."""
    world.relay()
    listen = world.listen(preexec=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (80, 80)))
    connect, port = world.tunnel(echo_server.port)
    served = []
    with dial(port) as c:
        c.sendall(b"1")
        assert c.recv(1) == b"1"
        for _ in range(30):
            one = dial(port)
            one.sendall(b"1")
            try:
                if one.recv(1) == b"1":
                    served.append(one)
                    continue
            except ConnectionError:
                pass
            one.close()
            break
        assert 0 < len(served) < 30
        connect.wait_line(r"listener busy: too many connections")
        for one in served:
            one.close()
        wait_until(lambda: echoes(port), "the listener serves again")
        c.sendall(b"2")
        assert c.recv(1) == b"2"
    assert listen.output.count("listening on ") == 1


def test_the_relay_tells_of_a_silent_listener(world, echo_server):
    """A listener that hangs: the sender hears it from the relay, and the relay
    is not blamed."""
    world.relay()
    listen = world.listen()
    connect, port = world.tunnel(echo_server.port)
    listen.signal(signal.SIGSTOP)
    try:
        with pytest.raises(ConnectionError):
            with dial(port) as c:
                assert c.recv(1) != b""
        connect.wait_line(r"504.*listener did not")
    finally:
        listen.signal(signal.SIGCONT)
    wait_until(lambda: echoes(port), "the listener serves again")


def raw_tls(world):
    context = ssl.create_default_context(cafile=world.ca)
    raw = socket.create_connection(("localhost", world.port), PATIENCE)
    return context.wrap_socket(raw, server_hostname="localhost")


def is_ended(connection):
    """Reads until the other side has ended it."""
    connection.settimeout(PATIENCE)
    try:
        while connection.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True


def drip(connection, data):
    """Sends byte by byte, some a second, until the other side ends."""
    connection.settimeout(0.2)
    for i in range(5 * PATIENCE):
        try:
            connection.send(data[i % len(data):i % len(data) + 1])
            if not connection.recv(1):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_slow_peers_are_ended(world, echo_server):
    """Half a TLS hello, a finished handshake and silence, half a head, and a
    drip in each place: one deadline ends them all, and service goes on."""
    world.relay()
    world.listen()
    _, port = world.tunnel(echo_server.port)
    head = b"GET /$hc/demo HTTP/1.1\r\nHost: localhost\r\nX: "
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    half_hello = socket.create_connection(("127.0.0.1", world.port))
    half_hello.sendall(hello)
    silent = raw_tls(world)
    half_head = raw_tls(world)
    half_head.sendall(head)
    dripped = []
    drips = [(raw_tls(world), head + b"x" * 10000),
             (socket.create_connection(("127.0.0.1", world.port)),
              hello + b"x" * 10000)]
    threads = [threading.Thread(target=lambda c=c, d=d: dripped.append(
        drip(c, d))) for c, d in drips]
    for thread in threads:
        thread.start()
    assert echoes(port)
    for connection in (half_hello, silent, half_head):
        assert is_ended(connection)
        connection.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert dripped == [True, True]
    assert echoes(port)


HEADS = [
    b"\0" * 100,
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /$hc/demo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /$hc/%00%zz HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    b"GET /$hc/demo HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100000,
    b"GET /$hc/demo?" + b"a=b&" * 30000 + b" HTTP/1.1\r\n",
    b"GET /$hc/demo HTTP/1.1\r\n" + b"X: y\r\n" * 20000,
    b"POST /$hc/demo HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    b"99999999999999999999\r\n\r\n",
    b"GET http://localhost/$hc/demo HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_malformed_and_oversized_heads(world, head):
    """Each is answered with an error status or ended; the relay lives."""
    relay = world.relay()
    connection = raw_tls(world)
    connection.settimeout(PATIENCE)
    answer = b""
    try:
        connection.sendall(head)
        while data := connection.recv(65536):
            answer += data
    except (ConnectionError, ssl.SSLError):
        pass
    assert not answer or re.match(rb"HTTP/1\.1 [45]\d\d ", answer), answer
    assert relay.process.poll() is None
    world.listen(anonymous=True)


def upgrade(world, target, conn, *fields):
    """A WebSocket made by hand: the connection and the answer's first line."""
    token = subprocess.run([world.hyco, "token", "-x", f"@{world.state / conn}"],
                           capture_output=True, text=True, check=True).stdout
    connection = raw_tls(world)
    connection.settimeout(PATIENCE)
    connection.sendall("\r\n".join([
        f"GET /$hc/demo?{target} HTTP/1.1", "Host: localhost",
        "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        f"ServiceBusAuthorization: {token.strip()}", *fields, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.recv(1)
        if not data:
            break
        answer += data
    return connection, answer.split(b"\r\n")[0].decode()


RUBBISH = [
    os.urandom(4000),
    b"\x81\xff" + b"\xff" * 8 + b"mask",  # 2^64 - 1 bytes of text
    b"\x81\xfe\xff\xffmask" * 100,
    b"\x88\x81maskx",  # a Close of one byte
    b"\x89\xfe\x01\x00mask" + b"x" * 256,  # a Ping of 256 bytes
    b"\x80\x81maskx",  # the end of no message
    b"\xf2\x81maskx",  # bits nobody agreed on
    b"\x82\x05hello",  # no mask
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_for_frames(world, echo_server, rubbish):
    """On a control channel and on a joined connection: whoever sends it is
    ended, nobody else is."""
    world.relay()
    world.listen()
    _, port = world.tunnel(echo_server.port)
    login = base64.b64encode(f"alice:{world.PASSWORD}".encode()).decode()
    with dial(port) as other:
        other.sendall(b"1")
        assert other.recv(1) == b"1"
        control, status = upgrade(world, "sb-hc-action=listen", "listen.conn")
        assert " 101 " in status
        control.sendall(rubbish)
        control.close()
        sender, status = upgrade(
            world, f"sb-hc-action=connect&port={echo_server.port}", "send.conn",
            f"Authorization: Basic {login}")
        assert " 101 " in status
        sender.sendall(rubbish)
        sender.close()
        wait_until(lambda: echoes(port), "the tunnel takes connections")
        other.sendall(b"2")
        assert other.recv(1) == b"2"


ASKS = [
    ("port=0", True, 400), ("port=65536", True, 400), ("port=/tmp/s", True, 400),
    ("port=80&port=81", True, 400), ("host=x", True, 400),
    ("port=80&host=" + "a" * 300, True, 400),
    ("port=80&host=/var/run/s", True, 400), ("port=80&host=%00", True, 400),
    ("port=80", None, 403), ("port=80", "Bearer x", 400),
    ("port=80", "Basic !!!!", 400), ("port=80", "Basic YWxpY2U=", 400),
    ("port=80", "Basic " + base64.b64encode(
        b"__proto__:[object Object]").decode(), 403),
    ("port=80", "Basic " + base64.b64encode(b"alice:x\0y").decode(), 400),
    ("port=80", "Basic " + base64.b64encode(b"alice:" + b"x" * 5000).decode(),
     400),
]


def test_rubbish_for_asks(world):
    """What a sender may write into query and Authorization is refused in
    words, and the password is always asked for."""
    world.relay()
    listen = world.listen()
    right = "Basic " + base64.b64encode(
        f"alice:{world.PASSWORD}".encode()).decode()
    for query, field, wanted in ASKS:
        field = right if field is True else field
        connection, status = upgrade(
            world, f"sb-hc-action=connect&{query}", "send.conn",
            *([f"Authorization: {field}"] if field else []))
        connection.close()
        assert re.match(rf"HTTP/1\.1 {wanted} (request: |user or password )",
                        status), (query, field, status)
    assert listen.process.poll() is None
