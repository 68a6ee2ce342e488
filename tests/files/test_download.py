"""Downloads against a server on this machine: resumed, checked, never half there."""

from __future__ import annotations

import errno
import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamdiffusion.files.download import LOCK, RemoteFile, download, inside, unpack

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT`, as the test wishes."""

    content = CONTENT
    ranges = True
    break_after: int | None = None  # bytes, of the next answer only
    requests: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.requests.append(wanted)
        if self.path == "/gone":
            self.send_error(404, "Not Found")
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://example.com/file")
            self.end_headers()
            return
        content, start = self.server.content, 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416, "Range Not Satisfiable")
                return
            self.send_response(206)
            end = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop, self.server.break_after = self.server.break_after, None
        self.wfile.write(content[start : stop if stop is not None else len(content)])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def remote(server: Server, page: str = "file", **more: object) -> RemoteFile:
    return RemoteFile(f"http://127.0.0.1:{server.server_port}/{page}", "a/b.csv", **more)  # type: ignore[arg-type]


def test_a_file_arrives_whole_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    file = remote(server, size=len(CONTENT), sha256=SHA256)
    path = download(file, tmp_path)
    assert path == tmp_path / "a" / "b.csv"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["b.csv"]
    download(file, tmp_path)
    assert server.requests == [None]
    assert not (tmp_path / LOCK).exists()  # the checksum is published


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_transfer_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, ranges: bool
) -> None:
    server.break_after, server.ranges = 300_000, ranges
    file = remote(server, sha256=SHA256)
    with pytest.raises(OSError, match="broke off"):
        download(file, tmp_path)
    part = tmp_path / "a" / "b.csv.part"
    assert part.read_bytes() == CONTENT[:300_000]
    assert not part.with_suffix("").exists()
    assert download(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=300000-"]


def test_a_part_that_is_too_long_is_begun_again(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "a" / "b.csv.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    assert download(remote(server, sha256=SHA256), tmp_path).read_bytes() == CONTENT


def test_wrong_content_never_gets_its_name(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"has the sha256 {SHA256}, expected 0000"):
        download(remote(server, sha256="0" * 64), tmp_path)
    with pytest.raises(ValueError, match="1024000 bytes, expected 5"):
        download(remote(server, size=5), tmp_path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []


def test_without_a_published_checksum_the_first_download_sets_it(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = download(remote(server), tmp_path)
    assert "not verified" in caplog.text
    assert json.loads((tmp_path / LOCK).read_text()) == {"a/b.csv": SHA256}
    path.unlink()
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(ValueError, match=f"expected {SHA256}"):
        download(remote(server), tmp_path)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="delete it and fetch it again"):
        download(remote(server), tmp_path)


def test_errors_name_the_address(server: Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"/gone: the server answers 404 Not Found"):
        download(remote(server, "gone"), tmp_path)
    with pytest.raises(ValueError, match=r"http://example.com/file is not https"):
        download(remote(server, "elsewhere"), tmp_path)
    with pytest.raises(ValueError, match="is not https"):
        download(RemoteFile("http://example.com/a", "a"), tmp_path)
    with pytest.raises(ValueError, match="is not https"):
        download(RemoteFile("file:///etc/passwd", "a"), tmp_path)
    port = server.server_port
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match="cannot be reached") as caught:
        download(RemoteFile(f"http://127.0.0.1:{port}/a", "x/a.csv"), tmp_path)
    # What to do by hand, and where the file has to be then.
    assert f"put it at {tmp_path / 'x' / 'a.csv'}" in str(caught.value)


def test_a_disk_that_is_full_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        def write(self, block: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode="r": Full() if mode == "wb" else real(self, mode)
    )
    with pytest.raises(OSError, match=r"b\.csv\.part broke off: .*No space left"):
        download(remote(server), tmp_path)
    assert not (tmp_path / "a" / "b.csv").exists()


OUTSIDE = ["../a", "a/../../b", "/etc/passwd", "..\\a", "C:\\a", "", "\\a"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        inside(tmp_path, path)
    assert inside(tmp_path, "a/b.csv") == tmp_path / "a" / "b.csv"
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(ValueError, match="leads out"):
        inside(tmp_path, "link/passwd")


def zip_of(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", **{"images/1.jpg": b"one", "images/2.jpg": b"two"})
    unpack(archive, tmp_path / "out")
    unpack(archive, tmp_path / "out")
    files = {p.name: p.read_bytes() for p in (tmp_path / "out" / "images").iterdir()}
    assert files == {"1.jpg": b"one", "2.jpg": b"two"}


@pytest.mark.parametrize("name", [path for path in OUTSIDE if path])
def test_a_zip_cannot_write_elsewhere(tmp_path: Path, name: str) -> None:
    archive = zip_of(tmp_path / "a.zip", **{"good.txt": b"1", name: b"evil"})
    out = tmp_path / "deep" / "out"
    with pytest.raises(ValueError, match="leads out"):
        unpack(archive, out)
    assert not out.exists()
    assert not (tmp_path / "a").exists()


def test_a_zip_cannot_plant_a_link_or_fill_the_disk(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(ValueError, match="holds the link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    bomb = zip_of(tmp_path / "b.zip", zeros=b"\0" * 20_000_000)
    with pytest.raises(ValueError, match="would unpack to 20000000"):
        unpack(bomb, tmp_path / "out")
    # An entry that understates its size does not get past it.
    lying = zip_of(tmp_path / "c.zip", zeros=b"\0" * 5000)
    raw = lying.read_bytes().replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little"))
    lying.write_bytes(raw)
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        unpack(lying, tmp_path / "out")
    assert not (tmp_path / "out" / "zeros").exists()
    (tmp_path / "d.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="is not a zip"):
        unpack(tmp_path / "d.zip", tmp_path / "out")
