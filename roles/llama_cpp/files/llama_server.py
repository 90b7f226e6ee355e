# SPDX-License-Identifier: GPL-3.0-or-later
"""llama.cpp's own server from the xllamacpp wheel, started with llama-server's option names.

The wheel holds the server as a library without a command. Options that are not listed here are refused, as
llama-server refuses what it does not know, because an option that is silently left out is a lie.
"""

import argparse
import os
import signal
import sys
import typing as t


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> t.NoReturn:
        print(f"error: {message}", file=sys.stderr)
        sys.exit(1)


def _positive_or_all(text: str) -> int:
    return -2 if text == "all" else -1 if text == "auto" else int(text)


def parser() -> argparse.ArgumentParser:
    """The options, named and abbreviated as llama-server's are."""
    made = _Parser(prog="llama-server", allow_abbrev=False)
    made.add_argument("--version", action="store_true", help="print the version and leave")
    made.add_argument("-m", "--model", help="path of the GGUF file")
    made.add_argument("-a", "--alias", default="", help="names to serve, separated by commas")
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, default=8080)
    made.add_argument(
        "-c", "--ctx-size", type=int, default=0, help="tokens of context, shared by the slots; 0: the model's"
    )
    made.add_argument("-n", "--predict", "--n-predict", dest="n_predict", type=int, default=-1)
    made.add_argument("-np", "--parallel", type=int, default=1, help="slots")
    made.add_argument("-t", "--threads", type=int, default=0, help="0: half of the processors this process may use")
    made.add_argument("-tb", "--threads-batch", type=int, default=0, help="0: as --threads")
    made.add_argument("-b", "--batch-size", type=int)
    made.add_argument("-ub", "--ubatch-size", type=int)
    made.add_argument("-ngl", "--gpu-layers", "--n-gpu-layers", dest="n_gpu_layers", type=_positive_or_all)
    made.add_argument("-fa", "--flash-attn", choices=("on", "off", "auto"), default="auto")
    made.add_argument("-kvu", "--kv-unified", action="store_true")
    made.add_argument("--mlock", action="store_true", help="keep the weights in memory")
    made.add_argument("--no-mmap", action="store_true", help="read the weights instead of mapping them")
    made.add_argument("--no-warmup", action="store_true")
    made.add_argument("--metrics", action="store_true", help="serve /metrics")
    made.add_argument("--props", action="store_true")
    made.add_argument("--no-slots", action="store_true")
    made.add_argument("--webui", action="store_true")
    made.add_argument("--no-webui", action="store_true")
    made.add_argument("--jinja", action="store_true")
    made.add_argument("--chat-template")
    made.add_argument("--api-key", default=os.environ.get("LLAMA_API_KEY", ""), help="keys, separated by commas")
    made.add_argument("--sleep-idle-seconds", type=int)
    made.add_argument("-lv", "--verbosity", type=int)
    return made


def _threads(asked: int) -> int:
    """Hardware threads share a core's arithmetic: more workers than cores only wait for each other."""
    return asked if asked > 0 else max(1, len(os.sched_getaffinity(0)) // 2)


def parameters(options: argparse.Namespace, library: t.Any) -> t.Any:
    """The library's parameter object for the options."""
    made = library.CommonParams()
    made.model.path = options.model
    made.model_alias = {name for name in options.alias.split(",") if name}
    made.hostnames = [options.host]
    made.port = options.port
    made.n_ctx = options.ctx_size
    made.n_predict = options.n_predict
    made.n_parallel = options.parallel
    made.kv_unified = options.kv_unified
    made.cpuparams.n_threads = _threads(options.threads)
    made.cpuparams_batch.n_threads = _threads(options.threads_batch or options.threads)
    made.flash_attn_type = {
        "on": library.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        "off": library.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED,
        "auto": library.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_AUTO,
    }[options.flash_attn]
    made.load_mode = _load_mode(options, library.llama_load_mode)
    made.warmup = not options.no_warmup
    made.endpoint_metrics = options.metrics
    made.endpoint_props = options.props
    made.endpoint_slots = not options.no_slots
    made.ui = options.webui
    made.use_jinja = True
    made.api_keys = [key for key in options.api_key.split(",") if key]
    optional = {
        "n_batch": options.batch_size,
        "n_ubatch": options.ubatch_size,
        "n_gpu_layers": options.n_gpu_layers,
        "chat_template": options.chat_template,
        "sleep_idle_seconds": options.sleep_idle_seconds,
        "verbosity": options.verbosity,
    }
    for name, value in optional.items():
        if value is not None:
            setattr(made, name, value)
    return made


def _load_mode(options: argparse.Namespace, modes: t.Any) -> t.Any:
    if options.mlock:
        return modes.LLAMA_LOAD_MODE_MLOCK if options.no_mmap else modes.LLAMA_LOAD_MODE_MMAP_MLOCK
    return modes.LLAMA_LOAD_MODE_NONE if options.no_mmap else modes.LLAMA_LOAD_MODE_AUTO


def _wait_for_stop() -> None:
    """Sleep until SIGTERM or SIGINT, whichever of the server's threads the kernel gives it to."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)
    os.read(reader, 1)


def main() -> int:
    options, unknown = parser().parse_known_args()
    if unknown:
        print(f"error: invalid argument: {unknown[0]}", file=sys.stderr)
        return 1
    import xllamacpp

    if options.version:
        print(f"version: {xllamacpp.__version__} (xllamacpp, llama.cpp {xllamacpp.BUILD_INFO['commit']})")
        return 0
    if not options.model:
        print("error: --model is required", file=sys.stderr)
        return 1
    # Loading holds the interpreter, for minutes with a large model: until it is over the kernel itself has to end us.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        server = xllamacpp.Server(parameters(options, xllamacpp))
    except Exception as failure:
        # llama.cpp has said why on stderr already.
        print(f"error: {failure}", file=sys.stderr)
        return 1
    _wait_for_stop()
    print(f"srv  llama_server: {server.listening_address} ends on a signal", file=sys.stderr, flush=True)
    # Its own end can wait for ever for a loop that was told to end before it began; the kernel takes everything back.
    os._exit(0)


if __name__ == "__main__":
    # The library writes its log from a thread of its own and ends that in order only when the process does: an
    # end by force would lose the line that says why a model cannot be loaded.
    sys.exit(main())
