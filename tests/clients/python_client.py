"""The official Python MCP client against a host: lists the tools, makes calls, prints one line of JSON.

    python_client.py [--mode auto|legacy|2026-07-28] [--call TOOL ARGUMENTS]... (--url URL | --stdio COMMAND [ARGUMENT]...)

Prints {"client", "protocol", "server", "tools": [name], "calls": [{"isError", "structured", "text", "progress"} or
{"error": {"code", "message"}}]}.
"""

import argparse
import asyncio
import json

from mcp import Client, MCPError, StdioServerParameters


async def call(client: Client, tool: str, arguments: str) -> dict:
    progress = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        progress.append([done, total])

    try:
        result = await client.call_tool(tool, json.loads(arguments), progress_callback=on_progress)
    except MCPError as error:
        return {"error": {"code": error.error.code, "message": error.error.message}}
    return {
        "isError": bool(result.is_error),
        "structured": result.structured_content,
        "text": [block.text for block in result.content if block.type == "text"],
        "progress": progress,
    }


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--call", nargs=2, action="append", default=[], metavar=("TOOL", "ARGUMENTS"))
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--url")
    place.add_argument("--stdio", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    server = options.url or StdioServerParameters(command=options.stdio[0], args=options.stdio[1:])
    async with Client(server, mode=options.mode, read_timeout_seconds=60) as client:
        tools = await client.list_tools()
        report = {
            "client": "python",
            "protocol": client.protocol_version,
            "server": client.server_info.name if client.server_info else None,
            "tools": [tool.name for tool in tools.tools],
            "calls": [await call(client, tool, arguments) for tool, arguments in options.call],
        }
    print(json.dumps(report))


asyncio.run(main())
