"""A router as a folder (see ``storage.router_folder``), and the router of a folder."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from herdwise.core.candidate import Herd
from herdwise.core.errors import ArtefactError, HerdwiseError
from herdwise.core.version import __version__
from herdwise.encoding.base import ENCODERS
from herdwise.prediction.base import PREDICTORS
from herdwise.prediction.fusion import Fusion
from herdwise.prediction.resources import ResourcePredictor
from herdwise.prediction.signal_worth import SignalWorth
from herdwise.routing.admitted import Admitted
from herdwise.routing.facts import TrainingFacts
from herdwise.routing.manifest import candidate_from_json, candidate_to_json
from herdwise.routing.neighbours import Neighbours
from herdwise.storage.router_folder import read_arrays, read_file, read_manifest, write_router_folder

if TYPE_CHECKING:
    from herdwise.routing.router import Router


def save_router(router: Router, path: str | os.PathLike[str], figures: dict[str, Any] | None) -> None:
    """See ``Router.save``."""
    options: dict[str, Any] = {}
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for part, thing in (
        ("encoder", router.encoder),
        ("predictor", router.predictor),
        ("resources", router.resources),
    ):
        options[part], arrays[part] = thing.state()
    texts: dict[str, Any] = {}
    near = router.kept_neighbours
    if near is not None:
        arrays["neighbours"], texts["neighbours"] = near.state()
    manifest = {
        "herdwise": __version__,
        "seed": router.seed,
        "encoder": {"name": router.encoder.name, "options": options["encoder"]},
        "predictor": {"name": router.predictor.name, "options": options["predictor"]},
        "resources": {"options": options["resources"]},
        "herd": [candidate_to_json(c) for c in router.columns],
        "removed": [n for i, n in enumerate(router.columns.names) if router.column_of.get(n) != i],
        "facts": asdict(router.facts),
        "figures": figures or {},
    }
    if router.fusion is not None:
        taken, arrays["fusion"] = router.fusion.state()
        manifest["fusion"] = {"options": taken}
    taken, arrays["worth"] = router.worth.state()
    manifest["worth"] = {"options": taken}
    if router.admitted is not None:
        manifest["enlisted"], arrays["admitted"] = router.admitted.state()
    write_router_folder(path, manifest, arrays, texts)


def load_router(cls: type[Router], path: str | os.PathLike[str]) -> Router:
    """See ``Router.load``."""
    manifest = read_manifest(path)
    try:
        herd = Herd(candidate_from_json(c) for c in manifest["herd"])
        facts = TrainingFacts(**manifest["facts"])
        coder = ENCODERS.get(manifest["encoder"]["name"]).from_state(
            manifest["encoder"]["options"], read_arrays(path, manifest, "encoder")
        )
        learner = PREDICTORS.get(manifest["predictor"]["name"]).from_state(
            manifest["predictor"]["options"], read_arrays(path, manifest, "predictor")
        )
        resources = ResourcePredictor.from_state(
            manifest["resources"]["options"], read_arrays(path, manifest, "resources")
        )
        fusion = None
        if manifest.get("fusion"):
            fusion = Fusion.from_state(manifest["fusion"]["options"], read_arrays(path, manifest, "fusion"))
        worth = SignalWorth()
        if manifest.get("worth"):
            worth = SignalWorth.from_state(manifest["worth"]["options"], read_arrays(path, manifest, "worth"))
        admitted, removed = None, frozenset(manifest.get("removed", ()))
        if manifest.get("enlisted"):
            admitted = Admitted.from_state(manifest["enlisted"], read_arrays(path, manifest, "admitted"))
    except HerdwiseError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtefactError(
            f"{path} is not a whole router: {type(error).__name__} {error}.",
            remedy="Train it again: herdwise train --outcomes DIR --out ROUTER.",
        ) from error

    # Read now, for the folder may be replaced while this router serves; decoded when first asked for.
    near_arrays = read_arrays(path, manifest, "neighbours")
    near_texts = read_file(path, manifest, "neighbours.json")

    def neighbours() -> Neighbours | None:
        if near_texts is None:
            return None
        return Neighbours.from_state(near_arrays, msgspec.json.decode(near_texts), [*kept, *enlisted.names])

    # A removed candidate's column stays, for the others lean on it; its name is free again.
    kept = ["" if name in removed else name for name in herd.names]
    enlisted = admitted.herd if admitted else Herd([])
    known = Herd([*(c for c in herd if c.name not in removed), *enlisted])
    whole = not removed and admitted is None
    router = cls(
        herd=herd,
        encoder=coder,
        predictor=learner,
        resources=resources,
        facts=facts,
        trained=herd if whole else known,
        columns=herd,
        admitted=admitted,
        source=np.arange(len(herd)),
        constant=np.full(len(herd), np.nan),
        fusion=fusion,
        worth=worth,
        seed=int(manifest.get("seed", 0)),
        _neighbours=neighbours,
    )
    return router if whole else router.adapt(known)
