// A certified OpenID provider on loopback, for tests of a resource server: resource indicators (RFC 8707), JWT access tokens
// (RFC 9068), any resource, the scopes it is told. Prints its issuer once it serves.
//
// Beside the provider stands `GET /login?subject&scope&resource&details`: a browser that logs in as anybody and agrees to everything,
// authorization details (RFC 9396) included. It goes through the whole authorization code flow with PKCE and answers with what the
// token endpoint answered.
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import Provider from 'oidc-provider';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    keys: { type: 'string' }, // the file that holds its keys; made if it is not there
    alg: { type: 'string', default: 'RS256' },
    scopes: { type: 'string', default: '' },
  },
});

function newKeys() {
  const jwk = (pair, members) => ({ ...pair.privateKey.export({ format: 'jwk' }), use: 'sig', kid: randomBytes(8).toString('hex'), ...members });
  return {
    keys: [
      jwk(generateKeyPairSync('rsa', { modulusLength: 2048 }), { alg: 'RS256' }),
      jwk(generateKeyPairSync('rsa', { modulusLength: 2048 }), { alg: 'PS256' }),
      jwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }), { alg: 'ES256' }),
      jwk(generateKeyPairSync('ed25519'), { alg: 'EdDSA' }),
    ],
  };
}

function keys(file) {
  if (file && existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
  const made = newKeys();
  if (file) writeFileSync(file, JSON.stringify(made));
  return made;
}

const CALLBACK = 'http://127.0.0.1/callback';
let provider;
let issuer;

const server = createServer(async (request, response) => {
  try {
    const url = new URL(request.url, issuer);
    if (url.pathname === '/login') return answer(response, await login(Object.fromEntries(url.searchParams)));
    if (url.pathname.startsWith('/interaction/')) return await interact(request, response);
    return await provider.callback()(request, response);
  } catch (error) {
    response.writeHead(500).end(String(error?.stack ?? error));
  }
});

function answer(response, { status, body }) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body);
}

// Whoever stands at the screen types the name that the login hint says, and agrees to everything.
async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return await provider.interactionFinished(request, response, { login: { accountId: params.login_hint } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addResourceScope(params.resource, params.scope ?? '');
  return await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function login({ subject, scope, resource, details }) {
  const cookies = new Map();
  const go = async (url) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(set);
      if (value) cookies.set(name, value);
      else cookies.delete(name);
    }
    return response;
  };
  const verifier = randomBytes(32).toString('base64url');
  const start = new URL('/auth', issuer);
  start.search = new URLSearchParams({
    client_id: 'desktop', response_type: 'code', redirect_uri: CALLBACK, login_hint: subject, scope, resource,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
    ...(details ? { authorization_details: details } : {}),
  });
  let next = start.href;
  for (let hop = 0; hop < 10 && !next.startsWith(CALLBACK); hop += 1) {
    const response = await go(next);
    const location = response.headers.get('location');
    if (!location) return { status: response.status, body: await response.text() };
    next = new URL(location, issuer).href;
  }
  const code = new URL(next).searchParams.get('code');
  if (!code) return { status: 400, body: JSON.stringify(Object.fromEntries(new URL(next).searchParams)) };
  const response = await fetch(new URL('/token', issuer), {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code', client_id: 'desktop', redirect_uri: CALLBACK, code, code_verifier: verifier, resource,
    }),
  });
  return { status: response.status, body: await response.text() };
}

server.listen(Number(options.port), '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  provider = new Provider(issuer, {
    jwks: keys(options.keys),
    clients: [
      {
        client_id: 'robot', client_secret: 'robot-secret', grant_types: ['client_credentials'], response_types: [], redirect_uris: [],
        token_endpoint_auth_method: 'client_secret_post',
      },
      {
        client_id: 'desktop', grant_types: ['authorization_code'], response_types: ['code'], redirect_uris: [CALLBACK],
        token_endpoint_auth_method: 'none', application_type: 'native', authorization_details_types: ['tidegate_scope'],
      },
    ],
    cookies: { keys: [randomBytes(16).toString('hex')] },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      richAuthorizationRequests: {
        enabled: true,
        types: { tidegate_scope: { validate() {} } },
        authorizationDetailsForGrantSource: (ctx) => JSON.parse(ctx.oidc.params.authorization_details ?? '[]'),
        authorizationDetailsForAccessToken: (_, token, source) => source.rar,
      },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({
          audience: resource, scope: options.scopes, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: options.alg } },
        }),
      },
    },
  });
  console.log(issuer);
});

// It ends with whoever started it.
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
