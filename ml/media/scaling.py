"""Pictures in another size for people to look at: shrunk by an area filter, or enlarged without smoothing."""

import io

from ml.media.image import Pixels, from_pil, to_pil

_JPEG_QUALITY = 80


def scaled(pixels: Pixels, most: float, *, min_side_px: int) -> Pixels:
    """Returns a picture shrunk, or else enlarged by a whole factor.

    Args:
        pixels: Shape (C, H, W), C being 1, 3 or 4.
        most: The factor that it is shrunk by if that is below 1; no picture is enlarged by more.
        min_side_px: A picture is enlarged as long as its longer side has no more than that.

    Returns:
        Shape (C, H', W'), no side being 0; the picture itself where its size is right.
    """
    from PIL import Image

    height, width = pixels.shape[1:]
    if most < 1:
        # What is added makes up for the rounding of the factor, as in 49 * (160 / 49).
        size = (max(1, int(width * most + 1e-9)), max(1, int(height * most + 1e-9)))
        return from_pil(to_pil(pixels).resize(size, Image.Resampling.BOX))
    factor = min(max(1, min_side_px // max(height, width)), int(most + 1e-9))
    return pixels.repeat(factor, axis=1).repeat(factor, axis=2) if factor > 1 else pixels


def thumbnail(pixels: Pixels, *, side_px: int) -> Pixels:
    """Returns a picture, shape (C, H, W), whose longer side has at most ``side_px``, and if enlarged nearly that."""
    return scaled(pixels, side_px / max(pixels.shape[1:]), min_side_px=side_px)


def encode_jpeg(pixels: Pixels) -> bytes:
    """Returns a picture, shape (C, H, W), as a JPEG file of quality 80; what is transparent is white."""
    file = io.BytesIO()
    to_pil(on_white(pixels)).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def on_white(pixels: Pixels) -> Pixels:
    """Returns a picture, shape (C, H, W), in RGB if it was in RGBA; what is transparent is white."""
    from PIL import Image

    if len(pixels) != 4:
        return pixels
    picture = to_pil(pixels)
    return from_pil(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))
