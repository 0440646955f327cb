"""Fusion: several answers to one, with the calibrated probability that it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Self

import numpy as np

from herdwise.answers.choice import LETTERS
from herdwise.answers.options import options_of
from herdwise.core.errors import ArtefactError, InputError
from herdwise.prediction.belief import Belief
from herdwise.prediction.confidence import Confidence
from herdwise.prediction.fusion_network import Batch, Parameters, forward, initial
from herdwise.prediction.fusion_reading import Reading
from herdwise.prediction.fusion_training import some_heard, train
from herdwise.prediction.fusion_voice import Voice, one_less, one_more
from herdwise.prediction.option_features import N_FEATURES, option_features
from herdwise.prediction.softmax import softmax
from herdwise.prediction.votes import NOT_RUN, Votes

#: Trust in a prediction ends here: odds beyond 49 to 1 count as that.
_FLOOR = 0.02
#: Share of the queries that confidence is learned on, how often each is heard, by other candidates, and how
#: often by all; share of the others that lean towards the good, as those do that a policy hears.
_KEPT, _HEARINGS, _WHOLE, _LEANING = 0.2, 6, 0.35, 0.9
#: Passes over the queries that confidence is not learned on, as a share of ``n_epochs``; passes after them,
#: once over the same and once over all, and their share of the learning rate.
_FIRST, _MORE, _MORE_RATE = 1.0, 0.3, 0.7


class Fusion:
    """The posterior over the values that were said, learned from recorded answers.

    Candidates are named by their position in the herd of the training data; whoever never gave an
    answer there takes no part. See ``fusion_network`` for the form, ``fusion_training`` for the learning.

    Args:
        hidden: hidden units of the network.
        n_epochs: passes over the training queries.
        learning_rate, decay, share_whole, next_weight: see ``fusion_training.train``.
    """

    def __init__(
        self,
        hidden: int = 32,
        n_epochs: int = 20,
        learning_rate: float = 4.5e-3,
        decay: float = 0.1,
        share_whole: float = 0.25,
        next_weight: float = 0.3,
    ) -> None:
        self.hidden, self.n_epochs, self.learning_rate = hidden, n_epochs, learning_rate
        self.decay, self.share_whole, self.next_weight = decay, share_whole, next_weight

    def fit(
        self,
        quality: np.ndarray,
        answers: np.ndarray,
        predicted: np.ndarray,
        texts: Sequence[str] | None = None,
        *,
        seed: int = 0,
    ) -> Self:
        """Learn.

        Args:
            quality: ``(n, m)`` in [0, 1], NaN = not run.
            answers: ``(n, m)`` objects: normal forms (str), None where no answer could be read.
            predicted: ``(n, m)`` quality foretold by a fit without that row (``Predictor.left_out_``).
            texts: ``(n,)`` the queries, for the options that they offer; None = options count for nothing.
            seed: the same seed gives the same fusion.

        Raises:
            InputError: when shapes differ, or no graded answer is recorded.
        """
        votes = Votes.of(answers, quality, texts)
        predicted = np.asarray(predicted, dtype=np.float32)
        if predicted.shape != votes.said.shape:
            raise InputError(f"predicted {predicted.shape} and answers {votes.said.shape} must be alike.")
        odds = _log_odds(predicted)
        self.centre_ = np.nan_to_num(np.nanmean(odds, axis=0)).astype(np.float32)
        self.speaks_: np.ndarray = np.asarray((votes.said >= 0).any(axis=0))
        n, m = votes.said.shape
        self.kin_: np.ndarray = np.full(m, -1, dtype=np.int64)
        self.overlap_: np.ndarray = np.zeros(m, dtype=np.float32)
        self.confidence_ = Confidence(m)
        centred = self._centred(odds)
        rng = np.random.default_rng(seed)
        kept = _kept_apart(n, texts, rng)
        if not kept.any() or kept.all() or not (votes.said[~kept] >= 0).any():
            self.parameters_ = self._train(votes, centred, rng)
            return self
        # Confidence is learned of a twin that went the same way without the queries it is measured on.
        seen, odds_seen = votes.take(np.flatnonzero(~kept)), centred[~kept]
        first = self._train(seen, odds_seen, rng)
        self.parameters_ = self._train(seen, odds_seen, rng, first)
        self._learn_confidence(votes, centred, np.flatnonzero(kept), rng)
        self.parameters_ = self._train(votes, centred, rng, first)
        return self

    def _train(
        self, votes: Votes, odds: np.ndarray, rng: np.random.Generator, start: Parameters | None = None
    ) -> Parameters:
        return train(
            votes,
            odds,
            odds + self.centre_,
            hidden=self.hidden,
            n_epochs=(_FIRST if start is None else _MORE) * self.n_epochs,
            learning_rate=self.learning_rate if start is None else _MORE_RATE * self.learning_rate,
            decay=self.decay,
            share_whole=self.share_whole,
            next_weight=self.next_weight,
            rng=rng,
            start=start,
        )

    def _learn_confidence(
        self, votes: Votes, odds: np.ndarray, kept: np.ndarray, rng: np.random.Generator
    ) -> None:
        """Of the network as it is, on the queries at ``kept``, that it has not seen."""
        parts: list[tuple[np.ndarray, ...]] = []
        for rows in _in_parts(np.repeat(kept, _HEARINGS)):
            seen, own = votes.take(rows), odds[rows]
            heard = some_heard(own + self.centre_, _WHOLE, rng, _LEANING) & (seen.said != NOT_RUN)
            out = forward(self.parameters_, Batch(seen.said, seen.offered, seen.features, own, heard))
            score = np.where(out.present, out.score, -np.inf)
            lead = self._mean_lead(own, heard)
            parts.append((score, out.unsaid > 0, heard.sum(axis=1), lead, seen.right))
        self.confidence_.fit(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _lead(self, odds: np.ndarray) -> np.ndarray:
        """``(..., m)`` log-odds less their mean over the candidates learned of, from centred ones."""
        strength = odds + self.centre_
        lead: np.ndarray = strength - strength[..., self.speaks_].mean(axis=-1, keepdims=True)
        return lead

    def _mean_lead(self, odds: np.ndarray, heard: np.ndarray) -> np.ndarray:
        heard = heard & self.speaks_
        mean: np.ndarray = (self._lead(odds) * heard).sum(axis=1) / np.maximum(heard.sum(axis=1), 1)
        return mean

    @property
    def n_candidates(self) -> int:
        """Number of candidates learned, m."""
        return len(self.speaks_)

    @property
    def n_features(self) -> int:
        """Features of an option that were learned: 0 where no training query offered options."""
        return int(self.parameters_["option_score"].shape[0])

    def belief(self, predicted: np.ndarray, text: str = "") -> Belief:
        """What is believed of one query before anybody was asked.

        Args:
            predicted: ``(m,)`` predicted quality, NaN where unknown (counts as the candidate's usual one).
            text: the query, for the options that it offers.
        """
        predicted = np.asarray(predicted, dtype=np.float32)
        if predicted.shape != (self.n_candidates,):
            raise InputError(
                f"predicted {predicted.shape} is not one value for each of {self.n_candidates} candidates."
            )
        options = options_of(text) if self.n_features else []
        odds = self._centred(_log_odds(predicted))
        return Belief.start(
            Reading.of(
                self.parameters_,
                odds,
                self._lead(odds),
                self.speaks_,
                self.kin_,
                self.overlap_,
                tuple(LETTERS[: len(options)]),
                option_features(options, text)[:, : self.n_features],
                self.confidence_,
            )
        )

    def posteriors(self, votes: Votes, predicted: np.ndarray, heard: np.ndarray | None = None) -> np.ndarray:
        """Of many queries: ``(n, K + 1)`` probability of each value said, the last for none of those.

        Args:
            votes: what was said (``right`` is not looked at).
            predicted: ``(n, m)`` predicted quality.
            heard: ``(n, m)`` bool, whose answers are known; default: all that ran.
        """
        odds = self._centred(_log_odds(np.asarray(predicted, dtype=np.float32)))
        everyone = np.ones(votes.said.shape, dtype=bool) if heard is None else heard
        said = np.where(self.speaks_, votes.said, NOT_RUN).astype(np.int16)
        offered, features = votes.offered, votes.features
        if features.shape[2] != self.n_features:  # learned without options, or asked without them
            offered = np.zeros_like(offered)
            features = np.zeros((*offered.shape, self.n_features), dtype=np.float32)
        weight = self._weights(everyone & (said != NOT_RUN)) if (self.kin_ >= 0).any() else None
        parts: list[np.ndarray] = []
        for rows in _in_parts(np.arange(len(said))):
            counted = None if weight is None else weight[rows]
            out = forward(
                self.parameters_,
                Batch(said[rows], offered[rows], features[rows], odds[rows], everyone[rows], counted),
            )
            heard_of = everyone[rows] & (said[rows] != NOT_RUN)
            lead = self._mean_lead(odds[rows], heard_of)
            p = softmax(self.confidence_(out.score, out.unsaid > 0, heard_of.sum(axis=1), lead), axis=1)
            p = np.where(out.unsaid > 0, 0.0, p)
            p[:, -1] = 1.0 - p[:, :-1].sum(axis=1)
            parts.append(p)
        return np.concatenate(parts)

    def _weights(self, heard: np.ndarray) -> np.ndarray:
        """``(n, m)`` how much each candidate counts; see ``Voice``."""
        beside = heard[:, np.maximum(self.kin_, 0)] & (self.kin_ >= 0)
        weights: np.ndarray = np.where(beside, 1.0 - self.overlap_, 1.0).astype(np.float32)
        return weights

    def with_voice(self, voice: Voice) -> Self:
        """One candidate more, in the last column, that was not learned of."""
        shares = np.zeros(self.n_candidates, dtype=np.float32)
        shares[: len(voice.shares)] = np.where(self.speaks_[: len(voice.shares)], voice.shares, 0.0)
        shares /= max(float(shares.sum()), 1e-12)
        more = copy(self)
        more.parameters_ = one_more(self.parameters_, shares)
        more.centre_ = np.append(self.centre_, shares @ self.centre_).astype(np.float32)
        more.speaks_ = np.append(self.speaks_, shares.any())
        more.kin_ = np.append(self.kin_, voice.kin)
        more.overlap_ = np.append(self.overlap_, np.float32(voice.overlap))
        return more

    def without(self, column: int) -> Self:
        """Without a candidate that ``with_voice`` added."""
        less = copy(self)
        less.parameters_ = one_less(self.parameters_, column)
        for name in ("centre_", "speaks_", "kin_", "overlap_"):
            setattr(less, name, np.delete(getattr(self, name), column))
        return less

    def _centred(self, odds: np.ndarray) -> np.ndarray:
        centred: np.ndarray = np.nan_to_num(odds - self.centre_)
        return centred

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Constructor arguments as JSON values, and fitted arrays."""
        options = {
            name: getattr(self, name)
            for name in ("hidden", "n_epochs", "learning_rate", "decay", "share_whole", "next_weight")
        }
        arrays = {"centre_": self.centre_, "speaks_": self.speaks_.astype(np.uint8)}
        if (self.kin_ >= 0).any():
            arrays |= {"kin_": self.kin_, "overlap_": self.overlap_}
        # Learned for so many: ``with_voice`` adds candidates, and leaves confidence as it is.
        arrays["confidence.n_candidates"] = np.array(self.confidence_.n_candidates)
        arrays |= {f"confidence.{name}": value for name, value in self.confidence_.state().items()}
        return options, {**arrays, **{f"network.{k}": v for k, v in self.parameters_.items()}}

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when an array is missing.
        """
        fusion = cls(**options)
        try:
            fusion.centre_ = np.asarray(arrays["centre_"])
            fusion.speaks_ = np.asarray(arrays["speaks_"]).astype(bool)
            m = len(fusion.speaks_)
            fusion.kin_ = np.asarray(arrays.get("kin_", np.full(m, -1, dtype=np.int64)))
            fusion.overlap_ = np.asarray(arrays.get("overlap_", np.zeros(m, dtype=np.float32)))
            fusion.confidence_ = Confidence.from_state(
                int(arrays.get("confidence.n_candidates", m)), {"change_": arrays["confidence.change_"]}
            )
            fusion.parameters_ = {
                name.removeprefix("network."): np.asarray(value)
                for name, value in arrays.items()
                if name.startswith("network.")
            }
            for name in initial(1, 1, 1, np.zeros(1), np.random.default_rng(0)):
                fusion.parameters_[name]
        except KeyError as error:
            raise ArtefactError(
                f"the saved fusion lacks the array {error}.", remedy="Train the router again."
            ) from error
        if fusion.n_features not in (0, N_FEATURES):
            raise ArtefactError(
                f"the saved fusion weighs {fusion.n_features} features of an option; this herdwise reads"
                f" {N_FEATURES}.",
                remedy="Train the router again.",
            )
        return fusion


def _in_parts(rows: np.ndarray) -> list[np.ndarray]:
    """Some hundred at a time, so that memory stays small whatever the herd."""
    return np.array_split(rows, max(len(rows) // 512, 1))


def _kept_apart(n: int, texts: Sequence[str] | None, rng: np.random.Generator) -> np.ndarray:
    """``(n,)`` bool, the queries that confidence is learned on; equal texts stay together."""
    group = np.arange(n)
    if texts is not None:  # an array of texts would pad each to the longest
        place: dict[str, int] = {}
        group = np.array([place.setdefault(text, len(place)) for text in texts])
    kept: np.ndarray = rng.random(int(group.max()) + 1)[group] < _KEPT
    return kept


def _log_odds(predicted: np.ndarray) -> np.ndarray:
    p = np.clip(predicted, _FLOOR, 1.0 - _FLOOR)
    odds: np.ndarray = np.log(p / (1.0 - p)).astype(np.float32)
    return odds
