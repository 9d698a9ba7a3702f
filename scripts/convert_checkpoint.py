"""Convert an original SAM 2 checkpoint (`.pt`) to a folder that `sam2_hf` and `transformers` load.

python scripts/convert_checkpoint.py sam2.1_hiera_tiny.pt sam2.1-hiera-tiny --verify
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sam2_hf.configuration_sam2 import PRESETS, Sam2VideoConfig
from sam2_hf.convert.checkpoint_folder import convert_checkpoint, push_folder


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="the original checkpoint, a .pt file")
    parser.add_argument("output_dir", type=Path, help="the folder to write")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--variant", choices=sorted(PRESETS), help="the preset; recognised from the weights if left out")
    model.add_argument("--config", type=Path, help="a JSON file of Sam2VideoConfig, for a model of other sizes")
    parser.add_argument("--overwrite", action="store_true", help="replace output_dir if it is not empty")
    parser.add_argument("--verify", action="store_true", help="compare what was written, and run the loaded model")
    parser.add_argument("--push-to-hub", metavar="REPO", help="upload the folder to this repository of the Hub")
    return parser.parse_args(arguments)


def read_config(path: Path) -> Sam2VideoConfig:
    """Read the configuration in a JSON file. Raises a `ValueError` that names the file."""
    try:
        return Sam2VideoConfig.from_json_file(path)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no configuration of a Sam2VideoModel: {error}") from error


def main(arguments: list[str] | None = None) -> int:
    """Convert; return the exit status."""
    options = parse_arguments(arguments)
    try:
        config = read_config(options.config) if options.config else None
        converted = convert_checkpoint(
            options.checkpoint,
            options.output_dir,
            variant=options.variant,
            config=config,
            overwrite=options.overwrite,
            verify=options.verify,
            repo_id=options.push_to_hub,
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    model = converted.variant or "a model of its own sizes"
    checked = ", verified" if options.verify else ""
    print(f"{model}, {converted.num_parameters / 1e6:.1f} M parameters{checked}: {converted.folder}")
    if options.push_to_hub:
        print(push_folder(converted.folder, options.push_to_hub))
    return 0


if __name__ == "__main__":
    sys.exit(main())
