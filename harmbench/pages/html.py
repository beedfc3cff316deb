"""Parts of every HTML page: images as data URLs, and the environment of the templates."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from harmbench.pages.render import head_text
from harmbench.pages.style import Illustration

__all__ = ["EmbeddedFigure", "embed", "image_address", "page_environment"]

_MAX_WIDTH = 1700
_MAX_WIDTH_OF_IMAGES = 1200
_IMAGE_QUALITY = 75


@dataclass(frozen=True, slots=True)
class EmbeddedFigure:
    """A figure in a page: its image as a data URL, its texts, and the names of its files."""

    name: str
    title: str
    caption: str
    alt: str
    section: str
    width: int
    height: int
    address: str
    files: tuple[str, ...] = ()


def embed(illustration: Illustration, files: Sequence[Path]) -> EmbeddedFigure:
    """Turn a figure's files, the PNG first, into what the page holds, line art without loss."""
    widest = _MAX_WIDTH if illustration.vector else _MAX_WIDTH_OF_IMAGES
    address, width, height = image_address(files[0], lossless=illustration.vector, max_width=widest)
    return EmbeddedFigure(
        name=illustration.name,
        title=illustration.title,
        caption=illustration.caption,
        alt=illustration.alt,
        section=illustration.section,
        width=width,
        height=height,
        address=address,
        files=tuple(path.name for path in files),
    )


def image_address(
    png: Path,
    *,
    lossless: bool = False,
    quality: int = _IMAGE_QUALITY,
    max_width: int = _MAX_WIDTH,
) -> tuple[str, int, int]:
    """Turn a PNG file into a data address: WebP, at most `max_width` pixels wide.

    At the default quality, from 0 to 100, a page of sixteen figures stays within a few megabytes.

    Returns:
        The address, and the image's width and height in pixels.
    """
    with Image.open(png) as opened:
        image = opened.convert("RGB")
    if image.width > max_width:
        height = round(image.height * max_width / image.width)
        image = image.resize((max_width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=lossless, quality=quality, method=4)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/webp;base64,{data}", image.width, image.height


def page_environment(*packages: str) -> jinja2.Environment:
    """Make the environment that pages are rendered in: escaped, and strict about unknown names.

    Templates are looked for in the folder `templates` of `packages`, then in that of `harmbench.pages`,
    which has the style and the macros of every page.
    """
    loaders = [jinja2.PackageLoader(name) for name in (*packages, "harmbench.pages")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["head"] = head_text
    return environment
