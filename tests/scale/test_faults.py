"""The campaign of `benchmarks/batch_faults.py` with few rows and kills."""

import pytest

pytest.importorskip("pyarrow")

from benchmarks.batch_faults import main


@pytest.mark.slow
def test_kills_and_a_full_disk_leave_what_an_undisturbed_run_leaves(capsys):
    assert main(["--images", "150", "--clips", "3", "--kills", "2"]) == 0
    lines = capsys.readouterr().out
    assert "2 of 153 rows damaged, 2 rows with an error, none lost" in lines
    assert "drivers killed, 0 workers outlived them" in lines and lines.count("0 computed twice") == 3
