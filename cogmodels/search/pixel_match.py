"""How well the pixels of a target fit every place of a picture."""

import numpy as np


def template_map(image: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return the normalised cross-correlation of a template with the window around each pixel of an image.

    Grey pictures are compared in grey, coloured ones in RGB.

    Means are taken off in each window over pixels and colours at once; at the edges of the image its last pixels go on.
    A template of even size is centred on the pixel below and right of its middle.

    Parameters
    ----------
    image : ndarray of uint8 (n_rows, n_columns, 3)
    template : ndarray of uint8 (n_template_rows, n_template_columns, 3)

    Returns
    -------
    ndarray of float64 (n_rows, n_columns)
        In [-1, 1], to six digits; 0 where a window has no contrast.

    Raises
    ------
    ValueError
        The template is larger than the image, or has no contrast.
    """
    from skimage.feature import match_template

    if any(small > large for small, large in zip(template.shape, image.shape, strict=True)):
        raise ValueError(
            f"the target image of {template.shape[:2]} pixels (rows, columns) is larger than the display of "
            f"{image.shape[:2]}: bring both to one scale"
        )
    if (template == template.flat[0]).all():
        raise ValueError(
            "the target image has no contrast: nothing can be correlated with it; crop it otherwise"
        )
    grey = all((picture == picture[..., :1]).all() for picture in (image, template))
    pixels, kernel = (image[..., :1], template[..., :1]) if grey else (image, template)
    before = [size // 2 for size in kernel.shape[:2]]
    after = [size - 1 - half for size, half in zip(kernel.shape[:2], before, strict=True)]
    padded = np.pad(pixels, [*zip(before, after, strict=True), (0, 0)], mode="edge")
    # Rounding would choose among windows of the same pixels: beyond six digits there is nothing else.
    return match_template(padded / 255.0, kernel / 255.0)[..., 0].round(6)
