"""An OpenAPI document as one HTML page without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-size:1em}section{border-top:1px solid #8888;padding:.5rem 0}td{padding:0 1rem 0 0;vertical-align:top}"
)


def render(document: Mapping[str, Any]) -> str:
    """The page: every operation with its parameters and answers, in the document's order."""
    info = document["info"]
    title = escape(f"{info['title']} {info['version']}")
    sections = "".join(
        _operation(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f'</head><body><h1>{title}</h1><p>The document: <a href="/v3/api-docs">/v3/api-docs</a></p>{sections}'
        "</body></html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    old = " (deprecated)" if operation.get("deprecated") else ""
    parameters = "".join(
        _row(f"{parameter['name']} ({parameter['in']})", "required" if parameter.get("required") else "optional")
        for parameter in operation.get("parameters", ())
    )
    answers = "".join(_row(status, answer["description"]) for status, answer in sorted(operation["responses"].items()))
    return (
        f"<section><h2><code>{escape(method.upper())} {escape(path)}</code>{old}</h2>"
        f"<p>{escape(operation.get('description', ''))}</p><table>{parameters}{answers}</table></section>"
    )


def _row(name: str, text: str) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>"
