"""A real HTTP server on this machine that speaks the chat-completion protocol, with troubles on request."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

GOOD = "It has a round body with two wide wings."


class ChatServer(ThreadingHTTPServer):
    """A chat-completion server. `replies` maps a question to what it gets, one after the other, before the good answer."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.replies, self.seen, self.release = {}, [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class ChatHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        queue = self.server.replies.get(body["messages"][-1]["content"], [])
        reply = queue.pop(0) if queue else completion(GOOD)
        if reply == "hang":
            self.server.release.wait()
        elif reply != "hang up":
            status, headers, content = reply
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        self.close_connection = True

    def log_message(self, *arguments):
        pass


def completion(text, finish_reason="stop"):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return 200, {"Content-Type": "application/json"}, json.dumps({"id": "1", "choices": [choice]}).encode()


@pytest.fixture(name="server")
def running_server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()
