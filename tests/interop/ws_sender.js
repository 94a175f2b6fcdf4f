// SPDX-License-Identifier: MIT
// An unmodified hyco-ws sender; what it does comes as a JSON list on argv:
//   node ws_sender.js URI KEYNAME KEY HEADERS ACTIONS
// ACTIONS: [["text", "hello"], ["binary", size], ["await", messages],
//   ["awaitBytes", n], ["close", code, reason], ["awaitClose"]]
// Prints one line for each thing that comes: text, binary size and hash, close.
'use strict';
const crypto = require('crypto');
const WebSocket = require('hyco-ws');
const [uri, keyName, key, headers, actions] = process.argv.slice(2);
const token = WebSocket.createRelayToken(uri.replace('wss:', 'http:'), keyName, key);
const ws = new WebSocket(uri, null, {
  headers: { ServiceBusAuthorization: token, ...JSON.parse(headers) },
});
const steps = JSON.parse(actions);
let messages = 0, bytes = 0, closed = false, awaited = null;
const hash = crypto.createHash('sha256');
const pattern = (size) => {
  const data = Buffer.alloc(size);
  for (let i = 0; i < size; i++) data[i] = (i * 31 + (i >> 8)) & 255;
  return data;
};
const met = () => !awaited || awaited();
const next = () => {
  while (steps.length && met()) {
    awaited = null;
    const [what, a, b] = steps.shift();
    if (what === 'text') ws.send(a);
    else if (what === 'binary') ws.send(pattern(a), { binary: true });
    else if (what === 'await') awaited = () => messages >= a;
    else if (what === 'awaitBytes') awaited = () => bytes >= a;
    else if (what === 'close') ws.close(a, b);
    else if (what === 'awaitClose') awaited = () => closed;
  }
  if (!steps.length && met()) {
    console.log(`bytes ${bytes} ${hash.digest('hex')}`);
    process.exit(0);
  }
};
ws.on('open', () => { console.log('open'); next(); });
ws.on('message', (data, flags) => {
  messages++;
  if (flags.binary) { bytes += data.length; hash.update(data); }
  console.log(flags.binary ? `binary ${data.length}` : `text ${data}`);
  next();
});
ws.on('close', (code, reason) => { closed = true; console.log(`close ${code} ${reason}`); next(); });
ws.on('error', (error) => { console.log('error ' + error.message); process.exit(1); });
ws.on('unexpected-response', (request, response) => {
  console.log(`refused ${response.statusCode} ${response.statusMessage}`);
  process.exit(1);
});
