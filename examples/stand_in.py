"""A stand-in for a language model: a server on this machine that speaks OpenAI's protocol, and only ever quotes.

It answers POST /v1/chat/completions with the sentence of the given pages that has most of the question's words, and the
number of its page; enough to try a program without a model, and the same every time.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving() -> Iterator[str]:
    """Run the server; the URL that a client is given as base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def quote(messages: list[dict]) -> str:
    """The answer to a request's messages."""
    content = messages[-1]["content"]
    parts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
    pages = re.findall(r"<page-(\w+)>\n\[(\d+)\] [^\n]*\n(.*?)</page-\1>", "\n\n".join(parts), re.DOTALL)
    asked = stems(parts[-1].rpartition("Question: ")[2])
    sentences = [
        (sentence, number)
        for _, number, text in pages
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
        if len(sentence) < 200  # a longer one is a table
    ]
    sentence, number = max(sentences, key=lambda said: (len(stems(said[0]) & asked), -len(said[0])))
    return f"{sentence.rstrip('.')} [{number}]."


def stems(text: str) -> set[str]:
    return {word.lower()[:5] for word in re.findall(r"\w{4,}", text)}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.send_error(404)
            return
        message = {"role": "assistant", "content": quote(request["messages"])}
        answer = {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""
