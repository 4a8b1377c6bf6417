#!/usr/bin/env python3
"""Makes what a release has, in dist: `make dist`, which brings the tools that this calls.

For each platform a tarball, a .deb, an npm package and a wheel, of one binary; for all of them the npm package that chooses
between the platforms, a list of what is built in (SBOM) and SHA256SUMS. The version is that of Cargo.toml, and the times in
the archives are the last commit's. `packaging/dist.py linux-x64` makes those of one platform only.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from archive import Entry, entry, tarball, wheel

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "dist"
# What is packed and is no file of the repository.
WORK = ROOT / "target/dist-work"

# The oldest C library that the binary runs on: Debian 10, RHEL 8, Ubuntu 18.10.
GLIBC = "2.28"


@dataclass(frozen=True)
class Platform:
    name: str
    triple: str
    machine: str
    # For cargo, beside what is the same on all platforms.
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def binary(self) -> Path:
        return ROOT / "target" / self.triple / "dist/sidestream"


PLATFORMS = [
    Platform("linux-x64", "x86_64-unknown-linux-gnu", "x86_64"),
    # There are arm64 kernels with pages of 4, 16 and 64 KiB. jemalloc built for the largest runs on all.
    Platform("linux-arm64", "aarch64-unknown-linux-gnu", "aarch64", (("JEMALLOC_SYS_WITH_LG_PAGE", "16"),)),
]


def fail(text: str) -> None:
    sys.exit(f"dist: {text}")


def run(*command: str | Path, **options) -> None:
    print("dist:", *command, flush=True)
    if subprocess.run(command, cwd=options.pop("cwd", ROOT), **options).returncode != 0:
        fail(f"{command[0]} failed")


def output(*command: str | Path) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def crate() -> dict:
    """The package as Cargo.toml describes it."""
    packages = json.loads(output("cargo", "metadata", "--no-deps", "--format-version", "1"))["packages"]
    return next(package for package in packages if package["name"] == "sidestream")


def when() -> int:
    """The time that stands in the archives."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or output("git", "log", "-1", "--format=%ct"))


def build(of: Platform, epoch: int) -> None:
    installed = Path(output("rustc", "--print", "sysroot").strip()) / "lib/rustlib" / of.triple
    sources = None if installed.exists() else os.environ.get("RUST_SRC")
    if not installed.exists() and not sources:
        run("rustup", "target", "add", of.triple)
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    # No path of this machine is to stand in messages and debug information.
    paths = {str(home): "/cargo", str(ROOT): "/sidestream"}
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(epoch), **dict(of.environment))
    flags = " ".join(f"-ffile-prefix-map={a}={b}" for a, b in paths.items())
    environment[f"CFLAGS_{of.triple.replace('-', '_')}"] = flags
    build_std = []
    if sources:
        # The names by which cargo takes the standard library's sources from elsewhere than rustup's folder, and lets a stable
        # compiler build it.
        environment |= {"__CARGO_TESTS_ONLY_SRC_ROOT": f"{sources}/library", "RUSTC_BOOTSTRAP": "1"}
        build_std = ["-Zbuild-std=std,panic_unwind"]
        paths[sources] = "/rust"
    environment["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(f"--remap-path-prefix={a}={b}" for a, b in paths.items())
    run("cargo", "zigbuild", "--locked", "--profile", "dist", "--bin", "sidestream",
        "--target", f"{of.triple}.{GLIBC}", *build_std, env=environment)


def write_texts() -> None:
    """Completions and man pages, which the binary itself writes."""
    native = next((of.binary for of in PLATFORMS if of.machine == platform.machine() and of.binary.exists()), None)
    if native is None:
        fail("completions and man pages need a binary that runs on this machine")
    (WORK / "completions").mkdir(parents=True)
    for shell in ["bash", "zsh", "fish"]:
        (WORK / "completions" / shell).write_text(output(native, "completions", shell))
    run(native, "man", "--out", WORK / "man")


def pack_tarball(of: Platform, version: str, epoch: int) -> None:
    top = f"sidestream-{version}-{of.name}"
    names = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "config.example.toml",
             "systemd/sidestream.service", "systemd/sidestream.socket"]
    entries = [entry(f"{top}/{name}", ROOT / name) for name in names]
    entries.append(entry(f"{top}/sidestream", of.binary, 0o755))
    entries += [entry(f"{top}/{path.relative_to(WORK)}", path)
                for folder in ["completions", "man"] for path in (WORK / folder).iterdir()]
    tarball(OUT / f"{top}.tar.gz", entries, epoch)


def pack_deb(of: Platform, epoch: int) -> None:
    # By a folder, so that the file's name is cargo-deb's own: sidestream_<version>-1_<architecture>.deb.
    run("cargo", "deb", "--no-build", "--no-strip", "--profile", "dist", "--target", of.triple, "--output", f"{OUT}/",
        env=dict(os.environ, SOURCE_DATE_EPOCH=str(epoch)))


def pack_npm(name: str, manifest: dict, files: dict[str, tuple[Path, int]]) -> None:
    stage = WORK / "npm" / name
    stage.mkdir(parents=True)
    (stage / "package.json").write_text(json.dumps(manifest, indent=2) + "\n")
    licences = {licence: (ROOT / licence, 0o644) for licence in ["LICENSE-APACHE", "LICENSE-MIT"]}
    for target, (source, mode) in {**files, **licences}.items():
        shutil.copyfile(source, stage / target)
        (stage / target).chmod(mode)
    run("npm", "pack", "--silent", "--pack-destination", OUT, cwd=stage)


def npm_manifest(version: str) -> dict:
    manifest = json.loads((ROOT / "packaging/npm/sidestream/package.json").read_text())
    versions = {manifest["version"], *manifest["optionalDependencies"].values()}
    if versions != {version}:
        fail(f"packaging/npm/sidestream/package.json has the versions {sorted(versions)}, Cargo.toml has {version}")
    return manifest


def pack_npm_platform(of: Platform, version: str) -> None:
    system, cpu = of.name.split("-")
    manifest = {
        "name": f"@sidestream/{of.name}",
        "version": version,
        "description": f"The program of the package sidestream, for {system} on {cpu}",
        "license": npm_manifest(version)["license"],
        "os": [system],
        "cpu": [cpu],
        "libc": ["glibc"],
        "files": ["sidestream", "LICENSE-APACHE", "LICENSE-MIT"],
        "preferUnplugged": True,
    }
    pack_npm(of.name, manifest, {"sidestream": (of.binary, 0o755)})


def pack_npm_main(version: str) -> None:
    folder = ROOT / "packaging/npm/sidestream"
    files = {"cli.js": (folder / "cli.js", 0o755), "README.md": (folder / "README.md", 0o644)}
    pack_npm("sidestream", npm_manifest(version), files)


def pack_wheel(of: Platform, package: dict, epoch: int) -> None:
    version = package["version"]
    tag = f"py3-none-manylinux_{GLIBC.replace('.', '_')}_{of.machine}"
    info = f"sidestream-{version}.dist-info"
    metadata = f"""Metadata-Version: 2.4
Name: sidestream
Version: {version}
Summary: {package["description"]}
License-Expression: {package["license"]}
License-File: LICENSE-APACHE
License-File: LICENSE-MIT
Keywords: {",".join(package["keywords"])}
Classifier: Operating System :: POSIX :: Linux
Classifier: Topic :: Internet :: WWW/HTTP :: HTTP Servers
Requires-Python: >=3.7
Description-Content-Type: text/markdown

{(ROOT / "packaging/pypi/README.md").read_text()}"""
    described = f"Wheel-Version: 1.0\nGenerator: sidestream {version}\nRoot-Is-Purelib: false\nTag: {tag}\n"
    entries = [entry(f"sidestream-{version}.data/scripts/sidestream", of.binary, 0o755)]
    entries += [entry(f"{info}/licenses/{name}", ROOT / name) for name in ["LICENSE-APACHE", "LICENSE-MIT"]]
    entries += [Entry(f"{info}/METADATA", metadata.encode()), Entry(f"{info}/WHEEL", described.encode())]
    wheel(OUT / f"sidestream-{version}-{tag}.whl", entries, info, epoch)


def list_what_is_built_in(version: str, epoch: int) -> None:
    """The crates in the binary, as CycloneDX describes them."""
    name = f"sidestream-{version}.cdx"
    run("cargo", "cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--target",
        PLATFORMS[0].triple, "--override-filename", name)
    # It writes one beside each manifest of the workspace.
    (ROOT / f"bench/{name}.json").unlink(missing_ok=True)
    made = ROOT / f"{name}.json"
    text = made.read_text().replace(f"path+file://{ROOT}", "path+file:///sidestream")
    made.unlink()
    bom = json.loads(text)
    bom["metadata"]["timestamp"] = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    bom.pop("serialNumber", None)
    same = json.dumps(bom, sort_keys=True)
    bom["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, same)}"
    (OUT / f"{name}.json").write_text(json.dumps(bom, indent=2, sort_keys=True) + "\n")


def write_sums() -> None:
    files = sorted(path for path in OUT.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (OUT / "SHA256SUMS").write_text("".join(lines))
    for path in files:
        print(f"dist: {path.stat().st_size / 1e6:7.2f} MB  {path.name}")


def main() -> None:
    asked = sys.argv[1:] or [of.name for of in PLATFORMS]
    unknown = set(asked) - {of.name for of in PLATFORMS}
    if unknown:
        fail(f"there is no platform {', '.join(sorted(unknown))}")
    chosen = [of for of in PLATFORMS if of.name in asked]
    package, epoch = crate(), when()
    version = package["version"]
    for folder in [OUT, WORK]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for of in chosen:
        build(of, epoch)
    write_texts()
    for of in chosen:
        pack_tarball(of, version, epoch)
        pack_deb(of, epoch)
        pack_npm_platform(of, version)
        pack_wheel(of, package, epoch)
    pack_npm_main(version)
    list_what_is_built_in(version, epoch)
    write_sums()


if __name__ == "__main__":
    main()
