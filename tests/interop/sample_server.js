// SPDX-License-Identifier: MIT
// What a repaired server.js of the tunnel sample does on the wire, with the
// sample's own library (websocket 1.0.35): accept, then connect upstream, text
// `ready`, binary both ways; no half-close, errors as text and Close 1000, and
// rejections spelled statusCode/statusDescription.
//   node sample_server.js LISTEN_URI TOKEN USER PASSWORD
'use strict';
const net = require('net');
const { client: WebSocketClient } = require('websocket');
const [uri, token, user, password] = process.argv.slice(2);
const control = new WebSocketClient();
const reject = (address, status) => {
  const client = new WebSocketClient();
  client.on('connectFailed', (error) => console.log('rejected: ' + error.toString().split('\n')[0]));
  client.connect(`${address}&statusCode=${status}&statusDescription=undefined`);
};
const serve = ({ address, connectHeaders }) => {
  const headers = {};
  for (const name of Object.keys(connectHeaders)) headers[name.toLowerCase()] = connectHeaders[name];
  if (!headers.host || !headers['sec-websocket-key'] || !+headers['sec-websocket-version']) {
    return reject(address, 400);
  }
  const query = new URL(address).searchParams;
  const basic = Buffer.from((headers.authorization || '').replace(/^Basic /i, ''), 'base64').toString();
  if (basic !== `${user}:${password}`) return reject(address, 403);
  const client = new WebSocketClient();
  client.on('connectFailed', (error) => console.log('accept failed ' + error));
  client.on('connect', (remote) => {
    const upstream = net.connect({ port: +query.get('port'), host: query.get('host') || '127.0.0.1' });
    const say = (status, details) => remote.sendUTF(JSON.stringify({ status, details }));
    upstream.on('connect', () => say('ready', 'Upstream socket connected'));
    upstream.on('data', (data) => remote.sendBytes(data));
    upstream.on('error', (error) => { say('error', `Upstream socket error; ${error}`); remote.close(); });
    upstream.on('close', () => remote.close());
    remote.on('message', (message) => {
      if (message.type === 'binary') upstream.write(message.binaryData);
    });
    remote.on('close', () => upstream.destroy());
  });
  client.connect(address);
};
control.on('connectFailed', (error) => { console.log('listen failed ' + error); process.exit(1); });
control.on('connect', (channel) => {
  console.log('listening');
  channel.on('message', (message) => {
    const command = JSON.parse(message.utf8Data);
    if (command.accept) serve(command.accept);
  });
  channel.on('close', () => { console.log('control closed'); process.exit(1); });
});
control.connect(uri, null, null, { ServiceBusAuthorization: token });
process.on('SIGTERM', () => process.exit(0));
