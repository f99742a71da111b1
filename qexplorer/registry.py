"""The versions of an extractor: base, adapter, prompt and triage together, with the evaluation that speaks for them.

A registry is a folder. Each version is a folder in it that is never changed; which one is current, and which were
before it, stands in one small file that is replaced as a whole, so that a reader never sees half of a promotion.
"""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from qexplorer.errors import BadInputError, ConfigError, StorageError
from qexplorer.settings import Section

CURRENT = "current.json"
VERSION = "version.json"
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Version(Section):
    """What an engine needs to be this extractor; places are relative to the version's folder, empty where unused.

    `evaluation` is a results folder of `qexplorer evaluate`, in which the version is called `method`.
    """

    name: Name
    model: str = "packaged"
    adapter: str = ""
    prompt: str = "default"
    triage: str = ""
    created_at: datetime
    evaluation: str = ""
    method: str = ""


class History(Section):
    """Which version is current, and those that were before it, the latest last."""

    current: str = ""
    before: tuple[str, ...] = ()


class Registry:
    """The versions in a folder. Raises ConfigError for a folder that holds something else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of all versions in order of their making."""
        versions = [self.read(path.parent.name) for path in sorted(self._folder.glob(f"*/{VERSION}"))]
        return [version.name for version in sorted(versions, key=lambda version: (version.created_at, version.name))]

    def read(self, name: str) -> Version:
        """Return a version. Raises ConfigError that lists the versions when there is none of that name."""
        path = self._folder / name / VERSION
        try:
            return Version.model_validate_json(path.read_bytes())
        except OSError:
            known = ", ".join(sorted(path.parent.name for path in self._folder.glob(f"*/{VERSION}"))) or "none"
            raise ConfigError(f"{self._folder} has no version {name}", remedy=f"It has: {known}") from None
        except ValidationError as error:
            raise ConfigError(f"{path} is no version: {error.errors()[0]['msg']}", remedy="Add it again") from None

    def path(self, version: Version, part: str) -> Path:
        """Return where a part of a version is."""
        return self._folder / version.name / part

    def history(self) -> History:
        """Return which version is current. Raises ConfigError when the file that says so is broken."""
        path = self._folder / CURRENT
        try:
            return History.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return History()
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy="Check the path") from None
        except ValidationError as error:
            raise ConfigError(
                f"{path} is broken: {error.errors()[0]['msg']}", remedy="Remove it, and promote a version"
            ) from None

    def add(
        self,
        version: Version,
        *,
        adapter: Path | None = None,
        triage: Path | None = None,
        evaluation: Path | None = None,
    ) -> Version:
        """Copy the parts of a version in and return it with their places. A version is never overwritten.

        Raises ConfigError for an adapter or a triage that is none, BadInputError for an evaluation that is none or that
        lacks the version's method.
        """
        from qexplorer.evaluation.results import read_results

        target = self._folder / version.name
        if target.exists():
            raise ConfigError(f"{target} exists already", remedy="Choose another name: a version never changes")
        part = self._folder / f".{version.name}.{os.getpid()}.part"
        places: dict[str, str] = {}
        try:
            part.mkdir(parents=True)
            if adapter is not None:
                if not (adapter / "adapter_config.json").is_file():
                    raise ConfigError(f"there is no adapter in {adapter}", remedy="Give the folder of a LoRA adapter")
                shutil.copytree(adapter, part / "adapter", ignore=shutil.ignore_patterns("checkpoints", "runs"))
                places["adapter"] = "adapter"
            if triage is not None:
                if not triage.is_file():
                    raise ConfigError(f"there is no triage {triage}", remedy="Train one: qexplorer triage train")
                shutil.copy(triage, part / "triage.safetensors")
                places["triage"] = "triage.safetensors"
            if evaluation is not None:
                methods = read_results(evaluation).methods()
                if version.method not in methods:
                    raise BadInputError(
                        f"{evaluation} has no method {version.method!r}",
                        remedy=f"Name what the version is called in there, --method: {', '.join(methods)}",
                    )
                shutil.copytree(evaluation, part / "evaluation")
                places["evaluation"] = "evaluation"
            whole = version.model_copy(update=places)
            (part / VERSION).write_text(whole.model_dump_json(indent=1))
            part.replace(target)
        except OSError as error:
            raise StorageError(f"cannot write {target}: {error.strerror}", remedy="Free the disk") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return whole

    def promote(self, name: str) -> History:
        """Make a version the current one; whether it has earned that is asked before (`rivals`)."""
        self.read(name)
        before = self.history()
        if before.current == name:
            raise ConfigError(f"{name} is the current version already", remedy="See: qexplorer models list")
        return self._write(
            History(current=name, before=(*before.before, *([before.current] if before.current else [])))
        )

    def rollback(self) -> History:
        """Make the version before the current one current again. Raises ConfigError when there is none."""
        now = self.history()
        if not now.before:
            raise ConfigError("no version was current before this one", remedy="See: qexplorer models list")
        self.read(now.before[-1])
        return self._write(History(current=now.before[-1], before=now.before[:-1]))

    def _write(self, history: History) -> History:
        path = self._folder / CURRENT
        try:
            part = path.with_suffix(".part")
            part.write_text(json.dumps(history.model_dump(mode="json"), indent=1))
            part.replace(path)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}", remedy="Free the disk") from error
        return history

    def why_not_better(self, new: Version, current: Version, measure: str = "campaigns") -> list[str]:
        """Return why a version has not beaten another one: nothing when it has.

        Over the same groups of seeds, five at least, paired, it must be worse nowhere and better somewhere: the 95 %
        interval of a difference in campaigns found below or above 0. Raises BadInputError when one of them has no
        evaluation, or when the evaluations have no corpus, split, load and group of seeds in common.
        """
        from qexplorer.evaluation.compare import FEWEST, compare_rows
        from qexplorer.evaluation.results import read_results

        again = "Add it under another name, with --results and --method: a version never changes"
        if not new.evaluation:
            raise BadInputError(f"{new.name} has no evaluation", remedy=again)
        if not current.evaluation:
            raise BadInputError(
                f"{current.name}, which is current, has no evaluation",
                remedy=f"{again}. Then remove {self._folder / CURRENT}, and promote it and {new.name}",
            )
        ours, theirs = (read_results(self.path(version, version.evaluation)).rows for version in (new, current))
        found = [each for each in compare_rows(ours, new.method, theirs, current.method) if each.measure == measure]
        flaws = [
            f"{each.corpus} at {each.load} searches: {each.values[0]:.1f} {measure} to {each.values[1]:.1f}"
            for each in found
            if each.verdict == "worse"
        ]
        flaws += [
            f"{each.corpus} at {each.load} searches: {each.groups} of at least {FEWEST} groups of seeds"
            for each in found
            if each.groups < FEWEST
        ]
        if not any(each.verdict == "better" for each in found):
            flaws.append(f"it finds more {measure}, beyond chance, on none of {len(found)} comparisons")
        return flaws
