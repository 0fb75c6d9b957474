"""Systems an operator would recognise: which services there are, how they are instrumented, what one request does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from random import Random

LANGUAGES = {
    "fastapi": "python",
    "flask": "python",
    "script": "python",
    "modal": "python",
    "spring": "java",
    "go": "go",
    "express": "nodejs",
    "aspnet": "dotnet",
    "axum": "rust",
}
WEB = ("fastapi", "flask", "spring", "go", "express", "aspnet", "axum")


@dataclass(frozen=True)
class Host:
    """A deployed service and its habits. What ``wire`` reads comes first."""

    name: str
    language: str
    version: str | None
    host: str | None
    clock_ms: float
    announces: bool
    stack: str
    current: bool
    """Current semantic conventions, not the deprecated ones."""
    events: bool
    messages: bool
    """Exception events, status messages; at least one of them."""
    kinds: bool
    """False: every span of a call is INTERNAL."""
    clients: bool
    """False: its HTTP client is not instrumented."""
    strict: bool
    """4xx answers mark the server's span as failed, against the conventions."""
    asgi: bool
    """A span for each ASGI message."""


@dataclass(frozen=True)
class Local:
    """Work inside the service; without a name it leaves no span."""

    key: str
    name: str | None
    ms: float


@dataclass(frozen=True)
class Use:
    """A call to something that sends no spans: a database, a bucket, a third party."""

    key: str
    system: str
    name: str
    peer: str
    ms: float
    times: int = 1


@dataclass(frozen=True)
class Ask:
    """A call to another service of the system."""

    key: str
    to: Endpoint
    via: str
    """http, grpc or modal."""


@dataclass(frozen=True)
class Emit:
    """A message: the producer goes on, the consumer starts ``lag_ms`` later, as a child or in a trace of its own."""

    key: str
    to: Endpoint
    system: str
    topic: str
    lag_ms: float
    linked: bool


@dataclass(frozen=True)
class Both:
    """Steps at the same time."""

    key: str
    steps: tuple[Step, ...]


Step = Local | Use | Ask | Emit | Both


@dataclass(frozen=True)
class Endpoint:
    key: str
    service: Host
    name: str
    steps: tuple[Step, ...]
    entry: str = "http"
    """http, grpc, modal, message, or script for what starts by itself."""


@dataclass(frozen=True)
class System:
    name: str
    root: Endpoint
    hosts: tuple[Host, ...]
    labels: dict[str, str]


def steps_of(endpoint: Endpoint) -> Iterator[Step]:
    """The steps of one endpoint, those that run in parallel too, and not those of its callees."""
    waiting = list(endpoint.steps)
    while waiting:
        step = waiting.pop(0)
        yield step
        if isinstance(step, Both):
            waiting[:0] = step.steps


def endpoints(root: Endpoint, messages: bool = True) -> Iterator[Endpoint]:
    """An endpoint and everything it leads to, callers first; without what only messages lead to on request."""
    yield root
    for step in steps_of(root):
        if isinstance(step, Ask) or (messages and isinstance(step, Emit)):
            yield from endpoints(step.to, messages)


class Builder:
    """Draws services and durations, and numbers the steps."""

    def __init__(self, draw: Random, tag: str) -> None:
        self.draw = draw
        self.tag = tag
        self.hosts: list[Host] = []
        self._numbers = count(1)

    def key(self) -> str:
        return f"k{next(self._numbers)}"

    def host(self, names: str, *stacks: str) -> Host:
        """A service; its name is one of several, separated by spaces."""
        draw = self.draw
        stack = draw.choice(stacks or WEB)
        events = draw.random() < 0.75
        host = Host(
            name=f"{self.tag}-{draw.choice(names.split())}",
            language=LANGUAGES[stack],
            version=draw.choice((None, "1.4.2", "2026.11.3", "v37", "8c1f2ad")),
            host=draw.choice((None, f"ip-10-4-{draw.randrange(9)}-{draw.randrange(250)}")),
            clock_ms=draw.gauss(0, 4.0),
            announces=stack in ("modal", "script") and draw.random() < 0.5,
            stack=stack,
            current=draw.random() < 0.6,
            events=events,
            messages=not events or draw.random() < 0.6,
            kinds=not (stack in ("axum", "script") and draw.random() < 0.3),
            clients=draw.random() < 0.9,
            strict=draw.random() < 0.3,
            asgi=stack == "fastapi" and draw.random() < 0.4,
        )
        self.hosts.append(host)
        return host

    def ms(self, low: float, high: float) -> float:
        return self.draw.uniform(low, high)

    def local(self, name: str | None, low: float, high: float) -> Local:
        return Local(self.key(), name, self.ms(low, high))

    def pause(self) -> Local:
        return self.local(None, 1, 12)

    def use(self, system: str, name: str, peer: str, low: float, high: float, times: int = 1) -> Use:
        return Use(self.key(), system, name, peer, self.ms(low, high), times)

    def end(self, service: Host, name: str, *steps: Step, entry: str = "http") -> Endpoint:
        return Endpoint(self.key(), service, name, (self.pause(), *steps, self.pause()), entry)

    def ask(self, to: Endpoint) -> Ask:
        return Ask(self.key(), to, to.entry)

    def emit(self, to: Endpoint, system: str, topic: str, low: float, high: float, linked: bool) -> Emit:
        return Emit(self.key(), to, system, topic, self.ms(low, high), linked)

    def both(self, *steps: Step) -> Both:
        return Both(self.key(), steps)

    def maybe(self, chance: float, *steps: Step) -> tuple[Step, ...]:
        return steps if self.draw.random() < chance else ()


def checkout(b: Builder) -> Endpoint:
    edge = b.host("storefront web-bff shop-gateway", "express", "aspnet")
    cart = b.host("cart basket-service")
    stock = b.host("inventory stock-service", "go", "spring")
    pay = b.host("payments payment-service", "spring", "go", "aspnet")
    ship = b.host("shipping delivery-quotes")
    read = b.end(cart, "GET /cart/{id}", b.use("redis", "HGETALL", "cart-cache", 1, 6))
    reserve = b.end(
        stock,
        "inventory.v1.Stock/Reserve",
        b.use("postgresql", "SELECT stock_items", "stock-db", 4, 20, times=b.draw.choice((1, 3))),
        b.use("postgresql", "UPDATE stock_items", "stock-db", 5, 30),
        entry="grpc",
    )
    quote = b.end(ship, "POST /quotes", b.local("rate_shop", 20, 90), b.use("http", "POST", "api.dhl.com", 60, 240))
    charge = b.end(
        pay,
        "POST /charges",
        b.local("fraud_score", 15, 60),
        b.use("http", "POST", "api.stripe.com", 150, 500),
        b.use("postgresql", "INSERT payments", "pay-db", 5, 25),
    )
    mail = b.end(
        b.host("mailer notification-worker"),
        "order-placed process",
        b.local("render_template", 10, 40),
        b.use("http", "POST", "api.sendgrid.com", 60, 200),
        entry="message",
    )
    return b.end(
        edge,
        "POST /checkout",
        b.ask(read),
        b.both(b.ask(reserve), b.ask(quote)),
        b.ask(charge),
        b.emit(mail, "rabbitmq", "order-placed", 5, 60, linked=False),
    )


def inference(b: Builder) -> Endpoint:
    runner = b.host("runner eval-runner benchmark-runner", "script")
    router = b.host("router llm-router hybrid-router", "fastapi", "go")
    gpu = b.host("modal-llm gpu-inference vllm-worker", "modal")
    generate = b.end(
        gpu,
        b.draw.choice(("modal.inference", "Model.generate", "generate")),
        b.local("tokenize", 4, 20),
        b.local(b.draw.choice(("vllm.generate", "forward", "llm.decode")), 800, 3500),
        b.local("detokenize", 2, 9),
        entry="modal",
    )
    route = b.end(
        router,
        b.draw.choice(("POST /route", "POST /v1/chat/completions", "POST /infer")),
        b.local("select_provider", 3, 15),
        *b.maybe(0.5, b.use("redis", "GET", "route-cache", 1, 5)),
        b.ask(generate),
    )
    return b.end(
        runner,
        b.draw.choice(("run_execution", "execute question", "evaluate")),
        b.local("build_prompt", 3, 30),
        b.ask(route),
        *b.maybe(0.7, b.local("score_answer", 5, 80)),
        entry="script",
    )


def hosted_models(b: Builder) -> Endpoint:
    runner = b.host("job-runner dispatch", "script", "fastapi")
    router = b.host("model-gateway provider-router", "fastapi", "express")
    chat = b.use("genai", "chat gpt-4o-mini", "api.openai.com", 900, 2600)
    route = b.end(router, "POST /complete", b.local("pick_provider", 2, 10), chat, b.local("count_tokens", 1, 8))
    entry = "script" if runner.stack == "script" else "http"
    name = "run question" if entry == "script" else "POST /questions/{id}/run"
    return b.end(runner, name, b.local("load_question", 2, 20), b.ask(route), b.local("grade", 10, 60), entry=entry)


def warehouse(b: Builder) -> Endpoint:
    flow = b.host("etl-flow nightly-load airflow-worker", "script")
    extract = b.host("extractor connector-api", "fastapi", "flask", "go")
    transform = b.host("transformer dbt-runner spark-driver", "flask", "spring")
    pull = b.end(
        extract,
        "POST /extract",
        b.use("mysql", "SELECT orders", "shop-replica", 200, 900),
        b.use("s3", "S3.PutObject", "s3.eu-west-1.amazonaws.com", 80, 300),
    )
    shape = b.end(
        transform,
        "POST /transform",
        b.use("s3", "S3.GetObject", "s3.eu-west-1.amazonaws.com", 60, 200),
        b.local("deduplicate", 300, 1500),
        b.local("write_partitions", 100, 600),
    )
    return b.end(
        flow,
        b.draw.choice(("load_orders", "dag_run orders_daily")),
        b.local("plan", 5, 40),
        b.ask(pull),
        b.ask(shape),
        b.use("postgresql", "COPY orders", "warehouse", 100, 500),
        entry="script",
    )


def banking(b: Builder) -> Endpoint:
    edge = b.host("mobile-api open-banking-gateway", "spring", "aspnet")
    accounts = b.host("accounts account-service", "spring", "go")
    ledger = b.host("ledger core-ledger", "go", "spring", "axum")
    limits = b.host("limits risk-engine", "spring", "fastapi")
    fx = b.host("fx-rates currency-service")
    book = b.end(
        ledger,
        "ledger.Ledger/Post",
        b.use("postgresql", "SELECT accounts", "ledger-db", 3, 20),
        b.use("postgresql", "INSERT entries", "ledger-db", 5, 40),
        entry="grpc",
    )
    rate = b.end(fx, "GET /rates/{pair}", b.use("redis", "GET", "fx-cache", 1, 5), b.local("interpolate", 2, 10))
    check = b.end(limits, "POST /check", b.local("evaluate_rules", 20, 120), b.ask(rate))
    move = b.end(
        accounts, "POST /transfers", b.ask(check), b.ask(book), b.use("mongodb", "insert transfers", "audit", 3, 20)
    )
    return b.end(edge, "POST /api/transfers", b.local("authorize", 5, 30), b.ask(move))


def telemetry_ingest(b: Builder) -> Endpoint:
    edge = b.host("device-gateway iot-edge", "go", "axum", "express")
    registry = b.host("device-registry", "go", "spring")
    enrich = b.host("enricher stream-processor", "spring", "axum", "flask")
    known = b.end(registry, "registry.Devices/Get", b.use("redis", "GET", "device-cache", 1, 4), entry="grpc")
    store = b.end(
        enrich,
        b.draw.choice(("readings process", "process readings")),
        b.local("decode_frame", 5, 30),
        b.ask(known),
        b.use("postgresql", "INSERT readings", "timescale", 10, 60),
        entry="message",
    )
    return b.end(
        edge,
        "POST /ingest",
        b.local("verify_signature", 2, 12),
        b.emit(store, "kafka", "readings", 20, 150, linked=b.draw.random() < 0.6),
    )


def rag_chat(b: Builder) -> Endpoint:
    api = b.host("chat-api assistant-backend", "fastapi", "express")
    retriever = b.host("retriever knowledge-service", "fastapi", "spring")
    embed = b.host("embedder embedding-fn", "modal")
    guard = b.host("moderation guardrails", "fastapi", "go")
    vector = b.end(embed, "embed_query", b.local("encode", 40, 160), entry="modal")
    find = b.end(
        retriever,
        "POST /search",
        b.ask(vector),
        b.both(
            b.use("elasticsearch", "search", "docs-index", 20, 120),
            b.use("http", "POST", "kb-7.svc.pinecone.io", 30, 120),
        ),
        b.local("rerank", 60, 300),
    )
    allow = b.end(guard, "POST /moderate", b.local("classify", 20, 80))
    return b.end(
        api,
        "POST /chat",
        b.both(b.ask(find), b.ask(allow)),
        b.use("genai", "chat claude-sonnet-4", "api.anthropic.com", 900, 3000),
    )


def build_server(b: Builder) -> Endpoint:
    ci = b.host("ci-orchestrator pipeline-controller", "go", "script")
    cache = b.host("artifact-cache", "go", "axum")
    agent = b.host("build-agent runner-pool", "go", "flask")
    scan = b.host("image-scanner", "fastapi", "go")
    restore = b.end(cache, "GET /cache/{key}", b.use("s3", "S3.GetObject", "minio", 50, 250))
    compile_ = b.end(
        agent,
        "POST /jobs",
        b.local("checkout", 100, 600),
        b.ask(restore),
        b.local("compile", 900, 4000),
        b.local("unit-tests", 500, 2500),
    )
    vet = b.end(scan, "POST /scan", b.local("match_cves", 100, 700))
    entry = "script" if ci.stack == "script" else "http"
    name = "pipeline run" if entry == "script" else "POST /pipelines/{id}/run"
    return b.end(ci, name, b.local("resolve_graph", 5, 50), b.ask(compile_), b.ask(vet), entry=entry)


def transcoding(b: Builder) -> Endpoint:
    api = b.host("media-api upload-service", "express", "aspnet", "axum")
    plan = b.host("packager job-planner", "go", "spring")
    gpu = b.host("modal-transcode gpu-encoder", "modal")
    index = b.host("asset-index catalog", "spring", "express")
    encode = [
        b.end(gpu, f"transcode_{size}", b.local("ffmpeg", 600, 2200), b.local("upload_part", 60, 300), entry="modal")
        for size in ("480p", "1080p")
    ]
    note = b.end(index, "PUT /assets/{id}", b.use("elasticsearch", "index", "assets", 10, 60))
    pack = b.end(plan, "POST /package", b.local("probe", 40, 200), b.both(*map(b.ask, encode)), b.ask(note))
    return b.end(api, "POST /videos", b.use("s3", "S3.CreateMultipartUpload", "s3.amazonaws.com", 30, 120), b.ask(pack))


def webhook(b: Builder) -> Endpoint:
    hook = b.host("webhooks github-relay", "flask", "express", "go")
    billing = b.host("billing invoices", "aspnet", "spring", "axum")
    bill = b.end(
        billing,
        "POST /invoices",
        b.use("postgresql", "SELECT plans", "billing-db", 3, 20),
        b.local("render_pdf", 80, 400),
    )
    return b.end(hook, "POST /hooks/{provider}", b.local("verify", 2, 10), b.ask(bill))


def travel(b: Builder) -> Endpoint:
    """Twelve services in four levels."""
    edge = b.host("travel-bff", "express")
    search = b.host("trip-search", "spring")
    price = b.host("pricing", "go")
    leaves = []
    for names in ("flights", "hotels", "cars", "trains"):
        source = b.host(f"{names}-provider {names}-adapter")
        leaves.append(b.end(source, f"GET /{names}", b.use("http", "GET", f"api.{names}.example.com", 80, 500)))
    rules = b.end(b.host("fare-rules"), "POST /rules", b.local("evaluate", 10, 60))
    tax = b.end(b.host("tax-engine"), "POST /tax", b.use("mysql", "SELECT rates", "tax-db", 3, 20))
    total = b.end(price, "POST /price", b.ask(rules), b.ask(tax))
    profile = b.end(b.host("profiles"), "GET /profiles/{id}", b.use("mongodb", "find profiles", "profile-db", 3, 15))
    rank = b.end(b.host("ranking", "fastapi"), "POST /rank", b.local("score_offers", 30, 200))
    seek = b.end(search, "POST /trips", b.both(*map(b.ask, leaves)), b.ask(total), b.ask(rank))
    return b.end(edge, "GET /trips", b.ask(profile), b.ask(seek))


def tiles(b: Builder) -> Endpoint:
    """A thousand leaves in one request."""
    api = b.host("map-api report-api", "fastapi", "spring")
    render = b.host("tile-renderer scatter-gather", "go", "axum")
    leaves = [Local(b.key(), "render_tile", b.ms(5, 40)) for _ in range(1_000)]
    draw = b.end(render, "POST /tiles", b.both(*leaves), b.local("stitch", 20, 90))
    return b.end(api, "POST /maps", b.ask(draw))


CATALOGUE: dict[str, Callable[[Builder], Endpoint]] = {
    made.__name__: made
    for made in (
        checkout,
        inference,
        hosted_models,
        warehouse,
        banking,
        telemetry_ingest,
        rag_chat,
        build_server,
        transcoding,
        webhook,
        travel,
        tiles,
    )
}


def system(draw: Random, name: str, tag: str, skewed: bool) -> System:
    """A system of that kind whose services bear the tag; ``skewed``: the clocks of its hosts are seconds apart."""
    builder = Builder(draw, tag)
    root = CATALOGUE[name](builder)
    hosts = builder.hosts
    if skewed:
        moved = {host.name: replace(host, clock_ms=draw.uniform(-9_000, 9_000)) for host in hosts}
        root = _with_hosts(root, moved)
        hosts = list(moved.values())
    labels = {"job.id": f"{name}-{draw.randrange(10_000)}"} if draw.random() < 0.5 else {}
    if name in ("inference", "hosted_models", "rag_chat"):
        labels["model.id"] = draw.choice(("llama3.2-1b", "qwen2.5-7b", "gpt-4o-mini", "mistral-small"))
    if draw.random() < 0.6:
        labels[draw.choice(("region", "cloud.region"))] = draw.choice(("us-east", "eu-west-1", "ap-south"))
    return System(name, root, tuple(hosts), labels)


def _with_hosts(endpoint: Endpoint, hosts: dict[str, Host]) -> Endpoint:
    def moved(step: Step) -> Step:
        if isinstance(step, Ask | Emit):
            return replace(step, to=_with_hosts(step.to, hosts))
        if isinstance(step, Both):
            return replace(step, steps=tuple(moved(inner) for inner in step.steps))
        return step

    return replace(endpoint, service=hosts[endpoint.service.name], steps=tuple(moved(step) for step in endpoint.steps))
