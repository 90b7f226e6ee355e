# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Ollama stand-in says about its models (tags, show), and how it makes new ones (create)."""

from __future__ import annotations

import json
import math
import time
import typing as t

import ollama_gguf
from ollama_store import (
    CONFIG_LAYER,
    LICENSE_LAYER,
    MANIFEST,
    MESSAGES_LAYER,
    MODEL_LAYER,
    PARAMETERS_LAYER,
    SYSTEM_LAYER,
    TEMPLATE_LAYER,
    Manifest,
    Name,
    Store,
)

_PLAIN_TEMPLATE = "{{ .Prompt }}"
_UNTOLD = ("general.name", "tokenizer.chat_template")
Progress = t.Callable[[dict[str, t.Any]], None]


class RefusedError(Exception):
    """An error line of a stream; with a status when the answer has not begun."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def go_json(value: t.Any) -> str:
    """JSON as Go writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def go_time(seconds: float, nanoseconds: int | None = None) -> str:
    """RFC 3339 with up to nine decimals and no zeros at their end."""
    whole, decimals = divmod(round(seconds * 1e9) if nanoseconds is None else nanoseconds, 10**9)
    days, rest = divmod(whole, 86400)
    year, month, day = _date(days)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    fraction = f".{decimals:09}".rstrip("0").rstrip(".")
    return f"{year:04}-{month:02}-{day:02}T{clock}{fraction}Z"


def _date(days: int) -> tuple[int, int, int]:
    # The C library counts to the year 2319 too.
    moment = time.gmtime(days * 86400)
    return moment.tm_year, moment.tm_mon, moment.tm_mday


class Models:
    def __init__(self, store: Store) -> None:
        self.store = store

    # What is known about one.

    def layer(self, manifest: Manifest, media_type: str) -> dict[str, t.Any] | None:
        return next((layer for layer in manifest.layers if layer["mediaType"] == media_type), None)

    def text(self, manifest: Manifest, media_type: str) -> str:
        layer = self.layer(manifest, media_type)
        return self.store.blob(layer["digest"]).read_text(errors="replace") if layer else ""

    def parameters(self, manifest: Manifest) -> dict[str, t.Any]:
        parameters: dict[str, t.Any] = json.loads(self.text(manifest, PARAMETERS_LAYER) or "{}")
        return parameters

    def header(self, manifest: Manifest) -> ollama_gguf.Header:
        layer = self.layer(manifest, MODEL_LAYER)
        return ollama_gguf.header_of(self.store.blob(layer["digest"] if layer else "none"))

    def config(self, manifest: Manifest) -> dict[str, t.Any]:
        """The configuration; what it does not tell is taken from the weights."""
        digest = (manifest.document.get("config") or {}).get("digest", "none")
        path = self.store.blob(digest)
        config = json.loads(path.read_bytes()) if path.exists() else {}
        return {**ollama_gguf.config_of(self.header(manifest)), **config}

    def details(self, manifest: Manifest) -> dict[str, t.Any]:
        config, layer = self.config(manifest), self.layer(manifest, MODEL_LAYER)
        return {
            "parent_model": (layer or {}).get("from", ""),
            "format": config["model_format"],
            "family": config["model_family"],
            "families": config["model_families"],
            "parameter_size": config["model_type"],
            "quantization_level": config["file_type"],
        }

    def capabilities(self, manifest: Manifest) -> list[str]:
        header = self.header(manifest)
        if header.of_architecture("pooling_type") is not None:
            return ["embedding"]
        template = self.template(manifest)
        words = {"tools": "ools", "insert": ".Suffix", "thinking": ".Thinking"}
        return ["completion", *(word for word, mark in words.items() if mark in template)]

    def template(self, manifest: Manifest) -> str:
        layer = self.text(manifest, TEMPLATE_LAYER)
        return layer or str(self.header(manifest).values.get("tokenizer.chat_template") or _PLAIN_TEMPLATE)

    # What is said about it.

    def tags(self) -> list[dict[str, t.Any]]:
        return [self._tag(manifest) for manifest in self.newest_first()]

    def newest_first(self) -> list[Manifest]:
        return sorted(self.store.manifests(), key=lambda manifest: -int(manifest.changed))

    def _tag(self, manifest: Manifest) -> dict[str, t.Any]:
        header = self.header(manifest)
        lengths = {key: header.of_architecture(key) for key in ("context_length", "embedding_length")}
        return {
            "name": manifest.name.shortest,
            "model": manifest.name.shortest,
            "modified_at": go_time(0, manifest.changed_ns),
            "size": manifest.size,
            "digest": manifest.digest,
            "details": {**self.details(manifest), **{key: value for key, value in lengths.items() if value}},
            "capabilities": self.capabilities(manifest),
        }

    def show(self, manifest: Manifest) -> dict[str, t.Any]:
        header = self.header(manifest)
        values = {key: value for key, value in header.values.items() if key not in _UNTOLD}
        told = {
            "license": self.text(manifest, LICENSE_LAYER),
            "modelfile": self._modelfile(manifest),
            "parameters": self._parameters_text(manifest),
            "template": self.template(manifest),
            "system": self.text(manifest, SYSTEM_LAYER),
            "details": self.details(manifest),
            "messages": json.loads(self.text(manifest, MESSAGES_LAYER) or "null"),
            "model_info": dict(sorted({**values, "general.parameter_count": header.parameters}.items())),
            "tensors": header.tensors,
            "capabilities": self.capabilities(manifest),
            "modified_at": go_time(0, manifest.changed_ns),
        }
        return {key: value for key, value in told.items() if value}

    def _modelfile(self, manifest: Manifest) -> str:
        layer = self.layer(manifest, MODEL_LAYER) or {"digest": "none"}
        lines = [
            '# Modelfile generated by "ollama show"',
            "# To build a new Modelfile based on this, replace FROM with:",
            f"# FROM {manifest.name.shortest}\n",
            f"FROM {self.store.blob(layer['digest'])}",
            f"TEMPLATE {_quoted(self.text(manifest, TEMPLATE_LAYER) or _PLAIN_TEMPLATE)}",
        ]
        system, license_text = self.text(manifest, SYSTEM_LAYER), self.text(manifest, LICENSE_LAYER)
        lines += [f"SYSTEM {_quoted(system)}"] if system else []
        for key, value in self.parameters(manifest).items():
            lines += [f"PARAMETER {key} {_quoted(_go_value(item))}" for item in _listed(value)]
        lines += [f"LICENSE {_quoted(license_text)}"] if license_text else []
        return "\n".join(lines) + "\n"

    def _parameters_text(self, manifest: Manifest) -> str:
        return "\n".join(
            f"{key:30} {json.dumps(item, ensure_ascii=False) if isinstance(item, str) else _go_value(item)}"
            for key, value in self.parameters(manifest).items()
            for item in _listed(value)
        )

    # How one is made.

    def create(self, body: dict[str, t.Any], name: Name, fetch: t.Callable[[Name], Manifest], tell: Progress) -> None:
        """Layers from files or from another model, then what was given besides, then the manifest."""
        if body.get("from"):
            layers, config = self._from(str(body["from"]), fetch)
        elif body.get("files"):
            layers, config = self._from_files(body["files"], tell)
        else:
            raise RefusedError("neither 'from' or 'files' was specified", 400)
        for media_type, data in self._given(body, layers):
            layers = [layer for layer in layers if layer["mediaType"] != media_type]
            layers.append(self._new_layer(media_type, data))
        for layer in layers:
            tell({"status": f"{layer.pop('state')} {layer['digest']}"})
        tell({"status": "writing manifest"})
        self._write(name, layers, config)
        tell({"status": "success"})

    def _from(self, text: str, fetch: t.Callable[[Name], Manifest]) -> tuple[list[dict[str, t.Any]], dict[str, t.Any]]:
        base = Name.parse(text)
        if base is None:
            raise RefusedError("invalid model name", 400)
        manifest = self.store.find(base) or fetch(base)
        own = {"from": manifest.name.shortest, "state": "using existing layer"}
        return [{**layer, **own} for layer in manifest.layers], self.config(manifest)

    def _from_files(self, files: dict[str, str], tell: Progress) -> tuple[list[dict[str, t.Any]], dict[str, t.Any]]:
        tell({"status": "parsing GGUF"})
        layers, config = [], {}
        for digest in files.values():
            path = self.store.blob(digest)
            if not path.exists():
                raise RefusedError(f"open {path}: no such file or directory")
            try:
                data = ollama_gguf.rewritten(path.read_bytes())
            except ValueError as error:
                raise RefusedError(str(error)) from None
            tell({"status": "verifying conversion"})
            layers.append(self._new_layer(MODEL_LAYER, data))
            config = ollama_gguf.config_of(ollama_gguf.header_of(self.store.blob(layers[-1]["digest"])))
        return layers, config

    def _new_layer(self, media_type: str, data: bytes) -> dict[str, t.Any]:
        digest, new = self.store.put(data)
        state = "creating new layer" if new else "using existing layer"
        return {"mediaType": media_type, "digest": digest, "size": len(data), "state": state}

    def _given(self, body: dict[str, t.Any], layers: list[dict[str, t.Any]]) -> t.Iterator[tuple[str, bytes]]:
        for key, media_type in (("template", TEMPLATE_LAYER), ("system", SYSTEM_LAYER)):
            if body.get(key):
                yield media_type, str(body[key]).encode()
        for text in _listed(body.get("license") or []):
            yield LICENSE_LAYER, str(text).encode()
        if body.get("parameters"):
            base = next((layer for layer in layers if layer["mediaType"] == PARAMETERS_LAYER), None)
            old = json.loads(self.store.blob(base["digest"]).read_bytes()) if base else {}
            yield PARAMETERS_LAYER, (go_json(dict(sorted({**old, **body["parameters"]}.items()))) + "\n").encode()
        if body.get("messages"):
            yield MESSAGES_LAYER, (go_json(body["messages"]) + "\n").encode()

    def _write(self, name: Name, layers: list[dict[str, t.Any]], config: dict[str, t.Any]) -> None:
        digests = [layer["digest"] for layer in layers]
        told = {
            key: config[key] for key in ("model_format", "model_family", "model_families", "model_type", "file_type")
        }
        told |= {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests}}
        data = go_json(told).encode()
        digest, _ = self.store.put(data)
        old = self.store.find(name)
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG_LAYER, "digest": digest, "size": len(data)},
            "layers": layers,
        }
        self.store.write(name, (go_json(document) + "\n").encode())
        if old:
            self.store.remove_unused(old.digests)


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def _quoted(text: str) -> str:
    if "\n" not in text and text == text.strip(" "):
        return text
    return f'"""{text}"""' if '"' in text else f'"{text}"'


def _go_value(value: t.Any) -> str:
    """A number as Go prints one that came from JSON: 4096, 0.7, 1.048576e+06."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, (int, float)):
        return str(value)
    if value and not -5 < math.floor(math.log10(abs(value))) < 6:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{exponent}"
    return f"{value:.15g}"
