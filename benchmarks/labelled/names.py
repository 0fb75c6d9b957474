"""Names as teams and instrumentation libraries give them: services, operations, tables, topics, third parties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random


@dataclass(frozen=True)
class Domain:
    """A line of business: what its services, rows and partners are called."""

    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    tables: tuple[str, ...]
    partners: tuple[str, ...]
    starts: tuple[str, ...]
    """Names of the first span, when it is no request."""


DOMAINS = {
    "shop": Domain(
        ("cart", "checkout", "catalog", "pricing", "inventory", "shipping", "search", "review", "promotion", "tax"),
        ("calculate_tax", "apply_coupon", "reserve_stock", "render_basket", "rank_results", "merge_carts"),
        ("orders", "carts", "products", "stock_levels", "coupons"),
        ("api.stripe.com", "api.taxjar.com", "api.sendgrid.com", "hooks.slack.com"),
        ("place_order", "checkout.run", "nightly-price-update"),
    ),
    "bank": Domain(
        (
            "ledger",
            "transfer",
            "kontofuehrung",
            "limits",
            "fraud",
            "statement",
            "fx",
            "onboarding",
            "sanctions",
            "card",
        ),
        ("post_entries", "score_transaction", "check_limits", "reconcile", "sign_document", "convert_currency"),
        ("accounts", "ledger_entries", "mandates", "limits", "audit.trail"),
        ("swift-gw.example.net", "api.complyadvantage.com", "ecb-rates.example.org"),
        ("EndOfDayRun", "transfer.execute", "überweisung.ausführen"),
    ),
    "airline": Domain(
        ("booking", "fares", "seatmap", "baggage", "checkin", "crew", "loyalty", "schedule", "gate", "disruption"),
        ("price_itinerary", "assign_seat", "rebook", "weight_and_balance", "issue_ticket", "accrue_miles"),
        ("bookings", "segments", "seats", "crew_rosters", "flights"),
        ("gds.example.aero", "weather.example.com", "api.adyen.com"),
        ("reprotect-passengers", "issue ticket", "vuelo.reservar"),
    ),
    "ml": Domain(
        ("features", "embedding", "ranker", "trainer", "registry", "labeling", "evaluator", "tokenizer", "indexer"),
        ("normalise", "embed_batch", "score_candidates", "build_index", "split_chunks", "evaluate_fold"),
        ("feature_store", "embeddings", "experiments", "datasets"),
        ("huggingface.co", "api.wandb.ai", "storage.googleapis.com"),
        ("train_step", "evaluate-checkpoint", "pipeline.run", "Experiment#execute"),
    ),
    "logistics": Domain(
        ("route", "warehouse", "dispatch", "customs", "tracking", "fleet", "picking", "manifest", "在庫", "dock"),
        ("plan_route", "pack_container", "declare_goods", "slot_dock", "estimate_arrival", "weigh_parcel"),
        ("parcels", "manifests", "stops", "vehicles", "customs.declarations"),
        ("maps.example.com", "customs.example.gov", "telematics.example.io"),
        ("dispatch_wave", "wave/plan", "ManifestJob.run"),
    ),
    "media": Domain(
        (
            "playback",
            "transcode",
            "thumbnail",
            "subtitle",
            "recommend",
            "library",
            "rights",
            "ads",
            "upload",
            "profile",
        ),
        ("segment_video", "extract_frames", "match_rights", "insert_ad", "build_playlist", "detect_language"),
        ("titles", "assets", "watch_history", "entitlements"),
        ("drm.example.tv", "ads.example.net", "s3.eu-central-1.amazonaws.com"),
        ("ingest_asset", "transcode-title", "playlist.build"),
    ),
    "health": Domain(
        ("patient", "appointment", "lab", "imaging", "prescription", "claims", "consent", "triage", "terminology"),
        ("code_diagnosis", "match_patient", "render_dicom", "check_interactions", "price_claim", "sign_report"),
        ("patients", "observations", "claims", "consents"),
        ("fhir.example.org", "insurer.example.com"),
        ("claim.adjudicate", "order_lab_panel", "NightlyExport"),
    ),
    "inference": Domain(
        ("router", "gateway", "scheduler", "guardrail", "prompt-cache", "retriever", "reranker", "billing", "eval"),
        ("choose_template", "tokenize", "detokenize", "render_prompt", "check_policy", "truncate_context"),
        ("prompts", "completions", "usage_records", "documents"),
        ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com", "api.together.xyz"),
        ("run_execution", "runner.execution", "evaluate_question", "batch-item", "benchmark/case"),
    ),
}
PREFIXES = (
    "acme",
    "core",
    "prod",
    "eu1",
    "blue",
    "team-a",
    "northwind",
    "zephyr",
    "k2",
    "globex",
    "orion",
    "mp",
    "lab",
)
STYLES: tuple[Callable[[str, str], str], ...] = (
    lambda prefix, noun: f"{noun}-service",
    lambda prefix, noun: f"{prefix}-{noun}",
    lambda prefix, noun: f"{prefix}.{noun}",
    lambda prefix, noun: f"com.{prefix}.{noun}",
    lambda prefix, noun: f"{prefix}/{noun}",
    lambda prefix, noun: f"{noun.title().replace('-', '')}Service",
    lambda prefix, noun: f"{prefix}_{noun.replace('-', '_')}_svc",
    lambda prefix, noun: f"{noun}",
    lambda prefix, noun: f"{noun}-api",
    lambda prefix, noun: f"{prefix}-{noun}-worker",
)


@dataclass
class Names:
    """Gives out names of services that no other world has: a baseline belongs to one world only."""

    rng: Random
    taken: set[str] = field(default_factory=set)

    def service(self, noun: str, style: int) -> str:
        for attempt in range(1000):
            prefix = self.rng.choice(PREFIXES) + (f"{attempt}" if attempt > 20 else "")
            name = STYLES[(style + (attempt // 3)) % len(STYLES)](prefix, noun)
            if name not in self.taken:
                self.taken.add(name)
                return name
        raise RuntimeError(f"no name left for {noun}")


def function(verb: str, language: str, noun: str, rng: Random) -> str:
    """A function's span, as the language writes names."""
    parts = verb.split("_")
    camel = parts[0] + "".join(part.title() for part in parts[1:])
    pascal = "".join(part.title() for part in parts)
    styles = {
        "python": [verb, f"{noun}.{verb}", f"app.{noun}.{verb}"],
        "go": [f"{noun}.{pascal}", camel, f"({noun.title()}).{pascal}"],
        "java": [f"{noun.title()}Service.{camel}", f"{pascal}Handler.handle", camel],
        "node": [camel, f"{noun}:{camel}", f"{noun}/{camel}"],
        "rust": [verb, f"{noun}::{verb}"],
    }
    return rng.choice(styles[language])


def route(noun: str, rng: Random) -> str:
    return rng.choice(
        [
            f"/{noun}",
            f"/api/v1/{noun}",
            f"/{noun}/{{id}}",
            f"/v2/{noun}/:id/{rng.choice(('items', 'quote', 'status', 'confirm'))}",
            f"/internal/{noun}/<int:pk>/",
        ]
    )


def request(method: str, path: str, stable: bool, language: str, rng: Random) -> str:
    """Name of an HTTP server span, by new and by old instrumentation."""
    if stable:
        return f"{method} {path}"
    return rng.choice({"python": [f"HTTP {method}", path], "node": [f"{method} {path}"]}.get(language, [path]))


def remote_procedure(noun: str, verb: str, rng: Random) -> str:
    pascal = "".join(part.title() for part in verb.split("_"))
    title = noun.title().replace("-", "")
    return f"{rng.choice(('acme', 'pb', 'grpc'))}.{noun.replace('-', '')}.v1.{title}/{pascal}"


def statement(table: str, rng: Random) -> tuple[str, str, str]:
    """Span name, SQL text (or command) and system of a call to a database."""
    verb = rng.choice(("SELECT", "SELECT", "INSERT", "UPDATE"))
    text = {
        "SELECT": f"SELECT * FROM {table} WHERE id = ?",
        "INSERT": f"INSERT INTO {table} VALUES (?, ?)",
        "UPDATE": f"UPDATE {table} SET state = ? WHERE id = ?",
    }[verb]
    return rng.choice(
        [
            (f"{verb} {table}", text, "postgresql"),
            (f"{verb} app.{table}", text, "mysql"),
            (verb, text, "postgresql"),
            (f"pg.query:{verb}", text, "postgresql"),
            (f"{table}.find", f'{{"find": "{table}"}}', "mongodb"),
            ("HGETALL", f"HGETALL {table}:?", "redis"),
            (f"Elasticsearch.Search {table}", "{}", "elasticsearch"),
        ]
    )


def topic(table: str, publish: bool, style: int) -> str:
    """Name of a producer or consumer span."""
    verbs = (("publish", "process"), ("send", "receive"), ("create", "consume"))[style % 3]
    verb = verbs[0] if publish else verbs[1]
    return f"{verb} {table}" if style % 2 else f"{table} {verb}"
