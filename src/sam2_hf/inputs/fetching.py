"""Images behind addresses."""

from __future__ import annotations

import io

from PIL import Image


def fetch_image(address: str, timeout: float | None = None) -> Image.Image:
    """Fetch an image, upright and in RGB, as `transformers` does, which takes a page that says "not found" for one.

    Args:
        address: that begins with http:// or https://.
        timeout: seconds to wait for an answer; None waits for ever.

    Raises:
        OSError: the server refuses, or what it sends is no image.
        httpx.HTTPError: it does not answer.
    """
    from huggingface_hub.utils import httpx  # the one of several that is installed, which transformers uses too
    from transformers.image_utils import load_image

    answer = httpx.get(address, timeout=timeout, follow_redirects=True)
    if answer.is_error:
        raise OSError(f"{answer.status_code} {answer.reason_phrase}".strip())
    return load_image(Image.open(io.BytesIO(answer.content)))
