"""What the runtime refuses in a folder that it did not write."""

from __future__ import annotations

import json

import pytest
from torch_graphs import write_parameters
from video_scenes import scene_model

from sam2_hf.runtime.exported_folder import ExportedFolder


def changed(folder, **fields):
    path = write_parameters(scene_model(), folder) / "parameters.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def test_a_folder_without_parameters_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no parameters\.json"):
        ExportedFolder(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "another"},
        {"format_version": 2},
        {"files": {"fp32": {"vision_encoder": "../elsewhere.onnx"}}},
        {"files": {"fp32": {"vision_encoder": "/etc/passwd"}}},
        {"image_size": "large"},
        {"video": {}},
    ],
)
def test_a_damaged_description_is_named(fields, tmp_path):
    with pytest.raises(ValueError, match=r"parameters\.json does not describe exported graphs"):
        ExportedFolder(changed(tmp_path, **fields))


def test_a_missing_graph_dtype_or_field_is_named(tmp_path):
    folder = ExportedFolder(changed(tmp_path))
    with pytest.raises(ValueError, match=r"dtype must be one of fp32.* got 'int8'"):
        folder.graph("vision_encoder", "int8")
    with pytest.raises(ValueError, match="has no graph 'nothing'"):
        folder.graph("nothing", "fp32")
    with pytest.raises(AttributeError, match="has no field 'unknown': export the checkpoint anew"):
        _ = folder.config.unknown


def test_graphs_of_images_alone_cannot_track(tmp_path):
    from sam2_hf.runtime.video_model import VideoModel

    folder = ExportedFolder(changed(tmp_path, model_type="sam2"))
    with pytest.raises(ValueError, match="cannot track: export a video checkpoint"):
        VideoModel(folder, None)
