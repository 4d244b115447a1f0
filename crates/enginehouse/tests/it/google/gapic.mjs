// The generated Node.js client over REST against a server of ours: node gapic.mjs HOST PORT TOKEN.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENTS}/package.json`);
const admin = require("@google-cloud/appengine-admin").v1;
const { OAuth2Client } = require("google-auth-library");

const [host, port, token] = process.argv.slice(2);
const authClient = new OAuth2Client();
authClient.setCredentials({ access_token: token });
const options = { fallback: "rest", apiEndpoint: host, port: Number(port), protocol: "http", authClient, projectId: "demo" };
const apps = new admin.ApplicationsClient(options);
const services = new admin.ServicesClient(options);
const versions = new admin.VersionsClient(options);
const firewall = new admin.FirewallClient(options);

const [app] = await apps.getApplication({ name: "apps/demo" });
assert.equal(app.servingStatus, "SERVING");
for (const number of [1, 2]) {
  const [operation] = await versions.createVersion({
    parent: "apps/demo/services/default",
    version: {
      id: `n${number}`,
      runtime: "python27",
      runtimeApiVersion: "1",
      threadsafe: true,
      handlers: [{ urlRegex: "/(.*)", staticFiles: { path: "static/\\1", uploadPathRegex: "static/.*" }, securityLevel: "SECURE_OPTIONAL" }],
      deployment: { files: { "static/index.html": { sourceUrl: `https://storage.googleapis.com/${app.codeBucket}/gapic-${number}` } } },
    },
  });
  const [made] = await operation.promise();
  assert.equal(made.id, `n${number}`);
}
const [full] = await versions.getVersion({ name: "apps/demo/services/default/versions/n2", view: "FULL" });
assert.equal(full.handlers[0].staticFiles.path, "static/\\1");
assert.equal(full.handlers[0].securityLevel, "SECURE_OPTIONAL");
const [listed] = await versions.listVersions({ parent: "apps/demo/services/default", pageSize: 1 });
assert.deepEqual(listed.map((version) => version.id).sort(), ["n1", "n2"]);
const [operation] = await services.updateService({
  name: "apps/demo/services/default",
  service: { split: { shardBy: "IP", allocations: { n1: 0.25, n2: 0.75 } } },
  updateMask: { paths: ["split"] },
});
const [service] = await operation.promise();
assert.deepEqual({ ...service.split.allocations }, { n1: 0.25, n2: 0.75 });
// In the result of an operation the client gives the number.
assert.ok([2, "IP"].includes(service.split.shardBy), service.split.shardBy);
await assert.rejects(versions.getVersion({ name: "apps/demo/services/default/versions/n9" }), /not found/i);
const [rules] = await firewall.listIngressRules({ parent: "apps/demo" });
assert.deepEqual(rules.map((rule) => rule.priority), [2147483647]);
console.log("ok");
