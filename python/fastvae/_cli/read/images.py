"""A folder of PNG and JPEG files, by Pillow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from fastvae._cli.errors import UsageError, missing
from fastvae._cli.read.data import Data

_SUFFIXES = frozenset([".png", ".jpg", ".jpeg"])


def folder(path: Path, size: tuple[int, int] | None, channels: int | None) -> Data:
    """Read the images of a folder and of its subfolders, whose names are then labels, in the order of their names.

    Parameters
    ----------
    path : Path
    size : (height, width) or None
        Resize to this size; None: all images must have the same.
    channels : 1, 3 or None
        Of the result. None: 1 if all images are grey, else 3.
    """
    files = sorted((each for each in path.rglob("*") if _is_image(each)), key=lambda each: _natural(each, path))
    if not files:
        raise UsageError(f"{path}: the folder holds no .png, .jpg or .jpeg")
    try:
        from PIL import Image
    except ImportError:
        raise missing("Pillow", "a folder of images", "pillow") from None
    pictures: list[Any] = []
    sizes: dict[tuple[int, int], Path] = {}
    grey = True
    for file in files:
        try:
            with Image.open(file) as image:
                image.load()
                read: Any = image.convert("RGB") if image.mode in ("P", "CMYK", "RGBA", "LA", "PA") else image
        except MemoryError:
            raise
        except Exception as error:  # of any kind: the bytes are anyone's
            raise UsageError(f"{file}: no image that Pillow can read ({error})") from None
        grey = grey and _is_grey(image.mode, read)
        if size is not None:
            read = read.resize((size[1], size[0]), Image.Resampling.BOX if _shrinks(read, size) else None)
        sizes.setdefault(read.size, file)
        if len(sizes) > 1:
            (one, first), (two, second) = sizes.items()
            raise UsageError(
                f"{second.name} has {two[1]}x{two[0]} pixels, {first.name} {one[1]}x{one[0]}: "
                f"pass --image-size {one[1]}x{one[0]}"
            )
        pictures.append(read)
    mode = "L" if channels == 1 or (channels is None and grey) else "RGB"
    X = np.stack([np.asarray(_eight_bits(picture).convert(mode)) for picture in pictures])
    labels = [file.relative_to(path).parent.as_posix() for file in files]
    y = np.array(labels) if all(label != "." for label in labels) else None
    ids = [file.relative_to(path).as_posix() for file in files]
    return Data(X, str(path), y=y, label="label", ids=ids, id_name="file", images=X.shape[1:])


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()


def _natural(path: Path, root: Path) -> list[Any]:
    """Return a key that sorts 2.png before 10.png."""
    parts = re.split(r"(\d+)", path.relative_to(root).as_posix())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _is_grey(mode: str, image: Any) -> bool:
    """Whether an image is grey: by its mode or, with a palette, by its pixels."""
    if mode in ("1", "L", "LA", "I", "I;16", "F"):
        return True
    if mode not in ("P", "PA"):
        return False
    pixels = np.asarray(image)
    return bool((pixels[..., :1] == pixels).all())


def _eight_bits(image: Any) -> Any:
    """Return an image of 16 bits with 8 bits, others unchanged."""
    if not image.mode.startswith("I"):
        return image
    from PIL import Image

    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))


def _shrinks(image: Any, size: tuple[int, int]) -> bool:
    return bool(image.size[0] >= size[1] and image.size[1] >= size[0] and image.mode not in ("I", "I;16", "F"))
