"""Files of OpenVINO, made from ONNX files."""

from __future__ import annotations

from pathlib import Path


def write_openvino(source: Path, target: Path) -> None:
    """Write an ONNX file as a model of OpenVINO, with the dtypes it has.

    Args:
        source: the ONNX file.
        target: the file to write, which ends in `.xml`; the weights go beside it.

    Raises:
        ImportError: without openvino.
    """
    try:
        import openvino
    except ImportError as error:
        raise ImportError("exporting to OpenVINO needs it: pip install openvino") from error
    openvino.save_model(openvino.convert_model(str(source)), str(target), compress_to_fp16=False)
