"""Owns reading JSON documents of the API with types; leaves what the documents mean to the commands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object; a name that is missing or of another type reads as empty: a newer API may say more or less."""

    raw: Mapping[str, Json]

    @classmethod
    def parsed(cls, body: bytes) -> Document:
        """Read the bytes of an answer, or raise ValueError when they are not a JSON object."""
        value: Json = json.loads(body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("the answer is not a JSON object")
        return cls(value)

    def text(self, name: str) -> str:
        """Return a text, empty when there is none."""
        value = self.raw.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float | None:
        """Return a number, or None when there is none."""
        value = self.raw.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def count(self, name: str) -> int:
        """Return a number that counts things, 0 when there is none."""
        return int(self.number(name) or 0)

    def flag(self, name: str) -> bool:
        """Return whether a flag is set."""
        return self.raw.get(name) is True

    def one(self, name: str) -> Document | None:
        """Return an object inside this one."""
        value = self.raw.get(name)
        return Document(value) if isinstance(value, dict) else None

    def many(self, name: str) -> list[Document]:
        """Return the objects of a list."""
        value = self.raw.get(name)
        return [Document(each) for each in value if isinstance(each, dict)] if isinstance(value, list) else []

    def texts(self, name: str) -> list[str]:
        """Return the texts of a list."""
        value = self.raw.get(name)
        return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []

    def counts(self, name: str) -> dict[str, int]:
        """Return the numbers of an object by name."""
        inner = self.one(name)
        return {each: inner.count(each) for each in inner.raw} if inner else {}

    def pairs(self, name: str) -> dict[str, str]:
        """Return the plain values of an object as texts by name."""
        inner = self.one(name)
        if inner is None:
            return {}
        return {each: str(value) for each, value in inner.raw.items() if isinstance(value, str | int | float)}


def listed(documents: list[Document]) -> Json:
    """Return documents as the list that `--json` prints."""
    return [dict(document.raw) for document in documents]
