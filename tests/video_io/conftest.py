"""Clips of many kinds, written when a test asks for them."""

import av
import pytest
from clips import write_clip
from kinds_of_clips import CLIPS, COUNT


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    written = {}

    def get(name):
        if name not in written:
            codec = CLIPS[name].get("codec", "libx264")
            try:
                av.Codec(codec, "w")
            except ValueError:
                pytest.skip(f"this PyAV has no encoder {codec}")
            written[name] = write_clip(folder / name, COUNT, **CLIPS[name])
        return written[name]

    return get
