"""Owns the page at /docs: the OpenAPI document as plain HTML, made here, with no script and nothing from elsewhere.

Leaves what is written in it to `openapi`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import cast

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

Json = Mapping[str, object]

_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h1,h2{line-height:1.2}section{border-top:1px solid #8886;padding:.5rem 0}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#8882;padding:.7rem;border-radius:4px;overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #8884}
h2 code{font-size:1rem}.method{font-weight:700;margin-right:.4rem}nav li{list-style:none}nav ul{padding:0;columns:2}
"""
HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def add_page(app: FastAPI) -> None:
    """Serve the app's document as a page."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()), headers=HEADERS)


def page(document: Json) -> str:
    """Return an OpenAPI document as one page: the routes first, then the shapes that they name."""
    info, schemas = _in(document, "info"), _in(_in(document, "components"), "schemas")
    operations = [
        (method.upper(), path, cast(Json, operation))
        for path, item in _in(document, "paths").items()
        for method, operation in cast(Json, item).items()
    ]
    index = "".join(f'<li><a href="#{_anchor(m, p)}"><code>{m} {escape(p)}</code></a></li>' for m, p, _ in operations)
    title = f"{escape(str(info['title']))} {escape(str(info['version']))}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1><p>{escape(str(info.get('summary', '')))}.</p>"
        f'<p>{_text(info.get("description"))} The same for programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"<nav><ul>{index}</ul></nav>{''.join(_operation(*each) for each in operations)}<h1>Shapes</h1>"
        f"{''.join(_shape(name, cast(Json, schema)) for name, schema in sorted(schemas.items()))}</html>\n"
    )


def _operation(method: str, path: str, operation: Json) -> str:
    rows = [
        (str(each["name"]), _type(_in(each, "schema")), f"{each['in']}{', needed' if each.get('required') else ''}")
        for each in cast(list[Json], operation.get("parameters", []))
    ]
    if body := _in(_in(_in(operation, "requestBody"), "content"), "application/json"):
        rows.append(("body", _type(_in(body, "schema")), "needed"))
    answers = "".join(_answer(status, cast(Json, each)) for status, each in _in(operation, "responses").items())
    return (
        f'<section id="{_anchor(method, path)}"><h2><span class="method">{method}</span><code>{escape(path)}</code></h2>'
        f"<p><b>{_text(operation.get('summary'))}.</b> {_text(operation.get('description'))}</p>"
        f"{_table(rows)}<table>{answers}</table></section>"
    )


def _answer(status: str, answer: Json) -> str:
    content = _in(_in(answer, "content"), "application/json")
    shown = _type(_in(content, "schema")) if content else ""
    if status.startswith("2") and "example" in content:
        shown += _code(content["example"])
    return f"<tr><td><code>{status}</code></td><td>{_text(answer.get('description'))}</td><td>{shown}</td></tr>"


def _shape(name: str, schema: Json) -> str:
    needed = cast(list[str], schema.get("required", []))
    fields = _in(schema, "properties").items()
    rows = [(field, _type(cast(Json, each)), "needed" if field in needed else "") for field, each in fields]
    examples = "".join(_code(each) for each in cast(list[object], schema.get("examples", [])))
    values = f"<p>{_type(schema)}</p>" if "enum" in schema else ""
    about = _text(schema.get("description"))
    return (
        f'<section id="{escape(name)}"><h2>{escape(name)}</h2><p>{about}</p>{values}{_table(rows)}{examples}</section>'
    )


def _type(schema: Json) -> str:
    """Say what a value may be, in a few words; a named shape is a link."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if choices := cast(list[Json], schema.get("anyOf", [])):
        return " or ".join(_type(choice) for choice in choices)
    if values := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in cast(list[object], values))
    words = str(schema.get("format") or schema.get("type") or "anything")
    if words == "array" and "items" in schema:
        return f"list of {_type(_in(schema, 'items'))}"
    limits = [f"{word} {schema[name]}" for name, word in _LIMITS if name in schema]
    return escape(", ".join([words, *limits]))


_LIMITS = (
    ("minimum", "at least"), ("maximum", "at most"), ("minLength", "min. length"), ("maxLength", "max. length"),
    ("default", "else"),
)  # fmt: skip


def _table(rows: list[tuple[str, str, str]]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{kind}</td><td>{note}</td></tr>" for name, kind, note in rows
    )
    return f"<table>{cells}</table>" if rows else ""


def _code(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"


def _text(value: object) -> str:
    return "".join(_marked(escape(str(value or ""))))


def _marked(text: str) -> Iterator[str]:
    for number, part in enumerate(text.split("`")):
        yield f"<code>{part}</code>" if number % 2 else part


def _in(document: Json, name: str) -> Json:
    return cast(Json, document.get(name, {}))


def _anchor(method: str, path: str) -> str:
    return escape(f"{method}{path}".replace("/", "-").replace("{", "").replace("}", ""))
