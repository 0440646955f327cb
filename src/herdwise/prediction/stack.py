"""Stack, the default: several predictors combined by their left-out predictions, calibrated and guarded.

members -> weighted sum beside the candidates' means -> calibration -> guard of the best single candidate
-> what is on record of the very same query
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import numpy as np

from herdwise.core.errors import ArtefactError, InputError
from herdwise.prediction.base import PREDICTORS, Predictor
from herdwise.prediction.calibration import Calibration
from herdwise.prediction.guard import Guard
from herdwise.prediction.mean import left_out_means
from herdwise.prediction.option_checks import several, whole
from herdwise.prediction.projection import Projection
from herdwise.prediction.repeats import Repeats
from herdwise.prediction.uncertainty import LocalError
from herdwise.prediction.unit import clip_unit
from herdwise.prediction.weighting import choose_weights

#: Rows that are looked at together.
_BLOCK = 2**13


class StackPredictor(Predictor):
    """Quality = mean + sum of weight x (member - mean), over members such as kernel and clusters.

    Weights, calibration, guard and uncertainty are all learned from predictions of rows that the fit had not
    seen: exactly left out where a member can tell (``left_out_``), else by ``n_folds`` folds. Where
    no member foretells anything the weights are zero and every query gets the best single candidate.

    Args:
        members: names of registered predictors.
        n_folds: folds for a member that cannot leave rows out by itself.
        member_options: options of members, by name; the defaults where a member is not named.
    """

    name: ClassVar[str] = "stack"

    def __init__(
        self,
        members: Sequence[str] = ("kernel", "clusters"),
        n_folds: int = 5,
        member_options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.members = tuple(several(self.name, "members", members))
        self.n_folds = whole(self.name, "n_folds", n_folds, least=2)
        self.member_options = dict(member_options or {})
        unused = set(self.member_options) - set(self.members)
        if unused:
            raise InputError(
                f"options for {', '.join(sorted(unused))}, which the stack does not have.",
                remedy=f"Its members: {', '.join(self.members)}.",
            )

    def _create(self, name: str) -> Predictor:
        return PREDICTORS.create(name, **self.member_options.get(name, {}))

    def _fit(self, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> None:
        self._projection = Projection().fit(X)
        X = self._projection(X)
        fitted: list[Predictor] = []
        left_out: list[np.ndarray] = []
        for name in self.members:
            member = self._create(name)
            member.fit(X, Y, seed=int(rng.integers(2**31)), candidate_features=self.candidate_features_)
            left_out.append(
                self._in_folds(name, X, Y, rng)
                if member.left_out_ is None
                else np.clip(member.left_out_, 0.0, 1.0, out=member.left_out_)
            )
            member.left_out_ = None  # as large as the outcomes, and not needed again
            fitted.append(member)
            self._tell(len(fitted))
        predicted = left_out_means(Y, self.means_)
        self.weights_ = choose_weights(left_out, predicted, Y)
        predicted *= np.float32(1.0 - self.weights_.sum())
        for weight, part in zip(self.weights_, left_out, strict=True):
            # In place: each is as large as the outcomes, and not needed again.
            predicted += np.multiply(part, weight, out=part)
        left_out.clear()
        self._calibration = Calibration().fit(predicted, Y)
        calibrated = self._calibration(predicted)
        np.clip(calibrated, 0.0, 1.0, out=calibrated)
        self._tell(len(fitted) + 1)
        self._guard = Guard().fit(calibrated, Y, self.means_)
        for start in range(0, len(Y), _BLOCK):
            rows = slice(start, start + _BLOCK)
            np.clip(self._guard(calibrated[rows]), 0.0, 1.0, out=calibrated[rows])
        self._repeats = Repeats().fit(X, Y, calibrated, np.random.default_rng(0))
        self.left_out_ = calibrated
        self._error = LocalError().fit(X, Y, self.left_out_, rng)
        self._members = fitted
        self._prepare()
        self._tell(len(fitted) + 2)

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, len(self.members) + 2)

    def _in_folds(self, name: str, X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        fold = rng.permutation(len(X)) % min(self.n_folds, max(len(X), 1))
        left_out = np.tile(self.means_, (len(X), 1))
        for number in range(int(fold.max()) + 1):
            rest = fold != number
            if np.isfinite(Y[rest]).any():
                part = self._create(name).fit(
                    X[rest],
                    Y[rest],
                    seed=int(rng.integers(2**31)),
                    candidate_features=self.candidate_features_,
                )
                left_out[~rest] = part.predict(X[~rest])
        return left_out

    def _prepare(self) -> None:
        used = [(float(w), m) for w, m in zip(self.weights_, self._members, strict=True) if w > 0]
        self._used = used
        self._scaled = [(np.array(w, dtype=np.float32), m) for w, m in used]
        self._base = (self.means_ * (1.0 - sum(w for w, _ in used))).astype(np.float32)

    def _predict(self, X: np.ndarray) -> np.ndarray:
        X = self._projection(X)
        total = np.repeat(self._base[None], len(X), axis=0)
        for weight, member in self._used:
            total += np.float32(weight) * member.predict(X)
        return self._repeats(X, self._guard(np.clip(self._calibration(total), 0.0, 1.0)))

    def predict_anew(self, X: np.ndarray) -> np.ndarray:
        """Without what is on record of the very same queries."""
        part = copy(self)
        part._repeats = Repeats.none(self.n_candidates_)
        return part.predict(X)

    def predict_one(self, x: np.ndarray) -> np.ndarray:
        """One vector, without the checks of a batch."""
        z = self._projection.one(x)
        total = self._base.copy()
        for weight, member in self._scaled:
            total += member.predict_one(z) * weight
        guarded = self._guard.one(clip_unit(self._calibration.one(total)))
        correction = self._repeats.one(z)
        return guarded if correction is None else np.clip(guarded + correction, 0.0, 1.0)

    def parts(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The candidates' means, each member's term, what calibration, guard and repeats change, ``(m,)``."""
        z = self._projection.one(x)
        told = {"mean": self.means_}
        for weight, member in self._used:
            term = np.float32(weight) * (member.predict_one(z) - self.means_)
            told[member.name] = told.get(member.name, np.float32(0.0)) + term
        total = np.sum(list(told.values()), axis=0)
        calibrated = np.minimum(np.maximum(self._calibration(total), 0.0), 1.0)
        told["calibration"] = calibrated - total
        guarded = self._guard.one(calibrated)
        told["guard"] = guarded - calibrated
        correction = self._repeats.one(z)
        if correction is not None:
            told["repeats"] = np.clip(guarded + correction, 0.0, 1.0) - guarded
        return told

    def among(self, columns: np.ndarray) -> Self:
        """A copy whose guard keeps to the best single of these candidates; the rest is shared."""
        if len(columns) == 0:
            return self
        part = copy(self)
        part._guard = copy(self._guard).among(np.asarray(columns))
        return part

    def std(self, X: np.ndarray) -> np.ndarray:
        """Standard error of the expectation, ``(n, m)``; see ``LocalError``."""
        return self._error(self._projection(np.ascontiguousarray(X, dtype=np.float32)))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Members with their options, and all arrays, a member's prefixed by its place."""
        arrays: dict[str, np.ndarray] = {
            "means_": self.means_,
            "weights_": self.weights_,
            "n_features_": np.array(self.n_features_, dtype=np.int64),
        }
        parts = {"calibration": self._calibration.state(), "guard": self._guard.state()}
        parts |= {"error": self._error.state(), "projection": self._projection.state()}
        parts["repeats"] = self._repeats.state()
        options: list[dict[str, Any]] = []
        for place, (name, member) in enumerate(zip(self.members, self._members, strict=True)):
            taken, parts[f"member{place}"] = member.state()
            options.append({"name": name, "options": taken})
        for prefix, part in parts.items():
            arrays |= {f"{prefix}.{name}": value for name, value in part.items()}
        return {"members": options, "n_folds": self.n_folds}, arrays

    @classmethod
    def from_state(cls, options: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild from ``state``.

        Raises:
            ArtefactError: when an array is missing.
            UnknownNameError: when a member's predictor is not installed.
        """
        saved = options["members"]
        predictor = cls(
            members=[member["name"] for member in saved],
            n_folds=int(options["n_folds"]),
            member_options={member["name"]: member["options"] for member in saved},
        )

        def part(prefix: str) -> dict[str, np.ndarray]:
            start = prefix + "."
            return {name[len(start) :]: value for name, value in arrays.items() if name.startswith(start)}

        try:
            predictor.means_, predictor.weights_ = (
                np.asarray(arrays["means_"]),
                np.asarray(arrays["weights_"]),
            )
            predictor.n_features_ = int(arrays["n_features_"])
            predictor.n_candidates_ = len(predictor.means_)
            predictor._calibration = Calibration.from_state(part("calibration"))
            predictor._guard = Guard.from_state(part("guard"))
            predictor._error = LocalError.from_state(part("error"))
            predictor._projection = Projection.from_state(part("projection"))
            predictor._repeats = Repeats.from_state(part("repeats"))
        except KeyError as error:
            raise ArtefactError(
                f"the saved 'stack' predictor lacks the array {error}.", remedy="Train the router again."
            ) from error
        predictor._members = [
            PREDICTORS.get(member["name"]).from_state(member["options"], part(f"member{place}"))
            for place, member in enumerate(saved)
        ]
        predictor._prepare()
        return predictor
