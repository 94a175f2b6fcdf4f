#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures hyco beside its peers, interleaved, in one run.

Every subject carries TCP from an entry port to a server port on loopback, in a
network namespace of the bench's own with Reno (BBR, the default on many
machines, costs loopback much and hides CPU time). Each round runs every mode of
every subject once; medians over the rounds and ratios between subjects are what
is quoted: machines have fast and slow phases, and only numbers of one run
compare.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER, ENTRY, MIDDLE, FAR = 19000, 19100, 19101, 19102
MODES = ("bulk-up", "bulk-down", "pingpong", "connect-1", "connect-50", "idle")
SUITE = "TLS_AES_128_GCM_SHA256"


class Bench:
    def __init__(self, args):
        self.build = Path(args.build)
        self.work = Path(args.work)
        self.seconds = args.seconds
        self.processes = []
        for folder in ("log", "ssh", "npm"):
            (self.work / folder).mkdir(parents=True, exist_ok=True)
        self.key, self.cert = self.work / "key.pem", self.work / "cert.pem"
        self.pem = self.work / "both.pem"
        self.tload = str(self.build / "bench" / "tload")

    # --- what is needed once

    def prepare(self, names):
        if not self.pem.exists():
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.key,
                 "-out", self.cert, "-days", "30", "-subj", "/CN=localhost",
                 "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                check=True, stderr=subprocess.DEVNULL)
            self.pem.write_text(self.key.read_text() + self.cert.read_text())
            self.pem.chmod(0o600)
        if any(n.startswith("ssh") for n in names) and not (
                self.work / "ssh" / "host").exists():
            (self.work / "ssh").chmod(0o700)
            for name in ("user", "host"):
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "",
                                "-f", self.work / "ssh" / name], check=True)
            shutil.copy(self.work / "ssh" / "user.pub",
                        self.work / "ssh" / "authorized_keys")
        if "node" in names:
            shutil.copy(HERE / "node_tunnel.js", self.work / "npm")

    # --- subjects: lists of (name, argv, what shows that it is ready: a port
    # that opens, or a text in its log)

    def direct(self):
        return []

    def prototype(self):
        tproto = str(self.build / "bench" / "tproto")
        return [("relay", [tproto, "relay", "-l", MIDDLE, "-k", self.key, "-c",
                           self.cert], MIDDLE),
                ("listen", [tproto, "listen", "-r", MIDDLE, "-t", SERVER], 0),
                ("connect", [tproto, "connect", "-l", ENTRY, "-r", MIDDLE], ENTRY)]

    def hyco(self):
        """The sample way: one hybrid connection for each connection."""
        return self.hyco_in("sample")

    def session(self):
        """The hyco way: channels in one session, encrypted end to end."""
        return self.hyco_in("hyco")

    def open_session(self):
        """The hyco way without end-to-end encryption."""
        return self.hyco_in("hyco", "--no-e2e")

    def hyco_in(self, mode, *more):
        """Relay, listener and sender as a user would start them: users with a
        password hash, TLS verified on both legs."""
        program = str(self.build / "src" / "cli" / "hyco")
        state, users = self.work / "relay", self.work / "users"
        password = self.work / "password"
        password.write_text("bench\n")
        password.chmod(0o600)
        if not users.exists():
            subprocess.run([program, "passwd", users, "bench", "--stdin"],
                           input=b"bench\n", check=True)
        target = f"127.0.0.1:{ENTRY}:127.0.0.1:{SERVER}"
        return [("relay", [program, "relay", "-q", "--dev", "--listen",
                           f"127.0.0.1:{MIDDLE}", "--state", state], MIDDLE),
                ("listen", [program, "listen", "-q", "-x",
                            f"@{state}/listen.conn", "--ca", state / "ca.pem",
                            "--users", users, "--identity",
                            self.work / "identity", *more], "listening on "),
                ("connect", [program, "connect", "-q", "--mode", mode,
                             "--accept-new", *more, "-x",
                             f"@{state}/send.conn", "--ca", state / "ca.pem",
                             "--user", "bench", "--password-file", password,
                             "-L", target], ENTRY)]

    def ssh(self):
        """ssh -L chained through a second ssh: sender, middle, listener."""
        os.makedirs("/run/sshd", exist_ok=True)
        ssh = self.work / "ssh"
        config = ssh / "sshd_config"
        config.write_text(
            f"Port {MIDDLE}\nListenAddress 127.0.0.1\nHostKey {ssh}/host\n"
            f"AuthorizedKeysFile {ssh}/authorized_keys\nStrictModes no\n"
            "UsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            "PidFile none\nLogLevel ERROR\nMaxStartups 1000\n")
        client = ["ssh", "-N", "-F", "none", "-p", MIDDLE, "-i", ssh / "user",
                  "-o", "StrictHostKeyChecking=no", "-o",
                  "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
                  "ExitOnForwardFailure=yes", "-o", "ControlPath=none"]
        me = f"{os.environ.get('USER', 'root')}@127.0.0.1"
        return [("sshd", [shutil.which("sshd", path="/usr/sbin:/sbin"), "-D",
                          "-e", "-f", config], MIDDLE),
                ("ssh-R", [*client, "-R",
                           f"127.0.0.1:{FAR}:127.0.0.1:{SERVER}", me], FAR),
                ("ssh-L", [*client, "-L",
                           f"127.0.0.1:{ENTRY}:127.0.0.1:{FAR}", me], ENTRY)]

    def stunnel(self):
        """Two stunnels in a row on each side of the middle: TLS on two legs."""
        base = ("foreground = yes\npid =\nsyslog = no\ndebug = 3\n"
                "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n")
        tls = f"sslVersion = TLSv1.3\nciphersuites = {SUITE}\n"
        parts = {
            "far": f"[s]\naccept = 127.0.0.1:{FAR}\nconnect = 127.0.0.1:{SERVER}\n"
                   f"cert = {self.pem}\n{tls}",
            "middle": f"[s]\naccept = 127.0.0.1:{MIDDLE}\n"
                      f"connect = 127.0.0.1:{FAR + 1}\ncert = {self.pem}\n{tls}"
                      f"[c]\nclient = yes\naccept = 127.0.0.1:{FAR + 1}\n"
                      f"connect = 127.0.0.1:{FAR}\n{tls}",
            "near": f"[c]\nclient = yes\naccept = 127.0.0.1:{ENTRY}\n"
                    f"connect = 127.0.0.1:{MIDDLE}\n{tls}",
        }
        result = []
        for name, port in (("far", FAR), ("middle", MIDDLE), ("near", ENTRY)):
            path = self.work / f"stunnel-{name}.conf"
            path.write_text(base + parts[name])
            result.append((f"stunnel-{name}",
                           [shutil.which("stunnel4") or "stunnel", path], port))
        return result

    def node(self):
        program = ["node", self.work / "npm" / "node_tunnel.js"]
        return [("relay", [*program, "relay", MIDDLE, self.key, self.cert], MIDDLE),
                ("listen", [*program, "listen", MIDDLE, SERVER], 0),
                ("connect", [*program, "connect", ENTRY, MIDDLE], ENTRY)]

    SUBJECTS = ("direct", "hyco", "session", "open_session", "prototype", "ssh",
                "stunnel", "node")

    # --- running

    def start(self, name, argv):
        with open(self.work / "log" / name, "w") as log:
            process = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, cwd=self.work,
                env={**os.environ, "XDG_STATE_HOME": str(self.work / "state")})
        self.processes.append((name, process))
        return process

    def stop(self):
        for _, process in reversed(self.processes):
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        for _, process in reversed(self.processes):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()

    def await_port(self, port):
        def opened():
            with open("/proc/net/tcp") as table:
                return any(f[3] == "0A" and int(f[1].split(":")[1], 16) == port
                           for f in (line.split() for line in table)
                           if f[0] != "sl")
        self.look(opened, f"port {port} is open")

    def await_text(self, part, text):
        self.look(lambda: text in (self.work / "log" / part).read_text(),
                  f"{part} says {text!r}")

    def await_echo(self, port):
        def echoed():
            try:
                with socket.create_connection(("127.0.0.1", port), 3) as c:
                    c.settimeout(3)
                    c.sendall(b"C")
                    return c.recv(2) == b"C"
            except OSError:
                return False
        self.look(echoed, "an echo comes through the tunnel")

    def look(self, condition, what):
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(
                    f"--- {n}:\n" + (self.work / "log" / n).read_text()[-1500:]
                    for n, _ in self.processes)
                raise RuntimeError(f"waited in vain until {what}\n{logs}")
            threading.Event().wait(0.05)

    def load(self, mode, port, meters, *options, limit=90):
        done = subprocess.run(
            [self.tload, mode, "-p", str(port), "-T", str(limit),
             *map(str, options), *meters],
            capture_output=True, text=True, timeout=limit + 20)
        if not done.stdout.strip():
            return {"ok": False, "error": done.stderr.strip()[:300]}
        return json.loads(done.stdout)

    def mode(self, mode, port, meters, count):
        if mode.startswith("bulk"):
            probe = self.load(mode, port, meters, "-b", "64M")
            if probe.get("ok") and probe["secs"] < 0.5:
                probe = self.load(mode, port, meters, "-b", "256M")
            if not probe.get("ok"):
                return probe
            size = max(16, min(32768, int(probe["mib_s"] * self.seconds)))
            return self.load(mode, port, meters, "-b", f"{size}M")
        if mode == "pingpong":
            return self.load("pingpong", port, meters, "-d", self.seconds)
        if mode.startswith("connect-"):
            return self.load("connect-rate", port, meters, "-d", self.seconds,
                             "-c", mode.split("-")[1])
        return self.load("idle", port, meters, "-n", count)

    def subject(self, name, modes, number, out, idle):
        parts = getattr(self, name)()
        port = ENTRY if parts else SERVER
        try:
            server = self.start("server", [self.tload, "serve", "-p", SERVER])
            self.await_port(SERVER)
            meters = ["-A", f"server={server.pid}"]
            for part, argv, opens in parts:
                process = self.start(part, argv)
                meters += ["-P", f"{part}={process.pid}"]
                if isinstance(opens, str):
                    self.await_text(part, opens)
                elif opens:
                    self.await_port(opens)
            self.await_echo(port)
            for mode in modes:
                result = self.mode(mode, port, meters, idle)
                result.update(subject=name, mode=mode, round=number)
                out.append(result)
                shown = {k: result[k] for k in (
                    "error", "mib_s", "cpu_s_per_gib", "p50_us", "p99_us",
                    "per_s", "cpu_us_per_conn", "tunnel_pss_kib_per_conn")
                    if k in result}
                print(f"{number} {name:10s} {mode:11s} "
                      f"{'ok ' if result.get('ok') else 'BAD'} {shown}",
                      file=sys.stderr, flush=True)
        finally:
            self.stop()


def median(results, subject, mode, key):
    values = [r[key] for r in results if r["subject"] == subject
              and r["mode"] == mode and r.get("ok") and key in r]
    return statistics.median(values) if values else None


COLUMNS = (("up MiB/s", "bulk-up", "mib_s"),
           ("CPU s/GiB", "bulk-up", "cpu_s_per_gib"),
           ("down MiB/s", "bulk-down", "mib_s"),
           ("CPU s/GiB", "bulk-down", "cpu_s_per_gib"),
           ("1 KiB p50 us", "pingpong", "p50_us"),
           ("p99", "pingpong", "p99_us"),
           ("conn/s 1", "connect-1", "per_s"),
           ("conn/s 50", "connect-50", "per_s"),
           ("CPU us/conn", "connect-50", "cpu_us_per_conn"),
           ("idle KiB/conn", "idle", "tunnel_pss_kib_per_conn"))

# What is to be reached: (what, mode, key, peer, comparison, factor), for the
# sample way beside its peers and for the hyco way beside the sample way.
GOALS = (("bulk against chained ssh", ("bulk-up", "bulk-down"), "mib_s", "ssh", ">=", 1.5),
         ("bulk against the Node tunnel", ("bulk-up", "bulk-down"), "mib_s", "node", ">=", 1.5),
         ("CPU per GiB against the prototype", ("bulk-up", "bulk-down"),
          "cpu_s_per_gib", "prototype", "<=", 1.25),
         ("ping-pong p50 against the prototype", ("pingpong",), "p50_us",
          "prototype", "<=", 1.15),
         ("connection rate against the Node tunnel", ("connect-1", "connect-50"),
          "per_s", "node", ">=", 2.5))
SESSION_GOALS = (
    ("open_session", "CPU per GiB without end-to-end TLS against the sample way",
     ("bulk-up", "bulk-down"), "cpu_s_per_gib", "hyco", "<=", 1.08),
    ("session", "CPU per GiB with end-to-end TLS against the sample way",
     ("bulk-up", "bulk-down"), "cpu_s_per_gib", "hyco", "<=", 1.35),
    ("session", "bulk with end-to-end TLS against chained ssh",
     ("bulk-up", "bulk-down"), "mib_s", "ssh", ">=", 1.4),
    ("session", "channels one by one against chained ssh", ("connect-1",),
     "per_s", "ssh", ">=", 0.8),
    ("session", "channels 50 at once against chained ssh", ("connect-50",),
     "per_s", "ssh", ">=", 0.6),
    ("session", "channels against the Node tunnel", ("connect-1", "connect-50"),
     "per_s", "node", ">=", 10),
    ("session", "ping-pong p50 against the sample way", ("pingpong",), "p50_us",
     "hyco", "<=", 1.1))
IDLE_GOALS_KIB = {"hyco": {"relay": 24, "listen": 24, "connect": 24},
                  "session": {"relay": 1, "listen": 6, "connect": 6}}


def report(results, subjects):
    print("| subject | " + " | ".join(c[0] for c in COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for subject in subjects:
        row = []
        for _, mode, key in COLUMNS:
            value = median(results, subject, mode, key)
            row.append("-" if value is None else
                       f"{value:.0f}" if value >= 100 else
                       f"{value:.1f}" if value >= 10 else f"{value:.2f}")
        print(f"| {subject} | " + " | ".join(row) + " |")
    print()
    missed = 0
    goals = [("hyco", *goal) for goal in GOALS] + list(SESSION_GOALS)
    for subject, what, modes, key, peer, sign, factor in goals:
        for mode in modes:
            ours = median(results, subject, mode, key)
            theirs = median(results, peer, mode, key)
            if not ours or not theirs:
                continue
            ratio = ours / theirs
            good = ratio >= factor if sign == ">=" else ratio <= factor
            missed += not good
            print(f"{'reached' if good else 'MISSED '} {what} ({mode}): "
                  f"{ratio:.2f}, goal {sign} {factor}")
    for result in results:
        idle_goals = IDLE_GOALS_KIB.get(result["subject"], {})
        if result["mode"] != "idle" or not result.get("ok"):
            continue
        for process in result["procs"]:
            goal = idle_goals.get(process["name"])
            if goal is None:
                continue
            kib = process["pss_k_per_conn"]
            missed += kib > goal
            print(f"{'reached' if kib <= goal else 'MISSED '} idle connection of "
                  f"{result['subject']} in {process['name']}: {kib:.1f} KiB, "
                  f"goal <= {goal}")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True, help="a Meson build folder")
    parser.add_argument("--work", required=True, help="a folder for files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="a mode")
    parser.add_argument("--subjects", default=",".join(Bench.SUBJECTS))
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--idle", type=int, default=1000, help="connections")
    parser.add_argument("--json", help="writes every result there")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.inside:
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv, "--inside"])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text("reno")
    bench = Bench(args)
    subjects = args.subjects.split(",")
    bench.prepare(subjects)
    results = []
    for number in range(1, args.rounds + 1):
        for subject in subjects:
            modes = [m for m in args.modes.split(",") if m != "idle" or number == 1]
            try:
                bench.subject(subject, modes, number, results, args.idle)
            except RuntimeError as error:
                print(f"{subject}: {error}", file=sys.stderr)
                results.append({"subject": subject, "mode": "start",
                                "round": number, "ok": False, "error": str(error)})
    if args.json:
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    missed = report(results, subjects)
    bad = [r for r in results if not r.get("ok")]
    for r in bad:
        print(f"BAD {r['subject']} {r['mode']} round {r['round']}: {r.get('error')}")
    return 1 if bad or missed else 0


if __name__ == "__main__":
    sys.exit(main())
