"""The npm packages, from a registry of the test's own: installed, and run by npx as a reader of the README would."""

import base64
import hashlib
import json
import os
import pty
import shutil
import signal
import tarfile
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import DIST, ENVIRONMENT, VERSION, NodeApplication, Running, call, get, listening, publishes_and_receives

NAMES = {
    "sidestream": f"sidestream-{VERSION}.tgz",
    "@sidestream/linux-x64": f"sidestream-linux-x64-{VERSION}.tgz",
    "@sidestream/linux-arm64": f"sidestream-linux-arm64-{VERSION}.tgz",
}


class Registry(ThreadingHTTPServer):
    """Answers what npm asks of a registry, for these packages only."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def described(self, name: str) -> bytes:
        file = DIST / NAMES[name]
        with tarfile.open(file) as tar:
            manifest = json.load(tar.extractfile("package/package.json"))
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
        manifest["dist"] = {"tarball": f"{self.url}/files/{file.name}", "integrity": integrity}
        return json.dumps({"name": name, "dist-tags": {"latest": VERSION}, "versions": {VERSION: manifest}}).encode()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = self.path.lstrip("/").replace("%2f", "/")
        if asked in NAMES:
            body = self.server.described(asked)
        elif asked.startswith("files/") and asked.removeprefix("files/") in NAMES.values():
            body = (DIST / asked.removeprefix("files/")).read_bytes()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


class Npm(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.registry = Registry()
        cls.addClassCleanup(cls.registry.server_close)
        cls.addClassCleanup(cls.registry.shutdown)

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environment = {**ENVIRONMENT, "npm_config_registry": self.registry.url, "HOME": str(self.folder),
                            "npm_config_cache": str(self.folder / "cache"), "npm_config_update_notifier": "false"}
        self.application = self.enterContext(NodeApplication())

    def npx(self, *arguments, **options) -> Running:
        return self.enterContext(Running("npx", "--yes", "sidestream", *arguments, cwd=self.folder,
                                         **{"env": self.environment, **options}))

    def installed(self, *flags) -> Path:
        call("npm", "install", "--no-audit", "--no-fund", *flags, "sidestream", cwd=self.folder, env=self.environment)
        return self.folder / "node_modules"

    def test_npx_runs_it_in_front_of_an_application(self):
        daemon = self.npx("--backend", self.application.url)
        key = daemon.until("publish key: (.*)")[1]
        public, internal = listening(daemon)
        self.assertEqual(get(f"{public}/page"), "node has /page")
        publishes_and_receives(["npx", "--yes", "sidestream"], public, internal, key, env=self.environment, cwd=self.folder)
        daemon.process.send_signal(signal.SIGTERM)
        # npm ends as by the signal; `end` waits for the program's own last words.
        self.assertEqual(daemon.end(), -signal.SIGTERM)
        self.assertEqual("".join(daemon.said).count("asked to stop"), 1)

    def test_ctrl_c_in_a_terminal_lets_it_drain(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execvpe("npx", ["npx", "--yes", "sidestream", "--backend", self.application.url], self.environment)
        said = b""
        while b"listening" not in said:
            said += os.read(terminal, 4096)
        # Once it listens it takes signals; the terminal sends this to all in the foreground, and npm again to what it runs.
        os.write(terminal, b"\x03")
        try:
            while more := os.read(terminal, 4096):
                said += more
        except OSError:
            pass  # Nobody has the terminal any more.
        os.waitpid(pid, 0)
        self.assertEqual(said.count(b"asked to stop"), 1, said.decode())

    def test_exit_codes_are_those_of_the_program(self):
        cli = self.installed() / ".bin/sidestream"
        for arguments, code in [(["--version"], 0), (["check", "--config", "missing.toml"], 1), (["--no-such"], 2)]:
            with Running(cli, *arguments) as program:
                self.assertEqual(program.end(), code, program.said)

    def test_a_signal_that_kills_the_program_kills_its_wrapper(self):
        with Running(self.installed() / ".bin/sidestream", "--backend", self.application.url) as daemon:
            listening(daemon)
            children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGKILL)
            self.assertEqual(daemon.end(), -signal.SIGKILL)

    def test_only_the_package_of_this_platform_is_installed(self):
        scope = self.installed() / "@sidestream"
        self.assertEqual([path.name for path in scope.iterdir()], ["linux-x64"])

    def test_without_the_platforms_package_it_says_what_to_do(self):
        cli = self.installed("--omit=optional") / ".bin/sidestream"
        with Running(cli, "--version") as program:
            self.assertEqual(program.end(), 1)
            self.assertIn("--omit=optional", "".join(program.said))

    def test_on_another_platform_it_says_which_there_are(self):
        cli = self.installed() / "sidestream/cli.js"
        other = self.folder / "other.cjs"
        other.write_text("Object.defineProperty(process, 'platform', { value: 'freebsd' });")
        with Running("node", "--require", other, cli, "--version") as program:
            self.assertEqual(program.end(), 1)
            self.assertIn("no build for freebsd-x64, only for linux-arm64 and linux-x64", "".join(program.said))

    def test_where_there_is_no_glibc_it_says_so(self):
        modules = self.installed()
        binary = modules / "@sidestream/linux-x64/sidestream"
        data = binary.read_bytes()
        shutil.copyfile(binary, f"{binary}.new")
        Path(f"{binary}.new").write_bytes(data.replace(b"/lib64/ld-linux-x86-64.so.2", b"/lib64/ld-linux-x86-64.so.9"))
        Path(f"{binary}.new").chmod(0o755)
        Path(f"{binary}.new").rename(binary)
        with Running(modules / ".bin/sidestream", "--version") as program:
            self.assertEqual(program.end(), 1)
            self.assertIn("no glibc", "".join(program.said))
