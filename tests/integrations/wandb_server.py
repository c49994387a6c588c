"""A W&B server on this machine, as much of one as a run needs: it takes rows and files, and keeps them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class WandbServer(ThreadingHTTPServer):
    """What runs have uploaded.

    Attributes:
        rows: Lines of history, by run.
        files: Names of files that were uploaded.
        begun: The variables of each request to make or to change a run.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rows: dict[str, list[dict[str, object]]] = {}
        self.files: list[str] = []
        self.begun: list[dict[str, object]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """Runs a server until the block is left."""
    with WandbServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/graphql":
            self._reply({"data": self._answered(json.loads(body))})
            return
        if self.path.endswith("/file_stream"):
            history = json.loads(body).get("files", {}).get("wandb-history.jsonl", {})
            rows = self.server.rows.setdefault(self.path.split("/")[-2], [])
            rows[history.get("offset", len(rows)) :] = map(json.loads, history.get("content", []))
        self._reply({})

    def do_PUT(self) -> None:
        self._body()
        self.server.files.append(self.path.removeprefix("/upload/"))
        self._reply({})

    def _answered(self, request: dict[str, dict[str, object]]) -> dict[str, object]:
        variables = request.get("variables") or {}
        match request.get("operationName"):
            case "UpsertBucket":
                self.server.begun.append(variables)
                project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "me"}}
                bucket = {"id": "b", "name": variables["name"], "project": project, "historyLineCount": 0}
                return {"upsertBucket": {"bucket": bucket, "inserted": True}}
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.server.url}/upload/{name}"} for name in variables["files"]]
                return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _reply(self, answer: dict[str, object]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""
