"""A version is visible as a whole or not at all: after kills, with two publishers, on a folder and on S3."""

import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from superinsight_sync.core.errors import ConfigError, DataError, TransientError
from superinsight_sync.export.build import Built
from superinsight_sync.export.manifest import Manifest, is_current
from superinsight_sync.export.publish import latest, load_manifest, publish, verify, versions
from superinsight_sync.lake.blob_files import LocalBlobs
from superinsight_sync_tests.export.making import build, dataset, orders

PREFIX = "acme/datasets/sample"


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "lake")


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return build(dataset(), tmp_path / "built", rows=orders(200))


def other(tmp_path: Path, count: int) -> Built:
    return build(dataset(), tmp_path / f"built-{count}", version=count, rows=orders(count))


class Dies(LocalBlobs):
    """Stops after a number of writes, as if the process had been killed there."""

    left = 10**9

    def write(self, path: str, data: bytes) -> None:
        self._count()
        super().write(path, data)

    def upload(self, local: Path, path: str) -> None:
        self._count()
        super().upload(local, path)

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_published_version_is_found_read_and_verified(blobs: LocalBlobs, built: Built) -> None:
    published = publish(built, blobs, PREFIX)
    assert not published.unchanged
    assert published.manifest.version == f"v0001-{built.content_fingerprint[:12]}"
    assert versions(blobs, PREFIX) == [published.manifest.version]
    assert latest(blobs, PREFIX) == verify(blobs, PREFIX, published.manifest.version) == published.manifest
    pointer = json.loads(blobs.read(f"{PREFIX}/latest.json"))
    assert pointer["version"] == published.manifest.version
    assert (Path(published.path) / "data" / "train.jsonl").exists()
    assert {p.name for p in Path(published.path).iterdir()} == {
        "data",
        "jsonl",
        "csv",
        "README.md",
        "report.html",
        "manifest.json",
    }


def test_the_manifest_says_what_went_in_and_came_out(blobs: LocalBlobs, built: Built) -> None:
    manifest = publish(built, blobs, PREFIX).manifest
    assert manifest.inputs["rows"].stream == "shop/rows"
    assert manifest.rows == sum(manifest.rows_by_split.values()) == 200
    assert [c.name for c in manifest.columns] == ["order_id", "customer", "amount", "note"]
    assert {f.format for f in manifest.files} == {"json", "jsonl", "csv", "parquet", "md", "html"}
    text = json.loads(blobs.read(f"{PREFIX}/{manifest.version}/manifest.json"))
    assert set(text) == set(Manifest.model_json_schema()["properties"])
    assert all(
        "description" in p
        for n, p in Manifest.model_json_schema()["properties"].items()
        if n in ("version", "created_at")
    )
    others = (b"".join(blobs.read(f"{PREFIX}/{manifest.version}/{f.path}") for f in manifest.files)).decode(
        errors="replace"
    )
    assert manifest.created_at.isoformat()[:10] not in others


def test_the_same_again_makes_no_new_version(blobs: LocalBlobs, built: Built, tmp_path: Path) -> None:
    first = publish(built, blobs, PREFIX)
    again = publish(build(dataset(), tmp_path / "again", rows=orders(200)), blobs, PREFIX)
    assert again.unchanged
    assert again.manifest == first.manifest
    assert len(versions(blobs, PREFIX)) == 1


def test_other_files_beside_the_versions_are_left_out(blobs: LocalBlobs, built: Built) -> None:
    blobs.write(f"{PREFIX}/notes/todo.txt", b"mine")
    blobs.write(f"{PREFIX}/v0009-abc", b"no folder")
    version = publish(built, blobs, PREFIX).manifest.version
    assert versions(blobs, PREFIX) == [version]
    assert blobs.read(f"{PREFIX}/notes/todo.txt") == b"mine"


def test_whether_anything_changed_is_known_without_building(blobs: LocalBlobs, built: Built) -> None:
    manifest = publish(built, blobs, PREFIX).manifest
    assert is_current(manifest, dataset(), {"rows": 1})
    assert is_current(manifest, dataset(owners=["team:x"], schedule="0 5 * * *"), {"rows": 1})
    assert not is_current(manifest, dataset(), {"rows": 2})
    for change in (
        {"select": "SELECT 1 AS x FROM rows"},
        {"formats": ["csv"]},
        {"split": {"seed": 1}},
        {"split": {"ratios": {"test": 0.1, "validation": 0.1, "train": 0.8}}},
        {"order_by": ["amount"]},
    ):
        assert not is_current(manifest, dataset(**change), {"rows": 1})


def test_versions_are_numbered_and_going_back_is_a_new_one(
    blobs: LocalBlobs, built: Built, tmp_path: Path
) -> None:
    changed = other(tmp_path, 150)
    names = [publish(b, blobs, PREFIX).manifest.version for b in (built, changed, built)]
    assert [n.split("-")[0] for n in names] == ["v0001", "v0002", "v0003"]
    assert versions(blobs, PREFIX) == names
    found = latest(blobs, PREFIX)
    assert found and found.version == names[2]
    for name in names:
        verify(blobs, PREFIX, name)


def test_stopped_at_any_write_nothing_half_is_visible_and_the_next_one_completes(
    tmp_path: Path, built: Built
) -> None:
    old = other(tmp_path, 50)
    steps = len(built.files) + 3  # started.json, the files, the manifest, latest.json
    for at in range(steps):
        root = tmp_path / f"lake-{at}"
        publish(old, LocalBlobs(root), PREFIX)
        dying = Dies(root)
        dying.left = at
        with pytest.raises(KeyboardInterrupt):
            publish(built, dying, PREFIX)
        blobs = LocalBlobs(root)
        visible = versions(blobs, PREFIX)
        assert len(visible) == (2 if at == steps - 1 else 1), at
        for name in visible:
            verify(blobs, PREFIX, name)
        assert json.loads(blobs.read(f"{PREFIX}/latest.json"))["version"] in visible
        published = publish(built, blobs, PREFIX).manifest
        assert versions(blobs, PREFIX)[1:] == [published.version]
        verify(blobs, PREFIX, published.version)
        assert json.loads(blobs.read(f"{PREFIX}/latest.json"))["version"] == published.version
        assert not [p for p in blobs.list(PREFIX) if p.endswith("started.json")]


def test_what_others_left_is_removed_when_it_is_old_enough(
    blobs: LocalBlobs, tmp_path: Path, built: Built
) -> None:
    dying = Dies(tmp_path / "lake")
    dying.left = 5
    with pytest.raises(KeyboardInterrupt):
        publish(other(tmp_path, 50), dying, PREFIX)
    publish(built, blobs, PREFIX)
    assert len({p.split("/")[3] for p in blobs.list(PREFIX) if p.count("/") > 3}) == 2
    publish(built, blobs, PREFIX, abandoned_after=timedelta(0))
    assert {p.split("/")[3] for p in blobs.list(PREFIX) if p.count("/") > 3} == set(versions(blobs, PREFIX))


def test_a_publication_that_was_cleaned_away_does_not_become_visible(blobs: LocalBlobs, built: Built) -> None:
    def cleaned() -> None:
        blobs.delete(PREFIX)

    with pytest.raises(TransientError, match="gone"):
        publish(built, blobs, PREFIX, before_visible=cleaned)
    assert versions(blobs, PREFIX) == []


def test_giving_up_before_the_manifest_leaves_nothing_visible(blobs: LocalBlobs, built: Built) -> None:
    def lost() -> None:
        raise TransientError("another process took over")

    with pytest.raises(TransientError):
        publish(built, blobs, PREFIX, before_visible=lost)
    assert latest(blobs, PREFIX) is None


def test_two_publishers_at_once_never_mix(blobs: LocalBlobs, tmp_path: Path) -> None:
    builds = [other(tmp_path, count) for count in (10, 20, 30)]
    builds.append(builds[1])
    for _ in range(5):
        with ThreadPoolExecutor(len(builds)) as pool:
            done = list(pool.map(lambda b: publish(b, blobs, PREFIX), builds))
        for published, b in zip(done, builds, strict=True):
            assert published.manifest.content_fingerprint == b.content_fingerprint
        for name in versions(blobs, PREFIX):
            verify(blobs, PREFIX, name)
        assert json.loads(blobs.read(f"{PREFIX}/latest.json"))["version"] in versions(blobs, PREFIX)
    last = publish(builds[0], blobs, PREFIX)
    assert json.loads(blobs.read(f"{PREFIX}/latest.json"))["version"] == last.manifest.version


def test_a_changed_and_a_missing_file_are_found(blobs: LocalBlobs, built: Built) -> None:
    version = publish(built, blobs, PREFIX).manifest.version
    data = blobs.read(f"{PREFIX}/{version}/data/train.csv")
    blobs.write(f"{PREFIX}/{version}/data/train.csv", data[:-2] + b"9\n")
    blobs.delete(f"{PREFIX}/{version}/data/test.json")
    with pytest.raises(
        DataError,
        match=r"train\.csv differs.*test\.json is missing|test\.json is missing.*train\.csv differs",
    ):
        verify(blobs, PREFIX, version)


def test_an_unknown_version_is_told_with_the_known_ones(blobs: LocalBlobs, built: Built) -> None:
    publish(built, blobs, PREFIX)
    with pytest.raises(ConfigError, match="v0001-"):
        load_manifest(blobs, PREFIX, "v0009-abc")
    assert versions(blobs, "acme/datasets/nothing") == []


WORKER = """
import sys
from pathlib import Path
from superinsight_sync.export.publish import publish
from superinsight_sync.lake.blob_files import LocalBlobs
from superinsight_sync_tests.export.making import build, dataset, orders
root, work, seed = sys.argv[1:]
built = build(dataset(split={"seed": int(seed)}), Path(work), rows=orders(5_000))
sys.stdout.write("built\\n")
sys.stdout.flush()
publish(built, LocalBlobs(Path(root)), "acme/datasets/sample")
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_publishing_leaves_no_half_version(tmp_path: Path) -> None:
    rng = random.Random(7)
    blobs = LocalBlobs(tmp_path / "lake")
    half = 0
    for attempt, most_files in enumerate((1, 4, 9, 14, 16)):
        arguments = [str(tmp_path / "lake"), str(tmp_path / f"work-{attempt}"), str(attempt)]
        process = subprocess.Popen([sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE)
        assert process.stdout and process.stdout.readline() == b"built\n"
        before = len(list(blobs.list(PREFIX)))
        while process.poll() is None and len(list(blobs.list(PREFIX))) < before + rng.randint(1, most_files):
            pass
        process.kill()
        process.wait()
        process.stdout.close()
        visible = versions(blobs, PREFIX)
        for name in visible:
            verify(blobs, PREFIX, name)
        half += len({p.split("/")[3] for p in blobs.list(PREFIX) if p.count("/") > 3}) > len(visible)
    built = build(dataset(), tmp_path / "last", rows=orders(100))
    version = publish(built, blobs, PREFIX, abandoned_after=timedelta(0)).manifest.version
    assert half, "no kill hit the middle of a publication"
    assert {p.split("/")[3] for p in blobs.list(PREFIX) if p.count("/") > 3} == set(versions(blobs, PREFIX))
    verify(blobs, PREFIX, version)


def test_the_documented_schema_is_the_manifests() -> None:
    path = Path(__file__).parents[2] / "docs" / "reference" / "dataset-manifest.schema.json"
    assert json.loads(path.read_text()) == Manifest.model_json_schema(), "write the schema anew"
