"""The page at the root's address: what each system is, where its documentation is, how it does.

Made of text that is escaped where it is put in. No script, no style in the page, nothing from
another host: `HEADERS` refuses all of it. Called by the root application.
"""

from collections.abc import Mapping, Sequence
from html import escape

from bedplate.health import Report, ServiceHealth
from bedplate.system import System

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
STYLE = """\
:root { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif; }
body { max-width: 44rem; margin: 4rem auto; padding: 0 1.5rem; }
h1 { font-weight: 600; letter-spacing: -0.02em; }
h2 { margin: 2.5rem 0 0; font-size: 1.15rem; font-weight: 600; }
p { margin: 0.2rem 0 0.6rem; }
nav a { margin-right: 1rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
td { padding: 0.15rem 1rem 0.15rem 0; border-top: 1px solid #8884; }
td:first-child { width: 9rem; }
td:nth-child(2) { width: 4rem; font-weight: 600; }
.up { color: light-dark(#1a7f37, #4ac26b); }
.down { color: light-dark(#cf222e, #ff7b72); }
"""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<h1>{title}</h1>
<nav><a href="health">health</a><a href="health/ready">ready</a></nav>
{systems}
</body>
</html>
"""
_SYSTEM = """\
<section>
<h2>{name}</h2>
<p>{what}</p>
<nav><a href="{name}/docs">API documentation</a><a href="{name}/openapi.json">OpenAPI</a></nav>
<table>
{services}
</table>
</section>"""
_SERVICE = '<tr><td>{name}</td><td class="{state}">{state}</td><td>{detail}</td></tr>'


def render(title: str, systems: Sequence[System], reports: Mapping[str, Report]) -> str:
    """The whole page, for these systems and what was found of their services."""
    sections = [_section(each, reports[each.name]) for each in systems]
    return _PAGE.format(title=escape(title), systems="\n".join(sections))


def describe(system: System) -> dict[str, str]:
    """The same of a system for programs."""
    return {
        "name": system.name,
        "title": system.title,
        "path": f"/{system.name}",
        "docs": f"/{system.name}/docs",
    }


def _section(system: System, report: Report) -> str:
    services = [_line(name, found) for name, found in report.services.items()]
    # A title is "name: what it is".
    what = system.title.removeprefix(f"{system.name}: ")
    return _SYSTEM.format(name=escape(system.name), what=escape(what), services="\n".join(services))


def _line(name: str, found: ServiceHealth) -> str:
    detail = found.reason or f"{found.latency_ms:g} ms"
    state = "up" if found.is_up else "down"
    return _SERVICE.format(name=escape(name), state=state, detail=escape(detail))
