# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins for LM Studio and its command behave as documented."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import lms
import pytest
from lm_studio import LmStudio
from reciter import gguf, sentence_of

KEY, LINK = "ibm/granite-4-micro", "https://huggingface.co/Org/Model-GGUF"
DATA = gguf(sentence_of("granite"), "granite")


@pytest.fixture
def studio(tmp_path: Path) -> t.Iterator[LmStudio]:
    with LmStudio(tmp_path / "home") as running:
        running.publish(KEY, "Q4_K_M", DATA)
        yield running


def ask(studio: LmStudio, path: str, words: t.Any = None, token: str = "") -> tuple[int, t.Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if words is None else json.dumps(words).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(studio.url + path, data, headers), timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def listed(studio: LmStudio) -> list[t.Any]:
    models: list[t.Any] = ask(studio, "/api/v1/models")[1]["models"]
    return models


def fetch(studio: LmStudio, name: str = KEY, **words: str) -> list[str]:
    """Download it; the states that were seen."""
    job = ask(studio, "/api/v1/models/download", {"model": name, **words})[1]
    states = [job["status"]]
    while states[-1] not in ("completed", "failed"):
        states.append(ask(studio, f"/api/v1/models/download/status/{job['job_id']}")[1]["status"])
    return states


def test_it_greets(studio: LmStudio) -> None:
    assert ask(studio, "/lmstudio-greeting") == (200, {"lmstudio": True})
    assert ask(studio, "/v1/models") == (200, {"object": "list", "data": []})


def test_a_download_goes_by_polls(studio: LmStudio) -> None:
    studio.polls = 3
    status, job = ask(studio, "/api/v1/models/download", {"model": KEY})
    assert (status, set(job)) == (200, {"job_id", "status", "total_size_bytes", "started_at"})
    address = f"/api/v1/models/download/status/{job['job_id']}"
    polled = [ask(studio, address)[1] for _time in range(2)]
    assert [one["status"] for one in polled] == ["downloading", "downloading"]
    assert polled[0]["downloaded_bytes"] < polled[1]["downloaded_bytes"] < len(DATA)
    assert listed(studio) == []
    done = ask(studio, address)[1]
    assert (done["status"], done["downloaded_bytes"]) == ("completed", len(DATA))
    assert done["completed_at"]
    model = listed(studio)[0]
    assert (model["key"], model["publisher"], model["size_bytes"]) == (KEY, "ibm", len(DATA))
    assert model["quantization"] == {"name": "Q4_K_M", "bits_per_weight": 4}
    assert ask(studio, "/api/v1/models/download", {"model": KEY}) == (200, {"status": "already_downloaded"})


def test_a_download_pauses_and_fails(studio: LmStudio) -> None:
    studio.states[KEY] = ["paused", "downloading", "failed"]
    assert fetch(studio) == ["downloading", "paused", "downloading", "failed"]
    assert listed(studio) == []
    del studio.states[KEY]
    assert fetch(studio)[-1] == "completed"


def test_a_quantization_is_for_links_only(studio: LmStudio) -> None:
    studio.publish(LINK, "Q8_0", DATA)
    studio.publish(LINK, "Q4_K_M", DATA)
    assert ask(studio, "/api/v1/models/download", {"model": KEY, "quantization": "Q4_K_M"})[0] == 400
    fetch(studio, LINK, quantization="Q8_0")
    assert listed(studio)[0]["variants"] == ["org/model-gguf@q8_0"]
    assert (studio.home.models / "Org" / "Model-GGUF" / "Model-GGUF-Q8_0.gguf").read_bytes() == DATA


def test_what_is_unknown_is_refused(studio: LmStudio) -> None:
    assert ask(studio, "/api/v1/models/download", {"model": "no/model"})[0] == 404
    assert ask(studio, "/api/v1/models/download/status/job_0")[0] == 404
    assert ask(studio, "/api/v1/models/load", {"model": KEY})[0] == 404
    assert ask(studio, "/api/v1/models/unload", {"instance_id": KEY})[0] == 404


def test_a_second_load_is_a_second_instance(studio: LmStudio) -> None:
    fetch(studio)
    words = {"model": KEY, "context_length": 256, "echo_load_config": True}
    first = ask(studio, "/api/v1/models/load", words)[1]
    assert (first["status"], first["instance_id"], first["load_config"]["context_length"]) == ("loaded", KEY, 256)
    assert ask(studio, "/api/v1/models/load", {"model": KEY})[1]["instance_id"] == f"{KEY}:2"
    assert [one["id"] for one in listed(studio)[0]["loaded_instances"]] == [KEY, f"{KEY}:2"]
    assert ask(studio, "/api/v1/models/unload", {"instance_id": KEY}) == (200, {"instance_id": KEY})
    assert [one["id"] for one in listed(studio)[0]["loaded_instances"]] == [f"{KEY}:2"]


def test_only_loaded_models_are_served_without_loading_on_demand(studio: LmStudio) -> None:
    fetch(studio)
    assert [one["id"] for one in ask(studio, "/v1/models")[1]["data"]] == [KEY]
    studio.jit = False
    assert ask(studio, "/v1/models")[1]["data"] == []
    ask(studio, "/api/v1/models/load", {"model": KEY})
    assert [one["id"] for one in ask(studio, "/v1/models")[1]["data"]] == [KEY]
    chat = ask(studio, "/v1/chat/completions", {"model": KEY})[1]
    assert chat["choices"][0]["message"]["content"] == sentence_of("granite")


def test_a_token_can_be_required(studio: LmStudio) -> None:
    studio.token = "secret"
    assert [ask(studio, "/api/v1/models", token=token)[0] for token in ("", "wrong", "secret")] == [401, 401, 200]


def test_a_removed_folder_is_a_removed_model(studio: LmStudio) -> None:
    fetch(studio)
    shutil.rmtree(studio.home.models / "ibm" / "granite-4-micro")
    assert listed(studio) == []
    assert fetch(studio)[-1] == "completed"


def test_faults_and_log(studio: LmStudio) -> None:
    studio.fault("GET /api/v1/models$", status=500, times=1)
    assert [ask(studio, "/api/v1/models")[0] for _time in range(2)] == [500, 200]
    assert ask(studio, "/_control/log")[1]["requests"] == {"GET /api/v1/models": 2}


def command(program: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout


def test_only_status_starts_no_daemon(tmp_path: Path) -> None:
    home = tmp_path / "home"
    program = lms.install(tmp_path / "bin", home)
    assert command(program, "daemon", "status", "--json") == (0, '{"status": "not-running"}\n')
    assert command(program, "server", "status", "--json") == (0, '{"running": false}\n')
    assert not home.exists()
    assert command(program, "load", "x")[0] == 2, "that is not in the stand-in, and would start the daemon too"
    assert (home / "daemon-started").exists()
    (home / "daemon-started").unlink()
    assert command(program, "ls", "--json") == (0, "[]\n")
    assert (home / "daemon-started").exists()
    assert json.loads(command(program, "daemon", "status", "--json")[1])["status"] == "running"


def test_the_command_shows_what_the_server_has(studio: LmStudio, tmp_path: Path) -> None:
    program = lms.install(tmp_path / "bin", studio.home.root)
    assert json.loads(command(program, "server", "status", "--json")[1]) == {"running": True, "port": studio.port}
    assert command(program, "get", "no/model", "-y")[0] == 1
    assert command(program, "get", KEY)[0] == 1
    assert command(program, "get", KEY, "-y")[0] == 0
    model = json.loads(command(program, "ls", "--json")[1])[0]
    assert (model["modelKey"], model["path"]) == (KEY, f"{KEY}/granite-4-micro-Q4_K_M.gguf")
    assert listed(studio)[0]["key"] == KEY
    assert command(program, "ps", "--json") == (0, "[]\n")
    ask(studio, "/api/v1/models/load", {"model": KEY})
    assert json.loads(command(program, "ps", "--json")[1])[0]["identifier"] == KEY
    studio.stop()
    assert json.loads(command(program, "server", "status", "--json")[1]) == {"running": False, "port": studio.port}
