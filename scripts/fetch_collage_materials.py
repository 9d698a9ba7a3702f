"""Fetches the images that collages are made of, from packages of Debian and npm, into a folder.

    python scripts/fetch_collage_materials.py materials

Needs `apt-get`, `dpkg-deb` and `npm`; nothing is installed. The folder then has `backgrounds/` (photographs, with the
longer side at 1600 pixels), `cutouts/` (objects with alpha: `stamps/`, mostly photographs, and `emoji/`, rendered) and
`SOURCES.json`: the packages, their versions and licences. The images are not part of the project and are not to be
committed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

WALLPAPERS = (
    "plasma-workspace-wallpapers",
    "mate-backgrounds",
    "ukui-wallpapers",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
)
STAMPS = "tuxpaint-stamps-default"
EMOJI = "@lobehub/fluent-emoji-3d"
LICENCES = {
    "plasma-workspace-wallpapers": "GPL-2+ and others, see the package's copyright file",
    "mate-backgrounds": "GPL-2+, CC-BY-SA-4.0",
    "ukui-wallpapers": "CC-BY-SA-3.0",
    "lomiri-wallpapers-16.04": "CC-BY-4.0, CC-BY-SA-3.0, CC-BY-SA-4.0, CC0-1.0",
    "lomiri-wallpapers-20.04": "CC-BY-4.0, CC-BY-SA-3.0, CC-BY-SA-4.0, CC0-1.0",
    STAMPS: "GPL-2 and public domain, see the package's copyright file",
    EMOJI: "MIT",
}
LONGER_SIDE = 1600
SMALLEST_SIDE = 700
# Photographs are JPEG files, and drawings mostly PNG. Images of one colour teach nothing.
SUFFIXES = (".jpg", ".jpeg")
LEAST_DEVIATION = 12.0
# Stamps that are no objects, and the share of a stamp's square that has to be transparent.
NO_OBJECTS = "symbols"
LEAST_TRANSPARENT = 0.03


def main(arguments: Sequence[str] | None = None) -> int:
    """Fills the folder; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(arguments).folder
    for tool in ("apt-get", "dpkg-deb", "npm"):
        if shutil.which(tool) is None:
            print(f"{tool} is needed and was not found", file=sys.stderr)
            return 1
    for kind in ("backgrounds", "cutouts/stamps", "cutouts/emoji"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    sources = []
    with tempfile.TemporaryDirectory() as work:
        for package in WALLPAPERS:
            archive = _download_from_debian(package, Path(work))
            count = _copy_photographs(Path(work) / package, folder / "backgrounds")
            sources.append({"package": package, "version": archive.name.split("_")[1], "images": count})
            print(f"{package}: {count} photographs")
        archive = _download_from_debian(STAMPS, Path(work))
        count = _copy_stamps(Path(work) / STAMPS, folder / "cutouts/stamps")
        sources.append({"package": STAMPS, "version": archive.name.split("_")[1], "images": count})
        print(f"{STAMPS}: {count} cut-outs")
        version, count = _copy_emoji(Path(work), folder / "cutouts/emoji")
        sources.append({"package": EMOJI, "version": version, "images": count})
        print(f"{EMOJI}: {count} cut-outs")
    for source in sources:
        source["licence"] = LICENCES[str(source["package"])]
    (folder / "SOURCES.json").write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")
    return 0


def _download_from_debian(package: str, work: Path) -> Path:
    """Downloads a package and unpacks it into a folder of its name; returns the file."""
    into = work / package
    into.mkdir()
    subprocess.run(["apt-get", "download", package], cwd=into, check=True, stdout=subprocess.DEVNULL)
    (archive,) = into.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=into, check=True)
    return archive


def _copy_photographs(source: Path, target: Path) -> int:
    """Copies what is large enough and a photograph, one file of each name and folder."""
    count = 0
    seen: set[str] = set()
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or path.is_symlink() or path.name.startswith("screenshot"):
            continue
        # Wallpapers lie in NAME/contents/images/SIZE.jpg, or are files of their own; sizes of one look alike.
        name = path.parents[2].name if path.parents[1].name == "contents" else path.stem
        name = name.removesuffix("_3840x2160").removesuffix("_5640x3172")
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        if name in seen or min(image.size) < SMALLEST_SIDE or np.asarray(image).std() < LEAST_DEVIATION:
            continue
        seen.add(name)
        image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
        image.save(target / f"{name}.jpg", quality=92)
        count += 1
    return count


def _copy_stamps(source: Path, target: Path) -> int:
    """Copies the stamps that show an object with something transparent around it; returns their number."""
    count = 0
    stamps = source / "usr/share/tuxpaint/stamps"
    for path in sorted(stamps.rglob("*.png")):
        parts = path.relative_to(stamps).parts
        with Image.open(path) as opened:
            image = opened.convert("RGBA")
        transparent = np.mean(np.asarray(image.getchannel("A")) < 10)
        if parts[0] != NO_OBJECTS and LEAST_TRANSPARENT < transparent < 1:
            image.save(target / f"{'-'.join(parts)}")
            count += 1
    return count


def _copy_emoji(work: Path, target: Path) -> tuple[str, int]:
    """Copies the package's images, one skin tone of each; returns its version and their number."""
    subprocess.run(["npm", "pack", EMOJI, "--silent"], cwd=work, check=True, stdout=subprocess.DEVNULL)
    (archive,) = work.glob("*.tgz")
    with tarfile.open(archive) as package:
        package.extractall(work / "npm", filter="data")
    version = json.loads((work / "npm/package/package.json").read_text(encoding="utf-8"))["version"]
    count = 0
    for path in sorted((work / "npm/package/assets").glob("*.webp")):
        if any(tone in path.stem for tone in ("1f3fb", "1f3fc", "1f3fe", "1f3ff")):
            continue
        shutil.copy(path, target / path.name)
        count += 1
    return version, count


if __name__ == "__main__":
    sys.exit(main())
