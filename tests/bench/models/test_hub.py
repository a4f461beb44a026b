"""Models of a hub: one commit, from the cache where it is there, from a server that speaks the hub's language else."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from bench.models.hub import is_hub_name
from bench.models.loading import model_hash
from tests.bench.evaluate.tasks.documents import STORIES

COMMIT, OTHER = "0123456789abcdef0123456789abcdef01234567", "f" * 40
FIND = """
import json, sys
from pathlib import Path
from bench.errors import BenchError
from bench.models.sources import find_source
try:
    found = find_source(sys.argv[1], results=Path(sys.argv[2]))
    print(json.dumps([str(found.folder), found.name]))
except BenchError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""
WEIGHTS = "model.safetensors"
NAMES = ("config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS)


def find(source, home, *, endpoint="http://127.0.0.1:9", offline=False):
    """What another process with this cache finds."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline))}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", FIND, source, str(home / "results")],
        capture_output=True, text=True, timeout=120, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def fill(home: Path, commit: str, *, ref: str | None = "main", more: dict[str, bytes] | None = None) -> Path:
    """Lay a model into a cache as huggingface_hub does: content by its hash, names as links to it."""
    place = home / "hub" / "models--tiny--stories"
    snapshot = place / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (place / "blobs").mkdir(exist_ok=True)
    (place / "refs").mkdir(exist_ok=True)
    for name, content in ({name: (STORIES / name).read_bytes() for name in NAMES} | (more or {})).items():
        blob = place / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / blob.name)
    if ref is not None:
        (place / "refs" / ref).write_text(commit)
    return snapshot


def test_a_cached_model_is_resolved_offline_with_its_commit(tmp_path):
    snapshot = fill(tmp_path, COMMIT)
    folder, name = find("tiny/stories", tmp_path, offline=True)
    assert (Path(folder), name) == (snapshot, f"tiny/stories@{COMMIT}")
    assert model_hash(Path(folder)) == model_hash(STORIES)


def test_a_commit_is_taken_as_it_is_and_another_is_not_made_up(tmp_path):
    fill(tmp_path, COMMIT)
    other = fill(tmp_path, OTHER, ref="v2")
    assert find(f"tiny/stories@{OTHER}", tmp_path, offline=True) == [str(other), f"tiny/stories@{OTHER}"]
    assert find("tiny/stories@v2", tmp_path, offline=True) == [str(other), f"tiny/stories@{OTHER}"]
    kind, message = find(f"tiny/stories@{'a' * 40}", tmp_path, offline=True)
    assert kind == "UsageError"
    assert "no model of that name in the hub's cache" in message


def test_without_a_cache_and_without_a_network_the_message_names_the_fix(tmp_path):
    kind, message = find("tiny/stories", tmp_path)
    assert kind == "UsageError"
    assert "the hub cannot be reached" in message
    assert "hf download" in message


def test_a_cached_model_with_code_of_its_own_is_refused(tmp_path):
    config = json.loads((STORIES / "config.json").read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}
    fill(tmp_path, COMMIT, more={"config.json": json.dumps(config).encode()})
    kind, message = find("tiny/stories", tmp_path, offline=True)
    assert kind == "UsageError"
    assert "never run" in message


@pytest.mark.parametrize(
    ("source", "is_one"),
    [("org/name", True), ("org/name@v1.0", True), ("org/na.me@" + COMMIT, True), ("name", False), ("a/b/c", False),
     ("./org/name", False), ("../name", False), ("org/name.gguf", False), ("org/", False), ("tests/load", False),
     ("/org/name", False), ("org/name@", False)],
)  # fmt: skip
def test_what_may_be_a_name_on_a_hub(source, is_one, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])
    assert is_hub_name(source) == is_one


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's three questions: which commit, which files, and their content."""

    files: dict[str, bytes]
    requests: list[str]

    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, *, body):
        path = self.path.partition("?")[0]
        type(self).requests.append(path)
        if path in ("/api/models/tiny/stories", "/api/models/tiny/stories/revision/main"):
            self.send(json.dumps({"id": "tiny/stories", "sha": COMMIT, "siblings": []}).encode(), {}, body)
        elif path == f"/api/models/tiny/stories/tree/{COMMIT}":
            listed = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ]
            self.send(json.dumps(listed).encode(), {}, body)
        elif path.removeprefix(f"/tiny/stories/resolve/{COMMIT}/") in self.files:
            content = self.files[path.removeprefix(f"/tiny/stories/resolve/{COMMIT}/")]
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self.send(content, headers, body)
        elif path == "/":
            self.send(b"", {}, body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send(self, content, headers, body):
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def hub():
    class Own(Hub):
        files: ClassVar[dict[str, bytes]] = {name: (STORIES / name).read_bytes() for name in NAMES} | {
            "pytorch_model.bin": b"a pickle", "modeling_evil.py": b"print('no')", "onnx/model.safetensors": b"other",
            "consolidated.safetensors": b"twice", "README.md": b"a card",
        }  # fmt: skip
        requests: ClassVar[list[str]] = []

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Own
    server.shutdown()
    server.server_close()


def test_a_model_is_fetched_from_the_hub_once_and_pickles_and_code_never(tmp_path, hub):
    endpoint, own = hub
    folder, name = find("tiny/stories", tmp_path, endpoint=endpoint)
    assert name == f"tiny/stories@{COMMIT}"
    assert sorted(path.name for path in Path(folder).iterdir()) == sorted(NAMES)
    assert model_hash(Path(folder)) == model_hash(STORIES)
    assert not [path for path in own.requests if path.endswith((".bin", ".py", ".md")) or "onnx" in path]
    assert find("tiny/stories", tmp_path, offline=True) == [folder, name]
    own.requests.clear()
    assert find(f"tiny/stories@{COMMIT}", tmp_path, endpoint=endpoint) == [folder, name]
    assert own.requests == []
    kind, message = find("tiny/absent", tmp_path, endpoint=endpoint)
    assert kind == "UsageError"
    assert "the hub says" in message
