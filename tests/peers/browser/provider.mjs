// A provider that others wrote (`oidc-provider`), on loopback: people by name, their groups, and an ID token signed as wanted.

import { generateKeyPairSync } from "node:crypto";
import http from "node:http";
import Provider from "oidc-provider";

/** How ID tokens can be signed, with the key for it. */
export const ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"];

const key = (kind, options, alg) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }),
  alg,
  kid: `key-${alg}`,
  use: "sig",
});

/** Every algorithm's key is published from the beginning. */
const keys = [
  key("rsa", { modulusLength: 2048 }, "RS256"),
  key("rsa", { modulusLength: 2048 }, "PS256"),
  key("ec", { namedCurve: "P-256" }, "ES256"),
  key("ed25519", {}, "EdDSA"),
];

export const CLIENT = { id: "outpost", secret: "a secret: with & marks" };

/** Listens on `port` until `close`; `people` are groups by name. */
export async function provider({ port, back, people, algorithm }) {
  const issuer = `http://127.0.0.1:${port}`;
  const oidc = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        redirect_uris: [back],
        response_types: ["code"],
        grant_types: ["authorization_code"],
        token_endpoint_auth_method: "client_secret_basic",
        id_token_signed_response_alg: algorithm,
      },
    ],
    jwks: { keys },
    enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
    cookies: { keys: ["of this test alone"] },
    pkce: { required: () => true },
    claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
    // What is claimed stands in the ID token, not behind one more question.
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, groups: people[id] ?? [] }),
    }),
    features: { devInteractions: { enabled: true } },
  });
  const server = http.createServer(oidc.callback());
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = () => new Promise((resolve) => (server.close(resolve), server.closeAllConnections()));
  return { issuer, close };
}
