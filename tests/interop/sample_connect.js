// SPDX-License-Identifier: MIT
// What a repaired connect.js of the tunnel sample does on the wire, with the
// sample's own library (websocket 1.0.35): port and host in the query, Basic
// credentials, binary frames; data is sent as soon as the WebSocket is open,
// `ready` is ignored, `error` closes, a local FIN closes.
//   node sample_connect.js URI TOKEN USER PASSWORD PORT HOST
'use strict';
const net = require('net');
const { client: WebSocketClient } = require('websocket');
const [uri, token, user, password, port, host] = process.argv.slice(2);
const listener = net.createServer((local) => {
  const client = new WebSocketClient();
  local.pause();
  client.on('connectFailed', (error) => {
    console.log('WebSocket connection failed: ' + error.toString().split('\n')[0]);
    local.destroy();
  });
  client.on('connect', (remote) => {
    remote.on('message', (message) => {
      if (message.type === 'utf8') {
        const status = JSON.parse(message.utf8Data);
        console.log(`status ${status.status} ${status.details}`);
        if (status.status === 'error') local.end();
      } else local.write(message.binaryData);
    });
    remote.on('close', () => local.end());
    local.on('data', (data) => remote.sendBytes(data));
    local.on('end', () => remote.close());
    local.resume();
  });
  local.on('error', () => {});
  client.connect(`${uri}&port=${port}&host=${host}`, null, null, {
    ServiceBusAuthorization: token,
    Authorization: 'Basic ' + Buffer.from(`${user}:${password}`).toString('base64'),
  });
});
listener.listen(0, '127.0.0.1', () => console.log('local ' + listener.address().port));
process.on('SIGTERM', () => process.exit(0));
