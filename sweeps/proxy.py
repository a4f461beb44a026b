"""Way to Optuna's gRPC proxy: one that comes back within seconds after the proxy was away."""

from collections.abc import Callable
from typing import Any

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache

CALL_SECONDS = 60.0
"""A call that has no answer by then is made again: a host that lost its power never refuses one."""
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    # By default a channel that was refused for a minute may not try again for two.
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    # How the proxy passes on whatever its own storage raised, for example that its database is away.
    grpc.StatusCode.UNKNOWN,
)


class _Timed(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, continuation: Callable, details: Any, request: Any) -> Any:
        return continuation(details._replace(timeout=CALL_SECONDS), request)


class PromptProxy(GrpcStorageProxy):
    """Optuna's client with a time limit on every call, and a channel that looks for its server every second."""

    def _setup(self) -> None:
        plain = grpc.insecure_channel(f"{self._host}:{self._port}", options=list(_OPTIONS))
        self._channel = grpc.intercept_channel(plain, _Timed())
        self._stub = api_pb2_grpc.StorageServiceStub(self._channel)
        self._cache = GrpcClientCache(self._stub)


def is_proxy_outage(error: Exception) -> bool:
    """Say whether a call may succeed later."""
    return isinstance(error, grpc.RpcError) and error.code() in _AWAY
