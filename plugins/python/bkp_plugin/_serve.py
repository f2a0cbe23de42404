# SPDX-License-Identifier: Apache-2.0
"""The protocol between bkp and a plugin: cookie, handshake, certificate, health, controller and standard output."""

import base64
import datetime
import json
import os
import sys
import threading
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from . import Engine, Notifier, Strategy, engine_pb2, notifier_pb2, strategy_pb2, verifier_pb2

_COOKIE, _VALUE = "BKP_PLUGIN", "b1f7c3f0a2e94d5b8c6d-bkp-plugin"
_MAX_ASK, _MAX_ANSWER = 64 << 20, 4 << 20
_PROTOCOL = 1


def run(plugin):
    if os.environ.get(_COOKIE) != _VALUE:
        sys.exit("This is a plugin of bkp. It is started by bkp, and does nothing by itself.")
    # Standard output is the handshake's; what the plugin prints goes to standard error, which bkp logs.
    out, sys.stdout = sys.stdout, sys.stderr
    done = threading.Event()
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        options=[("grpc.max_receive_message_length", _MAX_ASK), ("grpc.max_send_message_length", _MAX_ANSWER)],
    )
    server.add_generic_rpc_handlers((_service(plugin), _health(), _controller(done), _stdio(done)))
    socket = os.path.join(os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or ".", "plugin%d" % os.getpid())
    credentials, certificate = _credentials(os.environ["PLUGIN_CLIENT_CERT"])
    server.add_secure_port("unix:" + socket, credentials)
    server.start()
    out.write("1|%d|unix|%s|grpc|%s\n" % (_PROTOCOL, socket, certificate))
    out.flush()
    done.wait()
    server.stop(1).wait()


def _credentials(client):
    """Mutual TLS: bkp's certificate is the only one that is let in, and ours goes into the handshake."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.utcnow()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    der = certificate.public_bytes(serialization.Encoding.DER)
    credentials = grpc.ssl_server_credentials([(secret, pem)], client.encode(), require_client_auth=True)
    return credentials, base64.b64encode(der).decode().rstrip("=")


def _method(function, request, answer):
    def call(message, context):
        try:
            return function(message)
        except Exception as e:  # whatever it is, bkp tells the user
            context.abort(grpc.StatusCode.UNKNOWN, "%s: %s" % (type(e).__name__, e))

    return grpc.unary_unary_rpc_method_handler(call, request.FromString, answer.SerializeToString)


def _service(plugin):
    def configure(message):
        plugin.configure(json.loads(message.config))
        return configured()

    def notify(event):
        plugin.notify(event)
        return notifier_pb2.Notified()

    def append(m):
        ok, entries = plugin.append(m.scope, m.after, m.entry)
        return engine_pb2.Appended(ok=ok, entries=entries)

    about = dict(name=plugin.name, version=plugin.version, summary=plugin.summary, settings=plugin.settings)
    if isinstance(plugin, Strategy):
        p, kind, configured = strategy_pb2, "Strategy", strategy_pb2.StrategyConfigured
        about.update(
            needs=plugin.needs, deterministic=plugin.deterministic, owns_first_holder=plugin.owns_first_holder
        )
        methods = {
            "Describe": _method(
                lambda _: p.StrategyDescription(**about), p.StrategyDescribeRequest, p.StrategyDescription
            ),
            "Configure": _method(configure, p.StrategyConfigureRequest, configured),
            "Score": _method(
                lambda m: p.ScoreResponse(scores=plugin.score(m.batch)), p.ScoreRequest, p.ScoreResponse
            ),
        }
    elif isinstance(plugin, Notifier):
        p, kind, configured = notifier_pb2, "Notifier", notifier_pb2.NotifierConfigured
        methods = {
            "Describe": _method(
                lambda _: p.NotifierDescription(**about), p.NotifierDescribeRequest, p.NotifierDescription
            ),
            "Configure": _method(configure, p.NotifierConfigureRequest, configured),
            "Notify": _method(notify, p.Event, p.Notified),
        }
    elif isinstance(plugin, Engine):
        p, kind, configured = engine_pb2, "Engine", engine_pb2.EngineConfigured
        methods = {
            "Describe": _method(lambda _: p.EngineDescription(**about), p.EngineDescribeRequest, p.EngineDescription),
            "Configure": _method(configure, p.EngineConfigureRequest, configured),
            "Append": _method(append, p.AppendRequest, p.Appended),
            "Read": _method(
                lambda m: p.Entries(entry=plugin.read(m.scope, m.after, m.limit)), p.ReadRequest, p.Entries
            ),
        }
    else:
        p, kind, configured = verifier_pb2, "Verifier", verifier_pb2.VerifierConfigured
        methods = {
            "Describe": _method(
                lambda _: p.VerifierDescription(**about), p.VerifierDescribeRequest, p.VerifierDescription
            ),
            "Configure": _method(configure, p.VerifierConfigureRequest, configured),
            "Verify": _method(plugin.verify, p.VerifyRequest, p.Verdict),
        }
    if not plugin.settings:
        del methods["Configure"]  # gRPC answers that it is not implemented
    return grpc.method_handlers_generic_handler("bkp.plugin.v1." + kind, methods)


def _health():
    """grpc.health.v1.Health/Check: always serving. The message is field 1, an enum, of value 1."""
    check = grpc.unary_unary_rpc_method_handler(lambda message, context: b"\x08\x01")
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})


def _controller(done):
    """plugin.GRPCController/Shutdown: bkp asks the plugin to end. Its messages are empty."""

    def shutdown(message, context):
        done.set()
        return b""

    handler = grpc.unary_unary_rpc_method_handler(shutdown)
    return grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": handler})


def _stdio(done):
    """plugin.GRPCStdio/StreamStdio: what the plugin prints; nothing, since that goes to standard error."""

    def stream(message, context):
        while context.is_active() and not done.wait(1):
            pass
        yield from ()

    handler = grpc.unary_stream_rpc_method_handler(stream)
    return grpc.method_handlers_generic_handler("plugin.GRPCStdio", {"StreamStdio": handler})
