# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes: cold pulls, pulls with nothing to do, proofs, repairs, and what they cost in memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import typing as t
from pathlib import Path

from measuring import Figure, figure, hf, hub, log_of, module, module_with_memory, seconds

MIB = 1 << 20


def pulls(work: Path, rounds: int, mebibytes: int) -> t.Iterator[Figure]:
    """Cold pull of one model in four files, verified, against the hub's own client."""
    folder = work / "hub" / "bench" / "large"
    folder.mkdir(parents=True)
    for number in range(4):
        write_random(folder / f"part{number}.bin", mebibytes // 4)
    ours, downloads, verified = [], [], []
    with hub(work / "hub") as url:
        for _round in range(rounds):
            wall, _result = module(
                "llm_model", name="large", model="bench/large", endpoint=url, prefix=str(work / "ours")
            )
            ours.append(wall)
            shutil.rmtree(work / "ours")
            down = hf(url, work / "theirs", "download", "bench/large")
            check = hf(url, work / "theirs", "cache", "verify", "bench/large")
            downloads.append(down)
            verified.append(down + check)
            shutil.rmtree(work / "theirs")
    size = f"{mebibytes} MiB"
    yield figure(f"cold verified pull, {size}", ours, downloads, "hf download (no hash check)")
    yield figure(f"cold verified pull, {size}", ours, verified, "hf download + hf cache verify")
    shutil.rmtree(folder)


def no_op_pulls(work: Path, rounds: int) -> t.Iterator[Figure]:
    """A model of 200 files that is there already."""
    folder = work / "hub" / "bench" / "many"
    folder.mkdir(parents=True)
    for number in range(200):
        (folder / f"file{number:03}.json").write_text(json.dumps({"number": number}))
    with hub(work / "hub") as url:
        params = {"name": "many", "model": "bench/many", "endpoint": url, "prefix": str(work / "ours")}
        commit = module("llm_model", **params)[1]["models"][0]["revision"]
        hf(url, work / "theirs", "download", "bench/many")
        log_of(url)
        for title, more, words in (("branch", {}, []), ("pinned", {"revision": commit}, ["--revision", commit])):
            module("llm_model", **params, **more)
            hf(url, work / "theirs", "download", "bench/many", *words)
            log_of(url)
            ours, theirs, asked = [], [], []
            for _round in range(rounds):
                wall, result = module("llm_model", **params, **more)
                ours.append(wall)
                asked.append(sum(log_of(url)["requests"].values()))
                if result["changed"]:
                    raise SystemExit("error: a pull with nothing to do changed something")
                theirs.append(hf(url, work / "theirs", "download", "bench/many", *words))
                log_of(url)
            yield Figure(f"no-op pull of 200 files, {title}: requests", max(asked), "requests", "", None)
            yield figure(f"no-op pull of 200 files, {title}", ours, theirs, "hf download")
    shutil.rmtree(folder)


def proofs(work: Path, rounds: int, mebibytes: int) -> t.Iterator[Figure]:
    """Hash a model of one file again, against openssl; then repair three flipped bytes of it."""
    folder = work / "hub" / "bench" / "one"
    folder.mkdir(parents=True)
    write_random(folder / "weights.bin", mebibytes)
    with hub(work / "hub") as url:
        params = {"name": "one", "model": "bench/one", "endpoint": url, "prefix": str(work / "ours")}
        _wall, result, peak = module_with_memory("llm_model", **params)
        yield Figure(f"peak memory of a pull, {mebibytes} MiB", round(peak / 1e6, 1), "MB", "", None)
        path = Path(result["models"][0]["local_path"])
        # Pinned, so that what is measured is the proof and not a question to the hub.
        params["revision"] = result["models"][0]["revision"]
        module("llm_model", **params)
        ours, theirs = [], []
        for _round in range(rounds):
            wall, result, peak = module_with_memory("llm_model", **params, state="verified")
            if result["changed"]:
                raise SystemExit("error: a proof of right bytes changed something")
            ours.append(wall)
            theirs.append(seconds(["openssl", "sha256", str(path)])[0])
        yield figure(f"state verified, one file of {mebibytes} MiB", ours, theirs, "openssl sha256")
        yield Figure(f"peak memory of a proof, {mebibytes} MiB", round(peak / 1e6, 1), "MB", "", None)
        path.chmod(0o640)
        with path.open("r+b") as file:
            for offset in (1000, mebibytes * MIB // 2, mebibytes * MIB - 1000):
                file.seek(offset)
                byte = file.read(1)
                file.seek(offset)
                file.write(bytes([byte[0] ^ 1]))
        log_of(url)
        wall, result = module("llm_model", **params, state="verified")
        sent = sum(log_of(url)["sent"].values())
        if not result["changed"] or not same(path, folder / "weights.bin"):
            raise SystemExit("error: the repair did not bring the bytes back")
        yield Figure(f"repair of 3 flipped bytes in {mebibytes} MiB: fetched", round(sent / MIB, 1), "MiB", "", None)
    shutil.rmtree(folder)
    shutil.rmtree(work / "ours")


def many_models(work: Path, rounds: int, count: int = 50) -> t.Iterator[Figure]:
    """A list of models that are all there, in one task."""
    folder = work / "hub" / "bench" / "small"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text(json.dumps({"name": name}))
    write_random(folder / "weights.bin", 1)
    with hub(work / "hub") as url:
        base = {"endpoint": url, "prefix": str(work / "ours")}
        commit = module("llm_model", name="one", model="bench/small", **base)[1]["models"][0]["revision"]
        models = [{"name": f"model{n}", "model": "bench/small", "revision": commit} for n in range(count)]
        module("llm_model", models=models, **base)
        ours, theirs = [], []
        for _round in range(rounds):
            ours.append(module("llm_model", models=models, **base)[0])
            theirs.append(module("llm_model", models=models[:1], **base)[0])
        yield figure(f"{count} models checked in one task", ours, theirs, "one model checked")
    shutil.rmtree(folder)
    shutil.rmtree(work / "ours")


def information(work: Path, rounds: int, count: int = 200) -> t.Iterator[Figure]:
    """What a host with many models tells, and what Docker's state costs beside `docker info` where there is a client."""
    folder = work / "files"
    folder.mkdir()
    for number in range(count):
        (folder / f"model{number}.gguf").write_bytes(b"GGUF" + number.to_bytes(4, "little"))
    base = {"prefix": str(work / "ours")}
    models = [{"name": f"m{n}", "source": "file", "path": str(folder / f"model{n}.gguf")} for n in range(count)]
    module("llm_model", models=models, **base)
    ours, theirs = [], []
    for _round in range(rounds):
        wall, result = module("llm_model_info", programs=[], **base)
        ours.append(wall)
        theirs.append(module("llm_model_info", names=["m0"], programs=[], prefix=str(work / "none"))[0])
    yield figure(f"llm_model_info, {count} models", ours, theirs, "the same of a bare host")
    yield Figure(f"llm_model_info, {count} models: answer", round(len(json.dumps(result)) / 1000, 1), "kB", "", None)
    shutil.rmtree(work / "ours")
    if shutil.which("docker"):
        ours = [module("docker_model_runner_facts")[0] for _round in range(rounds)]
        theirs = [seconds(["sh", "-c", "docker info || true"])[0] for _round in range(rounds)]
        yield figure("docker_model_runner_facts", ours, theirs, "docker info")


def write_random(path: Path, mebibytes: int) -> None:
    with path.open("wb") as file:
        for _block in range(mebibytes):
            file.write(os.urandom(MIB))


def same(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        return hashlib.file_digest(left, "sha256").digest() == hashlib.file_digest(right, "sha256").digest()
