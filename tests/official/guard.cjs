// Loaded before the official client: writes down every destination it connects to, and lets it reach this machine only.
// A key missing from chain.json makes the client use a public host of the real network; no test may ever do that.
"use strict";

const fs = require("node:fs");
const net = require("node:net");

const record = process.env.DESTINATIONS_FILE;
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function guarded(...words) {
  // Node hands over either what the caller gave, or one list that it made of that.
  const [first, second] = Array.isArray(words[0]) ? words[0] : words;
  const { host = "localhost", port, path } = typeof first === "object" ? first : { port: first, host: second };
  fs.appendFileSync(record, path === undefined || path === null ? `${host}:${port}\n` : `${path}\n`);
  if (!["127.0.0.1", "localhost", "::1"].includes(host)) {
    throw new Error(`the test forbids a connection to ${host}`);
  }
  return connect.apply(this, words);
};
