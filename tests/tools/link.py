# SPDX-License-Identifier: MIT
"""A link between hyco's ends and the relay (tests/tools/link.c) in a test's
hand: delay, rate, queue, and cuts."""

import json
import os
import re
import subprocess
import threading
from pathlib import Path


def link_binary(hyco):
    """The proxy that was built beside the binary under test, or HYCO_LINK."""
    path = Path(os.environ.get(
        "HYCO_LINK", Path(hyco).resolve().parents[2] / "tests/tools/link"))
    assert path.exists(), f"no link at {path}: build with -Dtests=true"
    return path


class Link:
    """One running link to 127.0.0.1:port; connect to link.port instead."""

    def __init__(self, binary, processes, port, *commands):
        self.process = processes.start(
            [binary, f"127.0.0.1:{port}", *commands], name="link",
            stdin=subprocess.PIPE)
        ready = self.process.wait_line(r"^link ready on 127\.0\.0\.1:(\d+)$")
        self.port = int(ready.group(1))
        self.answers = 0
        self.lock = threading.Lock()

    def __call__(self, command):
        """Gives a command and returns its answer behind "ok"."""
        with self.lock:
            self.answers += 1
            self.process.write(command + "\n")
            answer = self.process.wait_line(r"^(ok|error).*$",
                                            count=self.answers).group(0)
        assert answer.startswith("ok"), answer
        return answer[2:].strip()

    @property
    def stats(self):
        return json.loads(self("stats"))

    def fired(self):
        """How many commands of `after` and `in` were carried out."""
        return len(re.findall(r"^fired ", self.process.output, re.M))
