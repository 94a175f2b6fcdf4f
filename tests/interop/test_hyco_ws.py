# SPDX-License-Identifier: MIT
"""Microsoft's unmodified npm client hyco-ws against hyco relay, and as a sender
towards hyco listen."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE, need, wait_until

HERE = Path(__file__).resolve().parent


def pattern(size):
    return bytes((i * 31 + (i >> 8)) & 255 for i in range(size))


def credentials(world, name):
    text = (world.state / name).read_text().strip()
    fields = dict(part.split("=", 1) for part in text.split(";") if part)
    return fields["SharedAccessKeyName"], fields["SharedAccessKey"]


def uri(world, action, suffix="", query=""):
    return (f"wss://localhost:{world.port}/$hc/demo{suffix}?{query}"
            f"sb-hc-action={action}")


def environment(world):
    return {"NODE_EXTRA_CA_CERTS": str(world.ca)}


def ws_listener(world, name="listen.conn"):
    return world.processes.start(
        [need("node"), HERE / "ws_listener.js", uri(world, "listen"),
         *credentials(world, name)], name="hyco-ws listener",
        env=environment(world), cwd=HERE)


def ws_sender(world, actions, suffix="", query="", headers=None,
              name="send.conn"):
    """Runs a hyco-ws sender to its end: exit status and lines."""
    import os
    done = subprocess.run(
        [need("node"), str(HERE / "ws_sender.js"),
         uri(world, "connect", suffix, query), *credentials(world, name),
         json.dumps(headers or {}), json.dumps(actions)],
        capture_output=True, text=True, timeout=PATIENCE, cwd=HERE,
        env={**os.environ, **environment(world)})
    return done.returncode, done.stdout.splitlines() + done.stderr.splitlines()


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536, 65537, 1 << 20])
def test_messages_both_ways(world, size):
    """R22, R32, R33: text and binary echoed by a hyco-ws listener to a hyco-ws
    sender, kinds and sizes unchanged."""
    world.relay()
    ws_listener(world).wait_line(r"^listening$")
    text = "grüße " * 10
    status, lines = ws_sender(world, [["text", text], ["binary", size],
                                      ["text", "last"], ["await", 3]])
    assert status == 0, lines
    assert lines == ["open", f"text {text}", f"binary {size}", "text last",
                     f"bytes {size} {hashlib.sha256(pattern(size)).hexdigest()}"]


def test_close_codes_pass(world):
    """R35: a Close of either side reaches the other with code and reason."""
    world.relay()
    listener = ws_listener(world)
    listener.wait_line(r"^listening$")
    status, lines = ws_sender(world, [["text", "close 4001"], ["awaitClose"]])
    assert status == 0 and "close 4001 as asked" in lines, lines
    status, lines = ws_sender(world, [["close", 3005, "enough"], ["awaitClose"]])
    assert status == 0, lines
    listener.wait_line(r"^closed 3005 enough$")


def test_suffix_and_query_reach_the_listener(world):
    """R19: path suffix and user query, before the sb-hc items."""
    world.relay()
    listener = ws_listener(world)
    listener.wait_line(r"^listening$")
    status, lines = ws_sender(world, [["text", "x"], ["await", 1]],
                              suffix="/suf%20fix", query="a=1&b=2&")
    assert status == 0, lines
    listener.wait_line(r"^open .*/\$hc/demo/suf%20fix\?a=1&b=2&sb-hc-action=accept")


def test_wrong_key_and_no_listener(world):
    """R10, R12, R25: statuses as the service gives them."""
    world.relay()
    status, lines = ws_sender(world, [["text", "x"]])
    assert status == 1 and "404" in lines[0], lines
    status, lines = ws_sender(world, [["text", "x"]], name="listen.conn")
    assert status == 1 and "403" in lines[0], lines


def test_listener_reconnects(world):
    """A hyco-ws listener finds a restarted relay."""
    relay = world.relay()
    listener = ws_listener(world)
    listener.wait_line(r"^listening$")
    relay.kill()
    world.relay()
    listener.wait_line(r"^listening$", count=2)
    status, lines = ws_sender(world, [["text", "again"], ["await", 1]])
    assert status == 0 and "text again" in lines, lines


def basic(world, password=None):
    pair = f"{world.USER}:{password or world.PASSWORD}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def test_sender_towards_hyco_listen(world, echo_server):
    """hyco-ws speaks the sample way to hyco listen: ready, then bytes."""
    world.relay()
    listen = world.listen()
    size = 300_000
    status, lines = ws_sender(
        world, [["await", 1], ["binary", size], ["awaitBytes", size],
                ["close", 1000, "done"], ["awaitClose"]],
        query=f"port={echo_server.port}&host=127.0.0.1&", headers=basic(world))
    assert status == 0, lines
    ready = json.loads(lines[1].removeprefix("text "))
    assert ready["status"] == "ready"
    assert f"bytes {size} {hashlib.sha256(pattern(size)).hexdigest()}" in lines
    listen.wait_line(rf"{echo_server.port}")


def test_sender_refused_by_hyco_listen(world, echo_server):
    """Every refusal of the listener is a status with words."""
    world.relay()
    world.listen()
    query = f"port={echo_server.port}&host=127.0.0.1&"
    for headers, q, code in (
            ({}, query, "403"),
            ({"Authorization": "Bearer x"}, query, "400"),
            (basic(world, "wrong"), query, "403"),
            (basic(world), "port=0&", "400"),
            (basic(world), "port=/var/run/docker.sock&", "400"),
            (basic(world), query + "port=1&", "400"),
            (basic(world), "port=80&host=169.254.169.254&", "403"),
            (basic(world), "port=1&host=127.0.0.1&", "502")):
        status, lines = ws_sender(world, [["await", 1]], query=q, headers=headers)
        assert status == 1 and code in lines[0], (q, code, lines)
    assert echo_server.accepted == 0


def test_many_senders_at_once(world):
    """R42: one hyco-ws listener, a hundred senders from one Node process each
    in groups of ten."""
    world.relay()
    ws_listener(world).wait_line(r"^listening$")
    import os
    running = []
    done = 0
    for number in range(30):
        running.append(subprocess.Popen(
            [need("node"), str(HERE / "ws_sender.js"), uri(world, "connect"),
             *credentials(world, "send.conn"), "{}",
             json.dumps([["text", f"number {number}"], ["await", 1]])],
            stdout=subprocess.PIPE, text=True, cwd=HERE,
            env={**os.environ, **environment(world)}))
        if len(running) == 10 or number == 29:
            for n, process in enumerate(running):
                out, _ = process.communicate(timeout=PATIENCE)
                assert f"text number {number - len(running) + 1 + n}" in out, out
                done += 1
            running.clear()
    wait_until(lambda: done == 30, "all senders are through")
