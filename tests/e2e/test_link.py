# SPDX-License-Identifier: MIT
"""Long and narrow links: first the link of tests/tools itself, then tunnels
over it. What is asserted are ratios within one run, never absolute times."""

import contextlib
import hashlib
import select
import socket
import threading
import time

import pytest
from conftest import (MODE_OPTIONS, MODES, PATIENCE, dial, echo, receive_all,
                      receive_exactly, wait_until)

MIB = 1 << 20


def sink(connection):
    """Swallows until the end, then tells how many bytes that were."""
    total = 0
    buffer = bytearray(MIB)
    while got := connection.recv_into(buffer):
        total += got
    connection.sendall(b"%d" % total)


def source(connection):
    """Sends as many bytes as the line that comes asks for."""
    count = int(connection.makefile("rb").readline())
    block = bytes(MIB)
    while count > 0:
        connection.sendall(block[:count])
        count -= MIB


def upload(port, count):
    """Seconds until the far side has it all."""
    began = time.monotonic()
    with dial(port) as c:
        block = bytes(MIB)
        for _ in range(count // MIB):
            c.sendall(block)
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b"%d" % count
    return time.monotonic() - began


def download(port, count):
    began = time.monotonic()
    with dial(port) as c:
        c.sendall(b"%d\n" % count)
        total = 0
        buffer = bytearray(MIB)
        while got := c.recv_into(buffer):
            total += got
        assert total == count
    return time.monotonic() - began


def round_trip(port, turns=5):
    """The quickest of some echoes on one connection, in seconds."""
    best = PATIENCE
    with dial(port) as c:
        c.sendall(b"x")
        receive_exactly(c, 1)
        for _ in range(turns):
            began = time.monotonic()
            c.sendall(b"x")
            receive_exactly(c, 1)
            best = min(best, time.monotonic() - began)
    return best


# --- the link itself


def test_link_carries_bytes_and_ends(link, server):
    """Bulk both ways, a half-close and the answer behind it, and a reset."""
    one = link(server(echo).port)
    data = bytes(range(256)) * (8 * MIB // 256)
    with dial(one.port) as c:
        thread = threading.Thread(
            target=lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
        thread.start()
        assert receive_all(c) == data
        thread.join()
    two = link(server(lambda c: c.recv(1)).port)  # closes with unread data
    with dial(two.port) as c:
        c.sendall(b"xy")
        with pytest.raises(ConnectionResetError):
            assert c.recv(1) != b""
    wait_until(lambda: one.stats["live"] == two.stats["live"] == 0, "all ended")
    stats = one.stats
    assert stats["up"] == stats["down"] == len(data)
    assert stats["buffered"] == 0


@pytest.mark.long
def test_link_delay(link, echo_server):
    """Both directions add theirs; twice the delay is twice the round trip."""
    one = link(echo_server.port)
    plain = round_trip(one.port)
    one("delay 20")
    single = round_trip(one.port)
    one("delay 40")
    double = round_trip(one.port)
    assert single > 3 * plain
    assert 1.7 < (double - plain) / (single - plain) < 2.3
    one("delay 0 up")
    assert 0.7 < (round_trip(one.port) - plain) / (single - plain) < 1.3


@pytest.mark.long
def test_link_rate(link, server):
    """Four times the rate, a quarter of the time; each direction by itself; and
    several connections share it."""
    up, down = server(sink), server(source)
    one, two = (link(s.port, "rate 100") for s in (up, down))
    slow = upload(one.port, 4 * MIB)
    one("rate 400 up")
    assert 3 < slow / upload(one.port, 4 * MIB) < 5
    assert 0.75 < download(two.port, 4 * MIB) / slow < 1.33
    two("rate 0 down")
    assert download(two.port, 4 * MIB) < slow / 2
    one("rate 100 up")
    began = time.monotonic()
    threads = [threading.Thread(target=upload, args=(one.port, 2 * MIB))
               for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.75 < (time.monotonic() - began) / slow < 1.33


def test_link_queue_bounds_what_it_holds(link, server):
    """A reader that stops, stops the writer."""
    go = threading.Event()

    def late(c):
        go.wait(PATIENCE)
        sink(c)
    one = link(server(late).port, "queue 1000000")
    with dial(one.port) as c:
        c.setblocking(False)
        sent = 0
        while select.select([], [c], [], 0.3)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += c.send(bytes(65536))
        assert one.stats["buffered"] > 500000
        c.settimeout(PATIENCE)
        go.set()
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b"%d" % sent
    assert one.stats["buffered_peak"] < 1000000 + 2 * 262144


def test_link_cuts(link, echo_server):
    """Every kind of cut does what it says, to those it is meant for."""
    one = link(echo_server.port)

    def opened():
        c = dial(one.port)
        c.sendall(b"x")
        assert receive_exactly(c, 1) == b"x"
        return c
    first, second = opened(), opened()
    assert one("rst newest") == "1"
    with pytest.raises(ConnectionResetError):
        assert second.recv(1) != b""
    assert one("fin oldest") == "1"
    assert first.recv(1) == b""
    held = opened()
    one("hole")
    held.sendall(b"y")
    late = dial(one.port)
    late.sendall(b"z")
    for c in (held, late):
        c.settimeout(0.3)
        with pytest.raises(TimeoutError):
            c.recv(1)
        c.settimeout(PATIENCE)
    one("resume")
    assert receive_exactly(held, 1) == b"y" and receive_exactly(late, 1) == b"z"
    one("lose oldest")
    one("resume")
    held.sendall(b"y")
    held.settimeout(0.3)
    with pytest.raises(TimeoutError):
        held.recv(1)
    one("refuse")
    with pytest.raises(ConnectionRefusedError):
        dial(one.port)
    one("admit")
    opened().close()
    one("after 100 rst")
    late.sendall(bytes(60))
    with pytest.raises(ConnectionResetError):
        while late.recv(100):
            pass
    wait_until(lambda: one.fired() == 1, "the bytes have passed")
    one("in 1 refuse")
    wait_until(lambda: one.fired() == 2, "the time has passed")
    for c in (first, second, held, late):
        c.close()


# --- tunnels over it

# the part of what one plain TCP connection gets over the same link
GOALS = {"sample": 0.8, "hyco": 0.9}
RESIDENT_MAX_MIB = 160


def meter(connection):
    """Takes lines "up BYTES" and "down BYTES", one after the other: swallows
    so many and says so, or sends them."""
    block = bytes(MIB)
    buffer = bytearray(MIB)
    file = connection.makefile("rb", buffering=0)
    while line := file.readline():
        direction, count = line.split()
        count = int(count)
        while count > 0:
            if direction == b"up":
                count -= connection.recv_into(buffer, min(count, MIB))
            else:
                connection.sendall(block[:count])
                count -= MIB
        if direction == b"up":
            connection.sendall(b".")


def measure(c, direction, count):
    """Seconds for that many bytes on an open connection."""
    block = bytes(MIB)
    buffer = bytearray(MIB)
    began = time.monotonic()
    c.sendall(b"%s %d\n" % (direction.encode(), count))
    left = count if direction == "down" else 1
    for at in range(0, count if direction == "up" else 0, MIB):
        c.sendall(block[:count - at])
    while left > 0:
        got = c.recv_into(buffer, min(left, MIB))
        assert got > 0, "ended early"
        left -= got
    return time.monotonic() - began


def resident_mib(process):
    with open(f"/proc/{process.pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


@pytest.mark.long
@pytest.mark.parametrize("rate, round_trip_ms", [
    (100, 20), (100, 100), (100, 300), (1000, 20), (1000, 100)])
@pytest.mark.parametrize("mode", MODES)
def test_one_connection_fills_a_long_link(request, world, server, link, mode,
                                          rate, round_trip_ms):
    """Sender -- long link -- relay, listener beside it. What counts is the pace
    of a connection that has opened its windows; no process may grow beyond its
    bound meanwhile."""
    if (mode, rate, round_trip_ms) == ("hyco", 100, 300):
        request.applymarker(pytest.mark.xfail(
            reason="a channel's window settles too low on this link; seen at "
                   "40 to 90 % of plain TCP", strict=False))
    second = rate * 125000
    warm_up = max(second, second * round_trip_ms * 10 // 1000)
    shape = (f"delay {round_trip_ms / 2}", f"rate {rate}")
    destination = server(meter)
    relay = world.relay()
    listen = world.listen()
    world.connect_link = link(world.port, *shape)
    connect, port = world.tunnel(destination.port, "127.0.0.1",
                                 *MODE_OPTIONS[mode])
    shares = {"up": [], "down": []}
    with dial(port) as tunnelled, dial(link(destination.port,
                                            *shape).port) as plain:
        for direction, found in shares.items():
            for c in (tunnelled, plain):
                measure(c, direction, warm_up)
            for _ in range(3):
                found.append(measure(plain, direction, second) /
                             measure(tunnelled, direction, second))
    shares = {direction: sorted(found)[1] for direction, found in shares.items()}
    memory = {p.name: resident_mib(p) for p in (relay, listen, connect)}
    print(f"\n{mode}, {rate} Mbit/s, {round_trip_ms} ms: "
          f"{shares['up']:.0%} up, {shares['down']:.0%} down of plain TCP; "
          + ", ".join(f"{n} {m:.0f} MiB" for n, m in memory.items()))
    assert min(shares.values()) >= GOALS[mode], shares
    assert max(memory.values()) < RESIDENT_MAX_MIB, memory


@pytest.mark.parametrize("mode", MODES)
def test_bytes_over_a_long_link_are_right(world, server, link, mode):
    """A hash there, and back, with both ends behind links of their own."""
    data = hashlib.sha256(b"seed").digest() * (2 * MIB // 32)
    world.relay()
    shape = ("delay 10", "rate 200")
    world.listen_link = link(world.port, *shape)
    world.connect_link = link(world.port, *shape)
    world.listen()
    _, port = world.tunnel(server(echo).port, "127.0.0.1", *MODE_OPTIONS[mode])
    with dial(port) as c:
        thread = threading.Thread(
            target=lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
        thread.start()
        assert receive_all(c) == data
        thread.join()
    assert world.listen_link.stats["accepted"] >= 2
    assert world.connect_link.stats["up"] > len(data)
