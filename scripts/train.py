"""The command `sam2 train`, for launchers that want a file: accelerate launch scripts/train.py RECIPE OUTPUT."""

import sys

from sam2_hf.cli.main import subcommand

main = subcommand("train")

if __name__ == "__main__":
    sys.exit(main())
