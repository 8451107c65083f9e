"""The example that makes requests, against servers that answer; and the page that describes the bytes."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgpack
from servers import LOOPBACK, Seen, Server, response

import wasmrun
from wasmrun.httprequest import parse_request

Serve = Callable[..., Server]
SDK = Path(__file__).resolve().parents[2] / "guest_sdk"
LINKS = SDK / "c" / "examples" / "links.wasm"


def test_links_are_checked_one_after_the_other(executor: wasmrun.Executor, serve: Serve) -> None:
    """Statuses, sizes, and why there is none."""

    def answer(connection: socket.socket, seen: Seen) -> None:
        connection.sendall(response(200, b"12345") if seen.target == "/" else response(404))

    server = serve(answer)
    other = "https://else.invalid"
    urls = [server.url, server.url + "/missing", other, "nonsense"]
    result = executor.run(
        wasmrun.Function(
            LINKS, http=server.url, http_networks=LOOPBACK, warm=0, http_secrets={server.url: {"X-K": "k"}}
        ),
        {"urls": urls},
    )
    assert result.value == [
        {"url": server.url, "status": 200, "bytes": 5},
        {"url": server.url + "/missing", "status": 404, "bytes": 0},
        {"url": other, "error": "HttpNotGranted"},
        {"url": "nonsense", "error": "HttpInvalid"},
    ]
    assert [call.status for call in result.report.http] == [200, 404, None]
    assert [seen.headers["x-k"] for seen in server.seen] == ["k", "k"]


def test_links_are_checked_from_a_shell(serve: Serve, tmp_path: Path) -> None:
    """With the options that grant it, and the number of requests on the report line."""
    server = serve(response(200, b"ok"))
    event = json.dumps({"urls": [server.url]})
    command = [sys.executable, "-m", "wasmrun", "run", str(LINKS), "--event", event, "--cache-dir", str(tmp_path)]
    grants = ["--http", server.url, "--http-network", "127.0.0.1"]
    done = subprocess.run([*command, *grants], capture_output=True, check=True, timeout=60)
    assert json.loads(done.stdout) == [{"url": server.url, "status": 200, "bytes": 2}]
    assert b"\tHTTP: 1" in done.stderr
    refused = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert refused.returncode == 3
    assert b"--http HOST" in refused.stderr


def test_request_and_reply_of_the_page_are_what_host_and_server_see(executor: wasmrun.Executor, serve: Serve) -> None:
    """The bytes of abi.md, but for the port."""
    page = (SDK / "abi.md").read_text(encoding="utf-8")
    shown = {
        name: bytes.fromhex(found)
        for name, found in re.findall(r"^```(http-\w+)\njson: .*\nhex: ([0-9a-f\s]+)^```$", page, re.MULTILINE)
    }
    request = msgpack.unpackb(shown["http-request"])
    assert parse_request(request).body == b"Ada"
    server = serve(response(201, b"made"))
    request["url"] = server.url + "/users"
    guest = """(module (import "wasmrun" "http_request" (func $http (param i32 i32) (result i64)))
      (memory (export "memory") 1) (global $heap (mut i32) (i32.const 1024))
      (func (export "wasmrun_alloc") (param i32) (result i32)
        (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
      (func (export "wasmrun_handle_raw") (param i32 i32) (result i64) (call $http (local.get 0) (local.get 1))))"""
    function = wasmrun.Function(guest, http=server.url, http_networks=LOOPBACK, warm=0)
    assert executor.invoke(function, msgpack.packb(request)) == shown["http-reply"]
    assert (server.seen[0].method, server.seen[0].target, server.seen[0].body) == ("POST", "/users", b"Ada")
    request["url"] = "https://else.example.com"
    del request["method"]
    assert executor.invoke(function, msgpack.packb(request)) == shown["http-refusal"]
