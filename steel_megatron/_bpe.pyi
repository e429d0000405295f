from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

instruction_set: str

class Encoder:
    """A byte-level BPE, for one thread.

    Args:
        tokens: by rank: what merges first comes first. The 256 bytes are among them.
        ids: of the tokens.
        pattern: how a text is cut into pieces: "words" as GPT-2 does, "lines" as Qwen and Llama 3 do.
        digits: with "lines", the most digits of a piece.
        whole_pieces: a token that no merge makes is taken where it is a whole piece.
        normal_form: texts that NFC may change go through ``normalize``.
        added: a text that holds one of these goes to ``reference``.

    Raises:
        ValueError: the tokens are no byte-level vocabulary.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        ids: Sequence[int],
        pattern: Literal["words", "lines"],
        digits: int,
        whole_pieces: bool,
        normal_form: bool,
        added: Sequence[bytes] = (),
    ) -> None: ...
    def encode(
        self, texts: list[str], normalize: Callable[[str], str], reference: Callable[[str], Sequence[int]]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The ids of all texts, and how many each has.

        Args:
            normalize: the text in NFC.
            reference: the ids of a text that holds characters which Unicode may still change.
        """
    def encode_lines(
        self,
        data: bytes,
        keys: list[str],
        reserved: str,
        end: int | None,
        normalize: Callable[[str], str],
        reference: Callable[[str], Sequence[int]],
    ) -> tuple[list[tuple[NDArray[np.int32], NDArray[np.int64], int]], int, int] | None:
        """The ids of the texts of a block of JSON lines.

        Args:
            reserved: a field whose presence makes a line one for a closer look.
            end: put behind each text that has an id; None: nothing is.

        Returns:
            per key ids, how many each line has, and the bytes of the texts; blank lines; all lines. None when a line
            needs a closer look.
        """
    @property
    def merges(self) -> NDArray[np.uint32]:
        """Places among the tokens of the two parts of each token that is made, and of the token (M, 3)."""
