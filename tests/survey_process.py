"""`lensblend survey serve` in a process of its own, for tests."""

import re
import signal
import subprocess
import sys
from urllib.parse import urlsplit


class Process:
    """A server as a user starts it; it listens when this is made.

    Attributes:
        said: Its lines so far.
        address: What a browser opens.
    """

    def __init__(self, folder, *arguments):
        command = [sys.executable, "-m", "lensblend.cli.survey", "serve", str(folder), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(r"Open (http://\S+)", line):
                self.address = found[1]
                self.server_port = urlsplit(self.address).port
                return
        raise AssertionError(self.said)

    def end(self, number=signal.SIGTERM):
        """Send a signal, and return how the process ended."""
        if not self.process.stdout.closed:
            self.process.send_signal(number)
            self.said += self.process.stdout
            self.process.stdout.close()
        return self.process.wait(60)

    def kill(self):
        """End it at once; again, once it has ended, does nothing."""
        return self.end(signal.SIGKILL)
