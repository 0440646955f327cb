"""Options of the command line are read as the config is."""

import pytest

from herdwise.config.options import read_options
from herdwise.core.errors import ConfigError


def test_values_are_yaml_scalars_and_variables_are_filled_in():
    got = read_options(["a=1", "b=x=y", "c=${KEY}", "d=true", "e=0.5", "f="], {"KEY": "s3"})
    assert got == {"a": 1, "b": "x=y", "c": "s3", "d": True, "e": 0.5, "f": None}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["novalue"], "is not an option"),
        (["a=1", "a=2"], "stands twice"),
        (["a=${MISSING}"], "MISSING is not set"),
        (["a=${"], "not well formed"),
    ],
)
def test_what_cannot_be_read_is_named(given, message):
    with pytest.raises(ConfigError, match=message):
        read_options(given, {})
