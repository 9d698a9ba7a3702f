"""The command `sam2 convert`."""

import sys

from sam2_hf.cli.main import subcommand

main = subcommand("convert")

if __name__ == "__main__":
    sys.exit(main())
