"""One call, one trace: starts a collector, the host and the demo backend, makes one call with the official Python client, and
prints the trace that the collector got of it beside what the audit log says of the call.

    one_trace.py [--tidegate PROGRAM] [--protocol http|grpc] [-- FLAG...]

Needs what `requirements.txt` names. PROGRAM is `target/release/tidegate` unless said otherwise; the FLAGs are for `tidegate dev`.
Exits with 1, and says what is missing, unless client, host, stages, guest, outbound request and backend are one tree.
"""

import argparse
import asyncio
import gzip
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import rotel
from mcp import Client
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

PATIENCE = 60
KINDS = {0: "", 1: "", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
# What a whole trace of a call that reads from a backend consists of, from the client down: service, kind, the name's beginning.
HOPS = [
    ("agent", "client", "MCP send tools/call"),
    ("tidegate", "server", "tools/call list_invoices"),
    ("tidegate", "", "authorize"),
    ("tidegate", "", "admit"),
    ("tidegate", "", "record_intent"),
    ("tidegate", "", "execute"),
    ("tidegate", "", "guest"),
    ("tidegate", "client", "GET"),
    ("billing", "server", "GET"),
    ("tidegate", "", "record_outcome"),
]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Receiver:
    """What stands behind the collector: remembers every span."""

    def __init__(self) -> None:
        self.spans = {}
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    receiver.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            service = {entry.key: entry.value.string_value for entry in resource.resource.attributes}.get("service.name", "?")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[span.span_id.hex()] = (service, span)

    def of(self, trace_id: str) -> dict:
        return {id: span for id, span in dict(self.spans).items() if span[1].trace_id.hex() == trace_id}


def missing(spans: dict) -> list[str]:
    """The hops that are not there, and the spans whose parents are not."""
    seen = [(service, KINDS[span.kind], span.name) for service, span in spans.values()]
    gone = [hop for hop in HOPS if not any(one[:2] == hop[:2] and one[2].startswith(hop[2]) for one in seen)]
    roots = [span.name for _, span in spans.values() if span.parent_span_id.hex() not in spans]
    lost = [f"`{name}` hangs in the air" for name in roots[1:]] if spans else []
    return [f"no span `{' '.join(part for part in hop if part)}`" for hop in gone] + lost


def tree(spans: dict, above: str = "", depth: int = 0) -> list[str]:
    def is_child(span) -> bool:
        parent = span.parent_span_id.hex()
        return parent == above if above else parent not in spans

    lines = []
    children = [(id, service, span) for id, (service, span) in spans.items() if is_child(span)]
    for id, service, span in sorted(children, key=lambda child: child[2].start_time_unix_nano):
        took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        name = f"{'  ' * depth}{span.name}"
        lines.append(f"{name:<44} {service:<9} {KINDS[span.kind]:<7} {took:9.2f} ms  {span.trace_id.hex()}")
        lines += [f"{'  ' * depth}  · {event.name}" for event in span.events]
        lines += tree(spans, id, depth + 1)
    return lines


def start_collector(behind: str) -> tuple[subprocess.Popen, int, int]:
    """Rotel, a collector of OpenTelemetry, with the receiver behind it."""
    agent = pathlib.Path(rotel.__file__).parent / "rotel-agent"
    http_port, grpc_port = free_port(), free_port()
    flags = ["--otlp-http-endpoint", f"127.0.0.1:{http_port}", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}"]
    flags += ["--exporter", "otlp", "--otlp-exporter-endpoint", behind, "--otlp-exporter-protocol", "http", "--batch-timeout", "100ms"]
    collector = subprocess.Popen([agent, "start", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    for port in (http_port, grpc_port):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or collector.poll() is not None:
                    sys.exit("the collector did not start")
                time.sleep(0.05)
    return collector, http_port, grpc_port


def start_host(program: str, protocol: str, ports: tuple[int, int], data: str, flags: list[str]) -> tuple[subprocess.Popen, str]:
    http_port, grpc_port = ports
    environment = os.environ | {
        "TIDEGATE_TELEMETRY__OTLP": f"http://127.0.0.1:{http_port if protocol == 'http' else grpc_port}",
        "TIDEGATE_TELEMETRY__PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{http_port}",  # the demo backend's
    }
    command = [program, "dev", "--port", "0", "--admin-port", "0", "--data", data, *flags]
    log = open(pathlib.Path(data).parent / "log", "w+")
    host = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    for line in host.stdout:
        if found := re.search(r"http://\S+/mcp", line):
            # Whatever else it prints must not fill the pipe.
            threading.Thread(target=host.stdout.read, daemon=True).start()
            return host, found[0]
    log.seek(0)
    sys.exit(f"the host did not start:\n{log.read()}")


async def call(url: str) -> str:
    """Makes the call in a trace of its own; answers the trace's id."""
    with trace.get_tracer("agent").start_as_current_span("what does u1 owe?") as span:
        trace_id = format(span.get_span_context().trace_id, "032x")
        async with Client(url) as client:
            result = await client.call_tool("list_invoices", {"user_id": "u1"})
            if result.is_error:
                sys.exit(f"the call failed: {result}")
            told = result.meta["traceparent"]
            if trace_id not in told:
                sys.exit(f"the answer tells of another trace: {told}, not {trace_id}")
    return trace_id


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tidegate", default="target/release/tidegate")
    parser.add_argument("--protocol", default="http", choices=["http", "grpc"])
    parser.add_argument("flags", nargs="*")
    options = parser.parse_args()
    receiver, processes = Receiver(), []
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        try:
            collector, http_port, grpc_port = start_collector(receiver.url)
            processes.append(collector)
            host, url = start_host(options.tidegate, options.protocol, (http_port, grpc_port), data, options.flags)
            processes.insert(0, host)

            provider = TracerProvider(resource=Resource.create({"service.name": "agent"}))
            exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{http_port}/v1/traces")
            provider.add_span_processor(BatchSpanProcessor(exporter))
            trace.set_tracer_provider(provider)
            trace_id = asyncio.run(call(url))
            provider.force_flush()

            deadline = time.monotonic() + PATIENCE
            while missing(receiver.of(trace_id)) and time.monotonic() < deadline:
                time.sleep(0.1)
            spans = receiver.of(trace_id)
            print("\n".join(tree(spans)))
            query = [options.tidegate, "audit", "query", "--data", data, "--trace", trace_id, "--output", "json"]
            records = json.loads(subprocess.run(query, check=True, capture_output=True, text=True).stdout)["calls"]
            print("\naudit log:")
            for record in records:
                body = record["body"]
                print(f"  {record['call']} {body['tool']} by {body['subject']}: {record['outcome']}, trace {body['trace_id']}")
            problems = missing(spans)
            if [record["body"]["trace_id"] for record in records] != [trace_id]:
                problems.append("the audit log knows nothing of the trace")
            if problems:
                sys.exit("not one trace: " + "; ".join(problems))
            print(f"\none trace: {len(spans)} spans and the audit record, all {trace_id}")
        finally:
            for process in processes:
                process.terminate()
                process.wait()


main()
