"""A small OpenID Connect provider: one person, who agrees to everything, and ways to go wrong."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI, Form
from fastapi.responses import JSONResponse, RedirectResponse
from joserfc import jwt
from joserfc.jwk import RSAKey

from deploy.local import free_port


class Provider:
    """What it says of the one person, and what it gets wrong."""

    def __init__(self) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.claims: dict[str, Any] = {"sub": "s-17", "preferred_username": "ida", "groups": ["mods", "others"]}
        self.wrong: dict[str, Any] = {}
        """Claims of the id token that are replaced; `key`: it is signed by another one; `state`: as it is sent back."""
        self._key = RSAKey.generate_key(2048, {"kid": "1"})
        self._asked: dict[str, dict[str, str]] = {}

    def app(self) -> FastAPI:
        """Its endpoints."""
        app = FastAPI()

        @app.get("/.well-known/openid-configuration")
        def configuration() -> dict[str, Any]:
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            return {
                "issuer": self.issuer,
                "response_types_supported": ["code"],
                "id_token_signing_alg_values_supported": ["RS256"],
                **{name: f"{self.issuer}/{path}" for name, path in names.items()},
            }

        @app.get("/keys")
        def keys() -> dict[str, Any]:
            return {"keys": [self._key.as_dict(private=False)]}

        @app.get("/authorize")
        def authorize(
            redirect_uri: str, state: str, nonce: str, code_challenge: str, code_challenge_method: str
        ) -> RedirectResponse:
            assert code_challenge_method == "S256"
            code = f"code-{len(self._asked)}"
            self._asked[code] = {"nonce": nonce, "challenge": code_challenge}
            return RedirectResponse(
                f"{redirect_uri}?{urlencode({'code': code, 'state': self.wrong.get('state', state)})}"
            )

        @app.post("/token")
        def token(code: Annotated[str, Form()], code_verifier: Annotated[str, Form()]) -> JSONResponse:
            asked = self._asked.pop(code)
            digest = hashlib.sha256(code_verifier.encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["challenge"]:
                return JSONResponse({"error": "invalid_grant"}, 400)
            key = RSAKey.generate_key(2048, {"kid": "1"}) if self.wrong.get("key") else self._key
            now = int(time.time())
            said = {"iss": self.issuer, "aud": "tidegate", "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
            wrong = {name: value for name, value in self.wrong.items() if name not in ("key", "state")}
            signed = jwt.encode({"alg": "RS256", "kid": "1"}, said | self.claims | wrong, key)
            return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": signed})

        return app


@contextmanager
def providing() -> Iterator[Provider]:
    """A provider that answers."""
    provider = Provider()
    config = uvicorn.Config(provider.app(), host="127.0.0.1", port=provider.port, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="provider")
    thread.start()
    try:
        until = time.monotonic() + 10
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        yield provider
    finally:
        server.should_exit = True
        thread.join()
