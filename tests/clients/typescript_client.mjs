// The official TypeScript MCP client against a host: lists the tools, makes calls, prints one line of JSON.
//
//     typescript_client.mjs [--mode auto|legacy|2026-07-28] [--call TOOL ARGUMENTS]... (--url URL | --stdio COMMAND [ARGUMENT]...)
//
// Prints {"client", "protocol", "server", "tools": [name], "calls": [{"isError", "structured", "text", "progress"} or
// {"error": {"code", "message"}}]}.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const options = { mode: "auto", calls: [] };
for (let words = process.argv.slice(2); words.length > 0;) {
  const flag = words.shift();
  if (flag === "--mode") options.mode = words.shift();
  else if (flag === "--call") options.calls.push([words.shift(), words.shift()]);
  else if (flag === "--url") options.url = words.shift();
  else if (flag === "--stdio") options.stdio = words.splice(0);
  else throw new Error(`unknown flag ${flag}`);
}

async function call(client, tool, args) {
  const progress = [];
  try {
    const onprogress = ({ progress: done, total }) => progress.push([done, total ?? null]);
    const result = await client.callTool({ name: tool, arguments: JSON.parse(args) }, { onprogress });
    return {
      isError: result.isError === true,
      structured: result.structuredContent ?? null,
      text: result.content.filter((block) => block.type === "text").map((block) => block.text),
      progress,
    };
  } catch (error) {
    return { error: { code: error.code ?? null, message: error.message } };
  }
}

const mode = ["auto", "legacy"].includes(options.mode) ? options.mode : { pin: options.mode };
const client = new Client({ name: "typescript-client", version: "1.0.0" }, { versionNegotiation: { mode } });
const transport = options.url
  ? new StreamableHTTPClientTransport(new URL(options.url))
  : new StdioClientTransport({ command: options.stdio[0], args: options.stdio.slice(1) });
await client.connect(transport);
const { tools } = await client.listTools();
const report = {
  client: "typescript",
  protocol: client.getNegotiatedProtocolVersion(),
  server: client.getServerVersion()?.name ?? null,
  tools: tools.map((tool) => tool.name),
  calls: [],
};
for (const [tool, args] of options.calls) report.calls.push(await call(client, tool, args));
await client.close();
console.log(JSON.stringify(report));
