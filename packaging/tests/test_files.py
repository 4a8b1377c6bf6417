"""What is in the files of a release, without running them."""

import hashlib
import json
import re
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

from common import DIST, ROOT, VERSION, call, made

PLATFORMS = {"linux-x64": ("amd64", "x86_64"), "linux-arm64": ("arm64", "aarch64")}
GLIBC = (2, 28)


class Files(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def unpacked(self, platform: str) -> Path:
        name = f"sidestream-{VERSION}-{platform}"
        with tarfile.open(DIST / f"{name}.tar.gz") as tar:
            tar.extractall(self.folder, filter="data")
        return self.folder / name

    def test_every_file_has_its_name_and_its_checksum(self):
        names = {f"sidestream-{VERSION}.tgz", f"sidestream-{VERSION}.cdx.json"}
        for platform, (debian, machine) in PLATFORMS.items():
            names |= {f"sidestream-{VERSION}-{platform}.tar.gz", f"sidestream-{platform}-{VERSION}.tgz",
                      f"sidestream_{VERSION}-1_{debian}.deb",
                      f"sidestream-{VERSION}-py3-none-manylinux_2_28_{machine}.whl"}
        self.assertEqual({path.name for path in DIST.iterdir()}, names | {"SHA256SUMS"})
        lines = (DIST / "SHA256SUMS").read_text().splitlines()
        self.assertEqual({line.split("  ")[1] for line in lines}, names)
        for line in lines:
            digest, name = line.split("  ")
            self.assertEqual(hashlib.sha256((DIST / name).read_bytes()).hexdigest(), digest)

    def test_a_binary_asks_for_an_old_c_library_and_nothing_else(self):
        for platform in PLATFORMS:
            binary = self.unpacked(platform) / "sidestream"
            needed = set(re.findall(r"NEEDED.*\[(.*)\]", call("readelf", "-d", binary)))
            loaders = {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
            parts = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1"}
            self.assertLessEqual(needed, parts | loaders)
            symbols = call("readelf", "--dyn-syms", "--wide", binary)
            versions = {tuple(map(int, found.split("."))) for found in re.findall(r"@GLIBC_([0-9.]+)", symbols)}
            self.assertGreater(len(versions), 3)
            self.assertLessEqual(max(versions), GLIBC)

    def test_a_binary_is_stripped_and_tells_nothing_of_where_it_was_built(self):
        for platform in PLATFORMS:
            binary = self.unpacked(platform) / "sidestream"
            self.assertNotIn(".debug_info", call("readelf", "--sections", "--wide", binary))
            data = binary.read_bytes()
            for path in {str(ROOT), str(Path.home() / ".cargo"), str(Path.home() / ".rustup")}:
                self.assertFalse(path.encode() in data, f"{platform}: {path}")

    def test_all_packages_of_a_platform_carry_one_binary(self):
        for platform, (debian, machine) in PLATFORMS.items():
            binary = (self.unpacked(platform) / "sidestream").read_bytes()
            with tarfile.open(DIST / f"sidestream-{platform}-{VERSION}.tgz") as tar:
                self.assertEqual(tar.extractfile("package/sidestream").read(), binary)
                self.assertEqual(tar.getmember("package/sidestream").mode & 0o777, 0o755)
            with zipfile.ZipFile(made(f"*_{machine}.whl")) as wheel:
                self.assertEqual(wheel.read(f"sidestream-{VERSION}.data/scripts/sidestream"), binary)
            into = self.folder / debian
            call("dpkg-deb", "-x", made(f"*_{debian}.deb"), into)
            self.assertEqual((into / "usr/bin/sidestream").read_bytes(), binary)

    def test_a_tarball_has_what_a_service_needs(self):
        for platform in PLATFORMS:
            root = self.unpacked(platform)
            files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
            self.assertLessEqual(
                {"sidestream", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "config.example.toml",
                 "systemd/sidestream.service", "systemd/sidestream.socket", "completions/bash", "completions/zsh",
                 "completions/fish", "man/sidestream.1", "man/sidestream-serve.1"}, files)

    def test_every_package_has_the_version_of_the_crate(self):
        for _, (debian, machine) in PLATFORMS.items():
            self.assertEqual(call("dpkg-deb", "-f", made(f"*_{debian}.deb"), "Version").strip(), f"{VERSION}-1")
            with zipfile.ZipFile(made(f"*_{machine}.whl")) as wheel:
                self.assertIn(f"\nVersion: {VERSION}\n", wheel.read(f"sidestream-{VERSION}.dist-info/METADATA").decode())
        for name in [f"sidestream-{VERSION}.tgz", *(f"sidestream-{platform}-{VERSION}.tgz" for platform in PLATFORMS)]:
            with tarfile.open(DIST / name) as tar:
                manifest = json.load(tar.extractfile("package/package.json"))
                self.assertEqual(manifest["version"], VERSION)

    def test_the_bill_of_materials_has_every_crate_that_is_built_in(self):
        bom = json.loads((DIST / f"sidestream-{VERSION}.cdx.json").read_text())
        self.assertEqual((bom["bomFormat"], bom["metadata"]["component"]["version"]), ("CycloneDX", VERSION))
        listed = {f"{part['name']} v{part['version']}" for part in bom["components"]}
        tree = call("cargo", "tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--target",
                    "x86_64-unknown-linux-gnu", cwd=ROOT)
        built_in = {" ".join(line.split()[:2]) for line in tree.splitlines()} - {f"sidestream v{VERSION}", ""}
        self.assertGreater(len(built_in), 100)
        self.assertLessEqual(built_in, listed)
        self.assertNotIn(str(ROOT), json.dumps(bom))
