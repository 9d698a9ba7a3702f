"""Speed and memory of sam2_hf beside other implementations of SAM 2, in the same run: `python -m benchmarks --help`.

A *case* is a piece of work, such as one click on an encoded image. An *implementation* of SAM 2 can do it: ours,
transformers, the official code. A *variant* is an implementation in its own process, on a device and in a dtype.
All variants of a case get the same weights and the same input, and run in alternating order.

    cases/             the work, written once for all implementations
    implementations/   how each implementation is called
    comparison         runs the variants of a case; worker is the process of one variant
    results            measurements as JSON; table prints them
"""
