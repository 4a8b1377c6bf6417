"""The wheels: installed by pip, and run by pipx."""

import signal
import subprocess
import tempfile
import unittest
import venv
from pathlib import Path

from common import DIST, ENVIRONMENT, ROOT, VERSION, NodeApplication, Running, call, get, listening, made, publishes_and_receives


class Wheel(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.application = self.enterContext(NodeApplication())

    def runs(self, *command, **options) -> None:
        with Running(*command, "--backend", self.application.url, **options) as daemon:
            key = daemon.until("publish key: (.*)")[1]
            public, internal = listening(daemon)
            self.assertEqual(get(f"{public}/page"), "node has /page")
            publishes_and_receives([self.folder / "bin/sidestream"], public, internal, key)
            daemon.process.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.end(), 0)

    def install(self) -> None:
        venv.create(self.folder, with_pip=True)
        call(self.folder / "bin/pip", "install", "--no-index", "--find-links", DIST, "sidestream")

    def test_pip_installs_it_and_it_runs(self):
        self.install()
        self.assertIn(f"Version: {VERSION}\n", call(self.folder / "bin/pip", "show", "sidestream"))
        self.assertIn(VERSION, call(self.folder / "bin/sidestream", "--version"))
        self.runs(self.folder / "bin/sidestream")

    def test_pipx_runs_it(self):
        self.install()
        home = {"PIPX_HOME": str(self.folder / "pipx"), "PIPX_DEFAULT_PYTHON": "python3"}
        self.runs(ROOT / ".cache/pipx/bin/pipx", "run", "--spec", made("*_x86_64.whl"), "sidestream",
                  env={**ENVIRONMENT, **home})

    def test_pip_refuses_it_where_it_would_not_run(self):
        venv.create(self.folder, with_pip=True)
        refused = subprocess.run([self.folder / "bin/pip", "install", made("*_aarch64.whl")], capture_output=True, text=True)
        self.assertIn("not a supported wheel on this platform", refused.stderr)
