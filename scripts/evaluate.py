"""The command `sam2 evaluate`."""

import sys

from sam2_hf.cli.main import subcommand

main = subcommand("evaluate")

if __name__ == "__main__":
    sys.exit(main())
