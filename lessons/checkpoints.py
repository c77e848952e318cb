"""Checkpoints of training runs: a run that was interrupted goes on from there, if it is the same run."""

import time

import minigrad as mg
from minigrad.saving import CheckpointError


class Checkpoint:
    """The state of one training run, in one file that is replaced whole each time."""

    def __init__(self, path, identity, fresh, compress=False):
        self.path, self.identity, self.compress = path, identity, compress
        self._saved = time.monotonic()
        if fresh:
            path.unlink(missing_ok=True)

    def load(self):
        """The state last saved, or None at the beginning. CheckpointError if the file is of another run or sources."""
        if not self.path.exists():
            return None
        saved = mg.load(self.path)
        identity = saved.get("identity") if isinstance(saved, dict) else None
        if not isinstance(identity, dict) or "state" not in saved:
            raise CheckpointError(f"{self.path} is not a lesson's checkpoint; use --fresh to start anew")
        if identity | {"sources": None} != self.identity | {"sources": None}:
            raise CheckpointError(
                f"{self.path} is the checkpoint of another run ({identity}); "
                "use --fresh to start anew, or another --out"
            )
        if identity != self.identity:
            raise CheckpointError(
                f"{self.path} was begun with other sources of this lesson, minigrad or wn; "
                "go on with those, or use --fresh to start anew"
            )
        before, now = saved.get("blas"), mg.config.blas_description()
        if before != now:
            print(
                f"{self.path.name} was computed with {before or 'an unknown BLAS'}, and goes on with {now}: "
                "its numbers are not those of an uninterrupted run to the last bit"
            )
        return saved["state"]

    def save(self, state):
        """Replace the file by one that holds `state`, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)  # an equal run beside this one may have cleared up
        mg.save(
            self.path, {"identity": self.identity, "blas": mg.config.blas_description(), "state": state}, self.compress
        )
        self._saved = time.monotonic()

    def due(self, seconds):
        """Whether the state was last saved, or loaded, more than so many seconds ago."""
        return time.monotonic() - self._saved >= seconds
