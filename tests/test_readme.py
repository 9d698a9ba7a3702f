"""README and docs: files, links, packages and make targets that they name. `test_docs` runs their code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_make_has_every_target_and_variable_that_the_pages_name():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pages = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^make ([a-z]+)", pages, re.MULTILINE))
    assert targets >= {"demo", "test", "format"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for variable in re.findall(r"\b([A-Z][A-Z_]+)=", pages):
        assert re.search(rf"^{variable} \?=", makefile, re.MULTILINE), variable


def test_every_file_and_link_on_the_pages_exists():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
        files = re.findall(r"\b((?:tests|scripts|src|docs)/[\w/.-]+\.\w+)", text)
        missing = [link for link in links if not (page.parent / link).exists()]
        missing += [file for file in files if not (ROOT / file).exists() and not (page.parent / file).exists()]
        assert not missing, f"{page.name} names {missing}"


def test_every_room_is_on_the_map():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "sam2_hf"
    rooms = {path.name for path in package.glob("*.py")} | {f"{path.parent.name}/" for path in package.glob("*/*.py")}
    assert not {name for name in rooms if f"`{name}`" not in page}
