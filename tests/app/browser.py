"""What the tests that drive the app share: Chromium, the server, and a page with words for what a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PATIENCE = 60_000  # milliseconds

ALPHA = """async (image) => {
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const rows = [];
  for (let y = 0; y < canvas.height; y++) {
    let row = "";
    for (let x = 0; x < canvas.width; x++) row += data[4 * (y * canvas.width + x) + 3] > 0 ? "1" : "0";
    rows.push(row);
  }
  return rows;
}"""


def find_chromium() -> str | None:
    """The path of Chromium: of `SAM2_CHROMIUM`, or of a program of one of its names."""
    named = os.environ.get("SAM2_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def started_chromium(path: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *CAMERA])
        try:
            yield browser
        finally:
            browser.close()


class AppPage:
    """One tab of the app in one browser, which shares nothing with another."""

    def __init__(self, browser: Any, address: str, mode: str = "image", **settings: Any):
        given = {"viewport": {"width": 1280, "height": 900}, "permissions": ["camera"], **settings}
        self.context = browser.new_context(**given)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.mode = mode
        self.faults: list[str] = []
        self.addresses: list[str] = []
        self.page.on("console", lambda said: said.type == "error" and self.faults.append(said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.addresses.append(request.url))
        self.page.goto(address)
        self.page.locator("#image-stage .s2-empty").wait_for()
        if mode != "image":
            self.page.get_by_role("tab", name=mode.capitalize()).click()
        self.find(".s2-empty").wait_for(state="visible")

    def find(self, selector: str) -> Any:
        return self.page.locator(f"#{self.mode}-stage {selector}")

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Wait until the server has answered what is done within."""
        before = self._answer()
        yield
        self.page.wait_for_function(
            "([selector, before]) => { const s = document.querySelector(selector);"
            " return Number(s.dataset.answer || 0) > before && !s.classList.contains('s2-waits')"
            " && !s.classList.contains('s2-tracks') }",
            arg=[f"#{self.mode}-stage .s2-stage", before],
            timeout=PATIENCE,
        )

    def _answer(self) -> int:
        return int(self.find(".s2-stage").get_attribute("data-answer") or 0)

    def upload(self, path: Any) -> None:
        with self.answered():
            self.page.set_input_files(f"input[type=file]:has(+ #{self.mode}-upload)", path)

    def spot(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel (x, y) of the image is on the page."""
        frame = self.find(".s2-frame")
        frame.evaluate("(frame) => frame.scrollIntoView({ block: 'center' })")
        box = frame.bounding_box()
        width, height = self.size
        return box["x"] + (x + 0.5) * box["width"] / width, box["y"] + (y + 0.5) * box["height"] / height

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the image."""
        width, height = self.find(".s2-marks").get_attribute("viewBox").split()[2:]
        return int(width), int(height)

    def click(self, x: float, y: float, button: str = "left") -> None:
        with self.answered():
            self.page.mouse.click(*self.spot(x, y), button=button)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        with self.answered():
            self.page.mouse.move(*self.spot(*start))
            self.page.mouse.down()
            self.page.mouse.move(*self.spot(*end), steps=4)
            self.page.mouse.up()

    def press(self, key: str) -> None:
        with self.answered():
            self.page.keyboard.press(key)

    def points(self) -> list[tuple[float, float]]:
        """The points that are drawn, (x, y) in pixels of the image."""
        return [
            (float(circle.get_attribute("cx")), float(circle.get_attribute("cy")))
            for circle in self.find(".s2-marks circle").all()
        ]

    def mask(self, number: int) -> np.ndarray:
        """The pixels that are coloured by the layer of an object."""
        rows = self.find(f'.s2-layers img[data-number="{number}"]').evaluate(ALPHA)
        return np.array([[sign == "1" for sign in row] for row in rows])

    def layers(self) -> list[int]:
        return [int(layer.get_attribute("data-number")) for layer in self.find(".s2-layers img").all()]

    def note(self) -> str:
        return self.find(".s2-note").inner_text()

    def download(self, kind: str, folder: Any) -> Any:
        with self.page.expect_download() as waiting:
            self.page.click(f"#{self.mode}-download-{kind}")
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def close(self) -> None:
        self.context.close()
