"""How fast sam2_hf is beside other implementations of SAM 2, in the same run: `python -m benchmarks --help`.

A *case* is a piece of work, such as one click on an encoded image. A *side* is an implementation of SAM 2 that can do
it: ours, transformers, the official code. A *contender* is a side in a process of its own, on a device and in a dtype.
All contenders of a case get the same weights and the same input and run in turns.

    cases/     the work, written once for all sides
    sides/     how each implementation is called
    contest    takes a case through its contenders; worker is the process of one of them
    results    what is kept, as JSON; table prints it
"""
