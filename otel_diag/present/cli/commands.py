"""The commands of ``otel-diag``: each reads its options, asks, and shows the answer."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

import otel_diag
from otel_diag import app as wiring
from otel_diag.auth import hash_of, new_token
from otel_diag.config import Role, Settings, Token, problems_of, settings_of
from otel_diag.delivery import Taken
from otel_diag.discovery import find_server, http_client
from otel_diag.errors import BadInput, NotFound
from otel_diag.model import AnalysisType, Confirmation, RootCauseType
from otel_diag.present.cli import demo as demonstration
from otel_diag.present.cli import doctor as health
from otel_diag.present.cli import views
from otel_diag.present.cli.files import (
    Announced,
    Spans,
    json_lines,
    read_modal_logs,
    read_parts,
    trace_line,
    written,
)
from otel_diag.present.cli.terminal import (
    ExitCode,
    console,
    error_console,
    errors_to_exit_codes,
    show,
    write_json,
)
from otel_diag.present.cli.transfer import (
    HttpSender,
    Imported,
    Sender,
    import_parts,
    imported_json,
    trace_ids,
    trace_ids_by_digits,
    trace_pages,
)
from otel_diag.present.client import AnyQueries, RemoteQueries
from otel_diag.present.inputs import make_filters, make_key, parse_key, parse_moment, parse_object, parse_size
from otel_diag.present.text import clean
from otel_diag.query import Key

HELP = """Stores OpenTelemetry traces and says why an execution failed or was slow, with evidence.

A KEY is an execution id (an integer) or a trace id (32 hexadecimal digits).

Exit codes: 0 done; 1 unexpected error; 2 wrong usage; 3 not found; 4 store or server unreachable, locked or
busy, or it asks for another token; 5 done, but some input was refused (import) or something is wrong (doctor);
6 not supported by this store."""

app = typer.Typer(
    name="otel-diag",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Store = Annotated[
    str | None, typer.Option("--store", help="Store URL, as OTEL_DIAG_STORE or DATABASE_URL; embedded by default.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Execution id or trace id.")]
Since = Annotated[str | None, typer.Option(help="Start: an age (30m, 24h, 7d) or ISO 8601.")]
Until = Annotated[str | None, typer.Option(help="End, in the same form; now by default.")]
Text_ = Annotated[str | None, typer.Option()]


_STDIN = Path("-")
FileFormat = Literal["otlp", "modal-logs"]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"otel-diag {otel_diag.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Only for its options."""


@app.command()
def serve(
    store: Store = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="OTLP over gRPC; 0 takes any free port.")] = None,
    http_port: Annotated[int | None, typer.Option(help="OTLP over HTTP; 0 takes any free port.")] = None,
    port: Annotated[int | None, typer.Option(help="REST and MCP; 0 takes any free port.")] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Listen beyond this machine although no tokens are configured.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the chosen ports as one JSON line.")] = False,
) -> None:
    """Receive spans, keep them, answer questions, until Ctrl-C."""
    settings = settings_of(
        store=store,
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        port=port,
        allow_anonymous=allow_anonymous or None,
    )
    wiring.serve(settings, json_output=as_json)


@app.command()
def demo(
    healthy: Annotated[int, typer.Option(min=0, help="Healthy executions between the two rounds of faults.")] = 25,
) -> None:
    """Inject every fault into an example pipeline and show what is diagnosed.

    Keeps serving until Ctrl-C; with DEMO_EXIT=1 or without a terminal it ends after printing: exit code 1 when a
    diagnosis was wrong, else 0. The last lines are one JSON object an execution.
    """
    raise typer.Exit(demonstration.run(healthy))


@app.command()
def diagnose(
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="Execution id or trace id.")] = None,
    job_id: Annotated[str | None, typer.Option(help="All executions of a job, instead of KEY.")] = None,
    analysis_type: Annotated[AnalysisType, typer.Option(help="How much to answer.")] = "full",
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Every claim, with the SQL that shows what it rests on.")
    ] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Why an execution, or a job, failed or was slow. The exit code is 0 whatever the verdict."""
    if (key is None) == (job_id is None):
        raise BadInput("give either KEY or --job-id", hint="For example: otel-diag diagnose 2193")
    with wiring.open_queries(settings_of(store=store), storing=True) as queries:
        if key is None:
            analysis = queries.timeout_root_cause(job_id=job_id)
            show(analysis, views.job(analysis), as_json=as_json)
        elif as_json:
            show(queries.diagnose(parse_key(key), analysis_type), Text(), as_json=True)
        else:
            report, timeline = queries.diagnose_with_timeline(parse_key(key), analysis_type)
            show(report, views.report(report, timeline, evidence=evidence), as_json=False)


@app.command()
def confirm(
    key: KeyArgument,
    root_cause_type: Annotated[
        RootCauseType | None, typer.Option("--type", help="What the cause was; without, as the verdict says.")
    ] = None,
    service: Text_ = None,
    operation: Text_ = None,
    note: Annotated[str | None, typer.Option(help="What really was the cause, and what fixed it.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so.")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="The verdict was wrong.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Say whether a verdict was right, and what the cause really was: similar failures will show it."""
    said = Confirmation(
        confirmed=not wrong,
        root_cause_type=root_cause_type,
        affected_service=service,
        affected_operation=operation,
        note=note,
        by=by,
    )
    with wiring.open_queries(settings_of(store=store), writing=True) as queries:
        answer = queries.confirm(parse_key(key), said)
    show(answer, views.confirmed([answer]), as_json=as_json)


@app.command()
def failures(
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 10,
    since: Since = None,
    until: Until = None,
    status: Annotated[str | None, typer.Option(help="failed or timeout; both by default.")] = None,
    job_id: Text_ = None,
    model_id: Text_ = None,
    region: Text_ = None,
    service: Text_ = None,
    operation: Text_ = None,
    root_cause_type: Text_ = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Recent failures and what they share."""
    filters = make_filters(
        status=status,
        job_id=job_id,
        model_id=model_id,
        region=region,
        service=service,
        operation=operation,
        root_cause_type=root_cause_type,
        since=since,
        until=until,
    )
    with wiring.open_queries(settings_of(store=store)) as queries:
        answer = queries.recent_failures(limit, filters)
    show(answer, views.failures(answer), as_json=as_json)


@app.command()
def compare(
    key: KeyArgument,
    other: Annotated[str | None, typer.Argument(metavar="[KEY]", help="Compare with this one.")] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """What an execution did differently: from the nearest successful ones, or from another."""
    with wiring.open_queries(settings_of(store=store)) as queries:
        if other is None:
            comparison = queries.compare_with_successful(parse_key(key))
            show(comparison, views.comparison(comparison), as_json=as_json)
        else:
            diff = queries.compare(parse_key(key), parse_key(other))
            show(diff, views.diff(diff), as_json=as_json)


@app.command()
def gaps(key: KeyArgument, store: Store = None, as_json: Json = False) -> None:
    """Where time passed with nothing running, and which hops are missing."""
    with wiring.open_queries(settings_of(store=store)) as queries:
        answer = queries.trace_gaps(parse_key(key))
    show(answer, views.gaps(answer), as_json=as_json)


@app.command()
def perf(
    model_id: Text_ = None,
    region: Text_ = None,
    service: Text_ = None,
    operation: Text_ = None,
    since: Since = None,
    until: Until = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Success rate and durations, against the window before."""
    filters = make_filters(
        model_id=model_id, region=region, service=service, operation=operation, since=since, until=until
    )
    with wiring.open_queries(settings_of(store=store)) as queries:
        answer = queries.performance(filters)
    show(answer, views.performance(answer), as_json=as_json)


@app.command()
def ask(
    question: Annotated[list[str], typer.Argument(help="A question in plain English; quotes are not needed.")],
    execution_id: Annotated[int | None, typer.Option(help="The execution the question is about.")] = None,
    intent: Annotated[
        str | None, typer.Option(metavar="JSON", help="What is asked, where you have understood it yourself.")
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Answer a question such as: slowest operations today."""
    given = parse_object(intent, "--intent")
    with wiring.open_queries(settings_of(store=store)) as queries:
        answer = queries.ask(" ".join(question), execution_id, given)
    show(answer, views.query_answer(answer), as_json=as_json)


@app.command()
def sql(
    statement: Annotated[str, typer.Argument(help="One SELECT, in the dialect of the store.")],
    max_rows: Annotated[int | None, typer.Option(min=1, help="Rows at most.")] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Run one read-only SELECT over the tables and SQL functions."""
    with wiring.open_queries(settings_of(store=store), storing=True) as queries:
        answer = queries.sql(statement, max_rows=max_rows)
    show(answer, views.sql_result(answer), as_json=as_json)


@app.command(name="import")
def import_(
    files: Annotated[
        list[Path] | None,
        typer.Argument(dir_okay=False, readable=True, help="Files of spans; - is standard input."),
    ] = None,
    file_format: Annotated[
        FileFormat, typer.Option("--format", help="OTLP in any of its forms, or a log with lines of printed spans.")
    ] = "otlp",
    otel_traces: Annotated[
        str | None, typer.Option(help="URL of a ClickHouse with the table of the Collector's exporter.")
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Import OTLP/JSON lines, OTLP protobuf dumps or logs, plain or gzip. Importing again adds nothing twice.

    Goes to the running server, which removes duplicates without counting them, else straight into the store.
    """
    if not files and otel_traces is None:
        raise BadInput("nothing to import", hint="Give files, or --otel-traces with a URL.")
    missing = [path for path in files or () if path != _STDIN and not path.exists()]
    if missing:
        raise BadInput(f"file {missing[0]} does not exist")
    with _target(settings_of(store=store)) as target, _progress() as progress:
        results = [_import_one(path, file_format, target, progress) for path in files or ()]
        if otel_traces is not None:
            parts = json_lines(wiring.otel_traces(otel_traces))
            results.append(import_parts(parts, "otel_traces", target.send, lambda: None))
    if as_json:
        write_json([imported_json(result) for result in results])
    else:
        console().print(views.imported(results))
    if not all(result.whole for result in results):
        raise typer.Exit(ExitCode.PARTIAL)


@app.command()
def export(
    execution_id: Annotated[int | None, typer.Option(help="The trace of an execution.")] = None,
    trace_id: Annotated[str | None, typer.Option(help="One trace.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every trace in the store.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, compressed if it ends in .gz; else standard output.")
    ] = None,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="With -o: say what was written as JSON.")] = False,
) -> None:
    """Write traces as OTLP/JSON, one a line (of very long ones 10,000 spans), as they were received."""
    if [execution_id is not None, trace_id is not None, everything].count(True) != 1:
        raise BadInput("give exactly one of --execution-id, --trace-id and --all")
    with wiring.open_queries(settings_of(store=store)) as queries:
        ids = trace_ids(queries) if everything else iter(_ids_of(queries, make_key(execution_id, trace_id)))
        count = 0
        with written(output) as target, _progress() as progress:
            task = progress.add_task("traces", total=None)
            for one in ids:
                for page in trace_pages(queries, one):
                    target.write(trace_line(page))
                count += 1
                progress.update(task, completed=count)
    if output is None:
        return
    if as_json:
        write_json({"file": str(output), "traces": count})
    else:
        console().print(Text(f"{count} traces written to {output}"))


@app.command()
def migrate(
    print_cluster: Annotated[
        str | None, typer.Option(help="Print the SQL for a ClickHouse cluster of this name, and change nothing.")
    ] = None,
    database: Annotated[str, typer.Option(help="With --print-cluster: the database on every server.")] = "default",
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Bring the store's schema up to date. `serve` does it by itself."""
    settings = settings_of(store=store)
    if print_cluster is not None:
        for statement in wiring.cluster_schema(settings, print_cluster, database):
            sys.stdout.write(f"{statement}\n\n")
        return
    with error_console().status("migrating"):
        wiring.migrate(settings)
    if as_json:
        write_json({"schema": "up to date"})
    else:
        console().print("The store's schema is up to date.")


@app.command()
def prune(
    older_than: Annotated[
        str | None, typer.Option(help="What is older goes: an age (12h, 30d) or an ISO 8601 time.")
    ] = None,
    max_size: Annotated[str | None, typer.Option(help="The oldest goes until the rest fits: 20GB, 500MiB.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, remove nothing.")] = False,
    compact: Annotated[bool, typer.Option("--compact", help="Then rewrite a DuckDB file without free room.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Remove what is old or too much; without options what the settings exclude. A running server does it by itself."""
    if dry_run and compact:
        raise BadInput("--dry-run and --compact exclude each other", hint="Compacting removes no row.")
    moment = parse_moment(older_than, "older-than")
    with error_console().status("pruning"):
        pruned = wiring.prune(
            settings_of(store=store),
            None if moment is None else datetime.now(UTC) - moment,
            None if max_size is None else parse_size(max_size, "max-size"),
            dry_run=dry_run,
            compact=compact,
        )
    show(pruned, views.pruned(pruned), as_json=as_json)


@app.command()
def mcp(store: Store = None) -> None:
    """Serve MCP over stdin and stdout: what an IDE starts. Never keeps `serve` from starting."""
    from otel_diag.present.mcp.server import build_server  # half a second to load, for this command only

    settings = settings_of(store=store)
    server = build_server(lambda: wiring.open_queries(settings))
    with wiring.keeping_loaded():
        server.run("stdio")


token = typer.Typer(no_args_is_help=True, help="Tokens that let senders and askers in.")
app.add_typer(token, name="token")


@token.command("new")
def token_new(
    name: Annotated[str, typer.Option(help="Whose it is; it stands in messages.")],
    role: Annotated[list[Role], typer.Option(help="What it is for; give the option twice for both.")],
    tenant: Annotated[str, typer.Option(help="Whose data it writes and reads.")] = "default",
    as_json: Json = False,
) -> None:
    """Make a token. It is shown once; the settings know only its hash."""
    secret = new_token()
    try:
        known = Token(name=name, tenant=tenant, roles=tuple(role), sha256=hash_of(secret))
    except ValidationError as error:
        raise BadInput(f"wrong option: {problems_of(error)}") from None
    if as_json:
        write_json({"token": secret, **known.model_dump(mode="json")})
    else:
        sys.stdout.write(f"{secret}\n\nKeep it; it is not shown again. For otel-diag.toml of the server:\n\n")
        lines = [f"{key} = {json.dumps(value)}" for key, value in known.model_dump(mode="json").items()]
        sys.stdout.write("\n".join(["[[tokens]]", *lines, ""]))


@app.command()
def doctor(store: Store = None, as_json: Json = False) -> None:
    """Check the installation, the store, the ports and the disk. Exit code 5 when something is wrong."""
    checks = health.run(settings_of(store=store))
    if as_json:
        write_json([asdict(check) for check in checks])
    else:
        console().print(health.table(checks))
    if not all(check.ok for check in checks):
        raise typer.Exit(ExitCode.PARTIAL)


def run() -> None:
    """The whole program: the command, with errors told in a line."""
    with errors_to_exit_codes():
        app()


@dataclass(frozen=True, slots=True)
class _Target:
    """Where an import goes, and what is stored there already."""

    send: Sender
    queries: AnyQueries


@contextmanager
def _target(settings: Settings) -> Iterator[_Target]:
    """The server that owns the store, else the store itself."""
    server = find_server(settings)
    if server is not None:
        with (
            closing(HttpSender(server.otlp_http, http_client(server, settings, timeout=60.0))) as sender,
            RemoteQueries(server.url, http_client(server, settings, timeout=60.0)) as queries,
        ):
            yield _Target(sender, queries)
        return
    with wiring.open_writer(settings) as writer:

        def send(request: Spans | Announced) -> Taken:
            return writer.append_payload(request.payload, signal=request.signal)

        yield _Target(send, writer.queries)


def _import_one(path: Path, file_format: FileFormat, target: _Target, progress: Progress) -> Imported:
    is_stdin = path == _STDIN
    size = None if is_stdin else path.stat().st_size
    task = progress.add_task(clean(path.name, 40), total=size)
    with BytesIO(sys.stdin.buffer.read()) if is_stdin else path.open("rb") as file:
        if file_format == "modal-logs":
            seen = time.time_ns() if is_stdin else path.stat().st_mtime_ns
            parts = read_modal_logs(file, seen, trace_ids_by_digits(target.queries))
        else:
            parts = read_parts(file)
        result = import_parts(parts, str(path), target.send, lambda: progress.update(task, completed=file.tell()))
    progress.update(task, completed=size)
    return result


def _ids_of(queries: AnyQueries, key: Key) -> list[str]:
    found = key.trace_id or queries.timeline(key).trace_id
    if found is None:
        raise NotFound(f"execution {key.execution_id} has no span", hint="It is known only as its runner recorded it.")
    return [found]


def _progress() -> Progress:
    """On standard error, and only in a terminal, so that output can be piped."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, console=error_console(), transient=True, disable=not sys.stderr.isatty())
