//! What the MCP specification demands on the wire, beyond what the official suite checks.
