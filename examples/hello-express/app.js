'use strict';

const express = require('express');

const app = express();

app.get('/', (request, response) => {
  const name = request.query.name ?? 'World';
  response.type('text').send(`Hello, ${name}! This is ${process.env.GAE_SERVICE} on Express.\n`);
});

const server = app.listen(process.env.PORT, () => console.log(`listening on port ${process.env.PORT}`));

process.on('SIGTERM', () => server.close());
