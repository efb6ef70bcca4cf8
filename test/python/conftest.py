"""Fixtures of the tests of onepiece_stage."""

import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent)]

from stage_process import StageProcess  # noqa: E402


@pytest.fixture
def process():
    made = StageProcess()
    yield made
    made.close()


@pytest.fixture
def write(tmp_path):
    """Writes the file of a stage."""

    def make(text, name="stage_file.py"):
        file = tmp_path / name
        file.write_text("from onepiece_stage import Stage, Task, stage\n" + text)
        return file

    return make
