# SPDX-License-Identifier: MIT
"""The main job: TCP connections through relay and listener, byte for byte."""

import hashlib
import os
import random
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import (PATIENCE, dial, echo, free_port, receive_all,
                      receive_exactly, tunnel_port, wait_until)


def pattern(size, seed):
    return random.Random(seed).randbytes(size)


def test_a_first_byte_there_and_back(world, echo_server):
    """One connection, small messages, each echoed."""
    with dial(world.all(echo_server.port)) as c:
        for message in (b"x", b"hello", b"\0" * 1000):
            c.sendall(message)
            assert receive_exactly(c, len(message)) == message


def test_bulk_both_ways_at_once_with_half_close(world, echo_server):
    """32 MiB out and back on one connection; the sender's FIN passes through
    the tunnel, and only then does the echo end."""
    port = world.all(echo_server.port)
    data = pattern(32 << 20, 1)
    with dial(port) as c:
        def send():
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        got = receive_all(c)
        sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_bytes_that_the_server_sends_first(world, server):
    """A greeting before the client has said anything (SMTP, SSH, MySQL)."""
    def greet(c):
        c.sendall(b"220 ready\r\n")
        c.sendall(c.recv(100).upper())
    port = world.all(server(greet).port)
    with dial(port) as c:
        assert receive_exactly(c, 11) == b"220 ready\r\n"
        c.sendall(b"helo")
        assert receive_all(c) == b"HELO"


def test_bytes_sent_at_once_are_never_lost(world, server):
    """A client that talks the moment it is connected, before the tunnel is
    ready: 100 times (the original sample loses some)."""
    port = world.all(server(echo).port)

    def one(number):
        data = pattern(1 + number * 97, number)
        with dial(port) as c:
            c.sendall(data)
            c.shutdown(socket.SHUT_WR)
            return receive_all(c) == data
    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(one, range(100)))


def test_half_close_request_then_answer(world, server):
    """The client ends its side first; the whole answer still comes."""
    def answer(c):
        asked = receive_all(c)
        c.sendall(b"you said %d bytes:" % len(asked))
        c.sendall(asked[::-1])
    port = world.all(server(answer).port)
    question = pattern(300_000, 2)
    with dial(port) as c:
        c.sendall(question)
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b"you said 300000 bytes:" + question[::-1]


def test_half_close_from_the_server(world, server):
    """The server ends its side first; what the client sends still arrives."""
    arrived = []

    def one_way(c):
        c.sendall(b"over")
        c.shutdown(socket.SHUT_WR)
        arrived.append(receive_all(c))
    port = world.all(server(one_way).port)
    with dial(port) as c:
        assert receive_all(c) == b"over"
        c.sendall(b"late but welcome" * 5000)
        c.shutdown(socket.SHUT_WR)
        wait_until(lambda: arrived, "the server has read to the end")
    assert arrived == [b"late but welcome" * 5000]


def reset(connection):
    """Closes with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                          struct.pack("ii", 1, 0))
    connection.close()


def test_a_reset_by_the_server_is_a_reset_for_the_client(world, server):
    """RST is not told as an orderly end."""
    def slam(c):
        c.recv(10)
        reset(c)
    port = world.all(server(slam).port)
    with dial(port) as c:
        c.sendall(b"go")
        with pytest.raises(ConnectionResetError):
            assert c.recv(10) != b"", "an orderly end instead of a reset"


def test_a_reset_by_the_client_is_a_reset_for_the_server(world, server):
    """And the other way round."""
    seen = []

    def watch(c):
        c.sendall(b"hello")
        try:
            seen.append(c.recv(10))
        except ConnectionResetError:
            seen.append("reset")
    port = world.all(server(watch).port)
    c = dial(port)
    assert receive_exactly(c, 5) == b"hello"
    reset(c)
    wait_until(lambda: seen, "the server saw the end")
    assert seen == ["reset"]


def test_a_refused_destination_resets_and_says_why(world):
    """Nobody listens there: the local application sees a broken connection
    and the log names the destination."""
    closed = free_port()
    world.relay()
    world.listen()
    connect, port = world.tunnel(closed)
    with pytest.raises(ConnectionError):
        with dial(port) as c:
            assert c.recv(1) != b"", "an orderly end instead of a reset"
    connect.wait_line(rf"127\.0\.0\.1:{closed}.*refused")


def test_a_slow_reader_loses_nothing_and_costs_little(world, server):
    """Back-pressure: 64 MiB to a reader that does not read at first. The
    server is held back, and memory of all three stays bounded."""
    size = 64 << 20
    sent = [0]
    block = pattern(1 << 20, 3)

    def pour(c):
        for _ in range(size >> 20):
            c.sendall(block)
            sent[0] += len(block)
    port = world.all(server(pour).port)
    with dial(port) as c:
        # Wait until the flow stands still: nothing moves for 50 looks.
        still = [0, -1]

        def stalled():
            still[0] = still[0] + 1 if sent[0] == still[1] else 0
            still[1] = sent[0]
            return still[0] > 50
        wait_until(stalled, "the server is held back")
        assert sent[0] < size, "all of it was swallowed by somebody"
        for process in world.processes.all:
            assert rss(process.pid) < rss_limit(), process.name
        digest = hashlib.sha256()
        got = 0
        while got < size:
            data = c.recv(1 << 20)
            assert data, f"ended after {got} bytes"
            digest.update(data)
            got += len(data)
        assert c.recv(1) == b""
    expected = hashlib.sha256()
    for _ in range(size >> 20):
        expected.update(block)
    assert digest.digest() == expected.digest()


def rss(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def rss_limit():
    # the sanitizers' shadow memory is not ours to count
    return (400 if "asan" in os.environ.get("HYCO", "") else 48) << 20


def test_a_slow_server_holds_the_client_back(world, server):
    """Back-pressure the other way, and every byte arrives."""
    size = 32 << 20
    go = threading.Event()
    result = []

    def sip(c):
        go.wait(PATIENCE)
        digest = hashlib.sha256()
        while data := c.recv(1 << 20):
            digest.update(data)
        result.append(digest.digest())
        c.sendall(b"done")
    port = world.all(server(sip).port)
    data = pattern(size, 4)
    with dial(port) as c:
        c.settimeout(None)
        sent = [0]

        def push():
            view = memoryview(data)
            while sent[0] < size:
                sent[0] += c.send(view[sent[0]:sent[0] + 65536])
            c.shutdown(socket.SHUT_WR)
        pusher = threading.Thread(target=push)
        pusher.start()
        still = [0, -1]

        def stalled():
            still[0] = still[0] + 1 if sent[0] == still[1] else 0
            still[1] = sent[0]
            return still[0] > 50
        wait_until(stalled, "the client is held back")
        assert sent[0] < size
        go.set()
        assert receive_all(c) == b"done"
        pusher.join()
    assert result == [hashlib.sha256(data).digest()]


def test_two_hundred_connections_at_once(world, echo_server):
    """All open together, each with its own bytes."""
    port = world.all(echo_server.port)
    barrier = threading.Barrier(200, timeout=PATIENCE)

    def one(number):
        data = pattern(20_000, number)
        with dial(port) as c:
            c.sendall(data[:100])
            first = receive_exactly(c, 100)
            barrier.wait()
            c.sendall(data[100:])
            c.shutdown(socket.SHUT_WR)
            return first + receive_all(c) == data
    with ThreadPoolExecutor(200) as pool:
        assert all(pool.map(one, range(200)))


def test_a_thousand_short_connections(world, server):
    """One after the other in 8 lanes, each with a request and an answer."""
    def http(c):
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += c.recv(4096)
        body = request.split()[1] * 3
        c.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                  % (len(body), body))
    port = world.all(server(http).port)

    def one(number):
        with dial(port) as c:
            c.sendall(b"GET /%d HTTP/1.0\r\n\r\n" % number)
            return receive_all(c).endswith(b"/%d" % number * 3)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(1000)))


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["up", "down"])
def test_two_gibibytes_compared_by_hash(world, server, direction):
    """2 GiB each way; the receiver's SHA-256 equals the sender's."""
    size = 2 << 30
    block = pattern(4 << 20, 5)
    expected = hashlib.sha256()
    for _ in range(size // len(block)):
        expected.update(block)
    results = []

    def pour(c):
        for _ in range(size // len(block)):
            c.sendall(block)
        c.shutdown(socket.SHUT_WR)

    def drink(c):
        digest, count = hashlib.sha256(), 0
        buffer = bytearray(1 << 20)
        while n := c.recv_into(buffer):
            digest.update(memoryview(buffer)[:n])
            count += n
        results.append((count, digest.digest()))

    def serve(c):
        if direction == "up":
            drink(c)
            c.sendall(b"!")
        else:
            pour(c)
            c.recv(1)
    port = world.all(server(serve).port)
    with dial(port) as c:
        c.settimeout(None)
        if direction == "up":
            pour(c)
            assert c.recv(1) == b"!"
        else:
            drink(c)
    assert results == [(size, expected.digest())]


def test_destination_on_ipv6(world, server):
    """[::1] in brackets, at both ends."""
    echo6 = server(echo, family=socket.AF_INET6)
    world.relay()
    world.listen()
    connect = world.connect("-L", f"[::1]:0:[::1]:{echo6.port}")
    line = connect.wait_line(r"^tunnel 1: \[::1\]:(\d+) -> \[::1\]:(\d+)$")
    assert int(line.group(2)) == echo6.port
    with dial(int(line.group(1)), "::1") as c:
        c.sendall(b"six")
        assert receive_exactly(c, 3) == b"six"


def test_destination_by_name(world, echo_server):
    """The listener resolves the name, not the sender."""
    world.relay()
    world.listen()
    _, port = world.tunnel(echo_server.port, "localhost")
    with dial(port) as c:
        c.sendall(b"named")
        assert receive_exactly(c, 5) == b"named"


def test_local_unix_socket(world, echo_server, tmp_path):
    """A tunnel that listens on a unix socket; the file is gone afterwards."""
    path = tmp_path / "tunnel.socket"
    world.relay()
    world.listen()
    connect = world.connect("-L", f"socket:{path}=127.0.0.1:{echo_server.port}")
    connect.wait_line(r"^tunnel 1: ")
    with socket.socket(socket.AF_UNIX) as c:
        c.connect(str(path))
        c.sendall(b"unix")
        assert receive_exactly(c, 4) == b"unix"
    assert connect.stop() == 0
    assert not path.exists()


def test_unix_destination_by_default_target(world, server, tmp_path):
    """The listener's own default target may be a unix socket."""
    path = tmp_path / "service.socket"
    server(echo, family=socket.AF_UNIX, address=str(path))
    policy = tmp_path / "policy"
    world.relay()
    world.listen("--default-target", f"unix:{path}")
    assert policy or path  # the default target needs no policy file
    connect = world.connect("-L", "127.0.0.1:0:127.0.0.1:1")
    port = tunnel_port(connect)
    # A destination named by the sender goes before the default.
    with pytest.raises(ConnectionError):
        with dial(port) as c:
            assert c.recv(1) != b""


def test_several_tunnels_of_one_sender(world, server):
    """-L more than once."""
    servers = [server(lambda c, n=n: c.sendall(b"%d" % n)) for n in range(3)]
    world.relay()
    world.listen()
    argv = []
    for one in servers:
        argv += ["-L", f"127.0.0.1:0:127.0.0.1:{one.port}"]
    connect = world.connect(*argv)
    for number in range(3):
        with dial(tunnel_port(connect, number + 1)) as c:
            assert receive_all(c) == b"%d" % number


def test_two_listeners_share_a_path(world, echo_server):
    """Senders are spread over both; either may end without harm to the other."""
    world.relay()
    first = world.listen()
    second = world.listen()
    _, port = world.tunnel(echo_server.port)

    def once():
        with dial(port) as c:
            c.sendall(b"ping")
            return receive_exactly(c, 4) == b"ping"
    assert all(once() for _ in range(40))
    assert "connection closed" in first.output or "closed" in first.output
    assert first.stop() == 0
    assert all(once() for _ in range(10))
    assert second.stop() == 0


def test_an_ending_listener_lets_go_in_order(world, echo_server):
    """SIGTERM ends each role with status 0 and without complaint."""
    port = world.all(echo_server.port)
    with dial(port) as c:
        c.sendall(b"x")
        assert receive_exactly(c, 1) == b"x"
    for process in reversed(world.processes.all):
        assert process.stop() == 0, process.output
