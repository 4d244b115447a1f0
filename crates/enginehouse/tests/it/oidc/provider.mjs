// A real OpenID provider (npm: oidc-provider) for the test of sign-in: any name signs in. Prints its port; the redirect addresses come as one line.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const { default: Provider } = await import(process.argv[2]);
let answer = (request, response) => response.writeHead(503).end();
const server = createServer((request, response) => answer(request, response));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit());

createInterface({ input: process.stdin }).once('line', (line) => {
  const provider = new Provider(`http://localhost:${server.address().port}`, {
    clients: [{
      client_id: 'house', client_secret: 's3cret', redirect_uris: line.split(' '), post_logout_redirect_uris: [],
      grant_types: ['authorization_code'], response_types: ['code'],
    }],
    pkce: { required: () => true, methods: ['S256'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['groups'] },
    cookies: { keys: ['one of many'] },
    findAccount: (context, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: id, email_verified: !id.startsWith('doubtful'), groups: id.startsWith('boss') ? ['staff', 'admins'] : ['staff'] }),
    }),
    features: { devInteractions: { enabled: true } },
  });
  answer = provider.callback();
  console.log('ready');
});
