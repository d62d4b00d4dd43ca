"""Answers in MCP content blocks: text, pictures, sound, resources."""

from __future__ import annotations

from base64 import b64encode
from typing import Any


class Content:
    """An answer of MCP content blocks, for tools whose answer is prose or media rather than data.

    Content().text("Two views:").image("image/png", one).image("image/png", other)
    """

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        """The blocks so far, in the shape MCP gives them (2026-07-28, `ContentBlock`)."""

    def text(self, text: str) -> Content:
        """Adds a text."""
        return self._with({"type": "text", "text": text})

    def image(self, mime_type: str, data: bytes) -> Content:
        """Adds a picture of the given MIME type."""
        return self._with({"type": "image", "data": _base64(data), "mimeType": mime_type})

    def audio(self, mime_type: str, data: bytes) -> Content:
        """Adds a sound of the given MIME type."""
        return self._with({"type": "audio", "data": _base64(data), "mimeType": mime_type})

    def resource_text(self, uri: str, mime_type: str, text: str) -> Content:
        """Embeds a resource that is text."""
        return self._with({"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": text}})

    def resource_bytes(self, uri: str, mime_type: str, data: bytes) -> Content:
        """Embeds a resource that is bytes."""
        return self._with({"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "blob": _base64(data)}})

    def _with(self, block: dict[str, Any]) -> Content:
        self.blocks.append(block)
        return self


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
