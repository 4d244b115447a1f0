'use strict';

const http = require('node:http');

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (url.pathname !== '/') {
    response.writeHead(404, { 'Content-Type': 'text/plain' });
    response.end('There is no such page.\n');
    return;
  }
  const name = url.searchParams.get('name') ?? 'World';
  response.writeHead(200, { 'Content-Type': 'text/plain; charset=utf-8' });
  response.end(`Hello, ${name}! This is ${process.env.GAE_SERVICE} on Node.js ${process.versions.node}.\n`);
});

server.listen(process.env.PORT, () => console.log(`listening on port ${process.env.PORT}`));

process.on('SIGTERM', () => server.close());
