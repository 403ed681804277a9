"""The language model that writes answers, if the operator names one: over HTTP, streamed, at that one address only.

It speaks one of three formats: Chat Completions of OpenAI, which most servers understand, the Messages API of
Anthropic, or that of Ollama.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from visret.errors import InvalidArgument, LanguageModelError
from visret.rag import Messages

KEY = "VISRET_LLM_KEY"
Format = Literal["openai", "anthropic", "ollama"]
FORMATS: tuple[Format, ...] = ("openai", "anthropic", "ollama")
MAX_TOKENS = 2048  # of an answer
MAX_CHARACTERS = 40_000  # of an answer, whatever the model goes on to say
TIMES = httpx.Timeout(20.0, read=180.0)  # seconds; a model that is loaded first says nothing for long
_PATHS = {"openai": "/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}


@dataclass(frozen=True)
class LanguageModel:
    """A language model behind an address. kind: the format that it speaks. pictures: whether it is shown pages too."""

    url: str
    name: str
    kind: Format
    key: str | None = field(default=None, repr=False)
    pictures: bool = False

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port, which are all that is connected to."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def chat(self) -> str:
        """The format of the messages, as `rag.messages` names it."""
        return "anthropic" if self.kind == "anthropic" else "openai"

    async def stream(self, messages: Messages) -> AsyncIterator[str]:
        """Send messages, and yield the answer as it comes. Raises LanguageModelError, which never holds the key."""
        sent = [_for_ollama(one) for one in messages] if self.kind == "ollama" else messages
        body: dict[str, Any] = {"model": self.name, "messages": sent, "stream": True}
        headers = {}
        if self.kind == "anthropic":
            body["max_tokens"] = MAX_TOKENS
            headers = {"anthropic-version": "2023-06-01", **({"x-api-key": self.key} if self.key else {})}
        elif self.key:
            headers = {"authorization": f"Bearer {self.key}"}
        left = MAX_CHARACTERS
        try:
            # No proxy and no redirect: nothing but the address is asked.
            async with (
                httpx.AsyncClient(timeout=TIMES, trust_env=False, follow_redirects=False) as client,
                client.stream("POST", self.url, json=body, headers=headers) as response,
            ):
                if response.status_code != 200:
                    said = (await response.aread())[:2000].decode("utf8", "replace")
                    raise LanguageModelError(f"the language model refused ({response.status_code}): {_reason(said)}")
                async for line in response.aiter_lines():
                    text = _PIECES[self.kind](line)
                    if text:
                        yield text[:left]
                        left -= len(text)
                    if left <= 0:
                        return
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise LanguageModelError("the language model cannot be reached") from error
        except httpx.HTTPError as error:
            raise LanguageModelError(f"the language model does not answer ({type(error).__name__})") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LanguageModelError(f"the language model answered in another format than {self.kind}") from error


def named(url: str, name: str | None, kind: str | None = None, *, pictures: bool = False) -> LanguageModel:
    """Return the model of an address and a name, with the key that the environment holds.

    url: that of the API, such as http://localhost:11434 or https://api.openai.com/v1; the path of its format is added.
    kind: None takes "anthropic" for api.anthropic.com, "ollama" for port 11434 without a path, and else "openai".
    pictures: whether it is shown the pictures of pages too.
    Raises InvalidArgument for what is no address, and without a name.
    """
    parts = urlsplit(url)
    try:
        parts.port  # noqa: B018 - it raises ValueError
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.username or parts.query)
    except ValueError:
        right = False
    if not right:
        raise InvalidArgument(f"--llm is the address of an API, such as http://localhost:11434/v1, got {url!r}")
    if not name:
        raise InvalidArgument("--llm needs --llm-model NAME, the model that it is to run")
    if kind is None:
        of_ollama = parts.port == 11434 and parts.path.strip("/") in ("", "api/chat")
        kind = "anthropic" if parts.hostname == "api.anthropic.com" else "ollama" if of_ollama else "openai"
    if kind not in FORMATS:
        raise InvalidArgument(f"--llm-format is {', '.join(FORMATS)}, got {kind!r}")
    path, end = url.rstrip("/"), _PATHS[kind]
    if kind == "anthropic":
        path = path.removesuffix("/v1")
    full = path if path.endswith(end) else path + end
    return LanguageModel(full, name, kind, (os.environ.get(KEY) or "").strip() or None, pictures)


def _reason(said: str) -> str:
    """Return the message of an error, in the form of each of the formats, or else its first characters."""
    try:
        error = json.loads(said)["error"]
        return str(error["message"] if isinstance(error, dict) else error)[:300]
    except (ValueError, KeyError, TypeError):
        return " ".join(said.split())[:300] or "without a reason"


def _for_ollama(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of Chat Completions as Ollama takes it: text, and beside it the pictures in base64."""
    if isinstance(message["content"], str):
        return dict(message)
    text = "\n\n".join(part["text"] for part in message["content"] if part["type"] == "text")
    pictures = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
    return {**message, "content": text, "images": [url.partition(",")[2] for url in pictures]}


def _data(line: str) -> Any:
    """Return the JSON of a line of server-sent events; None for any other line."""
    data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
    return json.loads(data) if data and data != "[DONE]" else None


def _of_openai(line: str) -> str:
    data = _data(line)
    if data is None:
        return ""
    _check(data)
    return "".join(choice["delta"].get("content") or "" for choice in data.get("choices") or ())


def _of_anthropic(line: str) -> str:
    data = _data(line)
    if data is None:
        return ""
    _check(data)
    return str(data["delta"].get("text") or "") if data["type"] == "content_block_delta" else ""


def _of_ollama(line: str) -> str:
    if not line.strip():
        return ""
    data = json.loads(line)
    _check(data)
    return str(data["message"]["content"] or "")


def _check(data: dict[str, Any]) -> None:
    """Raise LanguageModelError if the model failed on the way."""
    if data.get("error"):
        raise LanguageModelError(f"the language model failed: {_reason(json.dumps(data))}")


_PIECES: dict[Format, Callable[[str], str]] = {
    "openai": _of_openai,
    "anthropic": _of_anthropic,
    "ollama": _of_ollama,
}
