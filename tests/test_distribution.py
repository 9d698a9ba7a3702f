"""What is published beside the code: contents of the wheel and the sdist, and files that repeat a version."""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from sam2_hf import __version__

ROOT = Path(__file__).parents[1]


def load_script():
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / "scripts" / "check_wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_wheel = load_script()
LICENCE = "sam2_hf-1.dist-info/licenses/LICENSE"
SDIST = [f"src/{name}" for name in check_wheel.NEEDED] + ["README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml"]


def write_wheel(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            wheel.writestr(name, "")
    return path


def write_sdist(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w:gz") as sdist:
        for name in names:
            sdist.addfile(tarfile.TarInfo(f"sam2_hf-1/{name}"), io.BytesIO())
    return path


def test_a_complete_wheel_passes(tmp_path, capsys):
    wheel = write_wheel(tmp_path / "a.whl", [*check_wheel.NEEDED, LICENCE, "sam2_hf/__init__.py"])
    sdist = write_sdist(tmp_path / "a.tar.gz", SDIST)
    assert check_wheel.main(["--contents", str(wheel), str(sdist)]) == 0
    assert capsys.readouterr().out.count("holds what it must") == 2


def test_the_distribution_without_torch_is_checked_for_its_own_files(tmp_path):
    licence = "sam2_hf_runtime-1.dist-info/licenses/LICENSE"
    wheel = write_wheel(tmp_path / "sam2_hf_runtime-1.whl", [*check_wheel.RUNTIME_NEEDED, licence])
    files = [*check_wheel.RUNTIME_SDIST_NEEDED, "README.md", "LICENSE", "pyproject.toml", "hatch_build.py"]
    sdist = write_sdist(tmp_path / "sam2_hf_runtime-1.tar.gz", files)
    assert check_wheel.wrong_contents(wheel) == check_wheel.wrong_contents(sdist) == []
    write_wheel(wheel, [*check_wheel.RUNTIME_NEEDED[1:], licence, "sam2_hf/version.py"])
    write_sdist(sdist, [*files[1:], "tests/test_a.py"])
    assert check_wheel.wrong_contents(wheel) == [
        "sam2_hf_runtime/__init__.py is missing",
        "sam2_hf/version.py does not belong there",
    ]
    assert check_wheel.wrong_contents(sdist) == [
        "sam2_hf_runtime/__init__.py is missing",
        "tests/test_a.py does not belong there",
    ]


@pytest.mark.parametrize("name", [*check_wheel.NEEDED, LICENCE])
def test_a_file_that_is_missing_in_the_wheel_is_named(name, tmp_path):
    names = [other for other in (*check_wheel.NEEDED, LICENCE) if other != name]
    (line,) = check_wheel.wrong_contents(write_wheel(tmp_path / "a.whl", names))
    assert line == f"{'LICENSE' if name == LICENCE else name} is missing"


@pytest.mark.parametrize("name", ["tests/test_rle.py", "benchmarks/__init__.py", "sam2_hf/tests/a.py", "sam2_hf/a.pyc"])
def test_a_file_that_does_not_belong_into_the_wheel_is_named(name, tmp_path):
    wheel = write_wheel(tmp_path / "a.whl", [*check_wheel.NEEDED, LICENCE, name])
    assert check_wheel.wrong_contents(wheel) == [f"{name} does not belong there"]
    with pytest.raises(SystemExit, match=f"a.whl: {re.escape(name)} does not belong there"):
        check_wheel.main([str(wheel)])


@pytest.mark.parametrize("name", ["tests/test_rle.py", "benchmarks/__init__.py", "src/other/a.py", "src/sam2_hf/a.pyc"])
def test_a_file_that_does_not_belong_into_the_sdist_is_named(name, tmp_path):
    sdist = write_sdist(tmp_path / "a.tar.gz", [*SDIST, name])
    assert check_wheel.wrong_contents(sdist) == [f"{name} does not belong there"]


def test_files_that_are_missing_in_the_sdist_are_named(tmp_path):
    sdist = write_sdist(tmp_path / "a.tar.gz", SDIST[1:])
    assert check_wheel.wrong_contents(sdist) == ["src/sam2_hf/py.typed is missing"]


def test_the_checks_refuse_the_package_of_the_repository():
    """Pytest imports it from `src`, so the check of the installed package must stop here."""
    with pytest.raises(SystemExit, match="expected the installed package"):
        check_wheel.main(["--installed"])


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == __version__
    assert f"## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_pre_commit_runs_the_linter_that_make_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (ruff,) = [repo["rev"] for repo in hooks["repos"] if repo["repo"].endswith("ruff-pre-commit")]
    assert f"\nruff=={ruff.removeprefix('v')}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_continuous_integration_runs_the_commands_of_the_pages():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make (.*)$", script, re.MULTILINE) == ["test", "test-older", "test-browser"]


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_the_tests_for_older_processors_exist():
    dry_run = subprocess.run(["make", "--dry-run", "test-older"], cwd=ROOT, capture_output=True, text=True, check=True)
    (command,) = [
        line for line in dry_run.stdout.replace("\\\n", " ").splitlines() if "ATEN_CPU_CAPABILITY=avx2" in line
    ]
    paths = re.findall(r"tests/\S+", command)
    assert len(paths) > 10 and all((ROOT / path).exists() for path in paths)


def test_the_workflow_runs_the_commands_on_every_supported_python():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    commands, wheel = workflow["jobs"]["commands"], workflow["jobs"]["wheel"]
    for job in (commands, wheel):
        assert job["strategy"]["matrix"]["python"] == supported
    runs = [step["run"].split()[:2] for step in commands["steps"] if "run" in step]
    assert runs == [["make", "demo"], ["make", "test"], ["make", "test-older"]]
    (lowest,) = re.findall(r'"transformers>=([\d.]+),', project)
    assert f"{lowest}.0" in wheel["strategy"]["matrix"]["transformers"]


def test_an_installation_that_fails_is_one_line(tmp_path):
    wheel = write_wheel(tmp_path / "a.whl", [*check_wheel.NEEDED, LICENCE])
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\nexit 3\n")
    failing.chmod(0o755)
    with pytest.raises(SystemExit, match=r"^a.whl: .*python -m venv .* failed with status 3$"):
        check_wheel.main([str(wheel), "--python", str(failing)])
