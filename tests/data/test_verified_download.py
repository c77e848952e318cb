import gzip
import hashlib
import http.server
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from minigrad.data import DataError, download, verified_download

CONTENT = bytes(range(256)) * 300
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "mirror" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "deep" / "file.bin"


@pytest.fixture
def truncating_server():
    """A server on this machine that promises the whole file and hangs up halfway."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # the name that http.server looks for
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/file.bin"
    server.shutdown()
    thread.join()
    server.server_close()


def only_file_in(folder):
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_or_a_pipe_in_place_of_the_file_is_named(source, target, make):
    target.parent.mkdir(parents=True)
    make(target)
    with pytest.raises(DataError, match=f"{target} is not a file"):
        download([source.as_uri()], target, MD5, "a file")
    assert only_file_in(target.parent) == target


def test_fetches_the_file_and_leaves_nothing_else(source, target):
    download([source.as_uri()], target, MD5, "a file")
    assert target.read_bytes() == CONTENT
    assert only_file_in(target.parent) == target


def test_an_intact_file_is_not_fetched_again(source, target):
    download([source.as_uri()], target, MD5, "a file")
    source.unlink()
    download([source.as_uri()], target, MD5, "a file")
    assert target.read_bytes() == CONTENT


def test_a_damaged_file_is_replaced(source, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT[:-1])
    download([source.as_uri()], target, MD5, "a file")
    assert target.read_bytes() == CONTENT


def test_mirrors_are_tried_in_order(source, target, truncating_server):
    wrong = source.with_name("wrong.bin")
    wrong.write_bytes(b"<html>Not what you asked for.</html>")
    missing = source.with_name("missing.bin")
    urls = [missing.as_uri(), wrong.as_uri(), truncating_server, source.as_uri()]
    download(urls, target, MD5, "a file")
    assert target.read_bytes() == CONTENT
    assert only_file_in(target.parent) == target


def test_several_at_once_do_not_write_into_the_same_file(source, target, monkeypatch):
    """Each stops halfway until all have come as far."""
    halfway, plain = threading.Barrier(3, timeout=30), verified_download._stream

    def slow(url, file, what):
        file.write(CONTENT[: len(CONTENT) // 2])
        file.flush()
        halfway.wait()
        file.seek(0)
        plain(url, file, what)

    monkeypatch.setattr(verified_download, "_stream", slow)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: download([source.as_uri()], target, MD5, "a file"), range(3)))
    assert target.read_bytes() == CONTENT and only_file_in(target.parent) == target


def test_what_killed_downloads_left_goes_after_a_day(source, target):
    target.parent.mkdir(parents=True)
    old, new, other = (target.with_name(f".{name}.part") for name in ("file.bin.0123abcd", "file.bin.89ef4567", "mine"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (time.time() - 25 * 60 * 60,) * 2)
    download([source.as_uri()], target, MD5, "a file")
    assert sorted(target.parent.iterdir()) == sorted([new, other, target])


def test_the_error_says_how_to_place_the_file_by_hand(source, target, truncating_server):
    urls = [source.with_name("missing.bin").as_uri(), truncating_server]
    with pytest.raises(DataError) as caught:
        download(urls, target, MD5, "a file")
    message = str(caught.value)
    assert all(part in message for part in [*urls, str(target), MD5, "a file"])
    assert "\n" not in message
    assert list(target.parent.iterdir()) == []


def test_an_old_file_survives_a_failed_download(source, target):
    target.parent.mkdir(parents=True)
    target.write_bytes(b"old")
    with pytest.raises(DataError):
        download([source.with_name("missing.bin").as_uri()], target, MD5, "a file")
    assert target.read_bytes() == b"old"


def test_a_target_that_cannot_be_made_is_a_data_error(source):
    with pytest.raises(DataError, match="could not be downloaded"):
        download([source.as_uri()], source / "below a file" / "file.bin", MD5, "a file")


@pytest.mark.parametrize("level", [1, 9])
def test_gzipped_compares_the_contents_however_packed(tmp_path, target, level):
    packed = tmp_path / "file.gz"
    packed.write_bytes(gzip.compress(CONTENT, level))
    download([packed.as_uri()], target, MD5, "a file", gzipped=True)
    assert gzip.decompress(target.read_bytes()) == CONTENT


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-20], lambda b: b"not gzip" + b, lambda b: b[:60] + b"?" * 40 + b[100:]]
)
def test_a_damaged_gzip_file_is_refused(tmp_path, target, damage):
    packed = tmp_path / "file.gz"
    packed.write_bytes(damage(gzip.compress(CONTENT)))
    with pytest.raises(DataError, match="unpacked contents have MD5"):
        download([packed.as_uri()], target, MD5, "a file", gzipped=True)
