"""Archives that are the same, to the byte, whenever and wherever they are made of the same files."""

import base64
import gzip
import hashlib
import io
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    name: str
    data: bytes
    mode: int = 0o644


def entry(name: str, source: Path, mode: int = 0o644) -> Entry:
    return Entry(name, source.read_bytes(), mode)


def tarball(to: Path, entries: list[Entry], when: int) -> None:
    with to.open("wb") as file, gzip.GzipFile("", "wb", 9, file, when) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for item in sorted(entries, key=lambda item: item.name):
                info = tarfile.TarInfo(item.name)
                info.size, info.mode, info.mtime = len(item.data), item.mode, when
                info.uname = info.gname = "root"
                tar.addfile(info, io.BytesIO(item.data))


def wheel(to: Path, entries: list[Entry], dist_info: str, when: int) -> None:
    """A wheel of these entries, with the RECORD that it needs."""
    rows = [f"{item.name},sha256={_digest(item.data)},{len(item.data)}" for item in entries]
    record = "\n".join([*rows, f"{dist_info}/RECORD,,"]) + "\n"
    date = time.gmtime(when)[:6]
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for item in [*entries, Entry(f"{dist_info}/RECORD", record.encode())]:
            info = zipfile.ZipInfo(item.name, date)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100000 | item.mode) << 16
            packed.writestr(info, item.data)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
