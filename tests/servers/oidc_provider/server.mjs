// An OpenID provider that is not Keycloak, for tests: node server.mjs PORT KEY…
//
// The first KEY (a private JWK as JSON) signs, all of them verify. Everybody can sign in, with any password; whose name
// is that of a tier has it as the claim `plan`.

import Provider from "oidc-provider";

const [port, ...keys] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const plans = ["free", "pro", "enterprise"];

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "llm-gateway",
      client_secret: "a secret: with / odd % characters +",
      application_type: "native",
      redirect_uris: ["http://127.0.0.1/signin/callback"],
      grant_types: [
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:device_code",
      ],
    },
  ],
  jwks: { keys: keys.map((key) => JSON.parse(key)) },
  clientDefaults: { id_token_signed_response_alg: "ES256" },
  enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
  findAccount: async (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: `${id}@example.net` }),
  }),
  claims: { openid: ["sub"], email: ["email"], profile: [] },
  extraTokenClaims: async (_, token) => {
    const plan = plans.find((name) => name === token.accountId);
    return { email: `${token.accountId}@example.net`, ...(plan ? { plan } : {}) };
  },
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => "urn:llm-gateway",
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope: "openid profile email",
        audience: "llm-gateway",
        accessTokenTTL: 300,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
  cookies: { keys: ["for tests"] },
  ttl: { AccessToken: 300, DeviceCode: 600, Grant: 3600, IdToken: 300, Interaction: 600, RefreshToken: 3600, Session: 3600 },
});

provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
