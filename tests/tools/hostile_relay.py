# SPDX-License-Identifier: MIT
"""A relay that means no good: it speaks enough of the Hybrid Connections
protocol for `hyco listen` and `hyco connect`, records all that passes, and
changes what it is told to change. It knows the session frames of
doc/PROTOCOL-hyco.md, so that it can keep the frames whole and spoil only what
is in them. The relay's half of every WebSocket is its own."""

import asyncio
import base64
import contextlib
import hashlib
import json
import queue
import ssl
import struct
import threading
import urllib.parse
import uuid

PATIENCE = 60
PROTOCOL = "hyco.tunnel.v1"
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT, BINARY, CLOSE_FRAME, PING_FRAME, PONG_FRAME = 1, 2, 8, 9, 10

HELLO, WELCOME, RESUME, RESUMED, REFUSE = 1, 2, 3, 4, 5
DATA, ACK, PING, PONG, CLOSE = 16, 17, 18, 19, 20


def frame(kind, payload=b"", flags=0):
    """One session frame."""
    return struct.pack(">BBH", kind, flags, len(payload)) + payload


def websocket_frame(kind, payload=b"", fin=True, length=None):
    """One frame of the relay's: never masked. `length` may lie."""
    length = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | kind])
    if length < 126:
        head += bytes([length])
    elif length < 65536:
        head += struct.pack(">BH", 126, length)
    else:
        head += struct.pack(">BQ", 127, length)
    return head + payload


def unmask(data, mask):
    key = (mask * (len(data) // 4 + 1))[:len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(
        len(data), "big")


class Frames:
    """Cuts session frames out of a byte stream."""

    def __init__(self):
        self.rest = b""

    def feed(self, data):
        self.rest += data
        found = []
        while len(self.rest) >= 4:
            kind, _, length = struct.unpack(">BBH", self.rest[:4])
            if len(self.rest) < 4 + length:
                break
            found.append((kind, self.rest[4:4 + length]))
            self.rest = self.rest[4 + length:]
        return found


class WebSocket:
    """The relay's half of one."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def read(self):
        """The kind and the payload of the next frame."""
        first, second = await self.reader.readexactly(2)
        length = second & 0x7f
        if length == 126:
            length = struct.unpack(">H", await self.reader.readexactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", await self.reader.readexactly(8))[0]
        mask = await self.reader.readexactly(4)
        data = unmask(await self.reader.readexactly(length), mask)
        return first & 0x0f, data

    async def send(self, kind, payload=b""):
        await self.send_raw(websocket_frame(kind, payload))

    async def send_raw(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def abort(self):
        self.writer.transport.abort()


class Carrier:
    """One rendezvous with a sender at one end and a listener at the other."""

    def __init__(self, sender, listener):
        self.ends = {"up": (sender, listener), "down": (listener, sender)}
        self.seen = {"up": [], "down": []}  # the frames as they came
        self.record = bytearray()

    def abort(self):
        for end in self.ends["up"]:
            end.abort()


class Peer:
    """One program of hyco's alone with the relay: a test is the other side."""

    def __init__(self, relay, socket):
        self.relay = relay
        self.socket = socket
        self.frames = queue.Queue()  # None: it is over
        self.task = relay.spawn(self._read())

    async def _read(self):
        cut = Frames()
        try:
            while True:
                kind, data = await self.socket.read()
                if kind == PING_FRAME:
                    await self.socket.send(PONG_FRAME, data)
                elif kind == CLOSE_FRAME:
                    await self.socket.send(CLOSE_FRAME, data)
                    break
                elif kind in (0, BINARY):
                    for found in cut.feed(data):
                        self.frames.put(found)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.frames.put(None)
            self.socket.abort()

    def send(self, data):
        """Bytes of the carrier."""
        self.send_raw(websocket_frame(BINARY, data))

    def send_raw(self, data):
        """Bytes of the TLS connection; one that is over takes them as well."""
        with contextlib.suppress(OSError):
            self.relay.run(self.socket.send_raw(data))

    def next(self, *kinds):
        """The next frame (of these kinds), or None at the end."""
        while True:
            found = self.frames.get(timeout=PATIENCE)
            if found is None or not kinds or found[0] in kinds:
                return found

    def wait_end(self):
        """All that still comes, until it is over."""
        found = []
        while (one := self.next()) is not None:
            found.append(one)
        return found

    def close(self):
        self.relay.loop.call_soon_threadsafe(self.socket.abort)


class Tamper:
    """Spoils one frame: the one that comes after `skip` others of its type in
    that direction. `kind` is a method's name; each gives what goes out instead,
    where a number is a pause in seconds."""

    KINDS = ["flip", "drop", "replay", "reorder", "truncate", "inject",
             "lengthen"]

    def __init__(self, direction, kind, skip=0, type=DATA):
        self.direction = direction
        self.change = getattr(self, kind)
        self.type = type
        self.skip = skip
        self.held = None
        self.fired = threading.Event()

    def __call__(self, carrier, direction, kind, payload):
        if direction != self.direction or kind != self.type:
            return [frame(kind, payload)]
        if self.held is not None:
            out = [frame(kind, payload), self.held]
            self.held = None
            self.fired.set()
            return out
        if self.fired.is_set():
            return [frame(kind, payload)]
        if self.skip > 0:
            self.skip -= 1
            return [frame(kind, payload)]
        return self.change(kind, payload)

    def _done(self, *out):
        self.fired.set()
        return list(out)

    def flip(self, kind, payload):
        # The last byte: in a TLS record it is the tag's.
        spoiled = payload[:-1] + bytes([payload[-1] ^ 1])
        return self._done(frame(kind, spoiled))

    def drop(self, kind, payload):
        return self._done()

    def replay(self, kind, payload):
        return self._done(frame(kind, payload), frame(kind, payload))

    def reorder(self, kind, payload):
        self.held = frame(kind, payload)
        return []

    def truncate(self, kind, payload):
        return self._done(frame(kind, payload[:len(payload) // 2]))

    def inject(self, kind, payload):
        return self._done(frame(kind, b"\x17\x03\x03\x00\x20" + bytes(32)),
                          frame(kind, payload))

    def lengthen(self, kind, payload):
        return self._done(frame(kind, payload + b"x" * 64))

    def delay(self, kind, payload):
        return self._done(1.0, frame(kind, payload))

    def text(self, kind, payload):
        return self._done("a word", frame(kind, payload))


class HostileRelay:
    """Its certificate is that of a `hyco relay --dev` with this state folder.
    It takes every token. What is set between times holds for what comes:

    change   called with (carrier, direction, type, payload) for each session
             frame that passes; gives the bytes that go on (a number: a pause; a
             str: a text message)
    route    which of the listeners, in the order they came, is asked
    protocol whether a rendezvous may have a subprotocol
    refusal  the status line that senders get, or None
    capture  senders are not joined to a listener: peers.get() has them"""

    def __init__(self, state):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(state / "relay.pem", state / "relay.key")
        self.change = None
        self.route = 0
        self.protocol = True
        self.refusal = None
        self.capture = False
        self.carriers = []
        self.listeners = []
        self.record = bytearray()  # of all carriers, both ways
        self.heads = []  # of all HTTP requests
        self.control = []  # what listeners said on their control channels
        self.peers = queue.Queue()
        self.waiting = {}
        self.faults = []
        self.changed = threading.Condition()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.run(asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=context))
        self.port = self.server.sockets[0].getsockname()[1]

    def spawn(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine):
        return self.spawn(coroutine).result(PATIENCE)

    def close(self):
        self.run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()
        assert not self.faults, self.faults

    async def _close(self):
        self.server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def wait_for(self, condition):
        """Waits until something it keeps is as the test wants it."""
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE)

    def _tell(self):
        with self.changed:
            self.changed.notify_all()

    def visit(self, route=None):
        """The relay itself as a sender, towards a listener."""
        return Peer(self, self.run(self._fetch("", route))[0])

    # --- in the loop ---

    async def _serve(self, reader, writer):
        try:
            await self._request(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Exception as fault:
            self.faults.append(repr(fault))
            raise
        finally:
            writer.transport.abort()

    async def _request(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        line, *rest = head.decode("latin-1").strip().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in
                  (field.partition(":") for field in rest)}
        target = urllib.parse.urlsplit(line.split()[1])
        query = dict(urllib.parse.parse_qsl(target.query))
        socket = WebSocket(reader, writer)
        action = query.get("sb-hc-action")
        if action == "listen":
            await self._listener(socket, fields)
        elif action == "accept":
            arrived, over = self.waiting.pop(query["sb-hc-id"])
            chosen = fields.get("sec-websocket-protocol")
            await self._upgrade(socket, fields, chosen)
            arrived.set_result((socket, chosen))
            await over.wait()
        else:
            await self._sender(socket, fields)

    async def _upgrade(self, socket, fields, protocol=None):
        key = fields["sec-websocket-key"] + GUID
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        chosen = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        await socket.send_raw(
            ("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
             f"Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n"
             f"{chosen}\r\n").encode())

    async def _listener(self, socket, fields):
        await self._upgrade(socket, fields)
        self.listeners.append(socket)
        self._tell()
        while True:
            kind, data = await socket.read()
            if kind == PING_FRAME:
                await socket.send(PONG_FRAME, data)
            elif kind == CLOSE_FRAME:
                await socket.send(CLOSE_FRAME, data)
                return
            else:
                self.control.append(data)

    async def _fetch(self, offered, route=None):
        """A rendezvous with a listener: its socket and subprotocol, and what
        is to be set when it is over."""
        token = str(uuid.uuid4())
        arrived, over = self.loop.create_future(), asyncio.Event()
        self.waiting[token] = arrived, over
        listener = self.listeners[self.route if route is None else route]
        headers = {"Host": "localhost", "Sec-WebSocket-Key": "x" * 22 + "==",
                   "Sec-WebSocket-Version": "13",
                   "Sec-WebSocket-Protocol": offered or PROTOCOL}
        address = (f"wss://localhost:{self.port}/$hc/demo?sb-hc-action=accept"
                   f"&sb-hc-id={token}")
        await listener.send(TEXT, json.dumps({"accept": {
            "address": address, "id": token, "connectHeaders": headers,
            "remoteEndpoint": {"address": "127.0.0.1", "port": 9}}}).encode())
        socket, chosen = await asyncio.wait_for(arrived, 20)
        return socket, chosen, over

    async def _sender(self, socket, fields):
        offered = fields.get("sec-websocket-protocol", "")
        if self.refusal:
            await socket.send_raw(
                f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\n"
                "Connection: close\r\n\r\n".encode())
            return
        if self.capture:
            await self._upgrade(socket, fields, PROTOCOL)
            peer = Peer(self, socket)
            self.peers.put(peer)
            await asyncio.wrap_future(peer.task)
            return
        listener, chosen, over = await self._fetch(offered)
        try:
            await self._upgrade(socket, fields,
                                chosen if self.protocol else None)
            carrier = Carrier(socket, listener)
            self.carriers.append(carrier)
            self._tell()
            await asyncio.gather(self._pump(carrier, "up"),
                                 self._pump(carrier, "down"))
        finally:
            listener.abort()
            over.set()

    async def _pump(self, carrier, direction):
        source, sink = carrier.ends[direction]
        cut = Frames()
        try:
            while True:
                kind, data = await source.read()
                if kind == CLOSE_FRAME:
                    await sink.send(CLOSE_FRAME, data)
                    return
                if kind == PING_FRAME:
                    await source.send(PONG_FRAME, data)
                elif kind in (0, BINARY):
                    self.record += data
                    for found in cut.feed(data):
                        await self._pass(carrier, direction, sink, found)
        except (OSError, asyncio.IncompleteReadError):
            sink.abort()

    async def _pass(self, carrier, direction, sink, found):
        kind, payload = found
        carrier.seen[direction].append(found)
        self._tell()
        change = self.change
        out = (change(carrier, direction, kind, payload) if change
               else [frame(kind, payload)])
        for piece in out:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif isinstance(piece, str):
                await sink.send(TEXT, piece.encode())
            else:
                await sink.send(BINARY, piece)

    # --- of what was recorded ---

    def seen(self, direction, kind):
        """The payloads of a type in a direction, over all carriers."""
        return [payload for carrier in list(self.carriers)
                for found, payload in list(carrier.seen[direction])
                if found == kind]

    def cut(self):
        """Every carrier is torn."""
        for carrier in list(self.carriers):
            self.loop.call_soon_threadsafe(carrier.abort)
