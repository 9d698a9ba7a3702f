"""The page that `export(web=...)` writes: what is copied, and the page itself, driven in Chromium (`-m browser`)."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sam2_hf
from sam2_hf.exporters.web_page import RUNTIME_FILES, find_runtime, write_page

sys.path.append(str(Path(__file__).parents[1] / "app"))

NODE_FOLDER = os.environ.get("SAM2_NODE_FOLDER", "")
PATIENCE = 300_000  # milliseconds
CLICK = (161, 103)  # of the sample image, 384 pixels wide
TRACKED = (318, 202)  # of the first frame of the sample clip
ALIKE = 0.95  # of areas: the browser resizes with a filter of its own


@pytest.fixture
def package(tmp_path):
    """A folder with the names of onnxruntime-web's files."""
    (tmp_path / "package/dist").mkdir(parents=True)
    for name in RUNTIME_FILES:
        (tmp_path / "package/dist" / name).write_text(name)
    (tmp_path / "package/LICENSE").write_text("MIT")
    return tmp_path / "package"


def test_the_page_is_complete(package, tmp_path):
    """Every file that a module of the page imports or fetches from beside itself is there."""
    folder = tmp_path / "page"
    folder.mkdir()
    write_page(folder, find_runtime(package))
    for script in folder.glob("*.js"):
        for line in script.read_text().splitlines():
            if line.startswith("import "):
                assert (folder / line.split("'")[1]).is_file(), line
    frames = json.loads((folder / "samples/clip.json").read_text())
    sizes = {Image.open(folder / name).size for name in ["samples/image.jpg", *frames]}
    assert len(frames) == 8 and sizes == {(384, 384)}
    assert (folder / "ort/LICENSE").read_text() == "MIT"
    assert "http" not in "".join(path.read_text() for path in folder.glob("*.js"))


def test_a_folder_without_the_runtime_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="npm install onnxruntime-web"):
        find_runtime(tmp_path)
    with pytest.raises(FileNotFoundError, match="npm install"):
        sam2_hf.export(sam2_hf.bundled_checkpoint(), tmp_path / "graphs", web=tmp_path)
    assert not (tmp_path / "graphs").exists()


def test_a_page_needs_the_graphs_that_it_runs(package, tmp_path):
    for wrong in ({"names": "samexporter"}, {"format": "torch-export"}, {"graphs": ["vision_encoder"]}):
        with pytest.raises(ValueError, match="web"):
            sam2_hf.export(sam2_hf.bundled_checkpoint(), tmp_path / "graphs", web=package, **wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    given = os.environ.get("SAM2_WEB_FOLDER")
    if given:
        return Path(given)
    if not (Path(NODE_FOLDER) / "node_modules/onnxruntime-web").is_dir():
        pytest.skip("needs onnxruntime-web in the folder that SAM2_NODE_FOLDER names")
    pytest.importorskip("onnxscript", reason="ONNX files need the extra export")
    target = tmp_path_factory.mktemp("web") / "page"
    return sam2_hf.export(sam2_hf.bundled_checkpoint(), target, web=NODE_FOLDER).folder


@pytest.fixture(scope="module")
def page(folder) -> Iterator:
    pytest.importorskip("playwright", reason="needs playwright")
    from browser import find_chromium, started_chromium

    path = find_chromium()
    if path is None:
        pytest.skip("needs Chromium")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, started_chromium(path) as chromium:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = chromium.new_page(viewport={"width": 900, "height": 1000})
        opened.set_default_timeout(PATIENCE)
        opened.faults, opened.addresses = [], []
        opened.on("pageerror", lambda error: opened.faults.append(str(error)))
        opened.on("console", lambda said: said.type == "error" and opened.faults.append(said.text))
        opened.on("request", lambda request: opened.addresses.append(request.url))
        opened.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        wait_for(opened, "Click an object.")
        yield opened
        server.shutdown()


def wait_for(page, text: str) -> None:
    page.wait_for_function("text => document.getElementById('status').textContent.includes(text)", arg=text)
    assert not page.faults, page.faults


def click_at(page, x: int, y: int) -> None:
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + x / 384 * box["width"], box["y"] + y / 384 * box["height"])
    wait_for(page, "estimated IoU")


def areas(page) -> list[int]:
    return page.evaluate("window.sam2.areas")


@pytest.mark.browser
def test_a_click_gives_our_mask(page, folder):
    click_at(page, *CLICK)
    result = sam2_hf.segment(folder / "samples/image.jpg", points=[CLICK], checkpoint=sam2_hf.bundled_checkpoint())
    (ours,) = np.asarray(result.masks)
    (area,) = areas(page)
    assert abs(area - ours.sum()) < (1 - ALIKE) * ours.sum()


@pytest.mark.browser
def test_a_clip_is_tracked_as_we_track_it(page, folder):
    page.locator("#sample-clip").click()
    wait_for(page, "8 frames")
    frames = [Image.open(folder / name) for name in json.loads((folder / "samples/clip.json").read_text())]
    click_at(page, *TRACKED)
    page.locator("#track").click()
    wait_for(page, "frames in")
    (area,) = areas(page)
    tracks = sam2_hf.track(
        [np.asarray(frame) for frame in frames], {1: [TRACKED]}, checkpoint=sam2_hf.bundled_checkpoint()
    )
    ours = int(np.asarray(tracks[7].masks)[0].sum())
    assert ours > 500 and abs(area - ours) < (1 - ALIKE) * ours


@pytest.mark.browser
def test_nothing_is_fetched_from_elsewhere(page):
    hosts = {address.split("/")[2].partition(":")[0] for address in page.addresses if address.startswith("http")}
    assert hosts == {"127.0.0.1"}
