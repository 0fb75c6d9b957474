"""Attribute names the helpers write: OpenTelemetry's own wherever one exists, ours only where none does."""

from __future__ import annotations

from typing import Final

EXECUTION_ID: Final = "execution.id"
EXECUTION_ATTEMPT: Final = "execution.attempt"
JOB_ID: Final = "job.id"
MODEL_ID: Final = "model.id"
REGION: Final = "region"

FAAS_COLDSTART: Final = "faas.coldstart"
QUEUE_TIME_MS: Final = "queue.time_ms"
INFERENCE_TIME_MS: Final = "inference.time_ms"

MODAL_APP: Final = "modal.app"
MODAL_FUNCTION: Final = "modal.function"
MODAL_INPUT_ID: Final = "modal.input_id"
MODAL_TASK_ID: Final = "modal.task_id"
MODAL_PREEMPTED: Final = "modal.preempted"

HW_TYPE: Final = "hw.type"
GPU_MODEL: Final = "gpu.model"

ROUTER_PROVIDER: Final = "router.provider"
ROUTER_PROVIDER_HEALTHY: Final = "router.provider_healthy"
ROUTER_CANDIDATES: Final = "router.candidates"

ERROR_TYPE: Final = "error.type"
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_REQUEST_METHOD_ORIGINAL: Final = "http.request.method_original"
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
SERVICE_PEER_NAME: Final = "service.peer.name"
URL_FULL: Final = "url.full"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"

GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
