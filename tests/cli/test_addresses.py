"""Images and clips behind addresses: fetched, worked on, named after them; what is missing is said in one line."""

import functools
import http.server
import json
import threading

import pytest
from PIL import Image


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(folder):
    """The desk behind HTTP."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_image_behind_an_address_is_segmented(sam2, tmp_path, address):
    arguments = ("--point", "9,9", "--out", tmp_path, "--json", "--quiet")
    status, output, errors = sam2("segment", f"{address}/photos/photo2.png?size=large", *arguments)
    (found,) = json.loads(output)
    assert (status, errors) == (0, "")
    assert found["files"] == [str(tmp_path / "photo2.png")]
    with Image.open(tmp_path / "photo2.png") as image:
        assert image.size == (found["width"], found["height"]) == (512, 512)


def test_a_clip_behind_an_address_is_tracked_as_the_file_is(sam2, tmp_path, address):
    rows = {}
    for clip in (f"{address}/clip.mp4", "clip.mp4"):
        arguments = ("--id", "cup", "--point", "60,50", "--format", "mp4,csv", "--out", tmp_path / clip[:4], "--quiet")
        status, _, errors = sam2("track", clip, *arguments)
        assert (status, errors) == (0, "")
        assert (tmp_path / clip[:4] / "clip.mp4").stat().st_size > 0
        rows[clip] = (tmp_path / clip[:4] / "clip.csv").read_text()
    fetched, local = rows.values()
    assert fetched == local and len(local.splitlines()) == 1 + 5


@pytest.mark.parametrize("command", ["segment", "track"])
def test_an_address_without_a_file_is_one_line(sam2, tmp_path, address, command):
    missing = f"{address}/missing.{'jpg' if command == 'segment' else 'mp4'}"
    status, output, errors = sam2(command, missing, "--point", "9,9", "--out", tmp_path / "out", "--quiet")
    assert (status, output) == (1, "")
    assert errors.startswith("error: ") and errors.count("\n") == 1
    assert missing in errors and "404" in errors
    assert not any(tmp_path.rglob("*.*"))
