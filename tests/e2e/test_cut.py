# SPDX-License-Identifier: MIT
"""Connections survive their carrier: hashed transfers both ways and an
interactive ssh go on while what carries them is cut at seeded moments.

The defaults are small. The full size, about an hour:

    HYCO_CUT_TRANSFERS=200 HYCO_CUT_MIB=64 HYCO_CUTS=2000 \\
        python3 -m pytest -s tests/e2e/test_cut.py

HYCO_CUT_SEED repeats a run's moments and kinds; each run prints its own."""

import collections
import getpass
import os
import random
import subprocess
import threading
import time

import pytest
from conftest import (MODE_OPTIONS, MODES, PATIENCE, dial, need,
                      receive_exactly, tunnel_port)
from test_programs import sshd  # noqa: F401 (a fixture)

MIB = 1 << 20
PIECE = 65536


def number(name, default):
    return int(os.environ.get(name, default))


TRANSFERS = number("HYCO_CUT_TRANSFERS", 10)
SIZE = number("HYCO_CUT_MIB", 4) * MIB
CUTS = number("HYCO_CUTS", 20)
SEED = number("HYCO_CUT_SEED", 21)
AT_ONCE = min(TRANSFERS, 8)
LONGEST = 600  # seconds a transfer may last before it counts as hung


class Stream:
    """Bytes that can be made and checked at every place without keeping them:
    pieces of one random block, each from another offset of it."""

    def __init__(self, seed):
        self.block = memoryview(random.Random(seed).randbytes(MIB + PIECE))

    def piece(self, at, size):
        start = (at // PIECE * 7919) % MIB
        return self.block[start:start + size]

    def wrong(self, at, data):
        """How many of these bytes are not what belongs there."""
        want = self.piece(at, len(data))
        if data == want:
            return 0
        return sum(a != b for a, b in zip(data, want, strict=True))


class Tally:
    """What all transfers together have seen."""

    def __init__(self):
        self.lock = threading.Lock()
        self.done = self.bytes = self.wrong = 0
        self.stall = 0.0
        self.lost = []

    def add(self, **more):
        with self.lock:
            for name, value in more.items():
                if name == "stall":
                    self.stall = max(self.stall, value)
                else:
                    setattr(self, name, getattr(self, name) + value)


def send_stream(connection, stream, size, pace):
    wait = threading.Event()
    for at in range(0, size, PIECE):
        connection.sendall(stream.piece(at, min(PIECE, size - at)))
        if pace:
            wait.wait(pace)


def check_stream(connection, stream, size, tally):
    at = 0
    while at < size:
        began = time.monotonic()
        data = receive_exactly(connection, min(PIECE, size - at))
        tally.add(stall=time.monotonic() - began, bytes=len(data),
                  wrong=stream.wrong(at, data))
        at += len(data)


def serve(connection, tally):
    """Takes a line "SEED SIZE PACE DIRECTION" and does its part."""
    connection.settimeout(LONGEST)
    line = b""
    while not line.endswith(b"\n"):
        line += receive_exactly(connection, 1)
    seed, size, pace, direction = line.split()
    stream, size, pace = Stream(int(seed)), int(size), float(pace)
    if direction == b"up":
        check_stream(connection, stream, size, tally)
    else:
        send_stream(connection, stream, size, pace)
    connection.sendall(b"end")
    assert connection.recv(1) == b"", "more than was sent"


def transfer(port, seed, tally):
    """One connection; every second one the other way, every third one slow."""
    direction = ("up", "down")[seed % 2]
    pace = 0.02 if seed % 3 == 0 else 0
    stream = Stream(seed)
    with dial(port) as c:
        c.settimeout(LONGEST)
        c.sendall(f"{seed} {SIZE} {pace} {direction}\n".encode())
        if direction == "up":
            send_stream(c, stream, SIZE, pace)
        else:
            check_stream(c, stream, SIZE, tally)
        assert receive_exactly(c, 3) == b"end"


def keep_transferring(port, numbers, is_over, tally):
    while not is_over():
        seed = next(numbers)
        try:
            transfer(port, seed, tally)
        except (OSError, AssertionError) as error:
            tally.add(lost=[f"transfer {seed}: {error!r}"])
        tally.add(done=1)


class Typist:
    """An ssh on which somebody types: each line comes back before the next."""

    def __init__(self, port, folder, known):
        self.process = subprocess.Popen(
            [need("ssh"), "-T", "-i", folder / "user", "-F", "none", "-o",
             "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={known}",
             "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-p", str(port),
             f"{getpass.getuser()}@127.0.0.1", "cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.stall = 0.0
        self.lines = 0
        self.fault = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._type)
        self.thread.start()

    def _type(self):
        while not self.over.wait(0.02) and self.fault is None:
            line = b"line %d\n" % self.lines
            began = time.monotonic()
            try:
                self.process.stdin.write(line)
                self.process.stdin.flush()
                back = self.process.stdout.readline()
            except OSError as error:
                self.fault = f"ssh: {error!r}"
                return
            if back != line:
                self.fault = f"ssh: {back!r} in place of {line!r}"
            self.stall = max(self.stall, time.monotonic() - began)
            self.lines += 1

    def finish(self):
        self.over.set()
        self.thread.join(LONGEST)
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        if self.fault is None and status != 0:
            self.fault = f"ssh: exit status {status}"


class Cutter:
    """Cuts by turns of a seeded dice. Moments are counted in bytes that pass,
    so that they fall amid frames; where nothing passes, time decides."""

    def __init__(self, world, dice):
        self.world = world
        self.dice = dice
        self.links = {"sender": world.connect_link, "listener": world.listen_link}
        self.kinds = collections.Counter()

    def wait(self, most):
        threading.Event().wait(self.dice.uniform(0.01, most))

    def at_a_moment(self, link, command):
        fired = link.fired()
        link(f"after {self.dice.randrange(1, 2 * MIB)} {command}")
        deadline = time.monotonic() + 2
        while link.fired() == fired:
            if time.monotonic() > deadline:
                link("forget")
                link(command)
                return
            threading.Event().wait(0.005)

    def one(self):
        """rst, fin: the connection ends. hole: silence, then all goes on, or
        an RST after all. lose: silence for ever, found by the deadline."""
        side = self.dice.choice(sorted(self.links))
        link = self.links[side]
        kind = self.dice.choices(
            ("rst", "fin", "hole", "hole and rst", "lose", "control channel",
             "both sides", "relay killed"), (6, 5, 3, 3, 1, 2, 2, 1))[0]
        if kind in ("rst", "fin", "lose"):
            self.at_a_moment(link, f"{kind} all")
        elif kind.startswith("hole"):
            self.at_a_moment(link, "hole")
            self.wait(1)
            if kind == "hole and rst":
                link("rst")
            link("resume")
        elif kind == "control channel":
            side = "listener"
            self.links[side]("rst oldest")
        elif kind == "both sides":
            side = "both"
            for other in self.links.values():
                self.at_a_moment(other, self.dice.choice(("rst", "fin")))
        else:
            side = "relay"
            self.world.relay_process.kill()
            self.wait(1)
            self.world.relay()
        self.kinds[f"{kind} ({side})"] += 1
        self.wait(0.5)


@pytest.mark.skipif("hyco" not in MODES,
                    reason="only sessions of the way hyco survive their carrier")
@pytest.mark.long
def test_cut_carriers_lose_nothing(world, server, link, sshd, tmp_path):  # noqa: F811
    """Zero wrong bytes, zero lost connections; the longest stall is printed."""
    dice = random.Random(SEED)
    tally = Tally()
    destination = server(lambda c: serve(c, tally))
    ssh_port, keys = sshd
    world.relay()
    world.listen_link = link(world.port)
    world.connect_link = link(world.port)
    world.listen()
    connect = world.connect(
        "-L", f"127.0.0.1:0:127.0.0.1:{destination.port}",
        "-L", f"127.0.0.1:0:127.0.0.1:{ssh_port}", *MODE_OPTIONS["hyco"])
    port = tunnel_port(connect, 1)
    typist = Typist(tunnel_port(connect, 2), keys, tmp_path / "known")
    cutter = Cutter(world, dice)
    is_cutting = True
    numbers = iter(range(1 << 30))
    threads = [threading.Thread(
        target=keep_transferring,
        args=(port, numbers, lambda: tally.done >= TRANSFERS and not is_cutting,
              tally)) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(CUTS):
            cutter.one()
            if tally.lost or typist.fault:
                break
    finally:
        is_cutting = False
        for thread in threads:
            thread.join(LONGEST + PATIENCE)
        typist.finish()
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(cutter.kinds.items()))
    print(f"\nseed {SEED}: {tally.done} transfers, {tally.bytes / MIB:.0f} MiB, "
          f"{typist.lines} lines of ssh; cuts: {kinds}; "
          f"{tally.wrong} wrong bytes, {len(tally.lost)} lost connections; "
          f"longest stall {tally.stall:.1f} s, of ssh {typist.stall:.1f} s")
    assert tally.lost == [] and typist.fault is None and not destination.errors
    assert tally.wrong == 0
    assert tally.done >= TRANSFERS and typist.lines > 0
    assert not any(thread.is_alive() for thread in threads)
