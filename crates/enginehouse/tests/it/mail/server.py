"""A mail server of somebody else, with TLS and passwords: python server.py starttls|smtps CHAIN KEY. Tells its port, and what it takes, as lines of JSON."""
import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

way, chain, key = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(chain, key)


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"shop", b"secret")
    session.told = mechanism if good else None
    return AuthResult(success=good, handled=False)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        tls = server.transport.get_extra_info("sslcontext") is not None
        content = envelope.content.decode()
        tell(sender=envelope.mail_from, to=envelope.rcpt_tos, message=content, tls=tls, mechanism=session.told)
        return "250 taken"


def tell(**what):
    print(json.dumps(what), flush=True)


def protocol():
    starttls = way == "starttls"
    return SMTP(
        Handler(),
        tls_context=context if starttls else None,
        require_starttls=starttls,
        authenticator=authenticate,
        auth_required=True,
        auth_require_tls=starttls,
        enable_SMTPUTF8=False,
    )


async def serve():
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=context if way == "smtps" else None)
    tell(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(serve())
