# SPDX-License-Identifier: MIT
"""What a relay, a sender or a destination that means no good can do to the
hyco way: nothing wrong is ever delivered, secrets do not show, each fault has
its clear end, and the programs live on."""

import os
import contextlib
import re
import socket
import struct
import threading
import time

import pytest
from conftest import (PATIENCE, dial, receive_all, receive_exactly,
                      tunnel_port, wait_until)
from tools.hostile_relay import (ACK, BINARY, CLOSE, DATA, HELLO, PING, REFUSE,
                                 RESUME, RESUMED, TEXT, WELCOME, HostileRelay,
                                 Tamper, frame, websocket_frame)

MARKER = b"plaintext that no relay may see "
PIECE = MARKER * 32
MIB = 1 << 20
# What a process may grow by, whatever is sent to it; the sanitizers keep freed
# memory for a while.
ROOM = (512 if "asan" in os.environ.get("HYCO", "") else 64) * MIB
RANDOM = bytes(range(32))


@pytest.fixture
def rogue(world):
    """A hostile relay with a listener; senders go to it as well."""
    world.relay().stop()  # it has made keys and connection strings
    relay = HostileRelay(world.state)
    world.rogue = world.listen_link = world.connect_link = relay
    world.mode = "hyco"
    yield relay
    world.processes.finish()
    relay.close()


class Recorder:
    """An echo that remembers what each of its connections got."""

    def __init__(self, server):
        self.got = []
        self.port = server(self._serve).port

    def _serve(self, connection):
        mine = bytearray()
        self.got.append(mine)
        while data := connection.recv(65536):
            mine += data
            connection.sendall(data)


@pytest.fixture
def recorder(server):
    return Recorder(server)


def say(connection, data):
    """It comes back as it went."""
    connection.sendall(data)
    assert receive_exactly(connection, len(data)) == data


def is_fine(port, data=b"all is well"):
    with dial(port) as c:
        say(c, data)
        c.shutdown(socket.SHUT_WR)
        assert receive_all(c) == b""


def memory(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) * 1024


def send_until_reset(connection):
    """Goes on sending; gives what was sent and what came back until the end."""
    sent, got = bytearray(), bytearray()
    connection.settimeout(0.05)
    deadline = time.monotonic() + PATIENCE
    count = 0
    while time.monotonic() < deadline:
        count += 1
        piece = PIECE + b"%08d" % count
        try:
            sent += piece
            connection.sendall(piece)
            data = connection.recv(1 << 20)
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return bytes(sent), bytes(got)
        assert data, "it ended as if all were well"
        got += data
    raise AssertionError("the connection lives on")


# --- what it can read ---


def test_nothing_to_read(rogue, world, recorder):
    listen = world.listen()
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    for _ in range(3):
        is_fine(port, PIECE)
        rogue.cut()
        is_fine(port, PIECE)
    assert sender.stop() == 0
    listen.stop()
    seen = bytes(rogue.record) + b"".join(rogue.heads) + b"".join(rogue.control)
    assert len(rogue.record) > 12 * len(PIECE)
    for secret in (MARKER, world.PASSWORD.encode(), world.USER.encode(),
                   b"127.0.0.1:%d" % recorder.port):
        assert secret not in seen
    # This test can fail.
    assert b"hyco.tunnel.v1" in seen


def test_reads_without_encryption(rogue, world, recorder):
    """The record is one: with --no-e2e everything is in it."""
    world.listen("--no-e2e")
    _, port = world.tunnel(recorder.port, "127.0.0.1", "--no-e2e")
    is_fine(port, PIECE)
    assert PIECE in rogue.record


# --- what it can change ---


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("kind", Tamper.KINDS)
def test_data(rogue, world, recorder, kind, direction):
    listen = world.listen()
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    with dial(port) as c:
        say(c, PIECE)
        rogue.change = tamper = Tamper(direction, kind)
        sent, got = send_until_reset(c)
    assert tamper.fired.is_set()
    assert (PIECE + sent).startswith(bytes(recorder.got[0]))
    assert sent.startswith(got)
    if direction == "up":
        listen.wait_line(r"session closed .*end-to-end TLS with a sender.*"
                         r"something between \(the relay\?\) changed it")
    else:
        sender.wait_line(r"session lost .*end-to-end TLS with the listener.*"
                         r"something between \(the relay\?\) changed it")
    rogue.change = None
    is_fine(port)
    assert sender.process.poll() is None
    assert listen.process.poll() is None


HANDSHAKE = [(kind, direction, skip)
             for kind in ("flip", "replay", "inject", "lengthen")
             for direction in ("up", "down") for skip in (0, 1)]


@pytest.mark.parametrize("kind, direction, skip", HANDSHAKE)
def test_handshake(rogue, world, recorder, kind, direction, skip):
    listen = world.listen()
    rogue.change = tamper = Tamper(direction, kind, skip)
    sender = world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new")
    assert sender.wait() in (1, 3, 4)
    assert tamper.fired.is_set()
    assert re.search(r"^hyco connect: (end-to-end TLS with the listener|"
                     r"the listener refused the session)", sender.text("err"),
                     re.M)
    assert "tunnel 1" not in sender.output
    assert recorder.got == []
    assert listen.process.poll() is None
    rogue.change = None
    _, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    is_fine(port)


def test_handshake_withheld(rogue, world, recorder):
    """What is missing without a trace has a deadline; all at the same time,
    since that is long."""
    plans = [("drop", "up", 0), ("drop", "up", 1), ("drop", "down", 0),
             ("truncate", "up", 0), ("truncate", "down", 0),
             ("truncate", "down", 1), ("reorder", "up", 0),
             ("drop", "down", 1), ("truncate", "up", 1),
             ("reorder", "down", 0)]
    tampers = [Tamper(direction, kind, skip) for kind, direction, skip in plans]
    listen = world.listen()
    first = {}

    def change(carrier, direction, kind, payload):
        if carrier not in first:
            first[carrier] = len(first)
        if first[carrier] >= len(tampers):
            return [frame(kind, payload)]
        return tampers[first[carrier]](carrier, direction, kind, payload)

    rogue.change = change
    senders = [world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new")
               for _ in plans]
    for sender in senders:
        assert sender.wait(2 * PATIENCE) in (1, 4)
        assert re.search(r"did not answer within|end-to-end TLS",
                         sender.text("err"))
        assert "tunnel 1" not in sender.output
    assert recorder.got == []
    assert listen.process.poll() is None
    rogue.change = None
    _, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    is_fine(port)


def test_delay(rogue, world, recorder):
    """Late is not wrong."""
    world.listen()
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    with dial(port) as c:
        for direction in ("up", "down"):
            rogue.change = tamper = Tamper(direction, "delay")
            say(c, PIECE)
            assert tamper.fired.is_set()
    assert "lost" not in sender.output


BAD = {
    "flags": frame(PING, bytes(8), flags=1),
    "type": frame(99, b"what is this"),
    "ack": frame(ACK, b"\x7f" + bytes(7)),
    "short": frame(PING, b"1234567"),
    "empty": frame(DATA),
    "hello": frame(HELLO, b"\x01\x01" + bytes(16) + RANDOM + b"\0\x78\0\x10\0\0"),
    "welcome": frame(WELCOME, b"\x01\x01" + RANDOM + b"\0\x78\0\x10\0\0"),
    "resume": frame(RESUME, b"\x01\0" + bytes(92)),
    "resumed": frame(RESUMED, bytes(44)),
    "refuse": frame(REFUSE, b"\x01\x91no"),
    "text": "a word",
}


class Insert:
    """Puts something before the next frame of a direction, `times` times on
    as many carriers."""

    def __init__(self, direction, what, times=1):
        self.direction = direction
        self.what = what
        self.left = times
        self.done = set()

    def __call__(self, carrier, direction, kind, payload):
        if (direction != self.direction or self.left == 0 or
                carrier in self.done or kind not in (DATA, ACK, PING)):
            return [frame(kind, payload)]
        self.done.add(carrier)
        self.left -= 1
        return [self.what, frame(kind, payload)]


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("name", BAD)
def test_session_frames(rogue, world, recorder, name, direction):
    """A broken carrier is left; what it carried goes on over the next."""
    world.listen()
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    with dial(port) as c:
        say(c, PIECE)
        rogue.change = Insert(direction, BAD[name])
        say(c, PIECE)
        sender.wait_line(r"resumed path")
        say(c, PIECE)
    assert rogue.change.left == 0
    assert bytes(recorder.got[0]) == 3 * PIECE


@pytest.mark.parametrize("direction", ["up", "down"])
def test_session_frames_for_ever(rogue, world, recorder, direction):
    """Each carrier broken: an end within the window, after few carriers."""
    world.listen("--resume-window", "5")
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new",
                                "--resume-window", "5")
    with dial(port) as c:
        say(c, PIECE)
        rogue.change = Insert(direction, BAD["type"], 1000)
        sent, got = send_until_reset(c)
    assert sent.startswith(got)
    assert len(rogue.carriers) < 60
    sender.wait_line(r"session lost .*reason=\S+")
    rogue.change = None
    is_fine(port)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_forged_close(rogue, world, recorder, direction):
    """Anybody on the way can end a session, but not as if all were well."""
    world.listen()
    _, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    for code in (0, 2):
        with dial(port) as c:
            say(c, PIECE)
            rogue.change = Insert(direction, frame(CLOSE, bytes([0, code]) + b"bye"))
            sent, got = send_until_reset(c)
            assert sent.startswith(got)
        rogue.change = None
        is_fine(port)


# --- resuming ---


def refusal(peer):
    """The code of the REFUSE that comes, with which it is over."""
    found = peer.next(REFUSE)
    assert found is not None, "no REFUSE"
    assert peer.wait_end() == []
    return struct.unpack(">H", found[1][:2])[0]


def test_replayed_resume(rogue, world, recorder):
    world.listen()
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    with dial(port) as c:
        say(c, PIECE)
        rogue.cut()
        say(c, PIECE)
        hello = rogue.seen("up", HELLO)[0]
        resume = rogue.seen("up", RESUME)[0]
        first = [frame(*one) for one in rogue.carriers[0].seen["up"]]
        stranger = resume[:2] + bytes(16) + resume[18:]
        later = resume[:18] + b"\0\0\0\x09" + resume[22:]
        for code, data in ((409, frame(RESUME, resume)),
                           (409, frame(HELLO, hello)),
                           (409, b"".join(first)),
                           (421, frame(RESUME, stranger)),
                           (401, frame(RESUME, later)),
                           (401, frame(RESUME, resume[:-1] + b"\0"))):
            peer = rogue.visit()
            peer.send(data)
            assert refusal(peer) == code
            say(c, PIECE)
        resumes = len(rogue.seen("up", RESUME))
    assert bytes(recorder.got[0]) == 8 * PIECE
    # Nothing of it harmed the carrier.
    assert resumes == 1
    assert sender.output.count("resumed path") == 1


def forge(carrier, direction, kind, payload):
    if kind != RESUMED:
        return [frame(kind, payload)]
    return [frame(kind, payload[:-32] + bytes(32))]


def test_forged_resumed(rogue, world, recorder):
    """Neither one of the relay's own nor the last time's."""
    world.listen()
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")

    def stale(carrier, direction, kind, payload):
        return [frame(kind, old if kind == RESUMED else payload)]

    with dial(port) as c:
        say(c, PIECE)
        for count, change in enumerate((None, forge, stale), start=1):
            rogue.change = change
            rogue.cut()
            if change:
                rogue.wait_for(
                    lambda n=count: len(rogue.seen("down", RESUMED)) > 2 * n)
                assert sender.output.count("resumed path") == count - 1
            rogue.change = None
            say(c, PIECE)
            sender.wait_line(r"resumed path", count=count)
            old = rogue.seen("down", RESUMED)[-1]
    assert bytes(recorder.got[0]) == 4 * PIECE


def test_forged_resumed_for_ever(rogue, world, recorder):
    world.listen("--resume-window", "4")
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new",
                                "--resume-window", "4")
    with dial(port) as c:
        say(c, PIECE)
        rogue.change = forge
        rogue.cut()
        sent, got = send_until_reset(c)
    assert sent.startswith(got)
    sender.wait_line(r"session lost .*without the session's proof")
    assert len(rogue.carriers) < 60
    rogue.change = None
    is_fine(port)


# --- another in the listener's place ---


def test_swapped_listener(rogue, world, recorder):
    """A man in the middle has an identity of his own."""
    world.listen()
    other = world.listen("--identity", world.folder / "other")
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    is_fine(port)
    assert sender.stop() == 0
    rogue.route = 1
    sender = world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new")
    assert sender.wait() == 3
    assert "shows another identity than before" in sender.text("err")
    assert "known_listeners" in sender.text("err")
    assert "session opened" not in other.output  # so no password went there
    assert world.PASSWORD.encode() not in rogue.record


def test_swapped_while_open(rogue, world, recorder):
    """A session is only ever resumed by its own listener; how often others are
    asked is bounded."""
    world.listen()
    world.listen("--identity", world.folder / "other")
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    with dial(port) as c:
        say(c, PIECE)
        rogue.route = 1
        rogue.cut()
        rogue.wait_for(lambda: len(rogue.seen("down", REFUSE)) >= 3)
        rogue.route = 0
        say(c, PIECE)
        sender.wait_line(r"resumed path")
    assert bytes(recorder.got[0]) == 2 * PIECE


def test_misdirected_for_ever(rogue, world, recorder):
    world.listen("--resume-window", "5")
    world.listen("--resume-window", "5", "--identity", world.folder / "other")
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new",
                                "--resume-window", "5")
    with dial(port) as c:
        say(c, PIECE)
        rogue.route = 1
        rogue.cut()
        sent, got = send_until_reset(c)
    assert sent.startswith(got)
    refused = rogue.seen("down", REFUSE)
    assert all(payload.startswith(b"\x01\xa5") for payload in refused)
    assert 1 <= len(refused) <= 45
    sender.wait_line(r"session lost .*refused the session \(421\)")
    rogue.route = 0
    is_fine(port)


# --- without encryption ---


def strip(*kinds):
    """A relay that claims that the other side wants no encryption."""
    def change(carrier, direction, kind, payload):
        if kind in kinds:
            payload = payload[:1] + bytes([payload[1] & ~1]) + payload[2:]
        return [frame(kind, payload)]
    return change


@pytest.mark.parametrize("kinds", [(HELLO,), (WELCOME,), (HELLO, WELCOME)])
def test_downgrade(rogue, world, recorder, kinds):
    listen = world.listen()
    rogue.change = strip(*kinds)
    sender = world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new")
    assert sender.wait() in (1, 3, 4)
    assert re.search(r"--no-e2e on one side only|a WELCOME that does not fit",
                     sender.text("err"))
    assert "session opened" not in listen.output
    assert world.PASSWORD.encode() not in rogue.record


def test_downgrade_to_sample(rogue, world, recorder):
    """A relay that claims that a known listener speaks only the sample way."""
    world.listen()
    world.mode = "auto"
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    is_fine(port)
    assert sender.stop() == 0
    rogue.refusal = "400 Rejected by user code"
    sender = world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new")
    assert sender.wait() == 3
    assert "cannot prove who it is" in sender.text("err")
    rogue.refusal = None
    rogue.protocol = False
    sender = world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new")
    assert sender.wait() in (3, 4)
    assert "without the subprotocol" in sender.text("err")
    assert world.PASSWORD.encode() not in rogue.record
    assert len(recorder.got) == 1


@pytest.mark.parametrize("side", ["sender", "listener"])
def test_no_e2e_on_one_side(rogue, world, recorder, side):
    world.listen(*(["--no-e2e"] if side == "listener" else []))
    sender = world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new",
                           *(["--no-e2e"] if side == "sender" else []))
    assert sender.wait() in (1, 3, 4)
    assert "--no-e2e on one side only" in sender.text("err")
    assert world.PASSWORD.encode() not in rogue.record


# --- too much ---

HELLO_FRAME = frame(HELLO, b"\x01\x01" + b"an id of 16 byte" + RANDOM +
                    b"\0\x78\x01\0\0\0")
WELCOME_FRAME = frame(WELCOME, b"\x01\x01" + RANDOM + b"\0\x78\x01\0\0\0")


def flood(peer, pieces):
    """Goes on until the other side is gone or all is said."""
    for piece in pieces:
        peer.send_raw(piece)
        if not peer.frames.empty() and peer.frames.queue[-1] is None:
            return


def floods():
    data = websocket_frame(BINARY, frame(DATA, bytes(65000)))
    return {
        "lie": [websocket_frame(BINARY, b"", length=1 << 62)] + [bytes(MIB)] * 128,
        "huge": [websocket_frame(BINARY, bytes(128 * MIB))],
        "data": [data] * 2000,
        "pings": [websocket_frame(BINARY, frame(PING, bytes(8)) * 5000)] * 100,
        "websocket pings": [websocket_frame(9, bytes(125)) * 500] * 100,
        "fragments": [websocket_frame(BINARY, b"", fin=False)] +
                     [websocket_frame(0, b"", fin=False) * 5000] * 100,
        "text": [websocket_frame(TEXT, b"", length=1 << 40)] + [bytes(MIB)] * 64,
    }


@pytest.mark.parametrize("name", floods())
def test_flooded_listener(rogue, world, recorder, name):
    listen = world.listen()
    _, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    is_fine(port)
    before = memory(listen)
    for greeting in (b"", HELLO_FRAME):
        peer = rogue.visit()
        if greeting:
            peer.send(greeting)
        flood(peer, floods()[name])
        is_fine(port)
        peer.close()
        peer.wait_end()
    assert memory(listen) - before < ROOM
    is_fine(port)


@pytest.mark.parametrize("name", floods())
def test_flooded_sender(rogue, world, recorder, name):
    world.listen()
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    is_fine(port)
    before = memory(sender)
    carrier = rogue.carriers[-1]
    with contextlib.suppress(OSError):
        for piece in floods()[name]:
            rogue.run(carrier.ends["up"][0].send_raw(piece))
    rogue.cut()
    is_fine(port)
    assert memory(sender) - before < ROOM


def test_flooded_at_first(rogue, world, recorder):
    """By something that never says who it is."""
    world.listen()
    rogue.capture = True
    sender = world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new")
    peer = rogue.peers.get(timeout=PATIENCE)
    peer.send(WELCOME_FRAME)
    flood(peer, floods()["data"])
    assert sender.wait() == 4
    assert "end-to-end TLS with the listener" in sender.text("err")


def test_endless_head(rogue, world, recorder):
    """The answer to the handshake has an end, or none that hyco waits for."""
    world.listen()
    rogue.refusal = "101 Hello\r\nX: " + "x" * 32 * MIB
    sender = world.connect("-L", f"0:127.0.0.1:{recorder.port}", "--accept-new")
    assert sender.wait() in (1, 4)
    assert "relay localhost" in sender.text("err")
    rogue.refusal = None
    sender, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    with dial(port) as c:
        say(c, PIECE)
        before = memory(sender)
        heads = len(rogue.heads)
        rogue.refusal = "101 Hello\r\nX: " + "x" * 32 * MIB
        rogue.cut()
        wait_until(lambda: len(rogue.heads) >= heads + 3, "three more dials")
        rogue.refusal = None
        say(c, PIECE)
    assert memory(sender) - before < ROOM / 4


def test_flooded_control_channel(rogue, world, recorder):
    listen = world.listen()
    before = memory(listen)
    for number, data in enumerate((
            websocket_frame(TEXT, b"", length=1 << 40) + bytes(16 * MIB),
            websocket_frame(TEXT, b'{"accept":{"address":"' + b"x" * 8 * MIB),
            b"\xff" * 64), start=1):
        one = rogue.listeners[-1]
        try:
            rogue.run(one.send_raw(data))
        except OSError:
            pass
        rogue.run(abort(one))
        rogue.wait_for(lambda n=number: len(rogue.listeners) > n)
        rogue.route = -1
    assert memory(listen) - before < ROOM
    _, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    is_fine(port)


async def abort(socket_of_relay):
    socket_of_relay.abort()


# --- hostile senders, which the relay lets through ---

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OPEN_HELLO = frame(HELLO, b"\x01\0" + b"an id of 16 byte" + RANDOM +
                   b"\0\x78\x01\0\0\0")


def http2(kind, payload=b"", flags=0, stream=0, length=None):
    length = len(payload) if length is None else length
    return (length.to_bytes(3, "big") + bytes([kind, flags]) +
            stream.to_bytes(4, "big") + payload)


SETTINGS = http2(4)
HTTP2 = {
    "no preface": b"GET / HTTP/1.1\r\nHost: there\r\n\r\n",
    "oversized": PREFACE + SETTINGS + http2(0, length=0xffffff, stream=1),
    "hpack": PREFACE + SETTINGS + http2(1, b"\xff" * 40, 4, 1),
    "even stream": PREFACE + SETTINGS + http2(1, b"\x82", 4, 2),
    "data on idle": PREFACE + SETTINGS + http2(0, b"data", 0, 5),
    "settings flood": PREFACE + SETTINGS * 5000,
    "ping flood": PREFACE + SETTINGS + http2(6, bytes(8)) * 5000,
    "continuations": PREFACE + SETTINGS + http2(1, b"\x82", 0, 1) +
                     http2(9, b"", 0, 1) * 5000,
    "window": PREFACE + SETTINGS + http2(8, b"\x7f\xff\xff\xff") * 2,
    "push": PREFACE + SETTINGS + http2(5, bytes(8), 4, 1),
}


@pytest.mark.parametrize("name", HTTP2)
def test_broken_http2(rogue, world, recorder, name):
    """The end of that session, by name, and of nothing else."""
    listen = world.listen("--no-e2e")
    _, port = world.tunnel(recorder.port, "127.0.0.1", "--no-e2e")
    with dial(port) as c:
        say(c, PIECE)
        peer = rogue.visit()
        data = HTTP2[name]
        peer.send(OPEN_HELLO)
        assert peer.next()[0] == WELCOME
        for at in range(0, len(data), 8192):
            peer.send(frame(DATA, data[at:at + 8192]))
        found = peer.next(CLOSE)
        assert found is not None and found[1][:2] == b"\0\x01"
        peer.wait_end()
        say(c, PIECE)
    listen.wait_line(r'session closed session=2 .*reason="the other side ')
    is_fine(port)


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\n\r\n" * 8, frame(DATA, b"too early"), frame(HELLO),
    frame(HELLO, b"\x02" + HELLO_FRAME[5:]), frame(WELCOME, bytes(40)),
    HELLO_FRAME + HELLO_FRAME, frame(CLOSE, b"\0\0"), frame(ACK, bytes(8)),
    HELLO_FRAME + frame(DATA, b"this is no TLS record at all")],
    ids=["http", "data", "short", "version", "welcome", "twice", "close", "ack",
         "no tls"])
def test_broken_greeting(rogue, world, recorder, data):
    world.listen()
    _, port = world.tunnel(recorder.port, "127.0.0.1", "--accept-new")
    with dial(port) as c:
        say(c, PIECE)
        peer = rogue.visit()
        peer.send(data)
        peer.wait_end()
        say(c, PIECE)
    is_fine(port)


# --- hostile destinations ---


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                          struct.pack("ii", 1, 0))


def test_destination_resets(rogue, world, recorder, server):
    world.listen()

    def garbage(connection):
        connection.sendall(b"\0\xff" * 5000)
        connection.recv(1)
        reset(connection)

    for handle in (reset, garbage):
        bad = server(handle)
        _, port = world.tunnel(bad.port, "127.0.0.1", "--accept-new", "-L",
                               f"0:127.0.0.1:{recorder.port}")
        fine = tunnel_port(world.processes.all[-1], 2)
        with dial(fine) as other:
            say(other, PIECE)
            for _ in range(20):
                with pytest.raises((ConnectionResetError, BrokenPipeError)), \
                        dial(port) as c:
                    c.sendall(b"x")
                    while c.recv(65536):
                        pass
                    raise AssertionError("it ended as if all were well")
            say(other, PIECE)


def test_destination_never_reads(rogue, world, recorder, server):
    over = threading.Event()
    bad = server(lambda connection: over.wait(2 * PATIENCE))
    listen = world.listen("--memory", "16")
    sender, port = world.tunnel(bad.port, "127.0.0.1", "--accept-new",
                                "--memory", "16", "-L",
                                f"0:127.0.0.1:{recorder.port}")
    fine = tunnel_port(sender, 2)
    is_fine(fine)
    before = memory(listen), memory(sender)
    stuck = [dial(port) for _ in range(4)]
    for c in stuck:
        c.settimeout(1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 256 * MIB:
                sent += c.send(bytes(MIB))
        is_fine(fine)
    assert memory(listen) - before[0] < ROOM
    assert memory(sender) - before[1] < ROOM
    for c in stuck:
        c.close()
    over.set()
    is_fine(fine)


def test_destination_never_stops(rogue, world, recorder, server):
    """Nor does it, and nobody reads what it says."""
    def talk(connection):
        connection.settimeout(2 * PATIENCE)
        while True:
            connection.sendall(bytes(MIB))

    bad = server(talk)
    listen = world.listen("--memory", "16")
    sender, port = world.tunnel(bad.port, "127.0.0.1", "--accept-new",
                                "--memory", "16", "-L",
                                f"0:127.0.0.1:{recorder.port}")
    fine = tunnel_port(sender, 2)
    is_fine(fine)
    before = memory(listen), memory(sender)
    stuck = [dial(port) for _ in range(4)]
    for c in stuck:
        assert receive_exactly(c, MIB) == bytes(MIB)
    for _ in range(20):
        is_fine(fine, PIECE)
    assert memory(listen) - before[0] < ROOM
    assert memory(sender) - before[1] < ROOM
    for c in stuck:
        c.close()
    is_fine(fine)
