# SPDX-License-Identifier: GPL-3.0-or-later
"""A file at an address: what is asked for, who gets credentials, what goes on where, and what is never shown."""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hub import Hub

if t.TYPE_CHECKING:
    from .conftest import Run

DATA = b"GGUF" + bytes(range(256)) * 4000
SHA256 = hashlib.sha256(DATA).hexdigest()
SECRET = "planted-7f3a"


@pytest.fixture(autouse=True)
def _no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_arguments: None)


@pytest.fixture
def mirror() -> t.Iterator[Hub]:
    with Hub() as running:
        running.publish("org/model", {"model.gguf": DATA})
        yield running


@pytest.fixture
def params(hub: Hub) -> dict[str, t.Any]:
    hub.publish("org/model", {"model.gguf": DATA})
    return {"source": "url", "url": address(hub), "timeout": 2, "workers": 1}


def address(hub: Hub, file: str = "model.gguf", userinfo: str = "") -> str:
    return f"http://{userinfo}{urlsplit(hub.url).netloc}/org/model/resolve/main/{file}"


def publish(hub: Hub, **more: bytes) -> None:
    hub.publish("org/model", {"model.gguf": DATA, **{name.replace("_", "."): data for name, data in more.items()}})


def bytes_of(result: dict[str, t.Any]) -> bytes:
    return Path(result["models"][0]["local_path"]).read_bytes()


def silent(hub: Hub, *, says: dict[str, str] | None = None, drops: t.Collection[str] = ()) -> None:
    """A plain server: it says no hash by itself, but perhaps what is told; some headers it leaves out."""

    class Plain(hub._server.RequestHandlerClass):  # type: ignore[name-defined, misc]
        def send_header(self, keyword: str, value: str) -> None:
            if keyword not in ("X-Linked-Etag", "ETag", *drops):
                super().send_header(keyword, value)

        def end_headers(self) -> None:
            for name, value in (says or {}).items():
                self.send_header(name, value)
            super().end_headers()

    hub._server.RequestHandlerClass = Plain


def test_a_known_hash_needs_no_request(foreseen: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    params["sha256"] = SHA256.upper()
    made = foreseen(**params)
    assert bytes_of(made) == DATA
    assert made["models"][0]["revision"] == SHA256
    hub.reset()
    assert foreseen(**params)["changed"] is False
    assert foreseen(**params, state="verified")["changed"] is False
    assert not hub.requests


def test_a_known_hash_is_the_one_that_counts(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    silent(hub)
    result = model(**params, sha256="0" * 64)
    assert result["reason"] == "checksum_mismatch"
    assert "models" not in result


@pytest.mark.parametrize(
    "line",
    [
        f"{'1' * 64}  other.gguf\n{SHA256}  model.gguf\n",
        f"{SHA256} *./sub/model.gguf\n",
        f"SHA256 (other.gguf) = {'1' * 64}\nSHA256 (model.gguf) = {SHA256.upper()}\n",
    ],
    ids=["coreutils", "binary", "bsd"],
)
def test_a_list_of_checksums(model: Run, hub: Hub, params: dict[str, t.Any], line: str) -> None:
    silent(hub)
    publish(hub, SHA256SUMS=line.encode())
    params["checksum_url"] = address(hub, "SHA256SUMS")
    assert bytes_of(model(**params)) == DATA
    assert model(**params)["changed"] is False


def test_a_list_without_the_file_is_no_proof(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    publish(hub, SHA256SUMS=f"{SHA256}  other.gguf\n".encode(), model_gguf_sha256=SHA256.encode())
    result = model(**params, checksum_url=address(hub, "SHA256SUMS"))
    assert result["reason"] == "checksum_missing"
    assert "SHA256SUMS" in result["msg"]


def test_the_servers_own_word(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    silent(hub, says={"Repr-Digest": f"sha-512=:AAAA:, sha-256=:{digest}:"})
    assert bytes_of(model(**params)) == DATA
    assert not [request for request in hub.requests if request.endswith(".sha256")]


@pytest.mark.parametrize("text", [SHA256, f"{SHA256}  model.gguf\n"])
def test_a_file_beside_it(model: Run, hub: Hub, params: dict[str, t.Any], text: str) -> None:
    silent(hub)
    publish(hub, model_gguf_sha256=text.encode())
    assert bytes_of(model(**params)) == DATA


def test_no_hash_is_refused(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    silent(hub)
    result = model(**params)
    assert result["reason"] == "checksum_missing"
    assert f"{address(hub)}.sha256" in result["msg"]
    assert not hub.sent


def test_mirrors_are_asked_in_order(model: Run, hub: Hub, mirror: Hub, params: dict[str, t.Any]) -> None:
    hub.fault("model.gguf", status=404)
    hub.fault("model.gguf", status=404, method="HEAD")
    params["mirrors"] = [address(mirror, "missing.gguf"), address(mirror)]
    assert bytes_of(model(**params)) == DATA
    assert hub.settled()["model.gguf"] == 0
    assert mirror.settled()["model.gguf"] == len(DATA)


def test_a_mirror_goes_on_from_the_byte(model: Run, hub: Hub, mirror: Hub, params: dict[str, t.Any]) -> None:
    hub.fault("model.gguf", cut=300_000, times=1)
    hub.fault("model.gguf", status=404)
    assert bytes_of(model(**params, mirrors=[address(mirror)])) == DATA
    assert hub.settled()["model.gguf"] == 300_000
    assert mirror.settled()["model.gguf"] == len(DATA) - 300_000
    assert mirror.ranges == [f"model.gguf 300000-{len(DATA)}"]


def test_a_mirror_with_other_bytes_is_found_out(model: Run, hub: Hub, mirror: Hub, params: dict[str, t.Any]) -> None:
    hub.fault("model.gguf", cut=300_000, times=1)
    hub.fault("model.gguf", status=404)
    mirror.publish("org/model", {"model.gguf": bytes(len(DATA))})
    result = model(**params, mirrors=[address(mirror)])
    assert result["reason"] == "checksum_mismatch"


@pytest.mark.parametrize(
    ("more", "header"),
    [
        ({"token": SECRET}, f"Bearer {SECRET}"),
        (
            {"username": "me", "password": SECRET},
            "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode(),
        ),
    ],
    ids=["bearer", "basic"],
)
def test_credentials_reach_the_first_host_only(
    model: Run, hub: Hub, mirror: Hub, params: dict[str, t.Any], more: dict[str, str], header: str
) -> None:
    hub.fault("model.gguf$", cut=300_000, times=1)
    hub.fault("model.gguf$", status=404)
    silent(hub)
    publish(mirror, SHA256SUMS=f"{SHA256}  model.gguf\n".encode())
    sums = address(mirror, "SHA256SUMS")
    result = model(**params, **more, mirrors=[address(mirror)], checksum_url=sums)
    assert bytes_of(result) == DATA
    assert set(hub.authorized) == {header}
    assert set(mirror.authorized) == {""}
    assert SECRET not in json.dumps(result)


def test_credentials_do_not_go_out_in_clear(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    mirrors = [params["url"]]
    params["url"] = params["url"].replace("http://", "https://")
    assert bytes_of(model(**params, token=SECRET, mirrors=mirrors)) == DATA
    assert set(hub.authorized) == {""}


def test_credentials_do_not_follow_a_redirect(model: Run, hub: Hub, mirror: Hub, params: dict[str, t.Any]) -> None:
    there = mirror.url.replace("127.0.0.1", "localhost")
    hub.fault("model.gguf", location=there)
    assert bytes_of(model(**params, token=SECRET, sha256=SHA256)) == DATA
    assert set(hub.authorized) == {f"Bearer {SECRET}"}
    assert set(mirror.authorized) == {""}


def test_secrets_of_an_address_are_shown_nowhere(
    model: Run, hub: Hub, params: dict[str, t.Any], tmp_path: Path
) -> None:
    params["url"] = address(hub, userinfo=f"me:{SECRET}@") + f"?signature={SECRET}"
    mirrors = [f"http://me:{SECRET}@127.0.0.1:9/model.gguf?signature={SECRET}"]
    good = model(**params, mirrors=mirrors, sha256=SHA256)
    assert bytes_of(good) == DATA
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert set(hub.authorized) == {f"Basic {pair}"}
    seen = [good, model(**params, sha256=SHA256)]
    hub.fault("model.gguf", status=403)
    hub.fault("model.gguf", status=403, method="HEAD")
    seen += [model(**params, name="forbidden", mirrors=mirrors)]
    seen += [model(source="url", url=mirrors[0], timeout=2, name="refused")]
    hub.reset()
    silent(hub)
    seen += [model(**params, name="no-hash", checksum_url=f"{address(hub, 'none')}?signature={SECRET}")]
    seen += [model(**{**params, "url": f"ftp://me:{SECRET}@host/x?signature={SECRET}"})]
    assert [result.get("reason") for result in seen] == [
        None, None, "forbidden", "unreachable", "checksum_missing", "invalid_input",
    ]  # fmt: skip
    assert SECRET not in json.dumps(seen)
    files = [path for path in (tmp_path / "host").rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET in str(path) or SECRET.encode() in path.read_bytes()]


def test_a_broken_transfer_shows_no_secret(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    hub.fault("model.gguf", cut=0)
    params["url"] += f"?signature={SECRET}"
    result = model(**params, sha256=SHA256)
    assert result["reason"] == "transfer_failed"
    assert SECRET not in json.dumps(result)


def test_a_certificate_that_is_none_shows_no_secret(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    params["url"] = params["url"].replace("http://", "https://") + f"?signature={SECRET}"
    result = model(**params, sha256=SHA256)
    assert result["reason"] == "tls_failed"
    assert SECRET not in json.dumps(result)


def test_an_unknown_size_is_unsupported(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    silent(hub, drops=("Content-Length", "Content-Range"))
    hub.fault("model.gguf", ignore_range=True)
    result = model(**params, sha256=SHA256)
    assert result["reason"] == "unsupported"
    assert "Content-Length" in result["msg"]


def test_a_server_without_head(model: Run, hub: Hub, params: dict[str, t.Any]) -> None:
    hub.fault("model.gguf", status=405, method="HEAD")
    assert bytes_of(model(**params)) == DATA
    assert hub.ranges[0] == "model.gguf 0-1"
