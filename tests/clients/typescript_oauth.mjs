// The official TypeScript MCP client against a host that wants tokens. It finds the authorization server by itself, gets a token for
// what the host asks for, and steps up when a call needs more. Prints one line of JSON.
//
//     typescript_oauth.mjs --url URL --call TOOL ARGUMENTS
//
// Prints {"before": [scope], "tools": [name], "call": {"isError", "structured"}, "after": [scope]}.

import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({ options: { url: { type: "string" }, call: { type: "string" } }, allowPositionals: true });

const provider = new ClientCredentialsProvider({ clientId: "robot", clientSecret: "robot-secret" });
const held = () => (provider.tokens()?.scope ?? "").split(" ").filter(Boolean).sort();

const client = new Client({ name: "typescript-oauth", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(new URL(values.url), { authProvider: provider }));
const { tools } = await client.listTools();
const before = held();
const result = await client.callTool({ name: values.call, arguments: JSON.parse(positionals[0]) });
const call = { isError: result.isError === true, structured: result.structuredContent ?? null };
console.log(JSON.stringify({ before, tools: tools.map((tool) => tool.name), call, after: held() }));
await client.close();
