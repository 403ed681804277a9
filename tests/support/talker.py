"""A language model on this machine that says what a test wants, in each of the formats."""

import json
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from support.listening import listening


def lines_of(kind, pieces):
    """Return what a model sends that answers in these pieces."""
    if kind == "ollama":
        said = [{"message": {"role": "assistant", "content": piece}, "done": False} for piece in pieces]
        return "".join(json.dumps(one) + "\n" for one in [*said, {"message": {"content": ""}, "done": True}])
    if kind == "anthropic":
        said = [{"type": "message_start", "message": {}}]
        said += [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
        said += [{"type": "message_stop"}]
        return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in said)
    said = [{"choices": [{"delta": {"role": "assistant", "content": piece}}]} for piece in pieces]
    said += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": {}}]
    return ": keep-alive\n\n" + "".join(f"data: {json.dumps(one)}\n\n" for one in said) + "data: [DONE]\n\n"


class Asked(list):
    """What a model was asked, (path, headers, body) each. left: how often nobody waited for the end of its answer."""

    left = 0


@contextmanager
def talker(kind="openai", pieces=("Hello",), *, status=200, body=None, headers=(), port=0, then_waits=False):
    """Serve a model: yields its address, and what it was asked. then_waits: it goes on and on after the pieces."""
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(
                (self.path, dict(self.headers), json.loads(self.rfile.read(int(self.headers["content-length"]))))
            )
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            said = (lines_of(kind, pieces) if body is None else body).encode()
            self.wfile.write(said.removesuffix(b"data: [DONE]\n\n") if then_waits else said)
            try:
                while then_waits:
                    self.wfile.write(b": keep-alive\n\n")
                    self.wfile.flush()
                    time.sleep(0.1)
            except OSError:
                asked.left += 1

        def log_message(self, *_):
            pass

    with listening(Handler, port) as at:
        yield f"http://127.0.0.1:{at}", asked
