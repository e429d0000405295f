import numpy as np
from numpy.typing import NDArray

def extract(
    data: bytes, keys: list[str], reserved: str = ""
) -> tuple[list[list[str]], list[int], NDArray[np.int64], int, int]:
    """The texts of a block of lines.

    Returns:
        per key the texts of the lines that are not blank, None where a line needs a closer look; the places of these
        lines in the lists; for each line its number in the block (from 1) and the bytes [start, stop) it takes; blank
        lines; all lines.
    """
