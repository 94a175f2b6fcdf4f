// SPDX-License-Identifier: MIT
// An unmodified hyco-ws listener that echoes messages, kind by kind.
//   node ws_listener.js URI KEYNAME KEY
// "close N" as a text is answered by a Close with code N.
'use strict';
const WebSocket = require('hyco-ws');
const [uri, keyName, key] = process.argv.slice(2);
const server = WebSocket.createRelayedServer({
  server: uri,
  token: () => WebSocket.createRelayToken(uri.replace('wss:', 'http:'), keyName, key),
}, (client) => {
  client.on('open', () => console.log('open ' + client.url.replace(/sb-hc-id.*/, '')));
  client.on('message', (data, flags) => {
    const close = !flags.binary && /^close (\d+)$/.exec(data);
    if (close) client.close(+close[1], 'as asked');
    else client.send(data, { binary: !!flags.binary });
  });
  client.on('close', (code, reason) => console.log(`closed ${code} ${reason}`));
  client.on('error', (error) => console.log('client error ' + error.message));
});
server.on('listening', () => console.log('listening'));
server.on('error', (event) => console.log('error ' + (event.message || event)));
process.on('SIGTERM', () => process.exit(0));
