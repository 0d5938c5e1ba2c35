"""What all pages are made by: templates with every value escaped, pictures inline, records as tables."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def check_out(folder: Path) -> None:
    """Refuse a folder that holds something, before any work is done."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds files already" if folder.is_dir() else "is a file"
        raise FileExistsError(f"out: {folder} {what}; name a folder that is new or empty")


def render_page(template: str, **values: Any) -> str:
    """Fill one of this package's templates; every value is escaped."""
    import jinja2

    # Names of layers, regions and stimuli come from users' files: escape all of them.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analyses.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def as_png(figure: Figure) -> bytes:
    """Write a figure as PNG, without software version or date: equal numbers give equal pictures."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def inline_png(picture: bytes) -> str:
    """Return a PNG file as the source of an image that the page holds itself."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"


def flatten(record: Any, name: str = "") -> list[tuple[str, str]]:
    """Turn nested JSON into rows of a table: ``{"a": {"b": 1}}`` becomes ``[("a › b", "1")]``."""
    if isinstance(record, dict):
        return [
            row
            for key, value in record.items()
            for row in flatten(value, f"{name} › {key}" if name else str(key))
        ]
    if isinstance(record, list):
        if all(not isinstance(value, dict | list) for value in record):
            return [(name, ", ".join(_plain(value) for value in record) or "–")]
        return [
            row
            for place, value in enumerate(record, 1)
            for row in flatten(value, f"{name} › {place}" if name else str(place))
        ]
    return [(name, _plain(record))]


def _plain(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def fact_tables(provenance: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Gather the provenance into named tables; single values form the first."""
    single = {key: value for key, value in provenance.items() if not isinstance(value, dict | list)}
    nested = {key: value for key, value in provenance.items() if key not in single and value}
    return [(key, flatten(value)) for key, value in ({"run": single} | nested).items() if value]
