"""The .deb in a Debian of nothing but its base: installed under a systemd that has booted there, upgraded, purged."""

import re
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from common import PATIENCE, ROOT, VERSION, call, made

PRISTINE = ROOT / ".cache/debian-bookworm"
PAGE = "a page of the application\n"


class Layer:
    """A root of its own above the pristine one."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sidestream-dist-"))
        self.root = self.folder / "root"
        for name in ["above", "work", "root"]:
            (self.folder / name).mkdir()
        layers = f"lowerdir={PRISTINE},upperdir={self.folder}/above,workdir={self.folder}/work"
        call("mount", "-t", "overlay", "overlay", "-o", layers, self.root)

    def close(self) -> None:
        call("umount", self.root)
        shutil.rmtree(self.folder)


class Machine:
    """A systemd that has booted in a root, with a network of its own."""

    def __init__(self, root: Path) -> None:
        self.log = open(root.parent / "console", "w+")
        # Its own scope, if this machine's systemd could make one, is of no use here.
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot",
                   "--directory", str(root), "--console=pipe"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.leader = ""

    def boot(self) -> None:
        self.wait_for(self._has_booted, "it has not booted")

    def _has_booted(self) -> bool:
        # What starts it first is replaced by its systemd.
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.leader = children[-1] if children else ""
        if not self.leader:
            return False
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def wait_for(self, state, otherwise: str) -> None:
        end = time.monotonic() + PATIENCE
        while not state():
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                raise AssertionError(f"{otherwise}:\n{self.log.read()[-4000:]}")
            time.sleep(0.05)

    def run(self, *command) -> subprocess.CompletedProcess:
        """Runs a command of the machine's in it."""
        inside = ["nsenter", "--target", self.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd=/"]
        clean = ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"]
        return subprocess.run([*inside, *clean, *map(str, command)], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)

    def call(self, *command) -> str:
        done = self.run(*command)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def property(self, name: str) -> str:
        return self.call("systemctl", "show", "--property", name, "--value", "sidestream.service").strip()

    def on_its_network(self, *command) -> list[str]:
        """A command of this machine's on that one's network."""
        return ["nsenter", "--target", self.leader, "--net", *map(str, command)]

    def close(self) -> None:
        # SIGTERM makes its systemd power off; whatever is left of it then is ended by force.
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def newer(package: Path, folder: Path) -> Path:
    """The same package with a later version."""
    call("dpkg-deb", "-R", package, folder / "newer")
    control = folder / "newer/DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {VERSION}-2", control.read_text()))
    call("dpkg-deb", "-b", folder / "newer", folder / "newer.deb")
    return folder / "newer.deb"


class Debian(unittest.TestCase):
    def setUp(self) -> None:
        self.layer = Layer()
        self.addCleanup(self.layer.close)
        self.root = self.layer.root
        self.package = made("*_amd64.deb")

    def mode(self, path: str) -> str:
        return call("chroot", self.root, "stat", "--format=%U:%G %a", path).strip()

    def application(self, machine: Machine) -> None:
        pages = self.layer.folder / "pages"
        pages.mkdir()
        (pages / "index.html").write_text(PAGE)
        serve = machine.on_its_network("python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", pages, 3000)
        process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def test_installed_where_no_systemd_runs(self):
        shutil.copy(self.package, self.root)
        call("chroot", self.root, "dpkg", "--install", f"/{self.package.name}")
        self.assertIn(VERSION, call("chroot", self.root, "sidestream", "--version"))
        self.assertEqual(self.mode("/etc/sidestream/config.toml"), "root:sidestream 640")
        call("chroot", self.root, "sidestream", "check", "--config", "/etc/sidestream/config.toml")
        call("chroot", self.root, "dpkg", "--purge", "sidestream")
        self.assertFalse((self.root / "etc/sidestream").exists())

    def test_from_a_fresh_debian_to_a_purged_one_under_systemd(self):
        began = time.monotonic()
        machine = Machine(self.root)
        self.addCleanup(machine.close)
        machine.boot()
        print(f"\nbooted in {time.monotonic() - began:.1f} s", flush=True)
        self.application(machine)
        shutil.copy(self.package, self.root / "root")

        began = time.monotonic()
        machine.call("dpkg", "--install", f"/root/{self.package.name}")
        self.served(machine)
        took = time.monotonic() - began
        print(f"from the package to the first page in {took:.1f} s", flush=True)
        self.assertLess(took, 60)
        self.runs_confined(machine)
        self.publishes(machine)
        self.upgrades(machine)
        self.stays_disabled(machine)
        self.purges(machine)

    def served(self, machine: Machine) -> None:
        page = machine.on_its_network("curl", "--silent", "--max-time", 5, "http://127.0.0.1:8080/")
        machine.wait_for(lambda: subprocess.run(page, capture_output=True, text=True).stdout == PAGE,
                         "no page of the application")

    def runs_confined(self, machine: Machine) -> None:
        self.assertEqual(machine.property("ActiveState"), "active")
        self.assertEqual(machine.call("systemctl", "is-enabled", "sidestream.service").strip(), "enabled")
        self.assertEqual(machine.run("systemctl", "is-enabled", "sidestream.socket").stdout.strip(), "disabled")
        status = machine.call("cat", f"/proc/{machine.property('MainPID')}/status")
        user = machine.call("id", "--user", "sidestream").strip()
        self.assertRegex(status, rf"(?m)^Uid:\s+{user}\s+{user}\s+{user}\s+{user}$")
        for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]:
            self.assertIn(line + "\n", status)
        exposure = machine.call("systemd-analyze", "security", "--threshold=15", "sidestream.service")
        self.assertIn("Overall exposure level", exposure)
        for path in ["/etc/sidestream/config.toml", "/etc/sidestream/publish_keys"]:
            self.assertEqual(self.mode(path), "root:sidestream 640")

    def publishes(self, machine: Machine) -> None:
        key = (self.root / "etc/sidestream/publish_keys").read_text().strip()
        self.assertRegex(key, "^[0-9a-f]{40}$")
        publish = ["curl", "--silent", "--fail", "--max-time", 5, "http://127.0.0.1:8081/publish", "--data",
                   '{"topic": "news", "data": "hi"}', "--header"]
        answer = call(*machine.on_its_network(*publish, f"Authorization: Bearer {key}"))
        self.assertIn('"matched"', answer)

    def upgrades(self, machine: Machine) -> None:
        config = self.root / "etc/sidestream/config.toml"
        edited = config.read_text() + "\n# edited\n"
        machine.call("sh", "-c", "echo '\n# edited' >>/etc/sidestream/config.toml")
        machine.call("chmod", "600", "/etc/sidestream/publish_keys")
        machine.call("chown", "sidestream", "/etc/sidestream/publish_keys")
        keys = (self.root / "etc/sidestream/publish_keys").read_text()
        before = machine.property("MainPID")
        shutil.copy(newer(self.package, self.layer.folder), self.root / "root")
        machine.call("dpkg", "--install", "/root/newer.deb")
        self.assertEqual(machine.call("dpkg-query", "--show", "--showformat=${Version}", "sidestream"), f"{VERSION}-2")
        self.served(machine)
        self.assertNotEqual(machine.property("MainPID"), before)
        self.assertEqual(config.read_text(), edited)
        self.assertEqual((self.root / "etc/sidestream/publish_keys").read_text(), keys)
        self.assertEqual(self.mode("/etc/sidestream/publish_keys"), "sidestream:sidestream 600")
        self.assertEqual(self.mode("/etc/sidestream/config.toml"), "root:sidestream 640")

    def stays_disabled(self, machine: Machine) -> None:
        machine.call("systemctl", "disable", "--now", "sidestream.service")
        machine.call("dpkg", "--remove", "sidestream")
        self.assertTrue((self.root / "etc/sidestream/config.toml").exists())
        machine.call("dpkg", "--install", "/root/newer.deb")
        self.assertEqual(machine.run("systemctl", "is-enabled", "sidestream.service").stdout.strip(), "disabled")
        self.assertEqual(machine.property("ActiveState"), "inactive")
        machine.call("systemctl", "enable", "--now", "sidestream.service")
        self.served(machine)

    def purges(self, machine: Machine) -> None:
        machine.call("dpkg", "--purge", "sidestream")
        self.assertFalse((self.root / "etc/sidestream").exists())
        self.assertNotEqual(machine.run("getent", "passwd", "sidestream").returncode, 0)
        self.assertEqual(machine.property("LoadState"), "not-found")
        left = machine.call("find", "/etc", "/usr", "/lib/systemd", "/var/lib/systemd", "-name", "*sidestream*")
        self.assertEqual(left, "")
