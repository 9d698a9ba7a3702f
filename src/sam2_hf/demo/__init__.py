"""What `python -m sam2_hf.demo` runs: the package's main jobs, with results to look at."""
