"""What a rater answered, as the study's database, its CSV and its scores agree on it."""

from __future__ import annotations

from dataclasses import dataclass

#: The challenge's five levels (AIM 2019, section 2): how far a rendering is from the camera's photo. Lower is better.
LEVELS = ("almost identical", "mostly similar", "similar", "somewhat similar", "mostly different")


@dataclass(frozen=True)
class Answer:
    """One answer of one rater.

    ``rater`` is a random id, ``image`` the photo's id, ``method`` the name of the method shown (unblinded: the study's
    key has been applied). In a study of levels ``other`` is None and ``value`` 0 to 4. In a study of pairs ``other`` is
    the method shown beside it and ``value`` 1 where ``method`` was preferred, 0 where ``other`` was. ``expected`` is
    None but for catch trials, whose right answer is known: there it is that ``value``. ``seconds`` is how long the
    rater took.
    """

    rater: str
    image: str
    method: str
    other: str | None
    value: int
    expected: int | None
    seconds: float
