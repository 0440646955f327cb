from __future__ import annotations

import pytest

from herdwise.prediction.option_numbers import number_in


@pytest.mark.parametrize(
    ("option", "number"),
    [
        ("$1,250.00", (1250.0, 3, 2)),
        ("-0.050", (-0.05, 1, 3)),
        ("\u221212 m", (-12.0, 2, 0)),
        ("6.02 x 10^{23}", (6.02e23, 3, 2)),
        ("1e-3", (0.001, 1, 0)),
        (".5", (0.5, 1, 1)),
        ("about 4 of the people who were asked", None),
        ("none", None),
    ],
)
def test_numbers_are_read_with_their_significant_digits_and_decimals(
    option: str, number: tuple[float, int, int] | None
) -> None:
    read = number_in(option)
    if number is None:
        assert read is None
    else:
        assert read is not None
        assert read[0] == pytest.approx(number[0])
        assert read[1:] == number[1:]
