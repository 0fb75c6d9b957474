"""Attributes of spans as instrumentation libraries set them: today's names and the deprecated ones."""

from __future__ import annotations

from benchmarks.labelled.acts import Value
from benchmarks.labelled.errors import GRPC_NAMES, Failure
from benchmarks.labelled.worlds import Node, Service

ENDINGS = {"http.response.status_code", "http.status_code", "rpc.grpc.status_code", "error.type", "modal.preempted"}


def beginning(attributes: dict[str, Value]) -> dict[str, Value]:
    """Those that a span has when it starts."""
    return {key: value for key, value in attributes.items() if key not in ENDINGS}


def described(node: Node, service: Service, client: bool) -> dict[str, Value]:
    """What a span of this service says about the call, whichever way it ends. ``client``: of the sending side."""
    if service.bare or node.protocol == "none":
        return {}
    target, stable = node.target, service.stable
    place: dict[str, Value] = {}
    if client:
        place = (
            {"server.address": target.host, "server.port": target.port}
            if stable
            else {"net.peer.name": target.host, "net.peer.port": target.port}
        )
    if node.protocol == "grpc":
        rpc_service, _, method = target.procedure.partition("/")
        return {"rpc.system": "grpc", "rpc.service": rpc_service, "rpc.method": method, **place}
    if node.protocol == "db":
        if stable:
            return {"db.system.name": target.system, "db.query.text": target.query, "db.namespace": "app", **place}
        return {"db.system": target.system, "db.statement": target.query, "db.name": "app", **place}
    if node.protocol == "messaging":
        kind = "send" if client else "process"
        key = "messaging.operation.type" if stable else "messaging.operation"
        return {"messaging.system": target.system, "messaging.destination.name": target.table, key: kind}
    if node.protocol == "modal" and not client:
        return {}
    if client:
        url = f"http://{target.host}:{target.port}{target.path.replace('{id}', '7431')}"
        names = ("http.request.method", "url.full") if stable else ("http.method", "http.url")
        return {names[0]: target.method, names[1]: url, **place}
    if stable:
        return {"http.request.method": target.method, "http.route": target.path, "url.scheme": "http"}
    return {"http.method": target.method, "http.target": target.path, "http.scheme": "http"}


def ended(node: Node, service: Service, failure: Failure | None) -> dict[str, Value]:
    """The status code that went over the wire."""
    if node.protocol == "grpc":
        return {"rpc.grpc.status_code": failure.grpc if failure else 0}
    if node.protocol == "http":
        name = "http.response.status_code" if service.stable else "http.status_code"
        return {name: failure.http if failure else 200}
    return {}


def code_type(node: Node, failure: Failure) -> str:
    """``error.type`` of a span that ended with a status code."""
    return GRPC_NAMES[failure.grpc] if node.protocol == "grpc" else str(failure.http)


def gpu(service: Service, number: int) -> dict[str, Value]:
    """What a Modal function says of itself."""
    if service.modal is None:
        return {}
    return {
        "modal.app": service.modal,
        "modal.function": "infer",
        "modal.input_id": f"in-01{number:06d}",
        "modal.task_id": f"ta-01{number % 37:04d}",
        "faas.coldstart": False,
    }
