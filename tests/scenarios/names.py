"""Names as systems have them: of services in several styles, of operations as instrumentation libraries write them."""

from __future__ import annotations

from random import Random

NOUNS = (
    "order", "basket", "invoice", "ledger", "shipment", "ticket", "seat", "playlist", "track", "patient", "claim",
    "policy", "route", "depot", "meter", "tariff", "match", "player", "lesson", "essay", "recipe", "menu", "photo",
    "thumbnail", "address", "profile", "session", "coupon", "stock", "quote", "prompt", "embedding", "ranking",
    "review", "listing", "parcel", "sensor", "forecast", "wallet", "refund",
)  # fmt: skip
VERBS = (
    "create", "find", "price", "reserve", "render", "score", "rank", "merge", "plan", "resolve", "charge", "publish",
    "enrich", "check", "encode", "fetch", "assign", "import", "generate", "summarise",
)  # fmt: skip
_INNER = (
    "{verb} {noun}", "{noun}.{verb}", "{verb}_{noun}", "{Noun}Service.{verb}", "prepare", "parse body", "template",
    "{verb}{Noun}", "compute {noun}", "transform", "(*{Noun}Store).{Verb}", "{noun}::{verb}", "{Noun}Repository.{verb}",
)  # fmt: skip
_SERVICES = {
    "dash": ("{noun}-service", "{noun}-api", "{noun}-svc", "{verb}-{noun}"),
    "dot": ("acme.{noun}", "com.acme.{noun}.{verb}", "{noun}.prod"),
    "slash": ("shop/{noun}", "team-a/{noun}-{verb}"),
    "camel": ("{noun}Service", "{verb}{Noun}", "{Noun}Api"),
    "snake": ("{noun}_service", "{verb}_{noun}"),
    "plain": ("{noun}", "{noun}s"),
}
STYLES = tuple(_SERVICES)


def _filled(random: Random, pattern: str, noun: str | None = None) -> str:
    noun, verb = noun or random.choice(NOUNS), random.choice(VERBS)
    return pattern.format(noun=noun, verb=verb, Noun=noun.capitalize(), Verb=verb.capitalize())


def service_names(random: Random, count: int) -> list[str]:
    """Different names, in one style or, in one system of four, in mixed ones."""
    mixed = random.random() < 0.25
    style = random.choice(STYLES)
    names = []
    for noun in random.sample(NOUNS, count):
        patterns = _SERVICES[random.choice(STYLES) if mixed else style]
        names.append(_filled(random, random.choice(patterns), noun))
    return names


def server_name(random: Random, protocol: str) -> str:
    patterns = {
        "http": (
            "POST /api/v1/{noun}s/{{id}}", "GET /{noun}s/{{{noun}Id}}/{verb}", "POST /{verb}", "/{noun}s/:id", "POST",
            "POST /v2/{noun}s:{verb}", "GET /{noun}s/<int:id>", "{Noun}Controller.{verb}",
        ),
        "grpc": ("acme.{noun}.v1.{Noun}s/{Verb}{Noun}", "/{noun}.{Noun}Service/{Verb}", "{noun}.{Noun}/{Verb}"),
        "function": ("{noun}.{verb}", "{verb}_{noun}", "{Noun}.{verb}", "{verb}{Noun}", "{noun} {verb}"),
        "queue": ("{noun}s process", "process {noun}s.{verb}d", "{noun}-events receive", "consume {noun}s"),
    }  # fmt: skip
    return _filled(random, random.choice(patterns[protocol]))


def client_name(random: Random, protocol: str, server: str) -> str:
    """Of the span that calls an operation: often named as the far end, or no more than a method."""
    if protocol == "http":
        verb = server.split(" ")[0] if server.split(" ")[0] in ("GET", "POST") else "POST"
        return random.choice((verb, verb, f"HTTP {verb}", server, f"{verb} /{server.split('/', 1)[-1]}"))
    if protocol == "queue":
        topic = server.replace("process ", "").split(" ")[-1 if server.startswith("consume") else 0]
        return random.choice((f"{topic} publish", f"send {topic}", f"{topic} send"))
    if protocol == "grpc":
        return server
    return random.choice((f"call {server}", f"{server}.remote", server, f"{server} (client)"))


def inner_name(random: Random) -> str:
    return _filled(random, random.choice(_INNER))


def dependency(random: Random) -> tuple[str, str, dict[str, str]]:
    """Something that makes no spans: name of the client span, address of the peer, other attributes."""
    noun = random.choice(NOUNS)
    return random.choice(
        (
            (f"SELECT {noun}s", f"{noun}-db.internal", {"db.system.name": "postgresql", "db.query.text": "SELECT 1"}),
            (f"SELECT shop.{noun}", f"{noun}-db", {"db.system": "postgresql"}),
            ("query", "mysql.prod", {"db.system": "mysql", "db.statement": f"SELECT * FROM {noun}"}),
            (f"INSERT {noun}", "10.7.0.12", {"db.system": "mssql", "db.name": "main"}),
            ("GET", f"{noun}-redis", {"db.system": "redis"}),
            (f"{noun}s.find", "mongo-0.mongo", {"db.system.name": "mongodb", "db.collection.name": f"{noun}s"}),
            ("POST", f"api.{noun}.example.com", {"http.request.method": "POST"}),
            (f"HTTP GET {noun}", f"{noun}.vendor.example", {"http.method": "GET"}),
            ("S3.GetObject", "s3.eu-central-1.amazonaws.com", {"rpc.system": "aws-api", "rpc.method": "GetObject"}),
        )
    )
