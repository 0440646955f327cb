"""Distils the default encoder's word table from all-MiniLM-L6-v2. Two minutes at most on two cores.

    pip install 'herdwise[recipe]'
    python scripts/distil_static_encoder.py --out src/herdwise/data/static_encoder

Every piece of the vocabulary goes through the transformer once; PCA keeps 128 directions; frequent pieces
are weighted down (SIF, Arora et al. 2017, with Zipf's law standing in for counts): model2vec's recipe. Then
each value becomes one byte, with a scale per row and per column.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from herdwise.encoding.minilm import minilm_folder, sha256

N_DIMENSIONS = 128
#: Written into the table and into every saved router; raise the last number when the table changes.
IDENTITY = "all-MiniLM-L6-v2/model2vec-128-int8/1"


def distil(model: Path) -> tuple[list[str], np.ndarray]:
    """Pieces and their weighted vectors, ``(n_pieces, N_DIMENSIONS)`` float32."""
    from model2vec.distill import distill

    static = distill(str(model), pca_dims=N_DIMENSIONS, quantize_to="float32", device="cpu")
    rows = {
        piece: row for piece, row in static.tokenizer.get_vocab().items() if piece not in {"[PAD]", "[UNK]"}
    }
    pieces = sorted(rows, key=lambda piece: rows[piece])
    return pieces, np.asarray(static.embedding, dtype=np.float32)[[rows[piece] for piece in pieces]]


def quantise(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Codes and scales such that ``vectors ~ row_scale[:, None] * codes * column_scale``.

    Columns are brought to one spread first, so that the small directions of a PCA keep their digits; then
    each row uses the whole range of a byte, so that words that are weighted down keep theirs.
    """
    column_scale = vectors.std(axis=0)
    even = vectors / column_scale
    row_scale = np.abs(even).max(axis=1) / 127
    codes = np.rint(even / row_scale[:, None]).astype(np.int8)
    return {"codes": codes, "row_scale": row_scale, "column_scale": column_scale}


def write(pieces: list[str], vectors: np.ndarray, out: Path) -> None:
    """Write the table and its vocabulary, and print what SOURCE.md records."""
    arrays = quantise(vectors)
    back = arrays["row_scale"][:, None] * arrays["codes"] * arrays["column_scale"]
    error = np.linalg.norm(back - vectors, axis=1) / np.linalg.norm(vectors, axis=1)
    out.mkdir(parents=True, exist_ok=True)
    save_file(arrays, out / "table.safetensors", metadata={"identity": IDENTITY})
    (out / "table.safetensors").chmod(0o644)
    (out / "vocabulary.txt").write_text("\n".join(pieces), encoding="utf-8")
    print(f"{len(pieces)} pieces x {vectors.shape[1]}; relative error of a row: mean {error.mean():.4f}")
    for name in ("table.safetensors", "vocabulary.txt"):
        print(f"{sha256(out / name)}  {name}  {(out / name).stat().st_size} bytes")


def main() -> None:
    """Check the weights' hashes, distil, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--model", type=Path, help="folder of the weights; default: the installed package's")
    options = parser.parse_args()
    model = minilm_folder(options.model)
    write(*distil(model), options.out)


if __name__ == "__main__":
    main()
