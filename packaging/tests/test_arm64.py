"""The binary for arm64, run by an emulator above Debian's C library."""

import signal
import tarfile
import tempfile
import unittest
from pathlib import Path

from common import VERSION, NodeApplication, Running, call, get, listening, made, publishes_and_receives

EMULATOR = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]


class Arm64(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with tarfile.open(made("*-linux-arm64.tar.gz")) as tar:
            tar.extractall(folder.name, filter="data")
        self.binary = Path(folder.name) / f"sidestream-{VERSION}-linux-arm64/sidestream"

    def test_it_tells_its_version(self):
        self.assertIn(VERSION, call(*EMULATOR, self.binary, "--version"))

    def test_it_runs_with_pages_of_every_size(self):
        for size in [4096, 16384, 65536]:
            with self.subTest(size=size):
                self.assertIn(VERSION, call(*EMULATOR, "-p", size, self.binary, "--version"))

    def test_it_forwards_and_pushes(self):
        application = self.enterContext(NodeApplication())
        command = [*EMULATOR, self.binary]
        with Running(*command, "--backend", application.url) as daemon:
            key = daemon.until("publish key: (.*)")[1]
            public, internal = listening(daemon)
            self.assertEqual(get(f"{public}/page"), "node has /page")
            publishes_and_receives(command, public, internal, key)
            daemon.process.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.end(), 0)
