from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from herdwise.core.errors import ArtefactError, InputError
from herdwise.encoding.tfidf import TfidfEncoder

TEXTS = [
    *[f"What is the derivative of x to the power of {n}?" for n in range(20)],
    *[f"Who was king of England in the year {1500 + n}?" for n in range(20)],
    *["法律适用问题", "宪法的基本原则", "海洋生物"],
]


@pytest.fixture(scope="module")
def encoder() -> TfidfEncoder:
    return TfidfEncoder(n_features=16).fit(TEXTS)


def test_texts_of_one_kind_are_closer_than_texts_of_two(encoder: TfidfEncoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert (vectors[:20] @ vectors[:20].T).min() > (vectors[:20] @ vectors[20:40].T).max()


def test_with_all_directions_kept_cosines_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    from herdwise.encoding.tfidf import _ngrams, _words

    encoder = TfidfEncoder(n_features=64).fit(TEXTS)
    whole = [TfidfVectorizer(analyzer=a, sublinear_tf=True).fit_transform(TEXTS) for a in (_words, _ngrams)]
    expected = sum((matrix @ matrix.T).toarray() for matrix in whole) / 2
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=5e-3)


def test_more_features_than_texts_leave_the_rest_zero() -> None:
    vectors = TfidfEncoder(n_features=200).fit(TEXTS).encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 200)
    assert not vectors[:, len(TEXTS) :].any()


def test_a_text_of_unknown_terms_is_the_zero_vector(encoder: TfidfEncoder) -> None:
    assert not encoder.encode_one("ЖЖЖ").any()


def test_encoding_before_fitting_is_refused() -> None:
    with pytest.raises(InputError, match="fit"):
        TfidfEncoder().encode(["a"])


def test_texts_without_a_word_cannot_be_learned_from() -> None:
    with pytest.raises(InputError, match="no training text holds a word"):
        TfidfEncoder().fit(["", "?!"])


def test_an_unfitted_encoder_survives_its_state() -> None:
    options, arrays = TfidfEncoder(n_features=7).state()
    assert TfidfEncoder.from_state(options, arrays).n_features == 7


def test_a_saved_encoder_with_a_missing_array_is_refused(encoder: TfidfEncoder) -> None:
    options, arrays = encoder.state()
    with pytest.raises(ArtefactError, match="lacks idf"):
        TfidfEncoder.from_state(options, {name: value for name, value in arrays.items() if name != "idf"})


def test_a_saved_encoder_whose_arrays_do_not_fit_is_refused(encoder: TfidfEncoder) -> None:
    options, arrays = encoder.state()
    with pytest.raises(ArtefactError, match="do not fit"):
        TfidfEncoder.from_state(options, {**arrays, "components": arrays["components"][:-1]})


def test_a_saved_encoder_works_without_scikit_learn(encoder: TfidfEncoder, tmp_path: object) -> None:
    options, arrays = encoder.state()
    np.savez(f"{tmp_path}/state.npz", **arrays)
    code = (
        "import json, sys, numpy as np\nfrom herdwise.encoding.tfidf import TfidfEncoder\n"
        f"options, path = json.loads({json.dumps(options)!r}), {str(tmp_path)!r} + '/state.npz'\n"
        "encoder = TfidfEncoder.from_state(options, np.load(path))\n"
        "vector = encoder.encode_one('Who was king?')\n"
        "print(json.dumps([vector.tolist(), sorted(sys.modules)]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    vector, modules = json.loads(run.stdout)
    np.testing.assert_allclose(vector, encoder.encode_one("Who was king?"), atol=1e-6)
    assert not {name.split(".")[0] for name in modules} & {"sklearn", "scipy"}
