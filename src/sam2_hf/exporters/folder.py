"""`export`: a checkpoint as a folder of graphs, with what a program needs beside them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..hub.bundled import search_thresholds
from ..sizes import Size
from ..version import __version__
from .catalogue import fixed_lengths, is_video
from .folder_card import folder_card, licence_text
from .graph import Graph
from .half_precision import half_copy, in_half_precision
from .onnx_files import OPSET, import_onnx, quantise, write_onnx
from .openvino_files import write_openvino
from .options import Dtype, ExportOptions, Format, Names
from .parameters import parameters_of
from .program_files import write_program
from .source import ExportSource, load_source
from .web_page import find_runtime, write_page

if TYPE_CHECKING:
    from ..network.promptable_network import Sam2PromptableNetwork

Report = Callable[[str], None]
Files = dict[str, dict[str, str]]


class ExportedFolder(NamedTuple):
    """What was written where: `files` by dtype and by name of graph."""

    folder: Path
    files: dict[str, dict[str, Path]]


def export(
    checkpoint: str | os.PathLike[str] | Sam2PromptableNetwork,
    folder: str | os.PathLike[str],
    *,
    format: Format = "onnx",
    dtype: Dtype | Sequence[Dtype] = "fp32",
    names: Names = "transformers.js",
    graphs: Sequence[str] | None = None,
    fixed_memories: int | None = None,
    fixed_pointers: int | None = None,
    image_size: int | Size | None = None,
    web: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    report: Report | None = None,
) -> ExportedFolder:
    """Export a checkpoint as graphs; `docs/export.md` lists them with their inputs and outputs.

    The folder appears whole or not at all.

    Args:
        checkpoint: a folder, a name on the Hub, an original `.pt` file, or a model.
        folder: the folder to write.
        format: "onnx", "torch-export" or "openvino".
        dtype: "fp32", "fp16" or "int8" (not with "torch-export"), or several of them for one folder. All graphs take
            and give float32.
        names: "transformers.js"; or "samexporter", which X-AnyLabeling and AnyLabeling read too and which has an image
            encoder and a decoder alone.
        graphs: names of the graphs to write; all by default.
        fixed_memories: how many memories the fixed-length form of memory attention has; `num_maskmem` by default.
        fixed_pointers: how many pointers it has; `max_object_pointers_in_encoder` by default.
        image_size: of the model's input in pixels, int or (height, width); that of the checkpoint by default.
        web: the npm package onnxruntime-web, or a folder that it is installed in: then the folder also has a page on
            which one clicks an image and tracks a clip, to be served statically.
        overwrite: whether a folder that is there is replaced.
        report: called with the name of every file that is written.

    Returns:
        The folder and its files.

    Raises:
        ValueError: for an unknown format, dtype, name or graph, and for a combination that there is not.
        FileNotFoundError: `web` has no files of onnxruntime-web.
        FileExistsError: the folder is there, and may not be replaced.
        ImportError: without the libraries of the format; it says how to install them.
        OSError: as `from_pretrained`.
    """
    dtypes = (dtype,) if isinstance(dtype, str) else tuple(dtype)
    chosen = None if graphs is None else tuple(graphs)
    options = ExportOptions(format, dtypes, names, chosen, fixed_memories, fixed_pointers)
    target, runtime = Path(folder), None
    if web is not None:
        options.check_web()
        runtime = find_runtime(web)
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} is there already; overwrite=True (--overwrite) replaces it")
    if format != "torch-export":
        import_onnx()
    source = load_source(checkpoint, image_size)
    if web is not None and not is_video(source.model):
        raise ValueError("web needs a video checkpoint: the page tracks")
    listed = options.graphs_of(source.model)
    with _whole_folder(target) as partial:
        files = _write_graphs(partial, source, options, report or (lambda line: None))
        _write_texts(partial, source, options, listed, files)
        if runtime is not None:
            write_page(partial, runtime)
    paths = {kind: {name: target / file for name, file in of_kind.items()} for kind, of_kind in files.items()}
    return ExportedFolder(target, paths)


@contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """A folder that takes the name of `target` at the end, in place of what has it, unless there was an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        partial.chmod(0o755)
        yield partial
        if target.is_dir():
            shutil.rmtree(target)
        elif target.exists():
            target.unlink()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_graphs(folder: Path, source: ExportSource, options: ExportOptions, report: Report) -> Files:
    """Write all graphs in all dtypes; returns files relative to the folder, by dtype and name."""
    files: Files = {}
    with tempfile.TemporaryDirectory() as scratch:
        for dtype in options.dtypes:
            files[dtype] = {}
            for graph in _in_dtype(source, options, dtype):
                relative = options.file_of(graph.name, dtype, source.title)
                path = folder / relative
                path.parent.mkdir(exist_ok=True)
                _write(graph, path, dtype, options.format, Path(scratch), source.title)
                files[dtype][graph.name] = relative.as_posix()
                report(relative.as_posix())
    return files


def _in_dtype(source: ExportSource, options: ExportOptions, dtype: str) -> list[Graph]:
    """The graphs with weights of a dtype; eight bits are made of the float32 files."""
    if dtype != "fp16":
        return options.graphs_of(source.model)
    return [in_half_precision(graph) for graph in options.graphs_of(half_copy(source.model))]


def _write(graph: Graph, path: Path, dtype: str, format: str, scratch: Path, title: str) -> None:
    if format == "torch-export":
        write_program(graph, path)
        return
    recorded = scratch / f"{graph.name}{'_fp16' if dtype == 'fp16' else ''}.onnx"
    if not recorded.exists():  # eight bits are made of float32
        metadata = {"exported_by": f"sam2_hf {__version__}", "checkpoint": title, "graph": graph.name}
        write_onnx(graph, recorded, metadata)
    if dtype == "int8":
        quantise(recorded, scratch / "quantised.onnx")
        recorded = scratch / "quantised.onnx"
    if format == "openvino":
        write_openvino(recorded, path)
    else:
        shutil.copyfile(recorded, path)


def _write_texts(
    folder: Path, source: ExportSource, options: ExportOptions, graphs: Sequence[Graph], files: Files
) -> None:
    """Write what is read beside the graphs: parameters, configuration, processor, card and licence."""
    described = {graph.name: graph.described() for graph in graphs}
    parameters: dict[str, Any] = {
        **parameters_of(source.model, source.processor),
        "names": options.names,
        "graph_format": options.format,
        "opset": OPSET,
        "dtypes": list(options.dtypes),
        "files": files,
        "graphs": described,
    }
    if is_video(source.model):
        lengths = fixed_lengths(source.model.config, options.fixed_memories, options.fixed_pointers)
        parameters["video"] |= dict(zip(("fixed_memories", "fixed_pointers"), lengths, strict=True))
    if thresholds := search_thresholds(source.folder):
        parameters["mask_generation"] = thresholds
    text = json.dumps(parameters, indent=1, ensure_ascii=False)
    (folder / "parameters.json").write_text(text + "\n", encoding="utf-8")
    card = folder_card(source.title, __version__, options.format, options.dtypes, options.names, described)
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "LICENSE").write_text(licence_text(source.folder), encoding="utf-8")
    source.model.config.save_pretrained(folder)
    # transformers.js finds the class of the processor in this file.
    processor = {**json.loads(source.processor.to_json_string()), "processor_class": "Sam2Processor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
    if options.names == "samexporter":
        (folder / "x-anylabeling.yaml").write_text(_annotator_config(source.title, files), encoding="utf-8")


def _annotator_config(title: str, files: Files) -> str:
    """What X-AnyLabeling loads as a custom model: the first dtype's files."""
    first = next(iter(files.values()))
    lines = {
        "type": "segment_anything_2",
        "name": title,
        "display_name": title,
        "encoder_model_path": first.get("encoder", ""),
        "decoder_model_path": first.get("decoder", ""),
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
