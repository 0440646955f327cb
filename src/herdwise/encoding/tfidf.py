"""TF-IDF of words and character n-grams, reduced by a truncated SVD (latent semantic analysis)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import count, pairwise
from typing import Any, Self

import numpy as np

from herdwise.core.errors import ArtefactError, ConfigError, InputError
from herdwise.encoding.base import Encoder, Progress

_WORD = re.compile(r"\w+")
_CHAR_SIZES = (2, 3, 4)


def _words(text: str) -> list[str]:
    """Words and pairs of neighbouring words."""
    words: list[str] = _WORD.findall(text.lower())
    return words + [f"{first} {second}" for first, second in pairwise(words)]


def _ngrams(text: str) -> list[str]:
    """Character n-grams over white space that was made single; no line break can stand in one."""
    padded = f" {' '.join(text.lower().split())} "
    return [padded[start : start + size] for size in _CHAR_SIZES for start in range(len(padded) - size + 1)]


#: The blocks of terms, in the order of their columns.
_ANALYSERS: dict[str, Callable[[str], list[str]]] = {"words": _words, "ngrams": _ngrams}


class TfidfEncoder(Encoder):
    """Learns its terms from the training texts; dense vectors of length one (0 for a text of unknown terms).

    Two blocks, words with their pairs and character n-grams of 2 to 4, each with sublinear counts, smoothed
    inverse document frequency and length one; together reduced by a randomised truncated SVD (Halko et al.
    2011). scikit-learn is loaded for fitting alone: what was learned is arrays, and encoding with them needs
    only numpy.

    Args:
        n_features: length of a vector; where the training texts span fewer directions the rest is 0.
        max_terms: terms kept per block, those of highest frequency.
        seed: of the randomised SVD.

    Raises:
        ConfigError: an option is out of range.
    """

    name = "tfidf"

    def __init__(self, *, n_features: int = 128, max_terms: int = 10_000, seed: int = 0) -> None:
        if n_features < 1 or max_terms < 1:
            raise ConfigError(f"n_features and max_terms must be 1 or more, not {n_features}, {max_terms}.")
        self._n_features, self.max_terms, self.seed = n_features, max_terms, seed
        #: Block -> term -> column.
        self.columns_: dict[str, dict[str, int]] = {}
        #: ``(n_terms,)`` float32 over the columns of all blocks.
        self.idf_ = np.zeros(0, dtype=np.float32)
        #: ``(n_terms, n_features)`` float16: half the file, and no loss that routing can see.
        self.components_ = np.zeros((0, n_features), dtype=np.float16)

    @property
    def n_features(self) -> int:
        """Length of a vector."""
        return self._n_features

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options; and as arrays the terms (UTF-8, one per line), their idf and the components."""
        options = {"n_features": self._n_features, "max_terms": self.max_terms, "seed": self.seed}
        if not self.columns_:
            return options, {}
        arrays: dict[str, np.ndarray] = {"idf": self.idf_, "components": self.components_}
        for block, columns in self.columns_.items():
            text = "\n".join(columns).encode("utf-8", "surrogatepass")
            arrays[block] = np.frombuffer(text, dtype=np.uint8)
        return options, arrays

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when arrays are missing or do not fit each other.
        """
        encoder = cls(**options)
        if not arrays:
            return encoder
        if missing := {*_ANALYSERS, "idf", "components"} - set(arrays):
            raise ArtefactError(f"the TF-IDF encoder lacks {', '.join(sorted(missing))}.")
        terms = [arrays[block].tobytes().decode("utf-8", "surrogatepass").split("\n") for block in _ANALYSERS]
        encoder._number(terms)
        encoder.idf_, encoder.components_ = arrays["idf"], arrays["components"]
        n_terms = sum(len(columns) for columns in encoder.columns_.values())
        shapes = {encoder.idf_.shape: (n_terms,), encoder.components_.shape: (n_terms, encoder.n_features)}
        if any(found != right for found, right in shapes.items()):
            raise ArtefactError(f"the TF-IDF encoder's arrays do not fit its {n_terms} terms: {shapes}.")
        return encoder

    def _number(self, terms: list[list[str]]) -> None:
        """Give the terms of each block their columns, one block after the other."""
        column = count()
        self.columns_ = {
            block: {term: next(column) for term in known}
            for block, known in zip(_ANALYSERS, terms, strict=True)
        }

    def _fit(self, texts: Sequence[str]) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import FeatureUnion

        if not any(_words(text) for text in texts):
            raise InputError("the TF-IDF encoder cannot learn: no training text holds a word.")
        union = FeatureUnion(
            [
                (
                    block,
                    TfidfVectorizer(
                        analyzer=analyse, max_features=self.max_terms, sublinear_tf=True, dtype=np.float32
                    ),
                )
                for block, analyse in _ANALYSERS.items()
            ]
        )
        matrix = union.fit_transform(texts).tocsr()
        vectorisers = [vectoriser for _, vectoriser in union.transformer_list]
        self._number([vectoriser.get_feature_names_out().tolist() for vectoriser in vectorisers])
        self.idf_ = np.concatenate([vectoriser.idf_ for vectoriser in vectorisers]).astype(np.float32)
        rank = min(self._n_features, *matrix.shape)
        self.components_ = np.zeros((matrix.shape[1], self._n_features), dtype=np.float16)
        svd = TruncatedSVD(rank, n_iter=3, random_state=self.seed).fit(matrix)
        self.components_[:, :rank] = svd.components_.T

    def _encode(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
        if not self.columns_:
            raise InputError("the TF-IDF encoder has not been fitted.", remedy="Call fit(texts) first.")
        vectors = np.zeros((len(texts), self._n_features), dtype=np.float32)
        for i, text in enumerate(texts):
            for block, analyse in _ANALYSERS.items():
                vectors[i] += self._project(self.columns_[block], analyse(text))
            vectors[i] /= np.linalg.norm(vectors[i]) or 1.0
            if progress is not None and (i + 1 == len(texts) or (i + 1) % 256 == 0):
                progress(i + 1, len(texts))
        return vectors

    def _project(self, columns: Mapping[str, int], terms: list[str]) -> np.ndarray:
        """One block's weights, brought to length one, in the reduced space: ``(n_features,)`` float32."""
        counts = [(columns[term], n) for term, n in Counter(terms).items() if term in columns]
        known = np.array([column for column, _ in counts], dtype=np.intp)
        weights = np.log([n for _, n in counts], dtype=np.float32) + 1
        weights *= self.idf_[known]
        weights /= np.linalg.norm(weights) or 1.0
        projected: np.ndarray = weights @ self.components_[known].astype(np.float32)
        return projected
