"""The work that is measured. Importing this package registers every case."""

from . import image, mask_generation, planning, processing, script, start, video  # noqa: F401
