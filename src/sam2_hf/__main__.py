"""`python -m sam2_hf` is the command `sam2`."""

from .cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
