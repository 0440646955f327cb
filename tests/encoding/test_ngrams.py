from __future__ import annotations

import numpy as np

from herdwise.encoding.ngrams import hashed_ngrams

TEXTS = ["what is a herd", "中国法律", "", "a", "the quick brown fox " * 40]


def test_rows_have_length_one() -> None:
    np.testing.assert_allclose(np.linalg.norm(hashed_ngrams(TEXTS, 128), axis=1), 1, atol=1e-6)


def test_no_ngram_reaches_from_one_text_into_the_next() -> None:
    together = hashed_ngrams(TEXTS, 64)
    apart = np.concatenate([hashed_ngrams([text], 64) for text in TEXTS])
    np.testing.assert_array_equal(together, apart)


def test_texts_that_share_ngrams_are_closer_than_texts_that_do_not() -> None:
    law, law_too, sea = hashed_ngrams(
        ["中华人民共和国法律", "中华人民共和国宪法", "海洋生物学研究方法论"], 256
    )
    assert law @ law_too > 0.3
    assert law @ law_too > law @ sea + 0.2


def test_unrelated_texts_are_uncorrelated_on_average() -> None:
    generator = np.random.default_rng(0)
    texts = ["".join(map(chr, generator.integers(0x4E00, 0x9FFF, 40))) for _ in range(200)]
    vectors = hashed_ngrams(texts, 128)
    cosines = (vectors @ vectors.T)[np.triu_indices(200, 1)]
    assert abs(cosines.mean()) < 0.02
    assert cosines.std() < 0.15


def test_the_hash_is_the_same_on_every_machine() -> None:
    # Saved routers depend on it: a change of the hash needs a new identity of the static encoder's table.
    for text, counts in {"herd": [0, 0, 0, -1, 2, 0, -2, -1], "中国": [0, -1, -1, 1, -1, 0, 0, 0]}.items():
        row = hashed_ngrams([text], 8)[0]
        np.testing.assert_allclose(row, np.array(counts) / np.linalg.norm(counts), rtol=1e-6)


def test_code_points_outside_utf8_are_hashed_too() -> None:
    assert np.isfinite(hashed_ngrams(["\ud800\udfff"], 32)).all()
