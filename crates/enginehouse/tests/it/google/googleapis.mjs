// npm googleapis against a server of ours: node googleapis.mjs URL TOKEN.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENTS}/package.json`);
const { google } = require("googleapis");

const [url, token] = process.argv.slice(2);
const auth = new google.auth.OAuth2();
auth.setCredentials({ access_token: token });
const admin = google.appengine({ version: "v1", rootUrl: `${url}/`, auth });
// Uploads take the address of each call, not the client's.
const rootUrl = `${url}/`;
const storage = google.storage({ version: "v1", rootUrl, auth });
const appsId = "demo";
const servicesId = "default";

async function finished({ data: operation }) {
  while (!operation.done) {
    const operationsId = operation.name.split("/").pop();
    ({ data: operation } = await admin.apps.operations.get({ appsId, operationsId }));
  }
  assert.equal(operation.error, undefined, JSON.stringify(operation.error));
  return operation.response;
}

const { data: app } = await admin.apps.get({ appsId });
const bucket = app.codeBucket;
for (const number of [1, 2]) {
  const { data: object } = await storage.objects.insert(
    {
      bucket,
      name: `dir/page ${number}`,
      media: { mimeType: "text/html", body: `page ${number}\n` },
      requestBody: { metadata: { number: String(number) } },
    },
    { rootUrl },
  );
  assert.equal(object.metadata.number, String(number));
  const { data } = await storage.objects.get({ bucket, object: `dir/page ${number}`, alt: "media" });
  assert.equal(typeof data === "string" ? data : await data.text(), `page ${number}\n`);
  const made = await finished(
    await admin.apps.services.versions.create({
      appsId,
      servicesId,
      requestBody: {
        id: `g${number}`,
        runtime: "python27",
        runtimeApiVersion: "1",
        threadsafe: true,
        handlers: [{ urlRegex: "/(.*)", staticFiles: { path: "static/\\1", uploadPathRegex: "static/.*" } }],
        deployment: { files: { "static/index.html": { sourceUrl: `https://storage.googleapis.com/${bucket}/dir/page ${number}` } } },
      },
    }),
  );
  assert.equal(made.id, `g${number}`);
}
await finished(
  await admin.apps.services.patch({
    appsId,
    servicesId,
    updateMask: "split",
    requestBody: { split: { allocations: { g1: 0.5, g2: 0.5 }, shardBy: "RANDOM" } },
  }),
);
const { data: service } = await admin.apps.services.get({ appsId, servicesId });
assert.deepEqual(service.split, { allocations: { g1: 0.5, g2: 0.5 }, shardBy: "RANDOM" });
const { data: objects } = await storage.objects.list({ bucket, prefix: "dir/", fields: "items(name,md5Hash),nextPageToken" });
assert.deepEqual(objects.items.map(({ name }) => name), ["dir/page 1", "dir/page 2"]);
assert.deepEqual(Object.keys(objects.items[0]).sort(), ["md5Hash", "name"]);
await assert.rejects(admin.apps.services.versions.delete({ appsId, servicesId, versionsId: "g1" }), /non-zero traffic/);
await finished(await admin.apps.services.patch({ appsId, servicesId, updateMask: "split", requestBody: { split: { allocations: { g2: 1 } } } }));
await finished(await admin.apps.services.versions.delete({ appsId, servicesId, versionsId: "g1" }));
await storage.objects.delete({ bucket, object: "dir/page 1" });
console.log("ok");
